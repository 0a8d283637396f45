// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package capacity

import (
	"testing"

	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const nodeKey = "topology.topolvm.io/node"

const gi = int64(1) << 30

// local is a pool that one node reaches.
func local(name, class, node string, left int64) *storagev1.CSIStorageCapacity {
	return &storagev1.CSIStorageCapacity{
		ObjectMeta:       metav1.ObjectMeta{Namespace: "csi", Name: name},
		StorageClassName: class,
		NodeTopology:     &metav1.LabelSelector{MatchLabels: map[string]string{nodeKey: node}},
		Capacity:         resource.NewQuantity(left, resource.BinarySI),
	}
}

func on(node string) map[string]string { return map[string]string{nodeKey: node} }

func claim(name, class string, bytes int64) Claim {
	return Claim{Namespace: "prod", Name: name, StorageClass: class, Bytes: bytes}
}

// TestTwoClaims is the story that the package is made for.
func TestTwoClaims(t *testing.T) {
	l := NewLedger()
	l.SetCapacity(local("a", "fast", "a", 100*gi))
	l.SetCapacity(local("b", "fast", "b", 200*gi))
	q := l.Ask([]Claim{claim("data-db-0", "fast", 60*gi), claim("wal-db-0", "fast", 60*gi)})
	const want = `node(s) without enough storage: class "fast" has 100Gi left, and claims data-db-0 (60Gi), wal-db-0 (60Gi) need 120Gi`
	if got := q.Refuses(on("a")); got != want {
		t.Errorf("Refuses(a) = %q, want %q", got, want)
	}
	if got := q.Refuses(on("b")); got != "" {
		t.Errorf("Refuses(b) = %q, want none", got)
	}
}
