// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	st "k8s.io/kubernetes/pkg/scheduler/testing"
)

// crowd is a cluster of 1,000 nodes in three zones, with thirty pods on each
// that leave it one core of four. Every tenth pod keeps away from its like.
func crowd() (nodes []*v1.Node, pods []*v1.Pod, objects []runtime.Object) {
	for i := range 1000 {
		node := nodeIn(string("abc"[i%3]), fmt.Sprintf("n%04d", i))
		nodes, objects = append(nodes, node), append(objects, node)
		for j := range 30 {
			pod := workload("run", j, i, "100m").Node(node.Name)
			if j%10 == 0 {
				apart(pod)
			}
			pods, objects = append(pods, pod.Obj()), append(objects, pod.Obj())
		}
	}
	for i := range 10 {
		name := fmt.Sprintf("agent-%d", i)
		objects = append(objects, &appsv1.DaemonSet{
			ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: name, UID: types.UID(name)},
			Spec: appsv1.DaemonSetSpec{Template: v1.PodTemplateSpec{
				Spec: st.MakePod().Req(map[v1.ResourceName]string{v1.ResourceCPU: "10m"}).Obj().Spec,
			}},
		})
	}
	for i := range 50 {
		objects = append(objects, setOf(fmt.Sprintf("db%d", i), 20))
		for j := range 20 {
			objects = append(objects, claimOf(fmt.Sprintf("db%d", i), j, "")...)
		}
	}
	return nodes, pods, append(objects, zonal())
}

// workload returns a pod of a ReplicaSet.
func workload(kind string, number, index int, cpu string) *st.PodWrapper {
	name := fmt.Sprintf("%s-%d", kind, number)
	return podOf(fmt.Sprintf("%s-%d", name, index), cpu).Label("app", name).
		OwnerReference(name, appsv1.SchemeGroupVersion.WithKind("ReplicaSet"))
}

// apart keeps a pod off the nodes of those with its label.
func apart(pod *st.PodWrapper) *st.PodWrapper {
	return pod.PodAntiAffinity(v1.LabelHostname, &metav1.LabelSelector{MatchLabels: pod.Obj().Labels}, st.PodAntiAffinityWithRequiredReq)
}

func BenchmarkBegin(b *testing.B) {
	nodes, pods, objects := crowd()
	s, _ := simulate(b, objects...)
	b.ReportAllocs()
	for b.Loop() {
		session, err := s.Begin(b.Context(), nodes, pods)
		if err != nil {
			b.Fatal(err)
		}
		session.Close()
	}
}

// BenchmarkPlace asks for pods one by one, each of which is taken back.
func BenchmarkPlace(b *testing.B) {
	nodes, pods, objects := crowd()
	s, _ := simulate(b, objects...)
	session, err := s.Begin(b.Context(), nodes, pods)
	if err != nil {
		b.Fatal(err)
	}
	defer session.Close()
	for i := range 50 {
		if err := session.AddNode(nodeIn(string("abc"[i%3]), fmt.Sprintf("new-%d", i))); err != nil {
			b.Fatal(err)
		}
	}
	for name, pod := range map[string]func(i int) *v1.Pod{
		"small":             func(i int) *v1.Pod { return workload("web", 0, i, "100m").Obj() },
		"apart":             func(i int) *v1.Pod { return apart(workload("apart", 0, i, "100m")).Obj() },
		"slot":              func(i int) *v1.Pod { return slotOf(fmt.Sprintf("db%d", i%50), i/50%20, "100m") },
		"on an added node":  func(i int) *v1.Pod { return workload("large", 0, i, "3").Obj() },
		"nowhere":           func(i int) *v1.Pod { return workload("huge", 0, i, "5").Obj() },
		"nowhere, a slot":   func(i int) *v1.Pod { return slotOf(fmt.Sprintf("db%d", i%50), i/50%20, "5") },
		"nowhere, a loner":  func(i int) *v1.Pod { return podOf(fmt.Sprintf("loner-%d", i), "5").Obj() },
		"among one, a slot": func(i int) *v1.Pod { return slotOf(fmt.Sprintf("db%d", i%50), 0, "3") },
	} {
		b.Run(name, func(b *testing.B) {
			var among []string
			if name == "among one, a slot" {
				among = []string{"new-0"}
			}
			b.ReportAllocs()
			session.Fork()
			i := 0
			for b.Loop() {
				session.Fork()
				if _, _, err := session.Place(pod(i), among...); err != nil {
					b.Fatal(err)
				}
				session.Revert()
				i++
			}
			session.Revert()
		})
	}
}

// BenchmarkEqualPods asks for slots of one zone and pods that fit nowhere, with
// what is remembered of their equals and without.
func BenchmarkEqualPods(b *testing.B) {
	nodes, pods, objects := crowd()
	for name, plain := range map[string]bool{"remembered": false, "each for itself": true} {
		s, _ := simulateBy(b, plain, objects...)
		b.Run(name, func(b *testing.B) {
			session, err := s.Begin(b.Context(), nodes, pods)
			if err != nil {
				b.Fatal(err)
			}
			defer session.Close()
			for i := 0; b.Loop(); i++ {
				pod := workload("huge", i%10, i, "5").Obj()
				if i%2 == 0 {
					pod = slotOf("db0", i/2%20, "5")
				}
				if at, _, err := session.Place(pod); at != "" || err != nil {
					b.Fatal(at, err)
				}
			}
		})
	}
}

// BenchmarkTemplate tries one pod on the next node of a group.
func BenchmarkTemplate(b *testing.B) {
	nodes, pods, objects := crowd()
	s, _ := simulate(b, objects...)
	session, err := s.Begin(b.Context(), nodes, pods)
	if err != nil {
		b.Fatal(err)
	}
	defer session.Close()
	pod, node := workload("large", 0, 0, "3").Obj(), nodeIn("a", "new")
	b.ReportAllocs()
	for b.Loop() {
		session.Fork()
		if err := session.AddTemplate(node, map[string]int32{"example.com": 25}, nil); err != nil {
			b.Fatal(err)
		}
		if at, reasons, err := session.Place(pod, "new"); at == "" {
			b.Fatal(reasons, err)
		}
		session.Revert()
	}
}

// BenchmarkStory places 10,000 pods of 200 workloads, a twentieth of them slots: on
// the present nodes what fits there, and the rest on nodes of 50 groups, each
// workload tried on every group first.
func BenchmarkStory(b *testing.B) {
	nodes, pods, objects := crowd()
	s, _ := simulate(b, objects...)
	b.ReportAllocs()
	for b.Loop() {
		session, err := s.Begin(b.Context(), nodes, pods)
		if err != nil {
			b.Fatal(err)
		}
		added := tell(b, session)
		session.Close()
		b.ReportMetric(float64(added), "nodes")
	}
}

func tell(b *testing.B, session *Session) (added int) {
	place := func(pod *v1.Pod, among ...string) bool {
		at, _, err := session.Place(pod, among...)
		if err != nil {
			b.Fatal(err)
		}
		return at != ""
	}
	add := func(name string, group int) {
		if err := session.AddNode(nodeIn(string("abc"[group%3]), name)); err != nil {
			b.Fatal(err)
		}
	}
	for number := range 200 {
		var waiting []*v1.Pod
		for index := range 50 {
			cpu := fmt.Sprintf("%dm", 300+10*number)
			pod := workload("web", number, index, cpu)
			switch {
			case number%4 == 0 && index < 10:
				waiting = append(waiting, slotOf(fmt.Sprintf("db%d", number/4), index, cpu))
				continue
			case number%4 == 0:
				continue
			case number%10 == 1:
				apart(pod)
			}
			waiting = append(waiting, pod.Obj())
		}
		rest := waiting[:0]
		for _, pod := range waiting {
			if !place(pod) {
				rest = append(rest, pod)
			}
		}
		for len(rest) > 0 {
			best := -1
			for group := range 50 {
				session.Fork()
				add("trial", group)
				if place(rest[0], "trial") && best < 0 {
					best = group
				}
				session.Revert()
			}
			if best < 0 {
				b.Fatalf("%s fits on no group", rest[0].Name)
			}
			name := fmt.Sprintf("added-%d", added)
			added++
			add(name, best)
			left := rest[:0]
			for i, pod := range rest {
				if !place(pod, name) {
					left = append(left, rest[i])
				}
			}
			rest = left
			if number%4 != 0 { // equal pods want equal nodes
				for len(rest) > 0 && place(rest[0]) {
					rest = rest[1:]
				}
				for len(rest) > 0 {
					name := fmt.Sprintf("added-%d", added)
					added++
					add(name, best)
					for len(rest) > 0 && place(rest[0], name) {
						rest = rest[1:]
					}
				}
			}
		}
	}
	return added
}
