// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package policies

import (
	"slices"
	"sync"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
	"github.com/berth-dev/berth/plugins/statefulset"
)

// Book holds the PlacementPolicies of a cluster. Its methods may be called
// from anywhere at once; the ones that answer take no lock: a namespace's
// policies are a chapter, which is never changed but replaced.
//
// Objects handed in are not changed, and must not be changed afterwards.
type Book struct {
	chapters sync.Map // namespace → *chapter, none empty
	// sources is the number of valid policies that make slots without a
	// StatefulSet: with none, nobody looks for one.
	sources atomic.Int64
	state   atomic.Pointer[state]
	none    chapter

	mu      sync.Mutex                   // of the following
	entries map[string]map[string]*entry // by namespace and name
	told    []func(Change)
}

type state struct {
	known bool
	why   string
}

// Change says which sets may be placed otherwise than before.
type Change struct {
	// Namespace is empty when every set of the cluster is concerned.
	Namespace string
	// Set is the name of a StatefulSet, empty when every set of the namespace is
	// concerned, Selected ones too.
	Set string
}

// Concerns tells whether a set may be placed otherwise than before.
func (c Change) Concerns(key statefulset.SetKey) bool {
	return c.Namespace == "" || c.Namespace == key.Namespace && (c.Set == "" || c.Set == key.Name && !key.Selected)
}

// NewBook returns a book that knows nothing yet.
func NewBook() *Book {
	b := &Book{entries: map[string]map[string]*entry{}}
	b.state.Store(&state{why: "PlacementPolicies have not been read yet"})
	return b
}

// Known tells whether the answers can be relied on: every policy has been read
// once, or there is no such kind. The reason says why not.
func (b *Book) Known() (known bool, reason string) {
	s := b.state.Load()
	return s.known, s.why
}

// MarkReady tells that every policy has been read, or why that failed. Once
// the policies are known they stay known: what was read last counts while the
// API server can not be reached.
func (b *Book) MarkReady(err error) {
	b.change(func() []Change {
		switch known, _ := b.Known(); {
		case known:
			return nil
		case err != nil:
			b.state.Store(&state{why: "PlacementPolicies can not be read: " + err.Error()})
			return nil
		default:
			b.state.Store(&state{known: true})
			return []Change{{}}
		}
	})
}

// Subscribe has f called after each change of the answers and never under a
// lock of the book, so f may ask it. It must not block.
func (b *Book) Subscribe(f func(Change)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.told = append(slices.Clip(b.told), f)
}

// Set adds a policy or replaces its former state.
func (b *Book) Set(policy *v1alpha1.PlacementPolicy) {
	b.change(func() []Change {
		return b.edit(policy.Namespace, func(entries map[string]*entry) []Change { return put(entries, policy) })
	})
}

// Delete forgets a policy.
func (b *Book) Delete(namespace, name string) {
	b.change(func() []Change {
		return b.edit(namespace, func(entries map[string]*entry) []Change { return drop(entries, namespace, name) })
	})
}

// Replace makes these policies the only ones.
func (b *Book) Replace(all []*v1alpha1.PlacementPolicy) {
	wanted := map[string]map[string]*v1alpha1.PlacementPolicy{}
	for _, policy := range all {
		if wanted[policy.Namespace] == nil {
			wanted[policy.Namespace] = map[string]*v1alpha1.PlacementPolicy{}
		}
		wanted[policy.Namespace][policy.Name] = policy
	}
	b.change(func() []Change {
		namespaces := sets.KeySet(wanted).Union(sets.KeySet(b.entries))
		var changes []Change
		for namespace := range namespaces {
			changes = append(changes, b.edit(namespace, func(entries map[string]*entry) []Change {
				return replace(entries, namespace, wanted[namespace])
			})...)
		}
		return changes
	})
}

// change runs a change under the lock and tells of it without.
func (b *Book) change(f func() []Change) {
	b.mu.Lock()
	changes, told := f(), b.told
	b.mu.Unlock()
	for _, change := range changes {
		for _, f := range told {
			f(change)
		}
	}
}

// edit changes the policies of a namespace and puts a new chapter before the
// readers.
func (b *Book) edit(namespace string, f func(map[string]*entry) []Change) []Change {
	entries := b.entries[namespace]
	if entries == nil {
		entries = map[string]*entry{}
		b.entries[namespace] = entries
	}
	changes := f(entries)
	before := b.chapter(namespace)
	after := newChapter(entries)
	if len(entries) == 0 {
		delete(b.entries, namespace)
		b.chapters.Delete(namespace)
	} else {
		b.chapters.Store(namespace, after)
	}
	b.sources.Add(int64(len(after.sources) - len(before.sources)))
	return changes
}

func replace(entries map[string]*entry, namespace string, wanted map[string]*v1alpha1.PlacementPolicy) []Change {
	var changes []Change
	for name := range entries {
		if wanted[name] == nil {
			changes = append(changes, drop(entries, namespace, name)...)
		}
	}
	for _, policy := range wanted {
		changes = append(changes, put(entries, policy)...)
	}
	return changes
}

func put(entries map[string]*entry, policy *v1alpha1.PlacementPolicy) []Change {
	was := entries[policy.Name]
	next, changed := was.refreshed(policy)
	entries[policy.Name] = next
	if !changed {
		return nil
	}
	return concerned(policy.Namespace, was, next)
}

func drop(entries map[string]*entry, namespace, name string) []Change {
	was := entries[name]
	delete(entries, name)
	return concerned(namespace, was)
}

// concerned lists whom these states of a policy are for.
func concerned(namespace string, states ...*entry) []Change {
	var changes []Change
	for _, e := range states {
		if e == nil {
			continue
		}
		// An invalid policy is told of too: somebody says so in its status.
		change := Change{Namespace: namespace}
		if ref := e.object.Spec.TargetRef; ref != nil && e.object.Spec.Selector == nil {
			change.Set = ref.Name
		}
		if change.Set == "" {
			return []Change{change}
		}
		if !slices.Contains(changes, change) {
			changes = append(changes, change)
		}
	}
	return changes
}
