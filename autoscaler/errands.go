// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"context"
	"sync/atomic"
	"time"
)

// errand is something that a provider is asked for. It goes on beside the loop when a tick has waited for it long
// enough, and wakes the loop when it is over. A provider that never comes back costs its errand, and no more.
type errand[T any] struct {
	brought chan T
	late    atomic.Bool
}

func goOn[T any](wake func(), do func() T) *errand[T] {
	e := &errand[T]{brought: make(chan T, 1)}
	go func() {
		e.brought <- do()
		if e.late.Load() {
			wake()
		}
	}()
	return e
}

// await returns what the errand has brought, if that comes before all of the patience is used up.
func (e *errand[T]) await(ctx context.Context, left *time.Duration) (brought T, over bool) {
	began := time.Now()
	defer func() { *left = max(0, *left-time.Since(began)) }()
	timer := time.NewTimer(*left)
	defer timer.Stop()
	select {
	case brought = <-e.brought:
		return brought, true
	case <-timer.C:
	case <-ctx.Done():
	}
	e.late.Store(true)
	// What came before that was stored wakes nobody.
	return e.peek()
}

// peek returns what the errand has brought, if it has.
func (e *errand[T]) peek() (brought T, over bool) {
	select {
	case brought = <-e.brought:
		return brought, true
	default:
		return brought, false
	}
}
