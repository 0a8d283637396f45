// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package vertical

import (
	"fmt"
	"math"
	"math/rand"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
)

// shards are the pods of a set.
func shards(n int) []Pod {
	var out []Pod
	for i := range n {
		out = append(out, Pod{UID: types.UID(fmt.Sprint("pod-", i)), Slot: fmt.Sprint(i), Containers: []string{"a"}})
	}
	return out
}

// slotTargets reads what differs from the set as slot to "cpu memory".
func slotTargets(d Decision) map[string]string {
	out := map[string]string{}
	for _, s := range d.Recommendations[db].Containers[0].Slots {
		if s.Differs {
			out[s.Slot] = text(s.Recommended("a").Target)
		}
	}
	return out
}

// One shard is hot. Where the set's target is the hot one's, the others get less as their
// histories grow; where it is the others', the hot one gets more memory at once, and more
// cpu as its history grows.
func TestHotShard(t *testing.T) {
	measured := func(n, days int) Decision {
		var samples []Sample
		for i, p := range shards(n) {
			cpu, memory := MilliCPU(500), Bytes(1<<30)
			if i == 2 {
				cpu, memory = 4000, 8<<30
			}
			samples = append(samples, minutely(p.UID, "a", max(days*24*60, 1), cpu, memory)...)
		}
		return Decide(Input{Now: epoch.Add(time.Duration(days) * 24 * time.Hour), VPAs: []VPA{vpa(nil, shards(n)...)}, Samples: samples})
	}
	const busy, idle = "4742m 10109348249", "587m 1238659775"
	tests := map[string]struct {
		shards, days int
		set          string
		want         map[string]string
	}{
		"of three, the first minute": {shards: 3, set: busy, want: map[string]string{}},
		"of three, a day":            {shards: 3, days: 1, set: busy, want: map[string]string{"0": "2666m 5676139489", "1": "2666m 5676139489", "2": busy}},
		"of three, a week":           {shards: 3, days: 7, set: busy, want: map[string]string{"0": "619m 1307995396", "1": "619m 1307995396", "2": busy}},
		"of 20, the first minute":    {shards: 20, set: idle, want: map[string]string{"2": "587m 10109348249"}},
		"of 20, a day":               {shards: 20, days: 1, set: idle, want: map[string]string{"2": "2663m 10109348249"}},
		"of 20, a week":              {shards: 20, days: 7, set: idle, want: map[string]string{"2": "4710m 10109348249"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			d := measured(tc.shards, tc.days)
			if diff := cmp.Diff(map[string]string{"a": tc.set}, targets(d)); diff != "" {
				t.Errorf("target of the set (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.want, slotTargets(d)); diff != "" {
				t.Errorf("targets of the slots (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWeight(t *testing.T) {
	tests := map[string]struct{ confidence, want float64 }{
		"no history": {0, 0}, "a day": {1, 0.5}, "three days": {3, 0.875}, "impossible": {-1, 0}, "for ever": {math.Inf(1), 1},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := weight(tc.confidence); got != tc.want {
				t.Errorf("%v, want %v", got, tc.want)
			}
		})
	}
}

func TestShrink(t *testing.T) {
	cpu, memory := corev1.ResourceCPU, corev1.ResourceMemory
	tests := map[string]struct {
		name          corev1.ResourceName
		own, set      Estimate
		weight, trust float64
		want          Estimate
	}{
		"no history":         {cpu, Estimate{9, 0, 1e14}, Estimate{7, 6, 8}, 0, 0, Estimate{7, 6, 8}},
		"more cpu":           {cpu, Estimate{300, 30, 3000}, Estimate{100, 10, 1000}, 0.5, 0.5, Estimate{200, 20, 2000}},
		"less cpu":           {cpu, Estimate{100, 10, 1000}, Estimate{300, 30, 3000}, 0.25, 0.25, Estimate{250, 25, 2500}},
		"more memory":        {memory, Estimate{300, 30, 3000}, Estimate{100, 10, 1000}, 0.25, 1, Estimate{300, 30, 1500}},
		"less memory":        {memory, Estimate{100, 10, 1000}, Estimate{300, 30, 3000}, 0.25, 0.25, Estimate{250, 25, 2500}},
		"far more memory":    {memory, Estimate{9000, 0, 9900}, Estimate{100, 10, 1000}, 0.5, 1, Estimate{9000, 5, 9000}},
		"nothing to believe": {memory, Estimate{5, 5, 5}, Estimate{5, 5, 5}, 0.3, 0.3, Estimate{5, 5, 5}},
		"a full history":     {memory, Estimate{1, 0, 2}, Estimate{1e14, 1e14, 1e14}, 1, 1, Estimate{1, 0, 2}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, trust := shrink(tc.name, tc.own, tc.set, tc.weight)
			if got != tc.want || trust != tc.trust {
				t.Errorf("%+v of weight %v, want %+v of %v", got, trust, tc.want, tc.trust)
			}
		})
	}
}

// Over random workloads, restarts included: a slot is between its own estimate and the
// set's, its bounds hold its target, the policy holds all three, and the set's estimate is
// the one that the container has.
func TestSlotsStayBetween(t *testing.T) {
	for seed := range int64(20) {
		s := newStory(rand.New(rand.NewSource(seed)))
		policy, h, seen := s.policy(), History{}, 0
		for _, step := range s.tell(200) {
			if step.restart {
				var objects []*vpav1.VerticalPodAutoscalerCheckpoint
				for _, c := range h.Checkpoints(db, step.now) {
					objects = append(objects, c.Object(c.ID.Name(func(string) bool { return false }), "berth"))
				}
				h, _ = Restore(objects)
			}
			d := Decide(Input{Now: step.now, VPAs: []VPA{vpa(policy, step.pods...)}, Samples: step.samples, OOMs: step.ooms, History: h})
			h = d.History
			for _, c := range d.Recommendations[db].Containers {
				p := policyFor(policy, c.ContainerName)
				for _, slot := range c.Slots {
					seen++
					for _, r := range slot.Resources {
						if err := misfit(r, boundsOf(p, nil, r.Name), c, slot); err != nil {
							t.Fatalf("seed %d, slot %s of %s, %s: %v\n%+v", seed, slot.Slot, c.ContainerName, r.Name, err, r)
						}
					}
				}
			}
		}
		if s.ordinal != (seen > 0) {
			t.Errorf("seed %d: %d slots seen", seed, seen)
		}
	}
}

func misfit(r SlotResource, b bounds, c Container, s Slot) error {
	for of, x := range map[string][3]int64{
		"target": {r.Own.Target, r.Set.Target, r.Target}, "lower bound": {r.Own.LowerBound, r.Set.LowerBound, r.LowerBound},
		"upper bound": {r.Own.UpperBound, r.Set.UpperBound, r.UpperBound},
	} {
		lo, _ := b.cap(amount(min(x[0], x[1])))
		hi, _ := b.cap(amount(max(x[0], x[1])))
		if amount(x[2]) < lo || amount(x[2]) > hi {
			return fmt.Errorf("the %s is not between own and set", of)
		}
		if b.least != nil && amount(x[2]) < min(b.atLeast, b.atMost) || b.most != nil && amount(x[2]) > b.atMost {
			return fmt.Errorf("the policy does not hold the %s", of)
		}
		set, _ := b.cap(amount(x[1]))
		if more := r.Name == corev1.ResourceMemory && r.Own.Target > r.Set.Target; s.Confidence == 0 && !more && amount(x[2]) != set {
			return fmt.Errorf("without a history, the %s is not the set's", of)
		}
	}
	uncapped := c.UncappedTarget[r.Name]
	switch {
	case r.LowerBound > r.Target || r.Target > r.UpperBound:
		return fmt.Errorf("the bounds do not hold the target")
	case int64(units(uncapped, r.Name)) != r.Set.Target:
		return fmt.Errorf("the set's estimate is %s", &uncapped)
	case r.Weight < 0 || r.Weight > 1:
		return fmt.Errorf("it has no weight")
	}
	return nil
}

// An OOM raises the slot that had it and no other, after a restart too.
func TestOOMOfOneSlot(t *testing.T) {
	day := func(n int) time.Time { return epoch.Add(time.Duration(n) * 24 * time.Hour) }
	var samples []Sample
	for _, p := range shards(3) {
		samples = append(samples, minutely(p.UID, "a", 6*24*60, 1000, 1<<30)...)
	}
	of := []VPA{vpa(nil, shards(3)...)}
	d := Decide(Input{Now: day(6), VPAs: of, Samples: samples,
		OOMs: []OOM{{Pod: "pod-1", Container: "a", Time: day(3).Add(time.Hour), Request: 4 << 30}}})
	want := map[string]string{"1": "1168m 6117462922"}
	if diff := cmp.Diff(want, slotTargets(d)); diff != "" {
		t.Errorf("targets of the slots (-want +got):\n%s", diff)
	}
	var objects []*vpav1.VerticalPodAutoscalerCheckpoint
	for _, c := range d.History.Checkpoints(db, day(6)) {
		objects = append(objects, c.Object(c.ID.Name(func(string) bool { return false }), "berth"))
	}
	h, _ := Restore(objects)
	if diff := cmp.Diff(want, slotTargets(Decide(Input{Now: day(6), VPAs: of, History: h}))); diff != "" {
		t.Errorf("targets after a restart (-want +got):\n%s", diff)
	}
}

// A checkpoint leaves out the memory peak of the interval that goes on. A slot that has not been measured since gets
// the memory that the set gets, and not none.
func TestASlotOnItsFirstDayAfterARestart(t *testing.T) {
	pods := shards(2)
	sample := func(at time.Duration, of ...Pod) (all []Sample) {
		for _, p := range of {
			all = append(all, Sample{Pod: p.UID, Container: "a", Time: epoch.Add(at), CPU: 500, Memory: 1 << 30})
		}
		return all
	}
	before := Decide(Input{Now: epoch, VPAs: []VPA{vpa(nil, pods...)}, Samples: sample(0, pods...)})
	var objects []*vpav1.VerticalPodAutoscalerCheckpoint
	for _, c := range before.History.Checkpoints(db, epoch) {
		objects = append(objects, c.Object(c.ID.Name(func(string) bool { return false }), "berth"))
	}
	history, refused := Restore(objects)
	if len(refused) > 0 {
		t.Fatal(refused)
	}
	after := Decide(Input{Now: epoch.Add(time.Minute), VPAs: []VPA{vpa(nil, pods...)}, Samples: sample(time.Minute, pods[0]), History: history})
	set := after.Recommendations[db].Containers[0]
	for _, s := range set.Slots {
		got, want := s.Recommended("a").Target[corev1.ResourceMemory], set.Target[corev1.ResourceMemory]
		if got.Cmp(want) != 0 || want.IsZero() {
			t.Errorf("slot %s is recommended %s of memory, want the set's %s", s.Slot, got.String(), want.String())
		}
	}
	if len(set.Slots) != 2 {
		t.Errorf("%d slots, want 2", len(set.Slots))
	}
}
