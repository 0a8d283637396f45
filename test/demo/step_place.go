// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/berth-dev/berth/test/demo/story"
	"github.com/berth-dev/berth/test/fixture"
)

// place: a set with zonal claims starts beside a stateless application.
func (d *demo) place() story.Step {
	return story.Step{
		Title:    "db 0→5: every ordinal has its zone",
		Expected: "ordinals 0 to 4 run in zones a b c a b, each beside its new volume;\nweb's 3 replicas, a node each, are there already and are left alone",
		Play: func(ctx context.Context, p *story.Progress) (story.Happening, error) {
			if err := d.begin(ctx, p); err != nil {
				return story.Happening{}, err
			}
			workload := d.app.db(atFirst)
			if err := d.Create(ctx, d.namespace, workload.Service(), workload.StatefulSet()); err != nil {
				return story.Happening{}, err
			}
			table, err := d.dbSettles(ctx, p, atFirst)
			return story.Happening{Table: where(table)}, err
		},
	}
}

// dbSettles waits until exactly that many ordinals of db run, and fails as
// soon as one is not at home.
func (d *demo) dbSettles(ctx context.Context, p *story.Progress, replicas int) (table fixture.Table, err error) {
	expected := fmt.Sprintf("%d ordinals of db run, each beside its volume", replicas)
	err = d.until(ctx, p, expected, func(ctx context.Context) (string, bool, error) {
		seen, err := d.Table(ctx, d.namespace, db)
		if err != nil {
			return "", false, err
		}
		table = seen
		state := fmt.Sprintf("db: %d wanted, %d ready, in %s", replicas, table.Running(), letters(table))
		return state, settled(table, replicas), inZones(table, d.zones)
	})
	return table, err
}

// letters is the zone of each ordinal with a pod, in order: "a b c a b".
func letters(table fixture.Table) string { return strings.ReplaceAll(table.Zones(), "zone-", "") }
