// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/test/fixture"
)

// abcabc are the zones of nine ordinals in three zones; each prefix is balanced.
const abcabc = "zone-a zone-b zone-c zone-a zone-b zone-c zone-a zone-b zone-c"

// first is the zones of the first n ordinals.
func first(n int) string { return abcabc[:7*n-1] }

func TestZonalSet(t *testing.T) {
	t.Parallel()
	db := fixture.Workload{Name: "db", Replicas: 6, CPU: "100m", Claims: []fixture.Claim{{Name: "data", Class: "zonal"}}}
	var six map[int]string // the volume of each ordinal
	scaled := func(replicas int32) features.Func {
		return step(func(ctx context.Context, t *testing.T, s scene) {
			begin := time.Now()
			s.scale(ctx, t, "StatefulSet", db.Name, replicas)
			table := s.awaitZones(ctx, t, db.Name, int(replicas))
			t.Logf("acceptance: %d ordinals %s after the scale", replicas, time.Since(begin).Round(100*time.Millisecond))
			kept := volumes(table)
			maps.DeleteFunc(kept, func(ordinal int, _ string) bool { return ordinal >= 6 })
			if diff := cmp.Diff(six, kept); diff != "" {
				t.Errorf("volumes of the first six (-want +got):\n%s", diff)
			}
		})
	}
	testenv.Test(t, features.New("a set with zonal claims").
		Assess("six ordinals land a b c a b c", step(func(ctx context.Context, t *testing.T, s scene) {
			begin := time.Now()
			s.create(ctx, t, db.Service(), db.StatefulSet())
			six = volumes(s.awaitZones(ctx, t, db.Name, 6))
			t.Logf("acceptance: a set of 6 with zonal claims ran after %s", time.Since(begin).Round(100*time.Millisecond))
		})).
		Assess("four stay balanced, and six volumes stay", scaled(4)).
		Assess("nine are in the zones of their volumes, six of them the old ones", scaled(9)).
		Feature())
}

// volumes is the volume of each ordinal, with or without a pod.
func volumes(table fixture.Table) map[int]string {
	names := map[int]string{}
	for _, row := range table {
		names[row.Ordinal] = row.Volume
	}
	return names
}

// awaitZones waits for a set of that size and demands that it is spread in turn.
func (s scene) awaitZones(ctx context.Context, t *testing.T, set string, replicas int) fixture.Table {
	t.Helper()
	return s.awaitPlaces(ctx, t, set, first(replicas))
}

// awaitPlaces waits until as many ordinals run as zones are named, and demands
// that each is in its zone, with its volume.
func (s scene) awaitPlaces(ctx context.Context, t *testing.T, set, zones string) fixture.Table {
	t.Helper()
	table := s.awaitSet(ctx, t, set, len(strings.Fields(zones)))
	if diff := cmp.Diff(zones, table.Zones()); diff != "" {
		t.Errorf("zones of %s (-want +got):\n%s", set, diff)
	}
	for _, row := range table {
		if row.Node != "" && row.Volume != "" && row.Zone != row.VolumeZone {
			t.Errorf("ordinal %d of %s runs in %s, its volume is in %s", row.Ordinal, set, row.Zone, row.VolumeZone)
		}
	}
	return table
}

func TestLocalSet(t *testing.T) {
	t.Parallel()
	queue := fixture.Workload{Name: "queue", Replicas: 3, CPU: "100m", Claims: []fixture.Claim{{Name: "data", Class: "local"}}}
	var before fixture.Table
	testenv.Test(t, features.New("a set with local claims").
		Assess("three ordinals land a b c", step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, queue.Service(), queue.StatefulSet())
			before = s.awaitSet(ctx, t, queue.Name, 3)
			if diff := cmp.Diff(first(3), before.Zones()); diff != "" {
				t.Errorf("zones (-want +got):\n%s", diff)
			}
		})).
		Assess("a deleted pod returns to the node of its volume", step(func(ctx context.Context, t *testing.T, s scene) {
			for _, pod := range []string{"queue-1", "queue-0", "queue-2"} {
				s.deletePod(ctx, t, pod)
				after := s.awaitSet(ctx, t, queue.Name, 3)
				if diff := cmp.Diff(before, after); diff != "" {
					t.Errorf("after %s was deleted (-want +got):\n%s", pod, diff)
				}
			}
		})).
		Feature())
}

// deletePod deletes a pod and waits until it is gone, though another one may have its name.
func (s scene) deletePod(ctx context.Context, t *testing.T, name string) {
	t.Helper()
	pods := s.Kube.CoreV1().Pods(s.Namespace)
	old, err := pods.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := pods.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	s.until(ctx, t, "the end of pod "+name, func(ctx context.Context) (string, bool, error) {
		list, err := pods.List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
		if err != nil {
			return "", false, err
		}
		for _, pod := range list.Items {
			if pod.UID == old.UID {
				return "still there", false, nil
			}
		}
		return "", true, nil
	})
}
