// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/berth-dev/berth/autoscaler"
	"github.com/berth-dev/berth/autoscaler/horizontal"
	"github.com/berth-dev/berth/autoscaler/metrics"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
)

// measure looks once at the metrics that a decision needs. What an API does not
// answer is for the decision to take into account; the notes say what to do about it.
func (c *cluster) measure(ctx context.Context, in *horizontal.Input, deadline time.Duration) (notes []string) {
	queries := metrics.QueriesOf(in.HPA, selectorOf(*in).String())
	asker := metrics.NewAsker(c.gauges.custom, c.gauges.external, workers, deadline)
	var custom, external map[metrics.Query]metrics.Answer
	var unread error
	var all sync.WaitGroup
	all.Go(func() { custom = asker.Ask(ctx, metrics.Custom, queries) })
	all.Go(func() { external = asker.Ask(ctx, metrics.External, queries) })
	if slices.ContainsFunc(in.HPA.Spec.Metrics, func(spec autoscalingv2.MetricSpec) bool { return metrics.APIOf(spec.Type) == metrics.Resource }) {
		all.Go(func() {
			var snapshot metrics.Snapshot
			snapshot, unread = metrics.NewReader(c.gauges.samples(in.HPA.Namespace), deadline).Read(ctx)
			if unread != nil {
				in.Usage.Absent = unread.Error()
			}
			in.Usage.Pods = autoscaler.UsageOf(snapshot.Namespace(in.HPA.Namespace))
		})
	}
	all.Wait()

	advise := func(api metrics.API, err error) {
		if note := adviceOn(api, err, deadline); note != "" && !slices.Contains(notes, note) {
			notes = append(notes, note)
		}
	}
	advise(metrics.Resource, unread)
	in.Readings = make([]horizontal.Reading, len(queries))
	for i, query := range queries {
		answer, answered := custom[query]
		if !answered {
			answer, answered = external[query]
		}
		if !answered && query != (metrics.Query{}) {
			answer.Err = &metrics.UnavailableError{Reason: metrics.TimedOut, Err: context.DeadlineExceeded}
		}
		in.Readings[i] = autoscaler.ReadingOf(answer)
		advise(query.API, answer.Err)
	}
	return notes
}

// adviceOn says what to do about a metrics API that gives no answer.
func adviceOn(api metrics.API, err error, deadline time.Duration) string {
	var unavailable *metrics.UnavailableError
	if !errors.As(err, &unavailable) {
		return ""
	}
	switch unavailable.Reason {
	case metrics.NotServed:
		if api == metrics.Resource {
			return fmt.Sprintf("nothing serves %s: is metrics-server installed?", api)
		}
		return fmt.Sprintf("nothing serves %s, or it has no such metric: is an adapter installed, and set up for it?", api)
	case metrics.Forbidden:
		return fmt.Sprintf("you may not read %s, so this is not what berth-autoscaler sees, which may: go by the conditions, or ask for the right to get and list there", api)
	case metrics.TimedOut, metrics.NotAsked:
		return fmt.Sprintf("%s did not answer within %s (metricsTimeout of berth-autoscaler)", api, deadline)
	}
	return fmt.Sprintf("%s gave no answer: is what serves it installed and up? (kubectl get apiservices)", api)
}
