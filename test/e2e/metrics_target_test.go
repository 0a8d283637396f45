// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/test/fixture"
)

// TestTargetOfAnOperator: a target is whatever has a scale subresource, also a
// kind that came after the autoscaler.
func TestTargetOfAnOperator(t *testing.T) {
	t.Parallel()
	w := worker("crew")
	crew := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "e2e.berth.dev/v1",
		"kind":       "Crew",
		"metadata":   map[string]any{"name": w.Name},
		"spec":       map[string]any{"size": int64(w.Replicas)},
	}}
	target := autoscalingv2.CrossVersionObjectReference{APIVersion: crew.GetAPIVersion(), Kind: crew.GetKind(), Name: w.Name}
	var ofCrew, ofPods setter
	testenv.Test(t, features.New("an HPA on an object of a CRD").
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			s.kubectl(ctx, t, "apply", "--server-side", "-f", testdata("crews.yaml"))
			t.Cleanup(func() {
				s.kubectl(context.WithoutCancel(ctx), t, "delete", "--wait=false", "-f", testdata("crews.yaml"))
			})
			s.kubectl(ctx, t, "wait", "--for=condition=Established", "crd/crews.e2e.berth.dev", "--timeout=60s")
			s.until(ctx, t, "the crew", func(ctx context.Context) (string, bool, error) {
				err := s.Create(ctx, s.Namespace, crew) // a kind is served a moment after it is established
				return "", err == nil, err
			})
			s.operate(ctx, t, w)
			s.awaitReplicas(ctx, t, w.Name, 2)
			ofCrew, ofPods = s.queueOf(ctx, t, crew, 80_000), s.queue(ctx, t, w, 80_000)
		})).
		Assess("two members are enough", step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, fixture.Scaler{Name: w.Name, Target: target, Min: 1, Max: 10, Metrics: []autoscalingv2.MetricSpec{
				fixture.ObjectMetric(target, "queue", fixture.AverageValue("50")),
				fixture.PodsMetric("queue", fixture.AverageValue("50")),
			}}.HPA())
			s.awaitCurrent(ctx, t, w.Name, autoscalingv2.ObjectMetricSourceType, autoscalingv2.PodsMetricSourceType)
			s.awaitReplicas(ctx, t, w.Name, 2)
		})).
		Assess("its pods are those of the scale's selector", step(func(ctx context.Context, t *testing.T, s scene) {
			ofPods(ctx, t, 280_000)
			s.awaitReplicas(ctx, t, w.Name, 6)
			s.awaitEvent(ctx, t, "HorizontalPodAutoscaler", w.Name, "SuccessfulRescale", "New size: 6", "pods metric queue")
		})).
		Assess("the highest metric decides", step(func(ctx context.Context, t *testing.T, s scene) {
			ofCrew(ctx, t, 180_000)
			ofPods(ctx, t, 80_000)
			s.awaitReplicas(ctx, t, w.Name, 4)
		})).
		Assess("and all go down", step(func(ctx context.Context, t *testing.T, s scene) {
			ofCrew(ctx, t, 80_000)
			s.awaitReplicas(ctx, t, w.Name, 2)
		})).
		Feature())
}

// operate does the work of an operator until the end of the test: a Deployment
// has the members of the crew.
func (s scene) operate(ctx context.Context, t *testing.T, w fixture.Workload) {
	t.Helper()
	client, err := dynamic.NewForConfig(s.REST)
	if err != nil {
		t.Fatal(err)
	}
	s.create(ctx, t, w.Deployment())
	o := operator{
		Cluster:   s.Cluster,
		namespace: s.Namespace,
		w:         w,
		crews:     client.Resource(schema.GroupVersionResource{Group: "e2e.berth.dev", Version: "v1", Resource: "crews"}).Namespace(s.Namespace),
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	var last error
	running.Go(func() {
		wait.UntilWithContext(ctx, func(ctx context.Context) {
			if err := o.reconcile(ctx); ctx.Err() == nil {
				last = err
			}
		}, 200*time.Millisecond)
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
		if last != nil {
			t.Errorf("the operator failed: %v", last)
		}
	})
}

// operator has what one crew needs.
type operator struct {
	*fixture.Cluster
	namespace string
	w         fixture.Workload
	crews     dynamic.ResourceInterface
}

func (o operator) reconcile(ctx context.Context) error {
	crew, err := o.crews.Get(ctx, o.w.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	size, _, err := unstructured.NestedInt64(crew.Object, "spec", "size")
	if err != nil {
		return err
	}
	deployment, err := o.Kube.AppsV1().Deployments(o.namespace).Get(ctx, o.w.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if int64(*deployment.Spec.Replicas) != size {
		if err := o.Scale(ctx, o.namespace, "Deployment", o.w.Name, int32(size)); err != nil {
			return err
		}
	}
	status := map[string]any{"size": int64(deployment.Status.Replicas), "selector": o.w.Selector()}
	if cmp.Equal(crew.Object["status"], any(status)) {
		return nil
	}
	crew.Object["status"] = status
	_, err = o.crews.UpdateStatus(ctx, crew, metav1.UpdateOptions{})
	return err
}
