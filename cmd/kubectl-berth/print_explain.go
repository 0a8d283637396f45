// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/berth-dev/berth/plugins/statefulset"
)

// text prints the explanation as one field after the other.
func (r *explainReport) text(out io.Writer) error {
	w := fieldWriter(out)
	if r.Slot == nil {
		fmt.Fprintf(w, "Pod:\t%s/%s\n", r.Namespace, r.Pod)
	} else {
		r.slot(w)
	}
	for _, nodes := range r.Nodes {
		nodes.text(w)
	}
	for _, said := range r.Scheduler {
		fmt.Fprintf(w, "Scheduler:\t\"%s\" (%s)\n", strings.ReplaceAll(said.Text, "\n", " "), said.Where)
	}
	for i, text := range r.Groups {
		fmt.Fprintf(w, "%s\t%s\n", []string{"Node groups:", ""}[min(i, 1)], []string{"", "  "}[min(i, 1)]+text)
	}
	for _, note := range r.Notes {
		fmt.Fprintf(w, "Note:\t%s\n", note)
	}
	return w.Flush()
}

func (r *explainReport) slot(w io.Writer) {
	s := r.Slot
	fmt.Fprintf(w, "Pod:\t%s/%s, ordinal %d of %s\n", r.Namespace, r.Pod, s.Ordinal, r.Set.String())
	fmt.Fprintf(w, "State:\t%s\n", s.state())
	fmt.Fprintf(w, "Policy:\t%s\n", r.Policy.String())
	switch {
	case r.TopologyKey != "":
		fmt.Fprintf(w, "Belongs in:\t%s (%s)\n", or(s.Domain), s.Why)
	case s.Why != "":
		fmt.Fprintf(w, "Belongs on:\tnodes of %s\n", s.Why)
	}
	if len(r.Fallback) > 0 {
		fmt.Fprintf(w, "Else in:\t%s\n", strings.Join(r.Fallback, ", "))
	}
	if s.Shard != "" {
		fmt.Fprintf(w, "Shard:\tordinals %s\n", s.Shard)
	}
	if r.Gate != "" {
		fmt.Fprintf(w, "Gate:\t%s\n", r.Gate)
	}
	for _, claim := range s.Claims {
		fmt.Fprintf(w, "Claim:\t%s\n", claim)
	}
	node := or(s.Node)
	if s.NodeDomain != "" {
		node += ", in " + s.NodeDomain
	}
	fmt.Fprintf(w, "Node:\t%s\n", node)
	if r.Room != nil {
		fmt.Fprintf(w, "Room:\tkept on %s, %s\n", r.Room.Node, r.Room.remains())
	}
}

func (c claimReport) String() string {
	var about []string
	if c.Volume != "" {
		about = append(about, "volume "+c.Volume)
	}
	if n := len(c.Domains); n > mostDomains {
		about = append(about, fmt.Sprintf("in %d domains", n))
	} else if n > 0 {
		about = append(about, "in "+strings.Join(c.Domains, ", "))
	}
	if c.Detail != "" {
		about = append(about, c.Detail)
	}
	return c.Name + ": " + strings.Join(about, ", ")
}

// text says what is in the way on the nodes of a domain: in lines of their own,
// for a node may be in several of them.
func (r *nodesReport) text(w io.Writer) {
	free := r.Total
	seen := map[string]bool{}
	for _, o := range r.Obstacles {
		for _, node := range o.Nodes {
			if !seen[node] {
				seen[node] = true
				free--
			}
		}
	}
	if r.Domain == "" {
		fmt.Fprintf(w, "Nodes:\t%d\n", r.Total)
	} else {
		fmt.Fprintf(w, "Nodes:\t%d in %s\n", r.Total, r.Domain)
	}
	for _, o := range r.Obstacles {
		fmt.Fprintf(w, "\t  %d %s\n", len(o.Nodes), o)
	}
	if free > 0 {
		fmt.Fprintf(w, "\t  %d with nothing in the way that one look at the API shows\n", free)
	}
}

func (o obstacleReport) String() string {
	text := o.Reason
	if o.Asked != "" {
		text += fmt.Sprintf(" (asks for %s, at most %s is free)", o.Asked, o.Free)
	}
	names, whole := first(mostNodes, o.Nodes)
	for i, node := range names {
		slots := o.slotsOn(node)
		if len(slots) == 0 {
			continue
		}
		few, all := first(mostSlots, slots)
		names[i], whole = fmt.Sprintf("%s (%s)", node, strings.Join(few, ", ")), whole && all
	}
	text += ": " + strings.Join(names, ", ")
	if len(o.Holds) > 0 && !whole {
		text += "; see kubectl berth holds " + o.where()
	}
	return text
}

// slotsOn names the slots whose room is kept on a node.
func (o obstacleReport) slotsOn(node string) []string {
	var slots []string
	for i := range o.Holds {
		if h := &o.Holds[i]; h.Node == node {
			slots = append(slots, slotAt(statefulset.SetKey{Namespace: h.Set.Namespace, Name: h.Set.Name}, h.Ordinal).String())
		}
	}
	return slots
}

// where is the flag with which all of the holds are listed.
func (o obstacleReport) where() string {
	namespace := o.Holds[0].Set.Namespace
	if slices.ContainsFunc(o.Holds, func(h holdReport) bool { return h.Set.Namespace != namespace }) {
		return "-A"
	}
	return "-n " + namespace
}

// first returns so many names and how many more there are, and whether that is
// all of them.
func first(most int, names []string) (few []string, all bool) {
	if len(names) <= most {
		return slices.Clone(names), true
	}
	return append(slices.Clone(names[:most]), fmt.Sprintf("and %d more", len(names)-most)), false
}
