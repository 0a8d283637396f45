// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/berth-dev/berth/test/demo/story"
	"github.com/berth-dev/berth/test/fixture"
)

// stabilize is the window of web's autoscaler for falling loads.
const stabilize = 15 * time.Second

// atLeast so many nodes are empty once web is back: of the nodes that it filled,
// few were there before, and few of all of them are kept.
const atLeast = many - 2*few

// fall: what came with the load goes with it, and db does not notice.
func (d *demo) fall() story.Step {
	return story.Step{
		Title: "the load falls: replicas go, then nodes, and db stays",
		Expected: "web goes back to 3 replicas, and every added node that is empty then, 3 at least, is removed;\n" +
			"db's 9 ordinals stay beside their volumes: no zone that holds one loses its last node",
		Play: func(ctx context.Context, p *story.Progress) (story.Happening, error) {
			before, err := d.Table(ctx, d.namespace, db)
			if err != nil {
				return story.Happening{}, err
			}
			nodes := len(d.added())
			begin := time.Now()
			d.load.Set(d.app.load(few, everyday))
			var table fixture.Table
			err = d.until(ctx, p, "3 replicas of web run, and the added nodes that were left empty are gone", func(ctx context.Context) (string, bool, error) {
				seen, err := d.Table(ctx, d.namespace, db)
				if err != nil {
					return "", false, err
				}
				table = seen
				running, total := d.webPods()
				left := d.added()
				idle := empty(left, d.everywhere())
				state := fmt.Sprintf("web: %d of %d run; %d added nodes left, %d of them empty; db: %d ready",
					running, total, len(left), len(idle), table.Running())
				done := running == few && total == few && len(idle) == 0 && nodes-len(left) >= atLeast
				return state, done, unmoved(before, table)
			})
			gone := d.journal.since(begin, nodeGone, "")
			notes := []string{fmt.Sprintf("%d of %d added nodes went; left by zone: %s", len(gone), nodes, d.byZone())}
			if scales := d.journal.since(begin, scaled, d.namespace+"/"+web); len(scales) > 0 && len(gone) > 0 {
				_, last := span(gone)
				notes = append(notes, fmt.Sprintf("web was scaled down %s after the load fell (stabilization %s), the last node went %s later",
					seconds(scales[0].at.Sub(begin)), stabilize, seconds(last.Sub(scales[0].at))))
			}
			return story.Happening{Notes: notes, Table: d.zonesTable(table)}, err
		},
	}
}

// empty returns the nodes that run nothing.
func empty(nodes []*corev1.Node, pods []*corev1.Pod) []*corev1.Node {
	on := podsOn(pods)
	return slices.DeleteFunc(slices.Clone(nodes), func(n *corev1.Node) bool { return on[n.Name] > 0 })
}

// unmoved fails where an ordinal is not where it was, beside its volume.
func unmoved(before, after fixture.Table) error {
	if !slices.Equal(before, after) {
		return &story.Unexpected{
			Expected: "db stays as it was\n" + before.String(),
			Actual:   "\n" + after.String(),
		}
	}
	return nil
}

// zonesTable shows for each zone the nodes that are left and the ordinals and volumes there.
func (d *demo) zonesTable(table fixture.Table) [][]string {
	rows := [][]string{{"zone", "nodes", "of them added", "ordinals of db", "volumes"}}
	for _, zone := range d.zones {
		in := func(n *corev1.Node) bool { return n.Labels[corev1.LabelTopologyZone] == zone }
		ordinals, volumes := "", 0
		for _, row := range table {
			if row.Ready && row.Zone == zone {
				ordinals += fmt.Sprintf("%d ", row.Ordinal)
			}
			if row.VolumeZone == zone {
				volumes++
			}
		}
		rows = append(rows, []string{zone, fmt.Sprint(count(d.present(), in)), fmt.Sprint(count(d.added(), in)), ordinals, fmt.Sprint(volumes)})
	}
	return rows
}
