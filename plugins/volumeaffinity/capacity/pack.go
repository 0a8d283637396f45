// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package capacity

import (
	"cmp"
	"slices"
)

// searchLimit is how many placements a search tries before it accepts. Without
// any early end that is 13 volumes in two pools, 8 in three or 6 in four; few
// searches go far, as the largest volumes are placed first and most of their
// placements end at once.
const searchLimit = 1 << 14

// volume is what has to go into one of its bins.
type volume struct {
	bytes int64
	bins  []int
}

// packing is the question whether volumes can be divided among bins, given by
// the room in them.
type packing struct {
	bins    []int64
	volumes []volume
	tries   int
}

// add brings in a volume that may go into those of the pools that hold it.
func (s *packing) add(bytes int64, pools []*pool, at map[*pool]int) {
	v := volume{bytes: bytes}
	for _, p := range pools {
		if p.holds(bytes) {
			v.bins = append(v.bins, at[p])
		}
	}
	s.volumes = append(s.volumes, v)
}

// possible answers it: exactly, or with yes if the sums allow it and
// searchLimit is reached.
func (s *packing) possible() bool {
	var room, need int64
	for _, b := range s.bins {
		room = plus(room, b)
	}
	for _, v := range s.volumes {
		if len(v.bins) == 0 {
			return false
		}
		need = plus(need, v.bytes)
	}
	if need > room {
		return false
	}
	slices.SortStableFunc(s.volumes, func(a, b volume) int {
		return cmp.Or(cmp.Compare(b.bytes, a.bytes), slices.Compare(a.bins, b.bins))
	})
	return s.place(0, 0)
}

// place puts volume i and all after it into bins, not looking at the first
// ones of its own: an equal volume has been there, and the two could be
// swapped.
func (s *packing) place(i, from int) bool {
	if i == len(s.volumes) {
		return true
	}
	v := s.volumes[i]
	for j := from; j < len(v.bins); j++ {
		b := v.bins[j]
		if s.bins[b] < v.bytes {
			continue
		}
		if s.tries++; s.tries > searchLimit {
			return true
		}
		next := 0
		if i+1 < len(s.volumes) && s.volumes[i+1].bytes == v.bytes && slices.Equal(s.volumes[i+1].bins, v.bins) {
			next = j
		}
		s.bins[b] -= v.bytes
		if s.place(i+1, next) {
			return true
		}
		s.bins[b] += v.bytes
	}
	return false
}
