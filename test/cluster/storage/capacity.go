// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/cache"
)

const (
	// capacityNamespace is where the capacities are: that of the driver.
	capacityNamespace = metav1.NamespaceSystem
	// labelDriver names the driver of a capacity, under the name that the
	// external provisioner gives it.
	labelDriver = "csi.storage.k8s.io/drivername"
)

// byPool indexes nodes and capacities by the pool they have or are of.
const byPool = "pool"

func nodesByPool(obj any) ([]string, error) {
	return poolOf(obj.(*corev1.Node).Labels), nil
}

func capacitiesByPool(obj any) ([]string, error) {
	capacity := obj.(*storagev1.CSIStorageCapacity)
	if capacity.NodeTopology == nil || capacity.Labels[labelDriver] != PooledDriver {
		return nil, nil
	}
	return poolOf(capacity.NodeTopology.MatchLabels), nil
}

func poolOf(set map[string]string) []string {
	if pool := set[PooledTopologyKey]; pool != "" {
		return []string{pool}
	}
	return nil
}

// publisher tells the scheduler what is left of each pool: one object for each
// class of the driver, as they stand for different volumes in the same room.
type publisher struct {
	client     kubernetes.Interface
	nodes      cache.Indexer
	classes    storagelisters.StorageClassLister
	capacities cache.Indexer
	pools      *pools
	queue      queue
}

// poolHandler looks at the pools of nodes and capacities when one comes, changes or goes.
func (p *publisher) poolHandler(pools cache.IndexFunc) cache.ResourceEventHandler {
	return handlerOf(func(obj any) {
		names, _ := pools(obj) // neither index function fails
		for _, name := range names {
			p.queue.Add(name)
		}
	})
}

// volumeHandler keeps the books before it looks.
func (p *publisher) volumeHandler() cache.ResourceEventHandler {
	look := func(volume *corev1.PersistentVolume, book func(*corev1.PersistentVolume)) {
		book(volume)
		if place, ok := pooledPlace(volume); ok {
			p.queue.Add(place)
		}
	}
	put := func(obj any) { look(obj.(*corev1.PersistentVolume), p.pools.put) }
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    put,
		UpdateFunc: func(_, obj any) { put(obj) },
		DeleteFunc: func(obj any) {
			if volume, ok := last(obj).(*corev1.PersistentVolume); ok {
				look(volume, p.pools.release)
			}
		},
	}
}

// classHandler looks at all pools: a class comes or goes with an object in each.
func (p *publisher) classHandler() cache.ResourceEventHandler {
	return handlerOf(func(obj any) {
		if class, ok := obj.(*storagev1.StorageClass); ok && class.Provisioner == PooledDriver {
			for _, place := range p.nodes.ListIndexFuncValues(byPool) {
				p.queue.Add(place)
			}
		}
	})
}

// handlerOf calls look for every object, as it is now or as it was last known.
func handlerOf(look func(obj any)) cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: look,
		UpdateFunc: func(old, obj any) {
			look(old) // it may have been of another pool
			look(obj)
		},
		DeleteFunc: func(obj any) { look(last(obj)) },
	}
}

// last is what is known of an object whose deletion was missed.
func last(obj any) any {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		return gone.Obj
	}
	return obj
}

// sync brings the objects of one pool up to date.
func (p *publisher) sync(ctx context.Context, place string) error {
	wanted, err := p.wanted(place)
	if err != nil {
		return err
	}
	found, err := p.capacities.ByIndex(byPool, place)
	if err != nil {
		return err
	}
	client := p.client.StorageV1().CSIStorageCapacities(capacityNamespace)
	var errs []error
	for _, object := range found {
		current := object.(*storagev1.CSIStorageCapacity)
		want := wanted[current.Name]
		delete(wanted, current.Name)
		switch {
		case want == nil:
			err := client.Delete(ctx, current.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &current.UID}})
			errs = append(errs, ignore(err, apierrors.IsNotFound))
		case current.Capacity == nil || current.Capacity.Cmp(*want.Capacity) != 0:
			next := current.DeepCopy()
			next.Capacity = want.Capacity
			_, err := client.Update(ctx, next, metav1.UpdateOptions{})
			errs = append(errs, err)
		}
	}
	for _, want := range wanted {
		_, err := client.Create(ctx, want, metav1.CreateOptions{})
		// The informer is behind, and asks again when it is not.
		errs = append(errs, ignore(err, apierrors.IsAlreadyExists))
	}
	return errors.Join(errs...)
}

// wanted are the objects of a pool by name: none if there is no such pool. The
// node whose kubelet is dead has its pool still.
func (p *publisher) wanted(place string) (map[string]*storagev1.CSIStorageCapacity, error) {
	nodes, err := p.nodes.ByIndex(byPool, place)
	if err != nil {
		return nil, err
	}
	wanted := map[string]*storagev1.CSIStorageCapacity{}
	for _, object := range nodes {
		size, ok, err := poolSize(object.(*corev1.Node))
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		classes, err := p.classes.List(labels.Everything())
		if err != nil {
			return nil, err
		}
		for _, class := range classes {
			if class.Provisioner == PooledDriver {
				capacity := storageCapacity(place, class.Name, p.pools.free(place, size))
				wanted[capacity.Name] = capacity
			}
		}
	}
	return wanted, nil
}

// storageCapacity says how much room a class has in a pool.
func storageCapacity(place, class string, bytes int64) *storagev1.CSIStorageCapacity {
	hash := fnv.New64a()
	hash.Write([]byte(place + "/" + class))
	return &storagev1.CSIStorageCapacity{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: capacityNamespace,
			Name:      fmt.Sprintf("csisc-%x", hash.Sum64()),
			Labels:    map[string]string{labelDriver: PooledDriver},
		},
		StorageClassName: class,
		NodeTopology:     &metav1.LabelSelector{MatchLabels: map[string]string{PooledTopologyKey: place}},
		Capacity:         resource.NewQuantity(bytes, resource.BinarySI),
	}
}

func ignore(err error, harmless func(error) bool) error {
	if harmless(err) {
		return nil
	}
	return err
}
