// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/test/fixture"
)

// ground is the name of one test for nodes that nobody else uses: pods of
// others do not tolerate their taint, and pods on the ground select their label.
type ground string

// node is one of the ground, in a zone. Its name begins with that of the ground.
func (g ground) node(name, zone string, labels map[string]string) *corev1.Node {
	all := map[string]string{forLabel: string(g), corev1.LabelTopologyZone: zone}
	maps.Copy(all, labels)
	return fixture.Node(string(g)+"-"+name, all, corev1.Taint{Key: forLabel, Value: string(g), Effect: corev1.TaintEffectNoSchedule})
}

// zones is a node in each zone, which is named like its zone.
func (g ground) zones(names ...string) []*corev1.Node {
	nodes := make([]*corev1.Node, len(names))
	for i, zone := range names {
		nodes[i] = g.node(zone, zone, nil)
	}
	return nodes
}

// on puts the pods of a workload on the ground.
func (g ground) on(w fixture.Workload) fixture.Workload {
	w.NodeSelector, w.Tolerate = map[string]string{forLabel: string(g)}, forLabel
	return w
}

// lay makes the nodes, and returns once pods can go on each of them: one that is open before the
// others draws whoever comes first, whatever the scores say. All nodes of the ground go at the end
// of the whole test, after its namespace: pods leave only nodes that exist.
func (g ground) lay(t *testing.T, nodes ...*corev1.Node) features.Func {
	var s scene
	t.Cleanup(func() {
		if s.Cluster == nil {
			return
		}
		err := s.Kube.CoreV1().Nodes().DeleteCollection(context.WithoutCancel(t.Context()), metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: forLabel + "=" + string(g)})
		if err != nil {
			t.Error(err)
		}
	})
	return step(func(ctx context.Context, t *testing.T, of scene) {
		s = of
		for _, node := range nodes {
			s.create(ctx, t, node)
		}
		s.awaitReady(ctx, t, nodes...)
	})
}

// awaitReady waits until nodes are ready, and no pod is kept from them for not being so.
func (s scene) awaitReady(ctx context.Context, t *testing.T, nodes ...*corev1.Node) {
	t.Helper()
	for _, node := range nodes {
		s.until(ctx, t, "node "+node.Name+" to be open", s.open(node.Name))
	}
}

// open looks whether a node has none of the taints of a node that is not ready.
func (s scene) open(node string) fixture.Look {
	return func(ctx context.Context) (string, bool, error) {
		is, err := s.Kube.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
		if err != nil {
			return "", false, err
		}
		ready := slices.ContainsFunc(is.Status.Conditions, func(c corev1.NodeCondition) bool {
			return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
		})
		tainted := slices.ContainsFunc(is.Spec.Taints, func(taint corev1.Taint) bool {
			return strings.HasPrefix(taint.Key, "node.kubernetes.io/")
		})
		return fmt.Sprintf("ready %t, taints %v", ready, is.Spec.Taints), ready && !tainted, nil
	}
}

// unready makes a node like one whose kubelet has died, and ready like one
// that has come back.
func (s scene) unready(ctx context.Context, t *testing.T, node string) {
	t.Helper()
	// A simulated node gets ready again at once, unless it takes a day to boot.
	s.patchNode(ctx, t, node, `{"metadata":{"annotations":{"cluster.berth.dev/boot-seconds":"86400"}}}`)
	now := metav1.Now().UTC().Format("2006-01-02T15:04:05Z")
	s.patchNode(ctx, t, node, `{"status":{"conditions":[{"type":"Ready","status":"False","reason":"KubeletNotReady","message":"the test says so","lastHeartbeatTime":"`+now+`","lastTransitionTime":"`+now+`"}]}}`, "status")
}

func (s scene) ready(ctx context.Context, t *testing.T, node string) {
	t.Helper()
	s.patchNode(ctx, t, node, `{"metadata":{"annotations":{"cluster.berth.dev/boot-seconds":"0"}}}`)
}

// cordon keeps further pods from nodes, as kubectl cordon does, or lets them there again. Once it
// returns the scheduler sends nobody there any more.
func (s scene) cordon(ctx context.Context, t *testing.T, cordoned bool, nodes ...string) {
	t.Helper()
	patch := `{"spec":{"unschedulable":null}}`
	if cordoned {
		patch = `{"spec":{"unschedulable":true}}`
	}
	for _, node := range nodes {
		s.patchNode(ctx, t, node, patch)
		if cordoned {
			s.awaitRefusalOn(ctx, t, node, "unschedulable")
		}
	}
}

// awaitRefusalOn waits until the scheduler knows that a node is closed, or gone: a pod that
// no other node will do for, and that asks for nothing, is refused with the words. The scheduler
// hears of nodes and of pods by different watches: until it has heard, such pods are bound, and
// force-deleted.
func (s scene) awaitRefusalOn(ctx context.Context, t *testing.T, node string, words ...string) {
	t.Helper()
	probe := fixture.Workload{Name: "probe", Tolerate: forLabel}.Pod("probe-" + node)
	probe.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
		NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{
			{Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{node}},
		}}},
	}}}
	pods := s.Kube.CoreV1().Pods(s.Namespace)
	s.until(ctx, t, "a pod to be refused on node "+node, func(ctx context.Context) (string, bool, error) {
		pod, err := pods.Get(ctx, probe.Name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			return "it is not there", false, s.Create(ctx, s.Namespace, probe.DeepCopy())
		case err != nil:
			return "", false, err
		case pod.Spec.NodeName != "":
			return "it is bound", false, pods.Delete(ctx, pod.Name, *metav1.NewDeleteOptions(0))
		}
		refused := slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && containsAll(c.Message, words)
		})
		return fmt.Sprint(pod.Status.Conditions), refused, nil
	})
	s.forceDelete(ctx, t, probe.Name)
}

func (s scene) patchNode(ctx context.Context, t *testing.T, node, patch string, subresource ...string) {
	t.Helper()
	_, err := s.Kube.CoreV1().Nodes().Patch(ctx, node, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, subresource...)
	if err != nil {
		t.Fatal(err)
	}
}

// deleteNode takes a node away, which may be gone already. Once it returns the scheduler sends
// nobody there any more.
func (s scene) deleteNode(ctx context.Context, t *testing.T, node string) {
	t.Helper()
	if err := s.Kube.CoreV1().Nodes().Delete(ctx, node, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	s.awaitRefusalOn(ctx, t, node)
}
