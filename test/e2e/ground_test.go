// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"maps"
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

// lay makes the nodes, and returns when all of them take pods: a node begins
// tainted, and which one is free first is not known. All nodes of the ground go at
// the end of the whole test, after its namespace: pods leave only nodes that exist.
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
		s.until(ctx, t, "the nodes of "+string(g)+" to take pods", func(ctx context.Context) (string, bool, error) {
			list, err := s.Kube.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: forLabel + "=" + string(g)})
			if err != nil {
				return "", false, err
			}
			for _, node := range list.Items {
				for _, taint := range node.Spec.Taints {
					if taint.Key == corev1.TaintNodeNotReady {
						return node.Name + " is not ready", false, nil
					}
				}
			}
			return "", true, nil
		})
	})
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

// cordon keeps further pods from nodes, as kubectl cordon does.
func (s scene) cordon(ctx context.Context, t *testing.T, cordoned bool, nodes ...string) {
	t.Helper()
	patch := `{"spec":{"unschedulable":null}}`
	if cordoned {
		patch = `{"spec":{"unschedulable":true}}`
	}
	for _, node := range nodes {
		s.patchNode(ctx, t, node, patch)
	}
}

func (s scene) patchNode(ctx context.Context, t *testing.T, node, patch string, subresource ...string) {
	t.Helper()
	_, err := s.Kube.CoreV1().Nodes().Patch(ctx, node, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, subresource...)
	if err != nil {
		t.Fatal(err)
	}
}

// deleteNode takes a node away, which may be gone already.
func (s scene) deleteNode(ctx context.Context, t *testing.T, node string) {
	t.Helper()
	if err := s.Kube.CoreV1().Nodes().Delete(ctx, node, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
}
