// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-dev/berth/plugins/policies"
	"github.com/berth-dev/berth/plugins/quorumguard"
	"github.com/berth-dev/berth/plugins/statefulset"
	"github.com/berth-dev/berth/plugins/volumeaffinity"
	"github.com/berth-dev/berth/plugins/volumeaffinity/capacity"
	"github.com/berth-dev/berth/plugins/volumeaffinity/reach"
	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/klog/v2"
)

// lagging is slots whose handlers a test calls by hand, over stores that a test
// fills: what has happened and what has been heard are two things.
type lagging struct {
	*slots
	factory informers.SharedInformerFactory
	woken   []string
}

func newLagging(t *testing.T) *lagging {
	factory := informers.NewSharedInformerFactory(fake.NewClientset(), 0)
	source := &source{listers: newListers(factory), book: policies.NewBook(), members: newMembers(), defaults: map[string]*statefulset.Policy{}}
	l := &lagging{factory: factory}
	l.slots = &slots{
		planner: statefulset.NewPlanner(source, Rules(t.Context())), source: source, storage: newStorage(), logger: klog.Background(),
		wake: func(_ klog.Logger, pods map[string]*v1.Pod) {
			l.woken = append(l.woken, slices.Sorted(maps.Keys(pods))...)
		},
	}
	l.holds, l.sparing = newHolds(source, l.planner, l.SlotOf), newSparing()
	l.herald = &herald{leading: make(chan struct{})}
	return l
}

func (l *lagging) wokenSince() string {
	defer func() { l.woken = nil }()
	return strings.Join(l.woken, " ")
}

func waiter(name string) *v1.Pod {
	return &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: name, UID: types.UID(name)}}
}

// The store may hold what no handler has been told yet: whoever was judged by
// the index is woken when the index learns of the node, whichever event tells it.
func TestNodeThatIsAheadOfItsEvents(t *testing.T) {
	l := newLagging(t)
	bare := &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
	labelled := &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{"zone": "a"}}}
	pv := &v1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv"}, Spec: v1.PersistentVolumeSpec{NodeAffinity: &v1.VolumeNodeAffinity{
		Required: &v1.NodeSelector{NodeSelectorTerms: []v1.NodeSelectorTerm{{
			MatchExpressions: []v1.NodeSelectorRequirement{{Key: "zone", Operator: v1.NodeSelectorOpIn, Values: []string{"a"}}},
		}}},
	}}}
	l.Waits(waiter("p"), volumeaffinity.Judged{Volumes: []*reach.Volume{l.storage.reach.Volume(pv)}})
	if err := l.factory.Core().V1().Nodes().Informer().GetStore().Add(labelled); err != nil {
		t.Fatal(err)
	}
	l.nodeChanged(nil, bare)
	if got := l.wokenSince(); got != "prod/p" {
		t.Errorf("woken: %q, want prod/p", got)
	}
	l.nodeChanged(bare, labelled)
	if got := l.wokenSince(); got != "" {
		t.Errorf("woken once more: %q", got)
	}
}

// A pod that was judged before the driver was heard is woken when it is.
func TestRoomThatIsHeardLate(t *testing.T) {
	l := newLagging(t)
	l.Waits(waiter("p"), volumeaffinity.Judged{Classes: []string{"fast"}})
	l.Waits(waiter("q"), volumeaffinity.Judged{Classes: []string{"slow"}})
	room := func(size string) *storagev1.CSIStorageCapacity {
		amount := resource.MustParse(size)
		return &storagev1.CSIStorageCapacity{ObjectMeta: metav1.ObjectMeta{Namespace: "x", Name: "c"}, StorageClassName: "fast", Capacity: &amount, NodeTopology: &metav1.LabelSelector{}}
	}
	var before *storagev1.CSIStorageCapacity
	for _, step := range []struct{ size, woken string }{{"1Gi", "prod/p"}, {"2Gi", "prod/p"}, {"1Gi", ""}} {
		after := room(step.size)
		if err := l.factory.Storage().V1().CSIStorageCapacities().Informer().GetStore().Add(after); err != nil {
			t.Fatal(err)
		}
		l.capacityChanged(before, after)
		if got := l.wokenSince(); got != step.woken {
			t.Errorf("at %s woken: %q, want %q", step.size, got, step.woken)
		}
		before = after
	}
	again := room("3Gi")
	if err := l.factory.Storage().V1().CSIStorageCapacities().Informer().GetStore().Add(again); err != nil {
		t.Fatal(err)
	}
	l.RoomChanged("x", "c") // by the hint of the queue, which wakes by itself
	l.capacityChanged(before, again)
	if got := l.wokenSince(); got != "" {
		t.Errorf("the queue heard first, and woken are %q", got)
	}
}

// When many drafts end, who waits is woken at once and then once a second.
func TestManyDraftsEnd(t *testing.T) {
	d := newStorage().dropped
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	woken := 0
	for i := range 100 {
		if d.now("fast", start.Add(time.Duration(i)*5*time.Millisecond)) {
			woken++
		}
	}
	if woken != 1 {
		t.Errorf("woken %d times in half a second, want once", woken)
	}
	if got := d.due(start.Add(900 * time.Millisecond)); len(got) != 0 {
		t.Errorf("before the second is over due: %v", got)
	}
	if got := d.due(start.Add(time.Second)); !slices.Equal(got, []string{"fast"}) {
		t.Errorf("after a second due: %v, want fast", got)
	}
	if got := d.due(start.Add(3 * time.Second)); len(got) != 0 {
		t.Errorf("nothing happened, and due: %v", got)
	}
	if !d.now("fast", start.Add(4*time.Second)) {
		t.Error("later it is not woken at once")
	}
}

// A simulation takes back what did not fail, and wakes nobody later.
func TestSimulationRemembersNobody(t *testing.T) {
	l := newLagging(t)
	l.simulated = true
	pod := waiter("p")
	if err := l.factory.Core().V1().Pods().Informer().GetStore().Add(pod); err != nil {
		t.Fatal(err)
	}
	l.HomeFailed(pod, "n1")
	l.Waits(pod, volumeaffinity.Judged{Classes: []string{"fast"}})
	l.Refused(pod, "n1")
	l.Spare(pod, []quorumguard.Subject{{}})
	if l.storage.vain.is("p", statefulset.Slot{}, "n1") || len(l.storage.waiters.wanting("fast")) > 0 || l.WasRefused(pod, "n1") || len(l.sparing.pods) > 0 {
		t.Error("a simulation remembers a pod that it placed")
	}
}

// Who is gone is forgotten, whichever came first: being judged or going.
func TestWhoIsGoneIsForgotten(t *testing.T) {
	l := newLagging(t)
	l.Waits(waiter("p"), volumeaffinity.Judged{Classes: []string{"fast"}})
	l.HomeFailed(waiter("p"), "n1")
	l.Refused(waiter("p"), "n1")
	l.Spare(waiter("p"), []quorumguard.Subject{{}})
	l.tick()
	if l.storage.vain.is("p", statefulset.Slot{}, "n1") || len(l.storage.waiters.wanting("fast")) > 0 || l.WasRefused(waiter("p"), "n1") || len(l.sparing.pods) > 0 {
		t.Error("a pod that is gone is remembered")
	}
}

// A session ends, and what really happened to claims meanwhile stays.
func TestDraftsAfterASimulation(t *testing.T) {
	l := newLagging(t)
	claims := l.factory.Core().V1().PersistentVolumeClaims().Informer().GetStore()
	if err := l.factory.Core().V1().Nodes().Informer().GetStore().Add(&v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}); err != nil {
		t.Fatal(err)
	}
	claim := func(name, volume string) *v1.PersistentVolumeClaim {
		return &v1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: name, Annotations: map[string]string{statefulset.SelectedNode: "n1"}},
			Spec:       v1.PersistentVolumeClaimSpec{VolumeName: volume},
		}
	}
	l.drafted(nil, claim("bound-meanwhile", ""))
	restore := l.storage.room.Checkpoint()
	l.storage.room.Reserve(capacity.Claim{Namespace: "prod", Name: "simulated"}, "n1", nil)
	for _, is := range []*v1.PersistentVolumeClaim{claim("bound-meanwhile", "pv"), claim("began-meanwhile", "")} {
		if err := claims.Add(is); err != nil {
			t.Fatal(err)
		}
		l.drafted(nil, is)
	}
	restore()
	l.reconcile()
	if got := l.storage.room.Drafts(); len(got) != 1 || got[0].Name != "began-meanwhile" {
		t.Errorf("drafts after the session: %v, want that of began-meanwhile", got)
	}
}
