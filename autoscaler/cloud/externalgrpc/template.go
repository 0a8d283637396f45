// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package externalgrpc

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/berth-dev/berth/autoscaler/cloud"
	"github.com/berth-dev/berth/autoscaler/cloud/externalgrpc/protos"
)

// templateOf is the annotation with the group of a template.
const templateOf = "berth.dev/template-of"

// Template asks once in a round.
func (g *nodeGroup) Template(ctx context.Context) (*cloud.Template, error) {
	g.mu.Lock()
	template := g.template
	g.mu.Unlock()
	if template != nil {
		return &cloud.Template{Node: template.Node.DeepCopy()}, nil
	}
	p := g.provider
	answer, err := call(ctx, p.connection, "NodeGroupTemplateNodeInfo", g.Group.Name, p.client.NodeGroupTemplateNodeInfo, &protos.NodeGroupTemplateNodeInfoRequest{Id: g.Group.Name})
	if untold(err) {
		return nil, &cloud.NoTemplateError{Group: g.Group.Name}
	}
	if err != nil {
		return nil, err
	}
	encoded := answer.GetNodeBytes()
	if len(encoded) == 0 {
		encoded = answer.GetNodeInfo()
	}
	if len(encoded) == 0 {
		return nil, &cloud.NoTemplateError{Group: g.Group.Name}
	}
	node, err := templateNode(g.Group.Name, encoded)
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	g.template = &cloud.Template{Node: node}
	g.mu.Unlock()
	return &cloud.Template{Node: node.DeepCopy()}, nil
}

// templateNode decodes the node that a server gives as the template of a group.
// What tells one node from another is taken off.
func templateNode(group string, encoded []byte) (*v1.Node, error) {
	wrong := func(got, want string) error {
		return &AnswerError{Group: group, Call: "NodeGroupTemplateNodeInfo", Got: got, Want: want}
	}
	node := &v1.Node{}
	if err := node.Unmarshal(encoded); err != nil {
		return nil, wrong(fmt.Sprintf("%d bytes that are no node (%v)", len(encoded), err), "an encoded k8s.io.api.core.v1.Node")
	}
	if len(node.Status.Allocatable) == 0 {
		node.Status.Allocatable = maps.Clone(node.Status.Capacity)
	}
	if len(node.Status.Allocatable) == 0 {
		return nil, wrong("a node without resources", "status.allocatable")
	}
	for _, name := range slices.Sorted(maps.Keys(node.Status.Allocatable)) {
		if quantity := node.Status.Allocatable[name]; quantity.Sign() < 0 {
			return nil, wrong(fmt.Sprintf("a node with %s of %s", quantity.String(), name), "0 or more")
		}
	}
	name := node.Name
	if name == "" {
		name = group + "-template"
	}
	node.ObjectMeta = metav1.ObjectMeta{Name: name, Labels: node.Labels, Annotations: node.Annotations}
	if node.Labels == nil {
		node.Labels = map[string]string{}
	}
	if node.Annotations == nil {
		node.Annotations = map[string]string{}
	}
	node.Annotations[templateOf] = group
	return node, nil
}

// Price asks what the template costs for the next hour. A price of 0 cannot be
// told from none, and would make the group the cheapest of all.
func (g *nodeGroup) Price(ctx context.Context) (perHour float64, known bool, err error) {
	template, err := g.Template(ctx)
	var none *cloud.NoTemplateError
	if errors.As(err, &none) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	node := template.Node
	delete(node.Annotations, templateOf)
	p, from := g.provider, g.provider.now()
	until := from.Add(time.Hour)
	answer, err := call(ctx, p.connection, "PricingNodePrice", g.Group.Name, p.client.PricingNodePrice, &protos.PricingNodePriceRequest{
		Node:      wireNode(node),
		StartTime: oldTime(from), StartTimestamp: timestamppb.New(from),
		EndTime: oldTime(until), EndTimestamp: timestamppb.New(until),
	})
	if untold(err) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	price := answer.GetPrice()
	if !(price >= 0 && price <= math.MaxFloat64) {
		return 0, false, &AnswerError{Group: g.Group.Name, Call: "PricingNodePrice", Got: fmt.Sprint(price), Want: "0 or more"}
	}
	return price, price > 0, nil
}

// oldTime is a time as older servers read it.
func oldTime(t time.Time) []byte {
	old := metav1.NewTime(t)
	// It cannot fail: the size is right.
	encoded, _ := old.Marshal()
	return encoded
}
