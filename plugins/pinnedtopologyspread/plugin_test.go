// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package pinnedtopologyspread

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/podtopologyspread"
	"k8s.io/utils/ptr"
)

const (
	noSpread = "Unschedulable: " + podtopologyspread.ErrReasonConstraintsNotMatch
	noLabel  = "UnschedulableAndUnresolvable: " + podtopologyspread.ErrReasonNodeLabelNotMatch
	noReach  = "UnschedulableAndUnresolvable: node(s) didn't match PersistentVolume's node affinity"
)

// Two zones, three members of the set in a and none in b, and the volume of the
// next one in a: its own constraint sends it to b, its volume to a.
func TestDeadlock(t *testing.T) {
	cluster := objects(set(), bound("data", zone, "a"),
		in("a", "a1"), in("a", "a2"), in("a", "a3"), in("b", "b1"),
		on("a1", "db-0"), on("a1", "db-1"), on("a2", "db-2"))
	both := map[string]string{zone: "a"}
	tests := map[string]struct {
		args        string
		constraints []v1.TopologySpreadConstraint
		pinned      map[string]string
		stock, ours map[string]string
	}{
		"own constraint on the zone": {
			constraints: []v1.TopologySpreadConstraint{hard(zone)}, pinned: both,
			stock: map[string]string{"a1": noSpread, "a2": noSpread, "a3": noSpread, "b1": noReach},
			ours:  map[string]string{"b1": noReach},
		},
		"other constraints hold": {
			constraints: []v1.TopologySpreadConstraint{hard(zone), hard(host)}, pinned: both,
			stock: map[string]string{"a1": noSpread, "a2": noSpread, "a3": noSpread, "b1": noReach},
			ours:  map[string]string{"a1": noSpread, "a2": noSpread, "b1": noReach},
		},
		"more domains asked for than there are": {
			constraints: []v1.TopologySpreadConstraint{func() v1.TopologySpreadConstraint {
				c := hard(zone)
				c.MaxSkew, c.MinDomains = 3, ptr.To[int32](3)
				return c
			}()}, pinned: both,
			stock: map[string]string{"a1": noSpread, "a2": noSpread, "a3": noSpread, "b1": noReach},
			ours:  map[string]string{"b1": noReach},
		},
		"constraint of the args": {
			args:   `{"defaultingType": "List", "defaultConstraints": [{"topologyKey": "topology.kubernetes.io/zone", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}]}`,
			pinned: both,
			stock:  map[string]string{"a1": noSpread, "a2": noSpread, "a3": noSpread, "b1": noReach},
			ours:   map[string]string{"b1": noReach},
		},
		"other constraints of the args hold": {
			args: `{"defaultingType": "List", "defaultConstraints": [{"topologyKey": "topology.kubernetes.io/zone", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"},
				{"topologyKey": "kubernetes.io/hostname", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}]}`,
			pinned: both,
			stock:  map[string]string{"a1": noSpread, "a2": noSpread, "a3": noSpread, "b1": noReach},
			ours:   map[string]string{"a1": noSpread, "a2": noSpread, "b1": noReach},
		},
		"no constraint of the args in place of a relaxed one": {
			args:        `{"defaultingType": "List", "defaultConstraints": [{"topologyKey": "kubernetes.io/hostname", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}]}`,
			constraints: []v1.TopologySpreadConstraint{hard(zone)}, pinned: both,
			stock: map[string]string{"a1": noSpread, "a2": noSpread, "a3": noSpread, "b1": noReach},
			ours:  map[string]string{"b1": noReach},
		},
		"not pinned": {
			constraints: []v1.TopologySpreadConstraint{hard(zone)},
			stock:       map[string]string{"a1": noSpread, "a2": noSpread, "a3": noSpread, "b1": noReach},
			ours:        map[string]string{"a1": noSpread, "a2": noSpread, "a3": noSpread, "b1": noReach},
		},
		"pinned in another key": {
			constraints: []v1.TopologySpreadConstraint{hard(zone)}, pinned: map[string]string{rack: "r1"},
			stock: map[string]string{"a1": noSpread, "a2": noSpread, "a3": noSpread, "b1": noReach},
			ours:  map[string]string{"a1": noSpread, "a2": noSpread, "a3": noSpread, "b1": noReach},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			pod := spreading(member("db-3").PVC("data").Obj(), tt.constraints...)
			before := pod.DeepCopy()
			for plugin, want := range map[string]map[string]string{podtopologyspread.Name: tt.stock, Name: tt.ours} {
				p := &pins{domains: tt.pinned}
				profile := build(t, plugin, tt.args, p, cluster...)
				got := profile.try(t, pod)
				if got.PreFilter != "" {
					t.Fatalf("%s: PreFilter refused: %s", plugin, got.PreFilter)
				}
				if diff := cmp.Diff(want, got.Refused); diff != "" {
					t.Errorf("%s: nodes refused (-want +got):\n%s", plugin, diff)
				}
				p.domains = map[string]string{host: "a1"}
				if diff := cmp.Diff(tt.stock, profile.try(t, pod).Refused); diff != "" {
					t.Errorf("%s: nodes refused to the next pod, which is pinned in another key (-want +got):\n%s", plugin, diff)
				}
			}
			if diff := cmp.Diff(before, pod); diff != "" {
				t.Errorf("the pod was changed (-before +after):\n%s", diff)
			}
		})
	}
}

// A node without the key of a relaxed constraint is no new empty domain for
// the constraints that are left: it would refuse the pod everywhere.
func TestRelaxedKeyStaysRequired(t *testing.T) {
	p := build(t, Name, "", &pins{domains: map[string]string{zone: "a"}}, objects(
		in("a", "a1"), in("b", "b1"), node("x1", map[string]string{host: "x1"}),
		on("a1", "db-0"), on("b1", "db-1"))...)
	got := p.try(t, spreading(member("db-2").Obj(), hard(zone), hard(host)))
	if diff := cmp.Diff(map[string]string{"x1": noLabel}, got.Refused); diff != "" {
		t.Errorf("nodes refused (-want +got):\n%s", diff)
	}
}

func TestScore(t *testing.T) {
	// Ten members crowd zone a, all but one of them on a1.
	crowd := objects(set(), in("a", "a1"), in("a", "a2"), on("a2", "db-9"))
	for _, name := range strings.Fields("db-0 db-1 db-2 db-3 db-4 db-5 db-6 db-7 db-8") {
		crowd = append(crowd, on("a1", name))
	}
	list := `{"defaultingType": "List", "defaultConstraints": [{"topologyKey": "topology.kubernetes.io/zone", "maxSkew": 1, "whenUnsatisfiable": "ScheduleAnyway"}%s]}`
	zoneOnly := strings.ReplaceAll(list, "%s", "")
	zoneAndHost := strings.ReplaceAll(list, "%s", `, {"topologyKey": "kubernetes.io/hostname", "maxSkew": 1, "whenUnsatisfiable": "ScheduleAnyway"}`)
	tests := map[string]struct {
		args    string
		pins    pins
		own     []v1.TopologySpreadConstraint
		skipped bool
		like    []v1.TopologySpreadConstraint // scores are upstream's for these
	}{
		"only a pinned key":                    {own: []v1.TopologySpreadConstraint{soft(zone)}, pins: pins{domains: map[string]string{zone: "a"}}, skipped: true},
		"a pinned key among others":            {own: []v1.TopologySpreadConstraint{soft(zone), soft(host)}, pins: pins{domains: map[string]string{zone: "a"}}, like: []v1.TopologySpreadConstraint{soft(host)}},
		"nothing pinned":                       {own: []v1.TopologySpreadConstraint{soft(zone), soft(host)}, like: []v1.TopologySpreadConstraint{soft(zone), soft(host)}},
		"only a pinned key of the args":        {args: zoneOnly, pins: pins{domains: map[string]string{zone: "a"}}, skipped: true},
		"a pinned key of the args":             {args: zoneAndHost, pins: pins{domains: map[string]string{zone: "a"}}, like: []v1.TopologySpreadConstraint{soft(host)}},
		"system defaults":                      {like: nil},
		"system defaults of a pinned pod":      {pins: pins{domains: map[string]string{zone: "a"}}, like: nil},
		"system defaults of a planned slot":    {pins: pins{planned: true}, skipped: true},
		"own constraint of a planned slot":     {pins: pins{planned: true}, own: []v1.TopologySpreadConstraint{soft(host)}, like: []v1.TopologySpreadConstraint{soft(host)}},
		"constraint of the args, planned slot": {args: zoneAndHost, pins: pins{planned: true}, like: []v1.TopologySpreadConstraint{soft(zone), soft(host)}},
		"hard constraints are no score":        {own: []v1.TopologySpreadConstraint{spread(zone, v1.DoNotSchedule, 20)}, pins: pins{domains: map[string]string{zone: "a"}}, skipped: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := build(t, Name, tt.args, &tt.pins, crowd...).try(t, spreading(member("db-10").Obj(), tt.own...))
			if got.NoScore != tt.skipped {
				t.Fatalf("scoring skipped: %v, want %v", got.NoScore, tt.skipped)
			}
			if tt.skipped {
				return
			}
			want := build(t, podtopologyspread.Name, "", nil, crowd...).try(t, spreading(member("db-10").Obj(), tt.like...))
			if diff := cmp.Diff(want.Scores, got.Scores); diff != "" || len(got.Scores) != 2 {
				t.Errorf("scores (-want +got):\n%s", diff)
			}
		})
	}
}

// Where nothing is pinned nothing is copied.
func TestSamePod(t *testing.T) {
	tests := map[string]struct {
		pins Pins
		pod  *v1.Pod
	}{
		"no constraints":         {&pins{domains: map[string]string{zone: "a"}}, member("db-0").Obj()},
		"no volumes":             {&pins{}, spreading(member("db-0").Obj(), hard(zone), soft(host))},
		"pinned in another key":  {&pins{domains: map[string]string{rack: "r1"}}, spreading(member("db-0").Obj(), hard(zone), soft(host))},
		"pinned, another action": {&pins{domains: map[string]string{zone: "a"}}, spreading(member("db-0").Obj(), soft(zone), hard(host))},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			pl := &PinnedTopologySpread{upstream: &upstream{}, pins: tt.pins}
			var err error
			if pl.args, err = decode(nil); err != nil {
				t.Fatal(err)
			}
			inner, view, err := pl.view(t.Context(), tt.pod, v1.DoNotSchedule, relax)
			if err != nil || inner != pl.upstream || view != tt.pod {
				t.Errorf("got plugin %p and pod %p (error %v), want %p and %p", inner, view, err, pl.upstream, tt.pod)
			}
		})
	}
}

// The wrapper overrides what reads the pod's constraints or tells the plugin's
// name. A method that upstream gains is to be looked at before it is let
// through; one that the wrapper lacks would drop an extension point.
func TestMethods(t *testing.T) {
	methods := func(of reflect.Type) map[string]reflect.Type {
		found := map[string]reflect.Type{}
		for method := range of.Methods() {
			var in, out []reflect.Type
			for i := 1; i < method.Type.NumIn(); i++ {
				in = append(in, method.Type.In(i))
			}
			for i := range method.Type.NumOut() {
				out = append(out, method.Type.Out(i))
			}
			found[method.Name] = reflect.FuncOf(in, out, false)
		}
		return found
	}
	theirs, ours := methods(reflect.TypeFor[*upstream]()), methods(reflect.TypeFor[*PinnedTopologySpread]())
	known := strings.Fields("AddPod EventsToRegister Filter Name NormalizeScore PreFilter PreFilterExtensions PreScore RemovePod Score ScoreExtensions SignPod")
	if diff := cmp.Diff(known, slices.Sorted(maps.Keys(theirs))); diff != "" {
		t.Errorf("upstream's methods (-known +found):\n%s", diff)
	}
	for name, signature := range theirs {
		if ours[name] != signature {
			t.Errorf("%s is %v, upstream's is %v", name, ours[name], signature)
		}
	}
}

func TestEvents(t *testing.T) {
	events := func(plugin string) (found []string) {
		t.Helper()
		for _, extension := range build(t, plugin, "", &pins{}).EnqueueExtensions() {
			if extension.Name() != plugin {
				continue
			}
			registered, err := extension.EventsToRegister(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, event := range registered {
				if event.QueueingHintFn == nil {
					t.Errorf("%s: event %s has no hint", plugin, event.Event.Label())
				}
				found = append(found, event.Event.Label())
			}
		}
		return found
	}
	want := append(events(podtopologyspread.Name),
		(&fwk.ClusterEvent{Resource: fwk.PersistentVolumeClaim, ActionType: fwk.Add | fwk.Update}).Label(),
		(&fwk.ClusterEvent{Resource: fwk.PersistentVolume, ActionType: fwk.Add | fwk.Update}).Label())
	if diff := cmp.Diff(want, events(Name)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}
