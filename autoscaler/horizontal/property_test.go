// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package horizontal_test

import (
	"math/rand"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/berth-dev/berth/autoscaler/horizontal"
)

const trials = 1000

// anyInput is a moment in any cluster: any HPA, pods in any state, any samples, any history.
func anyInput(r *rand.Rand) horizontal.Input {
	usage := make([]int64, r.Intn(25))
	level := 1 + r.Int63n(1500)
	for i := range usage {
		usage[i] = r.Int63n(2*level) - 50
	}
	in := web(usage...)
	least := int32(1 + r.Intn(4))
	if in.Config.ScaleToZero = r.Intn(3) == 0; in.Config.ScaleToZero {
		least = int32(r.Intn(3))
		in.HPA.Status.Conditions = []autoscalingv2.HorizontalPodAutoscalerCondition{
			{Type: autoscalingv2.ScaledToZero, Status: []v1.ConditionStatus{v1.ConditionTrue, v1.ConditionFalse}[r.Intn(2)]}}
	}
	in.HPA.Spec = specFrom(r.Int63(), &least, least+1+int32(r.Intn(20)))
	in.Readings = anyReadings(r, in)
	for _, pod := range in.Pods {
		switch r.Intn(12) {
		case 0:
			pod.Status.Phase = v1.PodPending
		case 1:
			pod.Status.Phase = v1.PodFailed
		case 2:
			pod.DeletionTimestamp = &metav1.Time{Time: noon}
		case 3:
			pod.Status.Conditions[0].Status = v1.ConditionFalse
		case 4:
			pod.Status.StartTime = ptr.To(metav1.NewTime(noon.Add(-time.Minute)))
			pod.Status.Conditions[0].LastTransitionTime = metav1.NewTime(noon.Add(-time.Duration(r.Intn(60)) * time.Second))
		}
	}
	if r.Intn(4) == 0 {
		in.Scale.SpecReplicas = int32(r.Intn(30) * r.Intn(2))
	}
	ago := func() time.Time { return noon.Add(-time.Duration(r.Intn(900)) * time.Second) }
	for range r.Intn(20) {
		in.History.Recommendations = append(in.History.Recommendations, horizontal.Recommendation{Replicas: int32(r.Intn(25)), Time: ago()})
	}
	for range r.Intn(5) {
		in.History.ScaleUps = append(in.History.ScaleUps, horizontal.ScaleEvent{Change: int32(r.Intn(6)), Time: ago()})
		in.History.ScaleDowns = append(in.History.ScaleDowns, horizontal.ScaleEvent{Change: int32(r.Intn(6)), Time: ago()})
	}
	return in
}

// anyReadings answer each of the HPA's metrics, mostly.
func anyReadings(r *rand.Rand, in horizontal.Input) []horizontal.Reading {
	readings := make([]horizontal.Reading, len(in.HPA.Spec.Metrics))
	level := int64(1) << r.Intn(63)
	for i := range readings {
		reading := horizontal.Reading{Object: r.Int63n(level), Pods: map[string]int64{}}
		for range r.Intn(4) {
			reading.Series = append(reading.Series, r.Int63n(level))
		}
		for _, pod := range in.Pods {
			if r.Intn(5) > 0 {
				reading.Pods[pod.Name] = r.Int63n(3000)
			}
		}
		if r.Intn(5) == 0 {
			reading.Pods["gone"] = r.Int63n(3000)
		}
		if r.Intn(8) == 0 {
			reading = horizontal.Reading{Absent: "down"}
		}
		readings[i] = reading
	}
	return readings
}

func forAnyInput(t *testing.T, check func(t *testing.T, r *rand.Rand, in horizontal.Input)) {
	t.Helper()
	for seed := range int64(trials) {
		r := rand.New(rand.NewSource(seed))
		check(t, r, anyInput(r))
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// What is not going to be looked at need not be asked for.
func TestMeasuresTellsWhetherMetricsAreLookedAt(t *testing.T) {
	measured := 0
	forAnyInput(t, func(t *testing.T, r *rand.Rand, in horizontal.Input) {
		switch r.Intn(12) {
		case 0:
			in.Refused = "another has it"
		case 1:
			in.Scale.Absent = "gone"
		case 2:
			in.SelectedBy = []string{"web", "other"}
		case 3:
			in.Scale.Selector = []string{"", "a=("}[r.Intn(2)]
		}
		looked := horizontal.Decide(in).Explanation.Metrics != nil
		if looked != in.Measures() {
			t.Errorf("measures: %t, and metrics were looked at: %t", in.Measures(), looked)
		}
		if looked {
			measured++
		}
	})
	if measured < trials/10 || measured > trials*9/10 {
		t.Errorf("%d of %d inputs measure: that tells little", measured, trials)
	}
}

func TestDesiredIsWithinBounds(t *testing.T) {
	forAnyInput(t, func(t *testing.T, _ *rand.Rand, in horizontal.Input) {
		d := horizontal.Decide(in)
		least, most := *in.HPA.Spec.MinReplicas, in.HPA.Spec.MaxReplicas
		if in.Scale.SpecReplicas == 0 {
			least = 0
		}
		if d.DesiredReplicas < least || d.DesiredReplicas > most {
			t.Errorf("got %d, want %d to %d", d.DesiredReplicas, least, most)
		}
	})
}

func TestInputStaysAsItIs(t *testing.T) {
	forAnyInput(t, func(t *testing.T, r *rand.Rand, _ horizontal.Input) {
		seed := r.Int63()
		twin := func() horizontal.Input { return anyInput(rand.New(rand.NewSource(seed))) }
		in := twin()
		in.HPA.Status = horizontal.Decide(twin()).Status
		for i := range in.HPA.Status.Conditions {
			in.HPA.Status.Conditions[i].Status = v1.ConditionUnknown
		}
		before := twin()
		before.HPA.Status = *in.HPA.Status.DeepCopy()

		d := horizontal.Decide(in)
		horizontal.Confirm(in, d, nil)
		if !reflect.DeepEqual(before, in) {
			t.Errorf("input (-before +after):\n%s", cmp.Diff(before, in))
		}
		if again := horizontal.Decide(before); !reflect.DeepEqual(again, d) {
			t.Errorf("decision (-untouched +confirmed):\n%s", cmp.Diff(again, d))
		}
	})
}

func TestOrderOfPodsDoesNotMatter(t *testing.T) {
	forAnyInput(t, func(t *testing.T, r *rand.Rand, in horizontal.Input) {
		before := horizontal.Decide(in)
		r.Shuffle(len(in.Pods), func(i, j int) { in.Pods[i], in.Pods[j] = in.Pods[j], in.Pods[i] })
		if after := horizontal.Decide(in); !reflect.DeepEqual(before, after) {
			t.Errorf("(-before +after):\n%s", cmp.Diff(before, after))
		}
	})
}

// Without values there is no reason to move, but for the bounds.
func TestNoSampleNoMove(t *testing.T) {
	forAnyInput(t, func(t *testing.T, _ *rand.Rand, in horizontal.Input) {
		in.Usage.Pods, in.Readings = nil, nil
		current := in.Scale.SpecReplicas
		if current < *in.HPA.Spec.MinReplicas || current > in.HPA.Spec.MaxReplicas {
			return
		}
		if d := horizontal.Decide(in); d.Rescale {
			t.Errorf("%d → %d", current, d.DesiredReplicas)
		}
	})
}

// A pod that loses its sample counts as its whole request: if the rest then still calls for fewer replicas, it would
// have with that usage too.
func TestMissingSampleIsAWholeRequest(t *testing.T) {
	forAnyInput(t, func(t *testing.T, r *rand.Rand, _ horizontal.Input) {
		idle := make([]int64, 2+r.Intn(10))
		for i := range idle {
			idle[i] = r.Int63n(450)
		}
		lost := r.Intn(len(idle))
		known := web(idle...)
		settled(&known)
		idle[lost] = -1
		unknown := web(idle...)
		settled(&unknown)
		if a, b := horizontal.Decide(known).DesiredReplicas, horizontal.Decide(unknown).DesiredReplicas; b < a {
			t.Errorf("with every sample %d, with one lost %d", a, b)
		}
	})
}

// More load never means fewer replicas, as long as every replica runs and is measured.
func TestMoreLoadNeverFewerReplicas(t *testing.T) {
	forAnyInput(t, func(t *testing.T, r *rand.Rand, any horizontal.Input) {
		usage := make([]int64, 1+r.Intn(20))
		for i := range usage {
			usage[i] = r.Int63n(1200)
		}
		decide := func() int32 {
			in := web(usage...)
			in.HPA.Spec, in.History = any.HPA.Spec, any.History
			in.HPA.Spec.Metrics = []autoscalingv2.MetricSpec{cpuAt(50)}
			return horizontal.Decide(in).DesiredReplicas
		}
		low := decide()
		usage[r.Intn(len(usage))] += r.Int63n(2000)
		if high := decide(); high < low {
			t.Errorf("%d replicas, with more load %d", low, high)
		}
	})
}

// One broken metric among others stops a scale-down and changes nothing else.
func TestBrokenMetricNeverScalesDown(t *testing.T) {
	forAnyInput(t, func(t *testing.T, _ *rand.Rand, in horizontal.Input) {
		without := horizontal.Decide(in)
		in.HPA.Spec.Metrics = append(in.HPA.Spec.Metrics, external())
		with := horizontal.Decide(in)
		current := in.Scale.SpecReplicas
		if current < max(1, *in.HPA.Spec.MinReplicas) || current > in.HPA.Spec.MaxReplicas {
			return // an External metric, even if broken, may also wake a target
		}
		if with.DesiredReplicas < current || with.DesiredReplicas > max(current, without.DesiredReplicas) {
			t.Errorf("from %d: %d without, %d with a broken metric", current, without.DesiredReplicas, with.DesiredReplicas)
		}
	})
}

// A first decision, after a restart say, never scales down by metrics where the flag's window applies.
func TestRestartNeverScalesDown(t *testing.T) {
	forAnyInput(t, func(t *testing.T, _ *rand.Rand, in horizontal.Input) {
		in.History, in.HPA.Spec.Behavior = horizontal.History{}, nil
		if d := horizontal.Decide(in); d.DesiredReplicas < min(in.Scale.SpecReplicas, in.HPA.Spec.MaxReplicas) {
			t.Errorf("%d → %d", in.Scale.SpecReplicas, d.DesiredReplicas)
		}
	})
}

func BenchmarkDecide(b *testing.B) {
	for name, pods := range map[string]int{"10 pods": 10, "1000 pods": 1000} {
		b.Run(name, func(b *testing.B) {
			usage := make([]int64, pods)
			for i := range usage {
				usage[i] = int64(300 + i%400)
			}
			in := web(usage...)
			in.HPA.Spec.MaxReplicas = int32(2 * pods)
			for range 20 {
				in.History = horizontal.Decide(in).History
				in.HPA.Status = horizontal.Decide(in).Status
			}
			b.ReportAllocs()
			for b.Loop() {
				horizontal.Decide(in)
			}
		})
	}
}
