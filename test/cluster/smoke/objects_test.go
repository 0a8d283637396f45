// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package smoke

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// claim makes one of a class, as a file system unless another mode is given.
func (c *cluster) claim(t *testing.T, name, class, size string, mode corev1.PersistentVolumeMode) {
	t.Helper()
	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes:      []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			StorageClassName: &class,
			Resources:        corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}},
		},
	}
	if mode != "" {
		claim.Spec.VolumeMode = &mode
	}
	if _, err := c.kube.CoreV1().PersistentVolumeClaims("default").Create(t.Context(), claim, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// pod makes one that uses claims, on a certain node if one is given.
func (c *cluster) pod(t *testing.T, name, node string, claims ...string) {
	t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "any"}}},
	}
	if node != "" {
		pod.Spec.NodeSelector = map[string]string{corev1.LabelHostname: node + ".local"}
	}
	for _, claim := range claims {
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: claim, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim},
		}})
	}
	if _, err := c.kube.CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func (c *cluster) forceDelete(t *testing.T, pod string) {
	t.Helper()
	if err := c.kube.CoreV1().Pods("default").Delete(t.Context(), pod, *metav1.NewDeleteOptions(0)); err != nil {
		t.Fatal(err)
	}
}

// annotate sets an annotation of a node, or takes it away when the value is empty.
func (c *cluster) annotate(t *testing.T, node, key, value string) {
	t.Helper()
	text := "null"
	if value != "" {
		text = strconv.Quote(value)
	}
	patch := fmt.Appendf(nil, `{"metadata": {"annotations": {%q: %s}}}`, key, text)
	if _, err := c.kube.CoreV1().Nodes().Patch(t.Context(), node, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

func (c *cluster) untilReady(t *testing.T, pod string) {
	t.Helper()
	eventually(t, pod, func(ctx context.Context) error {
		p, err := c.kube.CoreV1().Pods("default").Get(ctx, pod, metav1.GetOptions{})
		if err == nil && !ready(p) {
			err = fmt.Errorf("conditions %v", p.Status.Conditions)
		}
		return err
	})
}

// volume is the one that a claim is bound to.
func (c *cluster) volume(t *testing.T, claim string) *corev1.PersistentVolume {
	t.Helper()
	bound, err := c.kube.CoreV1().PersistentVolumeClaims("default").Get(t.Context(), claim, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	volume, err := c.kube.CoreV1().PersistentVolumes().Get(t.Context(), bound.Spec.VolumeName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return volume
}

// free waits until so much is free in the pool of a node, and there is no other pool.
func (c *cluster) free(t *testing.T, node, want string) {
	t.Helper()
	eventually(t, "capacity", func(context.Context) error {
		capacities := c.capacities(t)
		if got := capacities[node+".local"]; len(capacities) != 1 || got == nil || got.Capacity.String() != want {
			return fmt.Errorf("got %v, want %s", capacities, want)
		}
		return nil
	})
}

// capacities of class pooled, by what the driver calls the node.
func (c *cluster) capacities(t *testing.T) map[string]*storagev1.CSIStorageCapacity {
	t.Helper()
	list, err := c.kube.StorageV1().CSIStorageCapacities("kube-system").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	byPlace := map[string]*storagev1.CSIStorageCapacity{}
	for i := range list.Items {
		if capacity := &list.Items[i]; capacity.StorageClassName == "pooled" {
			byPlace[capacity.NodeTopology.MatchLabels["topology.pooled.berth.test/node"]] = capacity
		}
	}
	return byPlace
}

func unschedulable(pod *corev1.Pod) bool {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodScheduled {
			return condition.Reason == corev1.PodReasonUnschedulable
		}
	}
	return false
}

func readiness(node *corev1.Node) corev1.ConditionStatus {
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition.Status
		}
	}
	return ""
}

// gone is satisfied with an object that is not found.
func gone(err error) error {
	if err == nil {
		return errors.New("it is there")
	}
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
