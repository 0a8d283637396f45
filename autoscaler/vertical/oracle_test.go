// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package vertical

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"
	"unsafe"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	"k8s.io/autoscaler/vertical-pod-autoscaler/pkg/features"
	"k8s.io/autoscaler/vertical-pod-autoscaler/pkg/recommender/logic"
	"k8s.io/autoscaler/vertical-pod-autoscaler/pkg/recommender/model"
	"k8s.io/autoscaler/vertical-pod-autoscaler/pkg/recommender/util"
	controllerfetcher "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/target/controller_fetcher"
	upstream "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/utils/vpa"
)

// defaults are those of upstream's flags, which live in a package that reads them from
// the command line.
func defaults() logic.PodResourceRecommender {
	return logic.CreatePodResourceRecommender(logic.RecommendationConfig{
		SafetyMarginFraction: 0.15, PodMinCPUMillicores: 25, PodMinMemoryMb: 250,
		TargetCPUPercentile: 0.9, LowerBoundCPUPercentile: 0.5, UpperBoundCPUPercentile: 0.95, ConfidenceIntervalCPU: 24 * time.Hour,
		TargetMemoryPercentile: 0.9, LowerBoundMemoryPercentile: 0.5, UpperBoundMemoryPercentile: 0.95, ConfidenceIntervalMemory: 24 * time.Hour,
	})
}

// prepare sets what upstream keeps globally, and reads without a lock.
func prepare(t testing.TB) {
	t.Helper()
	model.GetAggregationsConfig()
	if err := features.MutableFeatureGate.Set(string(features.PerVPAConfig) + "=true"); err != nil {
		t.Fatal(err)
	}
}

// oracle is upstream's model and recommender, fed with what the engine gets.
type oracle struct {
	model.ClusterState
	recommender logic.PodResourceRecommender
	object      *vpav1.VerticalPodAutoscaler
	pods        map[types.UID]Pod
	saved       time.Time
}

func newOracle(policy *vpav1.PodResourcePolicy) *oracle {
	o := &oracle{
		ClusterState: model.NewClusterState(0),
		recommender:  defaults(),
		object: &vpav1.VerticalPodAutoscaler{
			ObjectMeta: metav1.ObjectMeta{Namespace: db.Namespace, Name: db.Name},
			Spec: vpav1.VerticalPodAutoscalerSpec{
				TargetRef:      &autoscalingv1.CrossVersionObjectReference{Kind: "StatefulSet", Name: db.Name},
				ResourcePolicy: policy,
			},
		},
		pods: map[types.UID]Pod{},
	}
	_ = o.AddOrUpdateVpa(o.object, labels.Everything()) // it has no error of its own for a new one
	return o
}

func podID(uid types.UID) model.PodID {
	return model.PodID{Namespace: db.Namespace, PodName: string(uid)}
}

func (o *oracle) vpa() *model.Vpa {
	return o.VPAs()[model.VpaID{Namespace: db.Namespace, VpaName: db.Name}]
}

// observe makes the pods those that are there.
func (o *oracle) observe(pods []Pod) {
	gone := maps.Clone(o.pods)
	for _, p := range pods {
		delete(gone, p.UID)
		o.pods[p.UID] = p
		o.AddOrUpdatePod(podID(p.UID), labels.Set{"slot": p.Slot}, corev1.PodRunning)
		for _, name := range p.Containers {
			_ = o.AddOrUpdateContainer(model.ContainerID{PodID: podID(p.UID), ContainerName: name}, nil)
		}
	}
	for uid := range gone {
		o.DeletePod(podID(uid))
		delete(o.pods, uid)
	}
}

// Upstream answers a sample or an OOM that it discards with an error.
func (o *oracle) sample(s Sample) {
	id := model.ContainerID{PodID: podID(s.Pod), ContainerName: s.Container}
	for r, usage := range map[model.ResourceName]int64{model.ResourceCPU: int64(s.CPU), model.ResourceMemory: int64(s.Memory)} {
		_ = o.AddSample(&model.ContainerUsageSampleWithKey{Container: id, ContainerUsageSample: model.ContainerUsageSample{
			MeasureStart: s.Time, Resource: r, Usage: model.ResourceAmount(usage)}})
	}
}

func (o *oracle) oom(e OOM) {
	_ = o.RecordOOM(model.ContainerID{PodID: podID(e.Pod), ContainerName: e.Container}, e.Time, model.ResourceAmount(e.Request))
}

// unexported reads a field that upstream keeps to itself. The struct must be addressable.
func unexported(v reflect.Value, field string) reflect.Value {
	f := v.FieldByName(field)
	return reflect.NewAt(f.Type(), unsafe.Pointer(f.UnsafeAddr())).Elem()
}

type aggregates = map[model.AggregateStateKey]*model.AggregateContainerState

func (o *oracle) aggregates() aggregates {
	f := unexported(reflect.ValueOf(o.vpa()).Elem(), "aggregateContainerStates")
	return f.Convert(reflect.TypeFor[aggregates]()).Interface().(aggregates)
}

// merged does what upstream does in AggregateStateByContainerName, slot after slot: there
// it is the order of a map, on which the last bit depends, and what is too light to count.
func (o *oracle) merged(wanted func(container string) bool) model.ContainerNameToAggregateStateMap {
	all, out := o.aggregates(), model.ContainerNameToAggregateStateMap{}
	keys := slices.SortedFunc(maps.Keys(all), func(a, b model.AggregateStateKey) int {
		return compareSlots(a.Labels().Get("slot"), b.Labels().Get("slot"))
	})
	for _, key := range keys {
		if !wanted(key.ContainerName()) {
			continue
		}
		s, ok := out[key.ContainerName()]
		if !ok {
			s = model.NewAggregateContainerState()
			out[key.ContainerName()] = s
		}
		s.MergeContainerState(all[key])
	}
	o.vpa().MergeCheckpointedState(out)
	maps.DeleteFunc(out, func(name string, _ *model.AggregateContainerState) bool { return !wanted(name) })
	return out
}

type noController struct{}

func (noController) FindTopMostWellKnownOrScalable(context.Context, *controllerfetcher.ControllerKeyWithAPIVersion) (*controllerfetcher.ControllerKeyWithAPIVersion, error) {
	return nil, nil
}

// forget also drops what a checkpoint told of containers that are gone, on purpose.
func (o *oracle) forget(ctx context.Context, now time.Time) {
	o.RateLimitedGarbageCollectAggregateCollectionStates(ctx, now, noController{})
	remembered := o.aggregates()
	maps.DeleteFunc(o.vpa().ContainersInitialAggregateState, func(name string, _ *model.AggregateContainerState) bool {
		for key := range remembered {
			if key.ContainerName() == name {
				return false
			}
		}
		return now.Sub(o.saved) >= rulesOf(policyFor(o.object.Spec.ResourcePolicy, name)).window()
	})
}

// managed are the containers to recommend for. It leaves out those that no pod has, on
// purpose: see the package.
func (o *oracle) managed(name string) bool {
	policy := upstream.GetContainerResourcePolicy(name, o.object.Spec.ResourcePolicy)
	return o.has(name) && (policy == nil || policy.Mode == nil || *policy.Mode != vpav1.ContainerScalingModeOff)
}

// recommend leaves out what was never measured, on purpose: see the package.
func (o *oracle) recommend() (*vpav1.RecommendedPodResources, error) {
	managed := o.merged(o.managed)
	for name, s := range managed {
		s.UpdateFromPolicy(upstream.GetContainerResourcePolicy(name, o.object.Spec.ResourcePolicy))
	}
	all := o.recommender.GetRecommendedPodResources(managed)
	for name, s := range managed {
		for r, h := range map[model.ResourceName]util.Histogram{model.ResourceCPU: s.AggregateCPUUsage, model.ResourceMemory: s.AggregateMemoryPeaks} {
			if h.IsEmpty() {
				delete(all[name].Target, r)
				delete(all[name].LowerBound, r)
				delete(all[name].UpperBound, r)
			}
		}
		if len(all[name].Target) == 0 {
			delete(all, name)
		}
	}
	list := logic.MapToListOfRecommendedContainerResources(all, logic.RecommendationFormat{RoundCPUMillicores: 1, RoundMemoryBytes: 1})
	return upstream.ApplyVPAPolicy(list, o.object.Spec.ResourcePolicy, nil)
}

func (o *oracle) has(container string) bool {
	for _, p := range o.pods {
		if slices.Contains(p.Containers, container) {
			return true
		}
	}
	return false
}

// checkpoints does what upstream does in checkpoint_writer.go, whose clock is the wall's.
func (o *oracle) checkpoints(now time.Time) (map[string]vpav1.VerticalPodAutoscalerCheckpointStatus, error) {
	all := o.merged(func(string) bool { return true })
	pods := slices.SortedFunc(maps.Values(o.pods), func(a, b Pod) int { return cmp.Or(compareSlots(a.Slot, b.Slot), cmp.Compare(a.UID, b.UID)) })
	for _, p := range pods {
		for name, c := range o.Pods()[podID(p.UID)].Containers {
			if s, ok := all[name]; ok && now.Before(c.WindowEnd) {
				s.AggregateMemoryPeaks.SubtractSample(model.BytesFromMemoryAmount(c.GetMaxMemoryPeak()), 1.0, c.WindowEnd)
			}
		}
	}
	out := map[string]vpav1.VerticalPodAutoscalerCheckpointStatus{}
	for name, s := range all {
		status, err := s.SaveToCheckpoint()
		if err != nil {
			return nil, err
		}
		status.LastUpdateTime = metav1.NewTime(now)
		out[name] = *status
	}
	return out, nil
}

// restart is a new process that finds the checkpoints.
func (o *oracle) restart(saved map[string]vpav1.VerticalPodAutoscalerCheckpointStatus) (*oracle, error) {
	out := newOracle(o.object.Spec.ResourcePolicy)
	for name, status := range saved {
		s := model.NewAggregateContainerState()
		if err := s.LoadFromCheckpoint(&status); err != nil {
			return nil, err
		}
		out.vpa().ContainersInitialAggregateState[name], out.saved = s, status.LastUpdateTime.Time
	}
	return out, nil
}

// stored is what comes back of an object from the API server.
func stored[T any](v T) (T, error) {
	var out T
	text, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(text, &out)
	}
	return out, err
}

// contents are the parts of a histogram, upstream's or ours.
type contents struct {
	Weights     []float64
	Total       float64
	First, Last int
	Reference   int64
}

func contentsOf(s *scale, h *histogram) contents {
	c := contents{Total: h.total, First: int(h.first), Last: int(h.last), Reference: h.reference}
	for bucket := range s.ends {
		c.Weights = append(c.Weights, h.weight(bucket))
	}
	return c
}

// upstreamContents reads a util.Histogram that decays.
func upstreamContents(h any) contents {
	decaying := reflect.ValueOf(h).Elem()
	plain := decaying.FieldByName("histogram")
	return contents{
		Weights:   unexported(plain, "bucketWeight").Interface().([]float64),
		Total:     plain.FieldByName("totalWeight").Float(),
		First:     int(plain.FieldByName("minBucket").Int()),
		Last:      int(plain.FieldByName("maxBucket").Int()),
		Reference: unexported(decaying, "referenceTimestamp").Interface().(time.Time).Unix(),
	}
}
