// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// SetKey names a set: a StatefulSet, or the operator's equivalent.
type SetKey struct {
	Namespace string
	Name      string
	// Selected means that no StatefulSet is behind it: the set is what the
	// PlacementPolicy of that name selects, pods that an operator makes itself.
	Selected bool
}

// String is namespace/name, as people write it.
func (k SetKey) String() string { return k.Namespace + "/" + k.Name }

// Slot is one ordinal of a set: the place a pod fills, with or without a pod
// in it.
type Slot struct {
	Set     SetKey
	Ordinal int
}

// String reads well inside a reason: "ordinal 4 of prod/db".
func (s Slot) String() string { return fmt.Sprintf("ordinal %d of %s", s.Ordinal, s.Set) }

func (s Slot) compare(o Slot) int {
	selected := func(k SetKey) int {
		if k.Selected {
			return 1
		}
		return 0
	}
	return cmp.Or(strings.Compare(s.Set.Namespace, o.Set.Namespace), strings.Compare(s.Set.Name, o.Set.Name),
		selected(s.Set)-selected(o.Set), s.Ordinal-o.Ordinal)
}

// PodName is the name the StatefulSet controller gives the slot's pod. Pods of
// a Selected set have names of their own.
func (s Slot) PodName() string { return s.Set.Name + "-" + strconv.Itoa(s.Ordinal) }

// SlotOf returns the slot that a pod fills. A pod fills a slot when its
// controller is a StatefulSet and its name is exactly the set's name, a dash
// and the ordinal; where the pod-index label is there it must say the same. A
// pod that only looks like one, by its name or its label, fills none.
func SlotOf(pod *corev1.Pod) (Slot, bool) {
	owner := metav1.GetControllerOfNoCopy(pod)
	if owner == nil || owner.Kind != "StatefulSet" || !strings.HasPrefix(owner.APIVersion, appsv1.GroupName+"/") {
		return Slot{}, false
	}
	digits, found := strings.CutPrefix(pod.Name, owner.Name+"-")
	if !found {
		return Slot{}, false
	}
	ordinal, ok := parseOrdinal(digits)
	if !ok {
		return Slot{}, false
	}
	if index, labelled := pod.Labels[appsv1.PodIndexLabel]; labelled && index != digits {
		return Slot{}, false
	}
	return Slot{Set: SetKey{Namespace: pod.Namespace, Name: owner.Name}, Ordinal: ordinal}, true
}

// parseOrdinal reads an ordinal as the StatefulSet controller writes it:
// decimal, without sign and without leading zeros.
func parseOrdinal(s string) (int, bool) {
	if s == "" || s[0] < '0' || s[0] > '9' || (s[0] == '0' && len(s) > 1) {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n > math.MaxInt32 {
		return 0, false
	}
	return int(n), true
}
