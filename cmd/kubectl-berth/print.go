// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"k8s.io/cli-runtime/pkg/printers"
	"sigs.k8s.io/yaml"
)

// The formats of --output.
const (
	formatTable = "table"
	formatYAML  = "yaml"
	formatJSON  = "json"
)

const (
	none = "<none>"
	// mostDomains, mostNodes and mostSlots, those of one node, bound lists for people.
	mostDomains, mostNodes, mostSlots = 10, 3, 3
)

// printer returns the function that prints in a format.
func printer(format string) (func(io.Writer, textual) error, error) {
	switch format {
	case formatTable:
		return func(w io.Writer, report textual) error { return report.text(w) }, nil
	case formatYAML:
		return func(w io.Writer, report textual) error {
			data, err := yaml.Marshal(report)
			if err != nil {
				return err
			}
			_, err = w.Write(data)
			return err
		}, nil
	case formatJSON:
		return func(w io.Writer, report textual) error {
			encoder := json.NewEncoder(w)
			encoder.SetIndent("", "  ")
			return encoder.Encode(report)
		}, nil
	}
	return nil, fmt.Errorf("--output %q is not known; want %s, %s or %s", format, formatTable, formatYAML, formatJSON)
}

// textual is a report that people can read.
type textual interface{ text(io.Writer) error }

// text prints the plan as a table, after a few lines on what made it.
func (r *planReport) text(out io.Writer) error {
	head := fieldWriter(out)
	fmt.Fprintf(head, "Set:\t%s\n", r.Set.String())
	fmt.Fprintf(head, "Policy:\t%s\n", r.Policy.String())
	if r.Spread != nil {
		fmt.Fprintf(head, "Domains:\t%s\n", r.Spread.String())
	}
	for _, note := range r.Notes {
		fmt.Fprintf(head, "Note:\t%s\n", note)
	}
	if err := head.Flush(); err != nil {
		return err
	}
	if len(r.Ordinals) == 0 {
		_, err := fmt.Fprintln(out, "\nNo ordinal is wanted.")
		return err
	}
	sharded := false
	for _, o := range r.Ordinals {
		sharded = sharded || o.Shard != ""
	}
	table := printers.GetNewTabWriter(out)
	shard := func(s string) string {
		if sharded {
			return s + "\t"
		}
		return ""
	}
	fmt.Fprintf(table, "\nORDINAL\t%sDOMAIN\tWHY\tNODE\tVOLUME\tSTATE\n", shard("SHARD"))
	for _, o := range r.Ordinals {
		fmt.Fprintf(table, "%d\t%s%s\t%s\t%s\t%s\t%s\n", o.Ordinal, shard(o.Shard), or(o.Domain), or(o.Why), or(o.Node), volumes(o.Claims), o.state())
	}
	return table.Flush()
}

func fieldWriter(out io.Writer) *tabwriter.Writer { return tabwriter.NewWriter(out, 0, 8, 2, ' ', 0) }

func or(text string) string {
	if text == "" {
		return none
	}
	return text
}

func (r setReport) String() string {
	text := fmt.Sprintf("%s %s/%s", r.Kind, r.Namespace, r.Name)
	switch {
	case r.Kind == kindPolicy:
		return fmt.Sprintf("the pods and claims that %s selects", text)
	case r.ScaledTo != nil:
		return fmt.Sprintf("%s, as if scaled from %d to %d replicas", text, *r.Replicas, *r.ScaledTo)
	case r.Replicas != nil:
		return fmt.Sprintf("%s, replicas: %d", text, *r.Replicas)
	}
	return text
}

func (r policyReport) String() string {
	switch r.Source {
	case fromPolicy:
		return fmt.Sprintf("PlacementPolicy %q", r.Name)
	case fromProfile:
		return fmt.Sprintf("default policy of profile %s in %s", r.SchedulerName, r.Configuration)
	case fromPlugin:
		return "default policy of the plugin OrdinalPlacement"
	default:
		return fmt.Sprintf("none: another scheduler (%s) places its pods", r.SchedulerName)
	}
}

func (r *spreadReport) String() string {
	var texts []string
	for i, d := range r.Domains {
		if i == mostDomains {
			texts = append(texts, fmt.Sprintf("and %d more", len(r.Domains)-i))
			break
		}
		text := fmt.Sprintf("%s (%s)", d.Name, count(d.Nodes, "node"))
		if d.Nodes > 0 && d.Ready < d.Nodes {
			text = fmt.Sprintf("%s (%s, %d ready)", d.Name, count(d.Nodes, "node"), d.Ready)
		}
		texts = append(texts, text)
	}
	if len(texts) == 0 {
		texts = []string{none}
	}
	return fmt.Sprintf("%s; values of node label %s", strings.Join(texts, ", "), r.TopologyKey)
}

func count(n int, what string) string {
	switch n {
	case 0:
		return "no " + what
	case 1:
		return "1 " + what
	default:
		return fmt.Sprintf("%d %ss", n, what)
	}
}

// volumes lists the volumes of a slot; of a claim without one, its name.
func volumes(claims []claimReport) string {
	texts := make([]string, len(claims))
	for i, claim := range claims {
		if texts[i] = claim.Volume; claim.Volume == "" {
			texts[i] = claim.Name
		}
		if claim.Detail != "" {
			texts[i] += " (" + claim.Detail + ")"
		}
	}
	return or(strings.Join(texts, ","))
}

func (o *ordinalReport) state() string {
	if o.Detail == "" {
		return string(o.State)
	}
	return fmt.Sprintf("%s (%s)", o.State, o.Detail)
}
