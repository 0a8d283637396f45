// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package measured decorates a provider with metrics: how long its calls take,
// and what becomes of them. It changes nothing else.
//
// What is answered from memory by contract (names, limits, the group of a node)
// is not measured. No label is a group: groups are many, and come and go.
package measured

import (
	"context"
	"errors"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/component-base/metrics"

	"github.com/berth-dev/berth/autoscaler/cloud"
)

const subsystem = "berth_cloud"

// Outcomes of a call.
const (
	success        = "success"
	atMaximum      = "at_maximum"
	nothingToForgo = "nothing_to_forgo"
	notInGroup     = "not_in_group"
	noTemplate     = "no_template"
	timeout        = "timeout"
	canceled       = "canceled"
	failure        = "error"
)

type meters struct {
	duration *metrics.HistogramVec
	errors   *metrics.CounterVec
}

type provider struct {
	cloud.Provider
	*meters
}

// New decorates a provider, and registers its metrics in one call.
func New(p cloud.Provider, register func(...metrics.Registerable)) cloud.Provider {
	m := &meters{
		duration: metrics.NewHistogramVec(&metrics.HistogramOpts{
			Subsystem: subsystem, Name: "call_duration_seconds", StabilityLevel: metrics.ALPHA,
			Help:    "Time of one call of the provider of nodes, by call and outcome.",
			Buckets: metrics.ExponentialBuckets(0.001, 2, 16),
		}, []string{"call", "outcome"}),
		errors: metrics.NewCounterVec(&metrics.CounterOpts{
			Subsystem: subsystem, Name: "call_errors_total", StabilityLevel: metrics.ALPHA,
			Help: "Calls of the provider of nodes that did not do what was asked, by call and outcome: at_maximum, nothing_to_forgo, not_in_group and no_template are answers of a provider that works.",
		}, []string{"call", "outcome"}),
	}
	register(m.duration, m.errors)
	return &provider{Provider: p, meters: m}
}

// begin begins a call. What it returns is deferred: the error is known when it runs.
func (m *meters) begin(call string) func(*error) {
	begun := time.Now()
	return func(err *error) {
		outcome := outcomeOf(*err)
		m.duration.WithLabelValues(call, outcome).Observe(time.Since(begun).Seconds())
		if *err != nil {
			m.errors.WithLabelValues(call, outcome).Inc()
		}
	}
}

func outcomeOf(err error) string {
	var full *cloud.AtMaximumError
	var nothing *cloud.NothingToForgoError
	var stranger *cloud.NotInGroupError
	var untold *cloud.NoTemplateError
	switch {
	case err == nil:
		return success
	case errors.As(err, &full):
		return atMaximum
	case errors.As(err, &nothing):
		return nothingToForgo
	case errors.As(err, &stranger):
		return notInGroup
	case errors.As(err, &untold):
		return noTemplate
	case errors.Is(err, context.DeadlineExceeded):
		return timeout
	case errors.Is(err, context.Canceled):
		return canceled
	}
	return failure
}

func (p *provider) Refresh(ctx context.Context) (err error) {
	defer p.begin("refresh")(&err)
	return p.Provider.Refresh(ctx)
}

func (p *provider) Groups(ctx context.Context) (_ []cloud.NodeGroup, err error) {
	defer p.begin("groups")(&err)
	groups, err := p.Provider.Groups(ctx)
	decorated := make([]cloud.NodeGroup, 0, len(groups))
	for _, g := range groups {
		decorated = append(decorated, &group{NodeGroup: g, meters: p.meters})
	}
	return decorated, err
}

type group struct {
	cloud.NodeGroup
	*meters
}

func (g *group) TargetSize(ctx context.Context) (_ int, err error) {
	defer g.begin("target_size")(&err)
	return g.NodeGroup.TargetSize(ctx)
}

func (g *group) Template(ctx context.Context) (_ *cloud.Template, err error) {
	defer g.begin("template")(&err)
	return g.NodeGroup.Template(ctx)
}

func (g *group) Options(ctx context.Context, defaults cloud.Options) (_ cloud.Options, err error) {
	defer g.begin("options")(&err)
	return g.NodeGroup.Options(ctx, defaults)
}

func (g *group) Price(ctx context.Context) (_ float64, _ bool, err error) {
	defer g.begin("price")(&err)
	return g.NodeGroup.Price(ctx)
}

func (g *group) Instances(ctx context.Context) (_ []cloud.Instance, err error) {
	defer g.begin("instances")(&err)
	return g.NodeGroup.Instances(ctx)
}

func (g *group) Increase(ctx context.Context, n int) (err error) {
	defer g.begin("increase")(&err)
	return g.NodeGroup.Increase(ctx, n)
}

func (g *group) DecreaseTarget(ctx context.Context, n int) (err error) {
	defer g.begin("decrease_target")(&err)
	return g.NodeGroup.DecreaseTarget(ctx, n)
}

func (g *group) Delete(ctx context.Context, nodes ...*v1.Node) (err error) {
	defer g.begin("delete")(&err)
	return g.NodeGroup.Delete(ctx, nodes...)
}
