// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package horizontal_test

import (
	"math/rand"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	autoscalingdefaults "k8s.io/kubernetes/pkg/apis/autoscaling/v2"
	"k8s.io/utils/ptr"
)

// specFrom makes a random HPA, complete and defaulted as the API server leaves it.
func specFrom(seed int64, least *int32, most int32) autoscalingv2.HorizontalPodAutoscalerSpec {
	r := rand.New(rand.NewSource(seed))
	hpa := &autoscalingv2.HorizontalPodAutoscaler{Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
		ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "web"},
		MinReplicas:    least, MaxReplicas: most,
	}}
	for range 1 + r.Intn(5)/4 + r.Intn(5)/4 {
		hpa.Spec.Metrics = append(hpa.Spec.Metrics, randomMetric(r))
	}
	if r.Intn(2) == 0 {
		hpa.Spec.Behavior = &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: randomRules(r), ScaleDown: randomRules(r)}
	}
	autoscalingdefaults.SetDefaults_HorizontalPodAutoscaler(hpa)
	autoscalingdefaults.SetDefaults_HorizontalPodAutoscalerBehavior(hpa)
	return hpa.Spec
}

func randomMetric(r *rand.Rand) autoscalingv2.MetricSpec {
	value := func(most int) *resource.Quantity { return milli(int64(1 + r.Intn(most))) }
	identifier := func(name string) autoscalingv2.MetricIdentifier {
		return autoscalingv2.MetricIdentifier{Name: name, Selector: randomSelector(r)}
	}
	average := func(most int) autoscalingv2.MetricTarget {
		return autoscalingv2.MetricTarget{Type: autoscalingv2.AverageValueMetricType, AverageValue: value(most)}
	}
	averageOrValue := func(most int) autoscalingv2.MetricTarget {
		if r.Intn(2) == 0 {
			return average(most)
		}
		return autoscalingv2.MetricTarget{Type: autoscalingv2.ValueMetricType, Value: value(most)}
	}
	switch r.Intn(10) {
	case 0, 1:
		return autoscalingv2.MetricSpec{Type: autoscalingv2.PodsMetricSourceType,
			Pods: &autoscalingv2.PodsMetricSource{Metric: identifier("rate"), Target: average(2000)}}
	case 2, 3:
		source := &autoscalingv2.ObjectMetricSource{Metric: identifier("depth"), Target: averageOrValue(5000),
			DescribedObject: autoscalingv2.CrossVersionObjectReference{APIVersion: "networking.k8s.io/v1", Kind: "Ingress", Name: "main"}}
		if r.Intn(10) == 0 {
			source.Target.Type = autoscalingv2.UtilizationMetricType // the API server does not mind
		}
		return autoscalingv2.MetricSpec{Type: autoscalingv2.ObjectMetricSourceType, Object: source}
	case 4, 5:
		return autoscalingv2.MetricSpec{Type: autoscalingv2.ExternalMetricSourceType,
			External: &autoscalingv2.ExternalMetricSource{Metric: identifier("queue"), Target: averageOrValue(5000)}}
	}
	return randomResource(r)
}

// randomSelector is nil, a selector, or one that the API server stores and nobody can parse.
func randomSelector(r *rand.Rand) *metav1.LabelSelector {
	switch r.Intn(20) {
	case 0:
		return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "verb", Operator: "Near"}}}
	case 1, 2, 3, 4, 5, 6:
		return &metav1.LabelSelector{MatchLabels: map[string]string{"verb": "GET", "code": "200"}}
	}
	return nil
}

func randomResource(r *rand.Rand) autoscalingv2.MetricSpec {
	name := []v1.ResourceName{v1.ResourceCPU, v1.ResourceCPU, v1.ResourceMemory}[r.Intn(3)]
	target := autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: ptr.To(int32(20 + r.Intn(140)))}
	if r.Intn(3) == 0 {
		target = autoscalingv2.MetricTarget{Type: autoscalingv2.AverageValueMetricType, AverageValue: resource.NewMilliQuantity(int64(200+r.Intn(1000)), resource.DecimalSI)}
		if name == v1.ResourceMemory {
			target.AverageValue = resource.NewQuantity(int64(100+r.Intn(300))<<20, resource.BinarySI)
		}
	}
	if r.Intn(4) == 0 {
		return autoscalingv2.MetricSpec{Type: autoscalingv2.ContainerResourceMetricSourceType,
			ContainerResource: &autoscalingv2.ContainerResourceMetricSource{
				Name: name, Container: []string{"app", "app", "app", "app", "app", "sidecar", "sidecar", "ghost"}[r.Intn(8)], Target: target}}
	}
	return autoscalingv2.MetricSpec{Type: autoscalingv2.ResourceMetricSourceType,
		Resource: &autoscalingv2.ResourceMetricSource{Name: name, Target: target}}
}

func randomRules(r *rand.Rand) *autoscalingv2.HPAScalingRules {
	if r.Intn(4) == 0 {
		return nil
	}
	rules := &autoscalingv2.HPAScalingRules{}
	if r.Intn(2) == 0 {
		rules.StabilizationWindowSeconds = ptr.To(int32(15 * r.Intn(60) * r.Intn(2)))
	}
	if r.Intn(2) == 0 {
		rules.SelectPolicy = ptr.To([]autoscalingv2.ScalingPolicySelect{autoscalingv2.MaxChangePolicySelect,
			autoscalingv2.MinChangePolicySelect, autoscalingv2.MinChangePolicySelect, autoscalingv2.DisabledPolicySelect}[r.Intn(4)])
	}
	for range r.Intn(4) {
		policy := autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PodsScalingPolicy, Value: int32(1 + r.Intn(5)), PeriodSeconds: int32(1 + r.Intn([]int{60, 400, 1800}[r.Intn(3)]))}
		if r.Intn(2) == 0 {
			policy.Type, policy.Value = autoscalingv2.PercentScalingPolicy, int32(5+r.Intn(150))
		}
		rules.Policies = append(rules.Policies, policy)
	}
	if r.Intn(3) == 0 {
		rules.Tolerance = resource.NewMilliQuantity(int64(r.Intn(400)), resource.DecimalSI)
	}
	return rules
}
