// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-dev/berth/autoscaler/config"
	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	"k8s.io/utils/ptr"
)

// tables are the sizes that pods of db get when they are created.
func (v *vpaWrapper) tables() *vpaWrapper {
	return v.sizing(v.Name, sizeOf("2", list("1", "4Gi"), list("", "8Gi")), sizeOf("*", list("500m", "2Gi"), list("", "4Gi")))
}

// learnt is a world whose VPA has learnt from the pods of db.
func learnt(v *vpaWrapper) *world {
	checkpoints := v.learns(3, true)
	return sizedWorld(append(checkpoints, v.Obj())...)
}

func TestExplainVPA(t *testing.T) {
	conflict := `target StatefulSet/db already has HorizontalPodAutoscaler "db"; this VerticalPodAutoscaler is not acted on`
	bounded := vpa("db").within(list("400m", ""), list("", "3Gi")).tables()
	onlyRequests := func() *vpaWrapper {
		v := vpa("db").within(nil, nil).tables()
		v.Spec.ResourcePolicy.ContainerPolicies[0].ControlledValues = ptr.To(vpav1.ContainerControlledValuesRequestsOnly)
		return v
	}
	deployed := func() *world {
		v := vpa("db").of("apps/v1", "Deployment", "web").sizing("db", sizeOf("*", list("1038m", "3683Mi"), nil))
		w := scaled().asks(samples{cpu: 900, pods: 4})
		w.vpas = append(v.learns(4, false), v.Obj())
		for _, o := range w.objects {
			if p, ok := o.(*v1.Pod); ok {
				p.UID, p.OwnerReferences = types.UID("uid-"+p.Name), []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web-1", Controller: ptr.To(true)}}
				p.Spec.Containers[0].Name = "postgres"
			}
		}
		w.add(&appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "web-1",
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "Deployment", Name: "web", Controller: ptr.To(true)}}}})
		web := w.objects[0].(*appsv1.Deployment)
		web.Spec.Template.Spec.Containers = []v1.Container{{Name: "postgres"}}
		web.Status.UpdatedReplicas, web.Status.AvailableReplicas = 4, 4
		return w
	}
	broken := learnt(vpa("db").tables())
	for _, o := range broken.vpas {
		if c, ok := o.(*vpav1.VerticalPodAutoscalerCheckpoint); ok && c.Name == "db.postgres.2" {
			c.Status.Version = "v9"
		}
	}
	firstDay := learnt(vpa("db").tables())
	for _, o := range firstDay.vpas {
		if c, ok := o.(*vpav1.VerticalPodAutoscalerCheckpoint); ok {
			c.Status.MemoryHistogram = vpav1.HistogramCheckpoint{}
		}
	}
	strangers := append(vpa("mq").learns(1, true), vpa("mq").Obj())
	strangers[0].(*vpav1.VerticalPodAutoscalerCheckpoint).Status.Version = "v9"
	learning := vpa("db").tables()
	learning.learns(3, true)
	tests := map[string]struct {
		world *world
		args  string
	}{
		"a hot slot":      {world: learnt(vpa("db").tables())},
		"a hot slot yaml": {world: learnt(vpa("db").tables()), args: "-o yaml"},
		"capped":          {world: learnt(bounded)},
		"beside others":   {world: func() *world { w := learnt(vpa("db").tables()); w.vpas = append(w.vpas, strangers...); return w }()},
		"every ordinal alike": {world: func() *world {
			v := vpa("db").tables()
			w := sizedWorld(append(v.learns(1, true), v.Obj())...)
			return w
		}()},
		"another recommender":             {world: learnt(vpa("db").by("goldilocks").said("LowConfidence", v1.ConditionTrue, "", "short"))},
		"another recommender yaml":        {world: learnt(vpa("db").by("goldilocks")), args: "-o yaml"},
		"upstreams recommender":           {world: func() *world { v := vpa("db"); v.Spec.Recommenders = nil; return sizedWorld(v.Obj()) }()},
		"our recommender by another name": {world: learnt(vpa("db").by("goldilocks")), args: tuned(t, "vertical: {recommenderName: goldilocks}\n")},
		"refused":                         {world: learnt(vpa("db").tables().said(config.Conflicted, v1.ConditionTrue, "TargetHasHPA", conflict))},
		"holds its target":                {world: learnt(vpa("db").tables().said(config.Conflicted, v1.ConditionTrue, "HoldsTarget", "target StatefulSet/db is also wanted by HorizontalPodAutoscaler \"db\""))},
		"stands back":                     {world: learnt(vpa("db").tables().said(config.StandsBack, v1.ConditionTrue, "UpstreamUpdaterActive", "the Lease kube-system/vpa-admission-controller, of vpa-1 since 2026-05-04T10:00:00Z, is fresh: upstream's updater may evict and resize the pods of any VPA. Berth recommends, and leaves pods and their sizes alone until nobody has renewed it for 1m0s"))},
		"about to be observed":            {world: learnt(vpa("db").tables()), args: tuned(t, "vertical: {mode: Observe}\n")},
		"observed":                        {world: learnt(vpa("db").tables().said(config.StandsBack, v1.ConditionTrue, "Observing", "vertical.mode is Observe: Berth recommends, and leaves pods and their sizes alone")), args: tuned(t, "vertical: {mode: Observe}\n")},
		"the leaders word":                {world: learnt(vpa("db").tables().said(config.SizesApplied, v1.ConditionFalse, "Waits", "0 of 3 pods have a size that may stay; db-2: postgres: memory 1Gi to 3683Mi: no container restarts; no node has room for its successor: one is asked for"))},
		"mode Off":                        {world: learnt(vpa("db").mode(vpav1.UpdateModeOff))},
		"mode Initial":                    {world: learnt(vpa("db").mode(vpav1.UpdateModeInitial).tables())},
		"no mode":                         {world: func() *world { v := vpa("db").tables(); v.Spec.UpdatePolicy = nil; return learnt(v) }()},
		"sizes missing":                   {world: learnt(vpa("db"))},
		"sizes of another VPA":            {world: learnt(vpa("db").sizing("mq", sizeOf("*", list("1", "1Gi"), nil)))},
		"unseen":                          {world: sizedWorld(vpa("db").Obj())},
		"no pods":                         {world: sizedWorld(vpa("db").of("apps/v1", "StatefulSet", "gone").said(vpav1.RecommendationProvided, v1.ConditionFalse, "NoPodsMatched", "the target is missing or has no pods").said(vpav1.NoPodsMatched, v1.ConditionTrue, "NoPodsMatched", "No pods match this VPA object").Obj())},
		"no target":                       {world: func() *world { v := vpa("db"); v.Spec.TargetRef = nil; return sizedWorld(v.Obj()) }()},
		"no checkpoint yet":               {world: sizedWorld(learning.Obj())},
		"checkpoints forbidden":           {world: learnt(vpa("db").tables()).butVPAs(refusing("verticalpodautoscalercheckpoints", forbids))},
		"checkpoints not served":          {world: learnt(vpa("db").tables()).butVPAs(refusing("verticalpodautoscalercheckpoints", servesNot))},
		"a checkpoint of another format":  {world: broken},
		"the first day":                   {world: firstDay},
		"nodes forbidden":                 {world: learnt(vpa("db").tables()).but(forbidden("nodes", ""))},
		"a Deployment":                    {world: deployed()},
		"being resized":                   {world: learnt(vpa("db").tables()).changed(dbPod(2, resizing))},
		"about to be done":                {world: learnt(vpa("db").tables()).changed(dbPod(2, nearlySized))},
		"a restart without budget":        {world: learnt(vpa("db").tables()).changed(dbPod(2, restarting)).add(atLeast(3))},
		"impossible":                      {world: learnt(onlyRequests()).changed(dbPod(2, guaranteed))},
		"re-created":                      {world: learnt(vpa("db").mode(vpav1.UpdateModeRecreate).tables())},
		"configuration not found":         {world: learnt(vpa("db").tables()), args: "--autoscaler-namespace elsewhere"},
		"quorum":                          {world: learnt(vpa("db").mode(vpav1.UpdateModeRecreate).tables()).policy(t, "db", "targetRef: {apiVersion: apps/v1, kind: StatefulSet, name: db}\nquorum: 3\n")},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := test.world.run(t, append([]string{"explain", "vpa/db"}, strings.Fields(test.args)...)...)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, "explain vpa "+name, got)
		})
	}
}

// The client is one that talks to a server, which knows VPAs as JSON only.
func TestExplainVPAAgainstAServer(t *testing.T) {
	v := vpa("db").tables()
	written := metav1.NewTime(time.Now().Truncate(time.Second))
	checkpoints := v.learnsUntil(written.Time, 3, true)
	list := func(version string, items ...runtime.Object) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if accept := r.Header.Get("Accept"); version != "v1" && strings.Contains(accept, "protobuf") {
				t.Errorf("%s is asked for as %s, want JSON: it is a custom resource", r.URL.Path, accept)
			}
			_ = json.NewEncoder(w).Encode(map[string]any{"items": items})
		}
	}
	s := &server{answer: map[string]http.HandlerFunc{
		"verticalpodautoscalers":           list("autoscaling.k8s.io/v1", v.Obj()),
		"verticalpodautoscalercheckpoints": list("autoscaling.k8s.io/v1", checkpoints...),
		"statefulsets":                     list("v1", dbSet(1)),
		"pods": func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/apis/metrics.k8s.io/") {
				list("v1")(w, r)
				return
			}
			list("v1", dbPod(0))(w, r)
		},
	}}
	listening := httptest.NewServer(s)
	defer listening.Close()
	out, err := s.run(t, listening.URL, "explain", "vpa/db", "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	var got vpaReport
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Containers) != 1 || len(got.Slots) != 3 || len(got.Pods) != 1 || !got.AsOf.Equal(&written) {
		t.Errorf("told are %d containers, %d slots and %d pods as of %v:\n%s", len(got.Containers), len(got.Slots), len(got.Pods), got.AsOf, out)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.ContainsFunc(s.asked, func(asked string) bool { return !strings.HasPrefix(asked, "GET ") }) {
		t.Errorf("asked %v, want it only to read", s.asked)
	}
}
