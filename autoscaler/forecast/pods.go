// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package forecast

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// revisionOf returns the revision that the pod of an index will have.
func (w Workload) revisionOf(index int) string {
	if w.Slots != nil && index < w.Slots.Start+w.Slots.Partition && w.Slots.Before != "" {
		return w.Slots.Before
	}
	return w.Revision
}

// sample returns a live pod of the revision to copy; nil where there is none.
// Best is one with a node, as all of its admission is over, and one that was
// not resized since; then the first by name.
func (w Workload) sample(mark string) *v1.Pod { return w.sampleOf(w.Revision, mark) }

func (w Workload) sampleOf(revision, mark string) *v1.Pod {
	if w.RevisionLabel != "" && revision == "" {
		return nil
	}
	candidates := slices.DeleteFunc(slices.Clone(w.Pods), func(pod *v1.Pod) bool {
		switch {
		case over(pod):
			return true
		case w.RevisionLabel != "":
			return pod.Labels[w.RevisionLabel] != revision
		case w.Template != nil:
			return !madeFrom(w.Template, pod)
		}
		return false
	})
	if len(candidates) == 0 {
		return nil
	}
	worse := func(pod *v1.Pod) (points int) {
		if pod.Spec.NodeName == "" {
			points += 2
		}
		if _, resized := pod.Annotations[mark]; resized {
			points++
		}
		return points
	}
	return slices.MinFunc(candidates, func(a, b *v1.Pod) int {
		return cmp.Or(cmp.Compare(worse(a), worse(b)), w.newestFirst(a, b), cmp.Compare(a.Name, b.Name))
	})
}

// newestFirst counts where no template tells which pods are out of date.
func (w Workload) newestFirst(a, b *v1.Pod) int {
	if w.Template != nil {
		return 0
	}
	return b.CreationTimestamp.Compare(a.CreationTimestamp.Time)
}

// madeFrom tells whether a pod has the template's containers and their images.
func madeFrom(template *v1.PodTemplateSpec, pod *v1.Pod) bool {
	images := map[string]string{}
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		images[c.Name] = c.Image
	}
	return !slices.ContainsFunc(slices.Concat(template.Spec.InitContainers, template.Spec.Containers), func(c v1.Container) bool {
		image, ok := images[c.Name]
		return !ok || image != c.Image
	})
}

// Unsampled returns the first missing pod as its controller would ask for it,
// where none of its revision can be copied and nothing else keeps it from
// coming; nil otherwise. What the API server would make of it belongs into Created.
func (w Workload) Unsampled() *v1.Pod {
	if w.Template == nil || w.Created != nil || w.sample("") != nil {
		return nil
	}
	g := w.gap(Input{Budget: 1})
	if len(g.decided.indices) == 0 {
		return nil
	}
	return w.Made(g.decided.indices[0])
}

// Made returns the pod of an index as its controller makes it from the template.
func (w Workload) Made(index int) *v1.Pod { return w.from(nil, index, "") }

// pod returns the future pod of an index.
func (w Workload) pod(index int, mark string) *v1.Pod {
	if len(w.Shaped) > 0 {
		pod := w.from(w.Shaped[index], index, mark)
		pod.Name, pod.Spec.Hostname = w.Shaped[index].Name, w.Shaped[index].Spec.Hostname
		pod.UID = uid(pod.Namespace, pod.Name)
		resize(pod, pod.Name[strings.LastIndex(pod.Name, "-")+1:], w.Sizes)
		return pod
	}
	pod := w.from(cmp.Or(w.sampleOf(w.revisionOf(index), mark), w.Created), index, mark)
	slot := ""
	if w.Slots != nil {
		slot = strconv.Itoa(index)
	}
	resize(pod, slot, w.Sizes)
	return pod
}

// from returns the pod of an index from a sample, or from the template where there is none.
func (w Workload) from(sample *v1.Pod, index int, mark string) *v1.Pod {
	pod := &v1.Pod{}
	if sample != nil {
		sample.DeepCopyInto(pod)
	} else {
		w.Template.ObjectMeta.DeepCopyInto(&pod.ObjectMeta)
		w.Template.Spec.DeepCopyInto(&pod.Spec)
	}
	if _, resized := pod.Annotations[mark]; resized {
		delete(pod.Annotations, mark)
		if w.Template != nil {
			unsize(pod, w.Template)
		}
	}
	// No name of the API has capitals: this one is nobody's, and no other kind's.
	pod.ObjectMeta = metav1.ObjectMeta{
		Namespace: w.Namespace, Name: fmt.Sprintf("%s-forecast-%s-%d", w.Name, w.Kind, index),
		Labels: pod.Labels, Annotations: pod.Annotations, OwnerReferences: pod.OwnerReferences,
	}
	pod.Spec.NodeName = ""
	pod.Spec.EphemeralContainers = nil
	pod.Status = v1.PodStatus{Phase: v1.PodPending}
	if pod.Labels == nil {
		pod.Labels = map[string]string{}
	}
	if revision := w.revisionOf(index); revision != "" && w.RevisionLabel != "" {
		pod.Labels[w.RevisionLabel] = revision
	}
	switch owner := metav1.GetControllerOf(pod); {
	case w.Controller != nil:
		pod.OwnerReferences = []metav1.OwnerReference{*w.Controller}
	case w.Template == nil && owner != nil:
		pod.OwnerReferences = []metav1.OwnerReference{*owner}
	default:
		pod.OwnerReferences = nil
	}
	if w.Slots != nil {
		w.fill(pod, index)
	}
	pod.UID = uid(pod.Namespace, pod.Name)
	return pod
}

// uid is like none that the API server gives.
func uid(namespace, name string) types.UID {
	return types.UID(fmt.Sprintf("forecast/%s/%s", namespace, name))
}

// fill makes the pod that of a slot, as the StatefulSet controller would.
func (w Workload) fill(pod *v1.Pod, ordinal int) {
	pod.Name = w.slotName(ordinal)
	pod.Labels[appsv1.StatefulSetPodNameLabel] = pod.Name
	pod.Labels[appsv1.PodIndexLabel] = strconv.Itoa(ordinal)
	pod.Spec.Hostname = pod.Name
	pod.Spec.Subdomain = w.Slots.Service
	for _, template := range w.Slots.Claims {
		pod.Spec.Volumes = slices.DeleteFunc(pod.Spec.Volumes, func(v v1.Volume) bool { return v.Name == template.Name })
		pod.Spec.Volumes = append(pod.Spec.Volumes, v1.Volume{
			Name: template.Name,
			VolumeSource: v1.VolumeSource{PersistentVolumeClaim: &v1.PersistentVolumeClaimVolumeSource{
				ClaimName: w.claimName(template.Name, ordinal),
			}},
		})
	}
}

func (w Workload) slotName(ordinal int) string { return fmt.Sprintf("%s-%d", w.Name, ordinal) }

func (w Workload) claimName(template string, ordinal int) string {
	return template + "-" + w.slotName(ordinal)
}

// ordinal returns the ordinal that the pod's name says it fills.
func (w Workload) ordinal(pod *v1.Pod) (int, bool) {
	suffix, ok := strings.CutPrefix(pod.Name, w.Name+"-")
	if !ok {
		return 0, false
	}
	ordinal, err := strconv.Atoi(suffix)
	return ordinal, err == nil && strconv.Itoa(ordinal) == suffix
}
