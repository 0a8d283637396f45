// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package vertical

import (
	"fmt"
	"io"
	"math"
	"math/rand"
	"runtime"
	"testing"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	"k8s.io/autoscaler/vertical-pod-autoscaler/pkg/recommender/logic"
	"k8s.io/autoscaler/vertical-pod-autoscaler/pkg/recommender/model"
	"k8s.io/autoscaler/vertical-pod-autoscaler/pkg/recommender/routines"
	"k8s.io/klog/v2"
)

// The fleet: 1,000 workloads of 5 pods with one container each, measured every ten minutes for
// a week, in four kinds: constant, daily, growing and with spikes.
const (
	fleetSets, fleetPods = 1000, 5
	fleetDay             = 24 * time.Hour
	fleetWeek            = 7 * fleetDay
	fleetEvery           = 10 * time.Minute
)

type fleet struct {
	vpas    []VPA
	objects []*vpav1.VerticalPodAutoscaler
	labels  map[types.UID]labels.Set
	chance  *rand.Rand
}

// newFleet makes StatefulSets, whose pods have labels of their own, or Deployments.
func newFleet(sets bool) *fleet {
	f := &fleet{labels: map[types.UID]labels.Set{}, chance: rand.New(rand.NewSource(1))}
	for i := range fleetSets {
		name := fmt.Sprintf("app-%04d", i)
		v := VPA{Key: Key{Namespace: "prod", Name: name}}
		for j := range fleetPods {
			p := Pod{UID: types.UID(fmt.Sprintf("%08x-0000-0000-0000-%012x", i, j)), Containers: []string{"main"}}
			l := labels.Set{"app.kubernetes.io/name": name, "app.kubernetes.io/instance": name, "controller-revision-hash": name + "-5d8f7c9b6d"}
			if sets {
				p.Slot = fmt.Sprint(j)
				l["statefulset.kubernetes.io/pod-name"], l["apps.kubernetes.io/pod-index"] = fmt.Sprintf("%s-%d", name, j), p.Slot
			}
			v.Pods, f.labels[p.UID] = append(v.Pods, p), l
		}
		f.vpas = append(f.vpas, v)
		f.objects = append(f.objects, &vpav1.VerticalPodAutoscaler{
			ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: name},
			Spec:       vpav1.VerticalPodAutoscalerSpec{TargetRef: &autoscalingv1.CrossVersionObjectReference{Kind: "StatefulSet", Name: name}},
		})
	}
	return f
}

// measure is one sample of each container at the time.
func (f *fleet) measure(at time.Time) []Sample {
	out := make([]Sample, 0, fleetSets*fleetPods)
	day := at.Sub(epoch).Hours() / 24
	for i, v := range f.vpas {
		load := float64(50 + i)
		switch i % 4 {
		case 1:
			load *= 1.2 + math.Sin(2*math.Pi*day)
		case 2:
			load *= 1 + day/7
		case 3:
			if f.chance.Intn(100) == 0 {
				load *= 20
			}
		}
		for _, p := range v.Pods {
			x := load * (0.7 + 0.6*f.chance.Float64())
			out = append(out, Sample{Pod: p.UID, Container: "main", Time: at, CPU: MilliCPU(x), Memory: Bytes(x * (5 << 20))})
		}
	}
	return out
}

// side is one of the two recommenders, with a pass as it makes it once a minute.
type side interface {
	pass(now time.Time, f *fleet, samples []Sample)
	// restarted is a new process that has found the checkpoints of this one.
	restarted(now time.Time, f *fleet) side
}

type berthSide struct{ History }

func (s *berthSide) pass(now time.Time, f *fleet, samples []Sample) {
	s.History = Decide(Input{Now: now, VPAs: f.vpas, Samples: samples, History: s.History}).History
}

func (s *berthSide) restarted(now time.Time, f *fleet) side {
	var objects []*vpav1.VerticalPodAutoscalerCheckpoint
	for _, v := range f.vpas {
		for _, c := range s.Checkpoints(v.Key, now) {
			objects = append(objects, c.Object(c.ID.Name(free), "berth"))
		}
	}
	h, _ := Restore(objects)
	return &berthSide{h}
}

type upstreamSide struct {
	model.ClusterState
	logic.PodResourceRecommender
}

func newUpstreamSide(f *fleet) *upstreamSide {
	s := &upstreamSide{ClusterState: model.NewClusterState(time.Hour), PodResourceRecommender: defaults()}
	for _, o := range f.objects {
		_ = s.AddOrUpdateVpa(o, labels.SelectorFromSet(labels.Set{"app.kubernetes.io/name": o.Name}))
	}
	return s
}

// pass is what recommender.RunOnce does apart from reading and writing: pods, samples,
// estimates, policy.
func (s *upstreamSide) pass(_ time.Time, f *fleet, samples []Sample) {
	id := func(uid types.UID) model.PodID { return model.PodID{Namespace: "prod", PodName: string(uid)} }
	for _, v := range f.vpas {
		for _, p := range v.Pods {
			s.AddOrUpdatePod(id(p.UID), f.labels[p.UID], corev1.PodRunning)
			for _, name := range p.Containers {
				_ = s.AddOrUpdateContainer(model.ContainerID{PodID: id(p.UID), ContainerName: name}, nil)
			}
		}
	}
	for _, x := range samples {
		for _, r := range []struct {
			name  model.ResourceName
			usage model.ResourceAmount
		}{{model.ResourceCPU, model.ResourceAmount(x.CPU)}, {model.ResourceMemory, model.ResourceAmount(x.Memory)}} {
			_ = s.AddSample(&model.ContainerUsageSampleWithKey{
				Container:            model.ContainerID{PodID: id(x.Pod), ContainerName: x.Container},
				ContainerUsageSample: model.ContainerUsageSample{MeasureStart: x.Time, Resource: r.name, Usage: r.usage},
			})
		}
	}
	format := logic.RecommendationFormat{RoundCPUMillicores: 1, RoundMemoryBytes: 1}
	capping := routines.NewCappingRecommendationProcessor(nil)
	for _, o := range f.objects {
		v := s.VPAs()[model.VpaID{Namespace: o.Namespace, VpaName: o.Name}]
		r := s.GetRecommendedPodResources(routines.GetContainerNameToAggregateStateMap(v))
		v.UpdateRecommendation(capping.Process(o, logic.MapToListOfRecommendedContainerResources(r, format)))
	}
}

func (s *upstreamSide) restarted(_ time.Time, f *fleet) side {
	out := newUpstreamSide(f)
	for id, v := range s.VPAs() {
		for name, state := range v.AggregateStateByContainerName() {
			inherited := model.NewAggregateContainerState()
			if saved, err := state.SaveToCheckpoint(); err == nil {
				_ = inherited.LoadFromCheckpoint(saved) // of a version that it has just written
			}
			out.VPAs()[id].ContainersInitialAggregateState[name] = inherited
		}
	}
	return out
}

// BenchmarkFleet lets both recommenders live through a week of 5,000 containers and then
// makes passes of both in turn, so that the machine's moods hit both. It reports bytes per
// container and time per pass of either, and the ratios.
func BenchmarkFleet(b *testing.B) {
	klog.SetOutput(io.Discard)
	klog.LogToStderr(false)
	for name, of := range map[string]struct{ sets, restart bool }{
		"statefulsets": {sets: true}, "deployments": {}, "statefulsets-restarted": {sets: true, restart: true},
	} {
		b.Run(name, func(b *testing.B) {
			f := newFleet(of.sets)
			ours, ourBytes := grown(f, of.restart, func() side { return &berthSide{} })
			theirs, theirBytes := grown(f, of.restart, func() side { return newUpstreamSide(f) })
			var ourTime, theirTime time.Duration
			now := epoch.Add(fleetWeek + fleetDay)
			for b.Loop() {
				now = now.Add(time.Minute)
				samples := f.measure(now)
				theirTime += timed(func() { theirs.pass(now, f, samples) })
				ourTime += timed(func() { ours.pass(now, f, samples) })
			}
			runtime.KeepAlive(theirs)
			runtime.KeepAlive(ours)
			n := float64(b.N)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(theirBytes, "upstream-B/container")
			b.ReportMetric(ourBytes, "berth-B/container")
			b.ReportMetric(ourBytes/theirBytes, "bytes-ratio")
			b.ReportMetric(theirTime.Seconds()*1000/n, "upstream-ms/pass")
			b.ReportMetric(ourTime.Seconds()*1000/n, "berth-ms/pass")
			b.ReportMetric(float64(ourTime)/float64(theirTime), "time-ratio")
		})
	}
}

// timed is the time of a function that begins with a clean heap: neither side pays for
// the other's garbage.
func timed(do func()) time.Duration {
	runtime.GC()
	start := time.Now()
	do()
	return time.Since(start)
}

// grown is a recommender after the week, or a day after a restart at its end, and its bytes
// per container.
func grown(f *fleet, restart bool, begin func() side) (side, float64) {
	before := heap()
	s := begin()
	for at := time.Duration(0); at < fleetWeek; at += fleetEvery {
		s.pass(epoch.Add(at), f, f.measure(epoch.Add(at)))
	}
	if restart {
		s = s.restarted(epoch.Add(fleetWeek), f)
		for at := fleetWeek; at < fleetWeek+fleetDay; at += fleetEvery {
			s.pass(epoch.Add(at), f, f.measure(epoch.Add(at)))
		}
	}
	return s, (heap() - before) / (fleetSets * fleetPods)
}

func heap() float64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}
