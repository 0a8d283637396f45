// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package volumes decides which claims are given up because the node that held
// their local volume is gone. That gives up data, so every doubt keeps a claim.
//
// What it promises, for any input:
//
//   - no claim is released while a node object exists that may be the volume's,
//     by its name, its hostname or its labels, ready or not;
//   - none is released before its node has been seen gone for the whole time
//     asked for, without a break; a node that comes back ends it, and so does a restart;
//   - none is released that a pod on a node uses, that is being deleted already,
//     or whose volume outlives it;
//   - the lost claims of a slot are released all at once, or none of them is: a
//     node that returns to half of them has data without its log. None is, either,
//     while another claim keeps the slot from every node that is there;
//   - nothing is released, and no time counts, while so many nodes are gone that
//     the list of nodes is more likely to be wrong than the nodes are to be gone.
package volumes

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// maxGonePercent of the nodes may be gone. Above it nothing is released, as
	// above it no nodes are scaled.
	maxGonePercent = 45
	// peakWindow is how long the highest number of nodes is remembered: the time
	// that nodes which are replaced may take to come.
	peakWindow = 15 * time.Minute
)

// Input is one observation, and what the last decision left.
type Input struct {
	Now   time.Time
	Nodes []*v1.Node
	// Claims are all those of wanted slots whose policy gives lost volumes up. No
	// claim is in it twice.
	Claims []Claim
	// History is Decision.History of the previous call, zero in a new process.
	History History
}

// Claim is a claim of a wanted slot.
type Claim struct {
	Object *v1.PersistentVolumeClaim
	// Volume is nil where there is none.
	Volume *v1.PersistentVolume
	// Attached tells that the volume's driver attaches volumes to nodes, so that
	// a volume outlives its node.
	Attached bool
	// Nodes are the names of the nodes that notes on the claim tell of.
	Nodes []string
	// User is a pod on a node that uses the claim; empty without one.
	User string
	// Fixed tells that nobody would make the claim anew: it is never released,
	// and may keep others from it.
	Fixed bool
	// Slots are those whose claim it is, most often one.
	Slots []string
	// Policy is for people: the name of the policy that places the slot.
	Policy string
	// After is how long the node has to be gone. It is above 0.
	After time.Duration
}

// Decision is every claim whose local volume has lost its node, by namespace
// and name.
type Decision struct {
	Lost []Lost
	// Blocked says why nothing is released at all; empty when something may be.
	Blocked string
	History History
}

// Lost is a claim whose local volume has lost its node.
type Lost struct {
	Claim
	// Node is the node as people know it best.
	Node string
	// Group numbers the claims that stay or go together.
	Group int
	// Since is when it was first seen gone, Due when the claim may be released,
	// as all of its group may be. They are zero where no time counts.
	Since, Due time.Time
	Verdict    Verdict
	// Holder is the claim of the slot that keeps this one, where it is Held.
	Holder string
	// Reason is the verdict for people.
	Reason string
}

// Verdict is what is to be done about a claim.
type Verdict int

const (
	// Wait: its time is not over.
	Wait Verdict = iota
	// Retained: the volume outlives the claim, so that nothing would be won.
	Retained
	// Blocked: too many nodes are gone.
	Blocked
	// InUse: a pod on a node uses it.
	InUse
	// Held: another claim of its slot is not released.
	Held
	// Release: the claim is to be deleted.
	Release
)

// History is what must be remembered between decisions.
type History struct {
	// GoneSince is when a claim, by UID, was first seen without its node.
	GoneSince map[types.UID]time.Time
	// Peaks are numbers of nodes, the highest and oldest first.
	Peaks []Peak
}

// Peak is a number of nodes that was not reached again since.
type Peak struct {
	At    time.Time
	Nodes int
}

// Decide finds the claims that have lost their volume and says what is to be done.
func Decide(in Input) Decision {
	d := Decision{History: History{GoneSince: map[types.UID]time.Time{}, Peaks: in.History.peaks(in.Now, len(in.Nodes))}}
	places := map[string]bool{}
	census := newCensus(in)
	kept := map[string][]Claim{}
	for _, claim := range in.Claims {
		if home, ok := homeOf(claim); ok && !claim.Fixed && census.without(home) {
			places[home.place] = true
			d.Lost = append(d.Lost, Lost{Claim: claim, Node: home.node()})
		} else if claim.Object.DeletionTimestamp == nil && claim.Object.Spec.VolumeName != "" {
			for _, slot := range claim.Slots {
				kept[slot] = append(kept[slot], claim)
			}
		}
	}
	slices.SortFunc(d.Lost, func(a, b Lost) int { return byName(a.Claim, b.Claim) })
	d.Blocked = blocked(len(in.Nodes), max(d.History.Peaks[0].Nodes, len(in.Nodes)+len(places)))
	for _, g := range groups(d.Lost, kept) {
		d.settle(g, census, in)
	}
	return d
}

func byName(a, b Claim) int {
	return cmp.Or(cmp.Compare(a.Object.Namespace, b.Object.Namespace), cmp.Compare(a.Object.Name, b.Object.Name))
}

// blocked says why a list of nodes is not to be trusted: it is empty, or lacks
// too many of those that there were, or that volumes tell of.
func blocked(present, known int) string {
	gone := known - present
	switch {
	case present == 0:
		return "no node is known at all"
	case gone*100 > known*maxGonePercent:
		return fmt.Sprintf("%d of %d nodes are gone, more than %d%%", gone, known, maxGonePercent)
	}
	return ""
}

// peaks returns the peaks with one more number of nodes.
func (h History) peaks(now time.Time, nodes int) []Peak {
	kept := slices.DeleteFunc(slices.Clone(h.Peaks), func(p Peak) bool {
		return p.Nodes <= nodes || now.Sub(p.At) > peakWindow
	})
	return append(kept, Peak{At: now, Nodes: nodes})
}
