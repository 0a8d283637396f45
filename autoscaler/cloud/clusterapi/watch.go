// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package clusterapi

import (
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// Indexes of the stores.
const (
	byProviderID = "providerID"
	byNode       = "node"
	byOwner      = "owner"
)

const (
	// startRetry is the time between two attempts to find the kinds of Cluster API.
	startRetry = 5 * time.Second
	// askedAgain is how old an answer of the API server must be for a kind that is not in it to be asked for
	// again. It is less than startRetry, so that each attempt hears of what was installed since the last one.
	askedAgain = 4 * time.Second
	// firstLook is how long a refresh waits for the first look at the API. Whoever refreshes does so again soon.
	firstLook = time.Second
)

// stores are what the informers have, by kind and namespace.
type stores map[string]map[string]cache.SharedIndexInformer

// Run watches until the context ends. The API may be installed later: it is looked for until it is there.
func (p *Provider) Run(ctx context.Context) {
	err := wait.PollUntilContextCancel(ctx, startRetry, true, func(ctx context.Context) (bool, error) {
		found, err := p.discover()
		p.mu.Lock()
		defer p.mu.Unlock()
		if err != nil {
			if before := p.startErr; before == nil || before.Error() != err.Error() {
				klog.FromContext(ctx).Error(err, "Cluster API is not known; it is looked for again", "every", startRetry)
			}
			p.startErr = err
			return false, nil
		}
		p.stores, p.startErr = found, nil
		return true, nil
	})
	if err != nil {
		return
	}
	var running wait.Group
	for _, namespaces := range p.stores {
		for _, informer := range namespaces {
			running.StartWithContext(ctx, informer.RunWithContext)
		}
	}
	close(p.started)
	running.Wait()
}

// discover makes the informers of the kinds that the groups need, of the version that the API server prefers.
func (p *Provider) discover() (stores, error) {
	found := stores{}
	for _, c := range p.configured {
		for _, kind := range watched[c.kind] {
			if found[kind][c.namespace] != nil {
				continue
			}
			gvr, err := p.resource(kind)
			if err != nil {
				return nil, err
			}
			indexers := cache.Indexers{byOwner: indexOwner}
			if kind == machineKind {
				indexers[byProviderID], indexers[byNode] = indexProviderID, indexNode
			}
			if kind == poolKind {
				indexers[byProviderID] = indexProviderIDs
			}
			informer := dynamicinformer.NewFilteredDynamicInformer(p.options.Client, gvr, c.namespace, 0, indexers, nil).Informer()
			if err := informer.SetTransform(slim); err != nil {
				return nil, err
			}
			if found[kind] == nil {
				found[kind] = map[string]cache.SharedIndexInformer{}
			}
			found[kind][c.namespace] = informer
		}
	}
	return found, nil
}

// watched are the kinds that a kind of group is read from.
var watched = map[string][]string{
	deploymentKind: {deploymentKind, setKind, machineKind},
	setKind:        {setKind, machineKind},
	poolKind:       {poolKind, machineKind},
}

func (p *Provider) resource(kind string) (schema.GroupVersionResource, error) {
	mapping, err := p.mapping(schema.GroupKind{Group: apiGroup, Kind: kind})
	if err != nil {
		return schema.GroupVersionResource{}, fmt.Errorf("looking for %s of %s in %s: %w", kind, apiGroup, p.options.Cluster, err)
	}
	return mapping.Resource, nil
}

// mapping finds the resource of a kind. One that is not known may have been installed since the mapper asked the API
// server, so that has to ask again, but not each time.
func (p *Provider) mapping(kind schema.GroupKind, versions ...string) (*meta.RESTMapping, error) {
	mapping, err := p.options.Mapper.RESTMapping(kind, versions...)
	if !meta.IsNoMatchError(err) || !p.mayAskAgain() {
		return mapping, err
	}
	meta.MaybeResetRESTMapper(p.options.Mapper)
	return p.options.Mapper.RESTMapping(kind, versions...)
}

func (p *Provider) mayAskAgain() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.asked) < askedAgain {
		return false
	}
	p.asked = time.Now()
	return true
}

// synced tells whether everything that was there when Run began is known. It waits for that for a moment, and not at
// all once a look has failed.
func (p *Provider) synced(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, firstLook)
	defer cancel()
	p.mu.Lock()
	failed := p.startErr
	p.mu.Unlock()
	if failed != nil {
		return failed
	}
	select {
	case <-p.started:
	case <-ctx.Done():
		return fmt.Errorf("the API of Cluster API has yet to be looked for in %s: %w", p.options.Cluster, ctx.Err())
	}
	for kind, namespaces := range p.stores {
		for namespace, informer := range namespaces {
			if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
				return fmt.Errorf("the %ss of namespace %s in %s have yet to be read: %w", kind, namespace, p.options.Cluster, ctx.Err())
			}
		}
	}
	return nil
}

// get returns what the informer has under the name, or nil.
func (s stores) get(kind, namespace, name string) *unstructured.Unstructured {
	if informer := s[kind][namespace]; informer != nil {
		object, _, _ := informer.GetStore().GetByKey(namespace + "/" + name)
		u, _ := object.(*unstructured.Unstructured)
		return u
	}
	return nil
}

// list returns what the informer has, by name.
func (s stores) list(kind, namespace string) []*unstructured.Unstructured {
	if informer := s[kind][namespace]; informer != nil {
		return ordered(informer.GetStore().List())
	}
	return nil
}

func (s stores) by(index, kind, namespace, value string) []*unstructured.Unstructured {
	if informer := s[kind][namespace]; informer != nil {
		objects, _ := informer.GetIndexer().ByIndex(index, value)
		return ordered(objects)
	}
	return nil
}

func ordered(objects []any) []*unstructured.Unstructured {
	list := make([]*unstructured.Unstructured, 0, len(objects))
	for _, object := range objects {
		if u, ok := object.(*unstructured.Unstructured); ok {
			list = append(list, u)
		}
	}
	slices.SortFunc(list, func(a, b *unstructured.Unstructured) int { return cmpName(a, b) })
	return list
}

// machines returns the Machines of a group.
func (s stores) machines(kind, namespace, name string) []machine {
	owners := []string{kind + "/" + name}
	if kind == deploymentKind {
		owners = nil
		for _, set := range s.by(byOwner, setKind, namespace, deploymentKind+"/"+name) {
			owners = append(owners, setKind+"/"+set.GetName())
		}
	}
	var machines []machine
	for _, o := range owners {
		for _, u := range s.by(byOwner, machineKind, namespace, o) {
			machines = append(machines, machine{u})
		}
	}
	return machines
}

// group returns the name of the group that a Machine belongs to: what owns it, or what owns that.
func (s stores) group(m machine) string {
	kind, name := owner(m)
	if kind == setKind {
		if set := s.get(setKind, m.GetNamespace(), name); set != nil {
			if k, n := owner(set); k == deploymentKind {
				kind, name = k, n
			}
		}
	}
	return groupName(kind, m.GetNamespace(), name)
}

func indexOwner(object any) ([]string, error) {
	o, err := meta.Accessor(object)
	if err != nil {
		return nil, err
	}
	kind, name := owner(o)
	return []string{kind + "/" + name}, nil
}

func indexProviderID(object any) ([]string, error) {
	return present(machine{object.(*unstructured.Unstructured)}.providerID()), nil
}

func indexNode(object any) ([]string, error) {
	return present(machine{object.(*unstructured.Unstructured)}.node()), nil
}

func indexProviderIDs(object any) ([]string, error) {
	return providerIDs(object.(*unstructured.Unstructured)), nil
}

func present(value string) []string {
	if value == "" {
		return nil
	}
	return []string{value}
}

func providerIDs(pool *unstructured.Unstructured) []string {
	ids, _, _ := unstructured.NestedStringSlice(pool.Object, "spec", "providerIDList")
	return ids
}

// slim drops what nobody here reads: Machines are many, and most of one is who wrote which field.
func slim(object any) (any, error) {
	u, ok := object.(*unstructured.Unstructured)
	if !ok {
		return object, nil
	}
	u.SetManagedFields(nil)
	if u.GetKind() != machineKind {
		return u, nil
	}
	for _, path := range [][]string{{"spec", "bootstrap"}, {"spec", "infrastructureRef"}, {"status", "nodeInfo"}, {"status", "addresses"}, {"status", "v1beta2"}, {"metadata", "labels"}} {
		unstructured.RemoveNestedField(u.Object, path...)
	}
	return u, nil
}

func isDeleting(o metav1.Object) bool { return o.GetDeletionTimestamp() != nil }
