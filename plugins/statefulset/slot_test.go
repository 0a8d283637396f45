// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import (
	"math"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestSlotOf(t *testing.T) {
	yes, no := true, false
	tests := map[string]struct {
		name       string
		labels     map[string]string
		owner      metav1.OwnerReference
		controller *bool
		want       Slot
		wantOK     bool
	}{
		"by name": {
			name: "db-4", owner: metav1.OwnerReference{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "db"}, controller: &yes,
			want: Slot{Set: SetKey{Namespace: "prod", Name: "db"}, Ordinal: 4}, wantOK: true,
		},
		"label agrees": {
			name: "db-4", labels: map[string]string{"apps.kubernetes.io/pod-index": "4"},
			owner: metav1.OwnerReference{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "db"}, controller: &yes,
			want: Slot{Set: SetKey{Namespace: "prod", Name: "db"}, Ordinal: 4}, wantOK: true,
		},
		"label disagrees": {
			name: "db-4", labels: map[string]string{"apps.kubernetes.io/pod-index": "5"},
			owner: metav1.OwnerReference{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "db"}, controller: &yes,
		},
		"set whose name is another's prefix and a number": {
			name: "db-2-0", owner: metav1.OwnerReference{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "db-2"}, controller: &yes,
			want: Slot{Set: SetKey{Namespace: "prod", Name: "db-2"}, Ordinal: 0}, wantOK: true,
		},
		"pod of db-2 can not be a slot of db": {
			name: "db-2-0", owner: metav1.OwnerReference{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "db"}, controller: &yes,
		},
		"owned by a ReplicaSet": {
			name: "db-4", owner: metav1.OwnerReference{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "db"}, controller: &yes,
		},
		"a StatefulSet of another group": {
			name: "db-4", owner: metav1.OwnerReference{APIVersion: "apps.kruise.io/v1beta1", Kind: "StatefulSet", Name: "db"}, controller: &yes,
		},
		"owned but not controlled": {
			name: "db-4", owner: metav1.OwnerReference{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "db"}, controller: &no,
		},
		"leading zero": {
			name: "db-04", owner: metav1.OwnerReference{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "db"}, controller: &yes,
		},
		"too large": {
			name: "db-4294967296", owner: metav1.OwnerReference{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "db"}, controller: &yes,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.owner.Controller = tt.controller
			got, ok := SlotOf(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{
				Namespace: "prod", Name: tt.name, Labels: tt.labels, OwnerReferences: []metav1.OwnerReference{tt.owner},
			}})
			if ok != tt.wantOK {
				t.Fatalf("got %v, %t; want ok %t", got, ok, tt.wantOK)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("slot (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSlotsOfClaim(t *testing.T) {
	sets := map[string][]string{
		"db": {"data"}, "db-2": {"data", "wal-log"}, "2": {"data-db"}, "web": nil,
	}
	templatesOf := func(key SetKey) []string {
		if key.Namespace != "prod" {
			return nil
		}
		return sets[key.Name]
	}
	slot := func(set string, ordinal int) Slot {
		return Slot{Set: SetKey{Namespace: "prod", Name: set}, Ordinal: ordinal}
	}
	tests := map[string][]ClaimSlot{
		"data-db-3":      {{Template: "data", Slot: slot("db", 3)}},
		"data-db-2-0":    {{Template: "data", Slot: slot("db-2", 0)}, {Template: "data-db", Slot: slot("2", 0)}},
		"wal-log-db-2-7": {{Template: "wal-log", Slot: slot("db-2", 7)}},
		"wal-db-3":       nil, // no such template
		"data-web-0":     nil, // set without claims
		"data-db":        nil,
		"data-db-03":     nil,
		"":               nil,
		"-":              nil,
	}
	for name, want := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(want, SlotsOfClaim("prod", name, templatesOf)); diff != "" {
				t.Errorf("slots (-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzSlotOf(f *testing.F) {
	f.Add("db", "db-3", "3")
	f.Add("db-2", "db-2-0", "")
	f.Add("", "-0", "0")
	f.Fuzz(func(t *testing.T, set, name, index string) {
		controller := true
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, OwnerReferences: []metav1.OwnerReference{
			{APIVersion: "apps/v1", Kind: "StatefulSet", Name: set, Controller: &controller},
		}}}
		if index != "" {
			pod.Labels = map[string]string{"apps.kubernetes.io/pod-index": index}
		}
		slot, ok := SlotOf(pod)
		if !ok {
			return
		}
		if slot.PodName() != name || slot.Ordinal < 0 || slot.Ordinal > math.MaxInt32 {
			t.Errorf("pod %q of set %q is %v, whose pod is %q", name, set, slot, slot.PodName())
		}
		if index != "" && index != strconv.Itoa(slot.Ordinal) {
			t.Errorf("pod %q with index %q became ordinal %d", name, index, slot.Ordinal)
		}
	})
}

func FuzzSlotsOfClaim(f *testing.F) {
	f.Add("data", "db-2", 0)
	f.Add("data-db", "2", 0)
	f.Add("", "", 7)
	f.Fuzz(func(t *testing.T, template, set string, ordinal int) {
		slot := Slot{Set: SetKey{Namespace: "ns", Name: set}, Ordinal: ordinal & math.MaxInt32}
		name := ClaimName(template, slot)
		found := SlotsOfClaim("ns", name, func(key SetKey) []string {
			if key.Name == set {
				return []string{template}
			}
			return nil
		})
		if diff := cmp.Diff([]ClaimSlot{{Template: template, Slot: slot}}, found); diff != "" {
			t.Errorf("claim %q (-want +got):\n%s", name, diff)
		}
		SlotsOfClaim("ns", template+set, func(SetKey) []string { return []string{template} }) // any name at all
	})
}
