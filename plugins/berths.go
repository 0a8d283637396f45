// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"cmp"
	"slices"
	"time"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
	"github.com/berth-dev/berth/plugins/statefulset"
	"github.com/berth-dev/berth/plugins/volumeaffinity"
	v1 "k8s.io/api/core/v1"
	podresources "k8s.io/component-helpers/resource"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"
)

// berths reads what the ledger of holds has to know of a slot.
type berths struct {
	source  *source
	planner *statefulset.Planner
	slotOf  func(*v1.Pod) (statefulset.Slot, bool)
	now     func() time.Time
}

// see looks at a slot. The lists that it reads are at least as new as what made
// somebody look.
func (b berths) see(slot statefulset.Slot, was statefulset.Berth) statefulset.Sight {
	return b.seeAfter(nil)(slot, was)
}

// seeAfter looks at the slot of a pod that is gone from its node: whoever is
// late finds it in the lists no more, and must not forget that it was there.
func (b berths) seeAfter(last *v1.Pod) func(statefulset.Slot, statefulset.Berth) statefulset.Sight {
	return func(slot statefulset.Slot, was statefulset.Berth) statefulset.Sight {
		return b.sight(slot, was, last)
	}
}

func (b berths) sight(slot statefulset.Slot, was statefulset.Berth, last *v1.Pod) statefulset.Sight {
	stays, leaves, waits := b.podsOf(slot)
	sight := statefulset.Sight{Now: b.now()}
	node := was.Node
	switch {
	case stays != nil:
		sight.Pod = aboard(stays)
		return sight
	case leaves != nil:
		sight.Pod = aboard(leaves)
		node = leaves.Spec.NodeName
	case node == "" && last != nil && last.Spec.NodeName != "":
		its := aboard(last)
		node = its.Node
		sight.Note = &statefulset.Note{Node: its.Node, PodUID: its.UID, Priority: its.Priority, Requests: its.Needs.Requests}
	case node == "":
		note, noted := b.planner.Noted(slot)
		if !noted {
			return sight
		}
		sight.Note, node = &note, note.Node
	}
	sight.Wanted = b.planner.Wants(slot)
	if is := b.source.Node(node); is != nil {
		sight.NodeThere, sight.NodeLeaving = true, leaving(is)
	}
	sight.Fixed = sight.NodeThere && b.planner.OnlyNode(slot) == node
	next := b.next(slot, waits)
	sight.Next, sight.HoldFor = needsOf(next), b.holdFor(slot, next)
	return sight
}

// podsOf returns of the pods that fill a slot one that stays on its node, one
// that leaves it, and one that waits for a node. Those that have ended take no
// room.
func (b berths) podsOf(slot statefulset.Slot) (stays, leaves, waits *v1.Pod) {
	names := []string{slot.PodName()}
	if slot.Set.Selected {
		names = b.source.podsOf(slot)
	}
	for _, name := range names {
		pod := b.source.Pod(slot.Set.Namespace, name)
		if pod == nil || pod.Status.Phase == v1.PodSucceeded || pod.Status.Phase == v1.PodFailed {
			continue
		}
		if its, fills := b.slotOf(pod); !fills || its != slot {
			continue
		}
		switch {
		case pod.Spec.NodeName == "":
			waits = pod
		case pod.DeletionTimestamp == nil:
			stays = pod
		default:
			leaves = pod
		}
	}
	return stays, leaves, waits
}

// next returns the next pod of a slot: the one that waits, else what its set
// would make.
func (b berths) next(slot statefulset.Slot, waits *v1.Pod) *v1.Pod {
	if waits != nil || slot.Set.Selected {
		return waits
	}
	set := b.source.Set(slot.Set)
	if set == nil {
		return nil
	}
	pod := &v1.Pod{Spec: *set.Spec.Template.Spec.DeepCopy()}
	for _, containers := range [][]v1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			limitIsRequest(&containers[i].Resources)
		}
	}
	pod.Namespace, pod.Name = slot.Set.Namespace, slot.PodName() // ephemeral claims are called after it
	_, claims := b.planner.Names(slot)
	for _, name := range claims {
		pod.Spec.Volumes = append(pod.Spec.Volumes, v1.Volume{VolumeSource: v1.VolumeSource{
			PersistentVolumeClaim: &v1.PersistentVolumeClaimVolumeSource{ClaimName: name},
		}})
	}
	return pod
}

// limitIsRequest does to a template what the API server does to pods: what is
// limited and not requested is requested.
func limitIsRequest(r *v1.ResourceRequirements) {
	for name, limit := range r.Limits {
		if _, requested := r.Requests[name]; !requested {
			if r.Requests == nil {
				r.Requests = v1.ResourceList{}
			}
			r.Requests[name] = limit
		}
	}
}

// holdFor returns how long the policy of a slot keeps its room.
func (b berths) holdFor(slot statefulset.Slot, next *v1.Pod) time.Duration {
	scheduler := ""
	if next != nil {
		scheduler = next.Spec.SchedulerName
	}
	policy, err := b.source.Policy(slot.Set, scheduler)
	if err != nil || policy == nil {
		return v1alpha1.DefaultHoldFor
	}
	return policy.Home.HoldFor
}

// leaving tells whether a node is cordoned, or marked by an autoscaler to go.
func leaving(node *v1.Node) bool {
	return node.Spec.Unschedulable || slices.ContainsFunc(node.Spec.Taints, func(t v1.Taint) bool { return t.Key == statefulset.DrainTaint })
}

func aboard(pod *v1.Pod) statefulset.Aboard {
	return statefulset.Aboard{
		Node: pod.Spec.NodeName, UID: pod.UID, Priority: corev1helpers.PodPriority(pod),
		Needs: needsOf(pod), Leaving: pod.DeletionTimestamp != nil,
	}
}

// needsOf returns what a pod takes, nothing for none.
func needsOf(pod *v1.Pod) (needs statefulset.Needs) {
	if pod == nil {
		return needs
	}
	needs.Requests = podresources.PodRequests(pod, podresources.PodResourcesOptions{UseStatusResources: true})
	for _, containers := range [][]v1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			for _, port := range containers[i].Ports {
				number := port.HostPort
				if number == 0 && pod.Spec.HostNetwork {
					number = port.ContainerPort
				}
				if number != 0 {
					needs.Ports = append(needs.Ports, statefulset.Port{IP: port.HostIP, Protocol: cmp.Or(port.Protocol, v1.ProtocolTCP), Number: number})
				}
			}
		}
	}
	needs.Claims = slices.Collect(volumeaffinity.ClaimsOf(pod))
	return needs
}
