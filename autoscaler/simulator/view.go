// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"errors"
	"sync"

	"k8s.io/client-go/tools/cache"
)

var errReadOnly = errors.New("the store of an informer is written by the informer only")

// view reads a live indexer through the simulated objects on top of it, without
// the live ones that are hidden.
type view struct {
	cache.Indexer
	top    cache.Indexer
	hidden cache.ThreadSafeStore // by key

	// indexing guards the indexes of top: plugins filter several nodes at a time,
	// and an indexer hands out its map of indexes without a lock.
	indexing sync.Mutex
}

var _ cache.Indexer = &view{}

func newView(live cache.Indexer) *view {
	return &view{
		Indexer: live,
		top:     cache.NewIndexer(cache.DeletionHandlingMetaNamespaceKeyFunc, cache.Indexers{}),
		hidden:  cache.NewThreadSafeStore(cache.Indexers{}, cache.Indices{}),
	}
}

// over returns what lies over the live object of a key: a simulated object, or
// nil where the live one is hidden.
func (v *view) over(key string) (object any, covers bool, err error) {
	if _, hidden := v.hidden.Get(key); hidden {
		return nil, true, nil
	}
	return v.top.GetByKey(key)
}

// lay puts a simulated object over the live one of a key, or with nil hides it.
func (v *view) lay(key string, object any) error {
	if object == nil {
		v.hidden.Add(key, struct{}{})
		return v.top.Delete(cache.DeletedFinalStateUnknown{Key: key})
	}
	if err := v.top.Update(object); err != nil {
		return err
	}
	v.hidden.Delete(key)
	return nil
}

// lift takes away what lies over the live object of a key.
func (v *view) lift(key string) error {
	v.hidden.Delete(key)
	return v.top.Delete(cache.DeletedFinalStateUnknown{Key: key})
}

func (v *view) Add(any) error               { return errReadOnly }
func (v *view) Update(any) error            { return errReadOnly }
func (v *view) Delete(any) error            { return errReadOnly }
func (v *view) Replace([]any, string) error { return errReadOnly }

// merge returns the live objects that are not covered, and the given simulated ones.
func (v *view) merge(live, simulated []any) []any {
	over := append(v.top.ListKeys(), v.hidden.ListKeys()...)
	if len(over) == 0 {
		return live
	}
	covers := make(map[string]bool, len(over))
	for _, key := range over {
		covers[key] = true
	}
	merged := make([]any, 0, len(live)+len(simulated))
	for _, object := range live {
		if key, err := cache.MetaNamespaceKeyFunc(object); err == nil && covers[key] {
			continue
		}
		merged = append(merged, object)
	}
	return append(merged, simulated...)
}

func (v *view) List() []any { return v.merge(v.Indexer.List(), v.top.List()) }

func (v *view) ListKeys() []string { return keys(v.List()) }

func keys(objects []any) []string {
	keys := make([]string, 0, len(objects))
	for _, object := range objects {
		if key, err := cache.MetaNamespaceKeyFunc(object); err == nil {
			keys = append(keys, key)
		}
	}
	return keys
}

func (v *view) Get(object any) (any, bool, error) {
	key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(object)
	if err != nil {
		return nil, false, err
	}
	return v.GetByKey(key)
}

func (v *view) GetByKey(key string) (any, bool, error) {
	if object, covers, err := v.over(key); covers || err != nil {
		return object, object != nil, err
	}
	return v.Indexer.GetByKey(key)
}

// indexTop gives the simulated objects an index that the live ones have.
// Others may add indexes to the live indexer at any time.
func (v *view) indexTop(name string) error {
	v.indexing.Lock()
	defer v.indexing.Unlock()
	if v.top.GetIndexers()[name] != nil {
		return nil
	}
	index, ok := v.GetIndexers()[name]
	if !ok {
		return nil // the live indexer says so in its own words
	}
	return v.top.AddIndexers(cache.Indexers{name: index})
}

func (v *view) Index(name string, object any) ([]any, error) {
	live, err := v.Indexer.Index(name, object)
	if err != nil {
		return nil, err
	}
	if err := v.indexTop(name); err != nil {
		return nil, err
	}
	simulated, err := v.top.Index(name, object)
	if err != nil {
		return nil, err
	}
	return v.merge(live, simulated), nil
}

func (v *view) ByIndex(name, value string) ([]any, error) {
	live, err := v.Indexer.ByIndex(name, value)
	if err != nil {
		return nil, err
	}
	if err := v.indexTop(name); err != nil {
		return nil, err
	}
	simulated, err := v.top.ByIndex(name, value)
	if err != nil {
		return nil, err
	}
	return v.merge(live, simulated), nil
}

func (v *view) IndexKeys(name, value string) ([]string, error) {
	objects, err := v.ByIndex(name, value)
	if err != nil {
		return nil, err
	}
	return keys(objects), nil
}

// ListIndexFuncValues may name values that only covered objects have.
func (v *view) ListIndexFuncValues(name string) []string {
	values := v.Indexer.ListIndexFuncValues(name)
	if err := v.indexTop(name); err != nil {
		return values
	}
	known := make(map[string]bool, len(values))
	for _, value := range values {
		known[value] = true
	}
	for _, value := range v.top.ListIndexFuncValues(name) {
		if !known[value] {
			values = append(values, value)
		}
	}
	return values
}
