// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	"k8s.io/utils/ptr"

	"github.com/berth-dev/berth/autoscaler/vertical/resize"
)

// counted is a simulation that counts what it is asked.
type counted struct {
	Simulation
	places, grows *int
}

func (c counted) Place(pod *corev1.Pod, among ...string) (string, []string, error) {
	*c.places++
	return c.Simulation.Place(pod, among...)
}

func (c counted) Grow(pod *corev1.Pod) (bool, []string, error) {
	*c.grows++
	return c.Simulation.Grow(pod)
}

// databases are pods of an operator, in sets of so many, that should have three cores on nodes that have two; and others wait.
func databases(t *testing.T, sets, each, waiting int) (a *inquiry, in resize.Input, pods map[types.UID]*corev1.Pod, places, grows *int) {
	t.Helper()
	objects, pods := []runtime.Object{berthNode("a1", "a", "2")}, map[types.UID]*corev1.Pod{}
	for i := range waiting {
		objects = append(objects, waitingPod(fmt.Sprintf("web-%d", i), "9", 0))
	}
	hourAgo := metav1.NewTime(time.Now().Add(-time.Hour))
	in = resize.Input{Now: time.Now(), Config: resize.DefaultConfig()}
	for s := range sets {
		target := resize.Target{Key: resize.Key{Namespace: "prod", Name: fmt.Sprintf("set%d", s)},
			Update:   &vpav1.PodUpdatePolicy{UpdateMode: ptr.To(vpav1.UpdateModeInPlaceOrRecreate), MinReplicas: ptr.To[int32](1)},
			Workload: resize.Workload{Kind: "Database", Ordered: true, Replicas: each}}
		for i := range each {
			pod := waitingPod(fmt.Sprintf("set%d-%d", s, i), "1m", 0)
			pod.CreationTimestamp, pod.Spec.NodeName, pod.Spec.Containers[0].Name = hourAgo, "a1", "db"
			pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "example.com/v1", Kind: "Database", Name: "db", UID: "db", Controller: ptr.To(true)}}
			pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, StartTime: &hourAgo, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: hourAgo}}}
			to := inAll("3")["db"].Requests
			target.Pods = append(target.Pods, resize.Pod{Object: pod, Ordinal: i, Containers: []resize.Recommendation{{Container: "db", Target: to, Lower: to, Upper: to}}})
			objects, pods[pod.UID] = append(objects, pod), pod
		}
		in.Targets = append(in.Targets, target)
	}
	a = ask(t, objects...)
	a.admit = sizedTo("3")
	places, grows = new(int), new(int)
	begin := a.simulate
	a.simulate = func(ctx context.Context, nodes []*corev1.Node, pods []*corev1.Pod) (Simulation, error) {
		s, err := begin(ctx, nodes, pods)
		return counted{s, places, grows}, err
	}
	return a, in, pods, places, grows
}

// However many pods ask, those that wait are placed once.
func TestPodsThatWaitArePlacedOnce(t *testing.T) {
	const sets, each, waiting = 2, 10, 30
	a, in, pods, places, grows := databases(t, sets, each, waiting)
	d := a.askSizes(t.Context(), in, pods)
	if len(d.Rooms) != sets*each || len(d.Questions) != 0 {
		t.Fatalf("%d rooms and %d questions; pods %+v", len(d.Rooms), len(d.Questions), d.Pods)
	}
	// Once more for those that the engine asks about before it is known that others move.
	if *places != waiting+sets*each || *grows != sets*each {
		t.Errorf("%d pods were placed, and %d nodes looked at; want %d and %d", *places, *grows, waiting+sets*each, sets*each)
	}
}

// What there is no time for in one tick comes first in the next ones, and every room stays.
func TestQuestionsThatThereIsNoTimeFor(t *testing.T) {
	const sets, each = 3, 4
	a, in, pods, places, _ := databases(t, sets, each, 0)
	a.config.Nodes.SimulationTimeout.Duration = time.Minute
	a.config.SyncPeriod.Duration = 0 // there is time for one question
	most, ticks := 0, 0
	for ; ; ticks++ {
		if ticks > 2*sets*each {
			t.Fatalf("questions are left after %d ticks", ticks)
		}
		d := a.askSizes(t.Context(), in, pods)
		in.History = d.History
		if len(d.Rooms) < most {
			t.Errorf("tick %d has %d rooms, the one before %d", ticks, len(d.Rooms), most)
		}
		if most = len(d.Rooms); len(d.Questions) == 0 {
			break
		}
	}
	if most != sets*each || *places != sets*each {
		t.Errorf("%d rooms, and %d pods placed; want %d", most, *places, sets*each)
	}
	if a.askSizes(t.Context(), in, pods); *places != sets*each+1 && *places != sets*each {
		t.Errorf("%d pods placed", *places)
	}
}
