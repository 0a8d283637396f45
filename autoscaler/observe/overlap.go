// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"slices"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/kubernetes/pkg/controller/util/selectors"
)

// Selecting is an HPA and the selector of its target's pods.
type Selecting struct {
	HPA      *autoscalingv2.HorizontalPodAutoscaler
	Selector labels.Selector
}

// Overlaps returns, for each HPA that shares a pod with another one, the names
// of all HPAs that select the pod, sorted. Upstream's bidirectional multimap
// finds them without comparing every pod to every selector.
func (r *Reader) Overlaps(hpas []Selecting) map[types.NamespacedName][]string {
	index := selectors.NewBiMultimap()
	for _, h := range hpas {
		index.PutSelector(key(h.HPA.Namespace, h.HPA.Name), h.Selector)
	}
	overlaps := map[types.NamespacedName][]string{}
	for _, h := range hpas {
		for _, pod := range r.PodsOf(h.HPA.Namespace, h.Selector) {
			podKey := key(pod.Namespace, pod.Name)
			index.Put(podKey, pod.Labels)
			selecting, _ := index.ReverseSelect(podKey)
			if len(selecting) < 2 {
				continue
			}
			overlaps[types.NamespacedName{Namespace: h.HPA.Namespace, Name: h.HPA.Name}] = sortedNames(selecting)
			break
		}
	}
	return overlaps
}

func key(namespace, name string) selectors.Key {
	return selectors.Key{Namespace: namespace, Name: name}
}

func sortedNames(keys []selectors.Key) []string {
	names := make([]string, 0, len(keys))
	for _, k := range keys {
		names = append(names, k.Name)
	}
	slices.Sort(names)
	return names
}
