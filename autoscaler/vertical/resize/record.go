// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package resize

import (
	"encoding/json"
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// RecordAnnotation holds the Record of the last resize that Berth asked for.
const RecordAnnotation = "berth.dev/resize"

// Record is the note that is written on a pod before it is resized, so that any leader
// knows whose resize it is and how to take it back.
type Record struct {
	// At is when the resize was asked for or, once Failed, when it was given up.
	At time.Time `json:"at"`
	// Asked are the sizes of the resize, Before those that they replaced.
	Asked  Sizes `json:"asked"`
	Before Sizes `json:"before"`
	// Failed is why it was given up; empty while it was not.
	Failed Failure `json:"failed,omitempty"`
	// Tries counts the failures in a row.
	Tries int `json:"tries,omitempty"`
}

// noted is how a size is written: in thousandths of a core and in bytes. Anybody who may
// change a pod can write the annotation, and a quantity such as 1e-2147483647 takes
// minutes to read.
type noted struct {
	Requests amounts `json:"requests,omitzero"`
	Limits   amounts `json:"limits,omitzero"`
}

type amounts struct {
	MilliCPU *int64 `json:"milliCPU,omitempty"`
	Bytes    *int64 `json:"bytes,omitempty"`
}

// MarshalJSON writes numbers, not quantities.
func (s Sizes) MarshalJSON() ([]byte, error) {
	note := func(list v1.ResourceList) (out amounts) {
		if q, ok := list[v1.ResourceCPU]; ok {
			out.MilliCPU = new(q.MilliValue())
		}
		if q, ok := list[v1.ResourceMemory]; ok {
			out.Bytes = new(q.Value())
		}
		return out
	}
	all := make(map[string]noted, len(s))
	for name, size := range s {
		all[name] = noted{Requests: note(size.Requests), Limits: note(size.Limits)}
	}
	return json.Marshal(all)
}

// UnmarshalJSON reads what MarshalJSON writes.
func (s *Sizes) UnmarshalJSON(data []byte) error {
	var all map[string]noted
	if err := json.Unmarshal(data, &all); err != nil {
		return err
	}
	*s = make(Sizes, len(all))
	for name, size := range all {
		requests, err := size.Requests.list()
		if err != nil {
			return fmt.Errorf("requests of %q: %w", name, err)
		}
		limits, err := size.Limits.list()
		if err != nil {
			return fmt.Errorf("limits of %q: %w", name, err)
		}
		(*s)[name] = v1.ResourceRequirements{Requests: requests, Limits: limits}
	}
	return nil
}

func (a amounts) list() (v1.ResourceList, error) {
	var out v1.ResourceList
	if a.MilliCPU != nil {
		put(&out, v1.ResourceCPU, *resource.NewMilliQuantity(*a.MilliCPU, resource.DecimalSI))
	}
	if a.Bytes != nil {
		put(&out, v1.ResourceMemory, *resource.NewQuantity(*a.Bytes, resource.BinarySI))
	}
	for name, q := range out {
		if q.Sign() < 0 {
			return nil, fmt.Errorf("%s is below zero", name)
		}
	}
	return out, nil
}

// Failure is why a resize was given up.
type Failure string

const (
	// Infeasible, Deferred: the kubelet did not admit it (reasons of PodResizePending).
	Infeasible Failure = v1.PodReasonInfeasible
	Deferred   Failure = v1.PodReasonDeferred
	// Erred: the kubelet could not carry it out (reason of PodResizeInProgress).
	Erred Failure = v1.PodReasonError
	// TimedOut: it took longer than Config.InProgress.
	TimedOut Failure = "TimedOut"
)

// Annotation is the record as it is written.
func (r Record) Annotation() string {
	data, err := json.Marshal(r)
	if err != nil {
		return "" // a time after the year 9999: no record is better than no resize
	}
	return string(data)
}

// ParseRecord reads an annotation. Anything can be written there, so a record with a
// part missing is none: a resize without one is nobody's, and left alone.
func ParseRecord(annotation string) (Record, error) {
	var r Record
	if err := json.Unmarshal([]byte(annotation), &r); err != nil {
		return Record{}, fmt.Errorf("reading %s: %w", RecordAnnotation, err)
	}
	if r.At.IsZero() || len(r.Asked) == 0 || r.Tries < 0 || r.Tries > 1<<20 {
		return Record{}, fmt.Errorf("reading %s: at, asked or tries is not valid", RecordAnnotation)
	}
	for name := range r.Asked {
		if _, ok := r.Before[name]; !ok {
			return Record{}, fmt.Errorf("reading %s: nothing is known of container %q before", RecordAnnotation, name)
		}
	}
	return r, nil
}

// recordOf is the pod's record, or none.
func recordOf(pod *v1.Pod) Record {
	if r, err := ParseRecord(pod.Annotations[RecordAnnotation]); err == nil {
		return r
	}
	return Record{}
}

// wait is how long something that failed so often is not tried again.
func (c Config) wait(tries int) time.Duration {
	wait := c.BackOff
	for range tries - 1 {
		if wait >= c.MaxBackOff {
			break
		}
		wait *= 2
	}
	return min(wait, c.MaxBackOff)
}

// refused says until when a write that the API server refused is not tried again; empty if it may be.
func (d *decider) refused(pod *v1.Pod, kind Kind, what string) string {
	r, ok := d.out.History.Refusals[Write{Pod: pod.UID, Kind: kind}]
	until := r.At.Add(d.Config.wait(r.Tries))
	if !ok || !d.Now.Before(until) {
		return ""
	}
	return fmt.Sprintf("the API server refused %s (%s): not tried again before %s", what, r.Message, until.Format(time.RFC3339))
}

// closed says why a resize of the pod is not tried at present; empty if it may be. What
// the kubelet called Infeasible for this pod stays so until less is asked for.
func (d *decider) closed(pod *v1.Pod, rec Record, to Sizes) string {
	if why := d.refused(pod, Patch, "the resize"); why != "" {
		return why
	}
	if rec.Failed == "" {
		return ""
	}
	until := rec.At.Add(d.Config.wait(rec.Tries))
	switch {
	case rec.Failed == Infeasible && !to.lower(rec.Asked):
		return fmt.Sprintf("the resize was Infeasible at %s, and no less is asked for now", rec.At.Format(time.RFC3339))
	case d.Now.Before(until):
		return fmt.Sprintf("the resize was reverted (%s): not tried again before %s", rec.Failed, until.Format(time.RFC3339))
	}
	return ""
}
