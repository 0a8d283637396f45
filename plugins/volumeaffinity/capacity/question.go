// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package capacity

import (
	"cmp"
	"maps"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// maxScore is the framework's.
const maxScore = 100

// Question is what a pod asks about its claims, against the ledger as it was
// then. It may be used from several goroutines.
type Question struct {
	parts []*part
}

// part is the claims of one class.
type part struct {
	class   string
	claims  []Claim
	need    int64 // all of them
	largest int64
	index   *index
	own     []*draft // of these very claims
	others  bool     // there are drafts of other claims
	answers answers
	texts   sync.Map // of the numbers they show
}

// Ask prepares the question whether all the claims fit together. Drafts of the
// claims themselves do not count; a claim named twice counts once.
func (l *Ledger) Ask(claims []Claim) *Question {
	l.mu.Lock()
	defer l.mu.Unlock()
	parts := make(map[string]*part)
	asked := make(map[types.NamespacedName]bool, len(claims))
	for _, c := range claims {
		if asked[c.key()] {
			continue
		}
		asked[c.key()] = true
		p := parts[c.StorageClass]
		if p == nil {
			p = &part{class: c.StorageClass, index: l.indexes[c.StorageClass], largest: c.Bytes}
			parts[c.StorageClass] = p
		}
		p.claims = append(p.claims, c)
		p.need = plus(p.need, c.Bytes)
		p.largest = max(p.largest, c.Bytes)
	}
	for key := range asked {
		if d := l.drafts[key]; d != nil && parts[d.class] != nil {
			parts[d.class].own = append(parts[d.class].own, d)
		}
	}
	for _, p := range parts {
		p.others = l.flying[p.class] > len(p.own)
	}
	byClass := func(a, b *part) int { return cmp.Compare(a.class, b.class) }
	return &Question{parts: slices.SortedFunc(maps.Values(parts), byClass)}
}

// Refuses tells why a node with these labels can not give the claims their
// volumes, or "" if it can. The same lack is told in the same words, so that
// nodes can be counted by them.
func (q *Question) Refuses(node map[string]string) string {
	for _, p := range q.parts {
		if f := p.judge(node); !f.fits {
			return p.text(f)
		}
	}
	return ""
}

// Contended are the classes with drafts of other claims. What a pod was refused
// for because of a draft it may get when the draft is dropped, if it asked
// while there was one.
func (q *Question) Contended() []string {
	var classes []string
	for _, p := range q.parts {
		if p.others {
			classes = append(classes, p.class)
		}
	}
	return classes
}

// Score tells how well a node is left once it has given the claims their
// volumes, from 0 to 100: see worth. Of several classes the worst counts. One
// whose driver names no capacity is full marks, and so is asking for nothing.
func (q *Question) Score(node map[string]string) int64 {
	score := int64(maxScore)
	for _, p := range q.parts {
		f := p.judge(node)
		switch {
		case !f.fits:
			return 0
		case p.need > 0:
			score = min(score, worth(p.need, f.left()-p.need))
		}
	}
	return score
}

// worth rates what remains after a need is met: 100 · r/(r+need), which is
// half of the scale where as much remains as was asked, more the more remains,
// and so spreads claims over equal places. A remainder smaller than the need
// is stranded, for the next such claim finds no room in it: it counts half. An
// exact fit strands nothing, and counts as half the need: no less than any
// stranded remainder, less than any useful one.
func worth(need, remainder int64) int64 {
	r := float64(max(remainder, 0))
	switch {
	case r == 0:
		r = float64(need) / 2
	case remainder < need:
		r /= 2
	}
	return int64(maxScore / (1 + float64(need)/r))
}

// finding is what a node offers to a part, all its pools together.
type finding struct {
	fits     bool
	pools    int
	room     int64
	promised int64 // of that, to others
	limit    int64 // for one volume
}

// left is the room that is promised to nobody, negative where too much is.
func (f finding) left() int64 { return f.room - f.promised }

// judge looks at one node. The usual case, one pool whose drafts have nowhere
// else to go, needs no search.
func (p *part) judge(node map[string]string) finding {
	if p.index == nil {
		return finding{}
	}
	var room [4]*pool
	reach := p.index.reach(node, room[:0])
	switch {
	case len(reach) == 0:
		return finding{}
	case len(reach) > 1 || reach[0].roaming > 0:
		return p.answers.find(reach, p.search)
	}
	only := reach[0]
	f := finding{pools: 1, room: only.room, promised: only.promised, limit: only.limit}
	for _, d := range p.own {
		if only.holds(d.bytes) && only.selects(d.labels) {
			f.promised -= d.bytes
		}
	}
	f.fits = only.holds(p.largest) && p.need <= f.left()
	return f
}

// search divides the claims, and the drafts that compete for the same pools,
// among them. Drafts may end in pools that this node does not reach, where
// other drafts compete in turn: all of them are looked at together.
func (p *part) search(reach []*pool) finding {
	f := finding{pools: len(reach)}
	pools := slices.Clone(reach)
	at := make(map[*pool]int, len(reach)) // in pools
	for i, o := range reach {
		at[o] = i
		f.limit = max(f.limit, o.limit)
		f.room = plus(f.room, o.room)
	}
	var s packing
	for _, c := range p.claims {
		s.add(c.Bytes, reach, at)
	}
	seen := make(map[*draft]bool)
	for _, d := range p.own {
		seen[d] = true
	}
	for i := 0; i < len(pools); i++ {
		for _, d := range pools[i].drafts {
			if seen[d] || !pools[i].holds(d.bytes) {
				continue
			}
			seen[d] = true
			if i < len(reach) {
				f.promised = plus(f.promised, d.bytes)
			}
			options := p.index.reach(d.labels, nil)
			for _, o := range options {
				if _, known := at[o]; !known && o.holds(d.bytes) {
					at[o] = len(pools)
					pools = append(pools, o)
				}
			}
			s.add(d.bytes, options, at)
		}
	}
	for _, o := range pools {
		s.bins = append(s.bins, o.room)
	}
	f.fits = s.possible()
	return f
}

// answers remembers the findings of searches: nodes that reach the same pools
// share one. Most sets of pools differ in the first; those that do not are
// chained.
type answers struct{ byFirst sync.Map }

type answer struct {
	reach   []*pool
	finding finding
	next    *answer
}

// find returns the finding for the pools, searching for it at the first time,
// or at the first few, where several goroutines ask at once.
func (a *answers) find(reach []*pool, search func([]*pool) finding) finding {
	head, _ := a.byFirst.Load(reach[0])
	chain, _ := head.(*answer)
	for known := chain; known != nil; known = known.next {
		if slices.Equal(known.reach, reach) {
			return known.finding
		}
	}
	// The caller's list stays on its stack.
	own := slices.Clone(reach)
	found := &answer{reach: own, finding: search(own), next: chain}
	if chain == nil {
		a.byFirst.LoadOrStore(own[0], found)
	} else {
		a.byFirst.CompareAndSwap(own[0], chain, found) // lost to another: searched again
	}
	return found.finding
}
