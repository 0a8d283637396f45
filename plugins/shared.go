// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/berth-dev/berth/plugins/policies"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
)

// expiryPeriod is the time between two looks whether a domain is lost by now.
const expiryPeriod = time.Second

// Shared is what the plugins of one scheduler, or of one simulation, know
// together. Plugins are built once per profile; what they share is built once
// per informer factory, when the first plugin asks for it, and hears of
// changes through event handlers on that factory for as long as it runs.
//
// A scheduler starts what needs a goroutine by Run. A simulation does not: it
// has a Shared of its own (NewSimulated) over its own factory, gives its
// framework a pod activator (one that does nothing), and undoes what it tried
// by Checkpoint.
type Shared struct {
	book      *policies.Book
	simulated bool

	mu       sync.Mutex
	slots    map[informers.SharedInformerFactory]*slots
	attached chan attachment // the first slots
	forks    int             // checkpoints that are not restored
}

// attachment is what the first plugin brings along.
type attachment struct {
	slots  *slots
	config *rest.Config
}

// NewShared returns the state for one Registry, with the policies of the book.
// It reads nothing until the first plugin is built.
func NewShared(book *policies.Book) *Shared {
	return &Shared{book: book, slots: map[informers.SharedInformerFactory]*slots{}, attached: make(chan attachment, 1)}
}

// NewSimulated returns the state for the Registry of a simulation, where every
// gate is open: it asks where slots will be, and not when.
func NewSimulated(book *policies.Book) *Shared {
	shared := NewShared(book)
	shared.simulated = true
	return shared
}

// Checkpoint remembers the slots that are reserved, the room that is promised or
// kept, and the pods that wait, and returns a function that puts this back.
func (s *Shared) Checkpoint() (restore func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var restores []func()
	for _, known := range s.slots {
		restores = append(restores, known.planner.Checkpoint(), known.storage.room.Checkpoint(), known.checkpointHolds())
	}
	s.forks++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, restore := range restores {
			restore()
		}
		if s.forks--; s.forks > 0 {
			return
		}
		for _, known := range s.slots {
			known.reconcile()
		}
	}
}

// HasSynced tells whether the plugins know everything that was there when the
// informers began. Until then they place no slot, and say so.
func (s *Shared) HasSynced() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, known := range s.slots {
		if !known.source.synced() {
			return false
		}
	}
	return true
}

// Run does for a scheduler what needs time, until the context ends: it keeps
// the book of policies up to date once the API server serves them, wakes pods
// whose domain is lost by now, and tells people what the plugins found. It
// begins when the first plugin is built.
func (s *Shared) Run(ctx context.Context) {
	var first attachment
	select {
	case <-ctx.Done():
		return
	case first = <-s.attached:
	}
	var background sync.WaitGroup
	defer background.Wait()
	if first.config != nil {
		background.Go(func() {
			if err := policies.Watch(ctx, first.config, s.book); err != nil {
				klog.FromContext(ctx).Error(err, "Watching PlacementPolicies")
			}
		})
	}
	if err := first.slots.holds.telemetry.register(legacyregistry.Register); err != nil {
		klog.FromContext(ctx).V(2).Info("The metrics of holds are those of another scheduler in this process", "reason", err.Error())
	}
	background.Go(func() { first.slots.herald.run(ctx) })
	background.Go(func() { first.slots.scribe.run(ctx) })
	if !cache.WaitForCacheSync(ctx.Done(), first.slots.source.synced) {
		return
	}
	first.slots.redraft()
	first.slots.beginHolds()
	first.slots.activate(first.slots.planner.PolicyChanged(all)) // who came before that
	first.slots.GivenUp()
	ticker := time.NewTicker(expiryPeriod)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			first.slots.activate(first.slots.planner.Expired())
			first.slots.tick()
			first.slots.holdsExpired()
		}
	}
}

// forHandle returns the slots behind a framework's informers.
func (s *Shared) forHandle(ctx context.Context, handle fwk.Handle) (*slots, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	factory := handle.SharedInformerFactory()
	if known, ok := s.slots[factory]; ok {
		return known, nil
	}
	known, err := newSlots(ctx, factory, s.book, handle, s.simulated)
	if err != nil {
		return nil, err
	}
	if err := known.watch(factory); err != nil {
		return nil, fmt.Errorf("watching what places slots: %w", err)
	}
	if len(s.slots) == 0 {
		s.attached <- attachment{slots: known, config: handle.KubeConfig()}
	}
	s.slots[factory] = known
	return known, nil
}
