// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	st "k8s.io/kubernetes/pkg/scheduler/testing"
)

// knows tells whether the session knows without asking that no node takes the pod.
func (s *Session) knows(pod *v1.Pod) bool {
	c := &cycle{Session: s, pod: pod, refused: map[string]int{}}
	c.recall(pod)
	return c.refusedBefore(c.candidates(nil))
}

// Equal pods share one refusal, to which a new node adds a question.
func TestEqualPodsShareARefusal(t *testing.T) {
	node := nodeIn("a", "a1")
	s, _ := simulate(t, node)
	session := begin(t, s, node)
	equal := func(i int) *v1.Pod {
		pod := podOf(fmt.Sprintf("web-%d", i), "5").OwnerReference("web", appsv1.SchemeGroupVersion.WithKind("ReplicaSet")).Obj()
		token := fmt.Sprintf("kube-api-access-%d", i)
		pod.Spec.Volumes = []v1.Volume{{Name: token, VolumeSource: v1.VolumeSource{Projected: &v1.ProjectedVolumeSource{}}}}
		pod.Spec.Containers[0].VolumeMounts = []v1.VolumeMount{{Name: token, MountPath: "/token"}}
		return pod
	}
	session.refuse(t, equal(0), "1 Insufficient cpu")
	if !session.knows(equal(1)) {
		t.Error("an equal pod is not known to be refused")
	}
	other := equal(2)
	other.Labels = map[string]string{"other": "yes"}
	if session.knows(other) {
		t.Error("a pod with other labels is taken for equal")
	}
	session.Fork()
	big := nodeIn("a", "big")
	big.Status.Allocatable[v1.ResourceCPU] = resource.MustParse("16")
	if err := session.AddNode(big); err != nil {
		t.Fatal(err)
	}
	if session.knows(equal(1)) {
		t.Error("a refusal holds on a node that was not there")
	}
	session.expect(t, equal(1), "big")
	session.Revert()
	if !session.knows(equal(3)) {
		t.Error("the refusal before the fork is forgotten")
	}
}

// What is learnt in a fork is forgotten with it, and what makes room forgets it all.
func TestRefusalsEnd(t *testing.T) {
	node, running := nodeIn("a", "a1"), podOf("running", "3").Node("a1").Obj()
	s, _ := simulate(t, node, running)
	session := begin(t, s, node, running)
	pod := workload("web", 0, 0, "1500m").Obj()
	refused := func() { t.Helper(); session.refuse(t, pod, "1 Insufficient cpu") }
	for name, tc := range map[string]struct {
		before, after func() error
	}{
		"a fork that is reverted": {
			before: func() error { session.Fork(); refused(); return nil },
			after:  func() error { session.Revert(); return nil },
		},
		"a pod that goes": {
			before: func() error { session.Fork(); refused(); return nil },
			after:  func() error { defer session.Revert(); return session.RemovePod(running) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := tc.before(); err != nil {
				t.Fatal(err)
			}
			if !session.knows(pod) {
				t.Error("the refusal is not known")
			}
			if err := tc.after(); err != nil {
				t.Fatal(err)
			}
			if session.knows(pod) {
				t.Error("the refusal is known still")
			}
		})
	}
}

// A pod that goes elsewhere than where room was kept for it leaves that to others.
func TestRefusalsEndWithTheRoomThatWasKept(t *testing.T) {
	waiting := podOf("waiting", "3").Priority(10).NominatedNodeName("a1").Obj()
	objects := []runtime.Object{nodeIn("a", "a1"), nodeIn("a", "a2"), podOf("full", "1").Node("a2").Obj(), waiting, setOf("db", 1), zonal()}
	objects = append(objects, claimOf("db", 0, "a")...)
	slot := slotPod("db", 0, "3", "a1")
	s, _ := simulate(t, append(objects, slot)...)
	pod := func() *v1.Pod { return workload("web", 0, 0, "2").Obj() }
	t.Run("by preemption", func(t *testing.T) {
		session := begin(t, s, objects...)
		session.refuseAmong(t, pod(), "a1")
		session.expect(t, waiting, "a2", "a2")
		session.expect(t, pod(), "a1", "a1")
	})
	t.Run("for a slot", func(t *testing.T) {
		session := begin(t, s, append(objects[:3:3], slot)...)
		if err := session.RemovePod(slot); err != nil {
			t.Fatal(err)
		}
		session.refuseAmong(t, pod(), "a1")
		next := slotOf("db", 0, "3")
		if k, _, alike := session.classOf(next); alike {
			t.Errorf("a slot for which room is kept is in a class: %+v", k)
		}
		next.Spec.NodeSelector = map[string]string{v1.LabelHostname: "a2.local"} // it comes home else
		session.expect(t, next, "a2")
		session.expect(t, pod(), "a1", "a1")
	})
}

func (s *Session) refuseAmong(t *testing.T, pod *v1.Pod, nodes ...string) {
	t.Helper()
	if got, _, err := s.Place(pod, nodes...); err != nil || got != "" {
		t.Errorf("%s is placed on %q (%v), want it refused", pod.Name, got, err)
	}
}

// Slots are alike while the plan has one place for them, and nothing else is
// known of them.
func TestSlotsOfOneReach(t *testing.T) {
	objects := []runtime.Object{nodeIn("a", "a1"), nodeIn("b", "b1"), zonal(), setOf("db", 9)}
	for i := range 6 {
		objects = append(objects, claimOf("db", i, "")...)
	}
	objects = append(objects, claimOf("db", 6, "a")...)
	objects = append(objects, claimOf("db", 8, "a")...)
	s, _ := simulate(t, objects...)
	session := begin(t, s, objects...)
	same := func(i, j int) bool {
		a, _, known := session.classOf(slotOf("db", i, "5"))
		b, _, knownToo := session.classOf(slotOf("db", j, "5"))
		return known && knownToo && a == b
	}
	if !same(0, 2) || !same(1, 5) {
		t.Error("slots to come in one planned zone are not alike")
	}
	if same(0, 1) {
		t.Error("slots to come in two zones are alike")
	}
	if !same(6, 8) {
		t.Error("slots whose volumes are in one zone are not alike")
	}
	if same(0, 6) {
		t.Error("a slot with a volume is like one without")
	}
	if same(0, 7) {
		t.Error("a slot whose claim is missing is like one that has it")
	}
	session.Fork()
	apart := podOf("apart", "100m").PodAntiAffinity(v1.LabelTopologyZone,
		&metav1.LabelSelector{MatchLabels: map[string]string{appsv1.PodIndexLabel: "4"}}, st.PodAntiAffinityWithRequiredReq).Obj()
	session.expect(t, apart, "a1")
	if same(0, 2) {
		t.Error("slots are alike though a pod keeps away from one of them")
	}
	session.Revert()
	if !same(0, 2) {
		t.Error("slots are not alike when that pod is gone")
	}
}

// The refusal of one slot is told to another in its own words.
func TestRefusalsNameTheirOwn(t *testing.T) {
	objects := []runtime.Object{nodeIn("a", "a1"), zonal(), setOf("db", 9)}
	for _, i := range []int{1, 3} {
		objects = append(objects, claimOf("db", i, "a")...)
	}
	s, _ := simulate(t, objects...)
	session := begin(t, s, objects...)
	if err := session.AddNode(nodeIn("b", "b1")); err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{1, 3, 1} {
		session.refuse(t, slotOf("db", i, "5"), "1 Insufficient cpu",
			fmt.Sprintf(`1 node(s) cannot reach volume "pv-data-db-%d" of claim "data-db-%[1]d", which is in %s=a`, i, v1.LabelTopologyZone))
	}
}

func TestReplaceName(t *testing.T) {
	for text, want := range map[string]string{
		"db-1":                     "X",
		`claim "db-1" of db-1.`:    `claim "X" of X.`,
		"db-10, adb-1 and db-1-x":  "db-10, adb-1 and db-1-x",
		"db-1db-1 db-1":            "db-1db-1 X",
		"data-db-1 needs (db-1/x)": "data-db-1 needs (X/x)",
		"":                         "",
	} {
		if got := replaceName(text, "db-1", "X"); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}
