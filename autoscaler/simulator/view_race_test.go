// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"sync"
	"testing"

	v1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"
)

// Plugins filter several nodes at a time, and each may be the first to ask for an index.
func TestManyAskForAnIndexAtOnce(t *testing.T) {
	indexers := cache.Indexers{}
	for _, name := range []string{"a", "b", "c", "d"} {
		indexers[name] = func(object any) ([]string, error) { return []string{object.(*v1.Pod).Name}, nil }
	}
	for range 200 {
		v := newView(cache.NewIndexer(cache.MetaNamespaceKeyFunc, indexers))
		var all sync.WaitGroup
		for range 4 {
			for name := range indexers {
				all.Go(func() {
					if _, err := v.ByIndex(name, "x"); err != nil {
						t.Error(err)
					}
				})
			}
		}
		all.Wait()
	}
}
