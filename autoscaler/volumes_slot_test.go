// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clienttesting "k8s.io/client-go/testing"
)

// pairScene is lostScene with a second volume of db-0 in n9.
func pairScene(policy corev1.PersistentVolumeReclaimPolicy) scene {
	sc := lostScene(time.Minute)
	set := find[*appsv1.StatefulSet](sc)
	wal := set.Spec.VolumeClaimTemplates[0].DeepCopy()
	wal.Name = "wal"
	set.Spec.VolumeClaimTemplates = append(set.Spec.VolumeClaimTemplates, *wal)
	find[*corev1.PersistentVolume](sc).Spec.PersistentVolumeReclaimPolicy = policy
	claim, pv := localClaim("wal-db-0", "n9")
	sc.objects = append(sc.objects, claim, pv)
	return sc
}

func TestThePairOfASlotIsReleasedWhole(t *testing.T) {
	pairScene(corev1.PersistentVolumeReclaimDelete).perform(t, func(s *stage) {
		s.pass(5 * time.Minute)
		if diff := cmp.Diff([]string{"data-db-0", "wal-db-0"}, s.released()); diff != "" {
			t.Errorf("released (-want +got):\n%s", diff)
		}
	})
	pairScene(corev1.PersistentVolumeReclaimRetain).perform(t, func(s *stage) {
		s.pass(time.Hour)
		if got := s.released(); len(got) > 0 {
			t.Errorf("released %v", got)
		}
		if got := s.said(`claim "data-db-0" of the same slot`); len(got) != 2 {
			t.Errorf("said %q, want it once on the claim and its set", got)
		}
	})
}

func TestWhereOneOfAPairCannotBeReleasedTheOtherIsNot(t *testing.T) {
	for name, err := range map[string]error{
		"forbidden":         apierrors.NewForbidden(schema.GroupResource{Resource: "persistentvolumeclaims"}, "data-db-0", nil),
		"changed meanwhile": apierrors.NewConflict(schema.GroupResource{Resource: "persistentvolumeclaims"}, "data-db-0", nil),
	} {
		t.Run(name, func(t *testing.T) {
			pairScene(corev1.PersistentVolumeReclaimDelete).perform(t, func(s *stage) {
				failing := true
				s.kube.PrependReactor("delete", "persistentvolumeclaims", func(a clienttesting.Action) (bool, runtime.Object, error) {
					return failing && a.(clienttesting.DeleteAction).GetName() == "data-db-0", nil, err
				})
				s.pass(10 * time.Minute)
				if got := s.released(); slices.Contains(got, "wal-db-0") || len(got) == 0 {
					t.Errorf("tried %v, want data-db-0 alone", got)
				}
				failing = false
				s.pass(2 * time.Minute)
				if got := s.released(); got[len(got)-1] != "wal-db-0" {
					t.Errorf("tried %v, want both in the end", got)
				}
			})
		})
	}
}

// One that is gone already is no failure, and does not keep the other.
func TestOneOfAPairThatIsGoneKeepsNothing(t *testing.T) {
	pairScene(corev1.PersistentVolumeReclaimDelete).perform(t, func(s *stage) {
		s.kube.PrependReactor("delete", "persistentvolumeclaims", func(a clienttesting.Action) (bool, runtime.Object, error) {
			return a.(clienttesting.DeleteAction).GetName() == "data-db-0", nil, apierrors.NewNotFound(schema.GroupResource{}, "data-db-0")
		})
		s.pass(5 * time.Minute)
		if got := s.released(); !slices.Contains(got, "wal-db-0") {
			t.Errorf("tried %v, want wal-db-0 too", got)
		}
	})
}

// A claim that the pod template names is never released, and pins the slot. A
// volume that a claim template replaces is none.
func TestAClaimOfThePodTemplateKeepsTheSlots(t *testing.T) {
	for volume, want := range map[string]int{"shared": 0, "data": 1} {
		sc := lostScene(time.Minute)
		find[*appsv1.StatefulSet](sc).Spec.Template.Spec.Volumes = []corev1.Volume{{Name: volume, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "shared"}}}}
		claim, pv := localClaim("shared", "n9")
		sc.objects = append(sc.objects, claim, pv)
		sc.perform(t, func(s *stage) {
			s.pass(5 * time.Minute)
			if got := s.released(); len(got) != want {
				t.Errorf("volume %s: released %v, want %d", volume, got, want)
			}
		})
	}
}

// The later loss of its sibling puts a release off, and people are told.
func TestATimeThatMovesIsToldAnew(t *testing.T) {
	sc := lostScene(time.Minute)
	set := find[*appsv1.StatefulSet](sc)
	wal := set.Spec.VolumeClaimTemplates[0].DeepCopy()
	wal.Name = "wal"
	set.Spec.VolumeClaimTemplates = append(set.Spec.VolumeClaimTemplates, *wal)
	claim, pv := localClaim("wal-db-0", "n4")
	n4 := plainNode("n4")
	n4.Labels[corev1.LabelHostname] = "n4.local"
	sc.objects = append(sc.objects, claim, pv, n4, plainNode("n5"), plainNode("n6"))
	sc.perform(t, func(s *stage) {
		s.pass(30 * time.Second)
		if got := s.said(`claim "data-db-0", of ordinal 0 of prod/db`); len(got) != 2 {
			t.Errorf("said %q, want the loss of data on the claim and its set", got)
		}
		if err := s.kube.CoreV1().Nodes().Delete(t.Context(), "n4", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		s.pass(45 * time.Second)
		if got := s.released(); len(got) > 0 {
			t.Errorf("released %v before the time of the later loss", got)
		}
		if got := s.said(`claim "data-db-0", of ordinal 0 of prod/db`); len(got) != 2 {
			t.Errorf("said %q, want the new time on the claim and its set", got)
		}
		s.pass(time.Minute)
		if got := s.released(); len(got) != 2 {
			t.Errorf("released %v, want both", got)
		}
	})
}

func TestThePatienceOfALaterSlotCounts(t *testing.T) {
	sc := lostScene(10 * time.Second)
	sc.policies = append(sc.policies, selectsPG())
	sc.objects = append(sc.objects, member("pg-1", "data-db-0"))
	sc.perform(t, func(s *stage) {
		s.pass(55 * time.Second)
		if got := s.released(); len(got) > 0 {
			t.Errorf("%v released, want it kept for a minute", got)
		}
	})
}
