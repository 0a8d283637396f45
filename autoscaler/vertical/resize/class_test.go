// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package resize_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	"k8s.io/utils/ptr"

	"github.com/berth-dev/berth/autoscaler/vertical/resize"
)

func requestsOnly(t *resize.Target) {
	t.Resources = &vpav1.PodResourcePolicy{ContainerPolicies: []vpav1.ContainerResourcePolicy{{ContainerName: "*",
		ControlledValues: ptr.To(vpav1.ContainerControlledValuesRequestsOnly)}}}
}

func rangeOf(item v1.LimitRangeItem) []*v1.LimitRange {
	return []*v1.LimitRange{{ObjectMeta: metav1.ObjectMeta{Name: "bounds"}, Spec: v1.LimitRangeSpec{Limits: []v1.LimitRangeItem{item}}}}
}

func TestClasses(t *testing.T) {
	one, two := list("1", "1Gi"), list("2", "2Gi")
	restart := func(r v1.ResourceName) func(*v1.Pod, *resize.Target) {
		return func(p *v1.Pod, _ *resize.Target) {
			p.Spec.Containers[0].ResizePolicy = []v1.ContainerResizePolicy{{ResourceName: r, RestartPolicy: v1.RestartContainer}}
		}
	}
	for name, tc := range map[string]struct {
		mode             vpav1.UpdateMode
		requests, limits v1.ResourceList
		cpu, memory      string
		setup            func(*v1.Pod, *resize.Target)
		want             resize.Class
		reason           string
	}{
		"in place":                     {want: resize.InPlace, reason: "db: cpu 1 to 2, db: memory 1Gi to 2Gi: no container restarts"},
		"in place, limits with it":     {limits: two, want: resize.InPlace, reason: "db: cpu 1 to 2 (limit 2 to 4)"},
		"restart for memory":           {setup: restart(v1.ResourceMemory), want: resize.InPlaceRestart, reason: "resizePolicy of container db restarts it when its memory changes"},
		"restart for what stays":       {cpu: "1", setup: restart(v1.ResourceCPU), want: resize.InPlace},
		"mode Recreate":                {mode: recreate, want: resize.Recreate, reason: "update mode Recreate"},
		"mode Auto is Recreate":        {mode: "Auto", want: resize.Recreate},
		"BestEffort":                   {requests: v1.ResourceList{}, want: resize.Impossible, reason: "QoS class from BestEffort to Burstable"},
		"BestEffort may be re-created": {mode: orRecreate, requests: v1.ResourceList{}, want: resize.Recreate, reason: "QoS class from BestEffort to Burstable"},
		"Guaranteed stays it":          {limits: one, want: resize.InPlace},
		"Guaranteed is not given up":   {mode: recreate, limits: one, cpu: "500m", setup: func(_ *v1.Pod, t *resize.Target) { requestsOnly(t) }, want: resize.Impossible, reason: "would lose its QoS class Guaranteed and be Burstable"},
		"static cpu":                   {limits: one, setup: func(_ *v1.Pod, t *resize.Target) { t.Pods[0].Node.StaticCPU = true }, want: resize.Impossible, reason: "static cpu manager policy"},
		"static cpu, memory alone":     {limits: one, cpu: "1", setup: func(_ *v1.Pod, t *resize.Target) { t.Pods[0].Node.StaticCPU = true }, want: resize.InPlace},
		"static cpu, Burstable":        {setup: func(_ *v1.Pod, t *resize.Target) { t.Pods[0].Node.StaticCPU = true }, want: resize.InPlace},
		"static cpu, re-created":       {mode: orRecreate, limits: one, setup: func(_ *v1.Pod, t *resize.Target) { t.Pods[0].Node.StaticCPU = true }, want: resize.Recreate},
		"static memory":                {limits: one, setup: func(_ *v1.Pod, t *resize.Target) { t.Pods[0].Node.StaticMemory = true }, want: resize.Impossible, reason: "static memory manager policy"},
		"static memory, cpu alone":     {limits: one, memory: "1Gi", setup: func(_ *v1.Pod, t *resize.Target) { t.Pods[0].Node.StaticMemory = true }, want: resize.InPlace},
		"swap":                         {setup: func(_ *v1.Pod, t *resize.Target) { t.Pods[0].Node.Swap = true }, want: resize.Impossible, reason: "container db may swap"},
		"swap with a restart":          {setup: func(p *v1.Pod, t *resize.Target) { t.Pods[0].Node.Swap = true; restart(v1.ResourceMemory)(p, t) }, want: resize.InPlaceRestart},
		"swap, cpu alone":              {memory: "1Gi", setup: func(_ *v1.Pod, t *resize.Target) { t.Pods[0].Node.Swap = true }, want: resize.InPlace},
		"limit below usage":            {mode: recreate, limits: two, memory: "512Mi", setup: func(_ *v1.Pod, t *resize.Target) { t.Pods[0].Usage["db"] = 1 << 30 }, want: resize.Impossible, reason: "uses 1073741824 bytes of memory, and its limit would be 1Gi"},
		"limit above usage":            {limits: two, memory: "512Mi", setup: func(_ *v1.Pod, t *resize.Target) { t.Pods[0].Usage["db"] = 1<<30 - 1 }, want: resize.InPlace},
		"request below usage":          {memory: "512Mi", setup: func(_ *v1.Pod, t *resize.Target) { t.Pods[0].Usage["db"] = 1 << 30 }, want: resize.InPlace},
		"Windows":                      {setup: func(p *v1.Pod, _ *resize.Target) { p.Spec.OS = &v1.PodOS{Name: v1.Windows} }, want: resize.Impossible, reason: "Windows"},
		"a Windows node":               {setup: func(_ *v1.Pod, t *resize.Target) { t.Pods[0].Node.Windows = true }, want: resize.Impossible},
		"a static pod":                 {mode: orRecreate, setup: func(p *v1.Pod, _ *resize.Target) { p.Annotations = map[string]string{v1.MirrorPodAnnotationKey: "x"} }, want: resize.Impossible, reason: "static pod"},
		"claims of cpu": {setup: func(p *v1.Pod, _ *resize.Target) {
			p.Status.NodeAllocatableResourceClaimStatuses = []v1.NodeAllocatableResourceClaimStatus{{}}
		}, want: resize.Impossible, reason: "claims"},
		"more than the node has":    {setup: func(_ *v1.Pod, t *resize.Target) { t.Pods[0].Node.Allocatable = list("1500m", "8Gi") }, want: resize.Impossible, reason: "would request 2 cpu, and node node-a has 1500m in all"},
		"more than the node, moves": {mode: orRecreate, setup: func(_ *v1.Pod, t *resize.Target) { t.Pods[0].Node.Allocatable = list("1500m", "8Gi") }, want: resize.Recreate},
		"above the pod-level request": {setup: func(p *v1.Pod, _ *resize.Target) {
			p.Spec.Resources = &v1.ResourceRequirements{Requests: list("1500m", "4Gi")}
		}, want: resize.Impossible, reason: "containers would request 2 cpu, and the pod-level request is 1500m"},
		"above the pod-level limit": {limits: one, setup: func(p *v1.Pod, _ *resize.Target) {
			p.Spec.Resources = &v1.ResourceRequirements{Requests: list("4", "4Gi"), Limits: list("8", "1536Mi")}
		}, want: resize.Impossible, reason: "memory limit of 2Gi, and the pod-level limit is 1536Mi"},
		"below the pod-level resources": {setup: func(p *v1.Pod, _ *resize.Target) {
			p.Spec.Resources = &v1.ResourceRequirements{Requests: list("3", "4Gi")}
		}, want: resize.InPlace},
		"a LimitRange for another resource": {setup: func(_ *v1.Pod, t *resize.Target) {
			t.LimitRanges = rangeOf(v1.LimitRangeItem{Type: v1.LimitTypeContainer, Min: v1.ResourceList{v1.ResourceEphemeralStorage: resource.MustParse("1Gi")}})
		}, want: resize.Impossible, reason: "LimitRange bounds: container db: ephemeral-storage request 0 is below min 1Gi"},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.requests == nil {
				tc.requests = one
			}
			if tc.mode == "" {
				tc.mode = inPlace
			}
			target := advice("2", "2Gi")[0].Target
			if tc.cpu != "" {
				target[v1.ResourceCPU] = resource.MustParse(tc.cpu)
			}
			if tc.memory != "" {
				target[v1.ResourceMemory] = resource.MustParse(tc.memory)
			}
			p := pod("db", 0, tc.requests, tc.limits)
			in := set(tc.mode, []resize.Recommendation{{Container: "db", Target: target, Lower: target, Upper: target}}, p)
			if tc.setup != nil {
				tc.setup(p, &in)
			}
			got := answered(t, resize.Input{Targets: []resize.Target{in}}, yes).Pods[0]
			if got.Class != tc.want || !strings.Contains(got.Reason, tc.reason) {
				t.Errorf("%s, %q; want %s, %q", got.Class, got.Reason, tc.want, tc.reason)
			}
		})
	}
}

func TestFit(t *testing.T) {
	half := list("1", "1Gi")
	for name, tc := range map[string]struct {
		requests, limits v1.ResourceList
		item             v1.LimitRangeItem
		setup            func(*resize.Target)
		want             v1.ResourceRequirements
	}{
		"limits keep their ratio": {limits: list("1500m", "2Gi"), want: v1.ResourceRequirements{Requests: list("4", "4Gi"), Limits: list("6", "8Gi")}},
		"RequestsOnly stops at the limit": {limits: list("1500m", "8Gi"), setup: requestsOnly,
			want: v1.ResourceRequirements{Requests: list("1500m", "4Gi"), Limits: list("1500m", "8Gi")}},
		"max for containers": {limits: list("2", "2Gi"), item: v1.LimitRangeItem{Type: v1.LimitTypeContainer, Max: list("3", "")},
			want: v1.ResourceRequirements{Requests: list("1500m", "4Gi"), Limits: list("3", "8Gi")}},
		"min for containers": {item: v1.LimitRangeItem{Type: v1.LimitTypeContainer, Min: list("", "5Gi")},
			want: v1.ResourceRequirements{Requests: list("4", "5Gi")}},
		"max for pods": {limits: half, item: v1.LimitRangeItem{Type: v1.LimitTypePod, Max: list("3", "2Gi")},
			want: v1.ResourceRequirements{Requests: list("3", "2Gi"), Limits: list("3", "2Gi")}},
		"max for pods, with a container that stays": {limits: half, item: v1.LimitRangeItem{Type: v1.LimitTypePod, Max: list("3", "")},
			setup: func(t *resize.Target) {
				spec := &t.Pods[0].Object.Spec
				spec.Containers = append(spec.Containers, v1.Container{Name: "aide", Resources: v1.ResourceRequirements{Requests: half, Limits: half}})
			},
			want: v1.ResourceRequirements{Requests: list("2", "4Gi"), Limits: list("2", "4Gi")}},
		"min for pods": {item: v1.LimitRangeItem{Type: v1.LimitTypePod, Min: list("5", "")},
			want: v1.ResourceRequirements{Requests: list("5", "4Gi")}},
		"a max on a limit that does not move": {limits: list("5", "8Gi"), setup: requestsOnly, item: v1.LimitRangeItem{Type: v1.LimitTypeContainer, Max: list("5", "")},
			want: v1.ResourceRequirements{Requests: list("4", "4Gi"), Limits: list("5", "8Gi")}},
		"the ratio of a limit that does not move": {requests: list("6", "6Gi"), limits: list("12", "12Gi"), setup: requestsOnly,
			item: v1.LimitRangeItem{Type: v1.LimitTypeContainer, MaxLimitRequestRatio: list("2500m", "2")},
			want: v1.ResourceRequirements{Requests: list("4800m", "6Gi"), Limits: list("12", "12Gi")}},
		"the policy's maximum": {setup: func(t *resize.Target) {
			t.Resources = &vpav1.PodResourcePolicy{ContainerPolicies: []vpav1.ContainerResourcePolicy{{ContainerName: "db", MaxAllowed: list("2", "")}}}
		}, want: v1.ResourceRequirements{Requests: list("2", "4Gi")}},
		"a container that is Off": {setup: func(t *resize.Target) {
			t.Resources = &vpav1.PodResourcePolicy{ContainerPolicies: []vpav1.ContainerResourcePolicy{{ContainerName: "db", Mode: ptr.To(vpav1.ContainerScalingModeOff)}}}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.requests == nil {
				tc.requests = half
			}
			target := set(inPlace, advice("4", "4Gi"), pod("db", 0, tc.requests, tc.limits))
			if tc.item.Type != "" {
				target.LimitRanges = rangeOf(tc.item)
			}
			if tc.setup != nil {
				tc.setup(&target)
			}
			got := answered(t, resize.Input{Targets: []resize.Target{target}}, yes).Pods[0]
			if diff := cmp.Diff(tc.want, got.To["db"]); diff != "" {
				t.Errorf("size (-want +got):\n%s", diff)
			}
			if len(got.To) > 0 && got.Class != resize.InPlace {
				t.Errorf("%s: %s", got.Class, got.Reason)
			}
		})
	}
}

// A pod that its LimitRange keeps below its bounds is within them.
func TestBoundsHoldTheTarget(t *testing.T) {
	p := pod("db", 0, list("3", "1Gi"), list("3", "1Gi"))
	p.Spec.Containers = append(p.Spec.Containers, v1.Container{Name: "aide", Resources: v1.ResourceRequirements{Requests: list("2950m", "1Gi"), Limits: list("2950m", "1Gi")}})
	acknowledge(p)
	target := set(inPlace, []resize.Recommendation{
		{Container: "db", Target: list("4", "1Gi"), Lower: list("3500m", "1Gi"), Upper: list("5", "1Gi")},
		{Container: "aide", Target: list("4", "1Gi"), Lower: list("1", "1Gi"), Upper: list("5", "1Gi")},
	}, p)
	target.LimitRanges = rangeOf(v1.LimitRangeItem{Type: v1.LimitTypePod, Max: list("6", "")})
	if got := answered(t, resize.Input{Targets: []resize.Target{target}}, yes).Pods[0]; got.Class != resize.None {
		t.Errorf("%s: %s", got.Class, got.Reason)
	}
}
