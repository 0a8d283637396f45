// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package capacity

import (
	"cmp"
	"hash/maphash"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// shardCount bounds what a change copies: with one pool for each of 5,000
// nodes, a shard has twenty.
const shardCount = 256

type label struct{ key, value string }

// keyed is a label key and how many pools are found by it.
type keyed struct {
	key   string
	pools int
}

// index finds the pools of one class that a node reaches. It is never changed:
// an edit makes another, which shares all shards but those it touched.
type index struct {
	seed   maphash.Seed
	keys   []keyed
	shards [shardCount]map[label][]*pool
	rest   []*pool // that no label leads to
}

func (x *index) empty() bool { return len(x.keys)+len(x.rest) == 0 }

func (x *index) shard(at label) int {
	return int(maphash.String(x.seed, at.value) % shardCount)
}

func (x *index) at(at label) []*pool { return x.shards[x.shard(at)][at] }

// reach appends the pools that a node with these labels reaches.
func (x *index) reach(node map[string]string, into []*pool) []*pool {
	for _, k := range x.keys {
		value, has := node[k.key]
		if !has {
			continue
		}
		for _, p := range x.at(label{k.key, value}) {
			if p.sole || p.selects(node) {
				into = append(into, p)
			}
		}
	}
	for _, p := range x.rest {
		if p.selects(node) {
			into = append(into, p)
		}
	}
	return into
}

// locate says by which labels nodes find the pool: those of the requirement
// that leads to the fewest other pools, so that a driver which names zone and
// node is found by node.
func (x *index) locate(p *pool) *pool {
	var choices [][]label
	for key, value := range p.topology.MatchLabels {
		choices = append(choices, []label{{key, value}})
	}
	for _, r := range p.topology.MatchExpressions {
		if r.Operator != metav1.LabelSelectorOpIn {
			continue
		}
		var either []label
		for _, value := range slices.Compact(slices.Sorted(slices.Values(r.Values))) {
			either = append(either, label{r.Key, value})
		}
		choices = append(choices, either)
	}
	found := *p
	if len(choices) > 0 {
		crowd := func(c []label) (most int) {
			for _, at := range c {
				most = max(most, len(x.at(at)))
			}
			return most
		}
		found.found = slices.MinFunc(choices, func(a, b []label) int {
			return cmp.Or(cmp.Compare(crowd(a), crowd(b)), cmp.Compare(a[0].key, b[0].key), cmp.Compare(len(a), len(b)))
		})
		found.sole = len(p.topology.MatchLabels)+len(p.topology.MatchExpressions) == 1
	}
	return &found
}

// edit is an index in the making.
type edit struct {
	index
	own [shardCount]bool
}

func (x *index) edit() *edit {
	e := &edit{index: *x}
	e.keys = slices.Clone(x.keys)
	return e
}

// exchange puts next in the place of old. Either may be nil; where neither is,
// the same nodes reach them.
func (e *edit) exchange(old, next *pool) {
	found := cmp.Or(next, old).found
	for _, at := range found {
		i := e.shard(at)
		if !e.own[i] {
			e.shards[i], e.own[i] = maps.Clone(e.shards[i]), true
		}
		if e.shards[i] == nil {
			e.shards[i] = make(map[label][]*pool)
		}
		if e.shards[i][at] = exchanged(e.shards[i][at], old, next); len(e.shards[i][at]) == 0 {
			delete(e.shards[i], at)
		}
	}
	switch {
	case len(found) == 0:
		e.rest = exchanged(e.rest, old, next)
	case old == nil:
		e.count(found[0].key, 1)
	case next == nil:
		e.count(found[0].key, -1)
	}
}

func (e *edit) count(key string, by int) {
	i := slices.IndexFunc(e.keys, func(k keyed) bool { return k.key == key })
	if i < 0 {
		e.keys = append(e.keys, keyed{key, by})
		return
	}
	if e.keys[i].pools += by; e.keys[i].pools == 0 {
		e.keys = slices.Delete(e.keys, i, i+1)
	}
}

// exchanged is a copy of the list with next in the place of old.
func exchanged(list []*pool, old, next *pool) []*pool {
	list = slices.Clone(list)
	i := len(list)
	if old != nil {
		i = slices.Index(list, old)
		list = slices.Delete(list, i, i+1)
	}
	if next != nil {
		list = slices.Insert(list, i, next)
	}
	return list
}
