// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package resize_test

import (
	"fmt"
	"math/rand"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	"k8s.io/utils/ptr"

	"github.com/berth-dev/berth/autoscaler/vertical/resize"
)

// anyCluster is a set of any shape on nodes of any size, all pods of one size.
func anyCluster(r *rand.Rand, benign, roomy bool) *cluster {
	c := &cluster{now: noon, nodes: map[string]int64{}, pods: map[int]*v1.Pod{}, moods: map[string]temper{},
		allocated: map[types.UID]v1.ResourceList{}, until: map[types.UID]time.Time{}, born: map[int]time.Time{}, restarts: r.Intn(3) == 0}
	n := 2 + r.Intn(4)
	modes := []vpav1.UpdateMode{inPlace, orRecreate, orRecreate, recreate}
	t := set(modes[r.Intn(len(modes))], nil)
	t.Workload.Ordered = r.Intn(4) > 0
	t.Workload.Replicas, t.Workload.MaxUnavailable = n, 1+r.Intn(2)
	for i := range n + 1 {
		c.nodes[fmt.Sprintf("node-%d", i)] = 4000
	}
	size := list(fmt.Sprintf("%dm", 500+r.Intn(2000)), "1Gi")
	for i := range n {
		node := c.place(size, "")
		if roomy {
			node = fmt.Sprintf("node-%d", i)
		}
		c.add(i, size, node)
	}
	if !benign {
		t.Workload.Quorum, t.Workload.Partition = r.Intn(n+1), r.Intn(2)*r.Intn(n)
		for i := range n {
			if r.Intn(2) == 0 {
				c.moods[c.pods[i].Name] = temper(r.Intn(int(tempers)))
			}
		}
	}
	c.now = noon.Add(24 * time.Hour)
	c.input = resize.Input{Config: resize.DefaultConfig(), Targets: []resize.Target{t}}
	if !benign && r.Intn(2) == 0 {
		c.input.Budgets = []resize.Budget{budget("db", 0, int32(r.Intn(n+1)))}
	}
	return c
}

// life is what came of a cluster.
type life struct {
	final []string
	done  map[types.UID]int
	kinds map[string]int
	last  resize.Decision
	order []int
}

// play is what kind of life it is.
type play struct {
	benign, roomy bool
	// changes of the recommendation, one every two hours.
	changes int
	// crash tells whether the leader dies now.
	crash func(*rand.Rand) bool
}

// live plays a day and a half.
func live(t *testing.T, seed int64, p play) life {
	t.Helper()
	r, chaos := rand.New(rand.NewSource(seed)), rand.New(rand.NewSource(seed+1))
	c := anyCluster(r, p.benign, p.roomy)
	sizes := []v1.ResourceList{}
	for range 1 + p.changes {
		sizes = append(sizes, list(fmt.Sprintf("%dm", 500+r.Intn(3000)), "1Gi"))
	}
	l := life{done: map[types.UID]int{}, kinds: map[string]int{}}
	patched := map[string]time.Time{}
	start := c.now
	for c.now.Sub(start) < 24*time.Hour {
		c.target = sizes[min(p.changes, int(c.now.Sub(start)/(2*time.Hour)))]
		in := c.observe(chaos)
		in.History = c.input.History
		out := answered(t, in, c.answer)
		c.input.History, c.input.Refused = out.History, nil
		crashed := p.crash != nil && p.crash(chaos)
		for _, a := range out.Actions {
			c.check(t, a, seed)
			l.done[a.Pod.UID]++
			l.kinds[fmt.Sprint(a.Kind, " ", a.Class == resize.InPlaceRestart)]++
			if a.Kind == resize.Patch {
				l.order = append(l.order, ordinalOf(a.Pod))
				key := fmt.Sprint(a.Pod.UID, cpu(a.Sizes["db"].Requests))
				// Only what the API server refused is forgotten with a leader.
				if at, ok := patched[key]; ok && c.now.Sub(at) < 10*time.Minute && (p.crash == nil || c.moods[a.Pod.Name] != refused) {
					t.Fatalf("seed %d: %s is patched to the same size again after %s", seed, a.Pod.Name, c.now.Sub(at))
				}
				if !crashed {
					patched[key] = c.now
				}
			}
			if refusal := c.carryOut(chaos, a, crashed); refusal != nil {
				c.input.Refused = append(c.input.Refused, *refusal)
			}
		}
		if crashed {
			c.input.History, c.input.Refused = resize.History{}, nil
		}
		step := 15 * time.Second
		if len(out.Actions) == 0 && settled(out) {
			step = 10 * time.Minute
		}
		c.tick(step)
		l.last = out
	}
	for ordinal := range c.input.Targets[0].Workload.Replicas {
		l.final = append(l.final, fmt.Sprintf("%d %d", ordinal, cpu(c.pods[ordinal].Status.ContainerStatuses[0].Resources.Requests)))
	}
	return l
}

func ordinalOf(p *v1.Pod) int { return int(p.Name[len(p.Name)-1] - '0') }

func settled(out resize.Decision) bool {
	for _, p := range out.Pods {
		if p.Step == resize.Resizes {
			return false
		}
	}
	return true
}

// check fails when an action breaks a promise, by the facts and not by what was seen.
func (c *cluster) check(t *testing.T, a resize.Action, seed int64) {
	t.Helper()
	w, target := c.input.Targets[0].Workload, c.byUID(a.Pod.UID)
	if target == nil || target.DeletionTimestamp != nil {
		t.Fatalf("seed %d: %s of a pod that is gone", seed, a.Kind)
	}
	available, moving := 0, []string{}
	for ordinal := range w.Replicas {
		p := c.pods[ordinal]
		if p == nil {
			moving = append(moving, fmt.Sprint(ordinal))
			continue
		}
		busy := !equal(*c.spec(p), p.Status.ContainerStatuses[0].Resources.Requests)
		if p.UID != target.UID && (busy || p.DeletionTimestamp != nil) {
			moving = append(moving, p.Name)
		}
		if up(p) && (!c.restarts || !busy) {
			available++
		}
	}
	if a.Kind == resize.Revert {
		return
	}
	if w.Ordered && len(moving) > 0 {
		t.Fatalf("seed %d: %s of %s while %v change", seed, a.Kind, a.Pod.Name, moving)
	}
	if w.Ordered && ordinalOf(a.Pod) < w.Partition {
		t.Fatalf("seed %d: %s of %s below the partition %d", seed, a.Kind, a.Pod.Name, w.Partition)
	}
	if mode := *c.input.Targets[0].Update.UpdateMode; a.Kind == resize.Evict && mode == inPlace || a.Kind == resize.Patch && mode == recreate {
		t.Fatalf("seed %d: %s in mode %s", seed, a.Kind, mode)
	}
	if !up(target) || a.Class == resize.InPlace {
		return
	}
	if available-1 < w.Quorum {
		t.Fatalf("seed %d: %s of %s leaves %d, quorum is %d", seed, a.Kind, a.Pod.Name, available-1, w.Quorum)
	}
	if w.Ordered && w.Replicas-available+1 > w.MaxUnavailable {
		t.Fatalf("seed %d: %s of %s leaves %d unavailable", seed, a.Kind, a.Pod.Name, w.Replicas-available+1)
	}
	if len(c.input.Budgets) > 0 && available-1 < int(c.input.Budgets[0].Object.Status.DesiredHealthy) {
		t.Fatalf("seed %d: %s of %s leaves %d, the budget needs %d", seed, a.Kind, a.Pod.Name, available-1, c.input.Budgets[0].Object.Status.DesiredHealthy)
	}
}

// Whatever kubelets do, no promise is broken, and it comes to an end that is explained.
func TestPromises(t *testing.T) {
	kinds := map[string]int{}
	for seed := range int64(80) {
		l := live(t, seed, play{changes: 2})
		for uid, n := range l.done {
			if n > 40 {
				t.Errorf("seed %d: %d writes for %s in two days", seed, n, uid)
			}
		}
		for _, p := range l.last.Pods {
			if p.Class != resize.None && p.Waits == "" && p.Step != resize.Patches && p.Step != resize.Evicts && p.Step != resize.Reverts {
				t.Errorf("seed %d: %s is left as it is (%s, %s) and nothing says why", seed, p.Pod, p.Step, p.Class)
			}
		}
		for kind, n := range l.kinds {
			kinds[kind] += n
		}
	}
	for _, kind := range []string{"Patch false", "Patch true", "Revert false", "Evict false"} {
		if kinds[kind] < 50 {
			t.Errorf("%d times %s (with a restart?): the test shows little", kinds[kind], kind)
		}
	}
	t.Log(kinds)
}

// In a cluster where nothing is in the way, all pods get their size.
func TestEverythingArrives(t *testing.T) {
	for seed := range int64(25) {
		for _, p := range live(t, seed, play{benign: true, roomy: true, changes: 2}).last.Pods {
			if p.Class != resize.None {
				t.Errorf("seed %d: %s ends with %s: %s", seed, p.Pod, p.Step, p.Waits)
			}
		}
	}
}

// A leader that is killed at any moment, in the middle of a write or before it, changes
// nothing about where it ends.
func TestRestarts(t *testing.T) {
	for seed := range int64(40) {
		want := live(t, seed, play{roomy: true})
		got := live(t, seed, play{roomy: true, crash: func(r *rand.Rand) bool { return r.Intn(3) == 0 }})
		if fmt.Sprint(want.final) != fmt.Sprint(got.final) {
			t.Errorf("seed %d: ends in %v, and in %v with restarts", seed, want.final, got.final)
			for _, p := range got.last.Pods {
				t.Logf("  %s %s %s: %s", p.Pod, p.Step, p.Class, p.Waits)
			}
			for _, p := range want.last.Pods {
				t.Logf("  wanted: %s %s %s: %s", p.Pod, p.Step, p.Class, p.Waits)
			}
		}
	}
}

// The higher ordinal goes first, each time the recommendation changes.
func TestOrder(t *testing.T) {
	for seed := range int64(100) {
		c := anyCluster(rand.New(rand.NewSource(seed)), true, true)
		if !c.input.Targets[0].Workload.Ordered {
			continue
		}
		c.input.Targets[0].Update.UpdateMode = ptr.To(inPlace)
		c.target = list("3900m", "1Gi")
		var order []int
		for range 100 {
			out := answered(t, c.observe(rand.New(rand.NewSource(seed))), c.answer)
			for _, a := range out.Actions {
				order = append(order, ordinalOf(a.Pod))
				c.carryOut(nil, a, false)
			}
			c.tick(15 * time.Second)
		}
		for i := range order {
			if i > 0 && order[i] >= order[i-1] {
				t.Fatalf("seed %d: ordinals go in the order %v", seed, order)
			}
		}
	}
}
