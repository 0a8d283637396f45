// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
)

// queue holds names of objects to look at.
type queue = workqueue.TypedRateLimitingInterface[string]

func newQueue() queue {
	return workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[string](50*time.Millisecond, 5*time.Second))
}

// work runs sync for every name until the context ends. What fails comes back.
func work(ctx context.Context, q queue, workers int, sync func(context.Context, string) error) {
	var group wait.Group
	for range workers {
		group.StartWithContext(ctx, func(ctx context.Context) {
			for next(ctx, q, sync) {
			}
		})
	}
	<-ctx.Done()
	q.ShutDown()
	group.Wait()
}

func next(ctx context.Context, q queue, sync func(context.Context, string) error) bool {
	name, shutdown := q.Get()
	if shutdown {
		return false
	}
	defer q.Done(name)
	if err := sync(ctx, name); err != nil {
		klog.FromContext(ctx).V(2).Info("Trying again", "object", name, "err", err)
		q.AddRateLimited(name)
		return true
	}
	q.Forget(name)
	return true
}
