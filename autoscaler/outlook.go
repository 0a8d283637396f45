// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/berth-dev/berth/autoscaler/cloud"
	"github.com/berth-dev/berth/autoscaler/config"
	"github.com/berth-dev/berth/autoscaler/forecast"
	"github.com/berth-dev/berth/autoscaler/nodes"
	"github.com/berth-dev/berth/autoscaler/nodes/drain"
	"github.com/berth-dev/berth/autoscaler/observe"
	"github.com/berth-dev/berth/plugins/policies"
	"github.com/berth-dev/berth/plugins/statefulset"
)

// Outlook tells what a conductor would make of a change that nobody has made:
// by the same forecast, simulation and node decision, and without a write. It is used once.
type Outlook struct {
	conductor *Conductor
	simulate  Simulate
	// prepare makes the change in the simulation, notes are what became of the questions.
	prepare func(Simulation) error
	notes   *notebook
}

// NewOutlook returns an outlook. The provider tells of node groups and is asked for nothing else. Past is what is known
// of failures.
func NewOutlook(c *config.Autoscaler, reader *observe.Reader, book *policies.Book, simulate Simulate, provider cloud.Provider, past nodes.History) *Outlook {
	o := &Outlook{simulate: simulate, prepare: func(Simulation) error { return nil }}
	o.conductor = New(c, Parts{Reader: reader, Policies: book, Simulate: o.begin, Nodes: &NodeParts{Provider: provider}}, func() {})
	o.conductor.history.nodes.engine = past
	return o
}

// Scalable names what replicas are set on.
type Scalable struct {
	Namespace string
	Ref       autoscalingv2.CrossVersionObjectReference
}

// Prospect is what would become of a change.
type Prospect struct {
	// Replicas is how many the workload asks for now.
	Replicas int
	// Pods are those that the change is about, and where each would go.
	Pods []Place
	// Held are pods that would not come, and why.
	Held []forecast.Held
	// Going are pods that would end.
	Going []*corev1.Pod
	// Fewer is how many pods would end of which nobody knows which.
	Fewer int
	// Decision is what would be done about nodes, for the pods and for all others that wait or are about to come.
	Decision nodes.Decision
	// Kept says, of a drain, why Berth would not remove the node by itself.
	Kept []string
}

// Place is where a pod would go.
type Place struct {
	Pod *corev1.Pod
	// Exists tells that the pod is there, and waits or moves.
	Exists bool
	// Node is where it would go; empty where it would wait. A node that is not there yet has no name: New tells that it
	// would be added, Upcoming that it is on its way.
	Node          string
	New, Upcoming bool
	// Group is that of the node.
	Group string
	// Nth numbers the new nodes of a group, and those on their way, from 1.
	Nth int
	// Reasons are those of the present nodes why the pod would wait, Groups those of node groups.
	Reasons, Groups []string
	// Fate is what a drain would make of a pod, and Why says why it is not simply moved: Later, if that is only because
	// of others that move.
	Fate  drain.Fate
	Why   string
	Later bool
}

// Scale tells what would become of a workload with so many replicas. The error is that of the API where its scale cannot be read.
func (o *Outlook) Scale(ctx context.Context, of Scalable, replicas int) (Prospect, error) {
	c := o.conductor
	target, err := c.scalable(ctx, of, replicas)
	if err != nil {
		return Prospect{}, err
	}
	present, pods := c.reader.Nodes(), c.reader.Pods()
	own, going, fewer := c.ending(target, replicas, pods)
	future := forecast.Decide(c.futureInput(target.expected, pods))
	gone := uidsOf(going)
	remaining := slices.DeleteFunc(slices.Clone(pods), func(pod *corev1.Pod) bool { return gone[pod.UID] })
	o.prepare = func(s Simulation) error {
		for _, pod := range going {
			if err := s.RemovePod(pod); err != nil {
				return fmt.Errorf("taking pod %s/%s away: %w", pod.Namespace, pod.Name, err)
			}
		}
		return nil
	}
	d, err := o.decide(ctx, present, pods, remaining, nil, future)
	if err != nil {
		return Prospect{}, err
	}
	p := Prospect{Replicas: target.replicas, Going: going, Fewer: fewer, Decision: d}
	for _, pod := range remaining {
		if own[pod.UID] && pod.Spec.NodeName == "" && nodes.Waits(pod, nodes.Defaults().ExpendablePriority) {
			p.Pods = append(p.Pods, o.place(pod, true, d))
		}
	}
	for _, pod := range future.Pods {
		if target.has(pod) {
			p.Pods = append(p.Pods, o.place(pod, false, d))
		}
	}
	for _, held := range future.Held {
		if target.name == (scaled{held.Kind, held.Namespace, held.Name}) {
			p.Held = append(p.Held, held)
		}
	}
	return p, nil
}

// behind says which lower slot a set that is filled in order waits for; empty where it waits for none.
func (c *Conductor) behind(pod *corev1.Pod, unhelped []nodes.Unhelped) string {
	slot, ok := statefulset.SlotOf(pod)
	if !ok {
		return ""
	}
	lowest := slot
	for _, u := range unhelped {
		for ordinal := range lowest.Ordinal {
			lower := statefulset.Slot{Set: slot.Set, Ordinal: ordinal}
			if u.Pod == (types.NamespacedName{Namespace: slot.Set.Namespace, Name: lower.PodName()}) {
				lowest = lower
			}
		}
	}
	if lowest == slot {
		return ""
	}
	return fmt.Sprintf("its set makes it once %s is ready, which waits itself (podManagementPolicy OrderedReady)", lowest.PodName())
}

// scaling is a workload that is to be scaled.
type scaling struct {
	// name is that of the workload whose pods come, which is another one where the target makes it.
	name     scaled
	expected expectations
	// replicas is how many it asks for now.
	replicas int
	// has tells its pods, those that are to come, too.
	has func(*corev1.Pod) bool
}

// scalable finds out whose pods would come.
func (c *Conductor) scalable(ctx context.Context, of Scalable, replicas int) (scaling, error) {
	scale, err := c.reader.Scale(ctx, of.Namespace, of.Ref)
	if err != nil {
		return scaling{}, err
	}
	s := scaling{name: scaled{of.Ref.Kind, of.Namespace, of.Ref.Name}, replicas: int(scale.SpecReplicas), expected: expectations{desired: map[scaled]int{}, reserve: map[scaled]int{}}}
	if observed(of.Ref) {
		s.expected.desired[s.name] = replicas
		s.has = func(pod *corev1.Pod) bool { return c.of(pod, s.name) }
		return s, nil
	}
	selector, err := labels.Parse(scale.Selector)
	if err != nil || selector.Empty() {
		return scaling{}, fmt.Errorf("which pods %s/%s has is not known: its scale names none", of.Ref.Kind, of.Ref.Name)
	}
	s.has = func(pod *corev1.Pod) bool {
		return pod.Namespace == of.Namespace && selector.Matches(labels.Set(pod.Labels))
	}
	e := expectation{target: targetOf(of.Namespace, of.Ref), foreign: true, selector: selector, current: s.replicas, desired: replicas}
	if s.name = c.within(e); s.name != (scaled{}) {
		s.expected.desired[s.name] = replicas
	} else {
		s.name, s.expected.foreign = e.target, []expectation{e}
	}
	return s, nil
}

// decide asks the engine. Present and pods are what there is, remaining the pods that are left.
func (o *Outlook) decide(ctx context.Context, present []*corev1.Node, pods, remaining []*corev1.Pod, change func(*nodes.Input), future forecast.Decision) (nodes.Decision, error) {
	c := o.conductor
	in, _, err := c.observeNodes(ctx, present, remaining)
	if err != nil {
		return nodes.Decision{}, err
	}
	left := map[types.UID]bool{}
	for _, pod := range remaining {
		left[pod.UID] = true
	}
	in.Pending = slices.DeleteFunc(in.Pending, func(pod *corev1.Pod) bool { return !left[pod.UID] })
	if change != nil {
		change(&in)
	}
	o.notes = newNotebook(in)
	return c.placeNodes(ctx, in, present, pods, future)
}

// begin is the simulation that the conductor gets: the one with the change, which is noted down.
func (o *Outlook) begin(ctx context.Context, present []*corev1.Node, pods []*corev1.Pod) (Simulation, error) {
	s, err := o.simulate(ctx, present, pods)
	if err != nil {
		return nil, err
	}
	if err := o.prepare(s); err != nil {
		s.Close()
		return nil, err
	}
	o.notes.Simulation = s
	return o.notes, nil
}

// place is where a pod went.
func (o *Outlook) place(pod *corev1.Pod, exists bool, d nodes.Decision) Place {
	name := types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}
	place := Place{Pod: pod, Exists: exists}
	if node := o.notes.final[name]; node != "" {
		place.Node, place.Group, place.Upcoming, place.New = o.notes.describe(node)
		place.Nth = o.notes.nth(node)
		return place
	}
	if i := slices.IndexFunc(d.Unhelped, func(u nodes.Unhelped) bool { return u.Pod == name }); i >= 0 {
		place.Reasons, place.Groups = d.Unhelped[i].Present, d.Unhelped[i].Groups
	}
	if len(place.Reasons)+len(place.Groups) == 0 {
		place.Reasons = []string{cmp.Or(d.Blocked, d.Incomplete, o.conductor.behind(pod, d.Unhelped), "nobody was asked for a place for it")}
	}
	return place
}

// ending are the pods of a workload, and of them those that end, with the number of those that nobody knows yet.
func (c *Conductor) ending(target scaling, replicas int, pods []*corev1.Pod) (own map[types.UID]bool, going []*corev1.Pod, fewer int) {
	var all []*corev1.Pod
	for _, pod := range pods {
		if target.has(pod) && !ended(pod) {
			all = append(all, pod)
		}
	}
	set := c.reader.StatefulSet(target.name.namespace, target.name.name)
	if target.name.kind != "StatefulSet" || set == nil {
		return uidsOf(all), nil, max(0, alive(all)-replicas)
	}
	wanted := ordinals(set, replicas)
	for _, pod := range all {
		if slot, ok := statefulset.SlotOf(pod); ok && !slices.Contains(wanted, slot.Ordinal) {
			going = append(going, pod)
		}
	}
	slices.SortFunc(going, func(a, b *corev1.Pod) int {
		return cmp.Or(cmp.Compare(len(a.Name), len(b.Name)), cmp.Compare(a.Name, b.Name))
	})
	return uidsOf(all), going, 0
}

// of tells whether a pod is one of a workload.
func (c *Conductor) of(pod *corev1.Pod, name scaled) bool {
	if pod.Namespace != name.namespace {
		return false
	}
	if top := c.reader.Scaled(pod); top.Kind == name.kind && top.Name == name.name {
		return true
	}
	owner := metav1.GetControllerOfNoCopy(pod)
	return owner != nil && owner.Kind == name.kind && owner.Name == name.name
}

func uidsOf(pods []*corev1.Pod) map[types.UID]bool {
	uids := make(map[types.UID]bool, len(pods))
	for _, pod := range pods {
		uids[pod.UID] = true
	}
	return uids
}

// notebook is a simulation that notes where pods went.
type notebook struct {
	Simulation
	// marks are the notes as they were at each fork, final those of when the outermost was reverted.
	marks []map[types.NamespacedName]string
	now   map[types.NamespacedName]string
	final map[types.NamespacedName]string

	groupOf  map[string]string // of present nodes
	upcoming map[string]bool
	groups   []nodes.Group
}

func newNotebook(in nodes.Input) *notebook {
	n := &notebook{now: map[types.NamespacedName]string{}, groupOf: map[string]string{}, upcoming: map[string]bool{}, groups: slices.Clone(in.Groups)}
	slices.SortFunc(n.groups, func(a, b nodes.Group) int { return cmp.Compare(len(b.Name), len(a.Name)) })
	for _, node := range in.Nodes {
		n.groupOf[node.Object.Name] = node.Group
	}
	for _, node := range nodes.Upcoming(in) {
		n.upcoming[node.Name] = true
	}
	return n
}

func (n *notebook) Fork() {
	n.marks = append(n.marks, maps.Clone(n.now))
	n.Simulation.Fork()
}

func (n *notebook) Revert() {
	if n.final = n.now; len(n.marks) > 0 {
		n.now, n.marks = n.marks[len(n.marks)-1], n.marks[:len(n.marks)-1]
	}
	n.Simulation.Revert()
}

func (n *notebook) Place(pod *corev1.Pod, among ...string) (string, []string, error) {
	node, reasons, err := n.Simulation.Place(pod, among...)
	if node != "" {
		n.now[types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}] = node
	}
	return node, reasons, err
}

// describe tells of a node of the simulation whether it is there, on its way, or new, and its group.
func (n *notebook) describe(node string) (name, group string, upcoming, added bool) {
	if group, present := n.groupOf[node]; present {
		return node, group, n.upcoming[node], false
	}
	for _, g := range n.groups { // the longest names first: one may begin with another
		if rest, ok := strings.CutPrefix(node, g.Name+"-"); ok && (strings.HasPrefix(rest, "new-") || strings.HasPrefix(rest, "awaited-")) {
			return "", g.Name, n.upcoming[node], !n.upcoming[node]
		}
	}
	return node, "", n.upcoming[node], !n.upcoming[node]
}

// nth numbers a node that is not there yet among those of its group; 0 for others.
func (n *notebook) nth(node string) int {
	name, group, upcoming, _ := n.describe(node)
	if name != "" {
		return 0
	}
	seen := map[string]bool{}
	for _, other := range n.final {
		if name, of, way, _ := n.describe(other); name == "" && of == group && way == upcoming {
			seen[other] = true
		}
	}
	inOrder := slices.SortedFunc(maps.Keys(seen), func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
	return slices.Index(inOrder, node) + 1
}
