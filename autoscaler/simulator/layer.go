// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"sync"
	"time"

	"k8s.io/client-go/tools/cache"
)

// layer is a live informer with simulated objects on top.
type layer struct {
	cache.SharedIndexInformer
	view *view

	mu       sync.Mutex
	handlers map[cache.ResourceEventHandlerRegistration]*handler
}

func newLayer(live cache.SharedIndexInformer) *layer {
	return &layer{
		SharedIndexInformer: live,
		view:                newView(live.GetIndexer()),
		handlers:            map[cache.ResourceEventHandlerRegistration]*handler{},
	}
}

func (l *layer) GetStore() cache.Store                     { return l.view }
func (l *layer) GetIndexer() cache.Indexer                 { return l.view }
func (l *layer) AddIndexers(indexers cache.Indexers) error { return l.view.AddIndexers(indexers) }

func (l *layer) AddEventHandler(h cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error) {
	return l.AddEventHandlerWithOptions(h, cache.HandlerOptions{})
}

func (l *layer) AddEventHandlerWithResyncPeriod(h cache.ResourceEventHandler, period time.Duration) (cache.ResourceEventHandlerRegistration, error) {
	return l.AddEventHandlerWithOptions(h, cache.HandlerOptions{ResyncPeriod: &period})
}

func (l *layer) AddEventHandlerWithOptions(h cache.ResourceEventHandler, options cache.HandlerOptions) (cache.ResourceEventHandlerRegistration, error) {
	wrapped := &handler{next: h, covered: map[string]*covered{}}
	registration, err := l.SharedIndexInformer.AddEventHandlerWithOptions(wrapped, options)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.handlers[registration] = wrapped
	return registration, nil
}

func (l *layer) RemoveEventHandler(registration cache.ResourceEventHandlerRegistration) error {
	l.mu.Lock()
	delete(l.handlers, registration)
	l.mu.Unlock()
	return l.SharedIndexInformer.RemoveEventHandler(registration)
}

// put shows the object instead of what has its key, or with nil nothing, and
// returns how to undo it.
func (l *layer) put(key string, object any) (undo func(), err error) {
	live, _, err := l.view.Indexer.GetByKey(key)
	if err != nil {
		return nil, err
	}
	below, covers, err := l.view.over(key)
	if err != nil {
		return nil, err
	}
	if err := l.view.lay(key, object); err != nil {
		return nil, err
	}
	for _, h := range l.all() {
		h.cover(key, live, object)
	}
	return func() {
		// Neither can fail: the key is known to be good.
		if covers {
			_ = l.view.lay(key, below)
		} else {
			_ = l.view.lift(key)
		}
		for _, h := range l.all() {
			h.uncover(key, below, covers)
		}
	}, nil
}

func (l *layer) all() []*handler {
	l.mu.Lock()
	defer l.mu.Unlock()
	handlers := make([]*handler, 0, len(l.handlers))
	for _, h := range l.handlers {
		handlers = append(handlers, h)
	}
	return handlers
}

// handler passes live and simulated events to one event handler, never two at
// a time and never a live one of an object that is covered.
type handler struct {
	next cache.ResourceEventHandler

	mu      sync.Mutex
	covered map[string]*covered
}

// covered is an object under a simulated one.
type covered struct {
	live any // as it would have been told; nil when there is none
	told any // the simulated object; nil where it is hidden
}

func (h *handler) cover(key string, live, object any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c, again := h.covered[key]
	if !again {
		c = &covered{live: live, told: live}
		h.covered[key] = c
	}
	h.tell(c.told, object)
	c.told = object
}

// uncover shows what is below: what covered the object earlier, or the live one.
func (h *handler) uncover(key string, below any, covers bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c, ok := h.covered[key]
	if !ok {
		return // added to the informer after the object was put there
	}
	if !covers {
		below = c.live
		delete(h.covered, key)
	}
	h.tell(c.told, below)
	c.told = below
}

func (h *handler) tell(from, to any) {
	switch {
	case from == nil && to == nil:
	case from == nil:
		h.next.OnAdd(to, false)
	case to == nil:
		h.next.OnDelete(from)
	default:
		h.next.OnUpdate(from, to)
	}
}

// under returns what covers a live object, under the lock.
func (h *handler) under(object any) *covered {
	if len(h.covered) == 0 {
		return nil
	}
	key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(object)
	if err != nil {
		return nil
	}
	return h.covered[key]
}

func (h *handler) OnAdd(object any, initial bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c := h.under(object); c != nil {
		c.live = object
		return
	}
	h.next.OnAdd(object, initial)
}

func (h *handler) OnUpdate(before, object any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c := h.under(object); c != nil {
		c.live = object
		return
	}
	h.next.OnUpdate(before, object)
}

func (h *handler) OnDelete(object any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c := h.under(object); c != nil {
		c.live = nil
		return
	}
	h.next.OnDelete(object)
}
