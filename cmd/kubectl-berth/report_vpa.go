// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"

	"github.com/berth-dev/berth/autoscaler/vertical"
	"github.com/berth-dev/berth/autoscaler/vertical/resize"
)

// vpaReport is what a VPA recommends, and how far its pods have got. As with the
// other reports, names of fields stay as they are, and fields may be added.
type vpaReport struct {
	Namespace string                                     `json:"namespace"`
	VPA       string                                     `json:"vpa"`
	Target    *autoscalingv1.CrossVersionObjectReference `json:"target,omitempty"`
	// UpdateMode is that of the spec, or the default.
	UpdateMode vpav1.UpdateMode `json:"updateMode"`
	// Recommender is default where the VPA names none, as upstream's is called.
	Recommender string `json:"recommender"`
	// Configuration is where the autoscaler's was read.
	Configuration string `json:"configuration,omitempty"`
	// Status is what the recommender wrote last.
	Status vpav1.VerticalPodAutoscalerStatus `json:"status"`
	// BerthActs is whether Berth changes the sizes of pods by this VPA.
	BerthActs actsReport `json:"berthActs"`
	// AsOf is when the last checkpoint was written. What is told of samples and slots is
	// of then.
	AsOf *metav1.Time `json:"asOf,omitempty"`
	// Containers are those of the status, and those with a history only.
	Containers []containerReport `json:"containers,omitempty"`
	// Slots have a history of their own; others get what the set gets.
	Slots []slotReport `json:"slots,omitempty"`
	// Sizes is whether pods get a size when they are created, and if not, why.
	Sizes sizesState `json:"sizes,omitempty"`
	// Pods are from the highest ordinal to the lowest, or in the order in which they are
	// changed.
	Pods  []sizedPodReport `json:"pods,omitempty"`
	Notes []string         `json:"notes,omitempty"`

	now time.Time
}

// historyReport is the samples that an estimate is made of.
type historyReport struct {
	// Samples counts those of cpu, which were taken between First and Last.
	Samples int          `json:"samples"`
	First   *metav1.Time `json:"first,omitempty"`
	Last    *metav1.Time `json:"last,omitempty"`
	// Confidence is the length of the history in days of one sample a minute.
	Confidence float64 `json:"confidence"`
}

// containerReport is what is recommended to a container of all pods.
type containerReport struct {
	Name string `json:"name"`
	// History is absent where no checkpoint tells of it.
	History *historyReport `json:"history,omitempty"`
	// Resources are those of the status.
	Resources []amountReport `json:"resources,omitempty"`
}

// amountReport is a recommendation for one resource.
type amountReport struct {
	Name       v1.ResourceName    `json:"name"`
	Target     *resource.Quantity `json:"target,omitempty"`
	LowerBound *resource.Quantity `json:"lowerBound,omitempty"`
	UpperBound *resource.Quantity `json:"upperBound,omitempty"`
	// UncappedTarget is the target without the policy, CappedBy what of the policy holds it.
	UncappedTarget *resource.Quantity `json:"uncappedTarget,omitempty"`
	CappedBy       vertical.Cap       `json:"cappedBy,omitempty"`
	// Created is what a pod gets when it is created; absent where that is what its
	// template says.
	Created *createdReport `json:"created,omitempty"`
}

// createdReport is a size as the API server gives it to pods.
type createdReport struct {
	Request *resource.Quantity `json:"request,omitempty"`
	Limit   *resource.Quantity `json:"limit,omitempty"`
}

// slotReport is what is recommended to a container in one slot.
type slotReport struct {
	Slot      string        `json:"slot"`
	Container string        `json:"container"`
	History   historyReport `json:"history"`
	// Differs is whether it is anything else than what is recommended to the set.
	Differs   bool               `json:"differs"`
	Resources []slotAmountReport `json:"resources,omitempty"`
}

// slotAmountReport is a recommendation between two estimates, Weight being what Own
// counts for the target. Own is absent where the checkpoint does not tell of it.
type slotAmountReport struct {
	amountReport
	Own    *resource.Quantity `json:"own,omitempty"`
	Set    *resource.Quantity `json:"set"`
	Weight float64            `json:"weight"`
}

// sizesState is what became of the sizes for pods that are created.
type sizesState string

const (
	sizesWritten sizesState = "Written"
	// sizesMissing: the annotation is not there, or not to be read.
	sizesMissing sizesState = "Missing"
	// sizesForeign: the annotation was copied from another VPA, and has no effect.
	sizesForeign sizesState = "Foreign"
	// sizesOff: the update mode gives no pod a size.
	sizesOff sizesState = "Off"
)

// sizedPodReport is how far a pod is from its size.
type sizedPodReport struct {
	Pod string `json:"pod"`
	// Ordinal is absent for pods without one.
	Ordinal    *int                   `json:"ordinal,omitempty"`
	Node       string                 `json:"node,omitempty"`
	Containers []sizedContainerReport `json:"containers"`
	Class      resize.Class           `json:"class"`
	Reason     string                 `json:"reason"`
	// Step is what would happen to the pod next by what this look shows, Waits what for.
	Step  resize.Step `json:"step"`
	Waits string      `json:"waits,omitempty"`

	// change is the part of the reason that tells what changes.
	change string
}

// sizedContainerReport is what a container has, and is to have.
type sizedContainerReport struct {
	Name     string          `json:"name"`
	Requests v1.ResourceList `json:"requests,omitempty"`
	Limits   v1.ResourceList `json:"limits,omitempty"`
	// Actual are the requests that the kubelet reports, where a resize is under way.
	Actual v1.ResourceList `json:"actual,omitempty"`
	// To is absent for a container that does not change.
	To *v1.ResourceRequirements `json:"to,omitempty"`
}
