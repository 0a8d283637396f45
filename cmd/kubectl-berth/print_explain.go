// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strings"
)

// text prints the explanation as one field after the other.
func (r *explainReport) text(out io.Writer) error {
	w := fieldWriter(out)
	if r.Slot == nil {
		fmt.Fprintf(w, "Pod:\t%s/%s\n", r.Namespace, r.Pod)
	} else {
		r.slot(w)
	}
	for _, said := range r.Scheduler {
		fmt.Fprintf(w, "Scheduler:\t\"%s\" (%s)\n", strings.ReplaceAll(said.Text, "\n", " "), said.Where)
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
	for _, nodes := range r.Nodes {
		nodes.text(w)
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
	names := o.Nodes
	if len(names) > mostNodes {
		names = append(names[:mostNodes:mostNodes], fmt.Sprintf("and %d more", len(o.Nodes)-mostNodes))
	}
	return text + ": " + strings.Join(names, ", ")
}
