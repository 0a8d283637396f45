// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package vertical

import (
	"fmt"
	"math/rand"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/autoscaler/vertical-pod-autoscaler/pkg/admission-controller/resource/pod/recommendation"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	"k8s.io/autoscaler/vertical-pod-autoscaler/pkg/utils/limitrange"
	upstream "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/utils/vpa"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
)

func recommended(container string, target corev1.ResourceList) vpav1.RecommendedContainerResources {
	return vpav1.RecommendedContainerResources{ContainerName: container, Target: target, LowerBound: target.DeepCopy(), UpperBound: target.DeepCopy()}
}

func limitRange(items ...corev1.LimitRangeItem) []corev1.LimitRange {
	return []corev1.LimitRange{{ObjectMeta: metav1.ObjectMeta{Name: "x"}, Spec: corev1.LimitRangeSpec{Limits: items}}}
}

func TestFit(t *testing.T) {
	requestsOnly := vpav1.ContainerControlledValuesRequestsOnly
	double := Running{Name: "a", Requests: resources("1", "1Gi"), Limits: resources("2", "2Gi")}
	tests := map[string]struct {
		in     FitInput
		target map[string]string
		limits map[string]string
		caps   map[corev1.ResourceName]Cap
	}{
		"limits keep their ratio": {
			in:     FitInput{Containers: []Running{double}, Recommended: []vpav1.RecommendedContainerResources{recommended("a", resources("3", "4Gi"))}},
			target: map[string]string{"a": "3 4Gi"}, limits: map[string]string{"a": "6 8Gi"}},
		"no limits": {
			in:     FitInput{Containers: []Running{{Name: "a", Requests: resources("1", "1Gi")}}, Recommended: []vpav1.RecommendedContainerResources{recommended("a", resources("3", "4Gi"))}},
			target: map[string]string{"a": "3 4Gi"}, limits: map[string]string{"a": "- -"}},
		"requests only": {
			in: FitInput{Containers: []Running{double}, Recommended: []vpav1.RecommendedContainerResources{recommended("a", resources("3", "1500Mi"))},
				Policy: policies(vpav1.ContainerResourcePolicy{ContainerName: "a", ControlledValues: &requestsOnly})},
			target: map[string]string{"a": "2 1500Mi"}, limits: map[string]string{"a": "- -"}, caps: map[corev1.ResourceName]Cap{"cpu": ContainerLimit}},
		"the maximum is of the limit": {
			in: FitInput{Containers: []Running{double}, Recommended: []vpav1.RecommendedContainerResources{recommended("a", resources("3", "4Gi"))},
				LimitRanges: limitRange(corev1.LimitRangeItem{Type: corev1.LimitTypeContainer, Max: resources("4", "16Gi")})},
			target: map[string]string{"a": "2 4Gi"}, limits: map[string]string{"a": "4 8Gi"}, caps: map[corev1.ResourceName]Cap{"cpu": LimitRangeMax}},
		"the minimum is of the request": {
			in: FitInput{Containers: []Running{double}, Recommended: []vpav1.RecommendedContainerResources{recommended("a", resources("1", "1Gi"))},
				LimitRanges: limitRange(corev1.LimitRangeItem{Type: corev1.LimitTypeContainer, Min: resources("2", "1Gi")})},
			target: map[string]string{"a": "2 1Gi"}, limits: map[string]string{"a": "4 2Gi"}, caps: map[corev1.ResourceName]Cap{"cpu": LimitRangeMin}},
		"the strictest of two": {
			in: FitInput{Containers: []Running{double}, Recommended: []vpav1.RecommendedContainerResources{recommended("a", resources("9", "1Gi"))},
				LimitRanges: append(limitRange(corev1.LimitRangeItem{Type: corev1.LimitTypeContainer, Max: resources("4", "8Gi")}),
					limitRange(corev1.LimitRangeItem{Type: corev1.LimitTypeContainer, Max: resources("6", "8Gi")})...)},
			target: map[string]string{"a": "2 1Gi"}, limits: map[string]string{"a": "4 2Gi"}, caps: map[corev1.ResourceName]Cap{"cpu": LimitRangeMax}},
		"the policy goes before a LimitRange": {
			in: FitInput{Containers: []Running{double}, Recommended: []vpav1.RecommendedContainerResources{recommended("a", resources("3", "1Gi"))},
				Policy:      policies(vpav1.ContainerResourcePolicy{ContainerName: "a", MinAllowed: resources("3", "1Gi")}),
				LimitRanges: limitRange(corev1.LimitRangeItem{Type: corev1.LimitTypeContainer, Max: resources("4", "16Gi")})},
			target: map[string]string{"a": "3 1Gi"}, limits: map[string]string{"a": "6 2Gi"}, caps: map[corev1.ResourceName]Cap{"cpu": MinAllowed}},
		"the maximum of a pod is shared": {
			in: FitInput{Containers: []Running{double, {Name: "b", Requests: resources("1", "1Gi"), Limits: resources("1", "1Gi")}},
				Recommended: []vpav1.RecommendedContainerResources{recommended("a", resources("3", "1Gi")), recommended("b", resources("2", "1Gi"))},
				LimitRanges: limitRange(corev1.LimitRangeItem{Type: corev1.LimitTypePod, Max: resources("4", "16Gi")})},
			target: map[string]string{"a": "1500m 1Gi", "b": "1 1Gi"}, limits: map[string]string{"a": "3 2Gi", "b": "1 1Gi"}, caps: map[corev1.ResourceName]Cap{"cpu": PodLimitRangeMax}},
		"a container without a recommendation stays": {
			in: FitInput{Containers: []Running{double, {Name: "b", Requests: resources("1", "1Gi"), Limits: resources("1", "1Gi")}},
				Recommended: []vpav1.RecommendedContainerResources{recommended("a", resources("3", "1Gi"))},
				LimitRanges: limitRange(corev1.LimitRangeItem{Type: corev1.LimitTypePod, Max: resources("4", "16Gi")})},
			target: map[string]string{"a": "1500m 1Gi"}, limits: map[string]string{"a": "3 2Gi"}, caps: map[corev1.ResourceName]Cap{"cpu": PodLimitRangeMax}},
		"containers that stay fill the pod": {
			in: FitInput{Containers: []Running{double, {Name: "b", Requests: resources("9", "1Gi"), Limits: resources("9", "1Gi")}},
				Recommended: []vpav1.RecommendedContainerResources{recommended("a", resources("3", "1Gi"))},
				LimitRanges: limitRange(corev1.LimitRangeItem{Type: corev1.LimitTypePod, Max: resources("4", "16Gi")})},
			target: map[string]string{"a": "3 1Gi"}, limits: map[string]string{"a": "6 2Gi"}},
		"a recommendation for nobody": {
			in: FitInput{Containers: []Running{double}, Recommended: []vpav1.RecommendedContainerResources{recommended("x", resources("3", "4Gi"))}}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			target, limits := map[string]string{}, map[string]string{}
			var caps map[corev1.ResourceName]Cap
			for _, s := range Fit(tc.in) {
				target[s.ContainerName], limits[s.ContainerName] = text(s.Target), text(s.Limits)
				if caps == nil {
					caps = s.Caps
				}
			}
			for of, d := range map[string]string{
				"targets": cmp.Diff(tc.target, target, cmpopts.EquateEmpty()), "limits": cmp.Diff(tc.limits, limits, cmpopts.EquateEmpty()),
				"caps": cmp.Diff(tc.caps, caps, cmpopts.EquateEmpty()),
			} {
				if d != "" {
					t.Errorf("%s (-want +got):\n%s", of, d)
				}
			}
		})
	}
}

// Sizes are those that upstream's updater and admission find.
func TestFitIsUpstreams(t *testing.T) {
	for seed := range int64(3000) {
		in, pod := randomFit(rand.New(rand.NewSource(seed)))
		v := &vpav1.VerticalPodAutoscaler{Spec: vpav1.VerticalPodAutoscalerSpec{ResourcePolicy: in.Policy},
			Status: vpav1.VerticalPodAutoscalerStatus{Recommendation: &vpav1.RecommendedPodResources{ContainerRecommendations: in.Recommended}}}
		f := informers.NewSharedInformerFactory(fake.NewClientset(), 0)
		calculator, err := limitrange.NewLimitsRangeCalculator(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range in.LimitRanges {
			if err := f.Core().V1().LimitRanges().Informer().GetIndexer().Add(&r); err != nil {
				t.Fatal(err)
			}
		}
		want, _, err := upstream.NewCappingRecommendationProcessor(calculator).Apply(v, pod)
		if err != nil {
			t.Fatal(err)
		}
		item, err := calculator.GetContainerLimitRangeItem(pod.Namespace)
		if err != nil {
			t.Fatal(err)
		}
		sizes := recommendation.GetContainersResources(pod, in.Policy, *want, item, false, upstream.ContainerToAnnotationsMap{})
		got := Fit(in)
		for i, r := range want.ContainerRecommendations {
			diff := cmp.Diff(r, got[i].RecommendedContainerResources, cmpopts.EquateEmpty()) + cmp.Diff(sizes[i].Limits, got[i].Limits, cmpopts.EquateEmpty())
			if diff != "" {
				t.Fatalf("seed %d (-upstream +berth):\n%s\n%+v", seed, diff, in)
			}
		}
	}
}

// randomFit is a pod all of whose containers have a recommendation, with or without requests
// and limits, a policy, LimitRanges.
func randomFit(r *rand.Rand) (FitInput, *corev1.Pod) {
	list := func() corev1.ResourceList {
		return corev1.ResourceList{
			corev1.ResourceCPU:    *resource.NewMilliQuantity(1+r.Int63n(4000), resource.DecimalSI),
			corev1.ResourceMemory: *resource.NewQuantity(1+r.Int63n(1<<33), resource.BinarySI),
		}
	}
	some := func() corev1.ResourceList {
		l := list()
		switch r.Intn(4) {
		case 0:
			return nil
		case 1:
			delete(l, corev1.ResourceCPU)
		case 2:
			delete(l, corev1.ResourceMemory)
		}
		return l
	}
	var in FitInput
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "p"}}
	requestsOnly := vpav1.ContainerControlledValuesRequestsOnly
	in.Policy = &vpav1.PodResourcePolicy{}
	for i := range 1 + r.Intn(3) {
		c := Running{Name: fmt.Sprint("c", i), Requests: some(), Limits: some()}
		for name, q := range c.Limits {
			if request, ok := c.Requests[name]; ok && request.Cmp(q) > 0 {
				c.Limits[name] = request // the API server refuses less
			}
		}
		in.Containers = append(in.Containers, c)
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: c.Name, Resources: corev1.ResourceRequirements{Requests: c.Requests, Limits: c.Limits}})
		in.Recommended = append(in.Recommended, vpav1.RecommendedContainerResources{ContainerName: c.Name, Target: list(), LowerBound: list(), UpperBound: list()})
		switch r.Intn(4) {
		case 0:
			in.Policy.ContainerPolicies = append(in.Policy.ContainerPolicies, vpav1.ContainerResourcePolicy{ContainerName: c.Name, MinAllowed: some(), MaxAllowed: some()})
		case 1:
			in.Policy.ContainerPolicies = append(in.Policy.ContainerPolicies, vpav1.ContainerResourcePolicy{ContainerName: c.Name, ControlledValues: &requestsOnly})
		}
	}
	if r.Intn(2) == 0 {
		in.LimitRanges = append(in.LimitRanges, limitRange(corev1.LimitRangeItem{Type: corev1.LimitTypePod, Min: some(), Max: some()})...)
	}
	if r.Intn(2) == 0 {
		in.LimitRanges = append(in.LimitRanges, limitRange(corev1.LimitRangeItem{Type: corev1.LimitTypeContainer, Min: some(), Max: some(), Default: some()})...)
	}
	for i := range in.LimitRanges {
		in.LimitRanges[i].Namespace, in.LimitRanges[i].Name = "prod", fmt.Sprint(i)
	}
	return in, pod
}
