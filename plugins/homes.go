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
			returns = policy.Home.Return
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
	if home.Certain && s.storage.vain.at(pod.UID) == home.Node {
		home.Certain = false
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

// HomeFailed tells that a pod could not be bound to its home, though it fits
// there: from now on that node is only better than others.
func (s *slots) HomeFailed(pod *v1.Pod, node string) { s.storage.vain.set(pod.UID, node) }

// vain remembers for pods that wait the node that they could not be bound to.
type vain struct {
	mu    sync.Mutex
	nodes map[types.UID]string
}

func newVain() *vain { return &vain{nodes: map[types.UID]string{}} }

func (v *vain) at(uid types.UID) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.nodes[uid]
}

func (v *vain) set(uid types.UID, node string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.nodes[uid] = node
}

func (v *vain) forget(uid types.UID) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.nodes, uid)
}
