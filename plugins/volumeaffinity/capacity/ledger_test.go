// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package capacity

import (
	"testing"

	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	nodeKey = "topology.topolvm.io/node"
	zoneKey = "topology.kubernetes.io/zone"
	gi      = int64(1) << 30
)

// pooled is a pool that the topology reaches; sizes below zero are not set.
func pooled(name, class string, topology *metav1.LabelSelector, left, largest int64) *storagev1.CSIStorageCapacity {
	c := &storagev1.CSIStorageCapacity{
		ObjectMeta:       metav1.ObjectMeta{Namespace: "csi", Name: name},
		StorageClassName: class,
		NodeTopology:     topology,
	}
	if left >= 0 {
		c.Capacity = resource.NewQuantity(left, resource.BinarySI)
	}
	if largest >= 0 {
		c.MaximumVolumeSize = resource.NewQuantity(largest, resource.BinarySI)
	}
	return c
}

func in(key string, values ...string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: key, Operator: metav1.LabelSelectorOpIn, Values: values}}}
}

// local is a pool that one node reaches.
func local(node string, left int64) *storagev1.CSIStorageCapacity {
	return pooled(node, "fast", &metav1.LabelSelector{MatchLabels: map[string]string{nodeKey: node}}, left, -1)
}

func on(node string) map[string]string { return map[string]string{nodeKey: node} }

func claim(name string, bytes int64) Claim {
	return Claim{Namespace: "prod", Name: name, StorageClass: "fast", Bytes: bytes}
}

func of(class string, c Claim) Claim {
	c.StorageClass = class
	return c
}

// newLedger has the pools.
func newLedger(pools ...*storagev1.CSIStorageCapacity) *Ledger {
	l := NewLedger()
	for _, p := range pools {
		l.SetCapacity(p)
	}
	return l
}

// TestTwoClaims is the story that the package is made for.
func TestTwoClaims(t *testing.T) {
	l := newLedger(local("a", 100*gi), local("b", 200*gi))
	q := l.Ask([]Claim{claim("data-db-0", 60*gi), claim("wal-db-0", 60*gi)})
	const want = `node(s) without enough storage: class "fast" has 100Gi left, and claims data-db-0 (60Gi), wal-db-0 (60Gi) need 120Gi`
	if got := q.Refuses(on("a")); got != want {
		t.Errorf("Refuses(a) = %q, want %q", got, want)
	}
	if got := q.Refuses(on("b")); got != "" {
		t.Errorf("Refuses(b) = %q, want none", got)
	}
}

func TestRefuses(t *testing.T) {
	everywhere := &metav1.LabelSelector{}
	tests := map[string]struct {
		pools  []*storagev1.CSIStorageCapacity
		drafts []Claim // on the node
		claims []Claim
		node   map[string]string
		want   bool
	}{
		"nothing is asked":     {},
		"no pool":              {claims: []Claim{claim("a", 1)}, want: true},
		"another node's":       {pools: []*storagev1.CSIStorageCapacity{local("m", 10)}, claims: []Claim{claim("a", 1)}, want: true},
		"another class's":      {pools: []*storagev1.CSIStorageCapacity{local("n", 10)}, claims: []Claim{of("slow", claim("a", 1))}, want: true},
		"no topology":          {pools: []*storagev1.CSIStorageCapacity{pooled("p", "fast", nil, 10, -1)}, claims: []Claim{claim("a", 1)}, want: true},
		"an invalid topology":  {pools: []*storagev1.CSIStorageCapacity{pooled("p", "fast", in("zone"), 10, -1)}, claims: []Claim{claim("a", 1)}, want: true},
		"empty topology":       {pools: []*storagev1.CSIStorageCapacity{pooled("p", "fast", everywhere, 10, -1)}, claims: []Claim{claim("a", 10)}},
		"no label, empty want": {pools: []*storagev1.CSIStorageCapacity{pooled("p", "fast", in("other", ""), 10, -1)}, claims: []Claim{claim("a", 1)}, want: true},
		"no numbers":           {pools: []*storagev1.CSIStorageCapacity{pooled("p", "fast", everywhere, -1, -1)}, claims: []Claim{claim("a", 0)}, want: true},
		"largest only":         {pools: []*storagev1.CSIStorageCapacity{pooled("p", "fast", everywhere, -1, 5)}, claims: []Claim{claim("a", 5), claim("b", 5), claim("c", 5)}},
		"larger than largest":  {pools: []*storagev1.CSIStorageCapacity{pooled("p", "fast", everywhere, 10, 5)}, claims: []Claim{claim("a", 6)}, want: true},
		"largest above what is left, alone": {
			pools: []*storagev1.CSIStorageCapacity{pooled("p", "fast", everywhere, 5, 10)}, claims: []Claim{claim("a", 10)}},
		"each below largest, not together": {
			pools: []*storagev1.CSIStorageCapacity{pooled("p", "fast", everywhere, 9, 5)}, claims: []Claim{claim("a", 5), claim("b", 5)}, want: true},
		"together to the last byte": {
			pools: []*storagev1.CSIStorageCapacity{local("n", 10)}, claims: []Claim{claim("a", 4), claim("b", 6)}},
		"each in its class": {
			pools:  []*storagev1.CSIStorageCapacity{local("n", 10), pooled("s", "slow", in(nodeKey, "n"), 10, -1)},
			claims: []Claim{claim("a", 10), of("slow", claim("b", 10))}},
		"one class lacks": {
			pools:  []*storagev1.CSIStorageCapacity{local("n", 10), pooled("s", "slow", in(nodeKey, "n"), 9, -1)},
			claims: []Claim{claim("a", 10), of("slow", claim("b", 10))}, want: true},
		"a claim named twice": {
			pools: []*storagev1.CSIStorageCapacity{local("n", 10)}, claims: []Claim{claim("a", 6), claim("a", 6)}},
		"the largest is rounded up as upstream's": {
			pools: []*storagev1.CSIStorageCapacity{{NodeTopology: everywhere, StorageClassName: "fast", Capacity: ptr(resource.MustParse("9500m"))}}, claims: []Claim{claim("a", 10)}},
		"divided over pools": {
			pools:  []*storagev1.CSIStorageCapacity{local("n", 10), pooled("q", "fast", in(nodeKey, "n"), 10, -1)},
			claims: []Claim{claim("a", 6), claim("b", 6)}},
		"not to be divided": {
			pools:  []*storagev1.CSIStorageCapacity{local("n", 10), pooled("q", "fast", in(nodeKey, "n"), 10, -1)},
			claims: []Claim{claim("a", 6), claim("b", 6), claim("c", 6)}, want: true},
		"a draft takes room": {
			pools: []*storagev1.CSIStorageCapacity{local("n", 10)}, drafts: []Claim{claim("x", 5)}, claims: []Claim{claim("a", 6)}, want: true},
		"a draft leaves room": {
			pools: []*storagev1.CSIStorageCapacity{local("n", 10)}, drafts: []Claim{claim("x", 4)}, claims: []Claim{claim("a", 6)}},
		"another class's draft": {
			pools: []*storagev1.CSIStorageCapacity{local("n", 10)}, drafts: []Claim{of("slow", claim("x", 9))}, claims: []Claim{claim("a", 6)}},
		"its own draft": {
			pools: []*storagev1.CSIStorageCapacity{local("n", 10)}, drafts: []Claim{claim("a", 6)}, claims: []Claim{claim("a", 6)}},
		"its own draft, and another": {
			pools: []*storagev1.CSIStorageCapacity{local("n", 10)}, drafts: []Claim{claim("a", 5), claim("x", 5)}, claims: []Claim{claim("a", 6)}, want: true},
		"its own draft, already taken off, and another": {
			pools: []*storagev1.CSIStorageCapacity{local("n", 10)}, drafts: []Claim{claim("a", 60), claim("x", 5)}, claims: []Claim{claim("a", 6)}, want: true},
		"its own draft among pools": {
			pools:  []*storagev1.CSIStorageCapacity{local("n", 10), pooled("q", "fast", in(nodeKey, "n"), 5, -1)},
			drafts: []Claim{claim("a", 10), claim("x", 5)}, claims: []Claim{claim("a", 10)}},
		"a draft of its own in another class": {
			pools:  []*storagev1.CSIStorageCapacity{local("n", 10)},
			drafts: []Claim{of("slow", claim("a", 6))}, claims: []Claim{claim("a", 6)}},
		"a draft already taken off": {
			pools: []*storagev1.CSIStorageCapacity{local("n", 10)}, drafts: []Claim{claim("x", 60)}, claims: []Claim{claim("a", 6)}},
		"more drafted than is left": {
			pools: []*storagev1.CSIStorageCapacity{local("n", 10)}, drafts: []Claim{claim("x", 6), claim("y", 6)}, claims: []Claim{claim("a", 0)}, want: true},
		"a draft may go to the other pool": {
			pools:  []*storagev1.CSIStorageCapacity{local("n", 10), pooled("q", "fast", in(nodeKey, "n"), 5, -1)},
			drafts: []Claim{claim("x", 5)}, claims: []Claim{claim("a", 10)}},
		"drafts in both pools": {
			pools:  []*storagev1.CSIStorageCapacity{local("n", 10), pooled("q", "fast", in(nodeKey, "n"), 5, -1)},
			drafts: []Claim{claim("x", 5), claim("y", 1)}, claims: []Claim{claim("a", 10)}, want: true},
		"a pool without end among them": {
			pools:  []*storagev1.CSIStorageCapacity{local("n", 10), pooled("q", "fast", in(nodeKey, "n"), -1, 5)},
			drafts: []Claim{claim("x", 5), claim("y", 5)}, claims: []Claim{claim("a", 10), claim("b", 5)}},
		"zone and node": {
			pools: []*storagev1.CSIStorageCapacity{
				pooled("p", "fast", &metav1.LabelSelector{MatchLabels: map[string]string{nodeKey: "n", zoneKey: "a"}}, 10, -1)},
			claims: []Claim{claim("a", 10)}, node: map[string]string{nodeKey: "n", zoneKey: "b"}, want: true},
		"a label that must be missing": {
			pools: []*storagev1.CSIStorageCapacity{pooled("p", "fast", &metav1.LabelSelector{
				MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "edge", Operator: metav1.LabelSelectorOpDoesNotExist}}}, 10, -1)},
			claims: []Claim{claim("a", 10)}, node: map[string]string{"edge": ""}, want: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			node := test.node
			if node == nil {
				node = on("n")
			}
			l := newLedger(test.pools...)
			for _, d := range test.drafts {
				l.Reserve(d, "n", node)
			}
			q := l.Ask(test.claims)
			if got := q.Refuses(node); (got != "") != test.want {
				t.Errorf("Refuses = %q, want a reason: %v", got, test.want)
			}
			if got := q.Score(node); test.want && got != 0 {
				t.Errorf("Score = %d of a node that is refused", got)
			}
		})
	}
}

// TestDraftElsewhere follows a draft to a pool that the asking node does not
// reach, where another draft is in the way.
func TestDraftElsewhere(t *testing.T) {
	m, n, o := on("m"), on("n"), on("o")
	l := newLedger(
		pooled("mn", "fast", in(nodeKey, "m", "n"), 10, -1),
		pooled("no", "fast", in(nodeKey, "n", "o"), 10, -1),
	)
	l.Reserve(claim("x", 8), "n", n)
	q := l.Ask([]Claim{claim("a", 8)})
	if got := q.Refuses(m); got != "" {
		t.Errorf("Refuses = %q while the draft can go to the other pool", got)
	}
	l.Reserve(claim("y", 8), "o", o)
	if got := q.Refuses(m); got != "" {
		t.Errorf("Refuses = %q, of a draft made after the question", got)
	}
	const want = `node(s) without enough storage: class "fast" has 10 left, 8 of it promised to other pods, and claim a needs 8`
	if got := l.Ask([]Claim{claim("a", 8)}).Refuses(m); got != want {
		t.Errorf("Refuses = %q while the other pool is taken by another draft, want %q", got, want)
	}
	l.Reserve(claim("a", 8), "o", o)
	if got := l.Ask([]Claim{claim("a", 9)}).Refuses(m); got != want[:len(want)-1]+"9" {
		t.Errorf("Refuses = %q; its own draft on another node takes nothing here", got)
	}
}

// TestDraftsElsewhereOverfull: where a draft is too large for a pool, the
// disorder there is not its concern, nor that of those who compete with it.
func TestDraftsElsewhereOverfull(t *testing.T) {
	l := newLedger(
		pooled("mn", "fast", in(nodeKey, "m", "n"), 10, -1),
		pooled("no", "fast", in(nodeKey, "n", "o"), 5, -1),
	)
	l.Reserve(claim("x", 8), "n", on("n"))
	l.Reserve(claim("y", 3), "o", on("o"))
	l.Reserve(claim("z", 3), "o", on("o"))
	if got := l.Ask([]Claim{claim("a", 2)}).Refuses(on("m")); got != "" {
		t.Errorf("Refuses = %q, want none", got)
	}
}

func ptr[T any](v T) *T { return &v }
