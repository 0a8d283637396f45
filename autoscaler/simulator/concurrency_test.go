// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"fmt"
	"math/rand"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
)

// mirror keeps what its events say exists. It fails when they contradict it.
type mirror struct {
	t    *testing.T
	pods map[string]string
}

func (m *mirror) expect(object any) {
	pod := object.(*v1.Pod)
	if node, ok := m.pods[pod.Name]; !ok || node != pod.Spec.NodeName {
		m.t.Errorf("an event says that %s was on %q, the one before that it was on %q (%t)", pod.Name, pod.Spec.NodeName, node, ok)
	}
}

func (m *mirror) OnAdd(object any, _ bool) {
	pod := object.(*v1.Pod)
	if _, ok := m.pods[pod.Name]; ok {
		m.t.Errorf("%s is added twice", pod.Name)
	}
	m.pods[pod.Name] = pod.Spec.NodeName
}

func (m *mirror) OnUpdate(before, object any) {
	m.expect(before)
	m.pods[object.(*v1.Pod).Name] = object.(*v1.Pod).Spec.NodeName
}

func (m *mirror) OnDelete(object any) {
	m.expect(object)
	delete(m.pods, object.(*v1.Pod).Name)
}

// Live events come while a simulation covers and uncovers the same objects:
// each handler hears a story without contradictions, which ends with what is live.
func TestLiveEventsDuringASimulation(t *testing.T) {
	l, live, _ := pods(t)
	m := &mirror{t: t, pods: map[string]string{}}
	live.next = m
	// The store and the handler change together, as if nothing were on its
	// way between them: then no event may be lost or told twice.
	var step sync.Mutex
	world := map[string]*v1.Pod{}
	change := func(r *rand.Rand, serial int) {
		step.Lock()
		defer step.Unlock()
		name := fmt.Sprintf("p%d", r.Intn(5))
		before, next := world[name], podOn(name, fmt.Sprint(serial))
		switch {
		case before == nil:
			world[name] = next
			_ = l.view.Indexer.Add(next)
			live.OnAdd(next, false)
		case r.Intn(2) == 0:
			world[name] = next
			_ = l.view.Indexer.Update(next)
			live.OnUpdate(before, next)
		default:
			delete(world, name)
			_ = l.view.Indexer.Delete(before)
			live.OnDelete(before)
		}
	}
	var both sync.WaitGroup
	both.Go(func() {
		r := rand.New(rand.NewSource(1))
		for i := range 3000 {
			change(r, i)
		}
	})
	both.Go(func() {
		r := rand.New(rand.NewSource(2))
		for i := range 500 {
			var undos []func()
			for range r.Intn(6) {
				name := fmt.Sprintf("p%d", r.Intn(5))
				step.Lock()
				undo, err := l.put("prod/"+name, podOn(name, fmt.Sprintf("simulated-%d", i)))
				step.Unlock()
				if err != nil {
					t.Error(err)
					return
				}
				undos = append(undos, undo)
			}
			for i := len(undos) - 1; i >= 0; i-- {
				undos[i]()
			}
		}
	})
	both.Wait()
	want := map[string]string{}
	for name, pod := range world {
		want[name] = pod.Spec.NodeName
	}
	if diff := cmp.Diff(want, m.pods); diff != "" {
		t.Errorf("what the handler knows at the end (-live +told):\n%s", diff)
	}
}
