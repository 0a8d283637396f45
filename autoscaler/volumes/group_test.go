// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package volumes

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// named is a claim like data-db-0, with a volume of its own.
func named(name string, changes ...func(*Claim)) Claim {
	return claim(append([]func(*Claim){func(c *Claim) {
		c.Object.Name, c.Object.UID, c.Object.Spec.VolumeName = name, types.UID(name), "pv-"+name
		c.Volume.Name, c.Volume.Spec.ClaimRef.UID = "pv-"+name, c.Object.UID
	}}, changes...)...)
}

func retain(c *Claim) { c.Volume.Spec.PersistentVolumeReclaimPolicy = v1.PersistentVolumeReclaimRetain }

func used(c *Claim) { c.User = "prod/db-0" }

func fixed(c *Claim) { c.Fixed = true }

func of(slots ...string) func(*Claim) {
	return func(c *Claim) { c.Slots = slots }
}

func zonal(zone string) func(*Claim) {
	return func(c *Claim) {
		source(v1.PersistentVolumeSource{CSI: &v1.CSIPersistentVolumeSource{}}, true)(c)
		affinity(in(v1.LabelTopologyZone, zone))(c)
	}
}

func inNode(name string) func(*Claim) {
	return func(c *Claim) {
		affinity(in(v1.LabelHostname, name+".local"))(c)
		c.Nodes = []string{name}
	}
}

// All but the claims named "new" have been lost for as long as they have to.
func TestTheClaimsOfASlotStayOrGoTogether(t *testing.T) {
	bare := &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n7"}}
	tests := map[string]struct {
		claims []Claim
		nodes  []*v1.Node // besides n2, n3 and n4
		want   map[string]Verdict
		// said of the claim wal; times are those that count afterwards.
		said  []string
		times int
	}{
		"all are lost": {claims: []Claim{named("data"), named("wal")}, want: map[string]Verdict{"data": Release, "wal": Release},
			said: []string{`released together with claim "data", as`}, times: 2},
		"one is retained": {claims: []Claim{named("data", retain), named("wal")}, want: map[string]Verdict{"data": Retained, "wal": Held},
			said: []string{`while claim "data" of the same slot is not: the reclaim policy Retain`}},
		"one is in use": {claims: []Claim{named("data", used), named("wal")}, want: map[string]Verdict{"data": InUse, "wal": Held},
			said: []string{`once pod prod/db-0, which uses claim "data" of the same slot`}, times: 2},
		"one was lost just now": {claims: []Claim{named("new"), named("wal")}, want: map[string]Verdict{"new": Wait, "wal": Wait},
			said: []string{`released at 2026-01-01T00:05:00Z, after 5m0s together with claim "new"`}, times: 2},
		"the last was lost just now": {claims: []Claim{named("data"), named("new")}, want: map[string]Verdict{"data": Wait, "new": Wait}, times: 2},
		"one waits longer": {claims: []Claim{named("data", func(c *Claim) { c.After += time.Second }), named("wal")}, want: map[string]Verdict{"data": Wait, "wal": Wait},
			said: []string{"released at 2026-01-01T00:00:01Z"}, times: 2},
		"they were in two nodes": {claims: []Claim{named("data", inNode("n8")), named("wal")}, want: map[string]Verdict{"data": Release, "wal": Release}, times: 2},
		"one was in another node, and is retained": {claims: []Claim{named("data", inNode("n8"), retain), named("wal")},
			want: map[string]Verdict{"data": Retained, "wal": Held}},

		"one is on the network, and a node reaches it": {claims: []Claim{named("data", zonal("a")), named("wal")}, want: map[string]Verdict{"wal": Release},
			said: []string{`without data, beside what is kept: claim "data"`}, times: 1},
		"one is wherever a node is": {claims: []Claim{named("data", zonal("a"), func(c *Claim) { c.Volume.Spec.NodeAffinity = nil }), named("wal")},
			want: map[string]Verdict{"wal": Release}, times: 1},
		"one is kept, and time is not over": {claims: []Claim{named("data", zonal("a")), named("new")}, want: map[string]Verdict{"new": Wait}, times: 1},
		"one is in a zone without nodes": {claims: []Claim{named("data", zonal("z")), named("wal")}, want: map[string]Verdict{"wal": Held},
			said: []string{`claim "data"`, `no node that is there is known to reach its volume "pv-data"`}},
		"one was made anew in another node": {claims: []Claim{named("data", inNode("n2")), named("wal")}, want: map[string]Verdict{"wal": Release},
			said: []string{`beside what is kept: claim "data"`}, times: 1},
		"a nameless node may be that of one": {claims: []Claim{named("data", unnoted), named("wal")}, nodes: []*v1.Node{bare}, want: map[string]Verdict{"wal": Held}},
		"one has a volume nobody knows":      {claims: []Claim{named("data", func(c *Claim) { c.Volume = nil }), named("wal")}, want: map[string]Verdict{"wal": Held}},
		"one has a volume of another claim": {claims: []Claim{named("data", zonal("a"), func(c *Claim) { c.Volume.Spec.ClaimRef.UID = "older" }), named("wal")},
			want: map[string]Verdict{"wal": Held}},
		"nobody would make one anew":                        {claims: []Claim{named("data", fixed), named("wal")}, want: map[string]Verdict{"wal": Held}},
		"nobody would make one anew, and a node reaches it": {claims: []Claim{named("data", zonal("a"), fixed), named("wal")}, want: map[string]Verdict{"wal": Release}, times: 1},

		"one is on its way out": {claims: []Claim{named("data", retain, func(c *Claim) { c.Object.DeletionTimestamp = &metav1.Time{Time: epoch} }), named("wal")},
			want: map[string]Verdict{"wal": Release}, times: 1},
		"one has no volume yet": {claims: []Claim{named("data", func(c *Claim) { c.Object.Spec.VolumeName, c.Volume = "", nil }), named("wal")},
			want: map[string]Verdict{"wal": Release}, times: 1},

		"another slot's is retained": {claims: []Claim{named("data", retain, of("1")), named("wal")}, want: map[string]Verdict{"data": Retained, "wal": Release}, times: 1},
		"a shared one joins two slots": {claims: []Claim{named("data", retain, of("1")), named("shared", of("1", "0")), named("wal", of("0"))},
			want: map[string]Verdict{"data": Retained, "shared": Held, "wal": Held}},
		"a shared one that stays joins none": {claims: []Claim{named("data", retain, of("1")), named("shared", zonal("a"), of("0", "1")), named("wal", of("0"))},
			want: map[string]Verdict{"data": Retained, "wal": Release}, times: 1},
		"many": {claims: []Claim{named("a"), named("b"), named("c"), named("d"), named("wal")}, times: 5,
			want: map[string]Verdict{"a": Release, "b": Release, "c": Release, "d": Release, "wal": Release}, said: []string{`claim "a", "b", "c" and 1 more, as`}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			input := Input{Now: epoch, Nodes: append(nodes("n2", "n3", "n4"), tt.nodes...), Claims: tt.claims, History: History{GoneSince: map[types.UID]time.Time{}}}
			for _, c := range tt.claims {
				if c.Object.Name != "new" {
					input.History.GoneSince[c.Object.UID] = epoch.Add(-after)
				}
			}
			d := Decide(input)
			got, reason := map[string]Verdict{}, ""
			for _, lost := range d.Lost {
				got[lost.Object.Name] = lost.Verdict
				if lost.Object.Name == "wal" {
					reason = lost.Reason
				}
				if (lost.Verdict == Held) != (lost.Holder != "") {
					t.Errorf("claim %s has verdict %d and holder %q", lost.Object.Name, lost.Verdict, lost.Holder)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("verdicts (-want +got):\n%s", diff)
			}
			for _, words := range tt.said {
				if !strings.Contains(reason, words) {
					t.Errorf("the reason does not say %q: %s", words, reason)
				}
			}
			if len(d.History.GoneSince) != tt.times {
				t.Errorf("time counts for %v, want %d claims", d.History.GoneSince, tt.times)
			}
		})
	}
}

// The data of db-0 is retained. It is given up by hand: the log of it is not
// released before people were told of a time, and could bring the node back.
func TestTheStoryOfAPair(t *testing.T) {
	data, wal := named("data", retain), named("wal")
	var history History
	var got []string
	for minute := range 20 {
		claims := []Claim{data, wal}
		if minute >= 10 {
			claims = claims[1:]
		}
		d := Decide(Input{Now: epoch.Add(time.Duration(minute) * time.Minute), Nodes: nodes("n2", "n3", "n4"), Claims: claims, History: history})
		history = d.History
		last := d.Lost[len(d.Lost)-1]
		if told := fmt.Sprint(last.Object.Name, " ", last.Verdict); len(got) == 0 || !strings.HasSuffix(got[len(got)-1], told) {
			got = append(got, fmt.Sprint(minute, " ", told))
		}
	}
	if diff := cmp.Diff([]string{"0 wal 4", "10 wal 0", "15 wal 5"}, got); diff != "" {
		t.Errorf("verdicts by minute (-want +got):\n%s", diff)
	}
}
