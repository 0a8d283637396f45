// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/test/fixture"
)

const endsComponents = "it ends components of the cluster"

// TestMetricsDown: what is not measured is not scaled down.
func TestMetricsDown(t *testing.T) {
	app := fixture.Workload{Name: "app", Replicas: 3, CPU: "100m"}
	scaler := fixture.Scaler{Name: "app", Target: fixture.Target("Deployment", "app"), Min: 1, Max: 5, CPUPercent: 50}
	var load *fixture.Load
	testenv.Test(t, features.New("the metrics API is down").
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			s.ownOnly(t, endsComponents)
			s.create(ctx, t, app.Deployment())
			s.awaitReplicas(ctx, t, app.Name, 3)
			var err error
			if load, err = s.StartLoad(ctx, s.Namespace, app.Selector(), 150, "64Mi"); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				// The other tests need it, however this one ends.
				s.start(context.WithoutCancel(ctx), t, fixture.MetricsServer)
				if err := load.Stop(); err != nil {
					t.Error(err)
				}
			})
			s.create(ctx, t, scaler.HPA())
			s.awaitHPA(ctx, t, scaler.Name, hpaCondition{"ScalingActive", "True", "ValidMetricFound"})
		})).
		Assess("the HPA says so and removes nothing", step(func(ctx context.Context, t *testing.T, s scene) {
			s.kill(ctx, t, fixture.MetricsServer)
			load.Set(0)
			t.Log(s.awaitHPA(ctx, t, scaler.Name, hpaCondition{"ScalingActive", "False", "FailedGetResourceMetric"}))
			s.stays(ctx, t, "three replicas", 12*time.Second, s.wantsReplicas(app.Name, 3))
		})).
		Assess("it recovers with the API, and scales down", step(func(ctx context.Context, t *testing.T, s scene) {
			s.start(ctx, t, fixture.MetricsServer)
			s.awaitHPA(ctx, t, scaler.Name, hpaCondition{"ScalingActive", "True", "ValidMetricFound"})
			s.awaitReplicas(ctx, t, app.Name, 1)
		})).
		Feature())
}

// wantsReplicas looks at what a Deployment is asked to have.
func (s scene) wantsReplicas(deployment string, want int32) fixture.Look {
	return func(ctx context.Context) (string, bool, error) {
		d, err := s.Kube.AppsV1().Deployments(s.Namespace).Get(ctx, deployment, metav1.GetOptions{})
		if err != nil {
			return "", false, err
		}
		return fmt.Sprintf("%d replicas wanted", *d.Spec.Replicas), *d.Spec.Replicas == want, nil
	}
}

// TestCrash: both programs may die at any moment. Nothing moves, and the work goes on.
func TestCrash(t *testing.T) {
	db := fixture.Workload{Name: "db", Replicas: 3, CPU: "100m", Claims: []fixture.Claim{{Name: "data", Class: "zonal"}}}
	app := fixture.Workload{Name: "app", Replicas: 2, CPU: "100m"}
	scaler := fixture.Scaler{Name: "app", Target: fixture.Target("Deployment", "app"), Min: 1, Max: 6, CPUPercent: 50}
	var before fixture.Table
	var load *fixture.Load
	testenv.Test(t, features.New("kill -9").
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			s.ownOnly(t, endsComponents)
			var err error
			if load, err = s.StartLoad(ctx, s.Namespace, app.Selector(), 100, "64Mi"); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				s.start(context.WithoutCancel(ctx), t, fixture.Scheduler)
				s.start(context.WithoutCancel(ctx), t, fixture.Autoscaler)
				if err := load.Stop(); err != nil {
					t.Error(err)
				}
			})
			s.create(ctx, t, db.Service(), db.StatefulSet(), app.Deployment())
			before = s.awaitZones(ctx, t, db.Name, 3)
			s.awaitReplicas(ctx, t, app.Name, 2)
		})).
		Assess("a scheduler that died comes back to what it left", step(func(ctx context.Context, t *testing.T, s scene) {
			s.kill(ctx, t, fixture.Scheduler)
			s.scale(ctx, t, "StatefulSet", db.Name, 6)
			s.awaitPod(ctx, t, "db-3", corev1.PodPending)
			s.start(ctx, t, fixture.Scheduler)
			after := s.awaitZones(ctx, t, db.Name, 6)
			if diff := cmp.Diff(before, after[:3]); diff != "" {
				t.Errorf("what ran has moved (-want +got):\n%s", diff)
			}
		})).
		Assess("an autoscaler that died goes on", step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, scaler.HPA())
			s.awaitHPA(ctx, t, scaler.Name, hpaCondition{"ScalingActive", "True", "ValidMetricFound"})
			s.kill(ctx, t, fixture.Autoscaler)
			load.Set(200)
			s.stays(ctx, t, "two replicas", 3*time.Second, s.wantsReplicas(app.Name, 2))
			s.start(ctx, t, fixture.Autoscaler)
			s.awaitReplicas(ctx, t, app.Name, 4)
			s.stays(ctx, t, "four replicas", 12*time.Second, s.wantsReplicas(app.Name, 4))
		})).
		Assess("one that waits takes over from a leader that died", step(func(ctx context.Context, t *testing.T, s scene) {
			s.standby(ctx, t)
			s.kill(ctx, t, fixture.Autoscaler)
			begin := time.Now()
			s.scale(ctx, t, "Deployment", app.Name, 1)
			s.awaitReplicas(ctx, t, app.Name, 4)
			t.Logf("the second autoscaler acted %s after the first had died", time.Since(begin).Round(100*time.Millisecond))
		})).
		Feature())
}

func (s scene) kill(ctx context.Context, t *testing.T, component string) {
	t.Helper()
	if err := s.Kill(ctx, component); err != nil {
		t.Fatal(err)
	}
}

func (s scene) start(ctx context.Context, t *testing.T, component string) {
	t.Helper()
	if err := s.StartComponent(ctx, component); err != nil {
		t.Fatal(err)
	}
}

// standby runs a second autoscaler until the end of the test, and returns once it waits to lead.
func (s scene) standby(ctx context.Context, t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	config := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(config, []byte(standbyConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	kubeconfig := filepath.Join(dir, "kubeconfig")
	if err := s.WriteKubeconfigAs(kubeconfig, "berth-system", fixture.Autoscaler); err != nil {
		t.Fatal(err)
	}
	var log lockedBuffer
	ctx, cancel := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, filepath.Join(bin(), fixture.Autoscaler), "--config="+config, "--kubeconfig="+kubeconfig, "--v=2")
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it was killed
		if t.Failed() {
			t.Logf("the second autoscaler said:\n%s", log.String())
		}
	})
	s.until(ctx, t, "the second autoscaler to wait", func(context.Context) (string, bool, error) {
		said := log.String()
		return said, strings.Contains(said, "ttempting to acquire leader lease"), nil
	})
}

// standbyConfig leaves nodes alone: one thing that it does is enough to see that it leads.
const standbyConfig = `
apiVersion: config.berth.dev/v1alpha1
kind: AutoscalerConfiguration
leaderElection: {leaderElect: true, leaseDuration: 6s, renewDeadline: 4s, retryPeriod: 1s}
bindAddress: 127.0.0.1:0
syncPeriod: 5s
horizontal: {downscaleStabilization: 15s, cpuInitializationPeriod: 10s, initialReadinessDelay: 5s, canaryPatience: 5s}
`
