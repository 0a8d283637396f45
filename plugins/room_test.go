// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package plugins_test

import (
	goruntime "runtime"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	st "k8s.io/kubernetes/pkg/scheduler/testing"
)

// The driver takes a volume off what is left before its claim is seen bound: who
// asks in between sees the room go twice, and would wait for an event that never comes.
func TestRoomThatWentTwice(t *testing.T) {
	c := newCluster(t, nil, objects(nodes("a1"), pooled("fast"), roomOf("fast", "a1", "130Gi"),
		asking("data", "fast", "60Gi"), asking("other", "fast", "60Gi"), asking("huge", "fast", "200Gi"))...)
	early := st.MakePod().Namespace("prod").Name("early").UID("early").PVC("huge").Obj()
	if got := c.try(t, early).fits(); got != "" {
		t.Fatalf("200Gi fit on %q", got)
	}

	first, state := claiming("data"), framework.NewCycleState()
	c.framework.RunPreFilterPlugins(t.Context(), state, first)
	if status := c.framework.RunReservePluginsReserve(t.Context(), state, first, "a1"); !status.IsSuccess() {
		t.Fatal(status.Message())
	}
	if _, err := c.client.StorageV1().CSIStorageCapacities("kube-system").Update(t.Context(), roomOf("fast", "a1", "70Gi"), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	second := st.MakePod().Namespace("prod").Name("q").UID("q").PVC("other").Obj()
	for c.try(t, second).fits() != "" { // until what the driver says is heard
		goruntime.Gosched()
	}

	claim := asking("data", "fast", "60Gi")
	claim.Spec.VolumeName = "pv-data"
	claim.Annotations = map[string]string{"volume.kubernetes.io/selected-node": "a1"}
	if _, err := c.client.CoreV1().PersistentVolumeClaims("prod").Update(t.Context(), claim, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if woken := next(t, "pod woken", c.activated); woken != "prod/q" {
		t.Errorf("woken: %s, want prod/q", woken)
	}
	if got := c.try(t, second).fits(); got != "a1" {
		t.Errorf("60Gi of 70Gi fit on %q, want a1", got)
	}
	if len(c.activated) != 0 {
		t.Errorf("woken too: %s, which asked before anything was promised", <-c.activated)
	}
}
