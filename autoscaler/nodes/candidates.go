// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/berth-dev/berth/autoscaler/nodes/drain"
)

// again is how soon a node is looked at again that could not go, where there is more room than there was.
const again = 30 * time.Second

// undone is the rule by which a node stays whose removal was begun.
const undone = "Undone"

// Unremovable is a node that could not go.
type Unremovable struct {
	At           time.Time
	Rule, Reason string
	// Pods stands for the pods on the node, FreeCPU and FreeMemory for the room on all nodes, as they were then.
	Pods                uint64
	FreeCPU, FreeMemory int64
}

// Undone returns the history after a node was to go and stayed.
func (h History) Undone(node types.UID, reason string, now time.Time) History {
	next := map[types.UID]Unremovable{}
	for uid, u := range h.Unremovable {
		next[uid] = u
	}
	next[node] = Unremovable{At: now, Rule: undone, Reason: reason}
	h.Unremovable = next
	return h
}

// leaver is a candidate for removal: a node that has been under-used for long enough.
type leaver struct {
	*node
	group       *group
	since       time.Duration
	limit       time.Duration
	utilization Utilization
	pods        []*v1.Pod
	obstacle    drain.Verdict
	top         int // the highest ordinal on it
}

// candidates returns the nodes that may go, the emptiest first; of equally empty ones that with the highest ordinal.
func (r *remover) candidates() []*leaver {
	var found []*leaver
	for _, n := range r.nodes {
		since, known := r.in.History.UnneededSince[n.Object.UID]
		if !known || !r.unneeded(n) {
			continue
		}
		c := &leaver{
			node: n, group: r.byName[n.Group], since: r.in.Now.Sub(since), limit: r.own(r.byName[n.Group]).UnneededTime,
			utilization: r.utilization(n), top: -1,
		}
		if n.state == unreadyNow {
			c.limit = r.own(c.group).UnreadyTime
		}
		if c.since < c.limit {
			continue
		}
		c.pods, c.obstacle = r.movable(n)
		for _, pod := range c.pods {
			c.top = max(c.top, r.judge.Ordinal(pod))
		}
		found = append(found, c)
	}
	slices.SortFunc(found, func(a, b *leaver) int {
		return cmp.Or(
			boolCompare(!a.empty(), !b.empty()),
			cmp.Compare(a.utilization.most(), b.utilization.most()),
			cmp.Compare(b.top, a.top),
			cmp.Compare(a.Object.Name, b.Object.Name),
		)
	})
	return found
}

// empty tells that nothing has to move for the node to go.
func (c *leaver) empty() bool { return len(c.pods) == 0 }

// hash stands for the pods on the node.
func (c *leaver) hash() uint64 {
	h := fnv.New64a()
	for _, pod := range c.pods {
		h.Write([]byte(pod.UID)) // a hash never fails
		h.Write([]byte{0})
	}
	return h.Sum64()
}

// consider removes a node, or says why it is kept. A node that there was no time for is not mentioned.
func (r *remover) consider(c *leaver) error {
	// What moved since the candidates were sorted may have taken the turn of these pods.
	c.pods, c.obstacle = r.movable(c.node)
	for _, rule := range nodeRules() {
		if reason := rule.say(r, c); reason != "" {
			r.keep(c, rule.name, reason)
			return nil
		}
	}
	if known, ok := r.remembered(c); ok {
		if known.Rule == undone {
			wait := known.At.Add(r.in.Config.Recheck).Sub(r.in.Now)
			known.Reason = fmt.Sprintf("left alone for another %s: its removal was undone: %s", wait.Round(time.Second), known.Reason)
		}
		r.keep(c, known.Rule, known.Reason)
		return nil
	}
	if r.simulated >= r.in.Config.MaxCandidates {
		return nil
	}
	r.simulated++
	moves, why, err := r.moveAway(c.node, c.pods)
	if err != nil {
		return err
	}
	if why != "" {
		r.keep(c, "NoPlace", why)
		if r.unremovable == nil {
			r.unremovable = map[types.UID]Unremovable{}
		}
		r.unremovable[c.Object.UID] = Unremovable{
			At: r.in.Now, Rule: "NoPlace", Reason: why, Pods: c.hash(), FreeCPU: r.room.cpu, FreeMemory: r.room.memory,
		}
		return nil
	}
	if c.empty() {
		r.empties++
	} else {
		r.drains++
	}
	r.judge.Take(c.pods...)
	r.take(c.node, c.group, Removal{Moves: moves, Utilization: c.utilization, Reason: c.reason()})
	return nil
}

func (c *leaver) reason() string {
	room := fmt.Sprintf("group %s has %d nodes, minimum %d", c.group.Name, c.group.size(), c.group.Min)
	after := fmt.Sprintf("for %s (limit %s); %s", c.since.Round(time.Second), c.limit, room)
	if c.state == unreadyNow {
		after = "not ready, and " + after
	}
	if c.node.empty() {
		return "empty " + after
	}
	return fmt.Sprintf("%s of it are requested, %s; %d pods have a place elsewhere", c.utilization, after, len(c.pods))
}

func (r *remover) keep(c *leaver, rule, reason string) {
	r.decision.Kept = append(r.decision.Kept, Kept{Node: c.Object.Name, Reason: reason, Rule: rule})
}

// remembered is why the node could not go a moment ago, where nothing has changed since that would let it.
func (r *remover) remembered(c *leaver) (Unremovable, bool) {
	known, ok := r.in.History.Unremovable[c.Object.UID]
	age := r.in.Now.Sub(known.At)
	switch {
	case !ok || age >= r.in.Config.Recheck:
		return known, false
	case known.Rule == undone:
		return known, true
	case known.Pods != c.hash():
		return known, false
	}
	more := r.room.cpu > known.FreeCPU || r.room.memory > known.FreeMemory
	return known, !more || age < again
}

// nodeRule says why a node stays; empty where it has nothing against its going.
type nodeRule struct {
	name string
	say  func(*remover, *leaver) string
}

// nodeRules are asked in this order, what costs least first.
func nodeRules() []nodeRule {
	return []nodeRule{
		{"Disabled", disabled},
		{"GroupGrows", groupGrows},
		{"RecentAdd", recentAdd},
		{"GroupMinimum", groupMinimum},
		{"TotalMinimum", totalMinimum},
		{"Pods", podsStay},
		{"Needed", needed},
		{"LastOfVolume", lastOfVolume},
		{"Enough", enough},
	}
}

func disabled(_ *remover, c *leaver) string {
	if c.Object.Annotations[drain.ScaleDownDisabled] == "true" {
		return "annotation " + drain.ScaleDownDisabled
	}
	return ""
}

func groupGrows(_ *remover, c *leaver) string {
	if c.group.added > 0 {
		return fmt.Sprintf("group %s grows by %d", c.group.Name, c.group.added)
	}
	return ""
}

func recentAdd(r *remover, _ *leaver) string {
	last, limit := r.in.History.LastAdd, r.in.Config.DelayAfterAdd
	if ago := r.in.Now.Sub(last); !last.IsZero() && ago < limit {
		return fmt.Sprintf("nodes were added %s ago (limit %s)", ago.Round(time.Second), limit)
	}
	return ""
}

func groupMinimum(_ *remover, c *leaver) string {
	if c.group.size() <= c.group.Min {
		return fmt.Sprintf("group %s is at its minimum %d", c.group.Name, c.group.Min)
	}
	return ""
}

func totalMinimum(r *remover, c *leaver) string {
	if r.in.Config.MinCores == 0 && r.in.Config.MinMemory == 0 {
		return ""
	}
	left := capacity{}
	for _, n := range r.nodes {
		if n != c.node && !n.gone && n.state != leaving {
			left = left.plus(capacityOf(n.Object))
		}
	}
	if cores := left.cpu / 1000; cores < r.in.Config.MinCores {
		return fmt.Sprintf("%d cores would be left, minimum %d", cores, r.in.Config.MinCores)
	}
	if left.memory < r.in.Config.MinMemory {
		return fmt.Sprintf("%d bytes of memory would be left, minimum %d", left.memory, r.in.Config.MinMemory)
	}
	return ""
}

func podsStay(_ *remover, c *leaver) string { return c.obstacle.Reason }

func needed(r *remover, c *leaver) string {
	if r.takes[c.Object.Name] {
		return "pods of nodes that go have their place here"
	}
	return ""
}

func lastOfVolume(r *remover, c *leaver) string {
	if slot := r.strands(c.node); slot != "" {
		return fmt.Sprintf("the last node that reaches the volume of %s, and no group can add another", slot)
	}
	return ""
}

func enough(r *remover, c *leaver) string {
	if c.empty() {
		if most := r.in.Config.MaxEmptyRemovals; r.empties >= most {
			return fmt.Sprintf("%d empty nodes go already, at most %d at a time", r.empties, most)
		}
		return ""
	}
	if most := r.in.Config.MaxDrains; r.drains >= most {
		return fmt.Sprintf("%d nodes are drained already, at most %d at a time", r.drains, most)
	}
	return ""
}

// utilization is the share of the node that its pods request.
func (p *planner) utilization(n *node) Utilization {
	requested, whole := p.requested(n, p.in.Config.IgnoreDaemonSets), capacityOf(n.Object)
	if p.in.Config.IgnoreDaemonSets {
		whole = whole.minus(p.requested(n, false).minus(requested))
	}
	share := func(part, whole int64) float64 {
		if whole <= 0 {
			return 0
		}
		return float64(part) / float64(whole)
	}
	return Utilization{CPU: share(requested.cpu, whole.cpu), Memory: share(requested.memory, whole.memory)}
}

func (u Utilization) most() float64 { return max(u.CPU, u.Memory) }

// String is percentages.
func (u Utilization) String() string {
	percent := func(share float64) int { return int(math.Round(100 * share)) }
	return fmt.Sprintf("%d%% of cpu and %d%% of memory", percent(u.CPU), percent(u.Memory))
}

// requested is what the pods of the node request, but for those that are over or expendable and, if asked, those that every node has.
func (p *planner) requested(n *node, withoutDaemons bool) capacity {
	sum := capacity{}
	for _, pod := range n.Pods {
		if pod.Status.Phase == v1.PodSucceeded || pod.Status.Phase == v1.PodFailed || p.expendable(pod) || withoutDaemons && everywhere(pod) {
			continue
		}
		sum = sum.plus(needsOf(pod))
	}
	return sum
}

func (p *planner) free(n *node) capacity { return capacityOf(n.Object).minus(p.requested(n, false)) }

func (p *planner) expendable(pod *v1.Pod) bool {
	return Expendable(pod, p.in.Config.ExpendablePriority)
}
