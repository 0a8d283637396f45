// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/berth-dev/berth/test/demo/story"
	"github.com/berth-dev/berth/test/fixture"
)

// restart: each ordinal of a set leaves its node in turn, and everybody else
// waits for just the room that it leaves.
func (d *demo) restart() story.Step {
	return story.Step{
		Title: fmt.Sprintf("a rolling restart of db, while %d other pods wait for room", waiting),
		Expected: "every ordinal comes back to the node it had, and none of the pods that wait gets its room:\n" +
			"they have db's size, priority and scheduler, and every node is full;\n" +
			"they want one of the first 6 nodes, so that none is added for them",
		Play: func(ctx context.Context, p *story.Progress) (story.Happening, error) {
			begin := time.Now()
			before, err := d.crowd(ctx, p)
			if err != nil {
				return story.Happening{}, err
			}
			restarted := time.Now()
			if err := d.restartDB(ctx); err != nil {
				return story.Happening{}, err
			}
			absences, err := d.dbReturns(ctx, p, before, restarted)
			_, refused := d.rivals()
			stolen, kept := d.thefts(restarted), d.journal.since(restarted, podKeptOut, d.namespace+"/"+rival)
			happening := story.Happening{Table: awayTable(absences), Notes: []string{
				fmt.Sprintf("%d pods wait; %d of them were told meanwhile that a node keeps its room for db", refused, subjects(kept)),
				fmt.Sprintf("rooms stolen: %d", len(stolen)),
			}}
			if err == nil {
				err = noneAdded(d.journal.since(begin, nodeAdded, ""))
			}
			if err == nil {
				err = d.disperse(ctx, p)
			}
			return happening, err
		},
	}
}

// restartDB does what kubectl rollout restart does.
func (d *demo) restartDB(ctx context.Context) error {
	patch := fmt.Appendf(nil, `{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":%q}}}}}`, time.Now().Format(time.RFC3339))
	_, err := d.Kube.AppsV1().StatefulSets(d.namespace).Patch(ctx, db, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
	return err
}

// dbReturns waits until every ordinal was away and runs again, and fails as
// soon as one is elsewhere, or somebody else is in its room.
func (d *demo) dbReturns(ctx context.Context, p *story.Progress, before fixture.Table, since time.Time) (absences []absence, err error) {
	name := d.namespace + "/" + db + "-"
	err = d.until(ctx, p, "every ordinal of db was away, and runs again", func(ctx context.Context) (string, bool, error) {
		table, err := d.Table(ctx, d.namespace, db)
		if err != nil {
			return "", false, err
		}
		absences = away(before, name, d.journal.since(since, podLeaves, name), d.journal.since(since, podGone, name), d.journal.since(since, podBound, name))
		back := returned(absences)
		state := fmt.Sprintf("db: %d of %d were away and are back, %d ready", back, len(before), table.Running())
		return state, back == len(before) && settled(table, len(before)), undisturbed(absences, d.thefts(since), since)
	})
	return absences, err
}

// thefts are the rivals that got a node since then. All room but that of db's
// absent ordinals was taken.
func (d *demo) thefts(since time.Time) []entry {
	return d.journal.since(since, podBound, d.namespace+"/"+rival)
}

// absence is what became of an ordinal; what did not happen yet has no time.
type absence struct {
	ordinal             int
	zone, from, to      string
	leaves, gone, bound time.Time
}

// away finds the absence of each ordinal in what happened to pods with that prefix.
func away(before fixture.Table, prefix string, leaves, gone, bound []entry) []absence {
	absences := make([]absence, 0, len(before))
	for _, row := range before {
		first := func(entries []entry) (e entry) {
			if i := slices.IndexFunc(entries, func(e entry) bool { return e.name == fmt.Sprint(prefix, row.Ordinal) }); i >= 0 {
				e = entries[i]
			}
			return e
		}
		next := first(bound)
		absences = append(absences, absence{
			ordinal: row.Ordinal, zone: row.Zone, from: row.Node, to: next.node,
			leaves: first(leaves).at, gone: first(gone).at, bound: next.at,
		})
	}
	return absences
}

// returned counts the ordinals that were away and are back.
func returned(absences []absence) int {
	n := 0
	for _, a := range absences {
		if !a.gone.IsZero() && !a.bound.IsZero() {
			n++
		}
	}
	return n
}

// undisturbed fails where an ordinal is back elsewhere, or its room was stolen.
func undisturbed(absences []absence, thefts []entry, since time.Time) error {
	if len(thefts) > 0 {
		return &story.Unexpected{
			Expected: "no other pod gets room while db is restarted",
			Actual:   fmt.Sprintf("%s got some on node %s, %s after the restart began", thefts[0].name, thefts[0].node, seconds(thefts[0].at.Sub(since))),
		}
	}
	for _, a := range absences {
		if a.to != "" && a.to != a.from {
			return &story.Unexpected{Expected: fmt.Sprintf("ordinal %d comes back to node %s", a.ordinal, a.from), Actual: "it came to node " + a.to}
		}
	}
	return nil
}

func noneAdded(added []entry) error {
	if len(added) == 0 {
		return nil
	}
	return &story.Unexpected{Expected: "no node is added, for none would help", Actual: fmt.Sprintf("%d were, the first is %s", len(added), added[0].name)}
}

// subjects counts the objects that the entries are about.
func subjects(entries []entry) int {
	seen := map[string]bool{}
	for _, e := range entries {
		seen[e.name] = true
	}
	return len(seen)
}

// awayTable shows how long each ordinal was away: the last one first, as the
// set restarts them.
func awayTable(absences []absence) [][]string {
	rows := [][]string{{"ordinal", "zone", "was on", "is back on", "away", "its room was empty"}}
	for _, a := range slices.Backward(absences) {
		rows = append(rows, []string{fmt.Sprint(a.ordinal), orDash(a.zone), orDash(a.from), orDash(a.to), between(a.leaves, a.bound), between(a.gone, a.bound)})
	}
	return rows
}

// between is a time that may be a few milliseconds only, or not known.
func between(from, to time.Time) string {
	if from.IsZero() || to.IsZero() {
		return "-"
	}
	return fmt.Sprintf("%.2fs", to.Sub(from).Seconds())
}
