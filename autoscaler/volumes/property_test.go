// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package volumes

import (
	"fmt"
	"math/rand"
	"slices"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// world is a cluster in which nodes come and go, and lose and find labels.
type world struct {
	*rand.Rand
	present []bool
	bare    []bool
	claims  []Claim
	// home is the node of each claim's volume, -1 for a volume on the network.
	home map[types.UID]int
	// absent is when each node was first seen gone, as an onlooker knows it.
	absent map[int]time.Time
}

// newWorld has a slot in each node, of one to three claims.
func newWorld(seed int64, nodes int) *world {
	w := &world{Rand: rand.New(rand.NewSource(seed)), present: make([]bool, nodes), bare: make([]bool, nodes),
		home: map[types.UID]int{}, absent: map[int]time.Time{}}
	for i := range nodes {
		w.present[i] = true
		for range 1 + w.Intn(3) {
			at := i
			if w.Intn(8) == 0 {
				at = w.Intn(nodes) // a claim that was made anew, or a mess
			}
			c := w.claim(at)
			c.Slots = []string{fmt.Sprint(i)}
			if w.Intn(12) == 0 {
				c.Slots = append(c.Slots, fmt.Sprint(w.Intn(nodes)))
			}
			w.claims = append(w.claims, c)
		}
	}
	return w
}

func (w *world) claim(at int) Claim {
	name := fmt.Sprintf("claim-%d", len(w.claims))
	c := claim(affinity(in(v1.LabelHostname, fmt.Sprintf("n%d.local", at))), func(c *Claim) {
		c.Object.Name, c.Object.UID = name, types.UID(name)
		c.Volume.Spec.ClaimRef.UID, c.Nodes = c.Object.UID, []string{fmt.Sprintf("n%d", at)}
		c.After = time.Duration(1+w.Intn(10)) * time.Minute
	})
	w.home[c.Object.UID] = at
	switch w.Intn(12) {
	case 0, 1:
		c.Nodes = nil
	case 2, 3:
		affinity(in("lvm/node", c.Nodes[0]))(&c)
		c.Volume.Spec.PersistentVolumeSource, c.Attached = v1.PersistentVolumeSource{CSI: &v1.CSIPersistentVolumeSource{}}, false
	case 4:
		c.Volume.Spec.PersistentVolumeReclaimPolicy = v1.PersistentVolumeReclaimRetain
	case 5:
		affinity(in(v1.LabelTopologyZone, "a"))(&c)
		c.Volume.Spec.PersistentVolumeSource = v1.PersistentVolumeSource{CSI: &v1.CSIPersistentVolumeSource{}}
		w.home[c.Object.UID] = -1
	case 6:
		c.Fixed = true
	}
	return c
}

// step lets some nodes change, and returns what is there.
func (w *world) step(now time.Time, churn int) []*v1.Node {
	var all []*v1.Node
	for i := range w.present {
		if w.Intn(100) < churn {
			w.present[i] = !w.present[i]
		}
		if w.Intn(100) < churn {
			w.bare[i] = !w.bare[i]
		}
		if !w.present[i] {
			if _, known := w.absent[i]; !known {
				w.absent[i] = now
			}
			continue
		}
		delete(w.absent, i)
		n := node(fmt.Sprintf("n%d", i))
		n.Labels["lvm/node"] = n.Name
		if w.bare[i] {
			n.Labels = nil
		}
		all = append(all, n)
	}
	return all
}

// use puts a pod on some claims, or begins to delete them.
func (w *world) use(now time.Time) []Claim {
	claims := make([]Claim, len(w.claims))
	copy(claims, w.claims)
	for i := range claims {
		switch w.Intn(20) {
		case 0:
			claims[i].User = "prod/db"
		case 1:
			claims[i].Object = claims[i].Object.DeepCopy()
			claims[i].Object.DeletionTimestamp = &metav1.Time{Time: now}
		}
	}
	return claims
}

// wrong says what is wrong with the release of a claim; empty where nothing is.
func (w *world) wrong(now time.Time, lost Lost, nodes []*v1.Node) string {
	since, absent := w.absent[w.home[lost.Object.UID]]
	switch {
	case !absent:
		return "its node is there"
	case now.Sub(since) < lost.After:
		return fmt.Sprintf("it was lost for %s of %s", now.Sub(since), lost.After)
	case lost.User != "" || lost.Object.DeletionTimestamp != nil || lost.Volume.Spec.PersistentVolumeReclaimPolicy != v1.PersistentVolumeReclaimDelete || lost.Fixed:
		return fmt.Sprintf("%+v", lost)
	case len(nodes) == 0:
		return "no node is known"
	}
	return ""
}

// torn says which claim is left behind by the release of another of its slot:
// one that is in a node which is gone.
func (w *world) torn(one Lost, claims []Claim, released map[types.UID]bool) (siblings int, left string) {
	for _, c := range claims {
		if c.Object.DeletionTimestamp != nil || c.Object.UID == one.Object.UID ||
			!slices.ContainsFunc(c.Slots, func(slot string) bool { return slices.Contains(one.Slots, slot) }) {
			continue
		}
		at := w.home[c.Object.UID]
		if at >= 0 && !w.present[at] && !released[c.Object.UID] {
			return 0, fmt.Sprintf("%s in node %d", c.Object.Name, at)
		}
		if released[c.Object.UID] {
			siblings++
		}
	}
	return siblings, ""
}

func TestNothingIsReleasedInDoubt(t *testing.T) {
	alone, together, held := 0, 0, 0
	for seed := range int64(100) {
		w := newWorld(seed, 3+int(seed%12))
		var history History
		now, churn := epoch, 1+int(seed%9)
		for range 200 {
			now = now.Add(time.Duration(1+w.Intn(60)) * time.Second)
			nodes, claims := w.step(now, churn), w.use(now)
			d := Decide(Input{Now: now, Nodes: nodes, Claims: claims, History: history})
			history = d.History
			released := map[types.UID]bool{}
			for _, lost := range d.Lost {
				released[lost.Object.UID] = lost.Verdict == Release
			}
			for _, lost := range d.Lost {
				if lost.Verdict == Held {
					held++
				}
				if lost.Verdict != Release {
					continue
				}
				if wrong := w.wrong(now, lost, nodes); wrong != "" {
					t.Fatalf("seed %d: %s is released: %s", seed, lost.Object.Name, wrong)
				}
				siblings, left := w.torn(lost, claims, released)
				switch {
				case left != "":
					t.Fatalf("seed %d: %s is released, and its slot keeps %s, which is gone", seed, lost.Object.Name, left)
				case siblings > 0:
					together++
				default:
					alone++
				}
			}
		}
	}
	if min(alone, together, held) < 300 {
		t.Errorf("%d claims released alone, %d with others, %d held: the worlds are too quiet to prove anything", alone, together, held)
	}
}

// A restart forgets. It makes no release earlier, so long as few nodes are gone.
func TestARestartOnlyMakesItLater(t *testing.T) {
	later := 0
	for seed := range int64(50) {
		w := newWorld(seed, 40)
		var history, restarted History
		now := epoch
		for range 120 {
			now = now.Add(time.Duration(1+w.Intn(60)) * time.Second)
			nodes := w.step(now, 0)
			if gone := w.Intn(40); w.Intn(4) == 0 && (!w.present[gone] || len(nodes) > 36) {
				w.present[gone] = !w.present[gone]
			}
			if w.Intn(15) == 0 {
				restarted = History{}
			}
			steady := Decide(Input{Now: now, Nodes: nodes, Claims: w.claims, History: history})
			other := Decide(Input{Now: now, Nodes: nodes, Claims: w.claims, History: restarted})
			history, restarted = steady.History, other.History
			for i, lost := range other.Lost {
				switch sooner := steady.Lost[i]; {
				case lost.Verdict == Release && sooner.Verdict != Release:
					t.Fatalf("seed %d: %s is released earlier after a restart", seed, lost.Object.Name)
				case lost.Verdict != sooner.Verdict:
					later++
				}
			}
		}
	}
	if later == 0 {
		t.Error("no restart made any difference: this proves nothing")
	}
}
