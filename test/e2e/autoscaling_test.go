// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/test/fixture"
)

// forLabel is the label, and the taint, of the nodes that one test has for itself.
const forLabel = "e2e.berth.dev/for"

// TestReplicasAndNodes is the acceptance of the autoscaler: replicas follow a
// load, and nodes follow the replicas.
func TestReplicasAndNodes(t *testing.T) {
	t.Parallel()
	// One pod fills a node of 4 cpu, so each replica needs a node of its own.
	web := fixture.Workload{Name: "web", Replicas: 3, CPU: "3", NodeSelector: map[string]string{forLabel: "web"}, Tolerate: forLabel}
	scaler := fixture.Scaler{Name: "web", Target: fixture.Target("Deployment", "web"), Min: 3, Max: 20, CPUPercent: 50, StabilizeDown: 5 * time.Second}
	// The capacity of three pods that are to be used by half.
	const capacity = 3 * 3000 / 2
	var load *fixture.Load
	testenv.Test(t, features.New("a Deployment of 3 with an HPA at 50 % cpu").
		Assess("three nodes come for three pods", step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, web.Deployment())
			s.awaitReplicas(ctx, t, web.Name, 3)
			s.awaitNodes(ctx, t, "web", 3)
			var err error
			if load, err = s.StartLoad(ctx, s.Namespace, web.Selector(), capacity, "64Mi"); err != nil {
				t.Fatal(err)
			}
			s.create(ctx, t, scaler.HPA())
			s.awaitHPA(ctx, t, scaler.Name, hpaCondition{"ScalingActive", "True", "ValidMetricFound"})
		})).
		Assess("a load of three times the capacity settles at nine replicas, each on a node", step(func(ctx context.Context, t *testing.T, s scene) {
			begin := time.Now()
			load.Set(3 * capacity)
			// First seven, which need nodes, and are to be measured: an HPA adds four at a time.
			s.until(ctx, t, "nine replicas to be wanted", s.wantsReplicas(web.Name, 9))
			s.awaitReplicas(ctx, t, web.Name, 9)
			t.Logf("acceptance: 9 replicas ran %s after the load had tripled; a node boots in %s", time.Since(begin).Round(100*time.Millisecond), nodeBoot)
			s.awaitNodes(ctx, t, "web", 9)
			// metrics-server takes the time of its question for that of the answer: a second between them is a tenth more load.
			since := time.Now()
			s.until(ctx, t, "nine replicas, for 12 s on end", func(ctx context.Context) (string, bool, error) {
				d, err := s.Kube.AppsV1().Deployments(s.Namespace).Get(ctx, web.Name, metav1.GetOptions{})
				if err != nil {
					return "", false, err
				}
				if *d.Spec.Replicas != 9 {
					since = time.Now()
				}
				return fmt.Sprintf("%d wanted", *d.Spec.Replicas), time.Since(since) >= 12*time.Second, nil
			})
		})).
		Assess("all goes back when the load falls", step(func(ctx context.Context, t *testing.T, s scene) {
			begin := time.Now()
			load.Set(capacity)
			s.awaitReplicas(ctx, t, web.Name, 3)
			t.Logf("acceptance: 3 replicas were left %s after the load had fallen", time.Since(begin).Round(100*time.Millisecond))
			s.awaitNodes(ctx, t, "web", 3)
			t.Logf("acceptance: 3 nodes were left %s after the load had fallen", time.Since(begin).Round(100*time.Millisecond))
		})).
		Teardown(step(func(_ context.Context, t *testing.T, _ scene) {
			if load == nil {
				return
			}
			if err := load.Stop(); err != nil {
				t.Error(err)
			}
		})).
		Feature())
}

// awaitNodes waits until as many nodes are there for a test, all of them ready.
func (s scene) awaitNodes(ctx context.Context, t *testing.T, who string, want int) {
	t.Helper()
	s.until(ctx, t, fmt.Sprintf("%d nodes for %s", want, who), func(ctx context.Context) (string, bool, error) {
		nodes, err := s.Kube.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: forLabel + "=" + who})
		if err != nil {
			return "", false, err
		}
		ready := 0
		for _, node := range nodes.Items {
			for _, c := range node.Status.Conditions {
				if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue {
					ready++
				}
			}
		}
		return fmt.Sprintf("%d there, %d ready", len(nodes.Items), ready), len(nodes.Items) == want && ready == want, nil
	})
}

// TestGroupAtMaximum: a pod that no group can help is told why, and others go on.
func TestGroupAtMaximum(t *testing.T) {
	t.Parallel()
	small := fixture.Workload{Name: "small", Replicas: 2, CPU: "3", NodeSelector: map[string]string{forLabel: "small"}, Tolerate: forLabel}
	other := fixture.Workload{Name: "other", Replicas: 1, CPU: "100m"}
	testenv.Test(t, features.New("a node group at its maximum").
		Assess("one pod gets the last node, the other one a reason", step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, small.Deployment())
			s.awaitNodes(ctx, t, "small", 1)
			waiting := ""
			s.until(ctx, t, "one pod that runs and one that waits", func(ctx context.Context) (string, bool, error) {
				pods, err := s.Kube.CoreV1().Pods(s.Namespace).List(ctx, metav1.ListOptions{LabelSelector: small.Selector()})
				if err != nil {
					return "", false, err
				}
				running := 0
				for _, pod := range pods.Items {
					switch pod.Status.Phase {
					case corev1.PodRunning:
						running++
					case corev1.PodPending:
						waiting = pod.Name
					}
				}
				return fmt.Sprintf("%d of %d run", running, len(pods.Items)), running == 1 && len(pods.Items) == 2, nil
			})
			t.Log(s.awaitEvent(ctx, t, "Pod", waiting, "NotTriggerScaleUp", "small", "maximum size 1"))
		})).
		Assess("another workload goes on", step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, other.Deployment())
			s.awaitReplicas(ctx, t, other.Name, 1)
		})).
		Feature())
}

// TestMissingTarget: an HPA that has nothing to scale says so, and others go on.
func TestMissingTarget(t *testing.T) {
	t.Parallel()
	app := fixture.Workload{Name: "app", Replicas: 1, CPU: "100m"}
	testenv.Test(t, features.New("an HPA on a target that is not there").
		Assess("says FailedGetScale", step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, fixture.Scaler{Name: "lost", Target: fixture.Target("Deployment", "gone"), Min: 1, Max: 5, CPUPercent: 50}.HPA())
			t.Log(s.awaitHPA(ctx, t, "lost", hpaCondition{"AbleToScale", "False", "FailedGetScale"}))
			s.awaitEvent(ctx, t, "HorizontalPodAutoscaler", "lost", "FailedGetScale", "gone")
		})).
		Assess("another HPA scales", step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, app.Deployment())
			s.awaitReplicas(ctx, t, app.Name, 1)
			load, err := s.StartLoad(ctx, s.Namespace, app.Selector(), 100, "64Mi")
			if err != nil {
				t.Fatal(err)
			}
			s.create(ctx, t, fixture.Scaler{Name: "app", Target: fixture.Target("Deployment", "app"), Min: 1, Max: 5, CPUPercent: 50}.HPA())
			s.awaitReplicas(ctx, t, app.Name, 2)
			if err := load.Stop(); err != nil {
				t.Error(err)
			}
		})).
		Feature())
}
