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
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/test/fixture"
)

const (
	kubeScheduler         = "kube-scheduler"
	kubeControllerManager = "kube-controller-manager"
)

// TestReplace has a cluster of its own, where Berth takes the place of
// kube-scheduler as overlays/replace installs it.
func TestReplace(t *testing.T) {
	t.Parallel()
	testenv.Test(t, features.New("a cluster whose scheduler is replaced").
		Assess("has one scheduler at any time", step(func(ctx context.Context, t *testing.T, s scene) {
			s.ownOnly(t, "it starts a cluster to take kube-scheduler away from")
			cluster := ownCluster(ctx, t, fixture.Options{
				Name: "e2e-replace", Nodes: 3, Zones: 3, BerthOff: true,
				Apply: []string{filepath.Join(root, "manifests/crd"), filepath.Join(root, "manifests/overlays/replace")},
			})
			on(ctx, cluster).Test(t, takeover())
		})).
		Feature())
}

func takeover() features.Feature {
	stock := fixture.Workload{CPU: "50m", Scheduler: corev1.DefaultSchedulerName}
	db := fixture.Workload{Name: "db", Replicas: 1, CPU: "3", Scheduler: corev1.DefaultSchedulerName, Claims: []fixture.Claim{{Name: "data", Class: "local"}}}
	ours := fixture.Workload{Name: "ours", CPU: "50m"}
	var first, leader, node string
	var berth *program
	return features.New("overlays/replace").
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			first = s.awaitLeader(ctx, t, "")
			berth = s.startInstalled(ctx, t)
			s.create(ctx, t, db.Service(), db.StatefulSet(), ours.Pod("ours"))
			node = s.awaitSet(ctx, t, db.Name, 1)[0].Node
		})).
		Assess("stands by while kube-scheduler leads", step(func(ctx context.Context, t *testing.T, s scene) {
			s.until(ctx, t, "berth-scheduler to wait for the lease", func(context.Context) (string, bool, error) {
				said := berth.log.String()
				return said, strings.Contains(said, "ttempting to acquire leader lease"), nil
			})
			s.stays(ctx, t, "a pod that only Berth places waits", 4*time.Second, s.unscheduled("ours"))
		})).
		Assess("takes over when that is gone", step(func(ctx context.Context, t *testing.T, s scene) {
			if err := s.Stop(ctx, kubeScheduler); err != nil {
				t.Fatal(err)
			}
			begin := time.Now()
			leader = s.awaitLeader(ctx, t, first)
			s.awaitPod(ctx, t, "ours", corev1.PodRunning)
			t.Logf("berth-scheduler placed a pod %s after kube-scheduler had ended", time.Since(begin).Round(100*time.Millisecond))
		})).
		Assess("places pods that name no scheduler", step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, stock.Pod("stock"))
			s.awaitPod(ctx, t, "stock", corev1.PodRunning)
		})).
		Assess("keeps the room of an absent slot from them", step(func(ctx context.Context, t *testing.T, s scene) {
			rival := stock
			rival.CPU, rival.NodeSelector = "3", s.zoneOf(ctx, t, node)
			s.create(ctx, t, rival.Pod("rival"))
			s.awaitPending(ctx, t, "rival", corev1.PodReasonUnschedulable, "Insufficient cpu")
			if err := s.Stop(ctx, kubeControllerManager); err != nil { // so that nobody makes the next pod
				t.Fatal(err)
			}
			s.deletePod(ctx, t, "db-0")
			t.Log(s.awaitPending(ctx, t, "rival", corev1.PodReasonUnschedulable, "keep room for absent slots of "+s.Namespace+"/db"))
			s.says(ctx, t, []string{"holds"}, "sts/db", "Absent", node, "no expiry")
			s.start(ctx, t, kubeControllerManager)
			s.awaitOn(ctx, t, "db-0", node)
			s.awaitPending(ctx, t, "rival", corev1.PodReasonUnschedulable, "Insufficient cpu")
		})).
		Assess("gives way when it ends itself", step(func(ctx context.Context, t *testing.T, s scene) {
			s.start(ctx, t, kubeScheduler)
			s.create(ctx, t, stock.Pod("between"))
			s.awaitPod(ctx, t, "between", corev1.PodRunning)
			if is := s.awaitLeader(ctx, t, ""); is != leader {
				t.Errorf("%s leads, want kube-scheduler to stand by for %s", is, leader)
			}
			berth.end(t)
			s.awaitLeader(ctx, t, leader)
			s.create(ctx, t, stock.Pod("last"), ours.Pod("waits"))
			s.awaitPod(ctx, t, "last", corev1.PodRunning)
			s.stays(ctx, t, "a pod that only Berth places waits", 2*time.Second, s.unscheduled("waits"))
		})).
		Feature()
}

// awaitLeader waits until somebody else than before holds the lease of
// kube-scheduler, and returns who.
func (s scene) awaitLeader(ctx context.Context, t *testing.T, before string) string {
	t.Helper()
	var holder string
	s.until(ctx, t, "a leader other than "+before, func(ctx context.Context) (string, bool, error) {
		lease, err := s.Kube.CoordinationV1().Leases(metav1.NamespaceSystem).Get(ctx, kubeScheduler, metav1.GetOptions{})
		if err != nil || lease.Spec.HolderIdentity == nil {
			return "", false, err
		}
		holder = *lease.Spec.HolderIdentity
		return holder, holder != "" && holder != before, nil
	})
	return holder
}

// zoneOf selects the zone of a node.
func (s scene) zoneOf(ctx context.Context, t *testing.T, node string) map[string]string {
	t.Helper()
	is, err := s.Kube.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{corev1.LabelTopologyZone: is.Labels[corev1.LabelTopologyZone]}
}

// program is a process of this test.
type program struct {
	cmd *exec.Cmd
	log lockedBuffer
}

// startInstalled runs berth-scheduler as its Deployment would: with the
// configuration that it mounts, and with the rights of its ServiceAccount.
func (s scene) startInstalled(ctx context.Context, t *testing.T) *program {
	t.Helper()
	const namespace = "berth-system"
	deployment, err := s.Kube.AppsV1().Deployments(namespace).Get(ctx, fixture.Scheduler, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	mounted, err := s.Kube.CoreV1().ConfigMaps(namespace).Get(ctx, deployment.Spec.Template.Spec.Volumes[0].ConfigMap.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config, kubeconfig := filepath.Join(dir, "config.yaml"), filepath.Join(dir, "kubeconfig")
	text := fmt.Sprintf("%s\nclientConnection: {kubeconfig: %s}\n", mounted.Data["config.yaml"], kubeconfig)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.WriteKubeconfigAs(kubeconfig, namespace, deployment.Spec.Template.Spec.ServiceAccountName); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p := &program{cmd: exec.CommandContext(ctx, filepath.Join(bin(), fixture.Scheduler), "--config="+config, "--secure-port=0", "--v=2")}
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	if err := p.cmd.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = p.cmd.Wait() // it was killed, or has ended
		if t.Failed() {
			t.Logf("berth-scheduler said:\n%s", p.log.String())
		}
	})
	return p
}

// end asks a program to end, and waits until it has.
func (p *program) end(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("berth-scheduler ended with %v", err)
	}
}
