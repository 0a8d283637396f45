// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package reach

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestIndexAgreesWithUpstream plays random sequences of nodes and volumes that
// come, change and go, and asks upstream's check on every node after each step.
func TestIndexAgreesWithUpstream(t *testing.T) {
	for seed := range uint64(100) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			w := newWorld(t, randomDice{rand.New(rand.NewPCG(seed, 4))})
			for range 60 {
				w.step()
			}
			w.end()
		})
	}
}

// FuzzReach decodes bytes into nodes and affinities, and compares the sets
// with upstream's check on every node.
func FuzzReach(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 4))
	for size := 32; size <= 1024; size *= 2 {
		data := make([]byte, size)
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d := &bytesDice{data: data[:min(len(data), 4096)]}
		w := newWorld(t, d)
		for len(d.data) > 0 {
			w.step()
		}
		w.end()
	})
}

func TestWhere(t *testing.T) {
	in := func(key string, values ...string) v1.NodeSelectorRequirement {
		return v1.NodeSelectorRequirement{Key: key, Operator: v1.NodeSelectorOpIn, Values: values}
	}
	term := func(requirements ...v1.NodeSelectorRequirement) v1.NodeSelectorTerm {
		return v1.NodeSelectorTerm{MatchExpressions: requirements}
	}
	for name, tt := range map[string]struct {
		affinity *v1.VolumeNodeAffinity
		same     *v1.VolumeNodeAffinity // written otherwise
		want     string
	}{
		"none":         {affinity: nil, same: &v1.VolumeNodeAffinity{}, want: "any place"},
		"no term":      {affinity: required(), same: required(v1.NodeSelectorTerm{}), want: "no place"},
		"one value":    {affinity: required(term(in(v1.LabelTopologyZone, "a"))), same: required(term(in(v1.LabelTopologyZone, "a"), in(v1.LabelTopologyZone, "a"))), want: "topology.kubernetes.io/zone=a"},
		"two values":   {affinity: required(term(in("zone", "b", "a"))), same: required(term(in("zone", "a", "b"))), want: "zone In (a,b)"},
		"two labels":   {affinity: required(term(in("zone", "a"), in("disk", "ssd"))), same: required(term(in("disk", "ssd"), in("zone", "a"))), want: "disk=ssd and zone=a"},
		"two terms":    {affinity: required(term(in("zone", "b")), term(in("zone", "a"))), same: required(term(in("zone", "a")), term(), term(in("zone", "b"))), want: "zone=a or zone=b"},
		"no values":    {affinity: required(term(v1.NodeSelectorRequirement{Key: "disk", Operator: v1.NodeSelectorOpExists})), want: "disk Exists"},
		"number":       {affinity: required(term(v1.NodeSelectorRequirement{Key: "gen", Operator: v1.NodeSelectorOpGt, Values: []string{"5"}})), want: "gen Gt (5)"},
		"two numbers":  {affinity: required(term(v1.NodeSelectorRequirement{Key: "gen", Operator: v1.NodeSelectorOpGt, Values: []string{"5", "5"}})), want: "gen Gt (5,5)"},
		"odd value":    {affinity: required(term(in("zone", "a,b"))), want: `zone="a,b"`},
		"empty value":  {affinity: required(term(in("zone", ""))), want: `zone=""`},
		"odd operator": {affinity: required(term(v1.NodeSelectorRequirement{Key: "zone", Operator: "and"})), want: `zone "and"`},
		"field":        {affinity: required(v1.NodeSelectorTerm{MatchFields: []v1.NodeSelectorRequirement{in("metadata.name", "n1")}}), want: "field metadata.name=n1"},
	} {
		t.Run(name, func(t *testing.T) {
			x := NewIndex()
			v := x.Volume(persistentVolume("pv", tt.affinity))
			if got := v.Where(); got != tt.want {
				t.Errorf("Where() = %s, want %s", got, tt.want)
			}
			if tt.same != nil && x.Volume(persistentVolume("other", tt.same)) != v {
				t.Errorf("the same affinity written otherwise is another volume, %s", x.Volume(persistentVolume("other", tt.same)).Where())
			}
		})
	}
}

// TestHostname: a hostname label is a label like any other.
func TestHostname(t *testing.T) {
	x := NewIndex()
	x.SetNode("one", labelled(v1.LabelHostname, "two"))
	x.SetNode("two", labelled(v1.LabelHostname, "one"))
	v := x.Volume(persistentVolume("pv", at(v1.LabelHostname, "one")))
	if got := x.Nodes(v); got.Len() != 1 || !got.Has("two") {
		t.Errorf("Nodes() = %v, want two, which has the label", got.Shared())
	}
}

// TestMostSelectiveLabel: a set is gathered where the fewest nodes are, so that
// nodes elsewhere in the zone of a local volume do not even ask about it.
func TestMostSelectiveLabel(t *testing.T) {
	for name, affinity := range map[string]*v1.VolumeNodeAffinity{
		"zone first": required(v1.NodeSelectorTerm{MatchExpressions: slices.Concat(expressions("zone", "a"), expressions("host", "n1"))}),
		"host first": required(v1.NodeSelectorTerm{MatchExpressions: slices.Concat(expressions("host", "n1"), expressions("zone", "a"))}),
	} {
		t.Run(name, func(t *testing.T) {
			x := NewIndex()
			for i := range 3 {
				x.SetNode(fmt.Sprint("n", i), labelled("zone", "a", "host", fmt.Sprint("n", i)))
			}
			v := x.Volume(persistentVolume("pv", affinity))
			x.Nodes(v)
			if len(v.places) != 1 || v.places[0] != x.keys["host"].places["n1"] {
				t.Errorf("the set is gathered at %v, want the one place host=n1", v.places)
			}
		})
	}
}

func TestMissing(t *testing.T) {
	x := NewIndex()
	x.SetNode("n1", labelled("zone", "a"))
	gap := func(key, value string, found bool) Gap {
		return Gap{NodeSelectorRequirement: v1.NodeSelectorRequirement{Key: key, Operator: v1.NodeSelectorOpIn, Values: []string{value}}, KeyFound: found}
	}
	for name, tt := range map[string]struct {
		affinity *v1.VolumeNodeAffinity
		want     []Gap
		text     string
	}{
		"reached":             {affinity: at("zone", "a")},
		"a place without one": {affinity: at("zone", "b"), want: []Gap{gap("zone", "b", true)}, text: "zone=b"},
		"a label nobody has":  {affinity: at("host", "n9"), want: []Gap{gap("host", "n9", false)}, text: "host=n9"},
	} {
		t.Run(name, func(t *testing.T) {
			got := x.Missing(x.Volume(persistentVolume(name, tt.affinity)))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Fatalf("Missing() (-want +got):\n%s", diff)
			}
			if len(got) > 0 && got[0].String() != tt.text {
				t.Errorf("Gap is %s, want %s", got[0], tt.text)
			}
		})
	}
}

func TestJoint(t *testing.T) {
	x := NewIndex()
	for i := range 4 * JointLimit {
		x.SetNode(fmt.Sprint("n", i), labelled("host", fmt.Sprint(i), "zone", fmt.Sprint(i%2), "half", fmt.Sprint(i/(2*JointLimit)), "third", fmt.Sprint(i%3)))
	}
	volume := func(key, value string) *Volume { return x.Volume(persistentVolume(key+value, at(key, value))) }
	host, zone, half := volume("host", "4"), volume("zone", "0"), volume("half", "0")
	for name, tt := range map[string]struct {
		volumes []*Volume
		want    int // -1 if not known
		itself  *Volume
	}{
		"none":                     {volumes: nil, want: 4 * JointLimit, itself: nil},
		"one, large":               {volumes: []*Volume{zone}, want: 2 * JointLimit, itself: zone},
		"one affinity twice":       {volumes: []*Volume{zone, nil, zone}, want: 2 * JointLimit, itself: zone},
		"one node, in the zone":    {volumes: []*Volume{zone, host}, want: 1, itself: host},
		"one node, elsewhere":      {volumes: []*Volume{host, volume("zone", "1")}, want: 0},
		"large, just few enough":   {volumes: []*Volume{zone, half}, want: JointLimit},
		"large, and apart":         {volumes: []*Volume{zone, volume("zone", "1")}, want: 0},
		"large, and too many left": {volumes: []*Volume{half, x.Volume(persistentVolume("pv", required(at("third", "0").Required.NodeSelectorTerms[0], at("third", "1").Required.NodeSelectorTerms[0])))}, want: -1},
	} {
		t.Run(name, func(t *testing.T) {
			got, known := x.Joint(tt.volumes)
			if known != (tt.want >= 0) || known && got.Len() != tt.want {
				t.Fatalf("Joint() = %d nodes, known %v; want %d", got.Len(), known, tt.want)
			}
			if (tt.itself != nil || tt.volumes == nil) && !same(got, x.Nodes(tt.itself)) {
				t.Errorf("Joint() is a copy of the set of %s", tt.itself.Where())
			}
			if got.Shared() == nil {
				t.Error("Shared() is nil, which the framework takes for all nodes")
			}
		})
	}
}

// TestNothingIsAllocated: asks about what stands are free.
func TestNothingIsAllocated(t *testing.T) {
	x := NewIndex()
	labels := labelled("zone", "a", "host", "n1")
	x.SetNode("n1", labels)
	zonal, local := persistentVolume("zonal", at("zone", "a")), persistentVolume("local", at("host", "n1"))
	volumes := []*Volume{x.Volume(zonal), x.Volume(local)}
	for name, ask := range map[string]func(){
		"SetNode":     func() { x.SetNode("n1", labels) },
		"Volume":      func() { x.Volume(zonal) },
		"Nodes":       func() { x.Nodes(volumes[0]) },
		"Joint":       func() { x.Joint(volumes) },
		"ReachedFrom": func() { volumes[1].ReachedFrom(labels.Labels) },
	} {
		ask()
		if n := testing.AllocsPerRun(100, ask); n > 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}

// TestConcurrency: whoever changed a node sees it in the next answer, whatever
// others do meanwhile, and in the end the answers are upstream's.
func TestConcurrency(t *testing.T) {
	x := NewIndex()
	var work sync.WaitGroup
	for g := range 4 {
		work.Go(func() {
			name, mine := fmt.Sprint("n", g), fmt.Sprint("mine", g)
			for i := range 300 {
				zone := fmt.Sprint(i % 3)
				x.SetNode(name, labelled("zone", zone, "host", name))
				for z := range 3 {
					pv := persistentVolume(fmt.Sprint("zonal", z), at("zone", fmt.Sprint(z)))
					v := x.Volume(pv)
					if got := x.Nodes(v).Has(name); got != (zone == fmt.Sprint(z)) {
						t.Errorf("%s in zone %s reaches %s: %v", name, zone, v.Where(), got)
						return
					}
					if joint, known := x.Joint([]*Volume{v, x.Volume(persistentVolume(mine, at("host", name)))}); !known || joint.Has(name) != (zone == fmt.Sprint(z)) {
						t.Errorf("%s in zone %s: Joint with %s = %v, known %v", name, zone, v.Where(), joint.Shared(), known)
						return
					}
					x.Missing(v)
					x.ForgetVolume(pv.Name)
				}
				if i%10 == 0 {
					x.SetNode(name, nil)
					if x.Nodes(nil).Has(name) {
						t.Errorf("%s is gone and reaches everything", name)
						return
					}
				}
			}
			x.ForgetVolume(mine)
		})
	}
	work.Wait()
	for g := range 4 {
		x.SetNode(fmt.Sprint("n", g), nil)
	}
	if len(x.known)+len(x.distinct)+len(x.keys)+len(x.nodes) > 0 || x.loose.Delete(x.everywhere).Len() > 0 {
		t.Errorf("left behind: volumes %v %v, keys %v, loose %v", x.known, x.distinct, x.keys, x.loose)
	}
}

func persistentVolume(name string, affinity *v1.VolumeNodeAffinity) *v1.PersistentVolume {
	return &v1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1.PersistentVolumeSpec{NodeAffinity: affinity}}
}

// at is the affinity to one label value.
func at(key, value string) *v1.VolumeNodeAffinity {
	return required(v1.NodeSelectorTerm{MatchExpressions: expressions(key, value)})
}

func expressions(key, value string) []v1.NodeSelectorRequirement {
	return []v1.NodeSelectorRequirement{{Key: key, Operator: v1.NodeSelectorOpIn, Values: []string{value}}}
}

// labelled is a node with these labels: key, value, key, value…
func labelled(pairs ...string) *v1.Node {
	labels := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		labels[pairs[i]] = pairs[i+1]
	}
	return &v1.Node{ObjectMeta: metav1.ObjectMeta{Labels: labels}}
}
