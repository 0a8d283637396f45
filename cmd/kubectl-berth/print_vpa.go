// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	"k8s.io/cli-runtime/pkg/printers"

	"github.com/berth-dev/berth/autoscaler/config"
	"github.com/berth-dev/berth/autoscaler/vertical/resize"
	"github.com/berth-dev/berth/autoscaler/vertical/sizes"
)

// text prints the VPA with what is wrong with it, and three tables: what is recommended to
// all, what to single slots, and how far the pods are.
func (r *vpaReport) text(out io.Writer) error {
	head := fieldWriter(out)
	r.head(head)
	if err := head.Flush(); err != nil {
		return err
	}
	for _, print := range []func(io.Writer){r.containers, r.slots, r.pods} {
		table := printers.GetNewTabWriter(out)
		print(table)
		if err := table.Flush(); err != nil {
			return err
		}
	}
	if len(r.Notes) == 0 {
		return nil
	}
	foot := fieldWriter(out)
	fmt.Fprintln(foot)
	for _, note := range r.Notes {
		fmt.Fprintf(foot, "Note:\t%s\n", note)
	}
	return foot.Flush()
}

func (r *vpaReport) head(w io.Writer) {
	of := "of no target"
	if r.Target != nil {
		of = fmt.Sprintf("of %s/%s", r.Target.Kind, r.Target.Name)
	}
	fmt.Fprintf(w, "VPA:\t%s/%s, %s, update mode %s\n", r.Namespace, r.VPA, of, r.UpdateMode)
	fmt.Fprintf(w, "Recommender:\t%s\n", r.Recommender)
	fmt.Fprintf(w, "Berth acts:\t%s\n", r.BerthActs)
	for _, c := range r.Status.Conditions {
		if amiss(c) && r.BerthActs.from != fromCondition(c.Type) {
			fmt.Fprintf(w, "Condition:\t%s %s, %s: \"%s\"\n", c.Type, c.Status, c.Reason, strings.ReplaceAll(c.Message, "\n", " "))
		}
	}
	for i := range r.Containers {
		if c := &r.Containers[i]; c.History != nil {
			fmt.Fprintf(w, "History:\t%s: %s\n", c.Name, c.History.text(r.now))
		}
	}
	if r.AsOf != nil {
		fmt.Fprintf(w, "As of:\t%s ago, when the last checkpoint was written: berth-autoscaler itself may know more\n", age(r.now, r.AsOf))
	}
	switch {
	case r.Status.Recommendation == nil:
	case r.Sizes == sizesMissing:
		fmt.Fprintf(w, "Sizes:\tnone in the annotation %s: a pod that is created has the size that its template says\n", sizes.Annotation)
	case r.Sizes == sizesForeign:
		fmt.Fprintf(w, "Sizes:\tthe annotation %s is a copy from another VPA: a pod that is created has the size that its template says\n", sizes.Annotation)
	}
}

// amiss tells whether a condition is not as it should be: two of them should be True, and
// all others not be there.
func amiss(c vpav1.VerticalPodAutoscalerCondition) bool {
	if c.Type == vpav1.RecommendationProvided || c.Type == config.SizesApplied {
		return c.Status != v1.ConditionTrue
	}
	return c.Status != v1.ConditionFalse
}

func (h *historyReport) text(now time.Time) string {
	if h.First == nil {
		return "no samples of cpu"
	}
	return fmt.Sprintf("%d samples in %s, the last one %s ago, confidence %s",
		h.Samples, duration.HumanDuration(h.Last.Sub(h.First.Time)), age(now, h.Last), days(h.Confidence))
}

func age(now time.Time, then *metav1.Time) string {
	return duration.HumanDuration(max(0, now.Sub(then.Time)))
}

func days(confidence float64) string { return fmt.Sprintf("%.2f", confidence) }

func (r *vpaReport) containers(w io.Writer) {
	if r.Status.Recommendation == nil {
		fmt.Fprintln(w, "\nNothing is recommended.")
		return
	}
	fmt.Fprintln(w, "\nCONTAINER\tRESOURCE\tTARGET\tLOWER BOUND\tUPPER BOUND\tUNCAPPED\tCAPPED BY\tCREATED WITH")
	for _, c := range r.Containers {
		for _, a := range c.Resources {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", c.Name, a.Name, short(a.Target), short(a.LowerBound), short(a.UpperBound), short(a.UncappedTarget),
				or(string(a.CappedBy)), a.Created)
		}
	}
}

func (r *vpaReport) slots(w io.Writer) {
	headed := false
	for _, s := range r.Slots {
		if !s.Differs {
			continue
		}
		if !headed {
			fmt.Fprintln(w, "\nORDINAL\tCONTAINER\tRESOURCE\tOWN\tSET\tWEIGHT\tTARGET\tCAPPED BY\tSAMPLES\tCONFIDENCE\tCREATED WITH")
			headed = true
		}
		for _, a := range s.Resources {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%.2f\t%s\t%s\t%d\t%s\t%s\n", s.Slot, s.Container, a.Name, short(a.Own), short(a.Set), a.Weight,
				short(a.Target), or(string(a.CappedBy)), s.History.Samples, days(s.History.Confidence), a.Created)
		}
	}
	if !headed && len(r.Slots) > 0 {
		fmt.Fprintln(w, "\nEvery ordinal gets what the set gets.")
	}
}

// String is the request, and the limit where one is set with it.
func (c *createdReport) String() string {
	switch {
	case c == nil:
		return none
	case c.Limit == nil:
		return short(c.Request)
	}
	return fmt.Sprintf("%s (limit %s)", short(c.Request), short(c.Limit))
}

func (r *vpaReport) pods(w io.Writer) {
	if len(r.Pods) == 0 {
		return
	}
	fmt.Fprintln(w, "\nPOD\tNODE\tREQUESTS\tTO\tCLASS\tSTEP\tWHY")
	for i := range r.Pods {
		p := &r.Pods[i]
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", p.Pod, or(p.Node), p.requests(), p.to(), p.Class, p.Step, p.why(r.BerthActs))
	}
}

// requests are those of the spec, and what the kubelet reports instead.
func (p *sizedPodReport) requests() string {
	var texts []string
	for _, c := range p.Containers {
		text := amounts(c.Requests)
		if len(p.Containers) > 1 {
			text = c.Name + " " + text
		}
		if c.Actual != nil {
			text += fmt.Sprintf(" (has %s)", amounts(c.Actual))
		}
		texts = append(texts, text)
	}
	return or(strings.Join(texts, "; "))
}

// to are the requests that containers are to have.
func (p *sizedPodReport) to() string {
	var texts []string
	for _, c := range p.Containers {
		switch {
		case c.To == nil || p.Class == resize.None:
		case len(p.Containers) > 1:
			texts = append(texts, c.Name+" "+amounts(c.To.Requests))
		default:
			texts = append(texts, amounts(c.To.Requests))
		}
	}
	return or(strings.Join(texts, "; "))
}

// why is what it waits for, or would ask, before why it is so. What TO tells is left out, and what the head tells.
func (p *sizedPodReport) why(acts actsReport) string {
	reason := strings.TrimPrefix(p.Reason, p.change)
	if p.Step == resize.Resizes && p.Class == resize.None {
		reason = p.Waits // what is under way is all that is wanted
	}
	var texts []string
	switch {
	case p.Waits == "" || strings.Contains(reason, p.Waits):
	case p.Waits == acts.Message:
		texts = append(texts, "Berth does not act")
	case p.Step == resize.Asks:
		texts = append(texts, "would ask "+p.Waits)
	default:
		texts = append(texts, p.Waits)
	}
	return strings.ReplaceAll(strings.Join(append(texts, reason), "; "), "\n", " ")
}

// amounts are cpu and memory.
func amounts(list v1.ResourceList) string {
	var texts []string
	for _, name := range sized() {
		if q := amountOf(list, name); q != nil {
			texts = append(texts, fmt.Sprintf("%s=%s", name, short(q)))
		}
	}
	return or(strings.Join(texts, ","))
}

// short is a quantity as people compare it: memory in whole Mi, or Gi where it comes to that.
func short(q *resource.Quantity) string {
	const mebi, gibi = 1 << 20, 1 << 30
	switch {
	case q == nil:
		return none
	case q.Value() >= gibi && q.Value()%gibi == 0:
		return fmt.Sprintf("%dGi", q.Value()/gibi)
	case q.Value() >= mebi:
		return fmt.Sprintf("%dMi", (q.Value()+mebi/2)/mebi)
	}
	return q.String()
}
