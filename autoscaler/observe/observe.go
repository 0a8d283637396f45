// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package observe reads the cluster: informers behind it, values in front.
//
// Everything it hands out is shared with the informers and read-only. It makes
// no decision and no write. What it needs is known when it is made, so that
// one start of the factory starts all of it; only VPAs, whose CRD may be
// missing or come later, are watched from the moment the API server serves them.
package observe

import (
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	"k8s.io/client-go/informers"
	typedcore "k8s.io/client-go/kubernetes/typed/core/v1"
	appslisters "k8s.io/client-go/listers/apps/v1"
	autoscalinglisters "k8s.io/client-go/listers/autoscaling/v2"
	corelisters "k8s.io/client-go/listers/core/v1"
	policylisters "k8s.io/client-go/listers/policy/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/scale"
	"k8s.io/client-go/tools/cache"
)

// Reader answers what the conductor asks about the cluster.
type Reader struct {
	pods         corelisters.PodLister
	podIndex     cache.Indexer
	nodes        corelisters.NodeLister
	namespaces   corelisters.NamespaceLister
	claims       corelisters.PersistentVolumeClaimLister
	volumes      corelisters.PersistentVolumeLister
	classes      storagelisters.StorageClassLister
	drivers      storagelisters.CSIDriverLister
	hpas         autoscalinglisters.HorizontalPodAutoscalerLister
	deployments  appslisters.DeploymentLister
	replicaSets  appslisters.ReplicaSetLister
	statefulSets appslisters.StatefulSetLister
	limitRanges  corelisters.LimitRangeLister
	quotas       corelisters.ResourceQuotaLister
	controllers  corelisters.ReplicationControllerLister
	budgets      policylisters.PodDisruptionBudgetLister
	vpas         *VPAs

	server typedcore.NodesGetter
	scales scale.ScalesGetter
	mapper meta.RESTMapper
}

// defaultClass is the annotation of the default StorageClass.
const defaultClass = "storageclass.kubernetes.io/is-default-class"

const (
	// unscheduledIndex is the pod index by whether a node is still to be found.
	unscheduledIndex = "berth.dev/unscheduled"
	// nodeIndex is the pod index by node.
	nodeIndex = "berth.dev/node"
	// claimIndex is the pod index by namespace and name of the claims they use.
	claimIndex = "berth.dev/claim"
)

// New registers the informers that the reader needs with the factory, which
// the caller starts. The server is asked for nodes where an informer may not be
// believed. Scales and mapper serve targets of other kinds than the built-in ones.
func New(factory informers.SharedInformerFactory, server typedcore.NodesGetter, vpas *VPAs, scales scale.ScalesGetter, mapper meta.RESTMapper) (*Reader, error) {
	core, apps := factory.Core().V1(), factory.Apps().V1()
	pods := core.Pods().Informer()
	err := pods.AddIndexers(cache.Indexers{
		unscheduledIndex: func(obj any) ([]string, error) {
			if pod, ok := obj.(*corev1.Pod); ok && pod.Spec.NodeName == "" && pod.Status.Phase == corev1.PodPending {
				return []string{""}, nil
			}
			return nil, nil
		},
		nodeIndex: func(obj any) ([]string, error) {
			if pod, ok := obj.(*corev1.Pod); ok && pod.Spec.NodeName != "" {
				return []string{pod.Spec.NodeName}, nil
			}
			return nil, nil
		},
		claimIndex: func(obj any) ([]string, error) {
			if pod, ok := obj.(*corev1.Pod); ok {
				return claimKeys(pod), nil
			}
			return nil, nil
		},
	})
	if err != nil {
		return nil, fmt.Errorf("indexing pods: %w", err)
	}
	return &Reader{
		pods:         core.Pods().Lister(),
		podIndex:     pods.GetIndexer(),
		nodes:        core.Nodes().Lister(),
		namespaces:   core.Namespaces().Lister(),
		claims:       core.PersistentVolumeClaims().Lister(),
		volumes:      core.PersistentVolumes().Lister(),
		classes:      factory.Storage().V1().StorageClasses().Lister(),
		drivers:      factory.Storage().V1().CSIDrivers().Lister(),
		hpas:         factory.Autoscaling().V2().HorizontalPodAutoscalers().Lister(),
		deployments:  apps.Deployments().Lister(),
		replicaSets:  apps.ReplicaSets().Lister(),
		statefulSets: apps.StatefulSets().Lister(),
		limitRanges:  core.LimitRanges().Lister(),
		quotas:       core.ResourceQuotas().Lister(),
		controllers:  core.ReplicationControllers().Lister(),
		budgets:      factory.Policy().V1().PodDisruptionBudgets().Lister(),
		vpas:         vpas,
		server:       server,
		scales:       scales,
		mapper:       mapper,
	}, nil
}

// HPAs returns every HorizontalPodAutoscaler but the canary, in no order.
func (r *Reader) HPAs() []*autoscalingv2.HorizontalPodAutoscaler {
	return slices.DeleteFunc(all(r.hpas.List), isCanary)
}

// VPAs returns every VerticalPodAutoscaler, in no order. It is not known
// while their CRD is being looked for.
func (r *Reader) VPAs() (vpas []*vpav1.VerticalPodAutoscaler, known bool) {
	return r.vpas.List(), r.vpas.Known()
}

// Nodes returns every node, in no order.
func (r *Reader) Nodes() []*corev1.Node { return all(r.nodes.List) }

// Node returns the node, or nil where there is none of that name.
func (r *Reader) Node(name string) *corev1.Node { return found(r.nodes.Get(name)) }

// Pods returns every pod, in no order.
func (r *Reader) Pods() []*corev1.Pod { return all(r.pods.List) }

// Namespaces returns the namespaces that a selector matches, in no order.
func (r *Reader) Namespaces(selector labels.Selector) []*corev1.Namespace {
	return all(func(labels.Selector) ([]*corev1.Namespace, error) { return r.namespaces.List(selector) })
}

// StatefulSets returns every StatefulSet, in no order.
func (r *Reader) StatefulSets() []*appsv1.StatefulSet { return all(r.statefulSets.List) }

// LimitRanges returns those of a namespace, in no order.
func (r *Reader) LimitRanges(namespace string) []*corev1.LimitRange {
	return all(r.limitRanges.LimitRanges(namespace).List)
}

// Budgets returns the PodDisruptionBudgets of a namespace, in no order.
func (r *Reader) Budgets(namespace string) []*policyv1.PodDisruptionBudget {
	return all(r.budgets.PodDisruptionBudgets(namespace).List)
}

// PodsOf returns the pods of a namespace that a selector matches, in no order.
func (r *Reader) PodsOf(namespace string, selector labels.Selector) []*corev1.Pod {
	return all(func(labels.Selector) ([]*corev1.Pod, error) {
		return r.pods.Pods(namespace).List(selector)
	})
}

// UnscheduledPods returns the pending pods that no node was found for yet, in no order.
func (r *Reader) UnscheduledPods() []*corev1.Pod {
	return r.indexed(unscheduledIndex, "")
}

// PodsOn returns the pods that are bound to a node, in no order.
func (r *Reader) PodsOn(node string) []*corev1.Pod { return r.indexed(nodeIndex, node) }

func (r *Reader) indexed(index, value string) []*corev1.Pod {
	objects, err := r.podIndex.ByIndex(index, value)
	if err != nil {
		return nil // the indexes are registered in New
	}
	pods := make([]*corev1.Pod, 0, len(objects))
	for _, object := range objects {
		pods = append(pods, object.(*corev1.Pod))
	}
	return pods
}

// Deployments returns every Deployment, in no order.
func (r *Reader) Deployments() []*appsv1.Deployment { return all(r.deployments.List) }

// ReplicaSets returns every ReplicaSet, in no order.
func (r *Reader) ReplicaSets() []*appsv1.ReplicaSet { return all(r.replicaSets.List) }

// DefaultStorageClass returns the name of the class of claims that name none:
// of several defaults the newest, as the API server chooses. It is empty where there is no default.
func (r *Reader) DefaultStorageClass() string {
	var newest *storagev1.StorageClass
	for _, class := range all(r.classes.List) {
		if class.Annotations[defaultClass] != "true" {
			continue
		}
		if newest == nil || newest.CreationTimestamp.Before(&class.CreationTimestamp) ||
			newest.CreationTimestamp.Equal(&class.CreationTimestamp) && class.Name < newest.Name {
			newest = class
		}
	}
	if newest == nil {
		return ""
	}
	return newest.Name
}

// Deployment, ReplicaSet and StatefulSet return the object, or nil where there is none.
func (r *Reader) Deployment(namespace, name string) *appsv1.Deployment {
	return found(r.deployments.Deployments(namespace).Get(name))
}

// ReplicaSet: see Deployment.
func (r *Reader) ReplicaSet(namespace, name string) *appsv1.ReplicaSet {
	return found(r.replicaSets.ReplicaSets(namespace).Get(name))
}

// StatefulSet: see Deployment.
func (r *Reader) StatefulSet(namespace, name string) *appsv1.StatefulSet {
	return found(r.statefulSets.StatefulSets(namespace).Get(name))
}

// Claim and Volume return the object, or nil where there is none.
func (r *Reader) Claim(namespace, name string) *corev1.PersistentVolumeClaim {
	return found(r.claims.PersistentVolumeClaims(namespace).Get(name))
}

// Volume: see Claim.
func (r *Reader) Volume(name string) *corev1.PersistentVolume { return found(r.volumes.Get(name)) }

// all lists everything: a lister over an informer's store cannot fail.
func all[T any](list func(labels.Selector) ([]T, error)) []T {
	items, _ := list(labels.Everything())
	return items
}

// found drops the one error that a lister over an informer's store has: there is no such object.
func found[T any](object *T, err error) *T {
	if err != nil {
		return nil
	}
	return object
}
