// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"fmt"
	"math/rand"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/berth-dev/berth/test/cluster/layout"
)

const gi = 1 << 30

// pooled is a volume of so many GiB in the pool of node n.
func pooled(name string, size int) *corev1.PersistentVolume {
	c := claim(name)
	c.Spec.Resources.Requests[corev1.ResourceStorage] = resource.MustParse(fmt.Sprintf("%dGi", size))
	return Volume(name, class(PooledDriver), c, "host-n")
}

// withPool gives node n a pool.
func withPool(n *corev1.Node, size string) *corev1.Node {
	n.Annotations = map[string]string{layout.AnnotationStoragePool: size}
	n.Labels[PooledTopologyKey] = "host-" + n.Name
	return n
}

func TestPoolSize(t *testing.T) {
	for text, want := range map[string]int64{"100Gi": 100 * gi, "0": 0} {
		if size, ok, err := poolSize(withPool(node("n", "zone-a"), text)); size != want || !ok || err != nil {
			t.Errorf("%s: got %d, %t, %v, want %d bytes", text, size, ok, err, want)
		}
	}
	for _, text := range []string{"", "100 GiB", "-1Gi"} {
		if _, _, err := poolSize(withPool(node("n", "zone-a"), text)); err == nil {
			t.Errorf("%q is taken for a size", text)
		}
	}
	if _, ok, err := poolSize(node("n", "zone-a")); ok || err != nil {
		t.Errorf("a node without the annotation: got %t, %v, want no pool", ok, err)
	}
}

func TestTakeRoom(t *testing.T) {
	p := newPools()
	if left, ok := p.take("host-n", "a", 60*gi, 100*gi); !ok || left != 40*gi {
		t.Errorf("60 of 100 GiB: got %d left, %t", left, ok)
	}
	if left, ok := p.take("host-n", "b", 60*gi, 100*gi); ok || left != 40*gi {
		t.Errorf("60 more: got %d left, %t, want a refusal that says 40 GiB", left, ok)
	}
	if _, ok := p.take("host-n", "a", 60*gi, 100*gi); !ok {
		t.Error("what was granted once is refused")
	}
	if _, ok := p.take("host-m", "b", 60*gi, 100*gi); !ok {
		t.Error("the other pool is empty")
	}
	if free := p.free("host-n", 50*gi); free != 0 {
		t.Errorf("a pool that shrank below what it holds has %d free", free)
	}
	p.put(pooled("a", 60)) // there is an object for it now
	p.put(pooled("c", 30))
	if free := p.free("host-n", 100*gi); free != 10*gi {
		t.Errorf("%d free, want 10 GiB: a volume counts once", free)
	}
	p.release(pooled("a", 60))
	if free := p.free("host-n", 100*gi); free != 70*gi {
		t.Errorf("%d free, want 70 GiB", free)
	}
	other := pooled("other", 70)
	other.Spec.CSI.Driver = ZonalDriver
	p.put(other)
	if free := p.free("host-n", 100*gi); free != 70*gi {
		t.Errorf("%d free: a volume of another driver is not in the pool", free)
	}
}

// TestPoolIsNeverOverfull: whatever comes and goes, what was granted fits.
func TestPoolIsNeverOverfull(t *testing.T) {
	const size = 100
	random := rand.New(rand.NewSource(1))
	p, granted := newPools(), map[string]int{}
	for range 5000 {
		name, ask := fmt.Sprint("v", random.Intn(12)), 1+random.Intn(40)
		if random.Intn(3) == 0 {
			p.release(pooled(name, ask))
			delete(granted, name)
		} else if _, ok := p.take("host-n", name, int64(ask)*gi, size*gi); ok {
			if _, had := granted[name]; !had {
				granted[name] = ask
			}
		} else if sum(granted)+ask <= size {
			t.Fatalf("%d refused beside %v", ask, granted)
		}
		if all := sum(granted); all > size || p.free("host-n", size*gi) != int64(size-all)*gi {
			t.Fatalf("%d bytes free beside %v", p.free("host-n", size*gi), granted)
		}
	}
}

func sum(granted map[string]int) (all int) {
	for _, size := range granted {
		all += size
	}
	return all
}
