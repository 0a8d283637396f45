// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	deploymentutil "k8s.io/kubernetes/pkg/controller/deployment/util"
	quotacore "k8s.io/kubernetes/pkg/quota/v1/evaluator/core"
	"k8s.io/utils/clock"

	"github.com/berth-dev/berth/autoscaler/forecast"
	"github.com/berth-dev/berth/autoscaler/vertical/resize"
	"github.com/berth-dev/berth/plugins/statefulset"
)

// scaled names what a replica decision was made for.
type scaled struct{ kind, namespace, name string }

// futureHistory is what one forecast leaves for the next.
type futureHistory struct {
	engine forecast.History
	// expected is what the last evaluation of each HPA lets expect.
	expected map[types.UID]expectation
	// created are the answers to dry-run creates of pods that have no live one to copy.
	created map[forecast.Key]firstborn
	// unhelped are the pods that found no place in the last node decision, and why.
	unhelped map[types.NamespacedName]string
	// held is what was said last of each workload.
	held map[forecast.Key]string
}

// foresee turns the decided replicas, and those that were asked for by others,
// into the pods that are not there yet.
func (c *Conductor) foresee(ctx context.Context, decided []*replicas, pods []*corev1.Pod) forecast.Decision {
	in := forecast.Input{
		Now: c.now(), Budget: int(*c.config.Nodes.MaxForecastPods), Timeout: c.config.Nodes.ForecastTimeout.Duration,
		Workloads: c.workloads(c.expect(decided), pods),
		Classes:   c.reader.Classes(), DefaultStorageClass: c.reader.DefaultStorageClass(),
		Quotas: c.reader.Quotas(), Meters: meters(),
		Unhelped: c.history.futures.unhelped, ResizeMark: resize.RecordAnnotation, History: c.history.futures.engine,
	}
	c.askFirstborns(ctx, in.Workloads)
	d := forecast.Decide(in)
	c.history.futures.engine = d.History
	c.tellForecast(ctx, d)
	return d
}

// meters measure as the API server does. Of pods that are to come none is on its way out, which is what the clock is for.
func meters() forecast.Meters {
	return forecast.Meters{Pods: quotacore.NewPodEvaluator(nil, clock.RealClock{}), Claims: quotacore.NewPersistentVolumeClaimEvaluator(nil)}
}

// workloads are those that lack pods, or may soon.
func (c *Conductor) workloads(expected expectations, pods []*corev1.Pod) []forecast.Workload {
	owned := byController(pods)
	var all []forecast.Workload
	add := func(w forecast.Workload) {
		w.Reserve = expected.reserve[scaled{w.Kind, w.Namespace, w.Name}]
		all = append(all, w)
	}
	for _, set := range c.reader.StatefulSets() {
		if set.DeletionTimestamp == nil {
			name := scaled{"StatefulSet", set.Namespace, set.Name}
			replicas := replicasOf(set.Spec.Replicas, expected.desired, name)
			add(forecast.OfSet(set, replicas, owned[set.UID], c.claimsOf(set, max(replicas, expected.reserve[name]))))
		}
	}
	replicaSets := byController(c.reader.ReplicaSets())
	for _, deployment := range c.reader.Deployments() {
		if deployment.DeletionTimestamp == nil {
			c.addDeployment(deployment, replicaSets[deployment.UID], owned, expected, add)
		}
	}
	for _, set := range c.reader.ReplicaSets() {
		if set.DeletionTimestamp == nil && !ofDeployment(set) {
			w := forecast.OfReplicaSet(set, replicasOf(set.Spec.Replicas, expected.desired, scaled{"ReplicaSet", set.Namespace, set.Name}), owned[set.UID])
			for _, condition := range set.Status.Conditions {
				if condition.Type == appsv1.ReplicaSetReplicaFailure {
					w.Refused = refusedPods(condition.Status, condition.Message)
				}
			}
			add(w)
		}
	}
	for _, controller := range c.reader.Controllers() {
		if controller.DeletionTimestamp == nil {
			w := forecast.OfController(controller, replicasOf(controller.Spec.Replicas, expected.desired, scaled{"ReplicationController", controller.Namespace, controller.Name}), owned[controller.UID])
			for _, condition := range controller.Status.Conditions {
				if condition.Type == corev1.ReplicationControllerReplicaFailure {
					w.Refused = refusedPods(condition.Status, condition.Message)
				}
			}
			add(w)
		}
	}
	all = append(all, c.foreign(expected, all)...)
	all = append(all, c.operated(pods)...)
	giveSizes(all, c.tables())
	return all
}

func (c *Conductor) addDeployment(deployment *appsv1.Deployment, sets []*appsv1.ReplicaSet, owned map[types.UID][]*corev1.Pod, expected expectations, add func(forecast.Workload)) {
	name := scaled{"Deployment", deployment.Namespace, deployment.Name}
	replicas := replicasOf(deployment.Spec.Replicas, expected.desired, name)
	var existing []*corev1.Pod
	for _, set := range sets {
		existing = append(existing, owned[set.UID]...)
	}
	// To find the newest ReplicaSet costs a comparison of templates.
	if alive(existing) >= max(replicas, expected.reserve[name]) {
		return
	}
	w := forecast.OfDeployment(deployment, deploymentutil.FindNewReplicaSet(deployment, sets), replicas, existing)
	for _, condition := range deployment.Status.Conditions {
		if condition.Type == appsv1.DeploymentReplicaFailure {
			w.Refused = refusedPods(condition.Status, condition.Message)
		}
	}
	add(w)
}

func ofDeployment(set *appsv1.ReplicaSet) bool {
	owner := metav1.GetControllerOfNoCopy(set)
	return owner != nil && kindOf(owner) == "Deployment"
}

// refusedPods is why the pods of a controller do not come: it was refused the last one, for a quota say.
func refusedPods(status corev1.ConditionStatus, message string) string {
	if status != corev1.ConditionTrue {
		return ""
	}
	return "its pods are refused: " + message
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
