// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package reach

import (
	"fmt"
	"testing"

	v1 "k8s.io/api/core/v1"
)

const manyNodes = 5000

// cluster is 5,000 nodes in 3 zones, labelled as a cloud does.
func cluster() *Index {
	x := NewIndex()
	for i := range manyNodes {
		x.SetNode(fmt.Sprint("node-", i), member(i))
	}
	return x
}

func member(i int, more ...string) *v1.Node {
	return labelled(append([]string{
		v1.LabelHostname, fmt.Sprint("node-", i), v1.LabelTopologyZone, fmt.Sprint("zone-", i%3), v1.LabelTopologyRegion, "region",
		v1.LabelOSStable, "linux", v1.LabelArchStable, "amd64", v1.LabelInstanceTypeStable, "large", "berth.dev/node-group", "db",
	}, more...)...)
}

func local(i int) *v1.PersistentVolume {
	return persistentVolume(fmt.Sprint("local-", i), at(v1.LabelHostname, fmt.Sprint("node-", i%manyNodes)))
}

func BenchmarkNodes(b *testing.B) {
	for name, pv := range map[string]*v1.PersistentVolume{
		"zonal": persistentVolume("zonal", at(v1.LabelTopologyZone, "zone-1")),
		"local": local(1),
	} {
		b.Run(name, func(b *testing.B) {
			x := cluster()
			b.ReportAllocs()
			for b.Loop() {
				x.Nodes(x.Volume(pv))
			}
		})
	}
}

// BenchmarkJoint is a pod with two volumes, one of a zone and one of a node.
func BenchmarkJoint(b *testing.B) {
	x := cluster()
	volumes := []*Volume{x.Volume(persistentVolume("zonal", at(v1.LabelTopologyZone, "zone-1"))), x.Volume(local(1))}
	b.ReportAllocs()
	for b.Loop() {
		x.Joint(volumes)
	}
}

func BenchmarkReachedFrom(b *testing.B) {
	v := NewIndex().Volume(persistentVolume("zonal", at(v1.LabelTopologyZone, "zone-1")))
	labels := member(1).Labels
	b.ReportAllocs()
	for b.Loop() {
		v.ReachedFrom(labels)
	}
}

// BenchmarkRelabel is one node of 5,000 that gets another label, with 10,000
// local volumes and one per zone known and their sets standing: a label that
// matters to nobody, then the hostname of two volumes, asked for again.
func BenchmarkRelabel(b *testing.B) {
	x := cluster()
	for i := range 2 * manyNodes {
		x.Nodes(x.Volume(local(i)))
	}
	for z := range 3 {
		x.Nodes(x.Volume(persistentVolume(fmt.Sprint("zonal-", z), at(v1.LabelTopologyZone, fmt.Sprint("zone-", z)))))
	}
	v := x.Volume(local(7))
	b.Run("other", func(b *testing.B) {
		nodes := []*v1.Node{member(7, "other", "a"), member(7, "other", "b")}
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			x.SetNode("node-7", nodes[i%2])
			x.Nodes(v)
		}
	})
	b.Run("hostname", func(b *testing.B) {
		nodes := []*v1.Node{member(7), member(7, v1.LabelHostname, "renamed")}
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			x.SetNode("node-7", nodes[i%2])
			x.Nodes(v)
		}
	})
}

// BenchmarkFirstAsk is what a set costs after a node entered or left it: from
// the nodes of one label value, or, loose, from all.
func BenchmarkFirstAsk(b *testing.B) {
	for name, affinity := range map[string]*v1.VolumeNodeAffinity{
		"zonal": at(v1.LabelTopologyZone, "zone-1"),
		"local": at(v1.LabelHostname, "node-1"),
		"loose": required(v1.NodeSelectorTerm{MatchExpressions: []v1.NodeSelectorRequirement{{Key: v1.LabelTopologyZone, Operator: v1.NodeSelectorOpNotIn, Values: []string{"zone-1", "zone-2"}}}}),
	} {
		b.Run(name, func(b *testing.B) {
			x := cluster()
			v := x.Volume(persistentVolume("pv", affinity))
			b.ReportAllocs()
			for b.Loop() {
				x.drop(v)
				x.Nodes(v)
			}
		})
	}
}

// BenchmarkNewVolume is a volume read for the first time.
func BenchmarkNewVolume(b *testing.B) {
	x := cluster()
	x.Volume(local(0))
	pv := local(1)
	b.ReportAllocs()
	for b.Loop() {
		x.Volume(pv)
		x.ForgetVolume(pv.Name)
	}
}
