// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
)

// with returns a copy of the pod that requests another amount of cpu.
func with(pod *v1.Pod, cpu string) *v1.Pod {
	pod = pod.DeepCopy()
	pod.Spec.Containers[0].Resources.Requests = v1.ResourceList{v1.ResourceCPU: resource.MustParse(cpu)}
	return pod
}

// resizing marks a pod's container as one whose cpu was given and is had, beside what the spec asks for.
func resizing(pod *v1.Pod, given, had string) *v1.Pod {
	pod.Status.ContainerStatuses = []v1.ContainerStatus{{
		Name:               pod.Spec.Containers[0].Name,
		AllocatedResources: v1.ResourceList{v1.ResourceCPU: resource.MustParse(given)},
		Resources:          &v1.ResourceRequirements{Requests: v1.ResourceList{v1.ResourceCPU: resource.MustParse(had)}},
	}}
	return pod
}

// The node a1 has 4 cores.
func TestGrow(t *testing.T) {
	running := func() *v1.Pod { return slotPod("db", 0, "1", "a1") }
	full := nodeIn("a", "a1")
	full.Status.Allocatable[v1.ResourcePods] = resource.MustParse("2")
	tainted := nodeIn("a", "a1")
	tainted.Spec.Unschedulable = true
	tainted.Spec.Taints = []v1.Taint{{Key: "dedicated", Effect: v1.TaintEffectNoSchedule}, {Key: v1.TaintNodeUnschedulable, Effect: v1.TaintEffectNoSchedule}}
	apart := running()
	apart.Spec.NodeSelector = map[string]string{"gone": "by-now"}
	apart.Spec.Affinity = &v1.Affinity{PodAntiAffinity: &v1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []v1.PodAffinityTerm{
		{TopologyKey: v1.LabelHostname, LabelSelector: &metav1.LabelSelector{}}}}}
	overhead := running()
	overhead.Spec.Overhead = v1.ResourceList{v1.ResourceCPU: resource.MustParse("500m")}
	infeasible := running()
	infeasible.Status.Conditions = []v1.PodCondition{{Type: v1.PodResizePending, Status: v1.ConditionTrue, Reason: v1.PodReasonInfeasible}}
	whole := running()
	whole.Spec.Resources = &v1.ResourceRequirements{Requests: v1.ResourceList{v1.ResourceCPU: resource.MustParse("3")}}
	for name, tc := range map[string]struct {
		node   *v1.Node
		pod    *v1.Pod
		others []*v1.Pod
		to     string
		want   []string
	}{
		"all that is left":           {pod: running(), others: []*v1.Pod{podOf("web", "2").Node("a1").Obj()}, to: "2"},
		"more than is left":          {pod: running(), others: []*v1.Pod{podOf("web", "2").Node("a1").Obj()}, to: "2001m", want: []string{"Insufficient cpu"}},
		"as many pods as there may":  {node: full, pod: running(), others: []*v1.Pod{podOf("web", "2").Node("a1").Obj()}, to: "2"},
		"no place to go to":          {node: tainted, pod: running(), to: "4"},
		"affinities that do not fit": {pod: apart, others: []*v1.Pod{podOf("web", "1").Node("a1").Obj()}, to: "3"},
		"a pod that ended":           {pod: running(), others: []*v1.Pod{podOf("job", "3").Node("a1").Phase(v1.PodSucceeded).Obj()}, to: "4"},
		"beside a growth":            {pod: running(), others: []*v1.Pod{resizing(podOf("web", "3").Node("a1").Obj(), "1", "1")}, to: "2", want: []string{"Insufficient cpu"}},
		"beside a shrink":            {pod: running(), others: []*v1.Pod{resizing(podOf("web", "1").Node("a1").Obj(), "1", "3")}, to: "2", want: []string{"Insufficient cpu"}},
		"a shrink of its own":        {pod: resizing(running(), "1", "4"), others: []*v1.Pod{podOf("web", "1").Node("a1").Obj()}, to: "1500m", want: []string{"Insufficient cpu"}},
		"after an infeasible one":    {pod: resizing(infeasible, "1", "1"), to: "5", want: []string{"Insufficient cpu"}},
		"overhead":                   {pod: overhead, to: "3501m", want: []string{"Insufficient cpu"}},
		"overhead that fits":         {pod: overhead, to: "3500m"},
		"within pod-level resources": {pod: whole, others: []*v1.Pod{podOf("web", "2").Node("a1").Obj()}, to: "2", want: []string{"Insufficient cpu"}},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.node == nil {
				tc.node = nodeIn("a", "a1")
			}
			objects := []runtime.Object{tc.node, setOf("db", 1), tc.pod}
			for _, other := range tc.others {
				objects = append(objects, other)
			}
			s, _ := simulate(t, objects...)
			session := begin(t, s, objects...)
			for range 2 { // it changes nothing
				fits, reasons, err := session.Grow(with(tc.pod, tc.to))
				if err != nil || fits != (tc.want == nil) {
					t.Fatalf("fits %v, %v", fits, err)
				}
				if diff := cmp.Diff(tc.want, reasons); diff != "" {
					t.Errorf("reasons (-want +got):\n%s", diff)
				}
			}
		})
	}
}

// A growth takes no berth that is held, whoever's slot it is that grows.
func TestGrowBesideAHold(t *testing.T) {
	leaves := slotPod("db", 0, "2", "a1")
	leaves.DeletionTimestamp = ptr.To(metav1.Now())
	sibling, stranger := slotPod("db", 1, "1", "a1"), podOf("web", "1").Node("a1").Obj()
	objects := []runtime.Object{nodeIn("a", "a1"), setOf("db", 2), leaves, sibling, stranger}
	s, _ := simulate(t, objects...)
	// The pod is gone from the node, and nowhere else yet.
	session := begin(t, s, objects[0], sibling, stranger)
	for _, pod := range []*v1.Pod{sibling, stranger} {
		fits, reasons, err := session.Grow(with(pod, "2"))
		if diff := cmp.Diff([]string{"node(s) keep room for absent slots of prod/db (Insufficient cpu)"}, reasons); err != nil || fits || diff != "" {
			t.Errorf("%s fits %v, %v (-want +got):\n%s", pod.Name, fits, err, diff)
		}
	}
	above := stranger.DeepCopy()
	above.Spec.Priority = ptr.To[int32](1)
	if fits, reasons, err := session.Grow(with(above, "2")); !fits || err != nil {
		t.Errorf("of higher priority it fits %v: %q, %v", fits, reasons, err)
	}
}

func TestGrowWithoutAnAnswer(t *testing.T) {
	node, pod := nodeIn("a", "a1"), podOf("web", "1").Node("a1").Obj()
	s, _ := simulate(t, node, pod)
	late, end := context.WithCancelCause(t.Context())
	session, err := s.Begin(late, []*v1.Node{node}, []*v1.Pod{pod})
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	if _, _, err := session.Grow(podOf("new", "1").Node("a1").Obj()); err == nil {
		t.Error("there is an answer about a pod that is not there")
	}
	if _, _, err := session.Grow(podOf("web", "1").Node("b1").Obj()); err == nil {
		t.Error("there is an answer about a node that is not there")
	}
	why := errors.New("time is over")
	end(why)
	if _, _, err := session.Grow(with(pod, "2")); !errors.Is(err, why) {
		t.Errorf("error %v, want %v", err, why)
	}
}

// A pod that is taken away leaves its room, but for that of a slot, which is
// kept for its next pod; and the next pod of a slot may go elsewhere.
func TestRemovePod(t *testing.T) {
	slot, web := slotPod("db", 0, "3", "a1"), podOf("web", "3").Node("b1").Obj()
	objects := []runtime.Object{nodeIn("a", "a1"), nodeIn("b", "b1"), nodeIn("a", "a2"), setOf("db", 1), slot, web, podOf("busy", "1").Node("a2").Obj()}
	objects = append(objects, claimOf("db", 0, "a")...)
	s, overlay := simulate(t, objects...)
	session := begin(t, s, objects...)
	lister := overlay.Core().V1().Pods().Lister().Pods("prod")
	session.refuse(t, podOf("early", "4").Obj(), "3 Insufficient cpu")
	session.Fork()
	for _, pod := range []*v1.Pod{slot, web} {
		if err := session.RemovePod(pod); err != nil {
			t.Fatal(err)
		}
		if there, err := lister.Get(pod.Name); err == nil {
			t.Errorf("the informer shows %s", there.Name)
		}
	}
	if err := session.RemovePod(web); err == nil {
		t.Error("a pod is taken away twice")
	}
	session.Fork()
	session.expect(t, podOf("thief", "4").Obj(), "b1") // not a1, which is free by its pods
	session.refuse(t, podOf("thief-2", "4").Obj(), "1 node(s) keep room for absent slots of prod/db (Insufficient cpu)", "2 Insufficient cpu")
	next := slot.DeepCopy()
	next.UID, next.Spec.NodeName = "next", ""
	session.expect(t, next, "a1")
	session.Revert()
	larger := with(next, "3")
	larger.Spec.NodeSelector = map[string]string{v1.LabelHostname: "a2.local"}
	session.expect(t, larger, "a2")
	session.expect(t, podOf("heir", "4").Obj(), "a1") // the slot has its place elsewhere
	session.Revert()
	session.refuse(t, podOf("late", "4").Obj(), "3 Insufficient cpu")
	if there, err := lister.Get(slot.Name); err != nil || there.UID != slot.UID {
		t.Errorf("the informer shows %v (%v), want the pod as it is", there, err)
	}
}

// The room that is promised to a pod goes with it.
func TestRemovePodWithoutANode(t *testing.T) {
	node := nodeIn("a", "a1")
	waits := podOf("web-0", "4").NominatedNodeName("a1").Obj()
	s, _ := simulate(t, node, waits)
	session := begin(t, s, node, waits)
	session.refuse(t, podOf("web-1", "1").Obj(), "1 Insufficient cpu")
	session.Fork()
	if err := session.RemovePod(waits); err != nil {
		t.Fatal(err)
	}
	session.expect(t, podOf("web-1", "1").Obj(), "a1")
	session.Revert()
	session.refuse(t, podOf("web-1", "1").Obj(), "1 Insufficient cpu")
}

// slotPod is a slot's pod on a node.
func slotPod(set string, ordinal int, cpu, node string) *v1.Pod {
	pod := slotOf(set, ordinal, cpu)
	pod.Spec.NodeName = node
	pod.Spec.Volumes = pod.Spec.Volumes[:1]
	return pod
}
