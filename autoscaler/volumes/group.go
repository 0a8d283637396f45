// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package volumes

import (
	"fmt"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
)

// group is the lost claims of a slot and, where slots share a lost claim, of
// all of them. They stay or go together.
type group struct {
	lost []*Lost
	// kept are the other claims of the slots. They stay in any case.
	kept []Claim
}

// groups splits the lost claims, and numbers them from 1 on.
func groups(lost []Lost, kept map[string][]Claim) []group {
	bySlot := map[string][]*Lost{}
	for i := range lost {
		for _, slot := range lost[i].Slots {
			bySlot[slot] = append(bySlot[slot], &lost[i])
		}
	}
	var all []group
	for i := range lost {
		if lost[i].Group != 0 {
			continue
		}
		lost[i].Group = len(all) + 1
		g := group{lost: []*Lost{&lost[i]}}
		for next := 0; next < len(g.lost); next++ {
			for _, slot := range g.lost[next].Slots {
				for _, sibling := range bySlot[slot] {
					if sibling.Group == 0 {
						sibling.Group = len(all) + 1
						g.lost = append(g.lost, sibling)
					}
				}
				g.kept = append(g.kept, kept[slot]...)
				delete(bySlot, slot)
				delete(kept, slot)
			}
		}
		// In order, so that the same claim is named in every tick.
		slices.SortFunc(g.lost, func(a, b *Lost) int { return byName(a.Claim, b.Claim) })
		slices.SortFunc(g.kept, byName)
		g.kept = slices.CompactFunc(g.kept, func(a, b Claim) bool { return byName(a, b) == 0 })
		all = append(all, g)
	}
	return all
}

func retained(c Claim) bool {
	return c.Volume.Spec.PersistentVolumeReclaimPolicy != v1.PersistentVolumeReclaimDelete
}

// holder returns the claim that keeps the others for as long as it is there,
// and why; empty without one. A claim that stays is none where a node has its
// volume: the slot can run there.
func (g group) holder(c census) (claim, why string) {
	for _, l := range g.lost {
		if retained(l.Claim) {
			return l.Object.Name, fmt.Sprintf("the reclaim policy %s keeps its volume", l.Volume.Spec.PersistentVolumeReclaimPolicy)
		}
	}
	for _, k := range g.kept {
		if !c.reaches(k) {
			return k.Object.Name, fmt.Sprintf("it stays, and no node that is there is known to reach its volume %q", k.Object.Spec.VolumeName)
		}
	}
	return "", ""
}

// settle says what is to be done about the claims of a group.
func (d *Decision) settle(g group, c census, in Input) {
	holder, why := g.holder(c)
	for _, l := range g.lost {
		switch {
		case retained(l.Claim):
			l.conclude(Retained, ". The claim is not released: the reclaim policy %s keeps the volume, whose data may still be reached. "+
				"Delete the claim if it may not, or bring the node back", l.Volume.Spec.PersistentVolumeReclaimPolicy)
		case d.Blocked != "":
			l.conclude(Blocked, ". The claim is not released, and no time counts, while %s", d.Blocked)
		case holder != "":
			l.Holder = holder
			l.conclude(Held, ". The claim is not released, and no time counts, while claim %q of the same slot is not: %s", holder, why)
		}
	}
	if d.Blocked == "" && holder == "" {
		d.time(g, in)
		g.decide(in.Now)
	}
}

// time counts how long the nodes of a group are gone. Its claims are due with
// the last of them.
func (d *Decision) time(g group, in Input) {
	var due time.Time
	for _, l := range g.lost {
		since, known := in.History.GoneSince[l.Object.UID]
		if !known {
			since = in.Now
		}
		d.History.GoneSince[l.Object.UID], l.Since = since, since
		if at := since.Add(l.After); at.After(due) {
			due = at
		}
	}
	for _, l := range g.lost {
		l.Due = due
	}
}

// decide judges a group that nothing keeps but time, and pods.
func (g group) decide(now time.Time) {
	used := slices.IndexFunc(g.lost, func(l *Lost) bool { return l.User != "" })
	for _, l := range g.lost {
		switch {
		case now.Before(l.Due):
			l.conclude(Wait, ". The claim is released at %s, after %s%s, and the slot gets a new one without data%s. "+
				"To keep it, bring the node back or remove home.releaseLostVolumes from PlacementPolicy %s",
				l.Due.UTC().Format(time.RFC3339), l.After, g.with(l), g.beside(), l.Policy)
		case l.User != "":
			l.conclude(InUse, ". The claim is released%s once pod %s, which uses it, has left its node", g.with(l), l.User)
		case used >= 0:
			l.Holder = g.lost[used].Object.Name
			l.conclude(Held, ". The claim is released once pod %s, which uses claim %q of the same slot, has left its node", g.lost[used].User, l.Holder)
		default:
			l.conclude(Release, ", since %s. The claim is released%s, as PlacementPolicy %s asks for after %s, and the slot gets a new one without data%s",
				l.Since.UTC().Format(time.RFC3339), g.with(l), l.Policy, l.After, g.beside())
		}
	}
}

func (l *Lost) conclude(verdict Verdict, format string, args ...any) {
	slot := ""
	if len(l.Slots) > 0 {
		slot = ", of " + slices.Min(l.Slots)
	}
	l.Verdict = verdict
	l.Reason = fmt.Sprintf("volume %q of claim %q%s, was on node %s, which is gone", l.Volume.Name, l.Object.Name, slot, l.Node) + fmt.Sprintf(format, args...)
}

// with names the claims that go together with one.
func (g group) with(one *Lost) string {
	var names []string
	for _, l := range g.lost {
		if l != one {
			names = append(names, l.Object.Name)
		}
	}
	return list(" together with", names)
}

// beside names the claims that stay.
func (g group) beside() string {
	var names []string
	for _, k := range g.kept {
		names = append(names, k.Object.Name)
	}
	return list(", beside what is kept:", names)
}

// list names a few claims: the note of an event is short.
func list(lead string, names []string) string {
	const most = 3
	if len(names) == 0 {
		return ""
	}
	text := fmt.Sprintf("%s claim %q", lead, names[0])
	for _, name := range names[1:min(most, len(names))] {
		text += fmt.Sprintf(", %q", name)
	}
	if more := len(names) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
