// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/berth-dev/berth/autoscaler/config"
	"github.com/berth-dev/berth/autoscaler/metrics"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	scalefake "k8s.io/client-go/scale/fake"
	clienttesting "k8s.io/client-go/testing"
	customv1beta2 "k8s.io/metrics/pkg/apis/custom_metrics/v1beta2"
	externalv1beta1 "k8s.io/metrics/pkg/apis/external_metrics/v1beta1"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"
	customclient "k8s.io/metrics/pkg/client/custom_metrics"
	externalclient "k8s.io/metrics/pkg/client/external_metrics"
	"k8s.io/utils/ptr"
)

// hpaWrapper builds an HPA of Deployment web, from 2 to 10 replicas.
type hpaWrapper struct {
	autoscalingv2.HorizontalPodAutoscaler
}

func hpa(name string) *hpaWrapper {
	return &hpaWrapper{autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, UID: types.UID("uid-" + name)},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "web"},
			MinReplicas:    ptr.To[int32](2), MaxReplicas: 10,
		},
	}}
}

func (h *hpaWrapper) Obj() *autoscalingv2.HorizontalPodAutoscaler { return &h.HorizontalPodAutoscaler }

func (h *hpaWrapper) of(apiVersion, kind string) *hpaWrapper {
	h.Spec.ScaleTargetRef.APIVersion, h.Spec.ScaleTargetRef.Kind = apiVersion, kind
	return h
}

func (h *hpaWrapper) by(metrics ...autoscalingv2.MetricSpec) *hpaWrapper {
	h.Spec.Metrics = append(h.Spec.Metrics, metrics...)
	return h
}

// rules are behavior as the API server serves it: with defaults.
func (h *hpaWrapper) rules(up, down autoscalingv2.HPAScalingRules) *hpaWrapper {
	byDefault := autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PercentScalingPolicy, Value: 100, PeriodSeconds: 15}
	for _, rules := range []*autoscalingv2.HPAScalingRules{&up, &down} {
		if len(rules.Policies) == 0 {
			rules.Policies = []autoscalingv2.HPAScalingPolicy{byDefault}
		}
	}
	h.Spec.Behavior = &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: &up, ScaleDown: &down}
	return h
}

// said is a condition.
func (h *hpaWrapper) said(condition autoscalingv2.HorizontalPodAutoscalerConditionType, status v1.ConditionStatus, reason, message string) *hpaWrapper {
	h.Status.CurrentReplicas, h.Status.DesiredReplicas = 4, 4
	h.Status.Conditions = append(h.Status.Conditions, autoscalingv2.HorizontalPodAutoscalerCondition{Type: condition, Status: status, Reason: reason, Message: message})
	return h
}

func cpuPercent(target int32) autoscalingv2.MetricSpec {
	return autoscalingv2.MetricSpec{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
		Name: v1.ResourceCPU, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &target}}}
}

func average(quantity string) autoscalingv2.MetricTarget {
	return autoscalingv2.MetricTarget{Type: autoscalingv2.AverageValueMetricType, AverageValue: ptr.To(resource.MustParse(quantity))}
}

func ofAll(quantity string) autoscalingv2.MetricTarget {
	return autoscalingv2.MetricTarget{Type: autoscalingv2.ValueMetricType, Value: ptr.To(resource.MustParse(quantity))}
}

func external(name string, target autoscalingv2.MetricTarget) autoscalingv2.MetricSpec {
	return autoscalingv2.MetricSpec{Type: autoscalingv2.ExternalMetricSourceType, External: &autoscalingv2.ExternalMetricSource{
		Metric: autoscalingv2.MetricIdentifier{Name: name, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"queue": "mail"}}}, Target: target}}
}

// scaled is a world with Deployment web, which has four replicas and their pods: web-0 to web-3 use 900m cpu, of
// the 1 that they ask for, and 600Mi. Of the autoscaler there is its name, and the word that it acts.
func scaled(hpas ...*hpaWrapper) *world {
	w := zones(&appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "web"},
		Spec:       appsv1.DeploymentSpec{Replicas: ptr.To[int32](4), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}},
		Status:     appsv1.DeploymentStatus{Replicas: 4},
	}, &v1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "berth-system", Name: "berth-autoscaler-config-1"},
		Data:       map[string]string{"config.yaml": "apiVersion: config.berth.dev/v1alpha1\nkind: AutoscalerConfiguration\n"},
	})
	for i := range 4 {
		w.add(webPod(i))
	}
	for _, h := range hpas {
		w.add(h.Obj())
	}
	w.add(acting())
	adapter := adapter{"requests": 120_000, "hits": 1500_000, "depth": 90_000, "lag": 0}
	mapper := meta.NewDefaultRESTMapper([]schema.GroupVersion{{Group: "example.com", Version: "v1"}})
	for _, kind := range []string{"Farm", "Barn"} {
		mapper.Add(schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: kind}, meta.RESTScopeNamespace)
	}
	w.gauges = gauges{scales: farms(), mapper: mapper, custom: adapter, external: externalAdapter{adapter}}
	return w.asks(samples{cpu: 900, pods: 4})
}

func webPod(i int, change ...func(*v1.Pod)) *v1.Pod {
	started := metav1.NewTime(now.Add(-time.Hour))
	p := &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: fmt.Sprintf("web-%d", i), Labels: map[string]string{"app": "web"}},
		Spec: v1.PodSpec{NodeName: "a1", Containers: []v1.Container{{Name: "app", Resources: v1.ResourceRequirements{
			Requests: v1.ResourceList{v1.ResourceCPU: resource.MustParse("1")}}}}},
		Status: v1.PodStatus{Phase: v1.PodRunning, StartTime: &started,
			Conditions: []v1.PodCondition{{Type: v1.PodReady, Status: v1.ConditionTrue, LastTransitionTime: started}}},
	}
	for _, f := range change {
		f(p)
	}
	return p
}

func inPhase(phase v1.PodPhase) func(*v1.Pod) { return func(p *v1.Pod) { p.Status.Phase = phase } }

// asks gives the metrics of resources another answer.
func (w *world) asks(s samples) *world {
	w.gauges.samples = func(string) metrics.PodMetricsLister { return s }
	return w
}

// acting is the canary, which tells that nobody else scales by HPAs.
func acting() *autoscalingv2.HorizontalPodAutoscaler {
	canary := hpa(config.CanaryName).said(config.BerthActs, v1.ConditionTrue, "NoOtherController", "no other HPA controller has answered for this canary: Berth writes scales and statuses").Obj()
	canary.Namespace = config.Namespace
	return canary
}

// tells changes what the canary tells; no status is no word.
func (w *world) tells(status v1.ConditionStatus, reason, message string) *world {
	canary := w.objects[len(w.objects)-1].(*autoscalingv2.HorizontalPodAutoscaler)
	canary.Status.Conditions = nil
	if status != "" {
		canary.Status.Conditions = []autoscalingv2.HorizontalPodAutoscalerCondition{{Type: config.BerthActs, Status: status, Reason: reason, Message: message}}
	}
	return w
}

// withoutCanary takes the canary away.
func (w *world) withoutCanary() *world {
	w.objects = w.objects[:len(w.objects)-1]
	return w
}

// from asks in another namespace than ns.
func (w *world) from(namespace string) *world {
	w.namespace = &namespace
	return w
}

// withoutAdapter takes the custom metrics API away.
func (w *world) withoutAdapter() *world {
	w.gauges.custom = adapter(nil)
	return w
}

// replicas changes what web asks for, and has.
func (w *world) replicas(n int32) *world {
	web := w.objects[0].(*appsv1.Deployment)
	web.Spec.Replicas, web.Status.Replicas = &n, n
	return w
}

// samples is the resource metrics API: so many pods, from web-0, use so much cpu.
type samples struct {
	cpu  int64
	pods int
	down error
}

func (s samples) List(context.Context, metav1.ListOptions) (*metricsv1beta1.PodMetricsList, error) {
	if s.down != nil {
		return nil, s.down
	}
	list := &metricsv1beta1.PodMetricsList{}
	for i := range s.pods {
		list.Items = append(list.Items, metricsv1beta1.PodMetrics{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: fmt.Sprintf("web-%d", i)},
			Timestamp:  metav1.NewTime(now.Add(-10 * time.Second)), Window: metav1.Duration{Duration: 30 * time.Second},
			Containers: []metricsv1beta1.ContainerMetrics{{Name: "app", Usage: v1.ResourceList{
				v1.ResourceCPU: *resource.NewMilliQuantity(s.cpu, resource.DecimalSI), v1.ResourceMemory: resource.MustParse("600Mi")}}},
		})
	}
	return list, nil
}

var (
	errNotServed = apierrors.NewGenericServerResponse(404, "get", schema.GroupResource{Group: "metrics.k8s.io", Resource: "pods"}, "", "", 0, true)
	errForbidden = apierrors.NewForbidden(schema.GroupResource{Group: "metrics.k8s.io", Resource: "pods"}, "", jane("list"))
)

// jane is what an API server says of somebody without a right.
func jane(verb string) error { return fmt.Errorf("User %q cannot %s it", "jane", verb) }

// adapter serves custom and external metrics, in milli-units, to whom asks for those of web.
type adapter map[string]int64

func (a adapter) value(metric string) (resource.Quantity, error) {
	value, known := a[metric]
	switch {
	case a == nil:
		return resource.Quantity{}, errors.New("no custom metrics API (custom.metrics.k8s.io) registered")
	case !known:
		return resource.Quantity{}, apierrors.NewNotFound(schema.GroupResource{Group: "custom.metrics.k8s.io", Resource: "pods"}, metric)
	}
	return *resource.NewMilliQuantity(value, resource.DecimalSI), nil
}

func (a adapter) RootScopedMetrics() customclient.MetricsInterface { return a }

func (a adapter) NamespacedMetrics(string) customclient.MetricsInterface { return a }

func (a adapter) GetForObject(of schema.GroupKind, name, metric string, _ labels.Selector) (*customv1beta2.MetricValue, error) {
	value, err := a.value(metric)
	if of.Kind != "Ingress" || name != "main" {
		err = fmt.Errorf("asked of %s %s", of.Kind, name)
	}
	return &customv1beta2.MetricValue{Value: value}, err
}

func (a adapter) GetForObjects(_ schema.GroupKind, pods labels.Selector, metric string, _ labels.Selector) (*customv1beta2.MetricValueList, error) {
	value, err := a.value(metric)
	if pods.String() != "app=web" {
		err = fmt.Errorf("asked of pods %q", pods)
	}
	list := &customv1beta2.MetricValueList{}
	for _, i := range []int{0, 1, 2, 9} { // web-9 is not listed
		list.Items = append(list.Items, customv1beta2.MetricValue{DescribedObject: v1.ObjectReference{Name: fmt.Sprintf("web-%d", i)}, Value: value})
	}
	return list, err
}

type externalAdapter struct{ adapter }

func (a externalAdapter) NamespacedMetrics(string) externalclient.MetricsInterface { return a }

func (a externalAdapter) List(metric string, series labels.Selector) (*externalv1beta1.ExternalMetricValueList, error) {
	value, err := a.value(metric)
	if series.String() != "queue=mail" {
		err = fmt.Errorf("asked of series %q", series)
	}
	return &externalv1beta1.ExternalMetricValueList{Items: []externalv1beta1.ExternalMetricValue{{Value: value}}}, err
}

// farms are scales of kinds that the command does not know: of a Barn, and of a Farm that may not be read.
func farms() *scalefake.FakeScaleClient {
	client := &scalefake.FakeScaleClient{}
	client.AddReactor("get", "barns", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, &autoscalingv1.Scale{Spec: autoscalingv1.ScaleSpec{Replicas: 4}, Status: autoscalingv1.ScaleStatus{Replicas: 4, Selector: "app=web"}}, nil
	})
	client.AddReactor("get", "farms", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Group: "example.com", Resource: "farms"}, "web", errors.New(`User "jane" cannot get it`))
	})
	return client
}
