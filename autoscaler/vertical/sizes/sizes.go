// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package sizes writes and reads the table from which the API server gives pods
// their size when they are created: an annotation of the one VPA that wins its target,
// read by the MutatingAdmissionPolicy in manifests/policies/pod-sizes.yaml.
//
//	v1 6a0d439e-9f2b-4f7d-b1c5-6c2a3f0f8e11
//	4 postgres 1500m 8589934592 3000m 8589934592
//	* postgres 500m 2147483648 1000m 2147483648
//	* exporter 50m 52428800 - -
//
// The first line names the format and the VPA, so that a copy of the VPA sizes nothing.
// Each other line is one container of one slot, or with the slot "*" of all pods: its
// requests of cpu and memory, then its limits, with "-" where nothing is said. The first
// line that fits counts.
//
// What it promises:
//
//   - a table has one form: the same sizes give the same text, in any order;
//   - what is written is what is read, and a line that is not of this form is no line;
//   - nothing is written that the policy would not follow;
//   - a table is never larger than MaxBytes.
//
// Amounts are whole thousandths of a core and whole bytes: the policy knows them by their
// digits. A quantity such as 1e-2147483647 would keep the API server busy for minutes.
package sizes

import (
	"cmp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// Annotation holds the table, on the VPA that wins its target.
	Annotation = "berth.dev/sizes"
	// AnySlot is the slot of those that have no line of their own.
	AnySlot = "*"
	// MaxBytes is how large a table may become. All annotations of an object together may
	// be four times as large.
	MaxBytes = 64 << 10

	version = "v1 "
)

// Table is what a VPA gives the pods of its target: one size for a container of a slot.
type Table struct {
	VPA   types.UID
	Sizes []Size
}

// Size is what a container requests and is limited to. A limit is meant for containers
// that have one: none is added.
type Size struct {
	Slot, Container  string
	Requests, Limits corev1.ResourceList
}

// Of is the size of a container, as the policy finds it.
func (t Table) Of(slot, container string) (Size, bool) {
	i := slices.IndexFunc(t.Sizes, func(s Size) bool {
		return s.Container == container && (s.Slot == slot || s.Slot == AnySlot)
	})
	if i < 0 {
		return Size{}, false
	}
	return t.Sizes[i], true
}

// String is the table as it is written. Slots that get what any slot gets have no line. If
// there are too many, the last ordinals have none either.
func (t Table) String() string {
	var common, own []line
	for _, s := range t.Sizes {
		l, ok := lineOf(s)
		switch {
		case !ok:
		case s.Slot == AnySlot:
			common = append(common, l)
		default:
			own = append(own, l)
		}
	}
	own = slices.DeleteFunc(own, func(l line) bool {
		l.slot = AnySlot
		return slices.Contains(common, l)
	})
	slices.SortFunc(common, line.compare)
	slices.SortFunc(own, line.compare)

	head := version + string(t.VPA) + "\n"
	tail := join(common, MaxBytes-len(head))
	return head + join(own, MaxBytes-len(head)-len(tail)) + tail
}

// Parse reads a table as the policy does; false if this is none.
func Parse(annotation string) (Table, bool) {
	head, rest, _ := strings.Cut(annotation, "\n")
	uid, ok := strings.CutPrefix(head, version)
	if !ok || uid == "" {
		return Table{}, false
	}
	t := Table{VPA: types.UID(uid)}
	for text := range strings.SplitSeq(rest, "\n") {
		if s, ok := parseLine(text); ok {
			t.Sizes = append(t.Sizes, s)
		}
	}
	return t, true
}

// join writes lines one below the other, as long as there is room.
func join(lines []line, room int) string {
	var b strings.Builder
	for _, l := range slices.Compact(lines) {
		text := l.String()
		if b.Len()+len(text) > room {
			break
		}
		b.WriteString(text)
	}
	return b.String()
}

// compare puts ordinals in their order, and other slots by length and name.
func (l line) compare(other line) int {
	return cmp.Or(
		cmp.Compare(len(l.slot), len(other.slot)), cmp.Compare(l.slot, other.slot),
		cmp.Compare(l.container, other.container), cmp.Compare(l.text(), other.text()),
	)
}
