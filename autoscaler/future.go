// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	deploymentutil "k8s.io/kubernetes/pkg/controller/deployment/util"

	"github.com/berth-dev/berth/autoscaler/forecast"
	"github.com/berth-dev/berth/plugins/statefulset"
)

// scaled names what a replica decision was made for.
type scaled struct{ kind, namespace, name string }

// foresee turns the decided replicas, and those that were asked for by others,
// into the pods that are not there yet.
func (c *Conductor) foresee(ctx context.Context, decided []*replicas, pods []*corev1.Pod) forecast.Decision {
	d := forecast.Decide(c.futureInput(desiredBy(decided), pods))
	for _, held := range d.Held {
		klog.FromContext(ctx).V(2).Info("Pods that will come are not planned for", "kind", held.Kind, "namespace", held.Namespace, "name", held.Name, "pods", held.Pods, "reason", held.Reason)
	}
	return d
}

// desiredBy are the replicas that were decided.
func desiredBy(decided []*replicas) map[scaled]int {
	desired := map[scaled]int{}
	for _, r := range decided {
		if gv, err := schema.ParseGroupVersion(r.hpa.Spec.ScaleTargetRef.APIVersion); err != nil || gv.Group != appsv1.GroupName {
			continue // of another group: its pods are known once they are there
		}
		if r.input.Scale.Absent == "" && !r.failed {
			ref := r.hpa.Spec.ScaleTargetRef
			desired[scaled{ref.Kind, r.hpa.Namespace, ref.Name}] = int(r.decision.DesiredReplicas)
		}
	}
	return desired
}

// futureInput is what the forecast depends on, with these replicas in the place of those that are asked for.
func (c *Conductor) futureInput(desired map[scaled]int, pods []*corev1.Pod) forecast.Input {
	owned := byController(pods)
	in := forecast.Input{Budget: int(*c.config.Nodes.MaxForecastPods), DefaultStorageClass: c.reader.DefaultStorageClass()}
	for _, set := range c.reader.StatefulSets() {
		if set.DeletionTimestamp != nil {
			continue
		}
		replicas := replicasOf(set.Spec.Replicas, desired, scaled{"StatefulSet", set.Namespace, set.Name})
		in.Workloads = append(in.Workloads, forecast.OfSet(set, replicas, owned[set.UID], c.claimsOf(set, replicas)))
	}
	replicaSets := byController(c.reader.ReplicaSets())
	for _, deployment := range c.reader.Deployments() {
		// Pods that the API server refuses, for a quota say, never come.
		if deployment.DeletionTimestamp != nil || refusedPods(deployment) {
			continue
		}
		replicas := replicasOf(deployment.Spec.Replicas, desired, scaled{"Deployment", deployment.Namespace, deployment.Name})
		var existing []*corev1.Pod
		for _, replicaSet := range replicaSets[deployment.UID] {
			existing = append(existing, owned[replicaSet.UID]...)
		}
		// To find the newest ReplicaSet costs a comparison of templates.
		if alive(existing) < replicas {
			newest := deploymentutil.FindNewReplicaSet(deployment, replicaSets[deployment.UID])
			in.Workloads = append(in.Workloads, forecast.OfDeployment(deployment, newest, replicas, existing))
		}
	}
	return in
}

// claimsOf returns the names of a set's claims that exist, for the ordinals it will have.
func (c *Conductor) claimsOf(set *appsv1.StatefulSet, replicas int) map[string]bool {
	existing := map[string]bool{}
	key := statefulset.SetKey{Namespace: set.Namespace, Name: set.Name}
	for _, template := range statefulset.Templates(set) {
		for _, ordinal := range ordinals(set, replicas) {
			name := statefulset.ClaimName(template, statefulset.Slot{Set: key, Ordinal: ordinal})
			if c.reader.Claim(set.Namespace, name) != nil {
				existing[name] = true
			}
		}
	}
	return existing
}

// replicasOf is what was decided in this tick, else what the workload asks for.
func replicasOf(spec *int32, desired map[scaled]int, name scaled) int {
	if decided, ok := desired[name]; ok {
		return decided
	}
	if spec == nil {
		return 1
	}
	return int(*spec)
}

// ordinals are those that a set of so many replicas has.
func ordinals(set *appsv1.StatefulSet, replicas int) []int {
	start := 0
	if set.Spec.Ordinals != nil {
		start = int(set.Spec.Ordinals.Start)
	}
	all := make([]int, replicas)
	for i := range all {
		all[i] = start + i
	}
	return all
}

// alive counts the pods that still are replicas.
func alive(pods []*corev1.Pod) int {
	n := 0
	for _, pod := range pods {
		if pod.DeletionTimestamp == nil && pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed {
			n++
		}
	}
	return n
}

func refusedPods(deployment *appsv1.Deployment) bool {
	for _, condition := range deployment.Status.Conditions {
		if condition.Type == appsv1.DeploymentReplicaFailure {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

// byController groups objects by the UID of their controller.
func byController[T metav1.Object](objects []T) map[types.UID][]T {
	grouped := map[types.UID][]T{}
	for _, object := range objects {
		if owner := metav1.GetControllerOfNoCopy(object); owner != nil {
			grouped[owner.UID] = append(grouped[owner.UID], object)
		}
	}
	return grouped
}
