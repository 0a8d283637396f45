// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func node(name, zone string) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name:   name,
			UID:    "uid-of-the-node",
			Labels: map[string]string{"type": "kwok", corev1.LabelHostname: "host-" + name, corev1.LabelTopologyZone: zone},
		},
		Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}},
	}
}

func claim(name string) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		},
	}
}

func class(driver string) *storagev1.StorageClass {
	return &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "class"}, Provisioner: driver}
}

func TestVolumeIsWhereItsNodeIs(t *testing.T) {
	for driver, want := range map[string]corev1.NodeSelectorRequirement{
		ZonalDriver:  {Key: corev1.LabelTopologyZone, Operator: corev1.NodeSelectorOpIn, Values: []string{"zone-b"}},
		LocalDriver:  {Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{"host-n"}},
		PooledDriver: {Key: PooledTopologyKey, Operator: corev1.NodeSelectorOpIn, Values: []string{"pool-of-n"}},
	} {
		t.Run(driver, func(t *testing.T) {
			n := node("n", "zone-b")
			n.Labels[PooledTopologyKey] = "pool-of-n"
			place, err := Place(driver, n)
			if err != nil {
				t.Fatal(err)
			}
			raw := claim("data")
			raw.Spec.VolumeMode = new(corev1.PersistentVolumeBlock)
			volume := Volume("pvc-1", class(driver), raw, place)
			terms := volume.Spec.NodeAffinity.Required.NodeSelectorTerms
			if diff := cmp.Diff([]corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{want}}}, terms); diff != "" {
				t.Errorf("node affinity (-want +got):\n%s", diff)
			}
			if volume.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimDelete {
				t.Errorf("reclaim policy %s, want Delete where the class is silent", volume.Spec.PersistentVolumeReclaimPolicy)
			}
			if mode := volume.Spec.VolumeMode; mode == nil || *mode != corev1.PersistentVolumeBlock {
				t.Errorf("mode %v, want the raw device that the claim asks for", mode)
			}
			if size := volume.Spec.Capacity[corev1.ResourceStorage]; size.String() != "1Gi" {
				t.Errorf("size %s, want what the claim asks for", size.String())
			}
		})
	}
}

func TestPlaceNeedsTheLabel(t *testing.T) {
	for driver, key := range map[string]string{ZonalDriver: corev1.LabelTopologyZone, LocalDriver: corev1.LabelHostname, PooledDriver: PooledTopologyKey} {
		n := node("n", "zone-a")
		delete(n.Labels, key)
		if _, err := Place(driver, n); err == nil || !strings.Contains(err.Error(), key) || !strings.Contains(err.Error(), "node n ") {
			t.Errorf("%s: got %v, want an error that names the node and the label %s", driver, err, key)
		}
	}
}

func TestAnyPlace(t *testing.T) {
	nodes := []corev1.Node{*node("1", "zone-a"), *node("2", "zone-b"), *node("3", "zone-b"), {}}
	restricted := class(ZonalDriver)
	restricted.AllowedTopologies = []corev1.TopologySelectorTerm{{MatchLabelExpressions: []corev1.TopologySelectorLabelRequirement{{Key: corev1.LabelTopologyZone, Values: []string{"zone-z"}}}}}
	before := ""
	for i := range 100 {
		c := claim(fmt.Sprint("data-db-", i))
		zone, err := AnyPlace(class(ZonalDriver), c, nodes)
		if err != nil {
			t.Fatal(err)
		}
		if zone == before || zone != "zone-a" && zone != "zone-b" {
			t.Errorf("claim %s is in %s after %s, want the zones in turn", c.Name, zone, before)
		}
		before = zone
		if again, _ := AnyPlace(class(ZonalDriver), c, []corev1.Node{nodes[2], nodes[1], nodes[0]}); again != zone {
			t.Errorf("claim %s is in %s, and in %s when the nodes come in another order", c.Name, zone, again)
		}
		if zone, err := AnyPlace(restricted, c, nodes); zone != "zone-z" {
			t.Errorf("got %s, %v, want the one zone that the class allows", zone, err)
		}
	}
	seen := map[string]int{}
	for i := range 100 {
		zone, err := AnyPlace(class(ZonalDriver), claim(fmt.Sprint("data-db", i)), nodes)
		if err != nil {
			t.Fatal(err)
		}
		seen[zone]++
	}
	if len(seen) != 2 || seen["zone-a"] < 20 || seen["zone-b"] < 20 {
		t.Errorf("100 claims without an ordinal are spread %v, want both zones used", seen)
	}
	if _, err := AnyPlace(class(ZonalDriver), claim("data"), nil); err == nil {
		t.Error("without nodes there is no zone")
	}
	for _, driver := range []string{LocalDriver, PooledDriver} {
		if _, err := AnyPlace(class(driver), claim("data"), nodes); err == nil || !strings.Contains(err.Error(), "WaitForFirstConsumer") {
			t.Errorf("%s before its pod: got %v, want the remedy", driver, err)
		}
	}
}

func TestSplitOrdinal(t *testing.T) {
	for claim, want := range map[string]struct {
		name    string
		ordinal uint64
	}{
		"data-db-12":                      {"data-db", 12},
		"data":                            {"data", 0},
		"data-db":                         {"data-db", 0},
		"data-":                           {"data-", 0},
		"data-99999999999999999999999999": {"data-99999999999999999999999999", 0},
	} {
		if name, ordinal := splitOrdinal(claim); name != want.name || ordinal != want.ordinal {
			t.Errorf("%s: got %s and %d, want %s and %d", claim, name, ordinal, want.name, want.ordinal)
		}
	}
}

func TestUniqueName(t *testing.T) {
	zonal := Volume("pvc-1", class(ZonalDriver), claim("data"), "zone-a")
	if name, ok := uniqueName(zonal); !ok || name != "kubernetes.io/csi/zonal.berth.test^pvc-1" {
		t.Errorf("got %s, %t", name, ok)
	}
	if _, ok := uniqueName(Volume("pvc-2", class(LocalDriver), claim("data"), "host")); ok {
		t.Error("a local volume is not attached")
	}
	if _, ok := uniqueName(&corev1.PersistentVolume{}); ok {
		t.Error("a volume of another kind is not ours to attach")
	}
}
