// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	resourcehelper "k8s.io/component-helpers/resource"

	autoscaler "github.com/berth-dev/berth/autoscaler/config"
	"github.com/berth-dev/berth/autoscaler/nodes/status"
)

// staleStatus is how old the status of node groups is when its writer must be gone: it is written once a minute at least.
const staleStatus = 3 * time.Minute

// groups is what the autoscaler says of its node groups.
type groups struct {
	status.Status
	templates status.Templates
	origin    string
	// unread says why nothing is known.
	unread error
}

// readGroups reads the status of the node groups.
func (c *cluster) readGroups(ctx context.Context) (groups, error) {
	g := groups{origin: fmt.Sprintf("ConfigMap %s/%s", autoscaler.Namespace, autoscaler.StatusName)}
	object, err := c.kube.CoreV1().ConfigMaps(autoscaler.Namespace).Get(ctx, autoscaler.StatusName, metav1.GetOptions{})
	if err == nil {
		g.Status, g.templates, err = status.Parse(object.Data)
	}
	if ctx.Err() != nil {
		return g, err
	}
	g.unread = wrap("reading "+g.origin, err)
	return g, nil
}

// advice says what to do where the status is not there.
func (g groups) advice() error {
	if apierrors.IsNotFound(g.unread) {
		return fmt.Errorf("there is no %s: berth-autoscaler writes it, while it leads and nodes.provider is set", g.origin)
	}
	return g.unread
}

// notes says how far the status is to be trusted.
func (g groups) notes(now time.Time) (notes []string) {
	if age := now.Sub(g.Written()); age > staleStatus {
		notes = append(notes, fmt.Sprintf("the status is %s old: berth-autoscaler does not run, or cannot write it", ago(age)))
	}
	if g.Message != "" {
		notes = append(notes, "nothing could be decided the last time: "+g.Message)
	}
	if g.Berth.Incomplete != "" {
		notes = append(notes, "not every pod was looked at the last time: "+g.Berth.Incomplete)
	}
	return notes
}

// acts says what Berth does about nodes.
func (g groups) acts() string {
	switch {
	case g.Berth.Blocked != "":
		return "leaves all nodes alone: " + g.Berth.Blocked
	case g.Berth.Reason != "":
		return "plans, and leaves all nodes alone: " + g.Berth.Reason
	default:
		return "adds and removes nodes"
	}
}

// template is that of a group, nil where it is not known.
func (g groups) template(name string) *status.Template {
	i := slices.IndexFunc(g.templates.Groups, func(t status.Template) bool { return t.Name == name })
	if i < 0 {
		return nil
	}
	return &g.templates.Groups[i]
}

// groupOf is the group of a node, empty where it has none or that is not known.
func (g groups) groupOf(node string) string {
	for _, t := range g.templates.Groups {
		if slices.Contains(t.Nodes, node) {
			return t.Name
		}
	}
	return ""
}

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
