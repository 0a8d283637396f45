// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/berth-dev/berth/plugins/statefulset"
	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	appslisters "k8s.io/client-go/listers/apps/v1"
	"k8s.io/client-go/tools/cache"
)

// withAbsent adds a node, a set, and the claim of its slot db-0, which was there last.
func (l *lagging) withAbsent(t *testing.T) {
	t.Helper()
	one := int32(1)
	for informer, object := range map[cache.SharedIndexInformer]any{
		l.factory.Core().V1().Nodes().Informer(): &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}},
		l.factory.Apps().V1().StatefulSets().Informer(): &appsv1.StatefulSet{
			ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "db"},
			Spec:       appsv1.StatefulSetSpec{Replicas: &one, VolumeClaimTemplates: []v1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Name: "data"}}}},
		},
		l.factory.Core().V1().PersistentVolumeClaims().Informer(): &v1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "data-db-0", Annotations: map[string]string{statefulset.LastNode: `{"node":"n1","podUID":"last"}`}},
			Spec:       v1.PersistentVolumeClaimSpec{VolumeName: "pv"},
		},
	} {
		if err := informer.GetStore().Add(object); err != nil {
			t.Fatal(err)
		}
	}
	l.source.book.MarkReady(nil)
}

// meanwhile is a lister in the middle of whose answer something else happens.
type meanwhile struct {
	appslisters.StatefulSetLister
	happens func()
}

func (m *meanwhile) List(selector labels.Selector) ([]*appsv1.StatefulSet, error) {
	m.happens()
	return m.StatefulSetLister.List(selector)
}

// While all slots are looked at for the first time, an event has one of them
// looked at. Who asks then must not be told that nothing is held.
func TestNobodyIsPlacedBeforeAllIsKnown(t *testing.T) {
	l := newLagging(t)
	l.withAbsent(t)
	l.source.listers.sets = &meanwhile{StatefulSetLister: l.source.listers.sets, happens: func() {
		l.look(statefulset.Slot{Set: statefulset.SetKey{Namespace: "prod", Name: "web"}})
		if begun, _ := l.holds.ledger.Begun(); begun {
			t.Error("a slot of another set was looked at, and a scheduling cycle may begin")
		}
	}}
	if l.None() {
		t.Error("nothing is held, while prod/db-0 is absent from n1")
	}
}

// Nobody ticks in a simulation: what is over when it begins is not in it.
func TestSimulationsBeginWithoutWhatIsOver(t *testing.T) {
	l := newLagging(t)
	l.withAbsent(t)
	now := time.Now()
	l.holds.berths.now = func() time.Time { return now }
	l.checkpointHolds()()
	if len(l.On("n1")) != 1 {
		t.Fatalf("on n1 is held %v, want the room of db-0", l.On("n1"))
	}
	now = now.Add(time.Hour)
	defer l.checkpointHolds()()
	if held := l.On("n1"); len(held) != 0 {
		t.Errorf("an hour later %v is held", held)
	}
}

// Who is woken while it is tried waits out its back-off, unless it is woken again.
func TestWhoIsTriedIsWokenOnceMore(t *testing.T) {
	for name, tt := range map[string]struct {
		happens func(*refused)
		now     string
		later   string
	}{
		"tried before":             {happens: func(r *refused) { r.begins("other") }, now: "p"},
		"being tried":              {happens: func(*refused) {}, now: "p", later: "p"},
		"tried anew since":         {happens: func(r *refused) { r.begins("p") }},
		"refused when it had been": {happens: func(r *refused) { r.later(waiter("p")) }, now: "p", later: "p"},
		"placed in the end":        {happens: func(r *refused) { r.later(waiter("p")); r.forget("p") }},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRefused()
			r.begins("p")
			r.add(waiter("p"), "n1")
			tt.happens(r)
			names := func(pods []*v1.Pod) string {
				var all []string
				for _, pod := range pods {
					all = append(all, pod.Name)
				}
				return strings.Join(all, " ")
			}
			if got := names(r.take("n1")); got != tt.now {
				t.Errorf("woken %q, want %q", got, tt.now)
			}
			if got := names(r.due()); got != tt.later {
				t.Errorf("woken once more %q, want %q", got, tt.later)
			}
			if got := names(r.due()); got != "" {
				t.Errorf("woken for ever: %q", got)
			}
		})
	}
}

// recorder notes what events are about, and related to.
type recorder struct{ told []string }

func (r *recorder) Eventf(regarding, related runtime.Object, _, reason, _, _ string, _ ...any) {
	about, pod := regarding.(*v1.ObjectReference), related.(*v1.ObjectReference)
	r.told = append(r.told, fmt.Sprintf("%s %s/%s: %s %s", about.Kind, about.Namespace, about.Name, reason, pod.Name))
}

// What is told of two slots of a set is not the same to who records events.
func TestEachSlotIsToldOf(t *testing.T) {
	l, events := newLagging(t), &recorder{}
	l.herald = &herald{recorder: events, source: l.source, leading: make(chan struct{})}
	set := statefulset.SetKey{Namespace: "prod", Name: "db"}
	hold := func(ordinal int) statefulset.Hold {
		return statefulset.Hold{Slot: statefulset.Slot{Set: set, Ordinal: ordinal}, Node: "n1"}
	}
	l.Taken(waiter("p"), hold(0)) // not by one that stands by
	l.herald.leads()
	l.Taken(waiter("p"), hold(0))
	l.Taken(waiter("q"), hold(1))
	want := []string{"StatefulSet prod/db: SlotHoldTaken db-0", "StatefulSet prod/db: SlotHoldTaken db-1"}
	if diff := cmp.Diff(want, events.told); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}
