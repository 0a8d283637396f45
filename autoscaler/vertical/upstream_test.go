// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package vertical

import (
	"fmt"
	"math"
	"math/rand"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	"k8s.io/autoscaler/vertical-pod-autoscaler/pkg/recommender/logic"
	"k8s.io/autoscaler/vertical-pod-autoscaler/pkg/recommender/model"
	upstream "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/utils/vpa"
)

// oracle is upstream's model and recommender, fed with what the engine gets.
type oracle struct {
	model.ClusterState
	recommender logic.PodResourceRecommender
	object      *vpav1.VerticalPodAutoscaler
	pods        map[types.UID]model.PodID
}

func newOracle(t *testing.T, policy *vpav1.PodResourcePolicy) *oracle {
	t.Helper()
	o := &oracle{
		ClusterState: model.NewClusterState(time.Hour),
		// The defaults of upstream's flags, which live in a package that reads them
		// from the command line.
		recommender: logic.CreatePodResourceRecommender(logic.RecommendationConfig{
			SafetyMarginFraction: 0.15, PodMinCPUMillicores: 25, PodMinMemoryMb: 250,
			TargetCPUPercentile: 0.9, LowerBoundCPUPercentile: 0.5, UpperBoundCPUPercentile: 0.95, ConfidenceIntervalCPU: 24 * time.Hour,
			TargetMemoryPercentile: 0.9, LowerBoundMemoryPercentile: 0.5, UpperBoundMemoryPercentile: 0.95, ConfidenceIntervalMemory: 24 * time.Hour,
		}),
		object: &vpav1.VerticalPodAutoscaler{
			ObjectMeta: metav1.ObjectMeta{Namespace: db.Namespace, Name: db.Name},
			Spec:       vpav1.VerticalPodAutoscalerSpec{ResourcePolicy: policy},
		},
		pods: map[types.UID]model.PodID{},
	}
	if err := o.AddOrUpdateVpa(o.object, labels.Everything()); err != nil {
		t.Fatal(err)
	}
	return o
}

// observe makes the pods those that are there.
func (o *oracle) observe(t *testing.T, pods []Pod) {
	t.Helper()
	for uid, id := range o.pods {
		if !slices.ContainsFunc(pods, func(p Pod) bool { return p.UID == uid }) {
			o.DeletePod(id)
			delete(o.pods, uid)
		}
	}
	for _, p := range pods {
		id := model.PodID{Namespace: db.Namespace, PodName: string(p.UID)}
		o.pods[p.UID] = id
		o.AddOrUpdatePod(id, labels.Set{"slot": p.Slot}, corev1.PodRunning)
		for _, name := range p.Containers {
			if err := o.AddOrUpdateContainer(model.ContainerID{PodID: id, ContainerName: name}, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Upstream answers a sample or an OOM that it discards with an error.
func (o *oracle) sample(s Sample) {
	id := model.ContainerID{PodID: o.pods[s.Pod], ContainerName: s.Container}
	for r, usage := range map[model.ResourceName]int64{model.ResourceCPU: int64(s.CPU), model.ResourceMemory: int64(s.Memory)} {
		_ = o.AddSample(&model.ContainerUsageSampleWithKey{Container: id, ContainerUsageSample: model.ContainerUsageSample{
			MeasureStart: s.Time, Resource: r, Usage: model.ResourceAmount(usage)}})
	}
}

func (o *oracle) oom(e OOM) {
	_ = o.RecordOOM(model.ContainerID{PodID: o.pods[e.Pod], ContainerName: e.Container}, e.Time, model.ResourceAmount(e.Request))
}

func (o *oracle) recommend(t *testing.T) ([]vpav1.RecommendedContainerResources, model.ContainerNameToAggregateStateMap) {
	t.Helper()
	states := o.VPAs()[model.VpaID{Namespace: db.Namespace, VpaName: db.Name}].AggregateStateByContainerName()
	managed := model.ContainerNameToAggregateStateMap{}
	for name, s := range states {
		policy := upstream.GetContainerResourcePolicy(name, o.object.Spec.ResourcePolicy)
		if policy != nil && policy.Mode != nil && *policy.Mode == vpav1.ContainerScalingModeOff {
			continue
		}
		s.UpdateFromPolicy(policy)
		managed[name] = s
	}
	list := logic.MapToListOfRecommendedContainerResources(o.recommender.GetRecommendedPodResources(managed),
		logic.RecommendationFormat{RoundCPUMillicores: 1, RoundMemoryBytes: 1})
	capped, err := upstream.ApplyVPAPolicy(list, o.object.Spec.ResourcePolicy, nil)
	if err != nil {
		t.Fatal(err)
	}
	return capped.ContainerRecommendations, managed
}

// story is a workload that lives for virtual weeks.
type story struct {
	*rand.Rand
	pods    []Pod
	names   []string
	born    int
	ordinal bool
	load    func(day float64) float64
}

func newStory(seed int64) *story {
	s := &story{Rand: rand.New(rand.NewSource(seed)), names: []string{"main"}}
	s.ordinal = s.Intn(2) == 0
	base := math.Exp(s.Float64()*8) * 2
	s.load = [...]func(float64) float64{
		func(float64) float64 { return base },
		func(day float64) float64 { return base * (1.2 + math.Sin(2*math.Pi*day)) },
		func(day float64) float64 { return base * (1 + day) },
		func(float64) float64 {
			if s.Intn(50) == 0 {
				return base * 20
			}
			return base
		},
	}[s.Intn(4)]
	for i := range 1 + s.Intn(3) {
		s.pods = append(s.pods, s.pod(i))
	}
	return s
}

func (s *story) pod(i int) Pod {
	s.born++
	p := Pod{UID: types.UID(fmt.Sprintf("%03d-%d", s.born, i)), Containers: slices.Clone(s.names)}
	if s.ordinal {
		p.Slot = fmt.Sprint(9 - i) // the oldest history is not the first in order
	}
	return p
}

// policy is a random policy, most of them harmless.
func (s *story) policy() *vpav1.PodResourcePolicy {
	off := vpav1.ContainerScalingModeOff
	return [...]*vpav1.PodResourcePolicy{
		nil, nil,
		policies(vpav1.ContainerResourcePolicy{ContainerName: "*", MinAllowed: resources("100m", "1Gi"), MaxAllowed: resources("2", "4Gi")}),
		policies(vpav1.ContainerResourcePolicy{ContainerName: "sidecar", Mode: &off}),
		policies(vpav1.ContainerResourcePolicy{ContainerName: "main", ControlledResources: &[]corev1.ResourceName{corev1.ResourceMemory}},
			vpav1.ContainerResourcePolicy{ContainerName: "*", MaxAllowed: resources("50m", "100Mi")}),
	}[s.Intn(5)]
}

// step lets time pass: pods are replaced and added, all get a sidecar, usage is measured,
// now and then late, twice, as nothing or as nonsense.
func (s *story) step(at time.Time) ([]Sample, []OOM) {
	if s.Intn(400) == 0 && len(s.names) == 1 {
		s.names = append(s.names, "sidecar")
		for i := range s.pods {
			s.pods[i] = s.pod(i)
		}
	}
	if s.Intn(100) == 0 {
		i := s.Intn(len(s.pods))
		s.pods[i] = s.pod(i)
	}
	if s.Intn(200) == 0 && len(s.pods) < 8 {
		s.pods = append(s.pods, s.pod(len(s.pods)))
	}
	var samples []Sample
	var ooms []OOM
	for _, p := range s.pods {
		for _, name := range p.Containers {
			load := s.load(at.Sub(epoch).Hours()/24) * (0.8 + 0.4*s.Float64())
			samples = append(samples, Sample{Pod: p.UID, Container: name, Time: at, CPU: MilliCPU(load), Memory: Bytes(load * (5 << 20))})
			last := samples[len(samples)-1]
			switch s.Intn(60) {
			case 0:
				last.Time = at.Add(-time.Duration(s.Intn(3*3600)) * time.Second)
				samples = append(samples, last)
			case 1:
				samples = append(samples, last)
			case 2:
				samples[len(samples)-1].CPU, samples[len(samples)-1].Memory = 0, 0
			case 3:
				samples = append(samples, Sample{Pod: p.UID, Container: name, Time: at.Add(-time.Second), CPU: -1, Memory: -1})
			}
			if s.Intn(500) == 0 {
				when := at.Add(time.Duration(s.Intn(40)-20) * time.Hour)
				if when.After(at) {
					when = at
				}
				ooms = append(ooms, OOM{Pod: p.UID, Container: name, Time: when, Request: Bytes(load * (4 << 20))})
			}
		}
	}
	return samples, ooms
}

// Over virtual weeks of random workloads the recommendation is upstream's at every
// step, and so are the buckets that it was read from.
func TestUpstreamAgrees(t *testing.T) {
	model.GetAggregationsConfig() // made at first use, without a lock
	for seed := range int64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			s := newStory(seed)
			policy := s.policy()
			o, now := newOracle(t, policy), epoch
			var h History
			for range 500 {
				now = now.Add(time.Minute * time.Duration(1+s.Intn(60)))
				if s.Intn(100) == 0 {
					h = Decide(Input{Now: now.Add(39 * time.Hour), VPAs: []VPA{vpa(policy, s.pods...)}, History: h}).History
					now = now.Add(time.Hour * time.Duration(40+s.Intn(40)))
				}
				samples, ooms := s.step(now)
				o.observe(t, s.pods)
				d := Decide(Input{Now: now, VPAs: []VPA{vpa(policy, s.pods...)}, Samples: samples, History: h})
				slices.SortFunc(samples, func(a, b Sample) int { return compareEvents(a.event(), b.event()) })
				for _, e := range samples {
					o.sample(e)
				}
				for _, e := range ooms {
					d = Decide(Input{Now: now, VPAs: []VPA{vpa(policy, s.pods...)}, OOMs: []OOM{e}, History: d.History})
					o.oom(e)
				}
				h = d.History
				compare(t, o, d)
				if t.Failed() {
					t.Fatalf("after %v", now.Sub(epoch))
				}
			}
		})
	}
}

func compare(t *testing.T, o *oracle, d Decision) {
	t.Helper()
	want, states := o.recommend(t)
	var got []vpav1.RecommendedContainerResources
	for _, c := range d.Recommendations[db].Containers {
		got = append(got, c.RecommendedContainerResources)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("recommendation (-upstream +berth):\n%s", diff)
	}
	for name, slots := range d.History.byContainer()[db] {
		state, ok := states[name]
		if !ok {
			continue
		}
		u := d.History.scales.merge(slots)
		for _, h := range []struct {
			of        string
			want, got interface {
				SaveToChekpoint() (*vpav1.HistogramCheckpoint, error)
			}
		}{{"cpu", state.AggregateCPUUsage, u.cpu}, {"memory", state.AggregateMemoryPeaks, u.memoryPeaks}} {
			want, err := h.want.SaveToChekpoint()
			if err != nil {
				t.Fatal(err)
			}
			got, err := h.got.SaveToChekpoint()
			if err != nil {
				t.Fatal(err)
			}
			if !closeTo(want.BucketWeights, got.BucketWeights) {
				t.Errorf("%s buckets of %s (-upstream +berth):\n%s", h.of, name, cmp.Diff(want, got))
			}
		}
	}
}

// closeTo allows a difference of 2 in 10000: upstream merges histograms in the order of
// a map, and what a merge drops of the lightest buckets depends on that order.
func closeTo(want, got map[int]uint32) bool {
	near := func(a, b map[int]uint32) bool {
		for bucket := range a {
			if d := int64(a[bucket]) - int64(b[bucket]); d < -2 || d > 2 {
				return false
			}
		}
		return true
	}
	return near(want, got) && near(got, want)
}
