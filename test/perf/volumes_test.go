// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package perf

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/component-helpers/storage/volume"
	"k8s.io/kubernetes/test/utils/ktesting"
)

// writers is how many volumes are made at a time.
const writers = 16

// place says where the volumes of a case are: in turn in the domains of a node
// label.
type place struct {
	label  string
	source func(name string) v1.PersistentVolumeSource
}

// places of the cases that have volumes.
func places() map[string]place {
	return map[string]place{
		"BoundZonal": {v1.LabelTopologyZone, func(name string) v1.PersistentVolumeSource {
			return v1.PersistentVolumeSource{CSI: &v1.CSIPersistentVolumeSource{Driver: "csi.example.com", VolumeHandle: name}}
		}},
		"BoundLocal": {v1.LabelHostname, func(name string) v1.PersistentVolumeSource {
			return v1.PersistentVolumeSource{Local: &v1.LocalVolumeSource{Path: "/mnt/" + name}}
		}},
	}
}

// fill makes bound pairs of claim and volume, and waits until the scheduler
// knows them.
func (p place) fill(tCtx ktesting.TContext, factory informers.SharedInformerFactory, nodes *v1.NodeList, count int) error {
	domains := make([]string, 0, len(nodes.Items))
	for _, node := range nodes.Items {
		domains = append(domains, node.Labels[p.label])
	}
	slices.Sort(domains)
	domains = slices.Compact(domains)

	errs := make([]error, count)
	workqueue.ParallelizeUntil(tCtx, writers, count, func(i int) {
		errs[i] = p.bind(tCtx, i, domains[i%len(domains)])
	})
	if err := errors.Join(errs...); err != nil {
		return err
	}
	known := factory.Core().V1().PersistentVolumes().Lister()
	return wait.PollUntilContextTimeout(tCtx, 100*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
		volumes, err := known.List(labels.Everything())
		return len(volumes) == count, err
	})
}

// bind makes one pair as the controllers leave it behind.
func (p place) bind(tCtx ktesting.TContext, i int, domain string) error {
	name := fmt.Sprintf("volume-%d", i)
	modes, size := []v1.PersistentVolumeAccessMode{v1.ReadWriteOnce}, v1.ResourceList{v1.ResourceStorage: resource.MustParse("1Gi")}
	bound := map[string]string{volume.AnnBindCompleted: "yes"}
	claims := tCtx.Client().CoreV1().PersistentVolumeClaims(namespace)
	claim, err := claims.Create(tCtx, &v1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("claim-%d", i), Annotations: bound},
		Spec: v1.PersistentVolumeClaimSpec{
			AccessModes: modes, VolumeName: name, Resources: v1.VolumeResourceRequirements{Requests: size},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	claim.Status = v1.PersistentVolumeClaimStatus{Phase: v1.ClaimBound, AccessModes: modes, Capacity: size}
	if _, err := claims.UpdateStatus(tCtx, claim, metav1.UpdateOptions{}); err != nil {
		return err
	}
	_, err = tCtx.Client().CoreV1().PersistentVolumes().Create(tCtx, &v1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1.PersistentVolumeSpec{
			AccessModes: modes, Capacity: size, PersistentVolumeSource: p.source(name),
			ClaimRef: &v1.ObjectReference{Kind: "PersistentVolumeClaim", APIVersion: "v1", Namespace: namespace, Name: claim.Name, UID: claim.UID},
			NodeAffinity: &v1.VolumeNodeAffinity{Required: &v1.NodeSelector{NodeSelectorTerms: []v1.NodeSelectorTerm{{
				MatchExpressions: []v1.NodeSelectorRequirement{{Key: p.label, Operator: v1.NodeSelectorOpIn, Values: []string{domain}}},
			}}}},
		},
	}, metav1.CreateOptions{})
	return err
}
