// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/berth-dev/berth/test/cluster/layout"
)

// poolSize is how many bytes the pool of a node has. ok is false for a node without one.
func poolSize(node *corev1.Node) (size int64, ok bool, err error) {
	text, ok := node.Annotations[layout.AnnotationStoragePool]
	if !ok {
		return 0, false, nil
	}
	quantity, err := resource.ParseQuantity(text)
	if err != nil || quantity.Sign() < 0 {
		return 0, false, fmt.Errorf("node %s has annotation %s: %q, want a size such as 100Gi", node.Name, layout.AnnotationStoragePool, text)
	}
	return quantity.Value(), true, nil
}

// pools keeps what each volume takes of the pool it is in. A volume counts from
// the moment it is granted, before there is an object for it, so that two claims
// never share the last room.
type pools struct {
	mu    sync.Mutex
	taken map[string]map[string]int64 // bytes, by place and volume
}

func newPools() *pools { return &pools{taken: map[string]map[string]int64{}} }

// take grants a volume its room, once however often it asks, or says how much is left.
func (p *pools) take(place, volume string, bytes, size int64) (left int64, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	left = size - p.sum(place)
	if _, has := p.taken[place][volume]; has {
		return left, true
	}
	if bytes > left {
		return left, false
	}
	p.set(place, volume, bytes)
	return left - bytes, true
}

// put counts a volume that exists, whether there is room or not.
func (p *pools) put(volume *corev1.PersistentVolume) {
	place, ok := pooledPlace(volume)
	if !ok {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.set(place, volume.Name, volume.Spec.Capacity.Storage().Value())
}

// release forgets a volume that is gone.
func (p *pools) release(volume *corev1.PersistentVolume) {
	place, ok := pooledPlace(volume)
	if !ok {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.taken[place], volume.Name)
	if len(p.taken[place]) == 0 {
		delete(p.taken, place)
	}
}

// free is what is left of a pool of that size, never less than nothing: a pool may shrink.
func (p *pools) free(place string, size int64) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(0, size-p.sum(place))
}

func (p *pools) sum(place string) (bytes int64) {
	for _, b := range p.taken[place] {
		bytes += b
	}
	return bytes
}

func (p *pools) set(place, volume string, bytes int64) {
	if p.taken[place] == nil {
		p.taken[place] = map[string]int64{}
	}
	p.taken[place][volume] = bytes
}

// pooledPlace is the pool that a volume of PooledDriver is in.
func pooledPlace(volume *corev1.PersistentVolume) (place string, ok bool) {
	if csi := volume.Spec.CSI; csi == nil || csi.Driver != PooledDriver {
		return "", false
	}
	affinity := volume.Spec.NodeAffinity
	if affinity == nil || affinity.Required == nil {
		return "", false
	}
	for _, term := range affinity.Required.NodeSelectorTerms {
		for _, expression := range term.MatchExpressions {
			if expression.Key == PooledTopologyKey && len(expression.Values) == 1 {
				return expression.Values[0], true
			}
		}
	}
	return "", false
}
