// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
	"github.com/berth-dev/berth/plugins/statefulset"
	"github.com/berth-dev/berth/plugins/volumeaffinity"
	v1 "k8s.io/api/core/v1"
	podresources "k8s.io/component-helpers/resource"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"
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
	pods := statefulset.OccupantsOf(slot, b.podsOf(slot), b.slotOf)
	sight := statefulset.Sight{Now: b.now()}
	node := was.Node
	switch {
	case pods.Stays != nil:
		sight.Pod = aboard(pods.Stays)
		return sight
	case pods.Leaves != nil:
		sight.Pod = aboard(pods.Leaves)
		node = pods.Leaves.Spec.NodeName
	case node == "" && last != nil && last.Spec.NodeName != "":
		sight.Gone = aboard(last)
		node = sight.Gone.Node
	case node == "":
		note, noted := b.planner.Noted(slot)
		if !noted {
			return sight
		}
		sight.Note, node = &note, note.Node
	}
	sight.Wanted = b.planner.Wants(slot)
	if is := b.source.Node(node); is != nil {
		sight.NodeThere, sight.NodeLeaving = true, statefulset.NodeGoes(is)
	}
	next := b.next(slot, pods.Waits)
	sight.Next = needsOf(next)
	required := false
	sight.HoldFor, required, sight.Undecided = b.patience(slot, next)
	sight.Fixed = sight.NodeThere && (required || b.planner.Confined(slot, node))
	return sight
}

// podsOf yields the pods that may fill a slot, nil for those that are not there.
func (b berths) podsOf(slot statefulset.Slot) iter.Seq[*v1.Pod] {
	names := []string{slot.PodName()}
	if slot.Set.Selected {
		names = b.source.podsOf(slot)
	}
	return func(yield func(*v1.Pod) bool) {
		for _, name := range names {
			if !yield(b.source.Pod(slot.Set.Namespace, name)) {
				return
			}
		}
	}
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
	pod := &v1.Pod{Spec: set.Spec.Template.Spec} // whose own slices are left alone
	pod.Spec.InitContainers, pod.Spec.Containers = defaulted(pod.Spec.InitContainers), defaulted(pod.Spec.Containers)
	pod.Spec.Volumes = slices.Clone(pod.Spec.Volumes)
	pod.Namespace, pod.Name = slot.Set.Namespace, slot.PodName() // ephemeral claims are called after it
	_, claims := b.planner.Names(slot)
	for _, name := range claims {
		pod.Spec.Volumes = append(pod.Spec.Volumes, v1.Volume{VolumeSource: v1.VolumeSource{
			PersistentVolumeClaim: &v1.PersistentVolumeClaimVolumeSource{ClaimName: name},
		}})
	}
	return pod
}

// defaulted does to the containers of a template what the API server does to
// those of pods: what is limited and not requested is requested.
func defaulted(containers []v1.Container) []v1.Container {
	containers = slices.Clone(containers)
	for i := range containers {
		r := &containers[i].Resources
		requests := maps.Clone(r.Limits)
		if requests == nil {
			continue
		}
		maps.Copy(requests, r.Requests)
		r.Requests = requests
	}
	return containers
}

// patience returns what the policy of a slot says of its room: how long it is
// kept, or that the slot may run nowhere else. It may not be known yet.
func (b berths) patience(slot statefulset.Slot, next *v1.Pod) (holdFor time.Duration, required, undecided bool) {
	scheduler := ""
	if next != nil {
		scheduler = next.Spec.SchedulerName
	}
	policy, err := b.source.Policy(slot.Set, scheduler)
	switch {
	case err != nil:
		return 0, false, true
	case policy == nil:
		return v1alpha1.DefaultHoldFor, false, false
	}
	return policy.Home.HoldFor, policy.Home.Return == statefulset.ReturnRequired, false
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
	add := func(ports []v1.ContainerPort) {
		for _, port := range ports {
			number := port.HostPort
			if number == 0 && pod.Spec.HostNetwork {
				number = port.ContainerPort
			}
			if number != 0 {
				needs.Ports = append(needs.Ports, statefulset.Port{IP: port.HostIP, Protocol: cmp.Or(port.Protocol, v1.ProtocolTCP), Number: number})
			}
		}
	}
	for i := range pod.Spec.Containers {
		add(pod.Spec.Containers[i].Ports)
	}
	for i := range pod.Spec.InitContainers {
		if podutil.IsRestartableInitContainer(&pod.Spec.InitContainers[i]) { // the others run before, and upstream counts none of their ports
			add(pod.Spec.InitContainers[i].Ports)
		}
	}
	needs.Claims = slices.Collect(volumeaffinity.ClaimsOf(pod))
	return needs
}
