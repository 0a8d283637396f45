// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strconv"
	"time"

	"github.com/berth-dev/berth/autoscaler/vertical"
	"github.com/berth-dev/berth/autoscaler/vertical/sizes"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	v1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	vpafake "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/client/clientset/versioned/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/ptr"
)

// vpaWrapper builds a VPA of StatefulSet db and Berth's recommender, which changes pods in
// place.
type vpaWrapper struct {
	vpav1.VerticalPodAutoscaler
}

func vpa(name string) *vpaWrapper {
	v := &vpaWrapper{vpav1.VerticalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, UID: types.UID("uid-" + name)}}}
	v.Spec.TargetRef = &autoscalingv1.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "db"}
	return v.by("berth").mode(vpav1.UpdateModeInPlaceOrRecreate)
}

func (v *vpaWrapper) Obj() *vpav1.VerticalPodAutoscaler { return &v.VerticalPodAutoscaler }

func (v *vpaWrapper) by(recommender string) *vpaWrapper {
	v.Spec.Recommenders = []*vpav1.VerticalPodAutoscalerRecommenderSelector{{Name: recommender}}
	return v
}

func (v *vpaWrapper) mode(mode vpav1.UpdateMode) *vpaWrapper {
	v.Spec.UpdatePolicy = &vpav1.PodUpdatePolicy{UpdateMode: &mode}
	return v
}

func (v *vpaWrapper) of(apiVersion, kind, name string) *vpaWrapper {
	v.Spec.TargetRef = &autoscalingv1.CrossVersionObjectReference{APIVersion: apiVersion, Kind: kind, Name: name}
	return v
}

// within bounds what is recommended to all containers.
func (v *vpaWrapper) within(least, most v1.ResourceList) *vpaWrapper {
	v.Spec.ResourcePolicy = &vpav1.PodResourcePolicy{ContainerPolicies: []vpav1.ContainerResourcePolicy{
		{ContainerName: vpav1.DefaultContainerResourcePolicy, MinAllowed: least, MaxAllowed: most}}}
	return v
}

// said is a condition.
func (v *vpaWrapper) said(condition vpav1.VerticalPodAutoscalerConditionType, status v1.ConditionStatus, reason, message string) *vpaWrapper {
	v.Status.Conditions = append(v.Status.Conditions, vpav1.VerticalPodAutoscalerCondition{Type: condition, Status: status, Reason: reason, Message: message})
	return v
}

// sizing writes the sizes of pods that are created, as if from the VPA of a name.
func (v *vpaWrapper) sizing(from string, all ...sizes.Size) *vpaWrapper {
	metav1.SetMetaDataAnnotation(&v.ObjectMeta, sizes.Annotation, sizes.Table{VPA: types.UID("uid-" + from), Sizes: all}.String())
	return v
}

func sizeOf(slot string, requests, limits v1.ResourceList) sizes.Size {
	return sizes.Size{Slot: slot, Container: "postgres", Requests: requests, Limits: limits}
}

// list is cpu and memory; an empty one is left out.
func list(cpu, memory string) v1.ResourceList {
	out := v1.ResourceList{}
	for name, text := range map[v1.ResourceName]string{v1.ResourceCPU: cpu, v1.ResourceMemory: memory} {
		if text != "" {
			out[name] = resource.MustParse(text)
		}
	}
	return out
}

// learns is what has been learnt until half a minute ago.
func (v *vpaWrapper) learns(ordinals int, slots bool) []runtime.Object {
	return v.learnsUntil(now.Add(-30*time.Second), ordinals, slots)
}

// learnsUntil plays a week of db, measured every minute: every ordinal uses 300m and 1Gi, the
// highest one 900m and 3Gi for the last two days. The VPA gets what comes of it, and what is
// returned are its checkpoints. Slots is false for pods without a slot.
func (v *vpaWrapper) learnsUntil(until time.Time, ordinals int, slots bool) []runtime.Object {
	key := vertical.Key{Namespace: ns, Name: v.Name}
	of := vertical.VPA{Key: key, Policy: v.Spec.ResourcePolicy}
	for i := range ordinals {
		pod := vertical.Pod{UID: types.UID(fmt.Sprintf("uid-db-%d", i)), Containers: []string{"postgres"}}
		if slots {
			pod.Slot = strconv.Itoa(i)
		}
		of.Pods = append(of.Pods, pod)
	}
	in := vertical.Input{Now: until, VPAs: []vertical.VPA{of}}
	for at := until.Add(-7 * 24 * time.Hour); !at.After(until); at = at.Add(time.Minute) {
		for i, pod := range of.Pods {
			sample := vertical.Sample{Pod: pod.UID, Container: "postgres", Time: at, CPU: 300, Memory: 1 << 30}
			if hot := until.Sub(at) < 48*time.Hour; hot && i == ordinals-1 {
				sample.CPU, sample.Memory = 900, 3<<30
			}
			in.Samples = append(in.Samples, sample)
		}
	}
	decision := vertical.Decide(in)
	v.Status.Recommendation = &vpav1.RecommendedPodResources{}
	for _, c := range decision.Recommendations[key].Containers {
		v.Status.Recommendation.ContainerRecommendations = append(v.Status.Recommendation.ContainerRecommendations, c.RecommendedContainerResources)
	}
	v.said(vpav1.RecommendationProvided, v1.ConditionTrue, "", "")
	var out []runtime.Object
	for _, checkpoint := range decision.History.Checkpoints(key, until) {
		out = append(out, checkpoint.Object(checkpoint.ID.Name(func(string) bool { return false }), "berth"))
	}
	return out
}

// dbSet is StatefulSet db.
func dbSet(replicas int32) *appsv1.StatefulSet {
	s := set("db", replicas)
	s.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}}
	s.Spec.Template.Spec.Containers = []v1.Container{postgres()}
	s.Spec.UpdateStrategy.Type = appsv1.RollingUpdateStatefulSetStrategyType
	s.Status.Replicas = replicas
	return s
}

func postgres() v1.Container {
	return v1.Container{Name: "postgres", Resources: v1.ResourceRequirements{Requests: list("500m", "1Gi"), Limits: list("", "2Gi")}}
}

// dbPod is a pod of db on node b1, a day old, whose size is that of its template and acknowledged.
func dbPod(ordinal int, change ...func(*v1.Pod)) *v1.Pod {
	p, started := running("db", ordinal, "b1").Label("app", "db").Obj(), metav1.NewTime(now.Add(-24*time.Hour))
	p.Spec.Containers = []v1.Container{postgres()}
	p.CreationTimestamp, p.Status.StartTime = started, &started
	p.Status.Conditions[0].LastTransitionTime = started
	p.Status.ContainerStatuses = []v1.ContainerStatus{{Name: "postgres", State: v1.ContainerState{Running: &v1.ContainerStateRunning{StartedAt: started}},
		Resources: ptr.To(postgres().Resources), AllocatedResources: postgres().Resources.Requests}}
	for _, f := range change {
		f(p)
	}
	return p
}

// sizedWorld has StatefulSet db with three pods and VPAs, and of the autoscaler its name.
func sizedWorld(vpas ...runtime.Object) *world {
	w := zones(dbSet(3), dbPod(0), dbPod(1), dbPod(2)).add(scaled().objects[1])
	w.gauges = scaled().asks(samples{}).gauges
	w.vpas = vpas
	return w
}

// changed replaces a pod.
func (w *world) changed(pod *v1.Pod) *world {
	for i, o := range w.objects {
		if p, ok := o.(*v1.Pod); ok && p.Name == pod.Name {
			w.objects[i] = pod
		}
	}
	return w
}

// butVPAs changes the client of VPAs and their checkpoints.
func (w *world) butVPAs(change func(*vpafake.Clientset)) *world {
	w.changeVPAs = change
	return w
}

// refusing answers each read of a resource with an error.
func refusing(resource string, err func(clienttesting.Action) error) func(*vpafake.Clientset) {
	return func(client *vpafake.Clientset) {
		client.PrependReactor("*", resource, func(action clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, err(action)
		})
	}
}

func forbids(action clienttesting.Action) error {
	return apierrors.NewForbidden(action.GetResource().GroupResource(), "", jane(action.GetVerb()))
}

func servesNot(action clienttesting.Action) error {
	return apierrors.NewGenericServerResponse(404, action.GetVerb(), action.GetResource().GroupResource(), "", "", 0, true)
}

// resizing is a pod that has been asked to grow to 4Gi, by somebody else than Berth.
func resizing(p *v1.Pod) {
	p.Generation, p.Status.ObservedGeneration = 2, 2
	p.Spec.Containers[0].Resources = v1.ResourceRequirements{Requests: list("500m", "4Gi"), Limits: list("", "8Gi")}
	p.Status.Conditions = append(p.Status.Conditions, v1.PodCondition{Type: v1.PodResizePending, Status: v1.ConditionTrue, Reason: v1.PodReasonDeferred,
		Message: "Node didn't have enough resource: memory", LastTransitionTime: metav1.NewTime(now.Add(-20 * time.Second)), ObservedGeneration: 2})
}

// nearlySized is a pod that is given the size that it should have.
func nearlySized(p *v1.Pod) {
	p.Generation, p.Status.ObservedGeneration = 2, 2
	p.Spec.Containers[0].Resources = v1.ResourceRequirements{Requests: list("1038m", "3861631195"), Limits: list("", "7723262390")}
	p.Status.ContainerStatuses[0].AllocatedResources = p.Spec.Containers[0].Resources.Requests
	p.Status.Conditions = append(p.Status.Conditions, v1.PodCondition{Type: v1.PodResizeInProgress, Status: v1.ConditionTrue,
		LastTransitionTime: metav1.NewTime(now.Add(-20 * time.Second)), ObservedGeneration: 2})
}

// restarting is a pod whose containers restart for a change of memory.
func restarting(p *v1.Pod) {
	p.Spec.Containers[0].ResizePolicy = []v1.ContainerResizePolicy{{ResourceName: v1.ResourceMemory, RestartPolicy: v1.RestartContainer}}
}

// guaranteed is a pod that is too large, and that no VPA can change without its limits.
func guaranteed(p *v1.Pod) {
	same := v1.ResourceRequirements{Requests: list("4", "8Gi"), Limits: list("4", "8Gi")}
	p.Spec.Containers[0].Resources, p.Status.QOSClass = same, v1.PodQOSGuaranteed
	p.Status.ContainerStatuses[0].Resources, p.Status.ContainerStatuses[0].AllocatedResources = &same, same.Requests
}

// atLeast is a PodDisruptionBudget of db that allows no disruption.
func atLeast(pods int) *policyv1.PodDisruptionBudget {
	return &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "db"},
		Spec:       policyv1.PodDisruptionBudgetSpec{MinAvailable: ptr.To(intstr.FromInt(pods)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}}},
		Status:     policyv1.PodDisruptionBudgetStatus{DesiredHealthy: int32(pods), CurrentHealthy: 3, ExpectedPods: 3},
	}
}
