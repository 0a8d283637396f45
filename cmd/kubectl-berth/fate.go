// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/berth-dev/berth/autoscaler"
	"github.com/berth-dev/berth/autoscaler/nodes/drain"
	"github.com/berth-dev/berth/autoscaler/nodes/status"
)

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
	case g.starting(of):
		text := "is starting, for " + ago(now.Sub(of.Created.Time))
		if limit := g.provisionTime(of.Group); limit > 0 {
			text += " of at most " + ago(limit)
		}
		return text
	case !strings.HasPrefix(of.State, "Ready"):
		return "stays for a while: it is not ready"
	default:
		return "stays: it is in use"
	}
}

// starting tells that a node has not been ready yet, and may still become so: it is young, and the autoscaler counts such
// nodes in its group.
func (g groups) starting(of nodeReport) bool {
	i := g.index(of.Group)
	if i < 0 || strings.HasPrefix(of.State, "Ready") || g.NodeGroups[i].Health.NodeCounts.Registered.NotStarted == 0 {
		return false
	}
	limit := g.provisionTime(of.Group)
	return limit == 0 || of.now.Sub(of.Created.Time) <= limit
}

// provisionTime is how long a node of the group may take to come; 0 where that is not known.
func (g groups) provisionTime(group string) time.Duration {
	i := g.index(group)
	if i < 0 {
		return 0
	}
	return g.NodeGroups[i].Berth.Options.MaxNodeProvisionTime.Duration
}

// index is where a group is among all, -1 for none.
func (g groups) index(name string) int {
	return slices.IndexFunc(g.NodeGroups, func(one status.NodeGroup) bool { return one.Name == name })
}

// removal says why Berth would not remove the node of a drain by itself; empty where it would, in time. What the autoscaler
// keeps it for counts where the simulation finds nothing: it knows more, like what has just been done.
func (g groups) removal(node string, prospect autoscaler.Prospect) []string {
	reasons := slices.Clone(prospect.Kept)
	for _, p := range prospect.Pods {
		if p.Fate == drain.Waits && !p.Later {
			reasons = append(reasons, fmt.Sprintf("pod %s/%s: %s", p.Pod.Namespace, p.Pod.Name, p.Why))
		}
	}
	if i := slices.IndexFunc(g.Berth.Kept, func(k status.Kept) bool { return k.Node == node }); i >= 0 && len(reasons) == 0 {
		reasons = append(reasons, g.Berth.Kept[i].Reason)
	}
	return reasons
}
