// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/autoscaler/config"
	"github.com/berth-dev/berth/test/fixture"
)

// TestTwoHPAControllers has a cluster of its own, whose kube-controller-manager
// has its HPA controller off at first, then on, then off again.
func TestTwoHPAControllers(t *testing.T) {
	t.Parallel()
	testenv.Test(t, features.New("a cluster with another HPA controller").
		Assess("has one HPA controller at any time", step(func(ctx context.Context, t *testing.T, s scene) {
			s.ownOnly(t, "it starts a cluster to switch an HPA controller on in")
			cluster := ownCluster(ctx, t, fixture.Options{
				Name: "e2e-canary", Nodes: 3, Zones: 3, AutoscalerConfig: testdata("canary.yaml"),
			})
			on(ctx, cluster).Test(t, oneMaster())
		})).
		Feature())
}

func oneMaster() features.Feature {
	// An HPA jumps to its minimum without a metric.
	early := fixture.Scaler{Name: "early", Target: fixture.Target("Deployment", "early"), Min: 2, Max: 9, CPUPercent: 50}
	late := fixture.Scaler{Name: "late", Target: fixture.Target("Deployment", "late"), Min: 2, Max: 9, CPUPercent: 50}
	return features.New("kube-controller-manager's HPA controller").
		Assess("is off, and Berth acts", step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, fixture.Workload{Name: "early", Replicas: 1, CPU: "50m"}.Deployment(), early.HPA())
			s.awaitReplicas(ctx, t, "early", 2)
			t.Log(s.awaitCanary(ctx, t, corev1.ConditionTrue, "NoOtherController"))
			s.says(ctx, t, []string{"explain", "hpa/early"}, "Berth acts:  yes\n")
			s.until(ctx, t, "an HPA whose status Berth alone writes", func(ctx context.Context) (string, bool, error) {
				by, err := s.statusWriters(ctx, "early") // a moment after it has scaled
				return by, by == fixture.Autoscaler, err
			})
			s.stays(ctx, t, "a canary that Berth's own engine leaves alone", 15*time.Second, func(ctx context.Context) (string, bool, error) {
				canary, err := s.Kube.AutoscalingV2().HorizontalPodAutoscalers(config.Namespace).Get(ctx, config.CanaryName, metav1.GetOptions{})
				if err != nil {
					return "", false, err
				}
				return fmt.Sprint(canary.Status.Conditions), len(canary.Status.Conditions) == 1, nil
			})
		})).
		Assess("is switched on, and Berth stands back", step(func(ctx context.Context, t *testing.T, s scene) {
			s.restart(ctx, t, "--controllers=*", "--horizontal-pod-autoscaler-sync-period=5s")
			begin := time.Now()
			t.Log(s.awaitCanary(ctx, t, corev1.ConditionFalse, "OtherController"))
			t.Logf("Berth stood back %s after the other controller was started", time.Since(begin).Round(100*time.Millisecond))
			s.berths().awaitEvent(ctx, t, "HorizontalPodAutoscaler", config.CanaryName, "OtherController", "to --controllers")
			s.create(ctx, t, fixture.Workload{Name: "late", Replicas: 1, CPU: "50m"}.Deployment(), late.HPA())
			s.awaitReplicas(ctx, t, "late", 2)
			s.says(ctx, t, []string{"explain", "hpa/late"}, "Berth acts:  no: ", "to --controllers", "OtherController")
			theirs := func(ctx context.Context) (string, bool, error) {
				by, err := s.statusWriters(ctx, "late")
				return by, by == kubeControllerManager, err
			}
			s.until(ctx, t, "an HPA that the other controller writes", theirs)
			// Longer than it takes to ask the other one anew, and to hear nothing: twice the patience
			// for each, as it came soon after Berth had taken over.
			s.stays(ctx, t, "an HPA that Berth does not write", 55*time.Second, theirs)
			t.Log(s.awaitCanary(ctx, t, corev1.ConditionFalse, "OtherController"))
		})).
		Assess("is switched off, and Berth takes over", step(func(ctx context.Context, t *testing.T, s scene) {
			s.restart(ctx, t, "--controllers=*,-horizontal-pod-autoscaler-controller")
			begin := time.Now()
			t.Log(s.awaitCanary(ctx, t, corev1.ConditionTrue, "NoOtherController"))
			t.Logf("Berth took over %s after the other controller was stopped", time.Since(begin).Round(100*time.Millisecond))
			s.kubectl(ctx, t, "patch", "--namespace", s.Namespace, "hpa", "late", "--type=merge", "--patch", `{"spec":{"minReplicas":3}}`)
			s.awaitReplicas(ctx, t, "late", 3)
			s.until(ctx, t, "an HPA whose status Berth writes, too", func(ctx context.Context) (string, bool, error) {
				by, err := s.statusWriters(ctx, "late")
				return by, strings.Contains(by, fixture.Autoscaler), err
			})
		})).
		Feature()
}

// berths is the same cluster, with Berth's own namespace.
func (s scene) berths() scene {
	s.Namespace = config.Namespace
	return s
}

// restart restarts kube-controller-manager with other flags.
func (s scene) restart(ctx context.Context, t *testing.T, flags ...string) {
	t.Helper()
	if err := s.Restart(ctx, kubeControllerManager, flags...); err != nil {
		t.Fatal(err)
	}
}

// awaitCanary waits until the canary says so of Berth, and returns its message.
func (s scene) awaitCanary(ctx context.Context, t *testing.T, status corev1.ConditionStatus, reason string) string {
	t.Helper()
	return s.berths().awaitHPA(ctx, t, config.CanaryName, hpaCondition{"BerthActs", status, reason})
}

// statusWriters are the programs that have written the status of an HPA, in the
// order of the API server.
func (s scene) statusWriters(ctx context.Context, name string) (string, error) {
	hpa, err := s.Kube.AutoscalingV2().HorizontalPodAutoscalers(s.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	var writers []string
	for _, entry := range hpa.ManagedFields {
		if entry.Subresource == "status" {
			writers = append(writers, entry.Manager)
		}
	}
	return strings.Join(writers, " and "), nil
}
