// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package policies

import (
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/berth-dev/berth/plugins/statefulset"
)

// chapter is the policies of one namespace, oldest first.
type chapter struct {
	all []*entry
	// targets are the valid ones by the StatefulSet they name, the oldest only.
	targets map[string]*entry
	// selectors are the valid ones with a selector, sources those of them with
	// an ordinal.
	selectors, sources []*entry
}

func newChapter(entries map[string]*entry) *chapter {
	c := &chapter{all: slices.SortedFunc(maps.Values(entries), byAge), targets: map[string]*entry{}}
	for _, e := range c.all {
		switch {
		case e.policy == nil:
		case e.selector != nil:
			c.selectors = append(c.selectors, e)
			if e.ordinal != nil {
				c.sources = append(c.sources, e)
			}
		case c.targets[e.target] == nil:
			c.targets[e.target] = e
		}
	}
	return c
}

// chapter is that of a namespace, never nil.
func (b *Book) chapter(namespace string) *chapter {
	if found, ok := b.chapters.Load(namespace); ok {
		if c, ok := found.(*chapter); ok {
			return c
		}
	}
	return &b.none
}

// OfSet returns the policy that places a StatefulSet, nil if there is none.
func (b *Book) OfSet(set *appsv1.StatefulSet) *statefulset.Policy {
	if e := b.chapter(set.Namespace).of(set); e != nil {
		return e.policy
	}
	return nil
}

// of returns the oldest of the valid policies for a set.
func (c *chapter) of(set *appsv1.StatefulSet) *entry {
	oldest := c.targets[set.Name]
	for _, e := range c.selectors {
		if oldest != nil && byAge(oldest, e) < 0 {
			break
		}
		if e.governs(set) {
			return e
		}
	}
	return oldest
}

// OfSelected returns the policy that places a Selected set, which is the one
// that makes it a set; nil if there is none.
func (b *Book) OfSelected(key statefulset.SetKey) *statefulset.Policy {
	if !key.Selected || b.sources.Load() == 0 {
		return nil
	}
	for _, e := range b.chapter(key.Namespace).sources {
		if e.object.Name == key.Name {
			return e.policy
		}
	}
	return nil
}

// SlotOf returns the slot of a pod that no StatefulSet owns. Of several
// policies that find an ordinal for it the oldest counts.
func (b *Book) SlotOf(pod *corev1.Pod) (statefulset.Slot, bool) {
	if b.sources.Load() == 0 || ownedByStatefulSet(pod) {
		return statefulset.Slot{}, false
	}
	return b.slotOf(&pod.ObjectMeta)
}

// SlotOfClaim returns the slot of a claim that no StatefulSet made; the caller
// has ruled that out by statefulset.SlotsOfClaim.
func (b *Book) SlotOfClaim(claim *corev1.PersistentVolumeClaim) (statefulset.Slot, bool) {
	if b.sources.Load() == 0 {
		return statefulset.Slot{}, false
	}
	return b.slotOf(&claim.ObjectMeta)
}

func (b *Book) slotOf(meta *metav1.ObjectMeta) (statefulset.Slot, bool) {
	for _, e := range b.chapter(meta.Namespace).sources {
		if slot, ok := e.slot(meta); ok {
			return slot, true
		}
	}
	return statefulset.Slot{}, false
}

func ownedByStatefulSet(pod *corev1.Pod) bool {
	owner := metav1.GetControllerOfNoCopy(pod)
	return owner != nil && owner.Kind == "StatefulSet" && strings.HasPrefix(owner.APIVersion, appsv1.GroupName+"/")
}

// MakesSlots tells whether a policy of the namespace, or any if it is empty,
// makes slots of pods that no StatefulSet owns.
func (b *Book) MakesSlots(namespace string) bool {
	if namespace == "" {
		return b.sources.Load() > 0
	}
	return len(b.chapter(namespace).sources) > 0
}
