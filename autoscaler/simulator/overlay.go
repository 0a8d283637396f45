// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"fmt"
	"reflect"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/informers/admissionregistration"
	"k8s.io/client-go/informers/apiserverinternal"
	"k8s.io/client-go/informers/apps"
	"k8s.io/client-go/informers/autoscaling"
	"k8s.io/client-go/informers/batch"
	"k8s.io/client-go/informers/certificates"
	"k8s.io/client-go/informers/coordination"
	"k8s.io/client-go/informers/core"
	"k8s.io/client-go/informers/discovery"
	"k8s.io/client-go/informers/events"
	"k8s.io/client-go/informers/extensions"
	"k8s.io/client-go/informers/flowcontrol"
	"k8s.io/client-go/informers/internalinterfaces"
	"k8s.io/client-go/informers/networking"
	"k8s.io/client-go/informers/node"
	"k8s.io/client-go/informers/policy"
	"k8s.io/client-go/informers/rbac"
	"k8s.io/client-go/informers/resource"
	"k8s.io/client-go/informers/scheduling"
	"k8s.io/client-go/informers/storage"
	"k8s.io/client-go/informers/storagemigration"
	"k8s.io/client-go/tools/cache"
)

// Overlay is an informer factory that shows what a live one has, and on top of
// it the objects of a simulation.
//
// Plugins are built over it once. Their listers read through it and their
// event handlers hear of simulated objects as they do of live ones, but at
// once: put returns when every handler has returned. A live object is hidden
// while a simulated one of its name lies over it; what happened to it
// meanwhile is told when that is taken away. The live factory is shared with
// the rest of the process and never sees any of this.
type Overlay struct {
	// The embedded factory starts and stops the informers; everything that
	// reads from them is overridden.
	informers.SharedInformerFactory

	mu     sync.Mutex
	layers map[cache.SharedIndexInformer]*layer
	byType map[reflect.Type]*layer
}

var _ informers.SharedInformerFactory = &Overlay{}

// NewOverlay returns an overlay of the live factory with nothing in it.
func NewOverlay(live informers.SharedInformerFactory) *Overlay {
	return &Overlay{
		SharedInformerFactory: live,
		layers:                map[cache.SharedIndexInformer]*layer{},
		byType:                map[reflect.Type]*layer{},
	}
}

// InformerFor returns the live informer of the type with its layer.
func (o *Overlay) InformerFor(object runtime.Object, newFunc internalinterfaces.NewInformerFunc) cache.SharedIndexInformer {
	live := o.SharedInformerFactory.InformerFor(object, newFunc)
	o.mu.Lock()
	defer o.mu.Unlock()
	l := o.layer(live)
	o.byType[reflect.TypeOf(object)] = l
	return l
}

// layer returns the layer over a live informer, under the lock.
func (o *Overlay) layer(live cache.SharedIndexInformer) *layer {
	l, ok := o.layers[live]
	if !ok {
		l = newLayer(live)
		o.layers[live] = l
	}
	return l
}

// ForResource returns the live informer of the resource with its layer.
func (o *Overlay) ForResource(gvr schema.GroupVersionResource) (informers.GenericInformer, error) {
	live, err := o.SharedInformerFactory.ForResource(gvr)
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return &generic{layer: o.layer(live.Informer()), resource: gvr.GroupResource()}, nil
}

type generic struct {
	layer    *layer
	resource schema.GroupResource
}

func (g *generic) Informer() cache.SharedIndexInformer { return g.layer }
func (g *generic) Lister() cache.GenericLister {
	return cache.NewGenericLister(g.layer.GetIndexer(), g.resource)
}

// put lays an object over what is live and returns how to take it away again,
// in the reverse order of the calls. An object of a type that no plugin
// watches is nobody's concern.
func (o *Overlay) put(object runtime.Object) (undo func(), err error) {
	return o.cover(object, object)
}

// hide does the same with nothing in the place of the object.
func (o *Overlay) hide(object runtime.Object) (undo func(), err error) {
	return o.cover(object, nil)
}

// cover lays something over the live object that has the type and the key of the given one.
func (o *Overlay) cover(object runtime.Object, by any) (undo func(), err error) {
	o.mu.Lock()
	l := o.byType[reflect.TypeOf(object)]
	o.mu.Unlock()
	if l == nil {
		return func() {}, nil
	}
	key, err := cache.MetaNamespaceKeyFunc(object)
	if err != nil {
		return nil, fmt.Errorf("overlaying a %T: %w", object, err)
	}
	return l.put(key, by)
}

// The groups are those of client-go, over the overlay's informers.

func (o *Overlay) Admissionregistration() admissionregistration.Interface {
	return admissionregistration.New(o, "", nil)
}
func (o *Overlay) Internal() apiserverinternal.Interface { return apiserverinternal.New(o, "", nil) }
func (o *Overlay) Apps() apps.Interface                  { return apps.New(o, "", nil) }
func (o *Overlay) Autoscaling() autoscaling.Interface    { return autoscaling.New(o, "", nil) }
func (o *Overlay) Batch() batch.Interface                { return batch.New(o, "", nil) }
func (o *Overlay) Certificates() certificates.Interface  { return certificates.New(o, "", nil) }
func (o *Overlay) Coordination() coordination.Interface  { return coordination.New(o, "", nil) }
func (o *Overlay) Core() core.Interface                  { return core.New(o, "", nil) }
func (o *Overlay) Discovery() discovery.Interface        { return discovery.New(o, "", nil) }
func (o *Overlay) Events() events.Interface              { return events.New(o, "", nil) }
func (o *Overlay) Extensions() extensions.Interface      { return extensions.New(o, "", nil) }
func (o *Overlay) Flowcontrol() flowcontrol.Interface    { return flowcontrol.New(o, "", nil) }
func (o *Overlay) Networking() networking.Interface      { return networking.New(o, "", nil) }
func (o *Overlay) Node() node.Interface                  { return node.New(o, "", nil) }
func (o *Overlay) Policy() policy.Interface              { return policy.New(o, "", nil) }
func (o *Overlay) Rbac() rbac.Interface                  { return rbac.New(o, "", nil) }
func (o *Overlay) Resource() resource.Interface          { return resource.New(o, "", nil) }
func (o *Overlay) Scheduling() scheduling.Interface      { return scheduling.New(o, "", nil) }
func (o *Overlay) Storage() storage.Interface            { return storage.New(o, "", nil) }
func (o *Overlay) Storagemigration() storagemigration.Interface {
	return storagemigration.New(o, "", nil)
}
