// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package resize is what the kubelets of a test cluster do about pods whose sizes are
// changed while they run: they find room on the node, change the containers, and say in
// the pod's status how far they are.
//
// Who gets room, when and in which order, and what the conditions say of it, is not
// imitated: the kubelet's own packages (k8s.io/kubernetes/pkg/kubelet/allocation, lifecycle,
// status) decide, one set of them for each node. Simulated is what they act on: no container
// is changed or started again, but its status says so, after the time and with the outcome that
// annotations ask for.
//
// A node costs nothing while no size changes on it: its kubelet is made when a pod is
// not what its spec asks for, from what the statuses tell, and forgotten afterwards.
package resize

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
)

// Config is what the kubelets work with.
type Config struct {
	Client kubernetes.Interface
	Nodes  corelisters.NodeLister
	// PodsOn are the pods of a node.
	PodsOn func(node string) ([]*corev1.Pod, error)
	// Alive tells whether a node is simulated and somebody does a kubelet's work there.
	Alive func(*corev1.Node) bool
	// Events are those of the kubelets.
	Events record.EventBroadcaster
	// Queue holds the names of the nodes to look at.
	Queue workqueue.TypedRateLimitingInterface[string]
}

// Kubelets are those of all nodes.
type Kubelets struct {
	Config
	mu   sync.Mutex
	busy map[string]*kubelet // by node, where a size changes
}

// New returns the kubelets. Somebody must call Sync for what is in the queue, for one
// node at a time, and hand the handlers to informers.
func New(config Config) *Kubelets {
	return &Kubelets{Config: config, busy: map[string]*kubelet{}}
}

// PodHandler looks at a node when one of its pods is not what its spec asks for, and
// at any change of a pod while somebody there may wait for room.
func (k *Kubelets) PodHandler() cache.ResourceEventHandler {
	look := func(obj any) {
		if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
			obj = gone.Obj
		}
		pod, ok := obj.(*corev1.Pod)
		if ok && pod.Spec.NodeName != "" && (unsettled(pod) || k.on(pod.Spec.NodeName) != nil) {
			k.Queue.Add(pod.Spec.NodeName)
		}
	}
	return cache.ResourceEventHandlerFuncs{AddFunc: look, UpdateFunc: func(_, obj any) { look(obj) }, DeleteFunc: look}
}

// NodeHandler looks at a node when it changes.
func (k *Kubelets) NodeHandler() cache.ResourceEventHandler {
	look := func(obj any) {
		if key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(obj); err == nil {
			k.Queue.Add(key)
		}
	}
	return cache.ResourceEventHandlerFuncs{AddFunc: look, UpdateFunc: func(_, obj any) { look(obj) }, DeleteFunc: look}
}

// Sync brings the pods of one node further.
func (k *Kubelets) Sync(ctx context.Context, name string) error {
	node, err := k.Nodes.Get(name)
	if apierrors.IsNotFound(err) {
		k.set(name, nil)
		return nil
	}
	if err != nil {
		return err
	}
	if !k.Alive(node) {
		return nil
	}
	pods, err := k.PodsOn(name)
	if err != nil {
		return err
	}
	pods = slices.DeleteFunc(slices.Clone(pods), ended)
	slices.SortFunc(pods, byName)
	one := k.on(name)
	switch unsettled := slices.ContainsFunc(pods, unsettled); {
	case !unsettled && (one == nil || !one.rooms.HasPendingResizes()):
		k.set(name, nil)
		return nil
	case one == nil:
		one = newKubelet(klog.FromContext(ctx), name, k.Events)
		k.set(name, one)
	}
	if wait := one.look(klog.FromContext(ctx), node.DeepCopy(), pods); wait > 0 {
		k.Queue.AddAfter(name, wait)
	}
	var errs []error
	for _, pod := range pods {
		if next := one.report(pod); next != nil {
			errs = append(errs, k.write(ctx, next))
		}
	}
	return errors.Join(errs...)
}

// write fails if the pod has changed since: what was to be said of it may not hold any more.
func (k *Kubelets) write(ctx context.Context, pod *corev1.Pod) error {
	_, err := k.Client.CoreV1().Pods(pod.Namespace).UpdateStatus(ctx, pod, metav1.UpdateOptions{})
	if err == nil || apierrors.IsNotFound(err) {
		return nil
	}
	return fmt.Errorf("status of pod %s/%s: %w", pod.Namespace, pod.Name, err)
}

func (k *Kubelets) on(node string) *kubelet {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.busy[node]
}

func (k *Kubelets) set(node string, one *kubelet) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if one == nil {
		delete(k.busy, node)
	} else {
		k.busy[node] = one
	}
}

func ended(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

func byName(a, b *corev1.Pod) int {
	if c := strings.Compare(a.Namespace, b.Namespace); c != 0 {
		return c
	}
	return strings.Compare(a.Name, b.Name)
}
