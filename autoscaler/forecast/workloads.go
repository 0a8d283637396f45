// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package forecast

import (
	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// OfSet returns the workload of a StatefulSet. The pods are those it controls,
// existing the names of the claims in its namespace that exist.
func OfSet(set *appsv1.StatefulSet, desired int, pods []*v1.Pod, existing map[string]bool) Workload {
	slots := &Slots{
		Ordered:  set.Spec.PodManagementPolicy != appsv1.ParallelPodManagement,
		Service:  set.Spec.ServiceName,
		Before:   set.Status.CurrentRevision,
		Claims:   set.Spec.VolumeClaimTemplates,
		Existing: existing,
	}
	if set.Spec.Ordinals != nil {
		slots.Start = int(set.Spec.Ordinals.Start)
	}
	if set.Spec.Selector != nil {
		slots.Selector = set.Spec.Selector.MatchLabels
	}
	if rolling := set.Spec.UpdateStrategy.RollingUpdate; rolling != nil && rolling.Partition != nil {
		slots.Partition = int(*rolling.Partition)
	}
	return Workload{
		Kind: "StatefulSet", Namespace: set.Namespace, Name: set.Name,
		Desired:       desired,
		Generation:    set.Generation,
		Controller:    metav1.NewControllerRef(set, appsv1.SchemeGroupVersion.WithKind("StatefulSet")),
		Template:      &set.Spec.Template,
		RevisionLabel: appsv1.ControllerRevisionHashLabelKey,
		Revision:      set.Status.UpdateRevision,
		Pods:          pods,
		Slots:         slots,
	}
}

// OfDeployment returns the workload of a Deployment. The ReplicaSet is that of
// its present template, nil while there is none; the pods are those of all its
// ReplicaSets.
func OfDeployment(deployment *appsv1.Deployment, replicaSet *appsv1.ReplicaSet, desired int, pods []*v1.Pod) Workload {
	w := Workload{
		Kind: "Deployment", Namespace: deployment.Namespace, Name: deployment.Name,
		Desired:       desired,
		Generation:    deployment.Generation,
		Template:      &deployment.Spec.Template,
		RevisionLabel: appsv1.DefaultDeploymentUniqueLabelKey,
		Pods:          pods,
	}
	if replicaSet != nil {
		w.Controller = metav1.NewControllerRef(replicaSet, appsv1.SchemeGroupVersion.WithKind("ReplicaSet"))
		w.Template = &replicaSet.Spec.Template
		w.Revision = replicaSet.Labels[appsv1.DefaultDeploymentUniqueLabelKey]
	}
	return w
}

// OfReplicaSet returns the workload of a ReplicaSet that no Deployment has.
func OfReplicaSet(set *appsv1.ReplicaSet, desired int, pods []*v1.Pod) Workload {
	return Workload{
		Kind: "ReplicaSet", Namespace: set.Namespace, Name: set.Name,
		Desired:    desired,
		Generation: set.Generation,
		Controller: metav1.NewControllerRef(set, appsv1.SchemeGroupVersion.WithKind("ReplicaSet")),
		Template:   &set.Spec.Template,
		Pods:       pods,
	}
}

// OfController returns the workload of a ReplicationController, which may have no template.
func OfController(controller *v1.ReplicationController, desired int, pods []*v1.Pod) Workload {
	return Workload{
		Kind: "ReplicationController", Namespace: controller.Namespace, Name: controller.Name,
		Desired:    desired,
		Generation: controller.Generation,
		Controller: metav1.NewControllerRef(controller, v1.SchemeGroupVersion.WithKind("ReplicationController")),
		Template:   controller.Spec.Template,
		Pods:       pods,
	}
}

// OfPods returns the workload of a scale target of a kind that is not known.
// The pods are those that its scale selects; the newest is copied.
func OfPods(kind, namespace, name string, desired int, pods []*v1.Pod) Workload {
	return Workload{Kind: kind, Namespace: namespace, Name: name, Desired: desired, Pods: pods}
}
