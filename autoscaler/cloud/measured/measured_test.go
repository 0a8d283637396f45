// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package measured

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/testutil"

	"github.com/berth-dev/berth/autoscaler/cloud"
)

// one is a provider of one group, which answers every call with the same error.
type one struct {
	cloud.Provider
	cloud.NodeGroup
	err error
}

func (o one) Refresh(context.Context) error                       { return o.err }
func (o one) Groups(context.Context) ([]cloud.NodeGroup, error)   { return []cloud.NodeGroup{o}, o.err }
func (o one) GroupOf(*v1.Node) (string, bool)                     { return "g", true }
func (o one) Name() string                                        { return "g" }
func (o one) Limits() (low, high int)                             { return 1, 2 }
func (o one) TargetSize(context.Context) (int, error)             { return 7, o.err }
func (o one) Template(context.Context) (*cloud.Template, error)   { return &cloud.Template{}, o.err }
func (o one) Price(context.Context) (float64, bool, error)        { return 3, true, o.err }
func (o one) Instances(context.Context) ([]cloud.Instance, error) { return []cloud.Instance{{}}, o.err }
func (o one) Increase(context.Context, int) error                 { return o.err }
func (o one) DecreaseTarget(context.Context, int) error           { return o.err }
func (o one) Delete(context.Context, ...*v1.Node) error           { return o.err }
func (o one) Options(_ context.Context, defaults cloud.Options) (cloud.Options, error) {
	return defaults, o.err
}

var calls = []string{"decrease_target", "delete", "groups", "increase", "instances", "options", "price", "refresh", "target_size", "template"}

func TestMeasured(t *testing.T) {
	for outcome, err := range map[string]error{
		"success":          nil,
		"at_maximum":       fmt.Errorf("group: %w", &cloud.AtMaximumError{}),
		"nothing_to_forgo": &cloud.NothingToForgoError{},
		"not_in_group":     &cloud.NotInGroupError{},
		"no_template":      &cloud.NoTemplateError{},
		"timeout":          fmt.Errorf("calling: %w", context.DeadlineExceeded),
		"canceled":         context.Canceled,
		"error":            errors.New("out of order"),
	} {
		t.Run(outcome, func(t *testing.T) {
			registry := metrics.NewKubeRegistry()
			p := New(one{err: err}, registry.MustRegister)
			ctx := t.Context()
			groups, got := p.Groups(ctx)
			if !errors.Is(got, err) || len(groups) != 1 {
				t.Fatalf("%d groups, %v", len(groups), got)
			}
			g := groups[0]
			size, sizeErr := g.TargetSize(ctx)
			template, templateErr := g.Template(ctx)
			options, optionsErr := g.Options(ctx, cloud.Options{UtilizationThreshold: 5})
			price, known, priceErr := g.Price(ctx)
			instances, instancesErr := g.Instances(ctx)
			for _, got := range []error{p.Refresh(ctx), sizeErr, templateErr, optionsErr, priceErr, instancesErr, g.Increase(ctx, 1), g.DecreaseTarget(ctx, 1), g.Delete(ctx)} {
				if !errors.Is(got, err) || (got == nil) != (err == nil) {
					t.Errorf("%v, want %v", got, err)
				}
			}
			if size != 7 || template == nil || options.UtilizationThreshold != 5 || price != 3 || !known || len(instances) != 1 || g.Name() != "g" {
				t.Error("an answer was changed")
			}
			want := ""
			if err != nil {
				want = "# HELP berth_cloud_call_errors_total [ALPHA] Calls of the provider of nodes that did not do what was asked, by call and outcome: at_maximum, nothing_to_forgo, not_in_group and no_template are answers of a provider that works.\n# TYPE berth_cloud_call_errors_total counter\n"
				for _, call := range calls {
					want += fmt.Sprintf("berth_cloud_call_errors_total{call=%q,outcome=%q} 1\n", call, outcome)
				}
			}
			if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "berth_cloud_call_errors_total"); err != nil {
				t.Error(err)
			}
			families, gatherErr := registry.Gather()
			if gatherErr != nil {
				t.Fatal(gatherErr)
			}
			for _, family := range families {
				if family.GetName() == "berth_cloud_call_duration_seconds" && len(family.GetMetric()) != len(calls) {
					t.Errorf("%d durations, want %d", len(family.GetMetric()), len(calls))
				}
			}
		})
	}
}
