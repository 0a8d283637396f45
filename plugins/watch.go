// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"slices"

	"github.com/berth-dev/berth/plugins/policies"
	"github.com/berth-dev/berth/plugins/quorumguard"
	"github.com/berth-dev/berth/plugins/statefulset"
	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// watch tells the planner of changes, and wakes who gets another answer by
// them. Each handler drops what can not change one: most updates are
// heartbeats and statuses.
func (s *slots) watch(factory informers.SharedInformerFactory) error {
	// Read, not watched: they do not change what was decided by them.
	factory.Storage().V1().StorageClasses().Informer()
	factory.Storage().V1().CSIDrivers().Informer()
	core, storage, budgets := factory.Core().V1(), factory.Storage().V1(), factory.Policy().V1().PodDisruptionBudgets()
	for informer, handler := range map[cache.SharedIndexInformer]cache.ResourceEventHandler{
		core.Nodes().Informer():                       on(s.nodeChanged),
		core.Pods().Informer():                        on(s.podChanged),
		core.PersistentVolumeClaims().Informer():      on(s.claimChanged),
		core.PersistentVolumes().Informer():           on(s.volumeChanged),
		factory.Apps().V1().StatefulSets().Informer(): on(s.setChanged),
		storage.VolumeAttachments().Informer():        on(s.storage.attachments.changed),
		storage.CSIStorageCapacities().Informer():     on(s.capacityChanged),
		budgets.Informer():                            on(s.budgetChanged),
	} {
		registration, err := informer.AddEventHandler(handler)
		if err != nil {
			return err
		}
		s.source.heard = append(s.source.heard, registration.HasSynced)
	}
	s.source.book.Subscribe(s.policyChanged)
	return nil
}

// all is every set.
func all(statefulset.SetKey) bool { return true }

func (s *slots) nodeChanged(before, after *v1.Node) {
	name := either(before, after).Name
	s.activate(s.planner.NodeChanged(name))
	// The store may be ahead of the event: what the index learns is what counts.
	is := s.source.Node(name)
	if was, changed := s.storage.reach.SetNode(name, is); changed && is != nil {
		s.activate(s.storage.waiters.reaching(was, is.Labels))
	}
	s.lookBeside(before, after)
}

func (s *slots) podChanged(before, after *v1.Pod) {
	if before != nil && after != nil && before.UID != after.UID { // gone and made again between two looks
		s.podChanged(before, nil)
		before = nil
	}
	was, wasIn := s.fills(before)
	is, isIn := s.fills(after)
	if after == nil || after.Spec.NodeName != "" {
		s.herald.open(either(before, after))
	}
	another := wasIn && (!isIn || was != is) // gone, orphaned, or its labels say so
	s.lands(before, after)
	if another {
		s.note(was, before.Name, false)
		s.activate(s.planner.PodGone(was, before.UID))
	}
	if after == nil || after.Spec.NodeName != "" {
		s.settled(either(before, after).UID)
	}
	if isIn && after.Spec.NodeName != "" {
		s.rejected(is, after)
	}
	if isIn && (!wasIn || another) {
		s.note(is, after.Name, true)
	}
	if another {
		s.lookAfter(was, before)
	}
	if isIn && (!wasIn || another || noteMoved(before, after)) {
		s.look(is)
	}
	switch arrived := isIn && (!wasIn || another); {
	case another && after != nil && after.Spec.NodeName == "":
		// What it was refused for is not so any more, and no event of the
		// queue's says that.
		s.activate([]*v1.Pod{after})
		if arrived && is.Set.Selected {
			s.activate(s.planner.SlotChanged(is))
		}
	case !isIn:
	case after.Spec.NodeName != "" && (arrived || before.Spec.NodeName == ""):
		s.activate(s.planner.PodBound(is, after.UID, after.Spec.NodeName))
	case after.Spec.NodeName != "" && statefulset.PodReady(before) != statefulset.PodReady(after), arrived && is.Set.Selected:
		s.activate(s.planner.SlotChanged(is))
	}
	if another {
		s.activate(s.sparing.of(was.Set)) // it is nobody's slot any more
	}
	if isIn && ready(after) && (another || !ready(before)) {
		s.activate(s.sparing.of(is.Set))
	}
}

// settled forgets a pod that has its node or is gone.
func (s *slots) settled(uid types.UID) {
	s.storage.waiters.remove(uid)
	s.storage.vain.forget(uid)
	s.holds.refused.forget(uid)
	s.sparing.remove(uid)
}

// noteMoved tells whether a claim is to remember something else of its pod now.
func noteMoved(before, after *v1.Pod) bool {
	return before.Spec.NodeName != after.Spec.NodeName || before.Status.Phase != after.Status.Phase ||
		(before.DeletionTimestamp == nil) != (after.DeletionTimestamp == nil) ||
		before.Generation != after.Generation || // resized
		!equality.Semantic.DeepEqual(before.Status.Resources, after.Status.Resources) ||
		!slices.EqualFunc(before.Status.ContainerStatuses, after.Status.ContainerStatuses, func(a, b v1.ContainerStatus) bool {
			return equality.Semantic.DeepEqual(a.AllocatedResources, b.AllocatedResources) && equality.Semantic.DeepEqual(a.Resources, b.Resources)
		})
}

func (s *slots) fills(pod *v1.Pod) (statefulset.Slot, bool) {
	if pod == nil {
		return statefulset.Slot{}, false
	}
	return s.SlotOf(pod)
}

// note remembers who is in a set that a policy selects.
func (s *slots) note(slot statefulset.Slot, pod string, exists bool) {
	if slot.Set.Selected {
		s.source.pod(slot, pod, exists)
	}
}

func (s *slots) claimChanged(before, after *v1.PersistentVolumeClaim) {
	was, wasIn := s.source.slotOfClaim(before)
	is, isIn := s.source.slotOfClaim(after)
	if wasIn {
		s.source.claim(was, before.Name, false)
	}
	if isIn {
		s.source.claim(is, after.Name, true)
	}
	s.drafted(before, after)
	if before != nil && (after == nil || (before.DeletionTimestamp == nil && after.DeletionTimestamp != nil)) {
		// Who waits beside the claim is told that it goes. That is also how the
		// set learns that it has to make another.
		s.activate(s.storage.waiters.using(before))
	}
	if after != nil {
		s.noteOn(after, before)
	}
	if !claimMoved(before, after) {
		return
	}
	if wasIn && (!isIn || was != is) {
		s.activate(s.planner.SlotChanged(was))
		s.activate(s.sparing.of(was.Set))
	}
	s.claimed(either(before, after))
}

// noteOn has the note on a claim looked at when the claim is seen first, gets
// its volume, or says something else.
func (s *slots) noteOn(claim, before *v1.PersistentVolumeClaim) {
	if before != nil && before.Spec.VolumeName == claim.Spec.VolumeName && before.Annotations[statefulset.LastNode] == claim.Annotations[statefulset.LastNode] {
		return
	}
	for _, of := range statefulset.SlotsOfClaim(claim.Namespace, claim.Name, s.source.templatesOf) {
		s.look(of.Slot)
	}
	if slot, ok := s.source.slotOfClaim(claim); ok {
		s.look(slot)
	}
}

// claimed tells the planner that a claim, or its volume, is another one now.
func (s *slots) claimed(claim *v1.PersistentVolumeClaim) {
	for _, of := range statefulset.SlotsOfClaim(claim.Namespace, claim.Name, s.source.templatesOf) {
		s.activate(s.planner.SlotChanged(of.Slot))
		s.look(of.Slot)
	}
	if slot, ok := s.source.slotOfClaim(claim); ok {
		s.activate(s.planner.SlotChanged(slot))
		s.look(slot)
	}
}

// slotOfClaim returns the slot of a claim in a set that a policy selects. The
// claims of a StatefulSet carry the labels of its pods, and are its own.
func (s *source) slotOfClaim(claim *v1.PersistentVolumeClaim) (statefulset.Slot, bool) {
	if claim == nil {
		return statefulset.Slot{}, false
	}
	slot, ok := s.book.SlotOfClaim(claim)
	if !ok || len(statefulset.SlotsOfClaim(claim.Namespace, claim.Name, s.templatesOf)) > 0 {
		return statefulset.Slot{}, false
	}
	return slot, true
}

func (s *slots) volumeChanged(before, after *v1.PersistentVolume) {
	if s.storage.unclaimed.changed(before, after) { // who was judged by room may need none
		s.activate(s.storage.waiters.wanting(after.Spec.StorageClassName))
	}
	if after == nil {
		s.storage.reach.ForgetVolume(before.Name)
	}
	ref := either(before, after).Spec.ClaimRef
	if ref == nil || !volumeMoved(before, after) {
		return
	}
	claim := s.source.Claim(ref.Namespace, ref.Name)
	if claim == nil { // its name is enough for a StatefulSet
		claim = &v1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: ref.Namespace, Name: ref.Name}}
	}
	s.claimed(claim)
}

func (s *slots) setChanged(before, after *appsv1.StatefulSet) {
	set := either(before, after)
	key := keyOf(set)
	if !setMoved(before, after) {
		if !equality.Semantic.DeepEqual(before.Spec.Template.Spec, after.Spec.Template.Spec) { // the next pods may need more or less
			s.lookAbsent(func(its statefulset.SetKey) bool { return its == key })
		}
		return
	}
	if (before == nil || after == nil) && s.source.book.MakesSlots(set.Namespace) { // its claims are its own, and of a selected set without it
		s.enroll(set.Namespace)
		s.activate(s.planner.PolicyChanged(func(key statefulset.SetKey) bool { return key.Selected && key.Namespace == set.Namespace }))
	}
	s.activate(s.planner.SetChanged(key))
	s.activate(s.sparing.of(key))
	s.herald.changed()
	s.lookAbsent(func(its statefulset.SetKey) bool { return its == key })
	for _, ordinal := range statefulset.Given(before, after) {
		slot := statefulset.Slot{Set: key, Ordinal: ordinal}
		s.storage.vain.turned(slot, "")
		s.look(slot)
	}
}

// policyChanged follows a policy that came, went or became another one.
func (s *slots) policyChanged(change policies.Change) {
	if change.Set == "" {
		s.enroll(change.Namespace)
	}
	s.activate(s.planner.PolicyChanged(change.Concerns))
	s.lookAbsent(change.Concerns)
	s.activate(s.sparing.which(func(subject quorumguard.Subject) bool { return change.Concerns(subject.Set) }))
	s.herald.changed()
}

// enroll notes anew who is in the sets that policies select, and tells the
// planner who of them runs: they were bound before anybody called them slots.
func (s *slots) enroll(namespace string) {
	for slot, pod := range s.source.enroll(namespace) {
		s.activate(s.planner.PodBound(slot, pod.UID, pod.Spec.NodeName))
	}
	s.look(slices.DeleteFunc(s.source.slots(), func(slot statefulset.Slot) bool { return namespace != "" && slot.Set.Namespace != namespace })...)
}

func (l listers) templatesOf(key statefulset.SetKey) []string {
	if set := l.Set(key); set != nil {
		return statefulset.Templates(set)
	}
	return nil
}

// enroll notes anew who is in the sets that policies select in a namespace, or
// in all, and returns the slots that run. Nobody sees the sets half noted, and
// who comes or goes meanwhile is noted afterwards.
func (s *source) enroll(namespace string) (running map[statefulset.Slot]*v1.Pod) {
	running = map[statefulset.Slot]*v1.Pod{}
	s.replace(namespace, func(note func(slot statefulset.Slot, pod, claim string)) {
		if !s.book.MakesSlots(namespace) {
			return
		}
		pods, _ := s.pods.List(labels.Everything()) // the scheduler's store of pods has no index by namespace
		for _, pod := range pods {
			if namespace != "" && pod.Namespace != namespace {
				continue
			}
			if slot, ok := s.book.SlotOf(pod); ok {
				if note(slot, pod.Name, ""); pod.Spec.NodeName != "" {
					running[slot] = pod
				}
			}
		}
		claims, _ := s.claims.List(labels.Everything())
		for _, claim := range claims {
			if namespace != "" && claim.Namespace != namespace {
				continue
			}
			if slot, ok := s.slotOfClaim(claim); ok {
				note(slot, "", claim.Name)
			}
		}
	})
	return running
}

func claimMoved(before, after *v1.PersistentVolumeClaim) bool {
	return before == nil || after == nil || before.UID != after.UID ||
		before.Spec.VolumeName != after.Spec.VolumeName ||
		!equality.Semantic.DeepEqual(before.Labels, after.Labels) ||
		before.Annotations[statefulset.SelectedNode] != after.Annotations[statefulset.SelectedNode] ||
		(before.DeletionTimestamp == nil) != (after.DeletionTimestamp == nil)
}

func volumeMoved(before, after *v1.PersistentVolume) bool {
	return before == nil || after == nil ||
		!equality.Semantic.DeepEqual(before.Spec.NodeAffinity, after.Spec.NodeAffinity) ||
		!equality.Semantic.DeepEqual(before.Spec.ClaimRef, after.Spec.ClaimRef)
}

func setMoved(before, after *appsv1.StatefulSet) bool {
	return before == nil || after == nil || (before.DeletionTimestamp == nil) != (after.DeletionTimestamp == nil) ||
		!equality.Semantic.DeepEqual(before.Spec.Replicas, after.Spec.Replicas) ||
		!equality.Semantic.DeepEqual(before.Spec.Ordinals, after.Spec.Ordinals) ||
		!equality.Semantic.DeepEqual(before.Spec.Template.Labels, after.Spec.Template.Labels) ||
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
