// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/berth-dev/berth/test/demo/story"
	"github.com/berth-dev/berth/test/fixture"
)

// comeBack: a set grows, shrinks and grows again. Two ordinals fill a node, so
// nodes must come, and they must come where the ordinals belong.
func (d *demo) comeBack() story.Step {
	return story.Step{
		Title: "db 5→9→4→9: zones stay level, ordinals come back to their volumes",
		Expected: "9 ordinals run in zones a b c a b c a b c, with a new node in each zone, for none has room for 3,\n" +
			"asked for at once: one boot, not three;\n" +
			"at 4 they are in a b c a, and all 9 claims stay;\n" +
			"back at 9 every ordinal has the volume it had, in its zone",
		Play: func(ctx context.Context, p *story.Progress) (story.Happening, error) {
			begin := time.Now()
			grown, err := d.scaleDB(ctx, p, 9)
			took, note := time.Since(begin), ""
			if err == nil {
				note, err = d.atOnce(begin)
			}
			if err != nil {
				return story.Happening{Table: where(grown)}, err
			}
			notes := []string{fmt.Sprintf("5→9: %s, after %s", letters(grown), seconds(took)), note}
			shrunk, err := d.scaleDB(ctx, p, 4)
			if err == nil {
				err = sameVolumes(grown, shrunk)
			}
			if err != nil {
				return story.Happening{Notes: notes, Table: where(shrunk)}, err
			}
			notes = append(notes, fmt.Sprintf("9→4: %s, and %d claims", letters(shrunk), len(homes(shrunk))))
			back, err := d.scaleDB(ctx, p, 9)
			if err == nil {
				err = sameVolumes(grown, back)
			}
			if err == nil {
				notes = append(notes, fmt.Sprintf("4→9: %s, every ordinal with the volume it had", letters(back)))
			}
			return story.Happening{Notes: notes, Table: where(back)}, err
		},
	}
}

func (d *demo) scaleDB(ctx context.Context, p *story.Progress, replicas int) (fixture.Table, error) {
	if err := d.Scale(ctx, d.namespace, "StatefulSet", db, int32(replicas)); err != nil {
		return nil, err
	}
	return d.dbSettles(ctx, p, replicas)
}

// atOnce fails where the zones did not get one node each since then, or where
// one was asked for when another had booted already: the set makes its pods one
// by one, and must not pay a boot for each.
func (d *demo) atOnce(begin time.Time) (note string, err error) {
	added, ready := d.journal.since(begin, nodeAdded, ""), d.journal.since(begin, nodeReady, "")
	zones := map[string]int{}
	for _, node := range d.added() {
		if slices.ContainsFunc(added, func(e entry) bool { return e.name == node.Name }) {
			zones[node.Labels[corev1.LabelTopologyZone]]++
		}
	}
	return abreast(begin, added, ready, zones, d.zones)
}

func abreast(begin time.Time, added, ready []entry, in map[string]int, zones []string) (note string, err error) {
	for _, zone := range zones {
		if in[zone] != 1 {
			return "", &story.Unexpected{Expected: "one new node in each zone", Actual: fmt.Sprint(in)}
		}
	}
	first, last := span(added)
	if booted, _ := span(ready); booted.Before(last) {
		return "", &story.Unexpected{
			Expected: "all nodes asked for before the first of them has booted",
			Actual:   fmt.Sprintf("the last was asked for %s after the first", seconds(last.Sub(first))),
		}
	}
	return fmt.Sprintf("the nodes were asked for %s to %s after the scale, though the set makes one pod at a time",
		seconds(first.Sub(begin)), seconds(last.Sub(begin))), nil
}

// sameVolumes fails where a claim went, came, or has another volume.
func sameVolumes(before, after fixture.Table) error {
	if maps.Equal(homes(before), homes(after)) {
		return nil
	}
	return &story.Unexpected{Expected: "every ordinal's claim and its volume stay as they were\n" + before.String(), Actual: "\n" + after.String()}
}
