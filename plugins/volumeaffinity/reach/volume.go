// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package reach

import (
	"iter"
	"slices"
	"strconv"
	"sync/atomic"

	v1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// Volume is a node affinity, shared by all volumes that have it. A nil Volume
// is reached from everywhere.
type Volume struct {
	where string
	terms []term

	// nodes is the set that stands, nil after a change.
	nodes atomic.Pointer[Nodes]

	// The rest is guarded by the index.

	// uses counts the known volumes of this affinity. Without any, the index
	// no longer tells it about changes, so that no set may stand.
	uses int
	// places are where the set that stands was gathered.
	places []*place
}

// term is requirements that must all be met.
type term []requirement

// requirement is one that upstream accepts, its number read.
type requirement struct {
	v1.NodeSelectorRequirement
	number int64
}

// newVolume reads an affinity.
func newVolume(where string, required *v1.NodeSelector) *Volume {
	v := &Volume{where: where}
	for _, t := range required.NodeSelectorTerms {
		if parsed, ok := newTerm(t); ok {
			v.terms = append(v.terms, parsed)
		}
	}
	return v
}

// newTerm reads a term, and returns false if no labels match it: because it is
// empty, or because upstream does not accept it. Fields are not matched, as
// upstream's check of a volume gives them no node name to match with: a term
// of nothing but acceptable fields is met by every node.
func newTerm(t v1.NodeSelectorTerm) (term, bool) {
	if len(t.MatchExpressions) == 0 && len(t.MatchFields) == 0 {
		return nil, false
	}
	if _, err := nodeaffinity.NewNodeSelector(&v1.NodeSelector{NodeSelectorTerms: []v1.NodeSelectorTerm{t}}); err != nil {
		return nil, false
	}
	parsed := make(term, len(t.MatchExpressions))
	for i, r := range t.MatchExpressions {
		parsed[i].NodeSelectorRequirement = r
		if r.Operator == v1.NodeSelectorOpGt || r.Operator == v1.NodeSelectorOpLt {
			parsed[i].number, _ = strconv.ParseInt(r.Values[0], 10, 64) // accepted above
		}
	}
	return parsed, true
}

// ReachedFrom tells whether a node with these labels reaches the volume, as
// CheckNodeAffinity in k8s.io/component-helpers/storage/volume does.
func (v *Volume) ReachedFrom(labels map[string]string) bool {
	if v == nil {
		return true
	}
	for _, t := range v.terms {
		if t.metBy(labels) {
			return true
		}
	}
	return false
}

// Where writes the affinity as people write labels.
func (v *Volume) Where() string {
	if v == nil {
		return anywhere
	}
	return v.where
}

func (t term) metBy(labels map[string]string) bool {
	for i := range t {
		if !t[i].metBy(labels) {
			return false
		}
	}
	return true
}

func (r *requirement) metBy(labels map[string]string) bool {
	value, has := labels[r.Key]
	switch r.Operator {
	case v1.NodeSelectorOpIn:
		return has && slices.Contains(r.Values, value)
	case v1.NodeSelectorOpNotIn:
		return !has || !slices.Contains(r.Values, value)
	case v1.NodeSelectorOpExists:
		return has
	case v1.NodeSelectorOpDoesNotExist:
		return !has
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return false
	}
	return r.Operator == v1.NodeSelectorOpGt && n > r.number || r.Operator == v1.NodeSelectorOpLt && n < r.number
}

// inKeys are the label keys of all In requirements, each as often as it is
// written.
func (v *Volume) inKeys() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, t := range v.terms {
			for _, r := range t {
				if r.Operator == v1.NodeSelectorOpIn && !yield(r.Key) {
					return
				}
			}
		}
	}
}
