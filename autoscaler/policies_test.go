// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-base/metrics/testutil"
	"k8s.io/utils/ptr"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
)

func policyFor(set, name string, created int) *v1alpha1.PlacementPolicy {
	return &v1alpha1.PlacementPolicy{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "prod", Name: name, UID: types.UID(name), Generation: 1,
			CreationTimestamp: metav1.NewTime(time.Date(1999, 1, created, 0, 0, 0, 0, time.UTC)),
		},
		Spec: v1alpha1.PlacementPolicySpec{TargetRef: &v1alpha1.TargetRef{APIVersion: "apps/v1", Kind: "StatefulSet", Name: set}},
	}
}

func invalidPolicy(name string) *v1alpha1.PlacementPolicy {
	policy := policyFor("other", name, 1)
	policy.Spec.Spread = &v1alpha1.Spread{MaxPerDomain: ptr.To[int32](0)}
	return policy
}

func TestEachPolicyIsToldWhatBecameOfIt(t *testing.T) {
	for _, mode := range []string{"Act", "Observe"} { // a status is no action
		t.Run(mode, func(t *testing.T) {
			scene{
				policies: []*v1alpha1.PlacementPolicy{policyFor("db", "old", 1), policyFor("db", "young", 2), policyFor("web", "alone", 3), invalidPolicy("wrong")},
				config:   "horizontal: {mode: " + mode + "}\nnodes: {mode: " + mode + "}\n",
			}.perform(t, func(s *stage) {
				s.conductor.Wake()
				s.pass(2 * time.Second)
				got := map[string]string{}
				for _, name := range []string{"old", "young", "wrong"} {
					for _, kind := range []string{v1alpha1.Accepted, v1alpha1.Conflicted} {
						got[name+" "+kind] = s.server.says(name, kind)
					}
					if observed := s.server.stored[name].Status.ObservedGeneration; observed != 1 {
						t.Errorf("%s: observed generation %d, want 1", name, observed)
					}
				}
				want := map[string]string{
					"old Accepted": "True Valid generation 1", "old Conflicted": "False NoConflict generation 1",
					"young Accepted": "True Valid generation 1", "young Conflicted": "True OlderPolicy generation 1",
					"wrong Accepted": "False Invalid generation 1", "wrong Conflicted": "False NoConflict generation 1",
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("conditions (-want +got):\n%s", diff)
				}
				message := meta.FindStatusCondition(s.server.stored["wrong"].Status.Conditions, v1alpha1.Accepted).Message
				if !strings.Contains(message, "spec.spread.maxPerDomain") {
					t.Errorf("the invalid policy is told %q, which does not name the field", message)
				}
				figures := "# HELP berth_placement_policies [ALPHA] PlacementPolicies, each in one state: accepted, invalid, or conflicted where an older one places a set that it is for.\n" +
					"# TYPE berth_placement_policies gauge\n" +
					"berth_placement_policies{state=\"accepted\"} 2\nberth_placement_policies{state=\"conflicted\"} 1\nberth_placement_policies{state=\"invalid\"} 1\n"
				if err := testutil.GatherAndCompare(s.figures, strings.NewReader(figures), "berth_placement_policies"); err != nil {
					t.Error(err)
				}
				s.pass(10 * time.Minute)
				if len(s.server.written) != 4 || s.server.attempts != 4 {
					t.Errorf("%d writes in ten quiet minutes, want 4: %v", s.server.attempts, s.server.written)
				}
			})
		})
	}
}

func TestAPolicyIsJudgedSoonAfterItChanged(t *testing.T) {
	scene{policies: []*v1alpha1.PlacementPolicy{policyFor("db", "old", 1), policyFor("db", "young", 2)}}.perform(t, func(s *stage) {
		since := func(kind string) time.Time {
			if c := meta.FindStatusCondition(s.server.stored["young"].Status.Conditions, kind); c != nil {
				return c.LastTransitionTime.Time
			}
			t.Fatalf("no condition %s", kind)
			return time.Time{}
		}
		s.pass(time.Minute)
		accepted, conflicted := since(v1alpha1.Accepted), since(v1alpha1.Conflicted)

		// Between two whole ticks. Edited, it is judged anew, and both say the same as before.
		s.server.edit("young", func(spec *v1alpha1.PlacementPolicySpec) { spec.SeparateNodes = v1alpha1.SeparateRequired })
		s.pass(2 * time.Second)
		if got := s.server.says("young", v1alpha1.Conflicted); got != "True OlderPolicy generation 2" {
			t.Errorf("two seconds after an edit: %s", got)
		}
		if since(v1alpha1.Accepted) != accepted || since(v1alpha1.Conflicted) != conflicted {
			t.Error("the time of the last transition moved, and the status did not")
		}

		s.server.remove("old")
		s.pass(2 * time.Second)
		if got := s.server.says("young", v1alpha1.Conflicted); got != "False NoConflict generation 2" {
			t.Errorf("two seconds after the older one went: %s", got)
		}
		if since(v1alpha1.Accepted) != accepted || !since(v1alpha1.Conflicted).After(conflicted) {
			t.Error("only the conflict made a transition")
		}
	})
}

func TestAPolicyThatChangedMeanwhileIsJudgedAgain(t *testing.T) {
	scene{policies: []*v1alpha1.PlacementPolicy{policyFor("db", "db", 1), policyFor("web", "gone", 1)}}.perform(t, func(s *stage) {
		s.server.behind = true
		s.server.edit("db", func(spec *v1alpha1.PlacementPolicySpec) {
			spec.Spread = &v1alpha1.Spread{MaxPerDomain: ptr.To[int32](0)}
		})
		delete(s.server.stored, "gone")
		s.pass(time.Minute)
		if len(s.server.written) != 0 || s.server.attempts == 0 {
			t.Errorf("wrote %v in %d attempts upon what is no more", s.server.written, s.server.attempts)
		}
		s.server.behind = false
		s.server.tell(s.server.stored["db"])
		s.server.remove("gone")
		s.server.fails = apierrors.NewServiceUnavailable("not now")
		s.pass(16 * time.Second)
		s.server.fails = nil
		s.pass(16 * time.Second)
		if got := s.server.says("db", v1alpha1.Accepted); got != "False Invalid generation 2" {
			t.Errorf("in the end: %q", got)
		}
	})
}

// dbPod is a pod of the set db that has no node.
func dbPod(ordinal int, condition ...corev1.PodCondition) *corev1.Pod {
	pod := webPod(0)
	name := fmt.Sprintf("db-%d", ordinal)
	pod.ObjectMeta = metav1.ObjectMeta{
		Namespace: "prod", Name: name, UID: types.UID(name), Labels: map[string]string{"app": "db", appsv1.PodIndexLabel: strconv.Itoa(ordinal)},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "db", UID: "set", Controller: ptr.To(true)}},
	}
	pod.Spec.NodeName = ""
	pod.Spec.Containers[0].Resources.Requests[corev1.ResourceCPU] = resource.MustParse("3")
	pod.Status = corev1.PodStatus{Phase: corev1.PodPending, Conditions: condition}
	return pod
}

func dbSet(replicas int32) *appsv1.StatefulSet {
	pod := dbPod(0)
	return &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "db", UID: "set"},
		Spec: appsv1.StatefulSetSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "db"}}, Spec: pod.Spec},
		},
	}
}

// notScheduled is the condition of a pod without a node.
func notScheduled(reason string) corev1.PodCondition {
	return corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: reason}
}

// Nodes are asked for at once for the slot that finds none, for those that wait
// for their turn behind it, for the one that nobody has looked at yet, and for
// those that their set has not made yet.
func TestNodesComeAtOnceForSlotsThatStartOneByOne(t *testing.T) {
	held := dbPod(9, notScheduled(corev1.PodReasonSchedulingGated))
	held.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "quota"}}
	held.OwnerReferences = nil
	scene{objects: []runtime.Object{
		dbSet(5), dbPod(0), dbPod(1, notScheduled(corev1.PodReasonSchedulingGated)), dbPod(2), held,
	}}.perform(t, func(s *stage) {
		first, err := s.kube.CoreV1().Pods("prod").Get(t.Context(), "db-0", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		first.Status.Conditions = []corev1.PodCondition{notScheduled(corev1.PodReasonUnschedulable)}
		if _, err := s.kube.CoreV1().Pods("prod").UpdateStatus(t.Context(), first, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		s.conductor.Wake()
		s.pass(2 * time.Second)
		nodes, err := s.kube.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got := len(nodes.Items); got != 1+5 {
			t.Errorf("%d nodes, want the one that was there and one for each of the five slots", got)
		}
		want := "Normal TriggeredScaleUp node group pool grows from 0 to 5: pods that fit on no other node (5), first prod/db-0"
		if diff := cmp.Diff([]string{want, want, want}, s.said("TriggeredScaleUp")); diff != "" {
			t.Errorf("events on the pods that exist (-want +got):\n%s", diff)
		}
	})
}

func TestNodesWaitForThePolicies(t *testing.T) {
	scene{unread: true, policies: []*v1alpha1.PlacementPolicy{policyFor("db", "db", 1)}, objects: []runtime.Object{dbSet(1), dbPod(0, notScheduled(corev1.PodReasonUnschedulable))}}.perform(t, func(s *stage) {
		added := func() int {
			nodes, err := s.kube.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			return len(nodes.Items) - 1
		}
		s.book.MarkReady(apierrors.NewServiceUnavailable("not now"))
		s.pass(5 * time.Minute)
		if added() != 0 || s.server.attempts != 0 {
			t.Errorf("%d nodes were added, %d statuses written before the policies were read", added(), s.server.attempts)
		}
		s.book.MarkReady(nil)
		s.pass(2 * time.Second)
		if added() != 1 || len(s.server.written) != 1 {
			t.Errorf("%d nodes were added, statuses of %v written once the policies were read; want one of each", added(), s.server.written)
		}
	})
}
