// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"fmt"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
)

// memory remembers which nodes refused the pods of a class, so that a thousand
// equal pods cost little more than one: a node that refused one of them refuses
// them all for as long as pods are only added, because added pods only take
// room. What makes room begins a new memory. A fork returns to the memory that
// it began with, without what was learned since.
type memory struct {
	records map[class]*record
	learned []lesson
}

// record is what is known of a class.
type record struct {
	refusals []refusal // by the place of the node in the snapshot
	// whole is what was said of all nodes when there were so many.
	whole string
	nodes int
	// asOf counts the changes before a record that holds until the next one.
	asOf int
}

// lesson is where a record got longer: a node, or -1 for all nodes.
type lesson struct {
	record *record
	node   int
}

func newMemory() *memory { return &memory{records: map[class]*record{}} }

// of returns the record of a class, with room for so many nodes. A record of a
// fickle class holds until the next change.
func (m *memory) of(k class, nodes, changes int) *record {
	r := m.records[k]
	if r == nil {
		r = &record{}
		m.records[k] = r
	}
	if k.fickle && r.asOf != changes {
		clear(r.refusals)
		r.whole, r.asOf = "", changes
	}
	if grow := nodes - len(r.refusals); grow > 0 {
		r.refusals = append(r.refusals, make([]refusal, grow)...)
	}
	return r
}

// unlearn forgets all but the first lessons.
func (m *memory) unlearn(but int) {
	for _, l := range m.learned[but:] {
		if l.node < 0 {
			l.record.whole = ""
		} else {
			l.record.refusals[l.node] = unknown
		}
	}
	m.learned = m.learned[:but]
}

// refusal stands for the reasons of a node.
type refusal int32

const unknown refusal = 0

// wording knows the reasons that nodes gave, each once. A class may have names
// in them that differ from pod to pod.
type wording struct {
	known map[string]refusal
	texts [][]string
}

func newWording() *wording {
	return &wording{known: map[string]refusal{}, texts: [][]string{nil}}
}

const separator = "\x00"

// note returns what stands for the reasons. The names are those of the pod that was refused.
func (w *wording) note(reasons []string, names []string) refusal {
	key := reasons[0]
	if len(reasons) > 1 {
		key = strings.Join(reasons, separator)
	}
	for i, name := range names {
		key = replaceName(key, name, nameless(i))
	}
	id, ok := w.known[key]
	if !ok {
		id = refusal(len(w.texts))
		w.known[key] = id
		w.texts = append(w.texts, strings.Split(key, separator))
	}
	return id
}

// tell counts the reasons of refusals. The names are those of the pod that is told.
func (w *wording) tell(counts map[refusal]int, names []string, into map[string]int) {
	for id, count := range counts {
		for _, reason := range w.texts[id] {
			for i, name := range names {
				reason = strings.ReplaceAll(reason, nameless(i), name)
			}
			into[reason] += count
		}
	}
}

func nameless(i int) string { return fmt.Sprintf("\x01%d\x01", i) }

// replaceName replaces a name where it stands for itself and is no part of a longer one.
func replaceName(text, name, by string) string {
	if !strings.Contains(text, name) {
		return text
	}
	var replaced strings.Builder
	done := 0
	for at := 0; at+len(name) <= len(text); at++ {
		end := at + len(name)
		if text[at:end] != name || at > 0 && inName(text[at-1]) || end < len(text) && inName(text[end]) {
			continue
		}
		replaced.WriteString(text[done:at])
		replaced.WriteString(by)
		done, at = end, end-1
	}
	return replaced.String() + text[done:]
}

func inName(c byte) bool { return c == '-' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' }

// recall finds what is known of the pod's class, or a blank of its own.
func (c *cycle) recall(pod *v1.Pod) {
	nodes := len(c.simulator.snapshot.nodes)
	k, names, ok := c.classOf(pod)
	if ok {
		c.record, c.names, c.shared = c.memory.of(k, nodes, c.changes), names, true
		c.own = len(names) > 0 || k.standing != ""
		return
	}
	c.blank.refusals = slices.Grow(c.blank.refusals[:0], nodes)[:nodes]
	clear(c.blank.refusals)
	c.record = &c.blank
}

// learn notes that a record has got longer, unless nothing will take that back.
func (s *Session) learn(r *record, node int) {
	if len(s.marks) > 1 {
		s.memory.learned = append(s.memory.learned, lesson{r, node})
	}
}
