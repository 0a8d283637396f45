// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package reach

import (
	"math/rand/v2"
	"strings"

	v1 "k8s.io/api/core/v1"
)

// dice decides what happens next in a world.
type dice interface{ pick(n int) int }

type randomDice struct{ *rand.Rand }

func (d randomDice) pick(n int) int { return d.IntN(n) }

// bytesDice reads its picks from data, and picks the first when it is used up.
type bytesDice struct{ data []byte }

func (d *bytesDice) pick(n int) int {
	if len(d.data) == 0 {
		return 0
	}
	b := d.data[0]
	d.data = d.data[1:]
	return int(b) % n
}

// The alphabets are small, so that things meet, and hold what upstream refuses
// and what a careless text would confuse.
var (
	keys      = []string{"zone", "host", "gen", "a.io/disk", "bad key"}
	values    = []string{"a", "b", "c", "1", "2", "10", "", "-3", "a,b", "99999999999999999999", strings.Repeat("x", 64)}
	operators = []v1.NodeSelectorOperator{
		v1.NodeSelectorOpIn, v1.NodeSelectorOpNotIn, v1.NodeSelectorOpExists,
		v1.NodeSelectorOpDoesNotExist, v1.NodeSelectorOpGt, v1.NodeSelectorOpLt, "Odd", "",
	}
)

func (w *world) labels() map[string]string {
	labels := map[string]string{}
	for range w.dice.pick(5) {
		labels[keys[w.dice.pick(len(keys))]] = values[w.dice.pick(len(values))]
	}
	return labels
}

func (w *world) affinity() *v1.VolumeNodeAffinity {
	switch w.dice.pick(20) {
	case 0:
		return nil
	case 1:
		return &v1.VolumeNodeAffinity{}
	case 2:
		return required()
	}
	terms := make([]v1.NodeSelectorTerm, max(1, w.dice.pick(4)))
	for i := range terms {
		for range w.dice.pick(4) {
			terms[i].MatchExpressions = append(terms[i].MatchExpressions, w.requirement())
		}
		if w.dice.pick(8) == 0 {
			terms[i].MatchFields = []v1.NodeSelectorRequirement{w.requirement()}
		}
	}
	return required(terms...)
}

// requirement is most often one that upstream accepts.
func (w *world) requirement() v1.NodeSelectorRequirement {
	r := v1.NodeSelectorRequirement{Key: keys[w.dice.pick(3)], Operator: v1.NodeSelectorOpIn, Values: []string{values[w.dice.pick(7)]}}
	switch w.dice.pick(4) {
	case 0:
		r.Values = append(r.Values, values[w.dice.pick(7)])
	case 1:
		r.Operator = operators[w.dice.pick(6)]
		if r.Operator == v1.NodeSelectorOpExists || r.Operator == v1.NodeSelectorOpDoesNotExist {
			r.Values = nil
		}
	case 2:
		if w.dice.pick(3) == 0 {
			r = v1.NodeSelectorRequirement{Key: keys[w.dice.pick(len(keys))], Operator: operators[w.dice.pick(len(operators))]}
			for range w.dice.pick(4) {
				r.Values = append(r.Values, values[w.dice.pick(len(values))])
			}
		}
	}
	return r
}

func required(terms ...v1.NodeSelectorTerm) *v1.VolumeNodeAffinity {
	return &v1.VolumeNodeAffinity{Required: &v1.NodeSelector{NodeSelectorTerms: terms}}
}
