// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/kubernetes/pkg/controller/util/selectors"
)

// Selecting is an HPA and the selector of its target's pods.
type Selecting struct {
	HPA      *autoscalingv2.HorizontalPodAutoscaler
	Selector labels.Selector
}

// Overlaps returns, for each HPA that shares pods with others, the names of
// all HPAs that select one of them, sorted, itself included. Upstream's bidirectional
// multimap finds them without comparing every pod to every selector.
func (r *Reader) Overlaps(hpas []Selecting) map[types.NamespacedName][]string {
	index := selectors.NewBiMultimap()
	for _, h := range hpas {
		index.PutSelector(key(h.HPA.Namespace, h.HPA.Name), h.Selector)
	}
	overlaps := map[types.NamespacedName][]string{}
	for _, h := range hpas {
		names := sets.New[string]()
		for _, pod := range r.PodsOf(h.HPA.Namespace, h.Selector) {
			podKey := key(pod.Namespace, pod.Name)
			index.Put(podKey, pod.Labels)
			selecting, _ := index.ReverseSelect(podKey)
			for _, other := range selecting {
				names.Insert(other.Name)
			}
		}
		if len(names) > 1 {
			overlaps[types.NamespacedName{Namespace: h.HPA.Namespace, Name: h.HPA.Name}] = sets.List(names)
		}
	}
	return overlaps
}

func key(namespace, name string) selectors.Key {
	return selectors.Key{Namespace: namespace, Name: name}
}
