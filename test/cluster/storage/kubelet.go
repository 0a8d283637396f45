// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	coordinationlisters "k8s.io/client-go/listers/coordination/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/cache"
)

// kubelet does, for every simulated node, what kwok leaves out of a kubelet's
// work: it registers the storage drivers, reports the volumes in use and lets
// a pod start once its volumes are there.
type kubelet struct {
	client      kubernetes.Interface
	nodes       corelisters.NodeLister
	pods        cache.Indexer
	claims      corelisters.PersistentVolumeClaimLister
	volumes     corelisters.PersistentVolumeLister
	csiNodes    storagelisters.CSINodeLister
	leases      coordinationlisters.LeaseNamespaceLister // those of the dead
	attachLimit int32
	queue       queue
}

// byNode indexes the pods that are on a node.
const byNode = "node"

func podsByNode(obj any) ([]string, error) {
	if name := obj.(*corev1.Pod).Spec.NodeName; name != "" {
		return []string{name}, nil
	}
	return nil, nil
}

func (k *kubelet) podsOn(node string) ([]*corev1.Pod, error) {
	objects, err := k.pods.ByIndex(byNode, node)
	if err != nil {
		return nil, err
	}
	pods := make([]*corev1.Pod, len(objects))
	for i, object := range objects {
		pods[i] = object.(*corev1.Pod)
	}
	return pods, nil
}

// podHandler looks at a node when one of its pods that has volumes changes.
func (k *kubelet) podHandler() cache.ResourceEventHandler {
	look := func(obj any) {
		if pod, ok := last(obj).(*corev1.Pod); ok && pod.Spec.NodeName != "" && len(claimNames(pod)) > 0 {
			k.queue.Add(pod.Spec.NodeName)
		}
	}
	return cache.ResourceEventHandlerFuncs{AddFunc: look, UpdateFunc: func(_, obj any) { look(obj) }, DeleteFunc: look}
}

// nodeHandler looks at a node when it comes or changes.
func (k *kubelet) nodeHandler() cache.ResourceEventHandler {
	look := func(obj any) { k.queue.Add(obj.(*corev1.Node).Name) }
	return cache.ResourceEventHandlerFuncs{AddFunc: look, UpdateFunc: func(_, obj any) { look(obj) }}
}

// sync brings one node up to date.
func (k *kubelet) sync(ctx context.Context, name string) error {
	node, err := k.nodes.Get(name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if !simulated(node) {
		return nil
	}
	if err := k.settleLease(ctx, node); err != nil {
		return fmt.Errorf("settling the lease: %w", err)
	}
	if dead(node) {
		return nil
	}
	if err := k.register(ctx, node); err != nil {
		return fmt.Errorf("registering: %w", err)
	}
	if !ready(node) {
		return nil
	}
	// A pod whose claims are not bound, or not yet seen to be, holds up no other.
	needed, unknown := k.needed(node)
	if err := k.reportInUse(ctx, node, needed); err != nil {
		return fmt.Errorf("reporting volumes in use: %w", err)
	}
	for _, n := range needed {
		if startable(n, node) {
			if err := k.letStart(ctx, n.pod); err != nil {
				return err
			}
		}
	}
	return unknown
}

func simulated(node *corev1.Node) bool {
	return node.Labels["type"] == "kwok" || node.Annotations["kwok.x-k8s.io/node"] != ""
}

func ready(node *corev1.Node) bool {
	return slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

// need is a pod and the volumes that must be attached for it.
type need struct {
	pod     *corev1.Pod
	volumes []corev1.UniqueVolumeName
}

// needed are the pods of a node that use claims and have not ended. The error
// tells of those whose volumes are not known, which are left out.
func (k *kubelet) needed(node *corev1.Node) ([]need, error) {
	pods, err := k.podsOn(node.Name)
	if err != nil {
		return nil, err
	}
	var needs []need
	var unknown []error
	for _, pod := range pods {
		claims := claimNames(pod)
		if len(claims) == 0 || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
			continue
		}
		volumes, err := k.attached(pod.Namespace, claims)
		if err != nil {
			unknown = append(unknown, fmt.Errorf("pod %s/%s: %w", pod.Namespace, pod.Name, err))
			continue
		}
		needs = append(needs, need{pod: pod, volumes: volumes})
	}
	return needs, errors.Join(unknown...)
}

// attached are the volumes of claims that a node must attach.
func (k *kubelet) attached(namespace string, claims []string) ([]corev1.UniqueVolumeName, error) {
	var names []corev1.UniqueVolumeName
	for _, name := range claims {
		claim, err := k.claims.PersistentVolumeClaims(namespace).Get(name)
		if err != nil {
			return nil, err
		}
		if claim.Spec.VolumeName == "" {
			return nil, fmt.Errorf("claim %s is not bound", name)
		}
		volume, err := k.volumes.Get(claim.Spec.VolumeName)
		if err != nil {
			return nil, err
		}
		if name, attachable := uniqueName(volume); attachable {
			names = append(names, name)
		}
	}
	return names, nil
}

// reportInUse writes the volumes that the node's pods need, when they changed.
func (k *kubelet) reportInUse(ctx context.Context, node *corev1.Node, needs []need) error {
	inUse := []corev1.UniqueVolumeName{}
	for _, n := range needs {
		inUse = append(inUse, n.volumes...)
	}
	slices.Sort(inUse)
	inUse = slices.Compact(inUse)
	if slices.Equal(inUse, node.Status.VolumesInUse) {
		return nil
	}
	return k.patchNode(ctx, node.Name, map[string]any{"status": map[string]any{"volumesInUse": inUse}}, "status")
}

func (k *kubelet) patchNode(ctx context.Context, name string, patch map[string]any, subresources ...string) error {
	data, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	_, err = k.client.CoreV1().Nodes().Patch(ctx, name, types.MergePatchType, data, metav1.PatchOptions{}, subresources...)
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// startable is a pod that waits for its volumes, all of which are there.
func startable(n need, node *corev1.Node) bool {
	if n.pod.DeletionTimestamp != nil || n.pod.Status.Phase != corev1.PodPending || started(n.pod) {
		return false
	}
	for _, volume := range n.volumes {
		if !slices.ContainsFunc(node.Status.VolumesAttached, func(a corev1.AttachedVolume) bool { return a.Name == volume }) {
			return false
		}
	}
	return true
}

func started(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReadyToStartContainers && c.Status == corev1.ConditionTrue
	})
}

// letStart sets the condition that a kubelet sets once a pod's volumes are
// mounted and its sandbox is made. kwok's pod-start stage waits for it.
func (k *kubelet) letStart(ctx context.Context, pod *corev1.Pod) error {
	data, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": pod.UID},
		"status": map[string]any{"conditions": []corev1.PodCondition{{
			Type:               corev1.PodReadyToStartContainers,
			Status:             corev1.ConditionTrue,
			LastTransitionTime: metav1.Now(),
		}}},
	})
	if err != nil {
		return err
	}
	_, err = k.client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, data, metav1.PatchOptions{}, "status")
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}
