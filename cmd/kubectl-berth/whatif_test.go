// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/berth-dev/berth/autoscaler/nodes/status"
)

// whole is the scheduler's configuration that is shipped.
const whole = "--config ../../manifests/scheduler/config.yaml"

// zoned are groups of nodes of 4 cpu in each of the zones, which may have as many.
func zoned(t *testing.T, most int, changes ...func(*status.Status)) *v1.ConfigMap {
	return nodeStatus(t, func(s *status.Status, templates *status.Templates) {
		*s = status.Status{Time: s.Time, Berth: status.Berth{State: "acts"}}
		*templates = status.Templates{}
		for _, zone := range []string{"a", "b", "c"} {
			s.NodeGroups = append(s.NodeGroups, status.NodeGroup{Name: zone, Health: status.GroupHealth{CloudProviderTarget: 2, MaxSize: most}})
			templates.Groups = append(templates.Groups, status.Template{
				Name: zone, Labels: map[string]string{v1.LabelTopologyZone: "zone-" + zone}, Nodes: []string{zone + "1", zone + "2"},
				Allocatable: v1.ResourceList{v1.ResourceCPU: resource.MustParse("4"), v1.ResourceMemory: resource.MustParse("8Gi"), v1.ResourcePods: resource.MustParse("10")},
			})
		}
		for _, change := range changes {
			change(s)
		}
	})
}

// grown gives the containers of a set's pods requests.
func grown(set *appsv1.StatefulSet, cpu string) *appsv1.StatefulSet {
	set.UID = types.UID("uid-" + set.Name)
	set.Spec.Selector = &metav1.LabelSelector{MatchLabels: set.Spec.Template.Labels}
	set.Spec.Template.Spec.Containers = []v1.Container{{Name: "c", Resources: v1.ResourceRequirements{Requests: v1.ResourceList{v1.ResourceCPU: resource.MustParse(cpu)}}}}
	return set
}

// slot is a pod of a set that has a node.
func slot(set *appsv1.StatefulSet, ordinal int, node string) *v1.Pod {
	p := running(set.Name, ordinal, node).Obj()
	p.Labels = map[string]string{"app": set.Name, appsv1.PodIndexLabel: fmt.Sprint(ordinal)}
	p.Spec.Containers = set.Spec.Template.Spec.Containers
	p.OwnerReferences[0].UID, p.OwnerReferences[0].Controller = set.UID, ptr.To(true)
	return p
}

func deployment(name string, replicas int32, cpu string, pods ...string) []runtime.Object {
	template := grown(set(name, 0), cpu).Spec.Template
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, UID: types.UID(name)},
		Spec: appsv1.DeploymentSpec{Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: template.Labels}, Template: template}}
	rs := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name + "-1", UID: types.UID(name + "-1"),
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "Deployment", Name: name, UID: d.UID, Controller: ptr.To(true)}}},
		Spec: appsv1.ReplicaSetSpec{Replicas: &replicas, Template: template}}
	all := []runtime.Object{d, rs}
	for i, node := range pods {
		all = append(all, &v1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: fmt.Sprintf("%s-1-%d", name, i), UID: types.UID(fmt.Sprint(name, i)), Labels: template.Labels,
				OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: rs.Name, UID: rs.UID, Controller: ptr.To(true)}}},
			Spec: v1.PodSpec{NodeName: node, SchedulerName: schedulerName, Containers: template.Spec.Containers}, Status: v1.PodStatus{Phase: v1.PodRunning},
		})
	}
	return all
}

// barn gives the world a Barn of 4 replicas, which is one of no kind that is known, with the pods of app web.
func barn(w *world) *world {
	w.gauges = scaled().gauges
	return w
}

func TestWhatIfScale(t *testing.T) {
	db := grown(set("db", 2), "3")
	placed := []runtime.Object{db, slot(db, 0, "a1"), slot(db, 1, "b1")}
	tests := map[string]struct {
		world *world
		args  string
		unmet string
	}{
		"nodes come":    {aged(zones(placed...).add(zoned(t, 5))), "sts/db 9", ""},
		"at a maximum":  {aged(zones(placed...).add(zoned(t, 3))), "sts/db 12", "3 pods would wait"},
		"no status":     {aged(zones(placed...)), "sts/db 9", "3 pods would wait"},
		"json":          {aged(zones(placed...).add(zoned(t, 5))), "sts/db 7 -o json", ""},
		"down":          {aged(zones(placed...).add(zoned(t, 5))), "sts/db 1", ""},
		"a Deployment":  {aged(zones(deployment("web", 1, "3", "a1")...).add(zoned(t, 5))), "deploy/web 8", ""},
		"of any kind":   {barn(aged(zones(deployment("web", 4, "1", "a1", "b1", "c1", "c2")...).add(zoned(t, 5)))), "barns.example.com/web 6", ""},
		"fewer of many": {aged(zones(deployment("web", 3, "1", "a1", "b1", "b1")...).add(zoned(t, 5))), "deploy/web 1", ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := tc.world.run(t, strings.Fields("what-if scale "+tc.args+" "+whole)...)
			var said unmet
			if errors.As(err, &said) != (tc.unmet != "") || said.text != tc.unmet || err != nil && tc.unmet == "" {
				t.Errorf("error %v, want %q", err, tc.unmet)
			}
			golden(t, "what-if scale "+name, got)
		})
	}
}

func TestWhatIfDrain(t *testing.T) {
	db := grown(set("db", 3), "1")
	daemon := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "proxy-x", UID: "proxy", OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "DaemonSet", Name: "proxy", UID: "ds", Controller: ptr.To(true)}}},
		Spec: v1.PodSpec{NodeName: "a1"}, Status: v1.PodStatus{Phase: v1.PodRunning}}
	bare := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "bare", UID: "bare"}, Spec: v1.PodSpec{NodeName: "a1"}, Status: v1.PodStatus{Phase: v1.PodRunning}}
	full := func(cpu string) []runtime.Object {
		var all []runtime.Object
		for _, node := range []string{"a2", "b1", "b2", "c1", "c2"} {
			all = append(all, deployment("full-"+node, 1, cpu, node)...)
		}
		return all
	}
	budget := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "web"}, Spec: policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}}}
	objects := func(more ...runtime.Object) []runtime.Object {
		return append([]runtime.Object{db, slot(db, 0, "a1"), slot(db, 1, "b1"), slot(db, 2, "c1"), daemon}, more...)
	}
	said := func(berth status.Berth) *v1.ConfigMap {
		return zoned(t, 5, func(s *status.Status) { berth.State = s.Berth.State; s.Berth = berth })
	}
	kept := said(status.Berth{Kept: []status.Kept{{Node: "a1", Group: "a", Reason: "nodes were added 2m0s ago (limit 10m0s)"}}})
	keptForBudget := said(status.Berth{Kept: []status.Kept{{Node: "a1", Group: "a", Reason: "pod prod/web-1-0: PodDisruptionBudget web: 0 disruptions are allowed"}}})
	leaving := said(status.Berth{Draining: []status.Drain{{Node: "a1", Group: "a", Since: metav1.NewTime(now.Add(-20 * time.Second)), Step: "Wait", Reason: "pod prod/db-0 is being deleted", Pods: 2}}})
	tests := map[string]struct {
		world *world
		args  string
		unmet string
	}{
		"moves":             {aged(zones(objects(deployment("web", 1, "1", "a1")...)...).add(zoned(t, 5))), "node/a1", ""},
		"yaml":              {aged(zones(objects()...).add(zoned(t, 5))), "node/a1 -o yaml", ""},
		"a bare pod":        {aged(zones(objects(bare)...).add(zoned(t, 5))), "node/a1", "1 pod could not leave, or would wait"},
		"nodes come":        {aged(zones(append(objects(), full("3500m")...)...).add(zoned(t, 5))), "node/a1", ""},
		"no room":           {aged(zones(append(objects(), full("3500m")...)...).add(zoned(t, 2))), "node/a1", "1 pod could not leave, or would wait"},
		"a budget":          {aged(zones(objects(append(deployment("web", 2, "1", "a1", "b1"), budget)...)...).add(zoned(t, 5))), "node/a1", "1 pod could not leave, or would wait"},
		"two of a set":      {aged(zones(db, slot(db, 0, "a1"), slot(db, 1, "a1"), slot(db, 2, "c1")).add(zoned(t, 5))), "node/a1", ""},
		"an empty node":     {aged(zones(objects()...).add(zoned(t, 5))), "node/b2", ""},
		"kept":              {aged(zones(objects()...).add(kept)), "node/a1", ""},
		"kept for a budget": {aged(zones(objects(append(deployment("web", 2, "500m", "a1", "b1"), budget)...)...).add(keptForBudget)), "node/a1", "1 pod could not leave, or would wait"},
		"on its way out":    {aged(zones(objects(append(deployment("web", 2, "1", "a1", "b1"), budget)...)...).add(leaving)), "node/a1", "1 pod could not leave, or would wait"},
		"without status":    {aged(zones(objects()...)), "node/a1", ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := tc.world.run(t, strings.Fields("what-if drain "+tc.args+" "+whole)...)
			var said unmet
			if errors.As(err, &said) != (tc.unmet != "") || said.text != tc.unmet || err != nil && tc.unmet == "" {
				t.Errorf("error %v, want %q", err, tc.unmet)
			}
			golden(t, "what-if drain "+name, got)
		})
	}
}

func TestErrorsOfWhatIf(t *testing.T) {
	usual := func() *world { return barn(aged(zones(grown(set("db", 2), "1")).add(zoned(t, 5)))) }
	for name, tc := range map[string]struct {
		args, want string
	}{
		"no number":         {"scale sts/db " + whole, "want a workload and a number of replicas, like sts/db 9\nSee 'kubectl berth what-if scale --help' for usage"},
		"below 0":           {"scale sts/db -- -1", "\"-1\" is no number of replicas\nSee 'kubectl berth what-if scale --help' for usage"},
		"another kind":      {"scale pod/db 3", "\"pod\" is not what this is for; want StatefulSet (sts/NAME) or Deployment (deploy/NAME) or ReplicaSet (rs/NAME) or ReplicationController (rc/NAME)\nSee 'kubectl berth what-if scale --help' for usage"},
		"a set mistyped":    {"scale sts/dv 3 " + whole, `StatefulSet "dv" not found in namespace "prod", which has db`},
		"no Deployments":    {"scale deploy web 3 " + whole, `Deployment "web" not found: namespace "prod" has none; name another one by -n`},
		"a node mistyped":   {"drain node/a3 " + whole, `node "a3" not found: the cluster has a1, a2, b1, b2, c1, and 1 more`},
		"no configuration":  {"drain node/a1", "the scheduler's configuration, by which is simulated, was not found (no ConfigMap in namespace berth-system has a KubeSchedulerConfiguration): name its file by --config, and the autoscaler's by --autoscaler-config "},
		"nothing of a kind": {"scale cows.example.com/web 3 " + whole, `"cows.example.com" is nothing that the API server knows: no matches for `},
		"a scale unread":    {"scale farms.example.com web 3 " + whole, `Farm/web: farms.example.com "web" is forbidden: `},
		"no such file":      {"drain node/a1 --config /none", "--config: open /none: no such file or directory"},
		"a config of ours?": {"drain node/a1 --config whatif.go", "--config whatif.go: scheduler configuration: "},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := usual().run(t, append([]string{"what-if"}, strings.Fields(tc.args)...)...)
			var said unmet
			if err == nil || errors.As(err, &said) || !strings.HasPrefix(err.Error(), tc.want) {
				t.Errorf("error %v, want %q; output:\n%s", err, tc.want, out)
			}
		})
	}
}

// What is missing in two places is told of both, but not twice.
func TestWhatIfWithoutConfiguration(t *testing.T) {
	mountsNothing := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "berth-system", Name: schedulerName}}
	_, err := aged(zones(mountsNothing)).run(t, "what-if", "drain", "node/a1")
	want := "(no ConfigMap that Deployment berth-system/berth-scheduler mounts has a KubeSchedulerConfiguration; no ConfigMap in namespace berth-system has a KubeSchedulerConfiguration)"
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want it to contain %q", err, want)
	}
}

// An informer that is refused would be waited for in vain.
func TestWhatIfWithoutRights(t *testing.T) {
	for name, tc := range map[string]struct {
		code int
		want string
	}{
		"no right":   {http.StatusForbidden, "reading the cluster: poddisruptionbudgets.policy is forbidden: "},
		"not served": {http.StatusNotFound, "reading the cluster: the API server does not serve poddisruptionbudgets.policy, "},
		"unknown":    {http.StatusUnauthorized, "reading the cluster: the API server does not know who asks for poddisruptionbudgets.policy"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &server{answer: map[string]http.HandlerFunc{"poddisruptionbudgets": func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(tc.code)
				fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","code":%d}`, tc.code)
			}}}
			listening := httptest.NewServer(s)
			defer listening.Close()
			_, err := s.run(t, listening.URL, strings.Fields("what-if scale sts/db 3 "+whole)...)
			if err == nil || !strings.HasPrefix(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}

func TestWhatIfWithoutRightsToVPAs(t *testing.T) {
	s := &server{answer: map[string]http.HandlerFunc{"verticalpodautoscalers": func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintln(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","code":403}`)
	}}}
	listening := httptest.NewServer(s)
	defer listening.Close()
	_, err := s.run(t, listening.URL, strings.Fields("what-if scale sts/db 3 "+whole)...)
	if want := "reading the cluster: verticalpodautoscalers.autoscaling.k8s.io is forbidden: "; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("error %v, want %q", err, want)
	}
}

// Who waits is told what for, and who does not is told nothing.
func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		p := newProgress(&said)
		p.stage("reading")
		time.Sleep(patience - time.Millisecond)
		p.stage("thinking")
		synctest.Wait()
		if said.Len() > 0 {
			t.Errorf("said %q too early", said.String())
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		p.stage("writing")
		p.end()
		if diff := cmp.Diff("thinking …\nwriting …\n", said.String()); diff != "" {
			t.Errorf("said (-want +got):\n%s", diff)
		}
	})
}
