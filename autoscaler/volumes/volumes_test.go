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

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// after is what every claim of these tests waits for.
const after = 5 * time.Minute

// node is one whose hostname is not its name, as on some clouds.
func node(name string) *v1.Node {
	return &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{v1.LabelHostname: name + ".local", v1.LabelTopologyZone: "a"}}}
}

func nodes(names ...string) []*v1.Node {
	all := make([]*v1.Node, len(names))
	for i, name := range names {
		all[i] = node(name)
	}
	return all
}

func in(key string, values ...string) v1.NodeSelectorTerm {
	return v1.NodeSelectorTerm{MatchExpressions: []v1.NodeSelectorRequirement{{Key: key, Operator: v1.NodeSelectorOpIn, Values: values}}}
}

// claim is data-db-0, bound to a local volume in node n1, as changed.
func claim(changes ...func(*Claim)) Claim {
	c := Claim{
		Object: &v1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "data-db-0", UID: "claim"},
			Spec:       v1.PersistentVolumeClaimSpec{VolumeName: "pv"},
		},
		Volume: &v1.PersistentVolume{
			ObjectMeta: metav1.ObjectMeta{Name: "pv"},
			Spec: v1.PersistentVolumeSpec{
				PersistentVolumeSource:        v1.PersistentVolumeSource{Local: &v1.LocalVolumeSource{Path: "/disk"}},
				PersistentVolumeReclaimPolicy: v1.PersistentVolumeReclaimDelete,
				ClaimRef:                      &v1.ObjectReference{Namespace: "prod", Name: "data-db-0", UID: "claim"},
				NodeAffinity:                  &v1.VolumeNodeAffinity{Required: &v1.NodeSelector{NodeSelectorTerms: []v1.NodeSelectorTerm{in(v1.LabelHostname, "n1.local")}}},
			},
		},
		Attached: true, Nodes: []string{"n1"}, After: after, Slots: []string{"ordinal 0 of prod/db"}, Policy: "db",
	}
	for _, change := range changes {
		change(&c)
	}
	return c
}

func affinity(terms ...v1.NodeSelectorTerm) func(*Claim) {
	return func(c *Claim) { c.Volume.Spec.NodeAffinity.Required.NodeSelectorTerms = terms }
}

func unnoted(c *Claim) { c.Nodes = nil }

func source(s v1.PersistentVolumeSource, attached bool) func(*Claim) {
	return func(c *Claim) { c.Volume.Spec.PersistentVolumeSource, c.Attached = s, attached }
}

// long is a history in which the claim has been without its node for as long as it has to.
func long() History {
	return History{GoneSince: map[types.UID]time.Time{"claim": epoch.Add(-after)}}
}

const kept Verdict = -1 // it is not lost

func TestDecide(t *testing.T) {
	csi := v1.PersistentVolumeSource{CSI: &v1.CSIPersistentVolumeSource{Driver: "lvm"}}
	relabelled, bare, renamed := node("n1"), node("n1"), node("n9")
	relabelled.Labels[v1.LabelHostname] = "other"
	bare.Labels = nil
	renamed.Labels = nil
	renamed.Status.Addresses = []v1.NodeAddress{{Type: v1.NodeHostName, Address: "n1.local"}}
	dead := node("n1")
	dead.Status.Conditions = []v1.NodeCondition{{Type: v1.NodeReady, Status: v1.ConditionFalse}}
	others := nodes("n2", "n3", "n4")
	with := func(more ...*v1.Node) []*v1.Node { return append(nodes("n2", "n3", "n4"), more...) }
	tests := map[string]struct {
		claim Claim
		nodes []*v1.Node
		past  History
		want  Verdict
		words []string
	}{
		"its time is over": {claim: claim(), nodes: others, past: long(), want: Release,
			words: []string{`volume "pv" of claim "data-db-0", of ordinal 0 of prod/db, was on node n1, which is gone, since 2025-12-31T23:55:00Z`, "PlacementPolicy db asks for after 5m0s"}},
		"seen for the first time": {claim: claim(), nodes: others, want: Wait,
			words: []string{"node n1", "released at 2026-01-01T00:05:00Z, after 5m0s", "bring the node back or remove home.releaseLostVolumes from PlacementPolicy db"}},
		"a moment too early": {claim: claim(), nodes: others, want: Wait,
			past: History{GoneSince: map[types.UID]time.Time{"claim": epoch.Add(-after + time.Nanosecond)}}},

		"the node is there":                     {claim: claim(), nodes: with(node("n1")), past: long(), want: kept},
		"the node is not ready":                 {claim: claim(), nodes: with(dead), past: long(), want: kept},
		"the node has another hostname label":   {claim: claim(), nodes: with(relabelled), past: long(), want: kept},
		"the node has lost its labels":          {claim: claim(), nodes: with(bare), past: long(), want: kept},
		"nobody noted, and a node has no label": {claim: claim(unnoted), nodes: with(renamed), past: long(), want: kept},
		"it is known by its address":            {claim: claim(), nodes: with(renamed), past: long(), want: kept},
		"it is named like the hostname":         {claim: claim(unnoted), nodes: with(node("n1.local")), past: long(), want: kept},
		"it has the hostname, and lost its zone": {claim: claim(unnoted, affinity(v1.NodeSelectorTerm{MatchExpressions: append(in(v1.LabelHostname, "n1.local").MatchExpressions,
			in(v1.LabelTopologyZone, "z").MatchExpressions...)})), nodes: with(node("n1")), past: long(), want: kept},
		"a node admits the volume": {claim: claim(affinity(v1.NodeSelectorTerm{MatchExpressions: []v1.NodeSelectorRequirement{
			{Key: "disk", Operator: v1.NodeSelectorOpIn, Values: []string{"n1"}}}})), past: long(), want: kept,
			nodes: with(&v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n5", Labels: map[string]string{v1.LabelHostname: "n5", "disk": "n1"}}})},
		"nobody noted, and nobody has the hostname": {claim: claim(unnoted), nodes: others, past: long(), want: Release, words: []string{"node n1.local"}},

		"a volume on the network":             {claim: claim(source(csi, true)), nodes: others, past: long(), want: kept},
		"a driver that attaches nothing":      {claim: claim(source(csi, false)), nodes: others, past: long(), want: Release},
		"a path of the host":                  {claim: claim(source(v1.PersistentVolumeSource{HostPath: &v1.HostPathVolumeSource{}}, true)), nodes: others, past: long(), want: Release},
		"a volume of NFS":                     {claim: claim(source(v1.PersistentVolumeSource{NFS: &v1.NFSVolumeSource{}}, false)), nodes: others, past: long(), want: kept},
		"a zone without nodes":                {claim: claim(affinity(in(v1.LabelTopologyZone, "z"))), nodes: others, past: long(), want: kept},
		"a label whose value is the node":     {claim: claim(affinity(in("topolvm/node", "n1"))), nodes: others, past: long(), want: Release},
		"a label that names who knows what":   {claim: claim(unnoted, affinity(in("topolvm/node", "n1"))), nodes: others, past: long(), want: kept},
		"one of two nodes":                    {claim: claim(affinity(in(v1.LabelHostname, "n1.local", "n8.local"))), nodes: others, past: long(), want: kept},
		"one node or another":                 {claim: claim(affinity(in(v1.LabelHostname, "n1.local"), in(v1.LabelHostname, "n8.local"))), nodes: others, past: long(), want: kept},
		"a node, or a zone":                   {claim: claim(affinity(in(v1.LabelHostname, "n1.local"), in(v1.LabelTopologyZone, "z"))), nodes: others, past: long(), want: kept},
		"no affinity":                         {claim: claim(func(c *Claim) { c.Volume.Spec.NodeAffinity = nil }), nodes: others, past: long(), want: kept},
		"an affinity for the name":            {claim: claim(unnoted, affinity(v1.NodeSelectorTerm{MatchFields: in("metadata.name", "n1").MatchExpressions})), nodes: others, past: long(), want: Release},
		"an affinity for the name of a node":  {claim: claim(unnoted, affinity(v1.NodeSelectorTerm{MatchFields: in("metadata.name", "n2").MatchExpressions})), nodes: others, past: long(), want: kept},
		"an affinity that cannot be read":     {claim: claim(affinity(v1.NodeSelectorTerm{MatchExpressions: append(in(v1.LabelHostname, "n1.local").MatchExpressions, v1.NodeSelectorRequirement{Key: "x", Operator: "Like"})})), nodes: others, past: long(), want: kept},
		"the claim has no volume":             {claim: claim(func(c *Claim) { c.Volume = nil }), nodes: others, past: long(), want: kept},
		"the volume is another claim's":       {claim: claim(func(c *Claim) { c.Volume.Spec.ClaimRef.UID = "older" }), nodes: others, past: long(), want: kept},
		"the claim is on its way out":         {claim: claim(func(c *Claim) { c.Object.DeletionTimestamp = &metav1.Time{Time: epoch} }), nodes: others, past: long(), want: kept},
		"the volume outlives the claim":       {claim: claim(func(c *Claim) { c.Volume.Spec.PersistentVolumeReclaimPolicy = v1.PersistentVolumeReclaimRetain }), nodes: others, past: long(), want: Retained, words: []string{"the reclaim policy Retain keeps the volume"}},
		"a pod of the dead node is not gone":  {claim: claim(func(c *Claim) { c.User = "prod/db-0" }), nodes: others, past: long(), want: InUse, words: []string{"once pod prod/db-0, which uses it, has left"}},
		"in use, and its time is not over":    {claim: claim(func(c *Claim) { c.User = "prod/db-0" }), nodes: others, want: Wait},
		"every node is gone":                  {claim: claim(), past: long(), want: Blocked, words: []string{"no time counts, while no node is known at all"}},
		"half of what the volume tells of":    {claim: claim(), nodes: nodes("n2"), past: long(), want: Blocked, words: []string{"1 of 2 nodes are gone, more than 45%"}},
		"a third of what the volume tells of": {claim: claim(), nodes: nodes("n2", "n3"), past: long(), want: Release},
		"half of what there was a while ago": {claim: claim(), nodes: others, want: Blocked, words: []string{"3 of 6 nodes are gone"},
			past: History{GoneSince: long().GoneSince, Peaks: []Peak{{At: epoch.Add(-peakWindow), Nodes: 6}}}},
		"half of what there was long ago": {claim: claim(), nodes: others, want: Release,
			past: History{GoneSince: long().GoneSince, Peaks: []Peak{{At: epoch.Add(-peakWindow - 1), Nodes: 6}}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d := Decide(Input{Now: epoch, Nodes: tt.nodes, Claims: []Claim{tt.claim}, History: tt.past})
			got, reason := kept, ""
			if len(d.Lost) > 0 {
				got, reason = d.Lost[0].Verdict, d.Lost[0].Reason
			}
			if got != tt.want {
				t.Fatalf("verdict %d, want %d: %s", got, tt.want, reason)
			}
			for _, words := range tt.words {
				if !strings.Contains(reason, words) {
					t.Errorf("the reason does not say %q: %s", words, reason)
				}
			}
			// Only what waits, or is about to go, has a past in the next decision.
			_, counts := d.History.GoneSince["claim"]
			if want := got == Wait || got == InUse || got == Release; counts != want {
				t.Errorf("time counts: %t, want %t", counts, want)
			}
		})
	}
}

func TestEachSlotIsJudgedByItself(t *testing.T) {
	of := func(ordinal int, at string) Claim {
		return claim(affinity(in(v1.LabelHostname, at+".local")), func(c *Claim) {
			c.Object.Name, c.Object.UID = fmt.Sprintf("data-db-%d", ordinal), types.UID(fmt.Sprint(ordinal))
			c.Slots = []string{fmt.Sprint(ordinal)}
			c.Volume.Spec.ClaimRef.UID, c.Nodes = c.Object.UID, []string{at}
		})
	}
	history := History{GoneSince: map[types.UID]time.Time{"2": epoch.Add(-after), "gone": epoch.Add(-time.Hour)}}
	d := Decide(Input{Now: epoch, Nodes: nodes("n0", "n3", "n4", "n5"), History: history, Claims: []Claim{of(2, "n2"), of(0, "n0"), of(1, "n1")}})
	var got []string
	for _, lost := range d.Lost {
		got = append(got, fmt.Sprint(lost.Object.Name, " ", lost.Verdict))
	}
	if diff := cmp.Diff([]string{"data-db-1 0", "data-db-2 5"}, got); diff != "" {
		t.Errorf("verdicts (-want +got):\n%s", diff)
	}
	want := map[types.UID]time.Time{"1": epoch, "2": epoch.Add(-after)}
	if diff := cmp.Diff(want, d.History.GoneSince); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
}

func TestPeaks(t *testing.T) {
	var h History
	for i, step := range []struct {
		minute, nodes int
		want          []int
	}{
		{0, 5, []int{5}}, {1, 9, []int{9}}, {2, 4, []int{9, 4}}, {3, 6, []int{9, 6}},
		{16, 6, []int{9, 6}}, {17, 3, []int{6, 3}}, {31, 3, []int{6, 3}}, {32, 2, []int{3, 2}}, {90, 1, []int{1}},
	} {
		h.Peaks = h.peaks(epoch.Add(time.Duration(step.minute)*time.Minute), step.nodes)
		var got []int
		for _, peak := range h.Peaks {
			got = append(got, peak.Nodes)
		}
		if diff := cmp.Diff(step.want, got); diff != "" {
			t.Errorf("step %d: peaks (-want +got):\n%s", i, diff)
		}
	}
}
