// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package volumes

import (
	"fmt"
	"math/rand"
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
	// absent is when each node was first seen gone, as an onlooker knows it.
	absent map[int]time.Time
}

func newWorld(seed int64, nodes int) *world {
	w := &world{Rand: rand.New(rand.NewSource(seed)), present: make([]bool, nodes), bare: make([]bool, nodes), absent: map[int]time.Time{}}
	for i := range nodes {
		w.present[i] = true
		w.claims = append(w.claims, w.claim(i))
	}
	return w
}

func (w *world) claim(at int) Claim {
	c := claim(affinity(in(v1.LabelHostname, fmt.Sprintf("n%d.local", at))), func(c *Claim) {
		c.Object.Name, c.Object.UID = fmt.Sprintf("data-db-%d", at), types.UID(fmt.Sprint(at))
		c.Volume.Spec.ClaimRef.UID, c.Nodes = c.Object.UID, []string{fmt.Sprintf("n%d", at)}
		c.After = time.Duration(1+w.Intn(10)) * time.Minute
	})
	switch w.Intn(5) {
	case 0:
		c.Nodes = nil
	case 1:
		affinity(in("lvm/node", c.Nodes[0]))(&c)
		c.Volume.Spec.PersistentVolumeSource, c.Attached = v1.PersistentVolumeSource{CSI: &v1.CSIPersistentVolumeSource{}}, false
	case 2:
		c.Volume.Spec.PersistentVolumeReclaimPolicy = v1.PersistentVolumeReclaimRetain
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

func TestNothingIsReleasedInDoubt(t *testing.T) {
	released := 0
	for seed := range int64(100) {
		w := newWorld(seed, 3+int(seed%12))
		var history History
		now, churn := epoch, 1+int(seed%9)
		for range 200 {
			now = now.Add(time.Duration(1+w.Intn(60)) * time.Second)
			nodes, claims := w.step(now, churn), w.use(now)
			d := Decide(Input{Now: now, Nodes: nodes, Claims: claims, History: history})
			history = d.History
			for _, lost := range d.Lost {
				if lost.Verdict != Release {
					continue
				}
				released++
				var at int
				if _, err := fmt.Sscan(string(lost.Object.UID), &at); err != nil {
					t.Fatal(err)
				}
				since, absent := w.absent[at]
				switch {
				case !absent:
					t.Fatalf("seed %d: %s is released and its node is there", seed, lost.Object.Name)
				case now.Sub(since) < lost.After:
					t.Fatalf("seed %d: %s is released after %s of %s", seed, lost.Object.Name, now.Sub(since), lost.After)
				case lost.User != "" || lost.Object.DeletionTimestamp != nil || lost.Volume.Spec.PersistentVolumeReclaimPolicy != v1.PersistentVolumeReclaimDelete:
					t.Fatalf("seed %d: %s is released: %+v", seed, lost.Object.Name, lost)
				case len(nodes) == 0:
					t.Fatalf("seed %d: %s is released while no node is known", seed, lost.Object.Name)
				}
			}
		}
	}
	if released < 500 {
		t.Errorf("%d claims released: the worlds are too quiet to prove anything", released)
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
