// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
)

// Who empties a node hears of each pod that is gone from it, and of those that are ready again elsewhere.
func TestWakeWhileNodesGo(t *testing.T) {
	pod := func(name, node string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: name}, Spec: corev1.PodSpec{NodeName: node}}
	}
	for name, tc := range map[string]struct {
		taints              []corev1.Taint
		left, stayed, ready bool
	}{
		"no node goes": {},
		"one goes":     {taints: []corev1.Taint{{Key: "going"}}, left: true, ready: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				goes, stays := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "goes"}, Spec: corev1.NodeSpec{Taints: tc.taints}}, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "stays"}}
				client := fake.NewClientset(goes, stays, pod("a", "goes"), pod("b", "stays"), pod("c", "stays"))
				factory := informers.NewSharedInformerFactory(client, 0)
				var woken atomic.Int32
				if err := Wake(factory, "resized", func(n *corev1.Node) bool { return len(n.Spec.Taints) > 0 }, func() { woken.Add(1) }); err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				factory.Start(ctx.Done())
				factory.WaitForCacheSync(ctx.Done())
				does := func(what string, want bool, do func() error) {
					synctest.Wait()
					woken.Store(0)
					if err := do(); err != nil {
						t.Fatal(err)
					}
					synctest.Wait()
					if got := woken.Load() > 0; got != want {
						t.Errorf("%s: woken %t, want %t", what, got, want)
					}
				}
				pods := client.CoreV1().Pods("prod")
				does("a pod left the node that goes", tc.left, func() error { return pods.Delete(ctx, "a", metav1.DeleteOptions{}) })
				does("a pod left another one", tc.stayed, func() error { return pods.Delete(ctx, "b", metav1.DeleteOptions{}) })
				does("a pod is ready", tc.ready, func() error {
					ready := pod("c", "stays")
					ready.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
					_, err := pods.UpdateStatus(ctx, ready, metav1.UpdateOptions{})
					return err
				})
				does("the node is gone", true, func() error { return client.CoreV1().Nodes().Delete(ctx, "goes", metav1.DeleteOptions{}) })
				cancel()
				factory.Shutdown()
			})
		})
	}
}
