// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/storage/ephemeral"
	fwk "k8s.io/kube-scheduler/framework"
)

// class is pods that no plugin can tell apart: those of one controller that
// differ in their names only, in the index of their slot, and in the names of
// their own claims, where all of them have equal reach and one standing with
// the plugins of the Registry.
type class struct {
	shape    int
	standing string // of a slot: what decides about its place beside its shape
	reach    string // of its own claims
	// fickle: a pod that is added may make one of these fit.
	fickle bool
}

// shape is what a pod is without its name. It does not change.
type shape struct {
	id     int // 0 for a pod that is like no other
	fickle bool
	slot   bool
	own    []string // names of its own claims
}

// classOf returns the class of a pod and the names by which it differs from
// the others in it. A pod that may be different from all others has none.
func (s *Session) classOf(pod *v1.Pod) (k class, names []string, ok bool) {
	if s.simulator.plain {
		return class{}, nil, false
	}
	is, known := s.shapes[pod]
	if !known {
		is = s.shapeOf(pod)
		s.shapes[pod] = is
	}
	if is.id == 0 || is.slot && s.simulator.snapshot.singular > 0 {
		return class{}, nil, false
	}
	standing := s.simulator.standing(pod)
	if standing.Slot && !standing.Alike {
		return class{}, nil, false
	}
	k = class{shape: is.id, standing: standing.Of, fickle: is.fickle}
	if len(is.own) == 0 {
		return k, nil, true
	}
	if k.reach, names, ok = s.reachOf(pod.Namespace, is.own); !ok {
		return class{}, nil, false
	}
	return k, names, true
}

// shapeOf tells what a pod is without its name.
func (s *Session) shapeOf(pod *v1.Pod) shape {
	owner := metav1.GetControllerOf(pod)
	nature := s.simulator.natureOf(pod.Spec.SchedulerName)
	if owner == nil || nature == unpredictable || pod.Status.NominatedNodeName != "" || len(pod.Status.ContainerStatuses) > 0 || len(pod.Spec.ResourceClaims) > 0 {
		return shape{}
	}
	is := shape{fickle: nature == fickle || attracted(&pod.Spec), slot: owner.Kind == "StatefulSet"}
	spec, labels := pod.Spec, pod.Labels
	spec.Containers, spec.InitContainers = unmounted(spec.Containers), unmounted(spec.InitContainers)
	spec.Volumes, is.own = disown(pod, is.slot)
	if is.slot {
		labels = without(labels, appsv1.PodIndexLabel, appsv1.StatefulSetPodNameLabel)
		if spec.Hostname == pod.Name {
			spec.Hostname = ""
		}
	}
	data, err := json.Marshal(struct {
		Namespace           string
		Owner               types.UID
		Labels, Annotations map[string]string
		Spec                v1.PodSpec
	}{pod.Namespace, owner.UID, labels, pod.Annotations, spec})
	if err != nil {
		return shape{}
	}
	is.id = s.ids[string(data)]
	if is.id == 0 {
		is.id = len(s.ids) + 1
		s.ids[string(data)] = is.id
	}
	return is
}

// attracted tells whether pods that are added may make the pod fit: it wants to
// be near some, or as many of them in one place as in another.
func attracted(spec *v1.PodSpec) bool {
	if spec.Affinity != nil && spec.Affinity.PodAffinity != nil && len(spec.Affinity.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution) > 0 {
		return true
	}
	return slices.ContainsFunc(spec.TopologySpreadConstraints, func(c v1.TopologySpreadConstraint) bool {
		return c.WhenUnsatisfiable == v1.DoNotSchedule
	})
}

// singular is 1 for a pod that keeps away from single slots, by labels in which
// the slots of a set differ, and else 0.
func singular(pod fwk.PodInfo) int {
	for _, term := range pod.GetRequiredAntiAffinityTerms() {
		requirements, _ := term.Selector.Requirements()
		for _, r := range requirements {
			if r.Key() == appsv1.PodIndexLabel || r.Key() == appsv1.StatefulSetPodNameLabel {
				return 1
			}
		}
	}
	return 0
}

// unmounted returns the containers without their mounts: that of the token of
// the service account has another name in each pod, and no plugin looks at any.
func unmounted(containers []v1.Container) []v1.Container {
	bare := slices.Clone(containers)
	for i := range bare {
		bare[i].VolumeMounts = nil
	}
	return bare
}

// disown returns the volumes of a pod without the token of its service account
// and without the names of claims that are its own, and these names.
func disown(pod *v1.Pod, slot bool) (volumes []v1.Volume, own []string) {
	for _, volume := range pod.Spec.Volumes {
		switch {
		case volume.Projected != nil && strings.HasPrefix(volume.Name, "kube-api-access-"):
			continue
		case volume.Ephemeral != nil:
			own = append(own, ephemeral.VolumeClaimName(pod, &volume))
		case slot && volume.PersistentVolumeClaim != nil && strings.HasSuffix(volume.PersistentVolumeClaim.ClaimName, "-"+pod.Name):
			own = append(own, volume.PersistentVolumeClaim.ClaimName)
			volume.PersistentVolumeClaim = &v1.PersistentVolumeClaimVolumeSource{ReadOnly: volume.PersistentVolumeClaim.ReadOnly}
		}
		volumes = append(volumes, volume)
	}
	return volumes, own
}

func without(labels map[string]string, keys ...string) map[string]string {
	rest := make(map[string]string, len(labels))
	for key, value := range labels {
		if !slices.Contains(keys, key) {
			rest[key] = value
		}
	}
	return rest
}

func byName(a, b *v1.Pod) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}
