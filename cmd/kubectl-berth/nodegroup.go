// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	resourcehelper "k8s.io/component-helpers/resource"

	"github.com/berth-dev/berth/autoscaler/nodes/status"
)

// explainGroup says how a node group stands, and each of its nodes.
func (c *cluster) explainGroup(ctx context.Context, name string) (*groupReport, error) {
	known, all, pods, err := c.readNodes(ctx, metav1.NamespaceAll)
	if err != nil {
		return nil, err
	}
	if known.unread != nil {
		return nil, known.advice()
	}
	r := &groupReport{Name: name, BerthActs: known.acts(), Origin: known.origin, Written: known.Time, Notes: known.notes(c.now()), now: c.now()}
	switch i := known.index(name); {
	case i >= 0:
		r.Status = known.NodeGroups[i]
	case known.leftAlone(name) != "":
		r.LeftAlone = known.leftAlone(name)
		known.Berth.Unread = nil // the others do not matter here
		r.Notes = known.notes(c.now())
		return r, nil
	default:
		return nil, fmt.Errorf("node group %q not found: berth-autoscaler has %s", name, cmp.Or(strings.Join(nearest(name, known.names()), ", "), "none"))
	}
	if t := known.template(name); t != nil {
		r.Template = &templateReport{Labels: t.Labels, Taints: t.Taints, Allocatable: t.Allocatable, Drivers: t.Drivers, Storage: t.Storage}
		for _, node := range t.Nodes {
			if object := all[node]; object != nil {
				r.Nodes = append(r.Nodes, c.newNodeReport(known, object, pods[node]))
			}
		}
	}
	if r.Template == nil {
		r.Notes = append(r.Notes, "what its nodes are had no room in the status")
	}
	if known.templates.NodesLeftOut > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("of all groups, the names of %s had no room in the status", count(known.templates.NodesLeftOut, "node")))
	}
	var over []string
	for i := range r.Nodes {
		if r.Nodes[i].Requests.over() {
			over = append(over, r.Nodes[i].Name)
		}
	}
	if few, _ := first(mostNodes, over); len(few) > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("over-committed: %s; pods ask for more than there is, as another scheduler may bind pods there", strings.Join(few, ", ")))
	}
	for _, u := range known.Berth.Unhelped {
		if why, ok := refusalBy(name, known.names(), u.Groups); ok {
			r.Waiting = append(r.Waiting, waitingReport{Pod: u.Pod, Forecast: u.Forecast, Reason: why})
		}
	}
	if left := known.Berth.LeftOut.Unhelped; left > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("%d more pods that no group can help had no room in the status", left))
	}
	return r, nil
}

// explainNode says of one node what its group would do with it.
func (c *cluster) explainNode(ctx context.Context, name string) (*nodeReport, error) {
	known, all, pods, err := c.readNodes(ctx, metav1.NamespaceAll)
	if err != nil {
		return nil, err
	}
	if all[name] == nil {
		return nil, noNode(name, keys(all))
	}
	r := c.newNodeReport(known, all[name], pods[name])
	if known.unread != nil {
		r.Notes = append(r.Notes, fmt.Sprintf("what becomes of the node is not known: %v", known.advice()))
	} else {
		r.Notes = append(r.Notes, known.notes(c.now())...)
		r.BerthActs = known.acts()
	}
	return &r, nil
}

func noNode(name string, have []string) error {
	return fmt.Errorf("node %q not found: the cluster has %s", name, cmp.Or(strings.Join(nearest(name, have), ", "), "none"))
}

// readNodes reads the status, all nodes, and the pods on them.
func (c *cluster) readNodes(ctx context.Context, namespace string) (known groups, nodes map[string]*v1.Node, onNode map[string][]*v1.Pod, err error) {
	var listed listing[*v1.Node]
	var pods listing[*v1.Pod]
	err = together(ctx,
		read(&listed, "nodes", c.kube.CoreV1().Nodes().List),
		read(&pods, "pods", c.kube.CoreV1().Pods(namespace).List),
		func(ctx context.Context) (err error) { known, err = c.readGroups(ctx); return err },
	)
	onNode = map[string][]*v1.Pod{}
	for _, namespace := range keys(pods) {
		for _, name := range keys(pods[namespace]) {
			if pod := pods[namespace][name]; pod.Spec.NodeName != "" && pod.Status.Phase != v1.PodSucceeded && pod.Status.Phase != v1.PodFailed {
				onNode[pod.Spec.NodeName] = append(onNode[pod.Spec.NodeName], pod)
			}
		}
	}
	return known, listed[metav1.NamespaceNone], onNode, err
}

// names are those of all groups, also of those that nothing is known of.
func (g groups) names() (names []string) {
	for _, group := range g.NodeGroups {
		names = append(names, group.Name)
	}
	for _, group := range g.Berth.Unread {
		names = append(names, group.Group)
	}
	return names
}

// newNodeReport is what there is to say about a node.
func (c *cluster) newNodeReport(known groups, node *v1.Node, pods []*v1.Pod) nodeReport {
	r := nodeReport{
		Name: node.Name, Group: known.groupOf(node.Name), State: nodeState(node), Created: node.CreationTimestamp,
		Pods: len(pods), Requests: shares(node, pods), now: c.now(),
	}
	r.Fate = known.fate(r)
	if r.Requests.over() {
		r.Notes = append(r.Notes, "over-committed: its pods ask for more than it has, as another scheduler may bind pods there")
	}
	r.going = slices.ContainsFunc(known.Berth.Draining, func(d status.Drain) bool { return d.Node == node.Name })
	return r
}

// shares are the parts of a node that its pods ask for.
func shares(node *v1.Node, pods []*v1.Pod) sharesReport {
	var cpu, memory int64
	for _, pod := range pods {
		requests := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})
		cpu, memory = cpu+requests.Cpu().MilliValue(), memory+requests.Memory().Value()
	}
	percent := func(part, whole int64) *int {
		if whole == 0 {
			return nil
		}
		p := int(math.RoundToEven(100 * float64(part) / float64(whole))) // as %.0f does, by which Berth says it elsewhere
		return &p
	}
	return sharesReport{
		CPUPercent:    percent(cpu, node.Status.Allocatable.Cpu().MilliValue()),
		MemoryPercent: percent(memory, node.Status.Allocatable.Memory().Value()),
	}
}

// refusalBy finds what a group says, in reasons that begin with the names of those who have it in common. Where many
// have, only some are named: a group that is named nowhere is one of the others. Names may have any characters, so
// the known ones are looked for.
func refusalBy(group string, known, reasons []string) (string, bool) {
	var unnamed []string
	for _, reason := range reasons {
		who, text := "", reason
		for _, word := range []string{"groups ", "group "} {
			if rest, found := strings.CutPrefix(reason, word); found {
				who, text = word, rest
				break
			}
		}
		named, text := namedFirst(known, text)
		others, why, found := strings.Cut(text, ": ")
		switch {
		case who == "" || !found:
		case slices.Contains(named, group):
			return why, true
		case strings.HasSuffix(others, " more"): // "and 3 more"
			unnamed = append(unnamed, why)
		}
	}
	return strings.Join(unnamed, "; or "), len(unnamed) > 0
}

// namedFirst returns the known names with which a text begins, and what is after them.
func namedFirst(known []string, text string) (named []string, rest string) {
	for {
		longest := ""
		for _, name := range known {
			after, found := strings.CutPrefix(text, name)
			ends := strings.HasPrefix(after, ", ") || strings.HasPrefix(after, ": ") || strings.HasPrefix(after, " and ")
			if found && ends && len(name) > len(longest) {
				longest = name
			}
		}
		if longest == "" {
			return named, text
		}
		named, text = append(named, longest), strings.TrimPrefix(text[len(longest):], ", ")
	}
}
