// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Planner answers where slots belong, and remembers the answers. It is told of
// every change of what it read (SetChanged, SlotChanged, PodSettled,
// NodeChanged, PolicyChanged, and Expired as time passes) and works out again
// only what depends on it: the facts of a changed slot, the domains a changed
// node may have opened or closed, the plan of a set whose homes or domains are
// others now. Those methods return the pods that wait and whose answer is
// another one now; whoever calls wakes exactly these.
//
// One lock is held from reading to remembering, and the source is always as
// new as the change that is told, so an answer from before a change can not
// outlive it. All methods may be called from any goroutine.
type Planner struct {
	source Source
	rules  Rules

	mu       sync.Mutex
	topology *topology // nil until first asked for
	records  map[SetKey]*record
	reserved map[Slot]reservation
	bound    map[SetKey]map[int]string // by slot that was bound before, the node of its last pod
	unready  map[label]time.Time       // since when a domain has no ready node
	watched  map[string]struct{}       // the topology keys of domains that may be lost
	forks    int                       // checkpoints that are not restored
	undo     []func()                  // what takes back what was remembered since the first of them
}

// reservation is a slot whose pod has a node in memory, not yet in the API.
type reservation struct {
	uid    types.UID
	node   string
	labels map[string]string
}

// Answer is where a slot belongs, and by which policy. Without a policy, or
// with one that does not spread, the placement has no domain.
type Answer struct {
	Placement
	Policy *Policy
	// held are the ordinals of the set by the one node that their volumes leave
	// them, where slots want nodes of their own, and own is that node of the
	// slot itself. The map is never changed.
	held map[string]int
	own  string
}

// Held returns the other slot of the set whose volume can be reached from this
// node only, where slots want nodes of their own. A slot whose own volume
// leaves it no other node gives way to nobody who is not there.
func (a Answer) Held(node string) (ordinal int, held bool) {
	ordinal, held = a.held[node]
	return ordinal, held && ordinal != a.Slot.Ordinal && node != a.own
}

// Spread tells whether the policy gives the slot a domain.
func (a Answer) Spread() bool { return a.Policy != nil && a.Policy.Spread != nil }

// NewPlanner returns a planner that reads from source when asked.
func NewPlanner(source Source, rules Rules) *Planner {
	return &Planner{
		source: source, rules: rules,
		records: map[SetKey]*record{}, reserved: map[Slot]reservation{},
		bound: map[SetKey]map[int]string{}, unready: map[label]time.Time{}, watched: map[string]struct{}{},
	}
}

// Place returns where the slot of a pod belongs. The pod counts as waiting
// until it is reserved or gone. The error is a SetUnknownError or a
// PolicyUnknownError.
func (p *Planner) Place(slot Slot, pod *corev1.Pod) (Answer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.record(slot.Set)
	answer, err := p.place(r, slot, pod)
	r.waiting[slot.Ordinal] = waiter{pod: pod, told: r.tell(answer, err)}
	return answer, err
}

// PlanOf returns the whole plan of a set as a pod of it would be answered, or
// an empty one if nothing spreads the set. Nobody waits afterwards who did not
// wait before.
func (p *Planner) PlanOf(slot Slot, pod *corev1.Pod) (Plan, Answer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.record(slot.Set)
	answer, err := p.place(r, slot, pod)
	if err != nil || r.plan == nil {
		return Plan{}, answer, err
	}
	plan := *r.plan // its slots may get homes later
	plan.entries, plan.slots, plan.counts = slices.Clone(plan.entries), slices.Clone(plan.slots), slices.Clone(plan.counts)
	return plan, answer, nil
}

// Reserve makes the node a slot's home from now on. The node is given with its
// labels, since a node of a simulation is known to no informer.
func (p *Planner) Reserve(slot Slot, uid types.UID, node *corev1.Node) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reserved[slot] = reservation{uid: uid, node: node.Name, labels: node.Labels}
	r := p.record(slot.Set)
	delete(r.waiting, slot.Ordinal)
	r.forget(slot.Ordinal)
}

// Unreserve takes back the reservation of this very pod, if there is one.
func (p *Planner) Unreserve(slot Slot, uid types.UID) (wake []*corev1.Pod) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if held, ok := p.reserved[slot]; !ok || held.uid != uid {
		return nil
	}
	delete(p.reserved, slot)
	return p.changed(slot)
}

// SlotChanged tells that the slot's pod, a claim or a volume of it came, went
// or changed.
func (p *Planner) SlotChanged(slot Slot) (wake []*corev1.Pod) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed(slot)
}

// PodBound tells that a slot's pod has its node: it no longer waits, its
// reservation has served, and the slot is one that was bound before.
func (p *Planner) PodBound(slot Slot, uid types.UID, node string) (wake []*corev1.Pod) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.remember(slot, node)
	p.settle(slot, uid)
	return p.changed(slot)
}

// PodGone tells that a slot's pod is gone: it no longer waits, and its
// reservation is void.
func (p *Planner) PodGone(slot Slot, uid types.UID) (wake []*corev1.Pod) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.settle(slot, uid)
	if slot.Set.Selected { // no set says which slots it wants
		p.forgetUnwanted(slot.Set)
	}
	return p.changed(slot)
}

func (p *Planner) settle(slot Slot, uid types.UID) {
	if held, ok := p.reserved[slot]; ok && held.uid == uid {
		delete(p.reserved, slot)
	}
	if r := p.records[slot.Set]; r != nil {
		for _, waiting := range []map[int]waiter{r.waiting, r.gated} {
			if waiting[slot.Ordinal].waits(uid) {
				delete(waiting, slot.Ordinal)
			}
		}
	}
}

// SetChanged tells that the set came, went or changed its ordinals, its claim
// templates or the labels of its pods.
func (p *Planner) SetChanged(key SetKey) (wake []*corev1.Pod) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forgetUnwanted(key)
	if r := p.records[key]; r != nil {
		return p.reconsider(key, r)
	}
	return nil
}

// PolicyChanged tells that another policy may place sets: those for which
// concerned is true.
func (p *Planner) PolicyChanged(concerned func(SetKey) bool) (wake []*corev1.Pod) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, r := range p.records {
		if !concerned(key) {
			continue
		}
		if !key.Selected {
			wake = append(wake, p.reconsider(key, r)...)
			continue
		}
		// Its pods may be other slots now, or none: who waits comes again as that.
		for _, waiting := range []map[int]waiter{r.waiting, r.gated} {
			for _, w := range waiting {
				wake = append(wake, w.pod)
			}
		}
		delete(p.records, key)
	}
	for key := range p.bound {
		if key.Selected && concerned(key) {
			p.forgetUnwanted(key)
		}
	}
	return wake
}

// NodeChanged tells that a node came, changed or went. Only what differs from
// the node as the planner read it counts: heartbeats, and events that arrive
// after the planner has read their outcome, cost a comparison.
func (p *Planner) NodeChanged(name string) (wake []*corev1.Pod) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.topology == nil {
		return nil
	}
	before, after := p.topology.byName[name], p.source.Node(name)
	if !topologyChanged(before, after) {
		return nil
	}
	p.topology.replace(name, after)
	p.noteReadiness(before)
	p.noteReadiness(after)
	for key, r := range p.records {
		if p.nodeConcerns(r, before, after) {
			wake = append(wake, p.reconsider(key, r)...)
		}
	}
	return wake
}

// Expired tells that time has passed. It is cheap when no domain is about to
// be lost.
func (p *Planner) Expired() (wake []*corev1.Pod) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.rules.Now()
	for key, r := range p.records {
		if !r.deadline.IsZero() && !now.Before(r.deadline) {
			wake = append(wake, p.reconsider(key, r)...)
		}
	}
	return wake
}

// Suits tells whether a waiting pod was told to wait for nodes like this one:
// in a domain it may have, selected by the rule for it. It is not known for a
// pod that does not wait.
func (p *Planner) Suits(slot Slot, uid types.UID, node *corev1.Node) (suits, known bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.records[slot.Set]
	if r == nil || !r.waiting[slot.Ordinal].waits(uid) {
		return false, false
	}
	is := r.waiting[slot.Ordinal].told
	if is.policy == nil {
		return false, true
	}
	if rule := is.policy.RuleOf(slot.Ordinal); rule >= 0 && !is.policy.Rules[rule].Selects(node) {
		return false, true
	}
	if is.policy.Spread == nil {
		return true, true
	}
	domain := node.Labels[is.policy.Spread.TopologyKey]
	return domain != "" && (domain == is.domain || slices.Contains(strings.Split(is.fallback, ","), domain)), true
}

// Reach returns the values of a topology key from which a volume can be
// reached, sorted; none for a volume that may be reached from anywhere, or
// from no node that exists.
func (p *Planner) Reach(volume *corev1.PersistentVolume, topologyKey string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	domains, _ := p.nodes().reach(volume, topologyKey, p.rules.Reaches)
	return domains
}

// Checkpoint remembers which slots are reserved, where they were and who
// waits; restore puts that back. A simulation asks between the two.
func (p *Planner) Checkpoint() (restore func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forks++
	undo := len(p.undo)
	reserved := maps.Clone(p.reserved)
	waiting := make(map[SetKey]map[int]waiter, len(p.records))
	for key, r := range p.records {
		waiting[key] = maps.Clone(r.waiting)
	}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.forks--
		for i := len(p.undo) - 1; i >= undo; i-- {
			p.undo[i]()
		}
		p.undo = p.undo[:undo]
		for _, slots := range []map[Slot]reservation{p.reserved, reserved} {
			for slot := range slots {
				p.record(slot.Set).forget(slot.Ordinal)
			}
		}
		p.reserved = maps.Clone(reserved)
		for key, r := range p.records {
			r.waiting = maps.Clone(waiting[key])
			if r.waiting == nil {
				r.waiting = map[int]waiter{}
			}
		}
	}
}

// nodes returns the topology, which is read once and kept up to date by
// NodeChanged.
func (p *Planner) nodes() *topology {
	if p.topology == nil {
		p.topology = newTopology(p.source.Nodes())
	}
	return p.topology
}
