// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/cli-runtime/pkg/printers"
)

// text prints the holds as a table, with notes below. Of nothing it prints
// nothing: see none.
func (r *holdsReport) text(out io.Writer) error {
	if len(r.Holds) == 0 {
		return nil
	}
	table := printers.GetNewTabWriter(out)
	namespace := func(s string) string {
		if r.everywhere {
			return s + "\t"
		}
		return ""
	}
	fmt.Fprintf(table, "%sSET\tORDINAL\tSTATE\tNODE\tNODE STATE\tREQUESTS\tPRIORITY\tAGE\tEXPIRES IN\n", namespace("NAMESPACE"))
	for i := range r.Holds {
		h := &r.Holds[i]
		fmt.Fprintf(table, "%s%s/%s\t%d\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", namespace(h.Set.Namespace), h.Set.Kind.spellings()[0], h.Set.Name, h.Ordinal,
			h.state(), h.Node, h.NodeState, requests(h.Requests), h.Priority, duration.HumanDuration(max(0, h.now.Sub(h.Since.Time))), h.expires())
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, note := range r.Notes {
		if _, err := fmt.Fprintf(out, "\nNote: %s\n", note); err != nil {
			return err
		}
	}
	return nil
}

// none says that there is nothing, which is no output of a table.
func (r *holdsReport) none() string {
	switch {
	case len(r.Holds) > 0:
		return ""
	case r.blind != "":
		return "Nothing is known: " + r.blind + "."
	default:
		return "No room is kept."
	}
}

func (h *holdReport) state() string {
	if h.Detail == "" {
		return string(h.State)
	}
	return fmt.Sprintf("%s (%s)", h.State, h.Detail)
}

// expires says what is known of the end of a hold.
func (h *holdReport) expires() string {
	switch {
	case h.required:
		return "no expiry (home.returnToNode is Required)"
	case h.Fixed:
		return "no expiry (its volume is on this node only)"
	case h.EndsNotAfter == nil:
		return duration.HumanDuration(h.HoldFor.Duration) + " after its pod is gone"
	case !h.EndsNotAfter.After(h.now):
		return "a moment"
	}
	first, last := duration.HumanDuration(h.EndsNotBefore.Sub(h.now)), duration.HumanDuration(h.EndsNotAfter.Sub(h.now))
	switch {
	case !h.EndsNotBefore.After(h.now):
		return "at most " + last
	case first == last:
		return first
	}
	return first + " to " + last
}

// remains says the same where the room itself is spoken of.
func (h *holdReport) remains() string {
	switch text := h.expires(); {
	case h.Fixed:
		return text
	case h.EndsNotAfter == nil:
		return "until " + text
	default:
		return text + " more"
	}
}

// requests writes resources one after the other, by name.
func requests(list v1.ResourceList) string {
	var texts []string
	for name, amount := range list {
		texts = append(texts, fmt.Sprintf("%s=%s", name, amount.String()))
	}
	slices.Sort(texts)
	return or(strings.Join(texts, ","))
}
