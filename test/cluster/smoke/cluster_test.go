// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package smoke

import (
	"context"
	"fmt"
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
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, &stderr)
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
		err := look(ctx)
		if ctx.Err() == nil {
			objection = err // not the end of patience itself
		}
		return err == nil, nil
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
	cmd := exec.CommandContext(t.Context(), filepath.Join(c.bin, "kubectl"), "--kubeconfig", c.kubeconfig, "apply", "-f", "-")
	cmd.Stdin = strings.NewReader(manifest)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("kubectl apply: %v\n%s", err, out)
	}
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
