// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import (
	"cmp"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Needs is what a pod takes of its node, besides its place among the pods.
type Needs struct {
	// Requests are with overhead, and as last resized.
	Requests corev1.ResourceList
	// Ports are the host ports, each once.
	Ports []Port
	// Claims are the names of the claims whose volumes are attached.
	Claims []string
}

// Port is a host port.
type Port struct {
	IP       string
	Protocol corev1.Protocol
	Number   int32
}

// Larger returns what covers both: of each resource the larger amount, and all
// ports and claims of either.
func (n Needs) Larger(o Needs) Needs {
	both := Needs{
		Requests: maps.Clone(n.Requests),
		Ports:    union(n.Ports, o.Ports, comparePorts),
		Claims:   union(n.Claims, o.Claims, cmp.Compare[string]),
	}
	for name, amount := range o.Requests {
		if its, has := both.Requests[name]; !has || its.Cmp(amount) < 0 {
			if both.Requests == nil {
				both.Requests = corev1.ResourceList{}
			}
			both.Requests[name] = amount
		}
	}
	return both
}

// Cover tells whether they take at least what others take, so that nothing is
// free by the change from those to these.
func (n Needs) Cover(o Needs) bool {
	for name, amount := range o.Requests {
		if its := n.Requests[name]; its.Cmp(amount) < 0 {
			return false
		}
	}
	return !slices.ContainsFunc(o.Ports, func(p Port) bool { return !slices.Contains(n.Ports, p) }) &&
		!slices.ContainsFunc(o.Claims, func(c string) bool { return !slices.Contains(n.Claims, c) })
}

func comparePorts(a, b Port) int {
	return cmp.Or(cmp.Compare(a.Number, b.Number), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.IP, b.IP))
}

func union[T comparable](a, b []T, compare func(T, T) int) []T {
	all := slices.Concat(a, b)
	slices.SortFunc(all, compare)
	return slices.Compact(all)
}

// standIn returns a pod that takes what they are: whoever counts what is free
// on a node counts it like any other.
func (n Needs) standIn(slot Slot, priority int32) *corev1.Pod {
	pod := &corev1.Pod{}
	pod.Namespace, pod.Name = slot.Set.Namespace, slot.PodName()+"-hold"
	pod.UID = standInUID(slot)
	pod.Spec.Priority = &priority
	container := corev1.Container{Name: "hold", Resources: corev1.ResourceRequirements{Requests: n.Requests}}
	for _, port := range n.Ports {
		container.Ports = append(container.Ports, corev1.ContainerPort{HostIP: port.IP, Protocol: port.Protocol, HostPort: port.Number})
	}
	pod.Spec.Containers = []corev1.Container{container}
	for _, claim := range n.Claims {
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: claim, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim},
		}})
	}
	return pod
}
