// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package horizontal

import (
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	v1 "k8s.io/api/core/v1"
)

// Input is everything one decision depends on. It is only read: the objects may come from an informer cache.
type Input struct {
	Now time.Time

	// HPA is the object as the API server serves it: defaulted and validated.
	HPA   *autoscalingv2.HorizontalPodAutoscaler
	Scale Scale

	// Pods are those in the HPA's namespace that Scale.Selector matches, in whatever phase.
	Pods []*v1.Pod

	// Usage answers the Resource and ContainerResource metrics.
	Usage Usage
	// Readings answer the others: one for each of spec.metrics, in that order. Those of metrics that Usage answers stay zero.
	Readings []Reading

	// SelectedBy names the HPAs of this namespace, this one included, whose selector matches any of Pods.
	// With more than one nobody scales.
	SelectedBy []string

	// Refused says why this HPA may not act. Empty: it may.
	Refused string

	Config  Config
	History History
}

// Scale is the scale subresource of the HPA's target.
type Scale struct {
	// Absent says why there is none: the error of the read. Empty: the fields below hold.
	Absent string

	SpecReplicas   int32
	StatusReplicas int32
	// Selector is the target's label selector in its string form.
	Selector string
}

// Usage is what the resource metrics API says about pods.
type Usage struct {
	// Absent says why there is nothing: the error of the read. Empty: Pods holds.
	Absent string

	// Pods is keyed by the name of a pod in the HPA's namespace. Names that are not among Input.Pods
	// do not count, so one map serves all HPAs of a namespace.
	Pods map[string]PodUsage
}

// PodUsage is one pod's sample.
type PodUsage struct {
	// Timestamp is the end of the Window over which usage was measured.
	Timestamp  time.Time
	Window     time.Duration
	Containers []ContainerUsage
}

// ContainerUsage is one container's share of a sample.
type ContainerUsage struct {
	Name  string
	Usage v1.ResourceList
}

// Reading is what the custom or the external metrics API says about one metric, for the metric's selector.
// Values are milli-units, rounded as resource.Quantity rounds them. Several HPAs may share one.
type Reading struct {
	// Absent says why there is nothing: the error of the read. Empty: the field of the metric's kind holds.
	Absent string

	// Pods answers a Pods metric: values by pod name, of the pods that Scale.Selector matches.
	Pods map[string]int64
	// Object answers an Object metric. That of a Namespace is asked for at the root, under the HPA's own namespace.
	Object int64
	// Series answers an External metric: the value of every series that its selector matches.
	Series []int64
}

// Config holds what kube-controller-manager takes as flags.
type Config struct {
	// Tolerance is how far the ratio of value to target may be from 1 without scaling,
	// where spec.behavior does not say.
	Tolerance float64
	// DownscaleStabilization is the window of scale-down where spec.behavior does not say.
	DownscaleStabilization time.Duration
	// CPUInitializationPeriod is how long after its start a pod's cpu counts only
	// if the pod is ready and was so for a whole sample.
	CPUInitializationPeriod time.Duration
	// InitialReadinessDelay is how soon after its start a pod that turned unready counts as never ready.
	InitialReadinessDelay time.Duration
	// ScaleToZero is the feature gate HPAScaleToZero: an HPA with an Object or External metric that has scaled to zero
	// scales up again. Without it zero replicas mean that scaling is switched off.
	ScaleToZero bool
}

// History is what earlier decisions leave for later ones. The zero value is that of an HPA never seen before,
// or seen again after a restart: the first decision then seeds it with the current replicas, so that
// nothing is scaled down sooner than the window allows. Recall does the same and knows the scale events, too.
//
// Entries that are too old are reused, not dropped, for spec.behavior may lengthen a window later.
type History struct {
	Recommendations []Recommendation
	ScaleUps        []ScaleEvent
	ScaleDowns      []ScaleEvent
}

// Recommendation is a replica count that metrics called for, before stabilization and limits.
type Recommendation struct {
	Replicas int32
	Time     time.Time
}

// ScaleEvent is a change that was written. Change is positive in either direction.
type ScaleEvent struct {
	Change int32
	Time   time.Time
	// Outdated events may be reused. They still count for a policy whose period reaches them.
	Outdated bool
}
