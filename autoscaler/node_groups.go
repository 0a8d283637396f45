// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"

	"github.com/berth-dev/berth/autoscaler/cloud"
	"github.com/berth-dev/berth/autoscaler/config"
	"github.com/berth-dev/berth/autoscaler/nodes"
)

// observeGroups asks the groups what they are, several at a time. One that does not answer in
// time is left alone, with the reason; the others go on.
func (c *Conductor) observeGroups(ctx context.Context, listed []cloud.NodeGroup, present []*corev1.Node) (found []nodes.Group, groups map[string]cloud.NodeGroup, unread map[string]error) {
	ctx, cancel := context.WithTimeout(ctx, callDeadline)
	defer cancel()
	type answer struct {
		of       int
		observed *nodes.Group
		err      error
	}
	answers, turns := make(chan answer, len(listed)), make(chan struct{}, workers)
	for i, group := range listed {
		go func() {
			select {
			case turns <- struct{}{}:
			case <-ctx.Done():
				return
			}
			defer func() { <-turns }()
			end, since := c.history.nodes.look.asking.begin(group.Name(), c.now())
			if end == nil {
				answers <- answer{i, nil, &slowError{c.now().Sub(since)}}
				return
			}
			defer end()
			observed, err := c.observeGroup(ctx, group, present)
			answers <- answer{i, observed, err}
		}()
	}
	seen, errs := make([]*nodes.Group, len(listed)), make([]error, len(listed))
	for range listed {
		select {
		case a := <-answers:
			seen[a.of], errs[a.of] = a.observed, a.err
		case <-ctx.Done():
		}
	}
	groups, found, unread = make(map[string]cloud.NodeGroup, len(listed)), make([]nodes.Group, 0, len(listed)), map[string]error{}
	for i, group := range listed {
		if seen[i] == nil {
			err := cmp.Or(errs[i], ctx.Err())
			klog.FromContext(ctx).Error(err, "Reading a node group: it is left alone", "group", group.Name())
			unread[group.Name()] = err
			continue
		}
		groups[group.Name()] = group
		found = append(found, *seen[i])
	}
	return found, groups, unread
}

func (c *Conductor) observeGroup(ctx context.Context, group cloud.NodeGroup, present []*corev1.Node) (*nodes.Group, error) {
	observed := &nodes.Group{Name: group.Name()}
	observed.Min, observed.Max = group.Limits()
	var err error
	if observed.Target, err = group.TargetSize(ctx); err != nil {
		return nil, fmt.Errorf("target size: %w", err)
	}
	template, err := c.templateOf(ctx, group, present)
	if err != nil {
		return nil, fmt.Errorf("template: %w", err)
	}
	observed.Template, observed.Drivers, observed.Storage = template.Node, template.Drivers, template.Storage
	options, err := group.Options(ctx, c.groupDefaults())
	if err != nil {
		return nil, fmt.Errorf("options: %w", err)
	}
	observed.Options = nodes.Options(options)
	if observed.PricePerHour, observed.PriceKnown, err = group.Price(ctx); err != nil {
		return nil, fmt.Errorf("price: %w", err)
	}
	instances, err := group.Instances(ctx)
	if err != nil {
		return nil, fmt.Errorf("machines: %w", err)
	}
	observed.Failing = failing(instances)
	if configured := configuredGroup(c.config.Nodes.Groups, group.Name()); configured != nil {
		observed.Priority = int(configured.Priority)
		if configured.PricePerHour != nil {
			observed.PricePerHour, observed.PriceKnown = *configured.PricePerHour, true
		}
	}
	return observed, nil
}

// templateOf asks for the template. Where the provider has none, a ready node of the group is one.
func (c *Conductor) templateOf(ctx context.Context, group cloud.NodeGroup, present []*corev1.Node) (*cloud.Template, error) {
	template, err := group.Template(ctx)
	var none *cloud.NoTemplateError
	if !errors.As(err, &none) {
		if err == nil && (template == nil || template.Node == nil) {
			err = errors.New("the provider gave none, and no error")
		}
		return template, err
	}
	var sample *corev1.Node
	for _, node := range present {
		// Of several always the same one, or the template would be another in each tick.
		if name, ok := c.nodes.Provider.GroupOf(node); ok && name == group.Name() && ready(node) && (sample == nil || node.Name < sample.Name) {
			sample = node
		}
	}
	if sample == nil {
		return nil, err
	}
	return &cloud.Template{Node: sampled(sample)}, nil
}

// sampled is a node like the given one, as a new one of its group would be.
func sampled(node *corev1.Node) *corev1.Node {
	sample := node.DeepCopy()
	sample.ObjectMeta = metav1.ObjectMeta{Name: node.Name, Labels: sample.Labels, Annotations: sample.Annotations}
	sample.Spec = corev1.NodeSpec{Taints: slices.DeleteFunc(sample.Spec.Taints, func(t corev1.Taint) bool {
		return strings.HasPrefix(t.Key, "node.kubernetes.io/") || t.Key == nodes.ToBeDeletedTaint
	})}
	return sample
}

func ready(node *corev1.Node) bool {
	return slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

func (c *Conductor) groupDefaults() cloud.Options {
	n := c.config.Nodes
	return cloud.Options{
		UtilizationThreshold: *n.UtilizationThreshold, UnneededTime: n.UnneededTime.Duration,
		UnreadyTime: n.UnreadyTime.Duration, MaxNodeProvisionTime: n.MaxNodeProvisionTime.Duration,
	}
}

// failing counts the machines that will never be nodes, by the reason.
func failing(instances []cloud.Instance) []nodes.Failing {
	count := map[string]int{}
	for _, machine := range instances {
		if machine.Failed != nil && machine.State == cloud.InstanceCreating {
			count[strings.TrimSpace(machine.Failed.Code+" "+machine.Failed.Message)]++
		}
	}
	found := make([]nodes.Failing, 0, len(count))
	for reason, n := range count {
		found = append(found, nodes.Failing{Count: n, Reason: reason})
	}
	slices.SortFunc(found, func(a, b nodes.Failing) int { return cmp.Compare(a.Reason, b.Reason) })
	return found
}

// configuredGroup is what the configuration says of a group, by its own name before one that ends in a star.
func configuredGroup(groups []config.NodeGroup, name string) *config.NodeGroup {
	var star *config.NodeGroup
	for i := range groups {
		prefix, all := strings.CutSuffix(groups[i].Name, "*")
		switch {
		case groups[i].Name == name:
			return &groups[i]
		case all && strings.HasPrefix(name, prefix) && (star == nil || len(groups[i].Name) > len(star.Name)):
			star = &groups[i]
		}
	}
	return star
}
