// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package status

import (
	"cmp"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/berth-dev/berth/autoscaler/nodes"
)

// Input is what a status is made from.
type Input struct {
	// Before is the decision's input, but with the history that the decision, and what became of it, left.
	Before   nodes.Input
	Decision nodes.Decision
	// State is what Berth does about nodes, and Reason why it leaves them alone.
	State, Reason string
	// Grown are the adds that were asked for.
	Grown  []nodes.Add
	Drains []Drain
	// Unread are the groups that nothing is known of.
	Unread []Unread
	// Last is the status of before.
	Last Status
}

// Of makes the status.
func Of(in Input) Status {
	d, now := in.Decision, in.Before.Now
	after := in.Before
	after.Groups = slices.Clone(after.Groups)
	for i := range after.Groups {
		if j := slices.IndexFunc(in.Grown, func(a nodes.Add) bool { return a.Group == after.Groups[i].Name }); j >= 0 {
			after.Groups[i].Target = in.Grown[j].Target
		}
	}
	all, groups := nodes.Summarize(after)
	s := Status{
		Time: now.UTC().Format(layout), AutoscalerStatus: Running,
		Berth: Berth{
			State: in.State, Reason: in.Reason, Blocked: d.Blocked, Incomplete: d.Incomplete,
			Pending: waiting(in.Before), Forecast: len(in.Before.Forecast), Upcoming: all.Starting + all.Missing,
			Unneeded: unneeded(in.Before, groups), Draining: in.Drains, Unread: in.Unread,
		},
	}
	for _, u := range d.Unhelped {
		s.Berth.Unhelped = append(s.Berth.Unhelped, Unhelped{Pod: u.Pod.String(), Forecast: u.Forecast, Nodes: u.Present, Groups: u.Groups})
	}
	groupOf := groupsOf(in.Before)
	for _, k := range d.Kept {
		s.Berth.Kept = append(s.Berth.Kept, Kept{Node: k.Node, Group: groupOf[k.Node], Reason: k.Reason})
	}
	s.clusterWide(in, all)
	for _, g := range groups {
		s.NodeGroups = append(s.NodeGroups, s.group(in, g))
	}
	return s
}

// Failed is the last status, of the groups that are still listed, with the reason why nothing could be decided since,
// and with what Berth does about nodes and why.
func Failed(last Status, now time.Time, reason, state, why string, listed func(group string) bool) Status {
	last.Time, last.Message = now.UTC().Format(layout), reason
	last.AutoscalerStatus = cmp.Or(last.AutoscalerStatus, Initializing)
	last.Berth.State, last.Berth.Reason = state, why
	last.NodeGroups = slices.DeleteFunc(slices.Clone(last.NodeGroups), func(g NodeGroup) bool { return !listed(g.Name) })
	return last
}

// waiting counts the pods that a node could help.
func waiting(in nodes.Input) (n int) {
	for _, pod := range in.Pending {
		if nodes.Waits(pod, in.Config.ExpendablePriority) {
			n++
		}
	}
	return n
}

func groupsOf(in nodes.Input) map[string]string {
	of := make(map[string]string, len(in.Nodes))
	for _, n := range in.Nodes {
		of[n.Object.Name] = n.Group
	}
	return of
}

// unneeded are the nodes that nobody needs, those that go first at the front.
func unneeded(in nodes.Input, groups []nodes.Standing) (found []Unneeded) {
	own := map[string]nodes.Options{}
	for _, g := range groups {
		own[g.Name] = g.Own
	}
	for _, n := range in.Nodes {
		if since, ok := in.History.UnneededSince[n.Object.UID]; ok {
			after := own[n.Group].UnneededTime
			if !isReady(n.Object) {
				after = own[n.Group].UnreadyTime
			}
			until := since.Add(after)
			if !in.History.LastAdd.IsZero() {
				until = latest(until, in.History.LastAdd.Add(in.Config.DelayAfterAdd))
			}
			found = append(found, Unneeded{Node: n.Object.Name, Group: n.Group, Since: second(since), Until: second(until)})
		}
	}
	slices.SortFunc(found, func(a, b Unneeded) int {
		return cmp.Or(a.Until.Compare(b.Until.Time), cmp.Compare(a.Node, b.Node))
	})
	return found
}

func isReady(n *v1.Node) bool {
	return slices.ContainsFunc(n.Status.Conditions, func(c v1.NodeCondition) bool {
		return c.Type == v1.NodeReady && c.Status == v1.ConditionTrue
	})
}

// second is a time as the API has it.
func second(t time.Time) metav1.Time { return metav1.NewTime(t.UTC().Truncate(time.Second)) }

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (s *Status) clusterWide(in Input, all nodes.Counts) {
	d, last, now := in.Decision, in.Last.ClusterWide, in.Before.Now
	health, up := Healthy, NoActivity
	if d.Blocked != "" {
		health = Unhealthy
	}
	switch {
	case all.Starting+all.Missing > 0:
		up = InProgress
	case len(d.Adds) > 0:
		up = Needed
	}
	s.ClusterWide = ClusterWide{
		Health:    ClusterHealth{Condition: last.Health.at(now, health), NodeCounts: counted(all)},
		ScaleUp:   last.ScaleUp.at(now, up),
		ScaleDown: last.ScaleDown.of(now, len(s.Berth.Unneeded)),
	}
}

func (s *Status) group(in Input, g nodes.Standing) NodeGroup {
	config, now := in.Before.Config, in.Before.Now
	var last NodeGroup
	if i := slices.IndexFunc(in.Last.NodeGroups, func(l NodeGroup) bool { return l.Name == g.Name }); i >= 0 {
		last = in.Last.NodeGroups[i]
	}
	health, up := Healthy, NoActivity
	unready := g.Counts.Unready + g.Counts.NeverReady
	if unready > config.OKTotalUnready && unready*100 > config.MaxTotalUnreadyPercentage*g.Counts.Registered() {
		health = Unhealthy
	}
	planned := growth(in.Decision.Adds, g.Name, now)
	grown := growth(in.Grown, g.Name, now)
	switch {
	case !g.RetryAt.IsZero():
		up = Backoff
	case g.Counts.Starting+g.Counts.Missing > 0:
		up = InProgress
	case planned != nil:
		up = Needed
	}
	candidates := 0
	for _, u := range s.Berth.Unneeded {
		if u.Group == g.Name {
			candidates++
		}
	}
	made := NodeGroup{
		Name: g.Name,
		Health: GroupHealth{
			Condition: last.Health.at(now, health), NodeCounts: counted(g.Counts),
			CloudProviderTarget: g.Target, MinSize: g.Min, MaxSize: g.Max,
		},
		ScaleUp:   ScaleUp{Condition: last.ScaleUp.at(now, up)},
		ScaleDown: last.ScaleDown.of(now, candidates),
		Berth:     BerthGroup{Obstacle: g.Obstacle, Priority: g.Priority, Options: options(g.Own), LastScaleUp: cmp.Or(grown, last.Berth.LastScaleUp)},
	}
	if g.PriceKnown {
		made.Berth.PricePerHour = &g.PricePerHour
	}
	if !g.RetryAt.IsZero() {
		made.ScaleUp.BackoffInfo = BackoffInfo{ErrorCode: "other", ErrorMessage: g.Obstacle}
		made.Berth.RetryAt = ptr.To(second(g.RetryAt))
	}
	if grown == nil {
		made.Berth.Planned = planned
		if was := last.Berth.Planned; planned != nil && was != nil && was.To == planned.To {
			planned.Time = was.Time
		}
	}
	return made
}

func options(o nodes.Options) Options {
	return Options{
		UtilizationThreshold: o.UtilizationThreshold, UnneededTime: metav1.Duration{Duration: o.UnneededTime},
		UnreadyTime: metav1.Duration{Duration: o.UnreadyTime}, MaxNodeProvisionTime: metav1.Duration{Duration: o.MaxNodeProvisionTime},
	}
}

// growth is that of the group among the adds, nil if there is none.
func growth(adds []nodes.Add, group string, now time.Time) *Growth {
	i := slices.IndexFunc(adds, func(a nodes.Add) bool { return a.Group == group })
	if i < 0 {
		return nil
	}
	return &Growth{Time: second(now), From: adds[i].Target - adds[i].Count, To: adds[i].Target, Reason: adds[i].Reason}
}

// at is the condition after another look.
func (c Condition) at(now time.Time, status string) Condition {
	next := Condition{Status: status, LastProbeTime: second(now), LastTransitionTime: c.LastTransitionTime}
	if c.Status != status || c.LastTransitionTime.IsZero() {
		next.LastTransitionTime = next.LastProbeTime
	}
	return next
}

func (s ScaleDown) of(now time.Time, candidates int) ScaleDown {
	status := NoCandidates
	if candidates > 0 {
		status = CandidatesPresent
	}
	return ScaleDown{Condition: s.at(now, status), Candidates: candidates}
}

func counted(c nodes.Counts) NodeCounts {
	return NodeCounts{
		Registered: Registered{
			Total: c.Registered(), Ready: c.Ready, NotStarted: c.Starting, BeingDeleted: c.Leaving,
			Unready: Unready{Total: c.Unready + c.NeverReady},
		},
		LongUnregistered: c.Late, Unregistered: c.Missing - c.Late,
	}
}
