// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-dev/berth/autoscaler/config"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// tuned are the arguments that name a file of the autoscaler's configuration.
func tuned(t *testing.T, lines string) (args string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "autoscaler.yaml")
	if err := os.WriteFile(file, []byte("apiVersion: config.berth.dev/v1alpha1\nkind: AutoscalerConfiguration\n"+lines), 0o600); err != nil {
		t.Fatal(err)
	}
	return "--autoscaler-config " + file
}

func TestExplainHPA(t *testing.T) {
	slow := autoscalingv2.HPAScalingRules{Policies: []autoscalingv2.HPAScalingPolicy{{Type: autoscalingv2.PodsScalingPolicy, Value: 3, PeriodSeconds: 60}}}
	disabled := autoscalingv2.HPAScalingRules{SelectPolicy: ptr.To(autoscalingv2.DisabledPolicySelect)}
	patient := autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: ptr.To[int32](120)}
	eager := autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: ptr.To[int32](0)}
	var plain autoscalingv2.HPAScalingRules
	grown := func(h *hpaWrapper, by int) *hpaWrapper {
		h.Annotations = map[string]string{config.ScaleEvents: fmt.Sprintf("%s +%d@%d", h.UID, by, now.Add(-30*time.Second).UnixMilli())}
		h.Status.LastScaleTime = ptr.To(metav1.NewTime(now.Add(-30 * time.Second)))
		return h
	}
	idle := hpa("web").by(external("depth", average("30")), external("lag", ofAll("5"))).said(autoscalingv2.ScaledToZero, v1.ConditionTrue, "ScaledToZero", "the HPA controller scaled the workload to zero")
	idle.Spec.MinReplicas = ptr.To[int32](0)
	everyKind := []autoscalingv2.MetricSpec{
		cpuPercent(60),
		{Type: autoscalingv2.ContainerResourceMetricSourceType, ContainerResource: &autoscalingv2.ContainerResourceMetricSource{Name: v1.ResourceMemory, Container: "app", Target: average("500Mi")}},
		{Type: autoscalingv2.PodsMetricSourceType, Pods: &autoscalingv2.PodsMetricSource{Metric: autoscalingv2.MetricIdentifier{Name: "requests"}, Target: average("100")}},
		{Type: autoscalingv2.ObjectMetricSourceType, Object: &autoscalingv2.ObjectMetricSource{Metric: autoscalingv2.MetricIdentifier{Name: "hits"},
			DescribedObject: autoscalingv2.CrossVersionObjectReference{APIVersion: "networking.k8s.io/v1", Kind: "Ingress", Name: "main"}, Target: ofAll("1k")}},
		external("depth", average("30")),
		external("lag", ofAll("5")),
	}
	tests := map[string]struct {
		world *world
		args  string
	}{
		"every kind": { // 6 of 8, as 3 pods came in the last minute
			world: scaled(grown(hpa("web").by(everyKind...).rules(slow, plain), 3).
				said(autoscalingv2.AbleToScale, v1.ConditionTrue, "SucceededRescale", "the HPA controller was able to update the target scale to 4").
				said(autoscalingv2.ScalingActive, v1.ConditionTrue, "ValidMetricFound", "the HPA was able to successfully calculate a replica count from cpu")),
		},
		"every kind yaml":   {world: scaled(hpa("web").by(everyKind...).rules(slow, plain)), args: "-o yaml"},
		"within tolerance":  {world: scaled(hpa("web").by(cpuPercent(85)))},
		"pods in doubt":     {world: scaled(hpa("web").by(cpuPercent(80))).asks(samples{cpu: 900, pods: 3}).add(webPod(4, inPhase(v1.PodPending)), webPod(5, inPhase(v1.PodFailed)))},
		"pods taken idle":   {world: scaled(hpa("web").by(cpuPercent(50))).asks(samples{cpu: 900, pods: 4}).add(webPod(4, inPhase(v1.PodPending)))},
		"pods taken busy":   {world: scaled(hpa("web").by(cpuPercent(80))).asks(samples{cpu: 100, pods: 3})},
		"doubled":           {world: scaled(hpa("web").by(cpuPercent(20)))},
		"maximum":           {world: scaled(hpa("web").by(cpuPercent(20)).rules(plain, plain)).replicas(6)},
		"disabled":          {world: scaled(hpa("web").by(cpuPercent(20)).rules(disabled, plain))},
		"stabilized":        {world: scaled(hpa("web").by(cpuPercent(80)).said(autoscalingv2.AbleToScale, v1.ConditionTrue, "ScaleDownStabilized", "recent recommendations were higher than current one, applying the highest recent recommendation")).asks(samples{cpu: 100, pods: 4})},
		"stabilized up":     {world: scaled(hpa("web").by(cpuPercent(60)).rules(patient, plain))},
		"not stabilized":    {world: scaled(hpa("web").by(cpuPercent(80)).rules(plain, eager)).asks(samples{cpu: 100, pods: 4})},
		"above the maximum": {world: scaled(hpa("web").by(cpuPercent(80))).replicas(12)},
		"switched off":      {world: scaled(hpa("web").by(cpuPercent(80))).replicas(0)},
		"from zero":         {world: scaled(idle).replicas(0), args: tuned(t, "horizontal: {scaleToZero: true}\n")},
		"no target":         {world: scaled(hpa("web").of("apps/v1", "StatefulSet").by(cpuPercent(80)))},
		"unknown kind":      {world: scaled(hpa("web").of("example.com/v1", "Shed").by(cpuPercent(80)))},
		"of any kind":       {world: scaled(hpa("web").of("example.com/v1", "Barn").by(cpuPercent(60)))},
		"two of one target": {world: scaled(hpa("web").by(cpuPercent(80)), hpa("web-too").of("example.com/v1", "Barn").by(cpuPercent(80)), hpa("farm").of("example.com/v1", "Farm"))},
		"refused": {world: scaled(hpa("web").by(cpuPercent(20)).said(config.Conflicted, v1.ConditionTrue, "TargetHasVPA",
			`target Deployment/web already has VerticalPodAutoscaler "web"; this HorizontalPodAutoscaler is not acted on`))},
		"preferred": {world: scaled(hpa("web").by(cpuPercent(85)).said(config.Conflicted, v1.ConditionTrue, "HoldsTarget",
			`target Deployment/web is also wanted by VerticalPodAutoscaler "web", not acted on`))},
		"not served":     {world: scaled(hpa("web").by(cpuPercent(80))).asks(samples{down: errNotServed})},
		"no adapter":     {world: scaled(hpa("web").by(everyKind[2])).withoutAdapter()},
		"too slow":       {world: scaled(hpa("web").by(cpuPercent(80))).asks(samples{down: context.DeadlineExceeded})},
		"without rights": {world: scaled(hpa("web").by(cpuPercent(80))).asks(samples{down: errForbidden})},
		"one of two":     {world: scaled(hpa("web").by(cpuPercent(20), external("cost", average("1")), external("price", average("1"))))},
		"observed":       {world: scaled(hpa("web").by(cpuPercent(60))), args: tuned(t, "horizontal: {mode: Observe, tolerance: 0.6}\n")},
		"another controller": {world: scaled(hpa("web").by(cpuPercent(60))).tells(v1.ConditionFalse, "OtherController",
			"another HPA controller answers for this canary: Berth decides, and writes no scale and no status, until that one is off (kube-controller-manager: add -horizontal-pod-autoscaler-controller to --controllers)")},
		"another controller yaml": {world: scaled(hpa("web").by(cpuPercent(60))).tells(v1.ConditionFalse, "OtherController", "another HPA controller answers for this canary"), args: "-o yaml"},
		"judging": {world: scaled(hpa("web").by(cpuPercent(60))).tells(v1.ConditionUnknown, "Judging",
			"Berth writes no scale and no status before it is known whether another HPA controller answers for this canary")},
		"nobody has looked":    {world: scaled(hpa("web").by(cpuPercent(60))).tells("", "", "")},
		"no canary":            {world: scaled(hpa("web").by(cpuPercent(60))).withoutCanary()},
		"canary not read":      {world: scaled(hpa("web").by(cpuPercent(60))).but(forbidden("horizontalpodautoscalers", config.Namespace))},
		"nobody is looked for": {world: scaled(hpa("web").by(cpuPercent(60))).tells(v1.ConditionFalse, "OtherController", "of another time"), args: tuned(t, "horizontal: {canary: None}\n")},
		"not readable to the controller": {world: scaled(hpa("web").by(cpuPercent(60)).said(autoscalingv2.AbleToScale, v1.ConditionFalse, "FailedGetScale",
			`the HPA controller was unable to get the target's current scale: barns.example.com "web" is forbidden`))},
		"configuration not found": {world: scaled(hpa("web").by(cpuPercent(85))), args: "--autoscaler-namespace elsewhere"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := test.world.run(t, append([]string{"explain", "hpa/web"}, strings.Fields(test.args)...)...)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, "explain hpa "+name, got)
		})
	}
}

// The clients are those that talk to a server, and the API of one metric is not served.
func TestExplainHPAAgainstAServer(t *testing.T) {
	object := func(o any) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(o) }
	}
	list := func(items ...any) http.HandlerFunc { return object(map[string]any{"items": items}) }
	usual := scaled(hpa("web"))
	web := usual.objects[0]
	var pods, used []any
	for i := range 4 {
		pods = append(pods, webPod(i))
	}
	usage, _ := samples{cpu: 900, pods: 4}.List(t.Context(), metav1.ListOptions{})
	for _, item := range usage.Items {
		used = append(used, item)
	}
	requests := autoscalingv2.MetricSpec{Type: autoscalingv2.PodsMetricSourceType, Pods: &autoscalingv2.PodsMetricSource{Metric: autoscalingv2.MetricIdentifier{Name: "requests"}, Target: average("100")}}
	missing := func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprintln(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","message":"the server could not find the requested resource","code":404}`)
	}
	s := &server{answer: map[string]http.HandlerFunc{
		"horizontalpodautoscalers": list(hpa("web").by(cpuPercent(60), requests, external("depth", average("30"))).Obj()),
		"deployments":              list(web),
		"pods": func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/apis/metrics.k8s.io/") {
				list(used...)(w, r)
			} else {
				list(pods...)(w, r)
			}
		},
		"berth-autoscaler": missing,
		"berth-canary":     object(acting()),
		"depth":            missing,
		"requests": func(w http.ResponseWriter, r *http.Request) {
			if accept := r.Header.Get("Accept"); strings.Contains(accept, "protobuf") {
				t.Errorf("an adapter is asked for %s, want JSON, as it may know nothing else", accept)
			}
			object(map[string]any{"apiVersion": "custom.metrics.k8s.io/v1beta2", "kind": "MetricValueList", "items": []any{
				map[string]any{"describedObject": map[string]any{"name": "web-0"}, "value": "120"}}})(w, r)
		},
		"api": object(metav1.APIVersions{Versions: []string{"v1"}}),
		"v1":  object(metav1.APIResourceList{GroupVersion: "v1", APIResources: []metav1.APIResource{{Name: "pods", Kind: "Pod", Namespaced: true}}}),
		"apis": object(metav1.APIGroupList{Groups: []metav1.APIGroup{{Name: "custom.metrics.k8s.io",
			Versions: []metav1.GroupVersionForDiscovery{{GroupVersion: "custom.metrics.k8s.io/v1beta2", Version: "v1beta2"}}}}}),
	}}
	listening := httptest.NewServer(s)
	defer listening.Close()
	got, err := s.run(t, listening.URL, "explain", "hpa/web")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "explain hpa of a server", got)
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.ContainsFunc(s.asked, func(asked string) bool { return !strings.HasPrefix(asked, "GET ") }) {
		t.Errorf("asked %v, want it only to read", s.asked)
	}
}
