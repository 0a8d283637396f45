// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/e2e-framework/pkg/features"
	podgroupv1 "sigs.k8s.io/scheduler-plugins/apis/scheduling/v1alpha1"

	"github.com/berth-dev/berth/test/fixture"
)

// root is the checkout.
const root = "../.."

// TestOtherSettings has a cluster of its own: the scheduler runs Coscheduling
// beside Berth's plugins, and the CRD of the VPA comes late.
func TestOtherSettings(t *testing.T) {
	t.Parallel()
	testenv.Test(t, features.New("a cluster with other settings").
		Assess("keeps the same promises", step(func(ctx context.Context, t *testing.T, s scene) {
			s.ownOnly(t, "it starts a cluster with other settings")
			cluster := startOther(ctx, t)
			on(ctx, cluster).Test(t,
				gangBesideSet(), withoutVPA(), conflictAtRunTime(), conflictOlderThanPolicies())
		})).
		Feature())
}

func startOther(ctx context.Context, t *testing.T) *fixture.Cluster {
	t.Helper()
	schedulerPlugins, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/scheduler-plugins").Output()
	if err != nil {
		t.Fatal(err)
	}
	cluster := ownCluster(ctx, t, fixture.Options{
		Name:   "e2e-other",
		Nodes:  3,
		Zones:  3,
		VPAOff: true,
		Apply: []string{
			filepath.Join(strings.TrimSpace(string(schedulerPlugins)), "manifests/coscheduling/crd.yaml"),
			filepath.Join(root, "manifests/scheduler/rbac"),
			filepath.Join(root, "manifests/autoscaler/rbac"),
			filepath.Join(root, "manifests/policies"),
			testdata("podgroups.yaml"),
		},
		SchedulerConfig: testdata("scheduler-with-coscheduling.yaml"),
	})
	if err := podgroupv1.AddToScheme(cluster.Objects.GetScheme()); err != nil {
		t.Fatal(err)
	}
	return cluster
}

// gangBesideSet proves a plugin of scheduler-plugins in one profile with Berth's.
func gangBesideSet() features.Feature {
	gang := fixture.Workload{Name: "gang", CPU: "100m", Labels: map[string]string{podgroupv1.PodGroupLabel: "gang"}}
	db := fixture.Workload{Name: "db", Replicas: 3, CPU: "100m", Claims: []fixture.Claim{{Name: "data", Class: "zonal"}}}
	return features.New("Coscheduling and Berth in one profile").
		Assess("a gang waits for its last member", step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, &podgroupv1.PodGroup{ObjectMeta: metav1.ObjectMeta{Name: "gang"}, Spec: podgroupv1.PodGroupSpec{MinMember: 3}})
			s.create(ctx, t, gang.Pod("gang-x"), gang.Pod("gang-y"))
			s.stays(ctx, t, "two of three wait", 4*time.Second, func(ctx context.Context) (string, bool, error) {
				pods, err := s.Kube.CoreV1().Pods(s.Namespace).List(ctx, metav1.ListOptions{LabelSelector: gang.Selector()})
				if err != nil {
					return "", false, err
				}
				bound := 0
				for _, pod := range pods.Items {
					if pod.Spec.NodeName != "" {
						bound++
					}
				}
				return fmt.Sprintf("%d of %d bound", bound, len(pods.Items)), bound == 0, nil
			})
		})).
		Assess("meanwhile the ordinals of a set land a b c", step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, db.Service(), db.StatefulSet())
			s.awaitZones(ctx, t, db.Name, 3)
		})).
		Assess("the gang lands with its last member", step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, gang.Pod("gang-z"))
			for _, pod := range []string{"gang-x", "gang-y", "gang-z"} {
				s.awaitPod(ctx, t, pod, corev1.PodRunning)
			}
		})).
		Feature()
}

// withoutVPA: the policies are there and the CRD that they name is not.
func withoutVPA() features.Feature {
	web := fixture.Workload{Name: "web", Replicas: 1, CPU: "100m"}
	return features.New("the CRD of the VPA is missing").
		Assess("HPAs can be created, and act", step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, web.Deployment(), fixture.Scaler{Name: "web", Target: fixture.Target("Deployment", "web"), Min: 2, Max: 4, CPUPercent: 50}.HPA())
			s.awaitReplicas(ctx, t, web.Name, 2)
		})).
		Feature()
}

// kubectl fails the test when the command does.
func (s scene) kubectl(ctx context.Context, t *testing.T, args ...string) {
	t.Helper()
	if out, err := s.Kubectl(ctx, args...); err != nil {
		t.Fatalf("kubectl %v: %v\n%s", args, err, out)
	}
}
