// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package capacity tells whether all the volumes a pod still needs can be made
// for it on a node, taken together, and how well that leaves the storage there.
//
// A pool is a CSIStorageCapacity: what a driver says is left for the volumes
// of one storage class on the nodes that its topology selects. A draft is a
// claim whose pod has been given a node and whose volume does not exist yet:
// the driver has promised nothing, but the room is spoken for. The Ledger
// keeps both; a Question is what one pod asks of it.
//
// What is promised:
//
//   - A single claim, with nothing drafted, is judged as upstream's
//     VolumeBinding does: some pool of its class that the node reaches takes a
//     volume of its size, by MaximumVolumeSize where it is set, else by
//     Capacity.
//   - Several claims, and the drafts that share pools with them, fit when they
//     can be divided among the pools so that no pool gets more than its
//     Capacity. A pool that names a largest volume and no Capacity takes any
//     number of them; one whose largest volume exceeds its Capacity is taken
//     at the larger word.
//   - A draft too large for every pool it reaches counts nowhere: the driver
//     has taken it off what is left already, or can not make it.
//   - A node is refused when no division exists, and only then. Beyond
//     searchLimit the search ends and the node is accepted if the sums allow
//     it: the driver has the last word anyway.
//
// The ledger is no more exact than the drivers. From the moment a draft is
// released because its volume exists until the driver says what is left then,
// the room looks free; and where the driver is the faster one, room is counted
// twice until the release.
//
// Whether a claim is to be checked at all is the caller's business: unbound,
// with a size, of a class whose CSIDriver asks for capacity to be looked at.
package capacity

import (
	"hash/maphash"
	"maps"
	"slices"
	"sync"

	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Claim is a volume to be made. Namespace and Name say whose it is.
type Claim struct {
	Namespace, Name string
	StorageClass    string
	Bytes           int64
}

func (c Claim) key() types.NamespacedName {
	return types.NamespacedName{Namespace: c.Namespace, Name: c.Name}
}

// draft is a claim in flight. It is never changed.
type draft struct {
	class  string
	bytes  int64
	node   string
	labels map[string]string
}

// Ledger is what drivers say is left, and what pods in flight will take of it.
// It may be used from several goroutines.
type Ledger struct {
	seed maphash.Seed

	mu      sync.Mutex
	pools   map[types.NamespacedName]*pool
	drafts  map[types.NamespacedName]*draft
	flying  map[string]int    // drafts by class
	indexes map[string]*index // by class
}

// NewLedger returns an empty one.
func NewLedger() *Ledger {
	return &Ledger{
		seed:    maphash.MakeSeed(),
		pools:   make(map[types.NamespacedName]*pool),
		drafts:  make(map[types.NamespacedName]*draft),
		flying:  make(map[string]int),
		indexes: make(map[string]*index),
	}
}

// SetCapacity takes over what a driver says, for the first time or again. The
// object is kept and must not be changed.
func (l *Ledger) SetCapacity(c *storagev1.CSIStorageCapacity) {
	next := newPool(c)
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.pools[types.NamespacedName{Namespace: c.Namespace, Name: c.Name}]
	if old.sameReach(next) {
		if old.room != next.room || old.limit != next.limit {
			l.change(old.class, func(e *edit) { l.exchange(e, old, old.resized(next.room, next.limit)) })
		}
		return
	}
	l.remove(old)
	l.add(next)
}

// DeleteCapacity forgets what a driver said.
func (l *Ledger) DeleteCapacity(namespace, name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.remove(l.pools[types.NamespacedName{Namespace: namespace, Name: name}])
}

// Reserve drafts a claim for a node with these labels, which are kept and must
// not be changed. The draft stands until the claim is released, which is due
// when it is bound, deleted, or its pod gives up the node. A claim has one
// draft: another takes its place.
func (l *Ledger) Reserve(claim Claim, node string, labels map[string]string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.draft(claim.key(), &draft{class: claim.StorageClass, bytes: claim.Bytes, node: node, labels: labels})
}

// Release drops the draft of a claim, and tells whether there was one.
func (l *Ledger) Release(namespace, name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := types.NamespacedName{Namespace: namespace, Name: name}
	had := l.drafts[key] != nil
	l.draft(key, nil)
	return had
}

// Drafts lists the claims that have one, in no order.
func (l *Ledger) Drafts() []types.NamespacedName {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Keys(l.drafts))
}

// Drafted tells for which node a claim is drafted.
func (l *Ledger) Drafted(namespace, name string) (node string, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if d := l.drafts[types.NamespacedName{Namespace: namespace, Name: name}]; d != nil {
		return d.node, true
	}
	return "", false
}

// Checkpoint remembers the drafts. The function it returns puts them back, for
// whoever plays with them in a simulation; what drivers have said meanwhile
// stays. Checkpoints may be nested.
func (l *Ledger) Checkpoint() (restore func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	then := maps.Clone(l.drafts)
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		for key := range l.drafts {
			if then[key] == nil {
				l.draft(key, nil)
			}
		}
		for key, d := range then {
			if l.drafts[key] != d {
				l.draft(key, d)
			}
		}
	}
}

// draft gives a claim another draft, or none.
func (l *Ledger) draft(key types.NamespacedName, next *draft) {
	if old := l.drafts[key]; old != nil {
		delete(l.drafts, key)
		if l.flying[old.class]--; l.flying[old.class] == 0 {
			delete(l.flying, old.class)
		}
		l.change(old.class, func(e *edit) { l.erase(e, old) })
	}
	if next != nil {
		l.drafts[key] = next
		l.flying[next.class]++
		l.change(next.class, func(e *edit) { l.enter(e, next) })
	}
}

// add brings in a pool, and lets the drafts that reach it be told how many
// pools they reach now.
func (l *Ledger) add(p *pool) {
	if p == nil {
		return
	}
	var concerned []*draft
	for _, d := range l.drafts {
		if d.class == p.class && p.selects(d.labels) {
			concerned = append(concerned, d)
		}
	}
	l.resettle(p.class, concerned, func(e *edit) { l.exchange(e, nil, e.locate(p)) })
}

func (l *Ledger) remove(p *pool) {
	if p == nil {
		return
	}
	l.resettle(p.class, p.drafts, func(e *edit) { l.exchange(e, l.pools[p.name], nil) })
}

// resettle changes the pools of a class while the drafts that it concerns are
// out: a pool counts those that reach another too.
func (l *Ledger) resettle(class string, concerned []*draft, change func(*edit)) {
	l.change(class, func(e *edit) {
		for _, d := range concerned {
			l.erase(e, d)
		}
		change(e)
		for _, d := range concerned {
			l.enter(e, d)
		}
	})
}

func (l *Ledger) enter(e *edit, d *draft) {
	reach := e.reach(d.labels, nil)
	for _, p := range reach {
		l.exchange(e, p, p.with(d, len(reach) > 1))
	}
}

func (l *Ledger) erase(e *edit, d *draft) {
	reach := e.reach(d.labels, nil)
	for _, p := range reach {
		l.exchange(e, p, p.without(d, len(reach) > 1))
	}
}

func (l *Ledger) exchange(e *edit, old, next *pool) {
	e.exchange(old, next)
	if next == nil {
		delete(l.pools, old.name)
		return
	}
	l.pools[next.name] = next
}

// change makes a new index for a class, which the next Question sees.
func (l *Ledger) change(class string, do func(*edit)) {
	x := l.indexes[class]
	if x == nil {
		x = &index{seed: l.seed}
	}
	e := x.edit()
	do(e)
	if e.empty() {
		delete(l.indexes, class)
		return
	}
	l.indexes[class] = &e.index
}
