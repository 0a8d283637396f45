// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package capacity

import (
	"math"
	"slices"

	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// unlimited is the room of a pool whose driver names a largest volume but no
// capacity: more than all volumes ask together.
const unlimited = math.MaxInt64

// pool is one CSIStorageCapacity and the drafts that may end in it. It is
// never changed, only exchanged for another.
type pool struct {
	name     types.NamespacedName
	class    string
	topology *metav1.LabelSelector
	selector labels.Selector
	// found are the labels under one of which a node finds the pool. Without
	// any, every node tries it.
	found []label
	// sole is set where having one of them is all that the selector asks.
	sole bool

	room  int64 // for all volumes together
	limit int64 // for one volume

	drafts   []*draft // whose nodes reach the pool, fitting or not
	promised int64    // to the drafts that fit
	roaming  int      // drafts that may end in another pool as well
}

// newPool returns nil for an object that offers nothing to anybody: without
// numbers, without a topology, or with one that can not be read.
func newPool(c *storagev1.CSIStorageCapacity) *pool {
	if c.NodeTopology == nil || (c.Capacity == nil && c.MaximumVolumeSize == nil) {
		return nil
	}
	selector, err := metav1.LabelSelectorAsSelector(c.NodeTopology)
	if err != nil {
		return nil
	}
	p := &pool{
		name:     types.NamespacedName{Namespace: c.Namespace, Name: c.Name},
		class:    c.StorageClassName,
		topology: c.NodeTopology,
		selector: selector,
		room:     unlimited,
	}
	if c.Capacity != nil {
		p.room = c.Capacity.Value()
		p.limit = p.room
	}
	if c.MaximumVolumeSize != nil {
		p.limit = c.MaximumVolumeSize.Value()
		// A driver that can make so large a volume has that much left.
		p.room = max(p.room, p.limit)
	}
	return p
}

// sameReach tells whether the same nodes reach both pools for the same class.
func (p *pool) sameReach(other *pool) bool {
	return p != nil && other != nil && p.class == other.class && equality.Semantic.DeepEqual(p.topology, other.topology)
}

// selects tells whether a node with these labels reaches the pool.
func (p *pool) selects(node map[string]string) bool { return p.selector.Matches(labels.Set(node)) }

// holds tells whether a volume of that size may be made here. A draft that is
// too large was either taken off what is left already, or never will be made.
func (p *pool) holds(bytes int64) bool { return bytes <= p.limit }

// resized is the pool with other numbers.
func (p pool) resized(room, limit int64) *pool {
	p.room, p.limit = room, limit
	return p.promising(p.drafts)
}

// with is the pool with one more draft, without is the pool with one less.
func (p pool) with(d *draft, roams bool) *pool {
	if roams {
		p.roaming++
	}
	return p.promising(append(slices.Clip(p.drafts), d))
}

func (p pool) without(d *draft, roams bool) *pool {
	if roams {
		p.roaming--
	}
	return p.promising(slices.DeleteFunc(slices.Clone(p.drafts), func(other *draft) bool { return other == d }))
}

func (p pool) promising(drafts []*draft) *pool {
	p.drafts, p.promised = drafts, 0
	for _, d := range drafts {
		if p.holds(d.bytes) {
			p.promised = plus(p.promised, d.bytes)
		}
	}
	return &p
}

// plus adds two sizes and stays at the largest number there is.
func plus(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}
