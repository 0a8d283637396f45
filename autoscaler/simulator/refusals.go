// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"cmp"
	"encoding/json"
	"iter"
	"maps"
	"strings"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
)

// refusals remembers which pods fit nowhere, so that a thousand equal pods
// cost one answer.
//
// Pods are equal when they have one controller and differ in nothing that a
// plugin may look at. A refusal holds while pods are only added, because
// added pods only take room; therefore pods are left out that another pod may
// make fit: those with affinities or spread constraints, and slots, each of
// which has a place of its own.
type refusals struct {
	known map[refusal][]string
	// classes is shared by all forks: what a pod is does not change.
	classes map[*v1.Pod]string
	slot    func(*v1.Pod) bool
}

type refusal struct{ class, among string }

func newRefusals(slot func(*v1.Pod) bool) refusals {
	return refusals{known: map[refusal][]string{}, classes: map[*v1.Pod]string{}, slot: slot}
}

// fork returns a copy that later refusals do not reach.
func (r refusals) fork() refusals {
	return refusals{known: maps.Clone(r.known), classes: r.classes, slot: r.slot}
}

// forget drops everything: there is something new to fit.
func (r refusals) forget() { clear(r.known) }

func (r refusals) find(pod *v1.Pod, among []string) ([]string, bool) {
	class := r.class(pod)
	if class == "" {
		return nil, false
	}
	reasons, ok := r.known[refusal{class, strings.Join(among, ",")}]
	return reasons, ok
}

func (r refusals) add(pod *v1.Pod, among []string, reasons []string) {
	if class := r.class(pod); class != "" {
		r.known[refusal{class, strings.Join(among, ",")}] = reasons
	}
}

// class returns what the pod shares with its equals; empty when it has none.
func (r refusals) class(pod *v1.Pod) string {
	class, ok := r.classes[pod]
	if !ok {
		if !r.slot(pod) {
			class = classOf(pod)
		}
		r.classes[pod] = class
	}
	return class
}

func classOf(pod *v1.Pod) string {
	owner := metav1.GetControllerOf(pod)
	if owner == nil || owner.Kind == "StatefulSet" || len(pod.Spec.TopologySpreadConstraints) > 0 ||
		pod.Spec.Affinity != nil && (pod.Spec.Affinity.PodAffinity != nil || pod.Spec.Affinity.PodAntiAffinity != nil) {
		return ""
	}
	if _, slot := pod.Labels["apps.kubernetes.io/pod-index"]; slot {
		return ""
	}
	data, err := json.Marshal(struct {
		Namespace           string
		Owner               any
		Labels, Annotations map[string]string
		Spec                v1.PodSpec
	}{pod.Namespace, owner.UID, pod.Labels, pod.Annotations, bare(pod.Spec)})
	if err != nil {
		return ""
	}
	return string(data)
}

// bare returns the spec without what admission makes different for each pod,
// the token volume of its service account, and its mounts.
func bare(spec v1.PodSpec) v1.PodSpec {
	token := map[string]bool{}
	var volumes []v1.Volume
	for _, volume := range spec.Volumes {
		if volume.Projected != nil && strings.HasPrefix(volume.Name, "kube-api-access-") {
			token[volume.Name] = true
			continue
		}
		volumes = append(volumes, volume)
	}
	if len(token) == 0 {
		return spec
	}
	spec.Volumes = volumes
	spec.Containers = unmounted(spec.Containers, token)
	spec.InitContainers = unmounted(spec.InitContainers, token)
	return spec
}

func unmounted(containers []v1.Container, volumes map[string]bool) []v1.Container {
	bare := make([]v1.Container, len(containers))
	for i, container := range containers {
		bare[i] = container
		bare[i].VolumeMounts = nil
		for _, mount := range container.VolumeMounts {
			if !volumes[mount.Name] {
				bare[i].VolumeMounts = append(bare[i].VolumeMounts, mount)
			}
		}
	}
	return bare
}

func byName(a, b *v1.Pod) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

func setKeys(s sets.Set[string]) iter.Seq[string] { return maps.Keys(s) }
