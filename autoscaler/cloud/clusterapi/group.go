// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package clusterapi

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"github.com/berth-dev/berth/autoscaler/cloud"
)

type nodeGroup struct {
	provider              *Provider
	kind, namespace, name string

	// changing is held while the group is changed, so that changes of this process come one after the other.
	changing sync.Mutex

	// mu guards what follows.
	mu         sync.Mutex
	configured Group
	said       promise
	low, high  int
	// written is the size that this process wrote last, until the informer shows it.
	written *written
	// leaving are the Machines that Cluster API was told to delete, until the informer shows that it does.
	leaving map[types.UID]bool
	infra   infrastructure
}

type written struct {
	size            int
	resourceVersion string
}

var _ cloud.NodeGroup = &nodeGroup{}

func (g *nodeGroup) Name() string { return groupName(g.kind, g.namespace, g.name) }

func (g *nodeGroup) Limits() (low, high int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.low, g.high
}

// refresh reads the group as the informer has it.
func (g *nodeGroup) refresh(configured Group) error {
	object := g.cached()
	if object == nil || isDeleting(object) {
		return &MissingError{Group: g.Name()}
	}
	if kind, name := owner(object); g.kind == setKind && kind == deploymentKind {
		return &OwnedError{Group: g.Name(), Owner: groupName(kind, g.namespace, name)}
	}
	said, low, high, err := g.understand(object, configured)
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.configured, g.said, g.low, g.high = configured, said, low, high
	size, err := g.size(object)
	if err != nil {
		return err
	}
	staying := map[types.UID]bool{}
	for _, m := range g.provider.stores.machines(g.kind, g.namespace, g.name) {
		if !m.deleting() {
			staying[m.GetUID()] = true
		}
	}
	maps.DeleteFunc(g.leaving, func(uid types.UID, _ bool) bool { return !staying[uid] })
	if g.written == nil && len(staying) <= size {
		g.leaving = nil // Somebody made the group larger before the Machine was taken.
	}
	return nil
}

// understand reads what an object says about its group, within what is configured.
func (g *nodeGroup) understand(object *unstructured.Unstructured, configured Group) (said promise, low, high int, err error) {
	if said, err = read(g.Name(), object.GetAnnotations()); err != nil {
		return said, 0, 0, err
	}
	if said.taints, err = g.taints(object, said.taints); err != nil {
		return said, 0, 0, err
	}
	low = max(deref(said.low), deref(configured.Min))
	switch {
	case said.high != nil && configured.Max != nil:
		high = min(*said.high, *configured.Max)
	case said.high != nil:
		high = *said.high
	case configured.Max != nil:
		high = *configured.Max
	default:
		return said, 0, 0, &InvalidError{Group: g.Name(), Field: "annotation " + maxAnnotation, Want: "a whole number from 0, there or as max in the configuration"}
	}
	if high < low {
		return said, 0, 0, &InvalidError{Group: g.Name(), Field: "annotation " + maxAnnotation, Value: strconv.Itoa(high), Want: fmt.Sprintf("at least the minimum %d (both as the configuration narrows them)", low)}
	}
	return said, low, high, nil
}

func (g *nodeGroup) cached() *unstructured.Unstructured {
	return g.provider.stores.get(g.kind, g.namespace, g.name)
}

func (g *nodeGroup) TargetSize(context.Context) (int, error) {
	object := g.cached()
	if object == nil {
		return 0, &MissingError{Group: g.Name()}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.size(object)
}

// size is the target size of an object of the informer, under the lock.
func (g *nodeGroup) size(object *unstructured.Unstructured) (int, error) {
	if w := g.written; w != nil {
		// Versions that cannot be compared are those of a fake: the informer is believed.
		if order, err := resourceversion.CompareResourceVersion(object.GetResourceVersion(), w.resourceVersion); err == nil && order < 0 {
			return w.size, nil
		}
		g.written = nil
	}
	return g.replicas(object)
}

func (g *nodeGroup) replicas(object *unstructured.Unstructured) (int, error) {
	n, found, err := unstructured.NestedInt64(object.Object, "spec", "replicas")
	if err != nil || !found || n < 0 {
		value := ""
		if found || err != nil {
			raw, _, _ := unstructured.NestedFieldNoCopy(object.Object, "spec", "replicas")
			value = fmt.Sprint(raw)
		}
		return 0, &InvalidError{Group: g.Name(), Field: "spec.replicas", Value: value, Want: "a whole number from 0"}
	}
	return int(n), nil
}

func (g *nodeGroup) Options(_ context.Context, defaults cloud.Options) (cloud.Options, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.said.options.over(defaults), nil
}

// Price is not known: Cluster API has no prices.
func (g *nodeGroup) Price(context.Context) (perHour float64, known bool, err error) {
	return 0, false, nil
}

// Instances are the Machines. A MachinePool may have machines without one: these are known by their providerID.
func (g *nodeGroup) Instances(context.Context) ([]cloud.Instance, error) {
	object := g.cached()
	if object == nil {
		return nil, &MissingError{Group: g.Name()}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	machines := g.provider.stores.machines(g.kind, g.namespace, g.name)
	instances := make([]cloud.Instance, 0, len(machines))
	for _, m := range machines {
		i := m.instance()
		if g.leaving[m.GetUID()] {
			i.State = cloud.InstanceDeleting
		}
		instances = append(instances, i)
	}
	if g.kind == poolKind {
		state := cloud.InstanceCreating
		if len(machines) == 0 {
			state = cloud.InstanceRunning
		}
		for _, id := range providerIDs(object) {
			if !slices.ContainsFunc(instances, func(i cloud.Instance) bool { return i.ProviderID == id }) {
				instances = append(instances, cloud.Instance{ProviderID: id, State: state})
			}
		}
	}
	return instances, nil
}
