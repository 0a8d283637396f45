// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package layout

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/kwok/pkg/apis/internalversion"
	"sigs.k8s.io/kwok/pkg/config"
	"sigs.k8s.io/kwok/pkg/utils/lifecycle"
)

// now is what the objects and the stages of these tests are measured by.
var now = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func at(seconds int) metav1.Time {
	return metav1.NewTime(now.Add(time.Duration(seconds) * time.Second))
}

// step is what kwok does next to an object, and when.
type step struct {
	Stage string
	After time.Duration
}

// next asks kwok's own code.
func next(t *testing.T, o Options, kind string, object metav1.Object) []step {
	t.Helper()
	event := eventOf(object)
	var steps []step
	for _, stage := range matching(t, o, kind, event) {
		after, _, err := stage.Delay(t.Context(), event, now)
		if err != nil {
			t.Fatal(err)
		}
		steps = append(steps, step{stage.Name(), after})
	}
	return steps
}

func eventOf(object metav1.Object) *lifecycle.Event {
	return &lifecycle.Event{Labels: object.GetLabels(), Annotations: object.GetAnnotations(), Data: object}
}

func matching(t *testing.T, o Options, kind string, event *lifecycle.Event) []*lifecycle.Stage {
	t.Helper()
	rendered, err := Stages(o)
	if err != nil {
		t.Fatal(err)
	}
	var stages []*internalversion.Stage
	for _, text := range documents(rendered) {
		stage, err := config.UnmarshalWithType[*internalversion.Stage](text)
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		if stage.Spec.ResourceRef.Kind == kind {
			stages = append(stages, stage)
		}
	}
	play, err := lifecycle.NewLifecycle(stages)
	if err != nil {
		t.Fatal(err)
	}
	all, err := play.ListAllPossible(t.Context(), event)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestNodeStages(t *testing.T) {
	ready := corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}}
	for name, tc := range map[string]struct {
		boot time.Duration
		node corev1.Node
		want []step
	}{
		"a new node boots at once by default": {
			node: corev1.Node{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: at(0)}},
			want: []step{{"node-boot", 0}},
		},
		"it takes the cluster's time, half a second for the lost fraction": {
			boot: time.Minute,
			node: corev1.Node{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: at(-10)}},
			want: []step{{"node-boot", 50*time.Second + 500*time.Millisecond}},
		},
		"one that is there from the start does not": {
			boot: time.Minute,
			node: *Nodes(DefaultOptions())[0],
			want: []step{{"node-boot", 0}},
		},
		"a ready node is left alone": {node: corev1.Node{Status: ready}},
	} {
		t.Run(name, func(t *testing.T) {
			o := DefaultOptions()
			o.NodeBoot = tc.boot
			if diff := cmp.Diff(tc.want, next(t, o, "Node", &tc.node)); diff != "" {
				t.Errorf("next (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPodStages(t *testing.T) {
	start := at(-2)
	grace := int64(30)
	pending := corev1.PodStatus{Phase: corev1.PodPending}
	attached := corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{{Type: corev1.PodReadyToStartContainers, Status: corev1.ConditionTrue}}}
	unready := corev1.PodStatus{Phase: corev1.PodRunning, StartTime: &start, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse}}}
	restarted := *unready.DeepCopy()
	restarted.ContainerStatuses = []corev1.ContainerStatus{running("a", at(-1)), running("b", start)}
	ready := corev1.PodStatus{Phase: corev1.PodRunning, StartTime: &start, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}
	claim := corev1.PodSpec{Volumes: []corev1.Volume{{VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}}}}
	ephemeral := corev1.PodSpec{Volumes: []corev1.Volume{{VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}}}}
	scratch := corev1.PodSpec{Volumes: []corev1.Volume{{VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}}
	job := metav1.ObjectMeta{OwnerReferences: []metav1.OwnerReference{{Kind: "Job"}}}
	// Deleted four seconds ago: the API server stores when the grace ends.
	end := at(26)
	stopping := metav1.ObjectMeta{DeletionTimestamp: &end, DeletionGracePeriodSeconds: &grace}
	removed := metav1.ObjectMeta{DeletionTimestamp: &end, DeletionGracePeriodSeconds: new(int64)}
	annotated := func(meta metav1.ObjectMeta, key, value string) metav1.ObjectMeta {
		meta.Annotations = map[string]string{key: value}
		return meta
	}

	for name, tc := range map[string]struct {
		ready, stop time.Duration
		pod         corev1.Pod
		want        []step
	}{
		"a pod starts at once":                   {pod: corev1.Pod{Status: pending}, want: []step{{"pod-start", 0}}},
		"also with scratch space":                {pod: corev1.Pod{Spec: scratch, Status: pending}, want: []step{{"pod-start", 0}}},
		"with a claim it waits":                  {pod: corev1.Pod{Spec: claim, Status: pending}},
		"with an ephemeral volume too":           {pod: corev1.Pod{Spec: ephemeral, Status: pending}},
		"until its volumes are attached":         {pod: corev1.Pod{Spec: claim, Status: attached}, want: []step{{"pod-start", 0}}},
		"ready takes the cluster's time":         {ready: 5 * time.Second, pod: corev1.Pod{Status: unready}, want: []step{{"pod-ready", 3500 * time.Millisecond}}},
		"or the pod's own":                       {ready: 5 * time.Second, pod: corev1.Pod{ObjectMeta: annotated(metav1.ObjectMeta{}, AnnotationReadySeconds, "10"), Status: unready}, want: []step{{"pod-ready", 8500 * time.Millisecond}}},
		"and begins anew with a restart":         {ready: 5 * time.Second, pod: corev1.Pod{Status: restarted}, want: []step{{"pod-ready", 4500 * time.Millisecond}}},
		"a ready pod is left alone":              {pod: corev1.Pod{Status: ready}},
		"the pod of a job completes, ready":      {pod: corev1.Pod{ObjectMeta: job, Status: ready}, want: []step{{"pod-complete", 0}}},
		"or not":                                 {ready: time.Minute, pod: corev1.Pod{ObjectMeta: job, Status: unready}, want: []step{{"pod-complete", 0}}},
		"a deleted pod is gone at once":          {pod: corev1.Pod{ObjectMeta: stopping, Status: ready}, want: []step{{"pod-stop", 0}}},
		"a deleted pod does not start any more":  {pod: corev1.Pod{ObjectMeta: stopping, Status: pending}, want: []step{{"pod-stop", 0}}},
		"one without grace is left alone":        {pod: corev1.Pod{ObjectMeta: removed, Status: ready}},
		"stopping takes the cluster's time":      {stop: 10 * time.Second, pod: corev1.Pod{ObjectMeta: stopping, Status: ready}, want: []step{{"pod-stop", 6500 * time.Millisecond}}},
		"or the pod's own, within its grace":     {pod: corev1.Pod{ObjectMeta: annotated(stopping, AnnotationStopSeconds, "100"), Status: ready}, want: []step{{"pod-stop", 26500 * time.Millisecond}}},
		"a pod that has completed is left alone": {pod: corev1.Pod{ObjectMeta: job, Status: corev1.PodStatus{Phase: corev1.PodSucceeded}}},
	} {
		t.Run(name, func(t *testing.T) {
			o := DefaultOptions()
			o.PodReady, o.PodStop = tc.ready, tc.stop
			if diff := cmp.Diff(tc.want, next(t, o, "Pod", &tc.pod)); diff != "" {
				t.Errorf("next (-want +got):\n%s", diff)
			}
		})
	}
}
