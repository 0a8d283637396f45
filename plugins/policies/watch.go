// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package policies

import (
	"context"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
)

const (
	// lookPeriod is the time between two looks for the kind while it is not
	// installed.
	lookPeriod = 5 * time.Second
	// lookDeadline bounds one look.
	lookDeadline = 30 * time.Second
)

// Watch keeps a book up to date until the context ends. Policies are looked
// for until their kind is installed, and again once it is removed; meanwhile
// the book is known and empty. It fails only if the configuration can not make
// a client.
func Watch(ctx context.Context, cfg *rest.Config, book *Book) error {
	client, err := NewClient(cfg)
	if err != nil {
		return err
	}
	return client.Watch(ctx, book)
}

// Watch is the function of that name for a client that exists.
func (c *Client) Watch(ctx context.Context, book *Book) error {
	w := &watcher{client: c, book: book}
	for w.found(ctx) {
		if err := w.follow(ctx); err != nil {
			return err
		}
		// While a kind is removed, discovery and the resource may disagree.
		select {
		case <-ctx.Done():
		case <-time.After(lookPeriod):
		}
	}
	return nil
}

type watcher struct {
	client *Client
	book   *Book

	mu   sync.Mutex // handlers of the informer speak too
	said string
}

// found waits until the kind is installed; false when the context ended first.
func (w *watcher) found(ctx context.Context) bool {
	logger := klog.FromContext(ctx)
	err := wait.PollUntilContextCancel(ctx, lookPeriod, true, func(ctx context.Context) (bool, error) {
		look, cancel := context.WithTimeout(ctx, lookDeadline)
		defer cancel()
		served, err := w.client.served(look)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			w.failed(logger, err)
		case !served:
			w.without(logger)
		}
		return served && err == nil, nil
	})
	return err == nil
}

// follow watches until the kind is gone or the context ended.
func (w *watcher) follow(ctx context.Context) error {
	logger := klog.FromContext(ctx)
	ctx, stop := context.WithCancel(ctx)
	defer stop()

	var gone sync.Once
	lost := make(chan struct{})
	lw := cache.NewListWatchFromClient(w.client.rest, v1alpha1.Resource, metav1.NamespaceAll, fields.Everything())
	informer := cache.NewSharedIndexInformer(lw, &v1alpha1.PlacementPolicy{}, 0, cache.Indexers{})
	if err := informer.SetTransform(stripped); err != nil {
		return fmt.Errorf("watching PlacementPolicies: %w", err)
	}
	if err := informer.SetWatchErrorHandlerWithContext(func(ctx context.Context, r *cache.Reflector, err error) {
		switch {
		case apierrors.IsNotFound(err):
			gone.Do(func() { close(lost) })
			stop()
		case informer.HasSynced():
			cache.DefaultWatchErrorHandler(ctx, r, err)
		default:
			w.failed(logger, err)
		}
	}); err != nil {
		return fmt.Errorf("watching PlacementPolicies: %w", err)
	}
	heard, err := informer.AddEventHandler(w.handler())
	if err != nil {
		return fmt.Errorf("watching PlacementPolicies: %w", err)
	}
	var running sync.WaitGroup
	running.Go(func() { informer.RunWithContext(ctx) })
	if cache.WaitForCacheSync(ctx.Done(), heard.HasSynced) {
		w.book.MarkReady(nil)
		w.say(func() { logger.Info("Watching PlacementPolicies") }, "watching")
	}
	running.Wait()
	select {
	case <-lost:
		w.without(logger)
	default:
	}
	return nil
}

// stripped drops what nobody here reads and is as large as the rest.
func stripped(obj any) (any, error) {
	if policy, ok := obj.(*v1alpha1.PlacementPolicy); ok {
		policy.ManagedFields = nil
	}
	return obj, nil
}

func (w *watcher) handler() cache.ResourceEventHandler {
	set := func(obj any) {
		if policy, ok := obj.(*v1alpha1.PlacementPolicy); ok {
			w.book.Set(policy)
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    set,
		UpdateFunc: func(_, obj any) { set(obj) },
		DeleteFunc: func(obj any) {
			if name, err := cache.DeletionHandlingObjectToName(obj); err == nil {
				w.book.Delete(name.Namespace, name.Name)
			}
		},
	}
}

// without empties the book: there is no such kind.
func (w *watcher) without(logger klog.Logger) {
	w.book.Replace(nil)
	w.book.MarkReady(nil)
	w.say(func() {
		logger.Info("PlacementPolicies are not served: going on without them until their CRD is installed")
	}, "not served")
}

func (w *watcher) failed(logger klog.Logger, err error) {
	w.book.MarkReady(err)
	w.say(func() { logger.Error(err, "Reading PlacementPolicies failed; trying again") }, err.Error())
}

// say speaks unless it said the same last time.
func (w *watcher) say(speak func(), what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.said != what {
		w.said = what
		speak()
	}
}
