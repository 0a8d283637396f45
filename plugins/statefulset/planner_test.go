// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const zone, host = "topology.kubernetes.io/zone", "kubernetes.io/hostname"

// world is a source whose objects a test changes by hand.
type world struct {
	sets    map[SetKey]*appsv1.StatefulSet
	claims  map[string]*corev1.PersistentVolumeClaim
	volumes map[string]*corev1.PersistentVolume
	pods    map[string]*corev1.Pod
	nodes   map[string]*corev1.Node
	policy  *Policy
	unread  error // why policies are not known
	members map[int]member
	now     time.Time
	reads   int
}

// member is an ordinal of a set that a policy selects.
type member struct {
	pod    string
	claims []string
}

func (w *world) Set(key SetKey) *appsv1.StatefulSet { return w.sets[key] }
func (w *world) Claim(_, name string) *corev1.PersistentVolumeClaim {
	w.reads++
	return w.claims[name]
}
func (w *world) Volume(name string) *corev1.PersistentVolume { return w.volumes[name] }
func (w *world) Pod(_, name string) *corev1.Pod              { return w.pods[name] }
func (w *world) Node(name string) *corev1.Node               { return w.nodes[name] }
func (w *world) Policy(SetKey, string) (*Policy, error)      { return w.policy, w.unread }
func (w *world) BoundByScheduler(class string) bool          { return class == "late" }
func (w *world) Members(SetKey) []int                        { return slices.Sorted(maps.Keys(w.members)) }
func (w *world) Member(slot Slot) (string, []string) {
	m := w.members[slot.Ordinal]
	return m.pod, m.claims
}
func (w *world) Nodes() []*corev1.Node {
	var nodes []*corev1.Node
	for _, node := range w.nodes {
		nodes = append(nodes, node)
	}
	return nodes
}

var db = SetKey{Namespace: "prod", Name: "db"}

// newWorld has set db with claims data, and nodes a1 b1 c1 in zones a b c.
func newWorld(replicas int) (*world, *Planner) {
	w := &world{
		sets:    map[SetKey]*appsv1.StatefulSet{},
		claims:  map[string]*corev1.PersistentVolumeClaim{},
		volumes: map[string]*corev1.PersistentVolume{},
		pods:    map[string]*corev1.Pod{},
		nodes:   map[string]*corev1.Node{},
		policy:  byZone(),
		now:     time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	w.set(db, replicas, "data")
	for _, name := range []string{"a1", "b1", "c1"} {
		w.node(name, name[:1])
	}
	reaches := func(pv *corev1.PersistentVolume, node *corev1.Node) bool {
		for _, r := range pv.Spec.NodeAffinity.Required.NodeSelectorTerms[0].MatchExpressions {
			if !slices.Contains(r.Values, node.Labels[r.Key]) {
				return false
			}
		}
		return true
	}
	usable := func(pod *corev1.Pod) func(*corev1.Node) bool {
		return func(node *corev1.Node) bool {
			return len(node.Spec.Taints) == 0 && (len(pod.Spec.NodeSelector) == 0 || node.Labels[zone] == pod.Spec.NodeSelector[zone])
		}
	}
	return w, NewPlanner(w, Rules{Usable: usable, Reaches: reaches, Now: func() time.Time { return w.now }})
}

func (w *world) set(key SetKey, replicas int, templates ...string) {
	n := int32(replicas)
	set := &appsv1.StatefulSet{Spec: appsv1.StatefulSetSpec{Replicas: &n}}
	for _, name := range templates {
		set.Spec.VolumeClaimTemplates = append(set.Spec.VolumeClaimTemplates, corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	w.sets[key] = set
}

func (w *world) node(name, domain string) *corev1.Node {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{host: "host-" + name}}}
	if domain != "" {
		node.Labels[zone] = domain
	}
	w.nodes[name] = node
	return node
}

// bind gives a claim a volume that label key ties to values.
func (w *world) bind(claim, key string, values ...string) {
	w.claims[claim] = &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: claim}, Spec: corev1.PersistentVolumeClaimSpec{VolumeName: "pv-" + claim}}
	w.volumes["pv-"+claim] = &corev1.PersistentVolume{Spec: corev1.PersistentVolumeSpec{NodeAffinity: &corev1.VolumeNodeAffinity{
		Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchExpressions: []corev1.NodeSelectorRequirement{{Key: key, Operator: corev1.NodeSelectorOpIn, Values: values}},
		}}},
	}}}
}

func pod(slot Slot, node string) *corev1.Pod {
	controller := true
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: slot.Set.Namespace, Name: slot.PodName(), UID: types.UID(slot.PodName()),
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "StatefulSet", Name: slot.Set.Name, Controller: &controller}},
		},
		Spec: corev1.PodSpec{NodeName: node},
	}
}

func dbSlot(ordinal int) Slot { return Slot{Set: db, Ordinal: ordinal} }

// byZone spreads over the zones, as changed.
func byZone(changes ...func(*Policy)) *Policy {
	policy := &Policy{Spread: &Spread{TopologyKey: zone}}
	for _, change := range changes {
		change(policy)
	}
	return policy
}

// places asks for slots of db one after the other and writes the domains.
func places(t *testing.T, p *Planner, ordinals ...int) string {
	t.Helper()
	var got []string
	for _, ordinal := range ordinals {
		placement, err := p.Place(dbSlot(ordinal), pod(dbSlot(ordinal), ""))
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, placement.Domain)
	}
	return strings.Join(got, " ")
}

func names(pods []*corev1.Pod) string {
	var names []string
	for _, pod := range pods {
		names = append(names, pod.Name)
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func TestHomes(t *testing.T) {
	now := metav1.Now()
	tests := map[string]struct {
		change func(*world)
		want   Home
	}{
		"nothing known": {func(*world) {}, Home{}},
		"bound volume": {
			func(w *world) { w.bind("data-db-0", zone, "c") },
			Home{Domain: "c", Tie: BoundVolume, Claim: "data-db-0", Volume: "pv-data-db-0"},
		},
		"bound volume in a zone without nodes": {
			func(w *world) { w.bind("data-db-0", zone, "gone") },
			Home{Domain: "gone", Tie: BoundVolume, Claim: "data-db-0", Volume: "pv-data-db-0"},
		},
		"local volume, hostname is not the node's name": {
			func(w *world) { w.bind("data-db-0", host, "host-b1") },
			Home{Domain: "b", Tie: BoundVolume, Claim: "data-db-0", Volume: "pv-data-db-0"},
		},
		"local volume of a node that is gone": {
			func(w *world) { w.bind("data-db-0", host, "host-x9") }, Home{},
		},
		"volume of two zones": {
			func(w *world) { w.bind("data-db-0", zone, "c", "b") },
			Home{Within: []string{"b", "c"}, Tie: BoundVolume, Claim: "data-db-0", Volume: "pv-data-db-0"},
		},
		"volume of two zones without nodes": {
			func(w *world) { w.bind("data-db-0", zone, "y", "x") },
			Home{Within: []string{"x", "y"}, Tie: BoundVolume, Claim: "data-db-0", Volume: "pv-data-db-0"},
		},
		"volume of two zones, pod in one": {
			func(w *world) {
				w.bind("data-db-0", zone, "c", "b")
				w.pods["db-0"] = pod(dbSlot(0), "c1")
			},
			Home{Domain: "c", Tie: RunningPod, Node: "c1"},
		},
		"volume before pod": {
			func(w *world) {
				w.bind("data-db-0", zone, "c")
				w.pods["db-0"] = pod(dbSlot(0), "a1")
			},
			Home{Domain: "c", Tie: BoundVolume, Claim: "data-db-0", Volume: "pv-data-db-0"},
		},
		"claim without its volume": {
			func(w *world) { w.bind("data-db-0", zone, "c"); w.volumes = nil }, Home{},
		},
		"claim being deleted": {
			func(w *world) { w.bind("data-db-0", zone, "c"); w.claims["data-db-0"].DeletionTimestamp = &now }, Home{},
		},
		"claim of db-2 is not ours": {
			func(w *world) { w.bind("data-db-2-0", zone, "c") }, Home{},
		},
		"volume being provisioned": {
			func(w *world) {
				w.claims["data-db-0"] = &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{SelectedNode: "b1"}}}
				w.pods["db-0"] = pod(dbSlot(0), "a1")
			},
			Home{Domain: "b", Tie: VolumeBeingProvisioned, Claim: "data-db-0", Node: "b1"},
		},
		"selected node is gone": {
			func(w *world) {
				w.claims["data-db-0"] = &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{SelectedNode: "x9"}}}
			}, Home{},
		},
		"running pod":  {func(w *world) { w.pods["db-0"] = pod(dbSlot(0), "c1") }, Home{Domain: "c", Tie: RunningPod, Node: "c1"}},
		"finished pod": {func(w *world) { p := pod(dbSlot(0), "c1"); p.Status.Phase = corev1.PodFailed; w.pods["db-0"] = p }, Home{}},
		"pod of somebody else with the slot's name": {
			func(w *world) { p := pod(dbSlot(0), "c1"); p.OwnerReferences[0].Kind = "Job"; w.pods["db-0"] = p }, Home{},
		},
		"pod on a node without the label": {
			func(w *world) { w.node("x1", ""); w.pods["db-0"] = pod(dbSlot(0), "x1") }, Home{},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w, p := newWorld(1)
			tt.change(w)
			got, err := p.Place(dbSlot(0), pod(dbSlot(0), ""))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got.Home); diff != "" {
				t.Errorf("home (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTwoVolumesNarrowEachOther(t *testing.T) {
	w, p := newWorld(1)
	w.set(db, 1, "data", "wal-log")
	w.bind("data-db-0", zone, "a", "b")
	w.bind("wal-log-db-0", zone, "b", "c")
	if got := places(t, p, 0); got != "b" {
		t.Errorf("slot with volumes in {a b} and {b c} belongs in %q, want b", got)
	}
}

func TestDomains(t *testing.T) {
	w, p := newWorld(9)
	w.node("u1", "")
	w.node("d1", "d").Spec.Taints = []corev1.Taint{{Key: "dedicated"}}
	if got := places(t, p, 0, 1, 2, 3); got != "a b c a" {
		t.Errorf("places %q, want a b c a", got)
	}
	only := pod(dbSlot(1), "")
	only.Spec.NodeSelector = map[string]string{zone: "c"}
	if got, err := p.Place(dbSlot(1), only); err != nil || got.Domain != "c" {
		t.Errorf("a pod that may use zone c only was told %v, %v", got, err)
	}
	w.policy = byZone(func(p *Policy) { p.Spread.Domains = []string{"x", "y"} })
	if got, err := p.Place(dbSlot(1), pod(dbSlot(1), "")); err != nil || got.Domain != "y" {
		t.Errorf("with domains x and y, ordinal 1 was told %v, %v", got, err)
	}
}

func TestAnswersFollowChanges(t *testing.T) {
	w, p := newWorld(6)
	if got := places(t, p, 0, 1, 2, 3, 4, 5); got != "a b c a b c" {
		t.Fatalf("places %q", got)
	}
	reads := w.reads
	places(t, p, 0, 1, 2, 3, 4, 5)
	if w.reads != reads {
		t.Errorf("%d claims were read again though nothing changed", w.reads-reads)
	}

	w.bind("data-db-0", zone, "b")
	if got := names(p.SlotChanged(dbSlot(0))); got != "db-0 db-1" { // b a c a b c
		t.Errorf("woken by the volume of db-0: %q", got)
	}
	if w.reads != reads+1 {
		t.Errorf("%d claims were read for one changed slot", w.reads-reads)
	}
	if got := names(p.SlotChanged(dbSlot(0))); got != "" {
		t.Errorf("woken again though nothing changed: %q", got)
	}

	w.node("d1", "d")
	if got := names(p.NodeChanged("d1")); got != "db-3 db-4 db-5" { // b a c d a b
		t.Errorf("woken by a fourth zone: %q", got)
	}
	if got := places(t, p, 0, 1, 2, 3, 4, 5); got != "b a c d a b" {
		t.Errorf("places %q", got)
	}
	plan := p.records[db].plan
	heartbeat := w.nodes["d1"].DeepCopy()
	heartbeat.Status.Phase = corev1.NodeRunning
	w.nodes["d1"] = heartbeat
	p.NodeChanged("d1")
	p.NodeChanged("never seen")
	if places(t, p, 1); p.records[db].plan != plan {
		t.Errorf("the plan was made again for a heartbeat")
	}
}

// A change that the planner read before it was told of it must still wake who
// was answered before that.
func TestChangeReadEarlyStillWakes(t *testing.T) {
	w, p := newWorld(6)
	places(t, p, 1) // told b
	p.SlotChanged(dbSlot(5))
	p.Reserve(dbSlot(0), "db-0", w.nodes["a1"])
	w.bind("data-db-0", zone, "b")
	places(t, p, 5) // reads the volume of db-0
	if got := names(p.SlotChanged(dbSlot(0))); got != "db-1" {
		t.Errorf("woken by the volume of db-0: %q, want db-1", got)
	}
}

func TestAnswersFollowTheOrdinals(t *testing.T) {
	w, p := newWorld(2)
	if got := places(t, p, 0, 1, 4); got != "a b b" { // 4 is beyond the set, and counts 2 and 3
		t.Errorf("places %q, want a b b", got)
	}
	w.sets[db].Spec.Ordinals = &appsv1.StatefulSetOrdinals{Start: 1}
	if got := places(t, p, 1, 2); got != "a b" {
		t.Errorf("with first ordinal 1 places %q, want a b", got)
	}
	if got := names(p.SetChanged(db)); got != "db-4" {
		t.Errorf("woken: %q, want db-4", got)
	}
}

func TestWaitingForTheSet(t *testing.T) {
	w, p := newWorld(3)
	delete(w.sets, db)
	_, err := p.Place(dbSlot(1), pod(dbSlot(1), ""))
	var unknown *SetUnknownError
	if !errors.As(err, &unknown) || unknown.Slot != dbSlot(1) {
		t.Fatalf("got %v, want a SetUnknownError for %s", err, dbSlot(1))
	}
	if got := names(p.SetChanged(SetKey{Namespace: "prod", Name: "db-2"})); got != "" {
		t.Errorf("woken by another set: %q", got)
	}
	w.set(db, 3, "data")
	if got := names(p.SetChanged(db)); got != "db-1" {
		t.Errorf("woken by its set: %q, want db-1", got)
	}
	delete(w.sets, db)
	p.SetChanged(db)
	p.PodGone(dbSlot(1), "db-1")
	if len(p.records) != 0 {
		t.Errorf("a set that is gone is still remembered: %v", p.records)
	}
}

func TestReservationIsAHome(t *testing.T) {
	w, p := newWorld(3)
	places(t, p, 0, 1, 2)
	p.Reserve(dbSlot(0), "db-0", w.nodes["c1"])
	if got := places(t, p, 1, 2); got != "a b" {
		t.Errorf("beside a sibling reserved in c: %q, want a b", got)
	}
	if woken := p.Unreserve(dbSlot(0), "another"); woken != nil {
		t.Errorf("another pod took the reservation back")
	}
	if got := names(p.Unreserve(dbSlot(0), "db-0")); got != "db-1 db-2" {
		t.Errorf("woken when it was taken back: %q", got)
	}
	if got := places(t, p, 0, 1, 2); got != "a b c" {
		t.Errorf("afterwards: %q, want a b c", got)
	}

	p.Reserve(dbSlot(0), "db-0", w.nodes["c1"])
	w.pods["db-0"] = pod(dbSlot(0), "c1")
	p.PodBound(dbSlot(0), "db-0", "a1")
	if len(p.reserved) != 0 {
		t.Errorf("the pod is bound and its reservation still there: %v", p.reserved)
	}
	if got := places(t, p, 1, 2); got != "a b" {
		t.Errorf("beside a sibling bound in c: %q, want a b", got)
	}
}

func TestCheckpoint(t *testing.T) {
	w, p := newWorld(3)
	p.Reserve(dbSlot(0), "db-0", w.nodes["c1"])
	restore := p.Checkpoint()
	p.Unreserve(dbSlot(0), "db-0")
	p.Reserve(dbSlot(1), "db-1", &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "template", Labels: map[string]string{zone: "b"}}})
	if got := places(t, p, 0, 2); got != "a c" {
		t.Errorf("in the simulation: %q, want a c", got)
	}
	restore()
	if _, waits := p.Suits(dbSlot(2), "db-2", w.nodes["c1"]); waits {
		t.Errorf("a pod of the simulation still waits")
	}
	if got := places(t, p, 1, 2); got != "a b" {
		t.Errorf("afterwards: %q, want a b", got)
	}
}

func TestTopologyChangedBy(t *testing.T) {
	base := (&world{nodes: map[string]*corev1.Node{}}).node("a1", "a")
	labelled, tainted, busy := base.DeepCopy(), base.DeepCopy(), base.DeepCopy()
	labelled.Labels[zone] = "b"
	tainted.Spec.Taints = []corev1.Taint{{Key: "dedicated", Effect: corev1.TaintEffectNoSchedule}}
	busy.Status.Phase = corev1.NodeRunning
	busy.ResourceVersion = "2"
	for name, tt := range map[string]struct {
		before, after *corev1.Node
		want          bool
	}{
		"added": {nil, base, true}, "removed": {base, nil, true}, "labelled": {base, labelled, true},
		"tainted": {base, tainted, true}, "heartbeat": {base, busy, false},
	} {
		if got := topologyChanged(tt.before, tt.after); got != tt.want {
			t.Errorf("%s: got %t", name, got)
		}
	}
}

func TestPassingTaint(t *testing.T) {
	for key, want := range map[string]bool{
		"node.kubernetes.io/unschedulable": true, "node.kubernetes.io/not-ready": true,
		"node.cloudprovider.kubernetes.io/uninitialized": true, "ToBeDeletedByClusterAutoscaler": true,
		"dedicated": false, "node-role.kubernetes.io/control-plane": false,
	} {
		if got := PassingTaint(key); got != want {
			t.Errorf("PassingTaint(%q) = %t, want %t", key, got, want)
		}
	}
}

func benchmarkWorld(replicas, nodes int) (*world, *Planner) {
	w, p := newWorld(replicas)
	for i := range nodes {
		w.node(fmt.Sprintf("n%d", i), string(rune('a'+i%3)))
	}
	for i := range replicas - 1 {
		w.bind(fmt.Sprintf("data-db-%d", i), zone, string(rune('a'+i%3)))
	}
	return w, p
}

func BenchmarkPlaceNothingChanged(b *testing.B) {
	_, p := benchmarkWorld(1000, 5000)
	slot, asker := dbSlot(999), pod(dbSlot(999), "")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Place(slot, asker); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPlaceOneSlotChanged(b *testing.B) {
	_, p := benchmarkWorld(1000, 5000)
	slot, asker := dbSlot(999), pod(dbSlot(999), "")
	b.ReportAllocs()
	for b.Loop() {
		p.SlotChanged(dbSlot(500))
		if _, err := p.Place(slot, asker); err != nil {
			b.Fatal(err)
		}
	}
}

// The whole rise of a set: each ordinal is placed, reserved and bound, and the
// next one is planned after it. Beside it 50,000 pods run on 5,000 nodes.
func BenchmarkPlaceNextOrdinal(b *testing.B) {
	const replicas = 1000
	for name, policy := range map[string]*Policy{
		"zones":  byZone(),
		"shards": byZone(func(p *Policy) { p.Spread.ShardSize, p.Spread.MaxPerDomain = 3, 400 }),
		"blocks": byZone(func(p *Policy) { p.Spread.BlockSize = 10 }),
	} {
		b.Run(name, func(b *testing.B) {
			w, p := newWorld(replicas)
			w.policy = policy
			for i := range 5000 {
				w.node(fmt.Sprintf("n%d", i), string(rune('a'+i%3)))
			}
			for i := range 50_000 {
				other := Slot{Set: SetKey{Namespace: "prod", Name: fmt.Sprintf("other%d", i/10)}, Ordinal: i % 10}
				w.run(other, fmt.Sprintf("n%d", i%5000), true)
			}
			askers := make([]*corev1.Pod, replicas)
			for i := range askers {
				askers[i] = pod(dbSlot(i), "")
			}
			first := func() {
				if _, err := p.Place(dbSlot(0), askers[0]); err != nil {
					b.Fatal(err)
				}
			}
			first()
			b.ReportAllocs()
			for i := 0; b.Loop(); i = (i + 1) % replicas {
				if i == 0 {
					b.StopTimer()
					for i, asker := range askers {
						delete(w.pods, dbSlot(i).PodName())
						p.PodGone(dbSlot(i), asker.UID)
					}
					first()
					b.StartTimer()
				}
				slot := dbSlot(i)
				answer, err := p.Place(slot, askers[i])
				if err != nil {
					b.Fatal(err)
				}
				node := w.nodes[answer.Domain+"1"]
				p.Reserve(slot, askers[i].UID, node)
				w.run(slot, node.Name, false)
				p.PodBound(slot, askers[i].UID, "n")
			}
		})
	}
}

func BenchmarkPlaceNodesChanged(b *testing.B) {
	w, p := benchmarkWorld(1000, 5000)
	slot, asker := dbSlot(999), pod(dbSlot(999), "")
	b.ReportAllocs()
	relabelled := []*corev1.Node{w.node("n0", "b"), w.node("n0", "a")}
	for i := 0; b.Loop(); i++ {
		w.nodes["n0"] = relabelled[i%2]
		p.NodeChanged("n0")
		if _, err := p.Place(slot, asker); err != nil {
			b.Fatal(err)
		}
	}
}
