// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"cmp"
	"context"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/klog/v2"

	"github.com/berth-dev/berth/autoscaler/metrics"
)

// turns are when each HPA last had all its metrics asked for, where there are any to ask one by one. A slow API
// has not the time for all of them in a period: who waits longest goes first.
type turns map[types.UID]time.Time

// order returns the queries of all HPAs, each once: those of the HPA that waits longest come first, so that
// all metrics of one HPA are asked in the same period.
func (t turns) order(waiting []*replicas) []metrics.Query {
	inTurn := slices.SortedFunc(slices.Values(waiting), func(a, b *replicas) int {
		return cmp.Or(t[a.hpa.UID].Compare(t[b.hpa.UID]), cmp.Compare(a.hpa.Namespace, b.hpa.Namespace), cmp.Compare(a.hpa.Name, b.hpa.Name))
	})
	var queries []metrics.Query
	known := sets.New(metrics.Query{})
	for _, one := range inTurn {
		for _, query := range one.queries {
			if !known.Has(query) {
				known.Insert(query)
				queries = append(queries, query)
			}
		}
	}
	return queries
}

// take leaves out those that have a query without an answer: there was no time to ask, and they sit this period
// out. The others had their turn, unless they are only told that their API is stuck.
func (t turns) take(r *round, ready []*replicas) []*replicas {
	return slices.DeleteFunc(ready, func(one *replicas) bool {
		asked := true
		for _, query := range one.queries {
			if _, answered := r.readings[query]; !answered && query != (metrics.Query{}) {
				return true
			}
			asked = asked && !r.unasked.Has(query)
		}
		if asked {
			t[one.hpa.UID] = r.began
		}
		return false
	})
}

// countUnasked tells of the queries that wait for the next period.
func (c *Conductor) countUnasked(ctx context.Context, api metrics.API, queries []metrics.Query, answers map[metrics.Query]metrics.Answer) {
	unasked := 0
	for _, query := range queries {
		if _, answered := answers[query]; query.API == api && !answered {
			unasked++
		}
	}
	if unasked > 0 {
		c.telemetry.QueriesUnasked(string(api), unasked)
		klog.FromContext(ctx).Info("No time to ask for all metrics: those left are asked first in the next period, and their HPAs keep their replicas until then", "api", api, "unasked", unasked, "answered", len(answers))
	}
}
