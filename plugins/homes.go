// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"sync"

	"github.com/berth-dev/berth/plugins/statefulset"
	"github.com/berth-dev/berth/plugins/volumeaffinity"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Home returns the node that a pod is to come back to: of a slot the one that
// its last pod was on, and of any pod the one that still has its volume.
func (s *slots) Home(pod *v1.Pod) volumeaffinity.Home {
	home := s.attached(pod)
	returns := statefulset.ReturnPreferred
	if slot, fills := s.Current(pod); fills {
		home.Slot, home.Last = slot.String(), s.planner.LastNode(slot)
		if policy, err := s.source.Policy(slot.Set, pod.Spec.SchedulerName); err == nil && policy != nil {
			returns, home.LostAfter = policy.Home.Return, policy.Home.ReleaseLostAfter
		}
	}
	switch still := home.Attached != "" && !home.Detaching; {
	case returns == statefulset.ReturnRequired && home.Last != "":
		home.Node, home.Required = home.Last, true
	case still:
		home.Node, home.Certain = home.Attached, returns != statefulset.ReturnNowhere
	case returns != statefulset.ReturnNowhere:
		home.Node, home.Certain = home.Last, home.Last != ""
	}
	if slot, _ := s.Current(pod); !home.Required && s.storage.vain.is(pod.UID, slot, home.Node) {
		home.Node, home.Certain = "", false
	}
	return home
}

// attached returns where a volume of the pod is attached.
func (s *slots) attached(pod *v1.Pod) (home volumeaffinity.Home) {
	for name := range volumeaffinity.ClaimsOf(pod) {
		claim := s.source.Claim(pod.Namespace, name)
		if claim == nil || claim.Spec.VolumeName == "" {
			continue
		}
		volume := s.source.Volume(claim.Spec.VolumeName)
		if volume == nil {
			continue
		}
		if node, stays := s.storage.attachments.of(volume); node != "" && (home.Attached == "" || (stays && home.Detaching)) {
			home.Attached, home.Volume, home.Detaching = node, volume.Name, !stays
		}
	}
	return home
}

// Returns tells whether two pods fill one slot.
func (s *slots) Returns(pod, other *v1.Pod) bool {
	slot, fills := s.Current(pod)
	its, fillsToo := s.SlotOf(other)
	return fills && fillsToo && slot == its
}

// HomeFailed: see volumeaffinity.Homes. A simulation binds nothing, and what it
// takes back did not fail.
func (s *slots) HomeFailed(pod *v1.Pod, node string) {
	if now := s.source.Pod(pod.Namespace, pod.Name); !s.simulated && now != nil && now.UID == pod.UID {
		s.storage.vain.failed(pod.UID, node)
	}
}

// rejected notes that a kubelet turned the pod of a slot away, and that another
// pod of it runs.
func (s *slots) rejected(slot statefulset.Slot, pod *v1.Pod) {
	switch {
	case pod.Status.Phase == v1.PodFailed && len(pod.Status.ContainerStatuses)+len(pod.Status.InitContainerStatuses) == 0:
		s.storage.vain.turned(slot, pod.Spec.NodeName)
	case pod.Status.Phase == v1.PodRunning:
		s.storage.vain.turned(slot, "")
	}
}

// vain remembers the nodes that are home and did not work out: of pods that
// could not be bound there, until they are placed once more, and of slots whose
// pod the kubelet turned away, until one runs.
type vain struct {
	mu    sync.Mutex
	pods  map[types.UID]string
	slots map[statefulset.Slot]string
}

func newVain() *vain {
	return &vain{pods: map[types.UID]string{}, slots: map[statefulset.Slot]string{}}
}

func (v *vain) is(uid types.UID, slot statefulset.Slot, node string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return node != "" && (v.pods[uid] == node || v.slots[slot] == node)
}

func (v *vain) failed(uid types.UID, node string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.pods[uid] = node
}

// forget lets a pod try its home again.
func (v *vain) forget(uid types.UID) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.pods, uid)
}

// turned notes the node that turned a slot away; none takes it back.
func (v *vain) turned(slot statefulset.Slot, node string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if node == "" {
		delete(v.slots, slot)
		return
	}
	v.slots[slot] = node
}
