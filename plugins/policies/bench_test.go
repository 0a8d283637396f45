// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package policies

import (
	"fmt"
	"testing"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
)

// BenchmarkSlotOf is what every pod that no StatefulSet owns pays.
func BenchmarkSlotOf(b *testing.B) {
	labels := map[string]string{"app": "kafka", "pod-template-hash": "5d"}
	elsewhere := forPods("k", 1, labels, v1alpha1.OrdinalSource{NamePattern: "kafka-([0-9]+)"})
	elsewhere.Namespace = "test"
	many := make([]*v1alpha1.PlacementPolicy, 20)
	for i := range many {
		many[i] = forPods(fmt.Sprint(i), 1, map[string]string{"app": fmt.Sprint(i)}, v1alpha1.OrdinalSource{Label: "i"})
	}
	for name, book := range map[string]*Book{
		"no policy":       bookOf(),
		"other namespace": bookOf(elsewhere),
		"other labels":    bookOf(many...),
		"found":           bookOf(forPods("k", 1, map[string]string{"app": "kafka"}, v1alpha1.OrdinalSource{NamePattern: "kafka-([0-9]+)"})),
	} {
		b.Run(name, func(b *testing.B) {
			p := pod("kafka-7", labels)
			b.ReportAllocs()
			for b.Loop() {
				book.SlotOf(p)
			}
		})
	}
}

// BenchmarkOfSet is what a look at the policy of a set costs.
func BenchmarkOfSet(b *testing.B) {
	set := statefulSet("prod", "db", map[string]string{"app": "db"})
	book := bookOf(forSet("p", "db", 2), forLabels("q", 1, map[string]string{"app": "web"}))
	b.ReportAllocs()
	for b.Loop() {
		book.OfSet(set)
	}
}
