// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"

	"github.com/berth-dev/berth/autoscaler/observe"
)

// scaleRead is one scale to be read for an HPA or VPA, and what came of it.
type scaleRead struct {
	by        types.UID
	namespace string
	ref       autoscalingv2.CrossVersionObjectReference

	scale observe.Scale
	err   error
	done  bool
}

// isOf tells whether a read is for the same autoscaler and target as another one.
func (r *scaleRead) isOf(other *scaleRead) bool {
	return r.by == other.by && r.namespace == other.namespace && r.ref == other.ref
}

// readScales reads scales, those that memory does not hold within callDeadline for all of them together: a kind whose
// scales hang must not hold up the tick, however many targets are of it. Kinds are read side by side, so that it
// does not hold up the others either. As a read is begun in the first half of that time only, it has
// the other half to be answered in. What is not begun is not done, and comes first the next time: turns say who waits longest.
// What was read for the guard is not read again: nobody acts on a scale that it has not seen.
func (c *Conductor) readScales(ctx context.Context, turns turns, reads []*scaleRead) {
	byKind := map[schema.GroupKind][]*scaleRead{}
	for _, read := range reads {
		if known := c.history.selections[read.by].read; known != nil && known.isOf(read) {
			*read = *known
			continue
		}
		var kind schema.GroupKind // none for all that are held
		if !observe.Held(read.ref) {
			kind = schema.FromAPIVersionAndKind(read.ref.APIVersion, read.ref.Kind).GroupKind()
		}
		byKind[kind] = append(byKind[kind], read)
	}
	bounded, cancel := context.WithTimeout(ctx, callDeadline)
	defer cancel()
	beginning, cancel := context.WithTimeout(bounded, callDeadline/2)
	defer cancel()
	var kinds sync.WaitGroup
	for kind, same := range byKind {
		until := beginning
		if kind == (schema.GroupKind{}) {
			until = ctx
		}
		slices.SortFunc(same, func(a, b *scaleRead) int {
			return cmp.Or(turns[a.by].Compare(turns[b.by]), cmp.Compare(a.by, b.by))
		})
		kinds.Go(func() {
			workqueue.ParallelizeUntil(until, workers, len(same), func(i int) {
				same[i].scale, same[i].err = c.reader.Scale(bounded, same[i].namespace, same[i].ref)
				same[i].done = true
			})
		})
	}
	kinds.Wait()
	turns.took(ctx, reads, c.now())
}

// took notes who was read, and forgets who is gone.
func (t turns) took(ctx context.Context, reads []*scaleRead, now time.Time) {
	before := maps.Clone(t)
	clear(t)
	left := 0
	for _, read := range reads {
		switch {
		case read.done:
			t[read.by] = now
		default:
			t[read.by] = before[read.by]
			left++
		}
	}
	if left > 0 && ctx.Err() == nil {
		klog.FromContext(ctx).Info("No time to read the scales of all targets: those left are read first in the next period, and their autoscalers wait until then", "left", left, "read", len(reads)-left)
	}
}
