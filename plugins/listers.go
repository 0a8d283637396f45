// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"context"
	"time"

	"github.com/berth-dev/berth/plugins/statefulset"
	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/labels"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/informers"
	appslisters "k8s.io/client-go/listers/apps/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	policylisters "k8s.io/client-go/listers/policy/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/component-helpers/storage/volume"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/features"
)

// listers is the planner's source of objects: the informers' stores, which are
// at least as new as the events their handlers see.
type listers struct {
	sets    appslisters.StatefulSetLister
	claims  corelisters.PersistentVolumeClaimLister
	volumes corelisters.PersistentVolumeLister
	pods    corelisters.PodLister
	nodes   corelisters.NodeLister
	classes storagelisters.StorageClassLister
	rooms   storagelisters.CSIStorageCapacityLister
	budgets policylisters.PodDisruptionBudgetLister
}

func newListers(factory informers.SharedInformerFactory) listers {
	return listers{
		sets:    factory.Apps().V1().StatefulSets().Lister(),
		claims:  factory.Core().V1().PersistentVolumeClaims().Lister(),
		volumes: factory.Core().V1().PersistentVolumes().Lister(),
		pods:    factory.Core().V1().Pods().Lister(),
		nodes:   factory.Core().V1().Nodes().Lister(),
		classes: factory.Storage().V1().StorageClasses().Lister(),
		rooms:   factory.Storage().V1().CSIStorageCapacities().Lister(),
		budgets: factory.Policy().V1().PodDisruptionBudgets().Lister(),
	}
}

// Set and the following make listers most of a statefulset.Source.
func (l listers) Set(key statefulset.SetKey) *appsv1.StatefulSet {
	return orNil(l.sets.StatefulSets(key.Namespace).Get(key.Name))
}

func (l listers) Claim(namespace, name string) *v1.PersistentVolumeClaim {
	return orNil(l.claims.PersistentVolumeClaims(namespace).Get(name))
}

func (l listers) Volume(name string) *v1.PersistentVolume { return orNil(l.volumes.Get(name)) }

func (l listers) Pod(namespace, name string) *v1.Pod {
	return orNil(l.pods.Pods(namespace).Get(name))
}

func (l listers) Node(name string) *v1.Node { return orNil(l.nodes.Get(name)) }

func (l listers) Nodes() []*v1.Node {
	nodes, _ := l.nodes.List(labels.Everything())
	return nodes
}

func (l listers) BoundByScheduler(storageClass string) bool {
	class := orNil(l.classes.Get(storageClass))
	return class != nil && class.VolumeBindingMode != nil && *class.VolumeBindingMode == storagev1.VolumeBindingWaitForFirstConsumer
}

// orNil drops the error of a lister: over a store it means not found, and
// nothing else.
func orNil[T any](obj *T, err error) *T {
	if err != nil {
		return nil
	}
	return obj
}

// Rules are upstream's judgements about pods, volumes and nodes.
func Rules(ctx context.Context) statefulset.Rules {
	logger := klog.FromContext(ctx)
	comparisons := utilfeature.DefaultFeatureGate.Enabled(features.TaintTolerationComparisonOperators)
	return statefulset.Rules{
		Usable: func(pod *v1.Pod) func(*v1.Node) bool {
			affinity := nodeaffinity.GetRequiredNodeAffinity(pod)
			return func(node *v1.Node) bool {
				if _, untolerated := corev1helpers.FindMatchingUntoleratedTaint(logger, node.Spec.Taints, pod.Spec.Tolerations, lasting, comparisons); untolerated {
					return false
				}
				matches, _ := affinity.Match(node)
				return matches
			}
		},
		Reaches: func(pv *v1.PersistentVolume, node *v1.Node) bool {
			return volume.CheckNodeAffinity(pv, node.Labels) == nil
		},
		Now: time.Now,
	}
}

// lasting selects the taints that take a node out of the plan.
func lasting(taint *v1.Taint) bool {
	return taint.Effect != v1.TaintEffectPreferNoSchedule && !statefulset.PassingTaint(taint.Key)
}
