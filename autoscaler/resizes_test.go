// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"context"
	"maps"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/ptr"

	"github.com/berth-dev/berth/autoscaler/actuate"
	"github.com/berth-dev/berth/autoscaler/cloud"
	"github.com/berth-dev/berth/autoscaler/vertical"
	"github.com/berth-dev/berth/autoscaler/vertical/resize"
)

// A process that cannot read metrics has nothing to recommend, and still takes back what the one before it has asked for.
func TestAResizeIsTakenBackWithoutAdvice(t *testing.T) {
	begin := time.Now().Add(-time.Hour)
	pod := dbOrdinal(0)
	pod.UID, pod.Generation = "db-0", 2
	pod.Spec.Containers = []corev1.Container{{Name: "db", Resources: corev1.ResourceRequirements{Requests: inAll("3")["db"].Requests}}}
	pod.Annotations = map[string]string{resize.RecordAnnotation: resize.Record{At: begin, Asked: inAll("3"), Before: inAll("1")}.Annotation()}
	pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{
		{Type: corev1.PodReady, Status: corev1.ConditionTrue},
		{Type: corev1.PodResizePending, Status: corev1.ConditionTrue, Reason: corev1.PodReasonDeferred, LastTransitionTime: metav1.NewTime(begin)},
	}}
	other := dbOrdinal(1)
	other.UID, other.Spec.Containers, other.Status = "db-1", pod.Spec.Containers, corev1.PodStatus{Phase: corev1.PodRunning, Conditions: pod.Status.Conditions[:1]}
	s := sizedDB()
	s.VPA.Spec.UpdatePolicy = &vpav1.PodUpdatePolicy{UpdateMode: ptr.To(vpav1.UpdateModeInPlaceOrRecreate)}
	a := ask(t)
	all := []*sized{{vpa: s.VPA, read: true, set: s.Set, replicas: 2, pods: []*corev1.Pod{pod, other}}}
	resizables := a.resizables(t.Context(), all, true)
	if len(resizables) != 1 || resizables[0].Recommendation.Reason == vertical.Provided {
		t.Fatalf("resizables %+v", resizables)
	}
	d := resize.Decide(resize.Input{Now: time.Now(), Config: resize.DefaultConfig(), Targets: []resize.Target{resizables[0].Target()}})
	if len(d.Actions) != 1 || d.Actions[0].Kind != resize.Revert || len(d.Questions) > 0 {
		t.Errorf("actions %+v and questions %+v", d.Actions, d.Questions)
	}
	all[0].read = false
	if resizables := a.resizables(t.Context(), all, true); len(resizables) > 0 {
		t.Errorf("a target that was not read: %+v", resizables)
	}
}

// A resize is two writes: what the first has made of the pod is not what comes of it.
func TestAResizeIsBehindUntilItsSecondWriteIsSeen(t *testing.T) {
	pod := dbOrdinal(0)
	pod.UID, pod.ResourceVersion = "db-0", "7"
	kube, version := fake.NewClientset(), 7
	kube.PrependReactor("patch", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		version++
		now := pod.DeepCopy()
		now.ResourceVersion = strconv.Itoa(version)
		return true, now, nil
	})
	a := ask(t)
	a.writer = actuate.New(nil, nil, nil, kube.CoreV1(), nil, record.NewFakeRecorder(9))
	a.resizePod(t.Context(), sizedDB().VPA, resize.Action{Kind: resize.Patch, Pod: pod, Sizes: inAll("3")})
	for seen, want := range map[string]bool{"7": true, "8": true, "9": false} {
		now := pod.DeepCopy()
		now.ResourceVersion = seen
		h := resizeHistory{written: maps.Clone(a.history.resizing.written)}
		if behind := h.behind(map[types.UID]*corev1.Pod{pod.UID: now}); behind != want {
			t.Errorf("with version %s behind is %t, want %t", seen, behind, want)
		}
	}
}

type refreshed struct {
	times int
}

func (r *refreshed) Refresh(context.Context) error                     { r.times++; return nil }
func (r *refreshed) Groups(context.Context) ([]cloud.NodeGroup, error) { return nil, nil }
func (r *refreshed) Problems() map[string]error                        { return nil }
func (r *refreshed) GroupOf(*corev1.Node) (string, bool)               { return "", false }

// Nodes are looked at twice in a tick, for sizes and for nodes.
func TestTheProviderIsRefreshedOnceInATick(t *testing.T) {
	provider := &refreshed{}
	a := ask(t, berthNode("a1", "a", "4"))
	a.nodes = &NodeParts{Provider: provider}
	for range 2 {
		if _, err := a.awaited(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if provider.times != 1 {
		t.Errorf("refreshed %d times", provider.times)
	}
}
