// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"

	v1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/berth-dev/berth/autoscaler/cloud"
	"github.com/berth-dev/berth/autoscaler/nodes/status"
)

// errTold tells that somebody wants to change a group that is only told of.
var errTold = errors.New("kubectl berth changes no node group")

// toldGroups are node groups as the autoscaler's status tells of them. Those
// without a template are left out: nobody knows what their nodes would be.
type toldGroups struct{ groups }

// Refresh and the following make it a cloud.Provider.
func (t toldGroups) Refresh(context.Context) error { return nil }

// Groups returns the groups, by name.
func (t toldGroups) Groups(context.Context) (all []cloud.NodeGroup, err error) {
	for _, group := range t.NodeGroups {
		if template := t.template(group.Name); template != nil {
			all = append(all, toldGroup{group, template})
		}
	}
	return all, nil
}

// Problems are none: the autoscaler has told what it knows.
func (t toldGroups) Problems() map[string]error { return nil }

// GroupOf returns the group of a node.
func (t toldGroups) GroupOf(node *v1.Node) (string, bool) {
	name := t.groupOf(node.Name)
	return name, name != ""
}

// toldGroup is one of them.
type toldGroup struct {
	status.NodeGroup
	template *status.Template
}

// Name and the following make it a cloud.NodeGroup.
func (g toldGroup) Name() string { return g.NodeGroup.Name }

// Limits returns the bounds of the target size.
func (g toldGroup) Limits() (low, high int) { return g.Health.MinSize, g.Health.MaxSize }

// TargetSize is the number of nodes that the group worked towards.
func (g toldGroup) TargetSize(context.Context) (int, error) { return g.Health.CloudProviderTarget, nil }

// Template returns a new node of the group.
func (g toldGroup) Template(context.Context) (*cloud.Template, error) {
	return &cloud.Template{Node: g.template.Node(), Drivers: g.template.Drivers, Storage: g.template.Storage}, nil
}

// Options are those that the status tells of.
func (g toldGroup) Options(context.Context, cloud.Options) (cloud.Options, error) {
	o := g.Berth.Options
	return cloud.Options{
		UtilizationThreshold: o.UtilizationThreshold, UnneededTime: o.UnneededTime.Duration,
		UnreadyTime: o.UnreadyTime.Duration, MaxNodeProvisionTime: o.MaxNodeProvisionTime.Duration,
	}, nil
}

// Price is that of the provider, or of the configuration.
func (g toldGroup) Price(context.Context) (perHour float64, known bool, err error) {
	price := g.Berth.PricePerHour
	return ptr.Deref(price, 0), price != nil, nil
}

// Instances are not known.
func (g toldGroup) Instances(context.Context) ([]cloud.Instance, error) { return nil, nil }

// Increase changes nothing.
func (g toldGroup) Increase(context.Context, int) error { return errTold }

// DecreaseTarget changes nothing.
func (g toldGroup) DecreaseTarget(context.Context, int) error { return errTold }

// Delete changes nothing.
func (g toldGroup) Delete(context.Context, ...*v1.Node) error { return errTold }
