// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/e2e-framework/klient/k8s"
	"sigs.k8s.io/e2e-framework/pkg/envconf"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/test/fixture"
)

// scene is a cluster with the namespace of one test.
type scene struct {
	*fixture.Cluster
	Namespace string
}

// step is one assessment: what it needs comes from the environment.
func step(assess func(ctx context.Context, t *testing.T, s scene)) features.Func {
	return func(ctx context.Context, t *testing.T, _ *envconf.Config) context.Context {
		t.Helper()
		assess(ctx, t, sceneOf(ctx))
		return ctx
	}
}

func sceneOf(ctx context.Context) scene {
	cluster, _ := ctx.Value(clusterKey{}).(*fixture.Cluster)
	namespace, _ := ctx.Value(namespaceKey{}).(string)
	return scene{Cluster: cluster, Namespace: namespace}
}

// ownOnly skips a test that would harm a cluster that is not ours.
func (s scene) ownOnly(t *testing.T, why string) {
	t.Helper()
	if !s.Own() {
		t.Skipf("on the cluster of KUBECONFIG this test is left out: %s", why)
	}
}

func (s scene) create(ctx context.Context, t *testing.T, objects ...k8s.Object) {
	t.Helper()
	if err := s.Create(ctx, s.Namespace, objects...); err != nil {
		t.Fatal(err)
	}
}

func (s scene) scale(ctx context.Context, t *testing.T, kind, name string, replicas int32) {
	t.Helper()
	if err := s.Scale(ctx, s.Namespace, kind, name, replicas); err != nil {
		t.Fatal(err)
	}
}

func (s scene) until(ctx context.Context, t *testing.T, what string, look fixture.Look) {
	t.Helper()
	if err := fixture.Until(ctx, what, patience, look); err != nil {
		t.Fatal(err)
	}
}

func (s scene) stays(ctx context.Context, t *testing.T, what string, duration time.Duration, look fixture.Look) {
	t.Helper()
	if err := fixture.Stays(ctx, what, duration, look); err != nil {
		t.Fatal(err)
	}
}

// awaitSet waits until as many ordinals of a set run as it has replicas, and returns where they are.
func (s scene) awaitSet(ctx context.Context, t *testing.T, set string, replicas int) fixture.Table {
	t.Helper()
	var table fixture.Table
	s.until(ctx, t, fmt.Sprintf("%d ordinals of %s", replicas, set), func(ctx context.Context) (string, bool, error) {
		var err error
		table, err = s.Table(ctx, s.Namespace, set)
		return "\n" + table.String(), table.Running() == replicas && len(strings.Fields(table.Zones())) == replicas, err
	})
	t.Logf("%s:\n%s", set, table)
	return table
}

// awaitReplicas waits until a Deployment has settled at as many replicas, all of them available.
func (s scene) awaitReplicas(ctx context.Context, t *testing.T, deployment string, want int32) {
	t.Helper()
	s.until(ctx, t, fmt.Sprintf("%d replicas of %s", want, deployment), func(ctx context.Context) (string, bool, error) {
		d, err := s.Kube.AppsV1().Deployments(s.Namespace).Get(ctx, deployment, metav1.GetOptions{})
		if err != nil {
			return "", false, err
		}
		state := fmt.Sprintf("%d wanted, %d there, %d available", *d.Spec.Replicas, d.Status.Replicas, d.Status.AvailableReplicas)
		return state, *d.Spec.Replicas == want && d.Status.Replicas == want && d.Status.AvailableReplicas == want, nil
	})
}

// hpaCondition is a condition as far as tests compare it.
type hpaCondition struct {
	Type   autoscalingv2.HorizontalPodAutoscalerConditionType
	Status corev1.ConditionStatus
	Reason string
}

// awaitHPA waits until an HPA has the conditions, and returns the message of the last one.
func (s scene) awaitHPA(ctx context.Context, t *testing.T, name string, want ...hpaCondition) string {
	t.Helper()
	var message string
	s.until(ctx, t, fmt.Sprintf("conditions %v of HPA %s", want, name), func(ctx context.Context) (string, bool, error) {
		hpa, err := s.Kube.AutoscalingV2().HorizontalPodAutoscalers(s.Namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return "", false, err
		}
		var seen []string
		have := map[hpaCondition]string{}
		for _, c := range hpa.Status.Conditions {
			seen = append(seen, fmt.Sprintf("%s=%s %s: %s", c.Type, c.Status, c.Reason, c.Message))
			have[hpaCondition{c.Type, c.Status, c.Reason}] = c.Message
		}
		for _, condition := range want {
			var ok bool
			if message, ok = have[condition]; !ok {
				return strings.Join(seen, "; "), false, nil
			}
		}
		return "", true, nil
	})
	return message
}

// awaitEvent waits until an event of that reason on the object has all the words, and returns it.
func (s scene) awaitEvent(ctx context.Context, t *testing.T, kind, name, reason string, words ...string) string {
	t.Helper()
	var found string
	s.until(ctx, t, fmt.Sprintf("an event %s on %s %s with %q", reason, kind, name, words), func(ctx context.Context) (string, bool, error) {
		events, err := s.Events(ctx, s.Namespace, kind, name)
		if err != nil {
			return "", false, err
		}
		var seen []string
		for _, e := range events {
			if e.Reason == reason && containsAll(e.Message, words) {
				found = e.Message
				return "", true, nil
			}
			seen = append(seen, e.String())
		}
		return strings.Join(seen, "; "), false, nil
	})
	return found
}

func containsAll(text string, words []string) bool {
	for _, word := range words {
		if !strings.Contains(text, word) {
			return false
		}
	}
	return true
}

// refused fails unless the API server said no, with all the words.
func refused(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("the API server took it")
	}
	if !apierrors.IsForbidden(err) && !apierrors.IsInvalid(err) {
		t.Fatalf("failed for another reason: %v", err)
	}
	if !containsAll(err.Error(), words) {
		t.Fatalf("the refusal does not say %q: %v", words, err)
	}
	t.Logf("refused: %v", err)
}
