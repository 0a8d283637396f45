// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"fmt"
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
	i := slices.IndexFunc(known.NodeGroups, func(g status.NodeGroup) bool { return g.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("node group %q not found: berth-autoscaler has %s", name, cmp.Or(strings.Join(nearest(name, known.names()), ", "), "none"))
	}
	r := &groupReport{Name: name, Status: known.NodeGroups[i], BerthActs: known.acts(), Origin: known.origin, Written: known.Time, Notes: known.notes(c.now()), now: c.now()}
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
	for _, u := range known.Berth.Unhelped {
		if why, ok := refusalBy(name, u.Groups); ok {
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
	r.alone = true
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

func (g groups) names() (names []string) {
	for _, group := range g.NodeGroups {
		names = append(names, group.Name)
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
	return r
}

// fate is what becomes of a node, as far as the autoscaler has said.
func (g groups) fate(of nodeReport) string {
	now := of.now
	is := func(node string) bool { return node == of.Name }
	if i := slices.IndexFunc(g.Berth.Draining, func(d status.Drain) bool { return is(d.Node) }); i >= 0 {
		d := g.Berth.Draining[i]
		return fmt.Sprintf("goes: is being emptied for %s, %s left; %s", ago(now.Sub(d.Since.Time)), count(d.Pods, "pod"), cmp.Or(d.Reason, d.Step))
	}
	if i := slices.IndexFunc(g.Berth.Kept, func(k status.Kept) bool { return is(k.Node) }); i >= 0 {
		return "stays: " + g.Berth.Kept[i].Reason
	}
	if i := slices.IndexFunc(g.Berth.Unneeded, func(u status.Unneeded) bool { return is(u.Node) }); i >= 0 {
		u := g.Berth.Unneeded[i]
		text := fmt.Sprintf("not needed for %s; ", ago(now.Sub(u.Since.Time)))
		if wait := u.Until.Sub(now); wait > 0 {
			return text + fmt.Sprintf("may go in %s unless that changes", ago(wait))
		}
		return text + "may go any time"
	}
	switch {
	case g.unread != nil:
		return ""
	case of.Group == "" && g.templates.LeftOut+g.templates.NodesLeftOut > 0, g.Berth.LeftOut.Kept+g.Berth.LeftOut.Unneeded+g.Berth.LeftOut.Draining > 0:
		return "" // there was no room to say
	case of.Group == "":
		return "stays: it is of no node group of Berth's"
	case !strings.HasPrefix(of.State, "Ready"):
		return "stays for a while: it is not ready"
	default:
		return "stays: it is in use"
	}
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
		p := int(part * 100 / whole)
		return &p
	}
	return sharesReport{
		CPUPercent:    percent(cpu, node.Status.Allocatable.Cpu().MilliValue()),
		MemoryPercent: percent(memory, node.Status.Allocatable.Memory().Value()),
	}
}

// refusalBy finds what a group says, in reasons that begin with the names of those who have it in common. Where many
// have, only some are named: a group that is named nowhere is one of the others.
func refusalBy(group string, reasons []string) (string, bool) {
	var unnamed []string
	for _, reason := range reasons {
		names, why, found := strings.Cut(reason, ": ")
		if !found {
			continue
		}
		names = strings.TrimPrefix(strings.TrimPrefix(names, "groups "), "group ")
		if some, _, more := cutLast(names, " and "); more && strings.HasSuffix(names, " more") {
			names, unnamed = some, append(unnamed, why)
		}
		if slices.Contains(strings.Split(names, ", "), group) {
			return why, true
		}
	}
	return strings.Join(unnamed, "; or "), len(unnamed) > 0
}

func cutLast(text, at string) (before, after string, found bool) {
	i := strings.LastIndex(text, at)
	if i < 0 {
		return text, "", false
	}
	return text[:i], text[i+len(at):], true
}
