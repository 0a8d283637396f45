// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/cli-runtime/pkg/printers"

	"github.com/berth-dev/berth/autoscaler/nodes/status"
)

// text prints the group as fields, its nodes as a table, and the pods that it cannot help.
func (r *groupReport) text(out io.Writer) error {
	h, w := r.Status.Health, fieldWriter(out)
	if r.LeftAlone != "" {
		return r.leftAloneText(w)
	}
	fmt.Fprintf(w, "Node group:\t%s, target %d, %d to %d nodes\n", r.Name, h.CloudProviderTarget, h.MinSize, h.MaxSize)
	fmt.Fprintf(w, "Nodes:\t%s\n", counts(h.NodeCounts))
	fmt.Fprintf(w, "Can grow:\t%s\n", r.growth())
	if g := r.Status.Berth.LastScaleUp; g != nil {
		fmt.Fprintf(w, "Last growth:\tfrom %d to %d, %s ago: %s\n", g.From, g.To, ago(r.now.Sub(g.Time.Time)), g.Reason)
	}
	if g := r.Status.Berth.Planned; g != nil {
		fmt.Fprintf(w, "Planned:\tfrom %d to %d, for %s: %s\n", g.From, g.To, ago(r.now.Sub(g.Time.Time)), g.Reason)
	}
	if t := r.Template; t != nil {
		fmt.Fprintf(w, "New nodes:\t%s\n", t)
	}
	if limits := r.limits(); limits != "" {
		fmt.Fprintf(w, "Limits:\t%s\n", limits)
	}
	if err := r.ending(w); err != nil {
		return err
	}
	if len(r.Nodes) > 0 {
		table := printers.GetNewTabWriter(out)
		fmt.Fprintln(table, "\nNODE\tSTATE\tAGE\tPODS\tCPU\tMEMORY\tWHAT BECOMES OF IT")
		for i := range r.Nodes {
			n := &r.Nodes[i]
			fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%s\t%s\t%s\n", n.Name, n.State, age(n.now, &n.Created), n.Pods, percent(n.Requests.CPUPercent), percent(n.Requests.MemoryPercent), or(n.Fate))
		}
		if err := table.Flush(); err != nil {
			return err
		}
	}
	if len(r.Waiting) == 0 {
		return nil
	}
	table := printers.GetNewTabWriter(out)
	fmt.Fprintln(table, "\nPOD THAT WAITS\tWHY NO NODE OF THE GROUP HELPS")
	for _, pod := range r.Waiting {
		name := pod.Pod
		if pod.Forecast {
			name += " (to come)"
		}
		fmt.Fprintf(table, "%s\t%s\n", name, pod.Reason)
	}
	return table.Flush()
}

// leftAloneText prints why nothing is known of the group.
func (r *groupReport) leftAloneText(w *tabwriter.Writer) error {
	fmt.Fprintf(w, "Node group:\t%s\n", r.Name)
	fmt.Fprintf(w, "Left alone:\t%s\n", r.LeftAlone)
	return r.ending(w)
}

// ending prints the fields that every group has.
func (r *groupReport) ending(w *tabwriter.Writer) error {
	fmt.Fprintf(w, "Berth:\t%s\n", r.BerthActs)
	fmt.Fprintf(w, "Status:\t%s\n", r.Origin)
	for _, note := range r.Notes {
		fmt.Fprintf(w, "Note:\t%s\n", note)
	}
	return w.Flush()
}

// growth says whether the group can grow, and if not, why.
func (r *groupReport) growth() string {
	b := r.Status.Berth
	switch {
	case b.Obstacle == "":
		return fmt.Sprintf("yes, by %d", max(0, r.Status.Health.MaxSize-r.Status.Health.CloudProviderTarget))
	case b.RetryAt != nil && b.RetryAt.After(r.now):
		return fmt.Sprintf("no: %s; tried again in %s", b.Obstacle, ago(b.RetryAt.Sub(r.now)))
	case b.RetryAt != nil:
		return fmt.Sprintf("tried again any moment: %s", b.Obstacle)
	default:
		return "no: " + b.Obstacle
	}
}

// limits are those of the group, and what expanders go by.
func (r *groupReport) limits() string {
	var texts []string
	b := r.Status.Berth
	if o := b.Options; o != (status.Options{}) {
		texts = append(texts, fmt.Sprintf("a node goes when less than %.0f%% of it is asked for %s (not ready: %s), and may take %s to come", 100*o.UtilizationThreshold,
			ago(o.UnneededTime.Duration), ago(o.UnreadyTime.Duration), ago(o.MaxNodeProvisionTime.Duration)))
	}
	if b.PricePerHour != nil {
		texts = append(texts, fmt.Sprintf("%g an hour", *b.PricePerHour))
	}
	if b.Priority != 0 {
		texts = append(texts, fmt.Sprintf("priority %d", b.Priority))
	}
	return strings.Join(texts, "; ")
}

// counts says how many nodes do what.
func counts(c status.NodeCounts) string {
	texts := []string{fmt.Sprintf("%d ready", c.Registered.Ready)}
	add := func(n int, what string) {
		if n > 0 {
			texts = append(texts, fmt.Sprintf("%d %s", n, what))
		}
	}
	add(c.Registered.NotStarted, "starting")
	add(c.Unregistered, "asked for and not there yet")
	add(c.LongUnregistered, "asked for and late")
	add(c.Registered.Unready.Total, "unready")
	add(c.Registered.BeingDeleted, "leaving")
	return strings.Join(texts, ", ")
}

func (t *templateReport) String() string {
	text := amounts(t.Allocatable)
	if len(t.Labels) > 0 {
		text += "; labels " + sortedPairs(t.Labels)
	}
	var taints []string
	for i := range t.Taints {
		taints = append(taints, t.Taints[i].ToString())
	}
	if len(taints) > 0 {
		text += "; taints " + strings.Join(taints, ",")
	}
	return text
}

func sortedPairs(of map[string]string) string {
	var texts []string
	for key, value := range of {
		if key != v1.LabelHostname {
			texts = append(texts, key+"="+value)
		}
	}
	slices.Sort(texts)
	return strings.Join(texts, ",")
}

// text prints one node as fields.
func (r *nodeReport) text(out io.Writer) error {
	w := fieldWriter(out)
	fmt.Fprintf(w, "Node:\t%s, %s, age %s\n", r.Name, r.State, age(r.now, &r.Created))
	fmt.Fprintf(w, "Node group:\t%s\n", or(r.Group))
	fmt.Fprintf(w, "Pods:\t%d, which ask for %s of its cpu and %s of its memory\n", r.Pods, percent(r.Requests.CPUPercent), percent(r.Requests.MemoryPercent))
	if r.Fate != "" {
		fmt.Fprintf(w, "Becomes of it:\t%s\n", r.Fate)
	}
	if r.BerthActs != "" {
		fmt.Fprintf(w, "Berth:\t%s\n", r.BerthActs)
	}
	for _, note := range r.Notes {
		fmt.Fprintf(w, "Note:\t%s\n", note)
	}
	fmt.Fprintf(w, "See also:\tkubectl berth what-if drain node/%s\n", r.Name)
	return w.Flush()
}

func percent(p *int) string {
	if p == nil {
		return none
	}
	return fmt.Sprintf("%d%%", *p)
}

// ago is a time that has passed, or will.
func ago(d time.Duration) string { return duration.HumanDuration(max(0, d)) }
