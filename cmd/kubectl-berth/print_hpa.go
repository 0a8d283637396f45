// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/berth-dev/berth/autoscaler/horizontal"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/cli-runtime/pkg/printers"
)

// text prints the HPA with the last words of its controller, the metrics as a
// table, and what comes of them.
func (r *hpaReport) text(out io.Writer) error {
	head := fieldWriter(out)
	fmt.Fprintf(head, "HPA:\t%s/%s, of %s/%s, %d to %d replicas\n", r.Namespace, r.HPA, r.Target.Kind, r.Target.Name, r.MinReplicas, r.MaxReplicas)
	if r.Scale != nil {
		fmt.Fprintf(head, "Replicas:\t%d, and %s\n", r.Scale.Replicas, count(int(r.Scale.Pods), "pod"))
	}
	r.said(head)
	if err := head.Flush(); err != nil {
		return err
	}
	if len(r.Metrics) > 0 {
		table := printers.GetNewTabWriter(out)
		fmt.Fprintln(table, "\nMETRIC\tVALUE\tTARGET\tRATIO\tPODS\tPROPOSAL\tWHY")
		for i := range r.Metrics {
			m := &r.Metrics[i]
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", m, m.amount(m.Value, m.countsPods()), m.amount(m.Target, true), m.ratio(), m.pods(), m.proposal(), or(m.why()))
		}
		if err := table.Flush(); err != nil {
			return err
		}
	}
	foot := fieldWriter(out)
	fmt.Fprintln(foot)
	r.decided(foot)
	fmt.Fprintf(foot, "Berth acts:\t%s\n", r.BerthActs)
	for _, note := range r.Notes {
		fmt.Fprintf(foot, "Note:\t%s\n", note)
	}
	return foot.Flush()
}

// said is what the controller wrote last.
func (r *hpaReport) said(w io.Writer) {
	status := r.Status
	if len(status.Conditions) == 0 {
		fmt.Fprintf(w, "Status:\t%s\n", none)
		return
	}
	scaled := "never scaled"
	if last := status.LastScaleTime; last != nil {
		scaled = fmt.Sprintf("scaled %s ago", duration.HumanDuration(max(0, r.now.Sub(last.Time))))
	}
	fmt.Fprintf(w, "Status:\t%d replicas, %d desired, %s\n", status.CurrentReplicas, status.DesiredReplicas, scaled)
	for _, c := range status.Conditions {
		fmt.Fprintf(w, "Condition:\t%s %s, %s: \"%s\"\n", c.Type, c.Status, c.Reason, strings.ReplaceAll(c.Message, "\n", " "))
	}
}

// decided is what comes of the metrics now.
func (r *hpaReport) decided(w io.Writer) {
	if r.Tolerance != nil {
		fmt.Fprintf(w, "Tolerance:\tratios from %s to %s change nothing\n", number(r.Tolerance.From), number(r.Tolerance.To))
	}
	d := &r.Decision
	if d.Proposed != nil {
		fmt.Fprintf(w, "Proposed:\t%s\n", r.proposed(*d.Proposed))
	}
	if d.Stabilization != nil {
		fmt.Fprintf(w, "Stabilized:\t%s\n", d.Stabilization)
	}
	if d.LimitedBy != "" {
		fmt.Fprintf(w, "Limited:\tto %d by %s\n", *d.Replicas, d.LimitedBy)
	}
	switch {
	case d.Undecided != "":
		fmt.Fprintf(w, "Decision:\tnone: %s\n", strings.ReplaceAll(d.Undecided, "\n", " "))
	case *d.Replicas == r.Scale.Replicas:
		fmt.Fprintf(w, "Decision:\tstay at %d\n", *d.Replicas)
	case d.Stabilization != nil:
		fmt.Fprintf(w, "Decision:\tscale from %d to %d (%s), once it is stabilized\n", r.Scale.Replicas, *d.Replicas, d.Reason)
	default:
		fmt.Fprintf(w, "Decision:\tscale from %d to %d (%s)\n", r.Scale.Replicas, *d.Replicas, d.Reason)
	}
}

// proposed names the metric where there are several.
func (r *hpaReport) proposed(highest int32) string {
	if len(r.Metrics) > 1 {
		for i := range r.Metrics {
			if m := &r.Metrics[i]; m.Proposal != nil && *m.Proposal == highest {
				return fmt.Sprintf("%d, by %s", highest, m)
			}
		}
	}
	return fmt.Sprint(highest)
}

func (s *stabilizationReport) String() string {
	text := fmt.Sprintf("by the leader alone, which remembers the recommendations of the last %s: the %s counts", duration.HumanDuration(s.Window), s.Counts)
	if s.LastReason != "" {
		text += fmt.Sprintf(" (it last said %s)", s.LastReason)
	}
	return text
}

func (r *metricReport) String() string {
	text := fmt.Sprintf("%s %s", r.Type, r.Name)
	if r.Selector != "" {
		text += "{" + r.Selector + "}"
	}
	switch {
	case r.Container != "":
		text += " of container " + r.Container
	case r.Object != nil:
		text += fmt.Sprintf(" of %s/%s", r.Object.Kind, r.Object.Name)
	}
	return text
}

// amount is a value or a target, for one pod where it is an average.
func (r *metricReport) amount(of *resource.Quantity, average bool) string {
	if of == nil {
		return none
	}
	text := of.String()
	const mebi = 1 << 20
	if of.Format == resource.BinarySI && of.Value() > mebi {
		text = fmt.Sprintf("%dMi", of.Value()/mebi)
	}
	switch {
	case r.TargetType == autoscalingv2.UtilizationMetricType:
		return text + "%"
	case r.TargetType == autoscalingv2.AverageValueMetricType && average:
		return text + " a pod"
	}
	return text
}

func (r *metricReport) ratio() string {
	if r.Ratio == nil {
		return none
	}
	return number(*r.Ratio)
}

// number is a ratio with as many digits as people compare.
func number(ratio float64) string { return fmt.Sprintf("%.3f", ratio) }

func (r *metricReport) pods() string {
	if r.Pods == nil {
		return none
	}
	var texts []string
	for _, group := range []struct {
		pods int
		name string
	}{{r.Pods.Ready, "ready"}, {r.Pods.Unready, "unready"}, {r.Pods.Missing, "missing"}, {r.Pods.Ignored, "ignored"}, {r.Pods.Unlisted, "not selected"}} {
		if group.pods > 0 {
			texts = append(texts, fmt.Sprintf("%d %s", group.pods, group.name))
		}
	}
	return or(strings.Join(texts, ", "))
}

func (r *metricReport) proposal() string {
	if r.Proposal == nil {
		return none
	}
	return fmt.Sprint(*r.Proposal)
}

// why says what is not to be seen in the numbers.
func (r *metricReport) why() string {
	var texts []string
	if r.AssumedRatio != nil {
		assumed := "missing pods taken for busy"
		if *r.Ratio > 1 {
			assumed = "unready and missing pods taken for idle"
		}
		texts = append(texts, fmt.Sprintf("%s with %s", number(*r.AssumedRatio), assumed))
	}
	switch r.Kept {
	case horizontal.WithinTolerance:
		texts = append(texts, "within tolerance")
	case horizontal.InDoubt:
		texts = append(texts, "in doubt, as pods without a value could turn it round")
	}
	if r.Failure != "" {
		texts = append(texts, strings.ReplaceAll(r.Failure, "\n", " "))
	}
	return strings.Join(texts, "; ")
}
