// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strings"

	"k8s.io/cli-runtime/pkg/printers"
)

// text prints what was tried, each pod with its place, and the node groups that would grow.
func (r *whatIfReport) text(out io.Writer) error {
	w := fieldWriter(out)
	fmt.Fprintf(w, "What if:\t%s\n", r.Change)
	fmt.Fprintf(w, "Answer:\t%s\n", r.answer())
	fmt.Fprintln(w, "Basis:\ta simulation of the cluster as it is now; nothing was changed")
	if r.BerthActs != "" {
		fmt.Fprintf(w, "Berth:\t%s\n", r.BerthActs)
	}
	if r.Node != nil {
		fmt.Fprintf(w, "Node group:\t%s\n", or(r.Node.Group))
		fmt.Fprintf(w, "Becomes of it:\t%s\n", or(r.Node.Fate))
		for i, reason := range r.Removal {
			fmt.Fprintf(w, "%s\t%s\n", []string{"By itself:", ""}[min(i, 1)], "Berth would not remove it: "+reason)
		}
		switch {
		case r.Node.going:
			fmt.Fprintln(w, "By itself:\tBerth is removing it")
		case len(r.Removal) == 0:
			fmt.Fprintln(w, "By itself:\tBerth would remove it, once this has been so for nodes.unneededTime")
		}
	}
	for _, note := range r.Notes {
		fmt.Fprintf(w, "Note:\t%s\n", note)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if err := r.podsText(out); err != nil {
		return err
	}
	if len(r.Groups) == 0 {
		return nil
	}
	table := printers.GetNewTabWriter(out)
	fmt.Fprintln(table, "\nNODE GROUP\tGROWS\tWHY")
	for _, g := range r.Groups {
		fmt.Fprintf(table, "%s\tfrom %d to %d\t%s\n", g.Group, g.From, g.To, g.Reason)
	}
	return table.Flush()
}

func (r *whatIfReport) podsText(out io.Writer) error {
	if len(r.Pods)+len(r.Going) == 0 {
		return nil
	}
	table := printers.GetNewTabWriter(out)
	fmt.Fprintln(table, "\nPOD\tSTATE\tGOES TO\tWHY")
	for i := range r.Pods {
		p := &r.Pods[i]
		name := p.Pod
		if p.Namespace != r.Change.Namespace {
			name = p.Namespace + "/" + name
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", name, p.State, p.where(), or(p.why()))
	}
	for _, pod := range r.Going {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", pod, stateEnds, none, none)
	}
	return table.Flush()
}

func (c changeReport) String() string {
	if c.Verb == "drain" {
		return fmt.Sprintf("node %s is drained", c.Name)
	}
	return fmt.Sprintf("%s %s/%s is scaled from %d to %d replicas", c.Kind, c.Namespace, c.Name, *c.From, *c.To)
}

// answer says in one line how it would come out.
func (r *whatIfReport) answer() string {
	var texts []string
	if unmet := r.unmet(); unmet != "" {
		texts = append(texts, unmet)
	} else if len(r.Pods) > 0 {
		texts = append(texts, "all pods would run")
	}
	for _, h := range r.Held {
		texts = append(texts, fmt.Sprintf("%s would not come: %s", count(h.Pods, "pod"), h.Reason))
	}
	if n := len(r.Going) + r.Fewer; n > 0 {
		texts = append(texts, fmt.Sprintf("%s would end", count(n, "pod")))
	}
	more := 0
	for _, g := range r.Groups {
		more += g.To - g.From
	}
	if more > 0 {
		texts = append(texts, fmt.Sprintf("%s would be added", count(more, "node")))
	} else {
		texts = append(texts, "no node would be added")
	}
	return strings.Join(texts, "; ")
}

// where is the node of a pod in words.
func (p *placeReport) where() string {
	of := ""
	if p.Group != "" {
		of = " of " + p.Group
	}
	switch p.Place {
	case placePresent:
		return p.Node
	case placeUpcoming:
		if p.Node != "" {
			return p.Node + ", which is on its way"
		}
		return fmt.Sprintf("node %d%s that is on its way", p.Nth, of)
	case placeNew:
		return fmt.Sprintf("new node %d%s", p.Nth, of)
	}
	return none
}

// why is what there is to say about the place of a pod, or about why it has none.
func (p *placeReport) why() string {
	var texts []string
	if p.Detail != "" {
		texts = append(texts, p.Detail)
	}
	if len(p.Reasons) > 0 {
		texts = append(texts, strings.Join(p.Reasons, ", "))
	}
	return strings.ReplaceAll(strings.Join(append(texts, p.Groups...), "; "), "\n", " ")
}
