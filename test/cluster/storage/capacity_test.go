// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"
)

// namedClass is a class of the driver of pools.
func namedClass(name string) *storagev1.StorageClass {
	c := class(PooledDriver)
	c.Name = name
	return c
}

func TestPublish(t *testing.T) {
	withoutPool := withPool(node("n", "zone-a"), "")
	withoutPool.Annotations = nil // the label stays, as those of kubelets do
	foreign := storageCapacity("host-n", "fast", 7*gi)
	foreign.Name, foreign.Labels = "foreign", map[string]string{labelDriver: "other.driver"}
	for name, tc := range map[string]struct {
		objects []runtime.Object
		taken   []*corev1.PersistentVolume
		want    map[string]string // size by class
		wrong   bool
	}{
		"the size of the pool, for each class of the driver": {
			objects: []runtime.Object{withPool(node("n", "zone-a"), "100Gi"), namedClass("fast"), namedClass("slow"), class(ZonalDriver)},
			want:    map[string]string{"fast": "100Gi", "slow": "100Gi"},
		},
		"less what its volumes take": {
			objects: []runtime.Object{withPool(node("n", "zone-a"), "100Gi"), namedClass("fast"), storageCapacity("host-n", "fast", 100*gi)},
			taken:   []*corev1.PersistentVolume{pooled("a", 60), pooled("b", 15)},
			want:    map[string]string{"fast": "25Gi"},
		},
		"another size": {
			objects: []runtime.Object{withPool(node("n", "zone-a"), "10Gi"), namedClass("fast"), storageCapacity("host-n", "fast", 100*gi)},
			want:    map[string]string{"fast": "10Gi"},
		},
		"a class that is gone": {
			objects: []runtime.Object{withPool(node("n", "zone-a"), "10Gi"), storageCapacity("host-n", "fast", 10*gi)},
		},
		"a node that is gone": {
			objects: []runtime.Object{namedClass("fast"), storageCapacity("host-n", "fast", 10*gi)},
		},
		"a node whose pool is taken away": {
			objects: []runtime.Object{withoutPool, namedClass("fast"), storageCapacity("host-n", "fast", 10*gi)},
		},
		"the pools and the objects of others are left alone": {
			objects: []runtime.Object{namedClass("fast"), storageCapacity("host-m", "fast", 10*gi), foreign},
			want:    map[string]string{"host-m fast": "10Gi", "fast": "7Gi"},
		},
		"no size: what was said stands": {
			objects: []runtime.Object{withPool(node("n", "zone-a"), "big"), namedClass("fast"), storageCapacity("host-n", "fast", 10*gi)},
			want:    map[string]string{"fast": "10Gi"},
			wrong:   true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPublisher(t, tc.objects...)
			for _, volume := range tc.taken {
				p.pools.put(volume)
			}
			if err := p.sync(t.Context(), "host-n"); (err != nil) != tc.wrong {
				t.Fatal(err)
			}
			list, err := p.client.StorageV1().CSIStorageCapacities("").List(t.Context(), metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			var got map[string]string
			for _, c := range list.Items {
				if got == nil {
					got = map[string]string{}
				}
				key := c.StorageClassName
				if place := c.NodeTopology.MatchLabels[PooledTopologyKey]; place != "host-n" {
					key = place + " " + key
				}
				got[key] = c.Capacity.String()
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("capacities (-want +got):\n%s", diff)
			}
		})
	}
}

// TestPublisherIsTold: every change that moves what is left of a pool asks for it.
func TestPublisherIsTold(t *testing.T) {
	n := withPool(node("n", "zone-a"), "10Gi")
	moved := n.DeepCopy()
	moved.Labels[PooledTopologyKey] = "elsewhere"
	capacity := storageCapacity("host-n", "fast", 10*gi)
	for name, tc := range map[string]struct {
		act  func(p *publisher)
		want []string
	}{
		"a node comes":          {func(p *publisher) { p.poolHandler(nodesByPool).OnAdd(n, false) }, []string{"host-n"}},
		"a node is called anew": {func(p *publisher) { p.poolHandler(nodesByPool).OnUpdate(n, moved) }, []string{"host-n", "elsewhere"}},
		"a node goes":           {func(p *publisher) { p.poolHandler(nodesByPool).OnDelete(n) }, []string{"host-n"}},
		"a node went unseen": {func(p *publisher) { p.poolHandler(nodesByPool).OnDelete(cache.DeletedFinalStateUnknown{Obj: n}) },
			[]string{"host-n"}},
		"a volume comes":       {func(p *publisher) { p.volumeHandler().OnAdd(pooled("a", 1), false) }, []string{"host-n"}},
		"a volume went unseen": {func(p *publisher) { p.volumeHandler().OnDelete(cache.DeletedFinalStateUnknown{Obj: pooled("a", 1)}) }, []string{"host-n"}},
		"a class comes":        {func(p *publisher) { p.classHandler().OnAdd(namedClass("fast"), false) }, []string{"host-n"}},
		"of another driver":    {func(p *publisher) { p.classHandler().OnAdd(class(LocalDriver), false) }, nil},
		"somebody deletes ours": {func(p *publisher) { p.poolHandler(capacitiesByPool).OnDelete(capacity) },
			[]string{"host-n"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPublisher(t, n)
			defer p.queue.ShutDown()
			tc.act(p)
			var got []string
			for p.queue.Len() > 0 {
				place, _ := p.queue.Get()
				p.queue.Done(place)
				got = append(got, place)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("pools to look at (-want +got):\n%s", diff)
			}
		})
	}
}

func newPublisher(t *testing.T, objects ...runtime.Object) *publisher {
	t.Helper()
	client := fake.NewClientset(objects...)
	factory := informers.NewSharedInformerFactory(client, 0)
	nodes, capacities := factory.Core().V1().Nodes().Informer(), factory.Storage().V1().CSIStorageCapacities().Informer()
	if err := nodes.AddIndexers(cache.Indexers{byPool: nodesByPool}); err != nil {
		t.Fatal(err)
	}
	if err := capacities.AddIndexers(cache.Indexers{byPool: capacitiesByPool}); err != nil {
		t.Fatal(err)
	}
	p := &publisher{
		client:     client,
		nodes:      nodes.GetIndexer(),
		classes:    factory.Storage().V1().StorageClasses().Lister(),
		capacities: capacities.GetIndexer(),
		pools:      newPools(),
		queue:      newQueue(),
	}
	start(t, factory)
	return p
}
