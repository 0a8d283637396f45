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
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// patience bounds everything that is waited for; metrics need two scrapes.
const patience = 60 * time.Second

// cluster is one that was started for the test.
type cluster struct {
	name, bin, kubeconfig, server string
	kube                          kubernetes.Interface
}

// up starts a cluster and takes it down at the end of the test.
func up(t *testing.T, name string, flags ...string) *cluster {
	t.Helper()
	bin := os.Getenv("BERTH_BIN")
	if bin == "" {
		t.Skip("needs the programs: make cluster-test")
	}
	c := &cluster{name: name, bin: filepath.Join(bin, "cluster")}
	t.Cleanup(func() { c.command(t, context.Background(), "berth-cluster", "down", "--name", name) })
	out := c.command(t, t.Context(), "berth-cluster", append([]string{"up", "--name", name, "--berth=false"}, flags...)...)
	c.kubeconfig = strings.TrimSpace(strings.TrimPrefix(out, "export KUBECONFIG="))
	config, err := clientcmd.BuildConfigFromFlags("", c.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	c.server = config.Host
	if c.kube, err = kubernetes.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	return c
}

// command runs a program of the cluster and returns what it printed.
func (c *cluster) command(t *testing.T, ctx context.Context, program string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(ctx, filepath.Join(c.bin, program), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.kubeconfig)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Errorf("%s %s: %v\n%s", program, strings.Join(args, " "), err, &stderr)
	}
	return string(out)
}

func (c *cluster) component(t *testing.T, verb, name string) {
	t.Helper()
	c.command(t, t.Context(), "berth-cluster", verb, "--name", c.name, name)
}

// eventually waits until look has nothing to object.
func eventually(t *testing.T, what string, look func(ctx context.Context) error) {
	t.Helper()
	var objection error
	err := wait.PollUntilContextTimeout(t.Context(), 200*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		objection = look(ctx)
		return objection == nil, nil
	})
	if err != nil {
		t.Fatalf("%s: %v", what, objection)
	}
}

// set makes a StatefulSet of three, one per zone, with a claim of the class.
func (c *cluster) set(t *testing.T, name, class string) {
	t.Helper()
	manifest := fmt.Sprintf(`
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: %[1]s}
spec:
  serviceName: %[1]s
  replicas: 3
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata:
      labels: {app: %[1]s}
      annotations: {kwok.x-k8s.io/usage-cpu: 250m, kwok.x-k8s.io/usage-memory: 64Mi}
    spec:
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: %[1]s}}}
      initContainers: [{name: init, image: any}]
      containers: [{name: main, image: any}]
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], storageClassName: %[2]s, resources: {requests: {storage: 1Gi}}}
`, name, class)
	file := filepath.Join(t.TempDir(), "set.yaml")
	if err := os.WriteFile(file, []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	c.command(t, t.Context(), "kubectl", "apply", "-f", file)
}

// where tells the node of each of the set's pods, once all are ready.
func (c *cluster) where(t *testing.T, set string) map[string]*corev1.Node {
	t.Helper()
	nodes := map[string]*corev1.Node{}
	eventually(t, "pods of "+set, func(ctx context.Context) error {
		for i := range 3 {
			name := fmt.Sprintf("%s-%d", set, i)
			pod, err := c.kube.CoreV1().Pods("default").Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			if pod.DeletionTimestamp != nil || !ready(pod) {
				return fmt.Errorf("%s is not ready: %s", name, pod.Status.Phase)
			}
			if nodes[name], err = c.kube.CoreV1().Nodes().Get(ctx, pod.Spec.NodeName, metav1.GetOptions{}); err != nil {
				return err
			}
		}
		return nil
	})
	return nodes
}

func ready(pod *corev1.Pod) bool {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

// pin is the one label that the volume of a pod's claim asks of a node.
func (c *cluster) pin(t *testing.T, pod string) (key, value string) {
	t.Helper()
	claim, err := c.kube.CoreV1().PersistentVolumeClaims("default").Get(t.Context(), "data-"+pod, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	volume, err := c.kube.CoreV1().PersistentVolumes().Get(t.Context(), claim.Spec.VolumeName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	expression := volume.Spec.NodeAffinity.Required.NodeSelectorTerms[0].MatchExpressions[0]
	return expression.Key, expression.Values[0]
}

// attachments are the attached volumes, by node.
func (c *cluster) attachments(ctx context.Context) (map[string]int, error) {
	list, err := c.kube.StorageV1().VolumeAttachments().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	byNode := map[string]int{}
	for _, a := range list.Items {
		if a.Status.Attached {
			byNode[a.Spec.NodeName]++
		}
	}
	return byNode, nil
}

func TestCluster(t *testing.T) {
	c := up(t, "smoke", "--nodes=6")

	t.Run("zonal volumes are in the zones of their pods, and attached", func(t *testing.T) {
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
	})

	t.Run("a detach takes its course", func(t *testing.T) {
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
	})

	t.Run("local volumes pin their pods to a node", func(t *testing.T) {
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
	})

	t.Run("claims deleted take their volumes with them", func(t *testing.T) {
		c.command(t, t.Context(), "kubectl", "delete", "statefulset/queue")
		c.command(t, t.Context(), "kubectl", "delete", "pvc", "-l", "app=queue")
		eventually(t, "volumes", func(ctx context.Context) error {
			list, err := c.kube.CoreV1().PersistentVolumes().List(ctx, metav1.ListOptions{})
			if err == nil && len(list.Items) != 3 {
				err = fmt.Errorf("%d volumes, want those of db alone", len(list.Items))
			}
			return err
		})
	})

	t.Run("a node that comes later is one like the others", func(t *testing.T) {
		later := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "later", Labels: map[string]string{"type": "kwok"}}}
		if _, err := c.kube.CoreV1().Nodes().Create(t.Context(), later, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "its drivers", func(ctx context.Context) error {
			_, err := c.kube.StorageV1().CSINodes().Get(ctx, "later", metav1.GetOptions{})
			return err
		})
		c.command(t, t.Context(), "kubectl", "wait", "--for=condition=Ready", "node/later", "--timeout=30s")
	})

	t.Run("usage comes through metrics-server", func(t *testing.T) {
		eventually(t, "kubectl top pods", func(ctx context.Context) error {
			cmd := exec.CommandContext(ctx, c.bin+"/kubectl", "--kubeconfig", c.kubeconfig, "top", "pods", "--no-headers")
			out, err := cmd.CombinedOutput()
			if err == nil && strings.Count(string(out), "250m") != 3 {
				err = fmt.Errorf("three pods use 250m each, and it says\n%s", out)
			}
			return err
		})
	})

	t.Run("a component can be killed and started", func(t *testing.T) {
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
	})
}

// TestDelays is also the proof that clusters run side by side, and leave nothing.
func TestDelays(t *testing.T) {
	c := up(t, "smoke-delays", "--nodes=1", "--zones=1", "--node-boot=4s", "--pod-ready=3s", "--pod-stop=2s")
	beside := up(t, "smoke-beside", "--nodes=1", "--zones=1")
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

	c.command(t, t.Context(), "berth-cluster", "down", "--name", c.name)
	if _, err := os.Stat(filepath.Dir(c.kubeconfig)); !os.IsNotExist(err) {
		t.Errorf("the folder of the cluster is still there: %v", err)
	}
	at, err := url.Parse(c.server)
	if err != nil {
		t.Fatal(err)
	}
	if connection, err := net.Dial("tcp", at.Host); err == nil {
		connection.Close()
		t.Errorf("something listens at %s still", c.server)
	}
	if _, err := beside.kube.Discovery().ServerVersion(); err != nil {
		t.Errorf("the cluster beside: %v", err)
	}
}
