// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package capacity

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
)

const (
	// ErrReasonNone takes the class.
	ErrReasonNone = "node(s) without storage of class %q"
	// ErrReasonLack takes the class, what it offers and what is asked of it.
	ErrReasonLack = "node(s) without enough storage: class %q %s, and %s"

	// namedClaims is how many claims a reason names.
	namedClaims = 4
)

// text explains a finding that does not fit. Nodes of which it says the same
// share the string.
func (p *part) text(f finding) string {
	if f.pools == 0 {
		return fmt.Sprintf(ErrReasonNone, p.class)
	}
	offer := f.offer()
	if text, has := p.texts.Load(offer); has {
		return text.(string)
	}
	text := fmt.Sprintf(ErrReasonLack, p.class, offer, p.wish())
	p.texts.Store(offer, text)
	return text
}

// offer writes what a node has.
func (f finding) offer() string {
	var b strings.Builder
	switch {
	case f.room == unlimited:
		b.WriteString("takes volumes of at most " + about(f.limit))
	case f.limit < f.room:
		b.WriteString("has " + about(f.room) + " left, at most " + about(f.limit) + " for one volume")
	default:
		b.WriteString("has " + about(f.room) + " left")
	}
	if f.pools > 1 {
		fmt.Fprintf(&b, ", in %d pools", f.pools)
	}
	switch {
	case f.promised == 0 || f.room == unlimited:
	case f.promised >= f.room:
		b.WriteString(", all of it promised to other pods")
	default:
		b.WriteString(", " + about(f.promised) + " of it promised to other pods")
	}
	return b.String()
}

// wish writes what the claims need. They come in the order of the pod's volumes,
// which differs between pods of one set: a StatefulSet keeps them in a map.
func (p *part) wish() string {
	if len(p.claims) == 1 {
		return fmt.Sprintf("claim %s needs %s", p.claims[0].Name, exactly(p.need))
	}
	names := make([]string, 0, namedClaims+1)
	sorted := slices.SortedFunc(slices.Values(p.claims), func(a, b Claim) int { return cmp.Compare(a.Name, b.Name) })
	for _, c := range sorted[:min(namedClaims, len(sorted))] {
		names = append(names, fmt.Sprintf("%s (%s)", c.Name, exactly(c.Bytes)))
	}
	if more := len(p.claims) - namedClaims; more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	return fmt.Sprintf("claims %s need %s", strings.Join(names, ", "), exactly(p.need))
}

func exactly(bytes int64) string { return resource.NewQuantity(bytes, resource.BinarySI).String() }

// about writes a size in two digits. What needs more is rounded down to a
// coarse step, for nodes are counted by what is said of them, and no two of a
// thousand have the same number of bytes left.
func about(bytes int64) string {
	unit, name := int64(1), 0
	for bytes/unit >= 1<<10 {
		unit, name = unit<<10, name+1
	}
	fine, coarse := unit, 5*unit
	switch whole := bytes / unit; {
	case name == 0:
		fine = 1
	case whole < 10:
		fine, coarse = unit/2, unit/2
	case whole >= 100:
		fine, coarse = 10*unit, 50*unit
	}
	over := ""
	if bytes%fine != 0 {
		over, bytes = "over ", bytes-bytes%coarse
	}
	half := ""
	if bytes%unit != 0 {
		half = ".5"
	}
	return fmt.Sprintf("%s%d%s%s", over, bytes/unit, half, [...]string{"", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"}[name])
}
