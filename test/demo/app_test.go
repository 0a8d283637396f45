// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/berth-dev/berth/test/demo/story"
	"github.com/berth-dev/berth/test/fixture"
)

func node(name, zone, cpu string, change ...func(*corev1.Node)) *corev1.Node {
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelTopologyZone: zone}},
		Status: corev1.NodeStatus{
			Allocatable: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)},
			Conditions:  []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
		},
	}
	for _, c := range change {
		c(n)
	}
	return n
}

func TestFit(t *testing.T) {
	good := []*corev1.Node{
		node("1", "c", "4"), node("2", "a", "4"), node("3", "b", "4"),
		node("4", "b", "4"), node("5", "c", "4"), node("6", "a", "4"),
	}
	for name, tc := range map[string]struct {
		nodes []*corev1.Node
		zones []string
		unfit bool
	}{
		"two in each zone":      {nodes: good, zones: []string{"a", "b", "c"}},
		"none":                  {unfit: true},
		"one zone short":        {nodes: []*corev1.Node{good[1], good[5], good[2], good[3]}, unfit: true},
		"one too many":          {nodes: append(slices.Clone(good), node("7", "a", "4")), unfit: true},
		"one of another size":   {nodes: append(slices.Clone(good[:5]), node("6", "a", "8")), unfit: true},
		"one that is not ready": {nodes: append(slices.Clone(good[:5]), node("6", "a", "4", func(n *corev1.Node) { n.Status.Conditions = nil })), unfit: true},
		"one of a node group":   {nodes: append(slices.Clone(good[:5]), node("6", "a", "4", func(n *corev1.Node) { n.Labels[groupLabel] = "a" })), unfit: true},
	} {
		t.Run(name, func(t *testing.T) {
			zones, app, err := fit(tc.nodes)
			if errors.Is(err, errUnfit) != tc.unfit || (err != nil) != tc.unfit {
				t.Fatalf("error %v, want unfit: %t", err, tc.unfit)
			}
			if diff := cmp.Diff(tc.zones, zones); diff != "" {
				t.Errorf("zones (-want +got):\n%s", diff)
			}
			if err == nil && app.nodeCPU != 4000 {
				t.Errorf("node cpu %dm, want 4000m", app.nodeCPU)
			}
		})
	}
}

func TestAppFillsNodes(t *testing.T) {
	a := app{nodeCPU: 4000}
	cpu := func(p corev1.PodTemplateSpec) int64 {
		return p.Spec.Containers[0].Resources.Requests.Cpu().MilliValue()
	}
	got := map[string]int64{
		"web": cpu(a.webDeployment().Spec.Template),
		"db":  cpu(a.db(5).StatefulSet().Spec.Template),
		// What waits for the room of an ordinal of db fits there, and no two fit.
		"rival": cpu(a.rivals().Spec.Template),
		// 9 replicas at 50 % of 4 cpu each, three times what 3 carry at 50 %.
		"high load": a.load(3*few, aim),
		"low load":  a.load(few, everyday),
	}
	want := map[string]int64{"web": 4000, "db": 2000, "rival": 2000, "high load": 18000, "low load": 4800}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("milli-cpu (-want +got):\n%s", diff)
	}
}

func row(ordinal int, zone, volumeZone string) fixture.Row {
	r := fixture.Row{Ordinal: ordinal, Zone: zone, VolumeZone: volumeZone, Ready: zone != ""}
	if zone != "" {
		r.Node = "node-" + zone
	}
	if volumeZone != "" {
		r.Volume = "pv-" + volumeZone
	}
	return r
}

func TestInZones(t *testing.T) {
	for name, tc := range map[string]struct {
		table fixture.Table
		wrong bool
	}{
		"at home":            {table: fixture.Table{row(0, "a", "a"), row(1, "b", "b"), row(2, "c", "c"), row(3, "a", "a")}},
		"not there yet":      {table: fixture.Table{row(0, "", ""), row(1, "", "b"), row(2, "c", "")}},
		"a pod elsewhere":    {table: fixture.Table{row(0, "b", "")}, wrong: true},
		"a volume elsewhere": {table: fixture.Table{row(1, "", "a")}, wrong: true},
		"a later ordinal":    {table: fixture.Table{row(0, "a", "a"), row(4, "a", "a")}, wrong: true},
	} {
		t.Run(name, func(t *testing.T) {
			err := inZones(tc.table, []string{"a", "b", "c"})
			var unexpected *story.Unexpected
			if errors.As(err, &unexpected) != tc.wrong {
				t.Errorf("error %v, want unexpected: %t", err, tc.wrong)
			}
		})
	}
}

func TestSettled(t *testing.T) {
	unready := row(1, "b", "b")
	unready.Ready = false
	ending := row(2, "c", "c")
	ending.Ready = false
	for name, tc := range map[string]struct {
		table fixture.Table
		want  bool
	}{
		"both run":            {table: fixture.Table{row(0, "a", "a"), row(1, "b", "b")}, want: true},
		"claims of more stay": {table: fixture.Table{row(0, "a", "a"), row(1, "b", "b"), row(2, "", "c")}, want: true},
		"one too few":         {table: fixture.Table{row(0, "a", "a"), row(1, "", "b")}},
		"one too many":        {table: fixture.Table{row(0, "a", "a"), row(1, "b", "b"), row(2, "c", "c")}},
		"one is still ending": {table: fixture.Table{row(0, "a", "a"), row(1, "b", "b"), ending}},
		"one not ready":       {table: fixture.Table{row(0, "a", "a"), unready}},
		"a volume missing":    {table: fixture.Table{row(0, "a", "a"), row(1, "b", "")}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := settled(tc.table, 2); got != tc.want {
				t.Errorf("settled %t, want %t", got, tc.want)
			}
		})
	}
}
