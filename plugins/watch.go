// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"errors"

	"github.com/berth-dev/berth/plugins/statefulset"
	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// watch tells the planner of changes, and wakes who gets another place by
// them. Each handler drops what can not change a plan: most updates are
// heartbeats and statuses.
func (s *slots) watch(factory informers.SharedInformerFactory) error {
	sets := factory.Apps().V1().StatefulSets()
	templatesOf := func(key statefulset.SetKey) []string {
		if set := orNil(sets.Lister().StatefulSets(key.Namespace).Get(key.Name)); set != nil {
			return statefulset.Templates(set)
		}
		return nil
	}
	claimed := func(namespace, name string) {
		for _, of := range statefulset.SlotsOfClaim(namespace, name, templatesOf) {
			s.activate(s.planner.SlotChanged(of.Slot))
		}
	}
	_, nodes := factory.Core().V1().Nodes().Informer().AddEventHandler(on(s.nodeChanged))
	_, pods := factory.Core().V1().Pods().Informer().AddEventHandler(on(s.podChanged))
	_, claims := factory.Core().V1().PersistentVolumeClaims().Informer().AddEventHandler(on(func(before, after *v1.PersistentVolumeClaim) {
		if claim := either(before, after); claimMoved(before, after) {
			claimed(claim.Namespace, claim.Name)
		}
	}))
	_, volumes := factory.Core().V1().PersistentVolumes().Informer().AddEventHandler(on(func(before, after *v1.PersistentVolume) {
		if ref := either(before, after).Spec.ClaimRef; ref != nil && volumeMoved(before, after) {
			claimed(ref.Namespace, ref.Name)
		}
	}))
	_, ordinals := sets.Informer().AddEventHandler(on(func(before, after *appsv1.StatefulSet) {
		if set := either(before, after); setMoved(before, after) {
			s.activate(s.planner.SetChanged(statefulset.SetKey{Namespace: set.Namespace, Name: set.Name}))
		}
	}))
	return errors.Join(nodes, pods, claims, volumes, ordinals)
}

func (s *slots) nodeChanged(before, after *v1.Node) {
	s.activate(s.planner.NodeChanged(either(before, after).Name, after))
}

func (s *slots) podChanged(before, after *v1.Pod) {
	if before != nil && (after == nil || before.UID != after.UID) { // gone, or gone and made again between two looks
		s.podSettled(before)
		before = nil
	}
	if after != nil && after.Spec.NodeName != "" && (before == nil || before.Spec.NodeName == "") {
		s.podSettled(after)
	}
}

func (s *slots) podSettled(pod *v1.Pod) {
	if slot, ok := statefulset.SlotOf(pod); ok {
		s.activate(s.planner.PodSettled(slot, pod.UID))
	}
}

func claimMoved(before, after *v1.PersistentVolumeClaim) bool {
	return before == nil || after == nil || before.UID != after.UID ||
		before.Spec.VolumeName != after.Spec.VolumeName ||
		before.Annotations[statefulset.SelectedNode] != after.Annotations[statefulset.SelectedNode] ||
		(before.DeletionTimestamp == nil) != (after.DeletionTimestamp == nil)
}

func volumeMoved(before, after *v1.PersistentVolume) bool {
	return before == nil || after == nil ||
		!equality.Semantic.DeepEqual(before.Spec.NodeAffinity, after.Spec.NodeAffinity) ||
		!equality.Semantic.DeepEqual(before.Spec.ClaimRef, after.Spec.ClaimRef)
}

func setMoved(before, after *appsv1.StatefulSet) bool {
	return before == nil || after == nil ||
		!equality.Semantic.DeepEqual(before.Spec.Replicas, after.Spec.Replicas) ||
		!equality.Semantic.DeepEqual(before.Spec.Ordinals, after.Spec.Ordinals) ||
		!equality.Semantic.DeepEqual(statefulset.Templates(before), statefulset.Templates(after))
}

// on makes one handler of the three: nothing before an addition, nothing after
// a deletion, which may come as a tombstone.
func on[T any](changed func(before, after *T)) cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) {
			if after, ok := obj.(*T); ok {
				changed(nil, after)
			}
		},
		UpdateFunc: func(oldObj, newObj any) {
			before, was := oldObj.(*T)
			after, is := newObj.(*T)
			if was && is {
				changed(before, after)
			}
		},
		DeleteFunc: func(obj any) {
			if tombstone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = tombstone.Obj
			}
			if before, ok := obj.(*T); ok {
				changed(before, nil)
			}
		},
	}
}

// either returns the object, whichever side of a change it is on.
func either[T any](before, after *T) *T {
	if after != nil {
		return after
	}
	return before
}
