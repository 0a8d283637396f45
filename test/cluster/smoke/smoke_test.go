// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package smoke proves what the README of test/cluster promises, on clusters.
// It needs the programs, whose folder BERTH_BIN names; make cluster-test runs it.
package smoke

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestCluster: each part goes on where the one before it left the cluster.
func TestCluster(t *testing.T) {
	c := up(t, "smoke", "--nodes=6")
	for _, part := range []struct {
		what  string
		check func(t *testing.T, c *cluster)
	}{
		{"zonal volumes are in the zones of their pods, and attached", zonalVolumes},
		{"a detach takes its course", detachment},
		{"local volumes pin their pods to a node", localVolumes},
		{"claims deleted take their volumes with them", deletedClaims},
		{"a node that comes later is one like the others", laterNode},
		{"usage comes through metrics-server", usage},
		{"custom and external metrics are what kubectl sets", adaptedMetrics},
		{"a component can be killed and started", killedComponents},
	} {
		if !t.Run(part.what, func(t *testing.T) { part.check(t, c) }) {
			return
		}
	}
}

func zonalVolumes(t *testing.T, c *cluster) {
	c.set(t, "db", "zonal")
	zones := map[string]bool{}
	for pod, node := range c.where(t, "db") {
		zone := node.Labels[corev1.LabelTopologyZone]
		zones[zone] = true
		if key, value := c.pin(t, pod); key != corev1.LabelTopologyZone || value != zone {
			t.Errorf("%s is in %s, its volume wants %s=%s", pod, zone, key, value)
		}
		if attached, err := c.attachments(t.Context()); err != nil || attached[node.Name] != 1 || len(node.Status.VolumesInUse) != 1 {
			t.Errorf("%s on %s: attached %v, in use %v, %v", pod, node.Name, attached, node.Status.VolumesInUse, err)
		}
	}
	if len(zones) != 3 {
		t.Errorf("the set is in %v", zones)
	}
}

func detachment(t *testing.T, c *cluster) {
	c.command(t, t.Context(), "kubectl", "scale", "statefulset/db", "--replicas=0")
	eventually(t, "detached", func(ctx context.Context) error {
		attached, err := c.attachments(ctx)
		if err == nil && len(attached) > 0 {
			err = fmt.Errorf("still attached: %v", attached)
		}
		return err
	})
	c.command(t, t.Context(), "kubectl", "scale", "statefulset/db", "--replicas=3")
	for pod, node := range c.where(t, "db") {
		if _, zone := c.pin(t, pod); zone != node.Labels[corev1.LabelTopologyZone] {
			t.Errorf("%s came back in another zone than its volume's", pod)
		}
	}
}

func localVolumes(t *testing.T, c *cluster) {
	c.set(t, "queue", "local")
	before := c.where(t, "queue")
	for pod, node := range before {
		if key, value := c.pin(t, pod); key != corev1.LabelHostname || value != node.Labels[key] || value == node.Name {
			t.Errorf("%s is on %s, its volume wants %s=%s", pod, node.Name, key, value)
		}
	}
	c.command(t, t.Context(), "kubectl", "rollout", "restart", "statefulset/queue")
	c.command(t, t.Context(), "kubectl", "rollout", "status", "statefulset/queue", "--timeout=60s")
	for pod, node := range c.where(t, "queue") {
		if node.Name != before[pod].Name {
			t.Errorf("%s went from %s to %s", pod, before[pod].Name, node.Name)
		}
	}
}

func deletedClaims(t *testing.T, c *cluster) {
	c.command(t, t.Context(), "kubectl", "delete", "statefulset/queue")
	c.command(t, t.Context(), "kubectl", "delete", "pvc", "-l", "app=queue")
	eventually(t, "volumes", func(ctx context.Context) error {
		list, err := c.kube.CoreV1().PersistentVolumes().List(ctx, metav1.ListOptions{})
		if err == nil && len(list.Items) != 3 {
			err = fmt.Errorf("%d volumes, want those of db alone", len(list.Items))
		}
		return err
	})
}

func laterNode(t *testing.T, c *cluster) {
	later := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "later", Labels: map[string]string{"type": "kwok"}}}
	if _, err := c.kube.CoreV1().Nodes().Create(t.Context(), later, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "its drivers", func(ctx context.Context) error {
		_, err := c.kube.StorageV1().CSINodes().Get(ctx, "later", metav1.GetOptions{})
		return err
	})
	c.command(t, t.Context(), "kubectl", "wait", "--for=condition=Ready", "node/later", "--timeout=30s")
}

func usage(t *testing.T, c *cluster) {
	eventually(t, "kubectl top pods", func(ctx context.Context) error {
		cmd := exec.CommandContext(ctx, c.bin+"/kubectl", "--kubeconfig", c.kubeconfig, "top", "pods", "--no-headers")
		out, err := cmd.CombinedOutput()
		// A rate is measured, so it is a little off.
		if err == nil && len(regexp.MustCompile(`db-\d +2[45]\dm +64Mi`).FindAll(out, -1)) != 3 {
			err = fmt.Errorf("three pods use 250m and 64Mi each, and it says\n%s", out)
		}
		return err
	})
}

func killedComponents(t *testing.T, c *cluster) {
	before := c.where(t, "db")
	c.component(t, "kill", "kube-scheduler")
	if err := c.kube.CoreV1().Pods("default").Delete(t.Context(), "db-1", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.component(t, "kill", "kube-apiserver")
	if _, err := c.kube.Discovery().ServerVersion(); err == nil {
		t.Error("the API server answers after its end")
	}
	c.component(t, "start", "kube-apiserver")
	c.component(t, "restart", "berth-storage")
	c.component(t, "start", "kube-scheduler")
	if after := c.where(t, "db")["db-1"]; after.Labels[corev1.LabelTopologyZone] != before["db-1"].Labels[corev1.LabelTopologyZone] {
		t.Errorf("db-1 went from %s to %s", before["db-1"].Name, after.Name)
	}
}

// TestDelays is also the proof that clusters run side by side, and leave nothing.
func TestDelays(t *testing.T) {
	c := up(t, "smoke-delays", "--nodes=1", "--zones=1", "--node-boot=4s", "--pod-ready=3s", "--pod-stop=2s")
	beside := up(t, "smoke-beside", "--nodes=1", "--zones=1", "--metrics-adapter=false")
	if c.server == beside.server {
		t.Fatalf("both clusters are at %s", c.server)
	}
	c.command(t, t.Context(), "kubectl", "run", "pod", "--image=any")
	eventually(t, "pod", func(ctx context.Context) error {
		pod, err := c.kube.CoreV1().Pods("default").Get(ctx, "pod", metav1.GetOptions{})
		if err == nil && !ready(pod) {
			err = fmt.Errorf("phase %s", pod.Status.Phase)
		}
		return err
	})
	pod, err := c.kube.CoreV1().Pods("default").Get(t.Context(), "pod", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, condition := range pod.Status.Conditions {
		if took := condition.LastTransitionTime.Sub(pod.Status.StartTime.Time); condition.Type == corev1.PodReady && took < 3*time.Second {
			t.Errorf("ready after %s, want three seconds", took)
		}
	}
	if pods, err := beside.kube.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{}); err != nil || len(pods.Items) != 0 {
		t.Errorf("the cluster beside has %d pods, %v", len(pods.Items), err)
	}
	c.command(t, t.Context(), "kubectl", "delete", "pod", "pod")
	if versions := beside.command(t, t.Context(), "kubectl", "api-versions"); strings.Contains(versions, "custom.metrics") {
		t.Errorf("the cluster beside has no metrics adapter, and has the APIs\n%s", versions)
	}

	c.command(t, t.Context(), "berth-cluster", "down", "--name", c.name)
	if _, err := os.Stat(filepath.Dir(c.kubeconfig)); !os.IsNotExist(err) {
		t.Errorf("the folder of the cluster is still there: %v", err)
	}
	at, err := url.Parse(c.server)
	if err != nil {
		t.Fatal(err)
	}
	if connection, err := net.Dial("tcp", at.Host); err == nil {
		t.Errorf("something listens at %s still (%v)", c.server, connection.Close())
	}
	if _, err := beside.kube.Discovery().ServerVersion(); err != nil {
		t.Errorf("the cluster beside: %v", err)
	}
}
