// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/berth-dev/berth/test/fixture"
)

// journal is what became of every pod of a namespace. Its clock counts what the
// API server told, in the order in which a scheduler hears of it too.
type journal struct {
	nodes map[string]*corev1.Node

	mu      sync.Mutex
	clock   int
	lives   []*life // in the order of their births
	byUID   map[types.UID]*life
	current map[string]*life   // the newest of each name
	closed  map[string][]*span // when a node took nobody, or might not
	broken  error
}

// life is one pod. What has not happened to it has time 0.
type life struct {
	name, app                   string
	cpu                         int64 // in thousandths
	born, refused, bound, ended int
	ready                       bool
	node                        string
	messages                    []string // for which it had no node
}

type span struct{ from, to int }

// watchAll begins a journal, which ends with the test.
func (s scene) watchAll(ctx context.Context, t *testing.T, nodes []*corev1.Node) *journal {
	t.Helper()
	j := &journal{nodes: map[string]*corev1.Node{}, byUID: map[types.UID]*life{}, current: map[string]*life{}, closed: map[string][]*span{}}
	for _, node := range nodes {
		j.nodes[node.Name] = node
	}
	pods := s.Kube.CoreV1().Pods(s.Namespace)
	known := func(ctx context.Context, options metav1.ListOptions) (*corev1.PodList, error) {
		list, err := pods.List(ctx, options)
		for i := range list.Items {
			j.hear(&list.Items[i], false)
		}
		return list, err
	}
	follow(ctx, t, j.breaks, metav1.ListOptions{}, known, pods.Watch, j.hear)
	return j
}

func (j *journal) breaks(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.broken = err
}

func (j *journal) hear(pod *corev1.Pod, gone bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.clock++
	l := j.byUID[pod.UID]
	if l == nil {
		l = &life{name: pod.Name, app: pod.Labels[fixture.AppLabel], born: j.clock, cpu: pod.Spec.Containers[0].Resources.Requests.Cpu().MilliValue()}
		j.lives, j.byUID[pod.UID], j.current[pod.Name] = append(j.lives, l), l, l
	}
	if pod.Spec.NodeName != "" && l.bound == 0 {
		l.node, l.bound = pod.Spec.NodeName, j.clock
	}
	l.ready = pod.DeletionTimestamp == nil
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			l.ready = l.ready && c.Status == corev1.ConditionTrue
		}
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable {
			if l.refused == 0 {
				l.refused = j.clock
			}
			if !slices.Contains(l.messages, c.Message) {
				l.messages = append(l.messages, c.Message)
			}
		}
	}
	l.ready = l.ready && pod.Status.Phase == corev1.PodRunning
	if gone {
		l.ended, l.ready = j.clock, false
	}
}

// now returns the newest pod of a name as it is known by now.
func (j *journal) now(name string) (life, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.broken != nil || j.current[name] == nil {
		return life{}, errors.Join(j.broken, fmt.Errorf("pod %s was not seen yet, or never again", name))
	}
	return *j.current[name], nil
}

// home returns the node that the newest pod of a name with a node has.
func (j *journal) home(name string) string {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, l := range slices.Backward(j.lives) {
		if l.name == name && l.node != "" {
			return l.node
		}
	}
	return ""
}

// close notes that from now on a node may take nobody, until open is called.
func (j *journal) close(node string) (open func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	while := &span{from: j.clock}
	j.closed[node] = append(j.closed[node], while)
	return func() {
		j.mu.Lock()
		defer j.mu.Unlock()
		while.to = j.clock
	}
}

// hadRoom tells whether a pod had room on a node from its birth until then,
// whatever came and went meanwhile: everybody counts who was there at some time,
// or came later and may have been given the room before, or was never bound, or is a slot that is away and has its room kept.
func (j *journal) hadRoom(l *life, node string, until int) bool {
	for _, while := range j.closed[node] {
		if while.from <= until && (while.to == 0 || while.to >= l.born) {
			return false
		}
	}
	used := l.cpu
	for i, other := range j.lives {
		there := (other.node == node || other.node == "") && other.born <= until && (other.ended == 0 || other.ended >= l.born)
		if other != l && (there || other.node == node && j.kept(i, l, until)) {
			used += other.cpu
		}
	}
	return used <= j.nodes[node].Status.Allocatable.Cpu().MilliValue()
}

// kept tells whether the room of a pod that ended before another was born may have been kept for its slot until then:
// the next one of the slot was not bound before, and does not count by itself.
func (j *journal) kept(i int, l *life, until int) bool {
	gone := j.lives[i]
	if gone.name == l.name || gone.ended == 0 || gone.ended >= l.born {
		return false
	}
	for _, next := range j.lives[i+1:] {
		if next.name == gone.name && next.bound != 0 {
			return next.bound >= l.born && (next.born > until || next.node != gone.node)
		}
	}
	return false
}

func (j *journal) zone(node string) string { return j.nodes[node].Labels[corev1.LabelTopologyZone] }

// account is how often the slots of a set came back, and what should not have been.
type account struct {
	returns, roomAtHome, elsewhere, waited int
	wrong                                  []string
}

func (a *account) String() string {
	return fmt.Sprintf("%d returns, %d of them with room at home for certain, %d to another node, %d had to wait", a.returns, a.roomAtHome, a.elsewhere, a.waited)
}

// account goes through the returns of a set, whose volumes are reached from one node or one zone.
func (j *journal) account(set fixture.Workload, oneNode bool) (a account) {
	j.mu.Lock()
	defer j.mu.Unlock()
	before := map[string]*life{}
	for _, l := range j.lives {
		home := before[l.name]
		if l.app != set.Name {
			continue
		}
		if home != nil {
			j.enter(&a, l, home.node, oneNode)
		}
		if l.bound != 0 {
			before[l.name] = l
		}
	}
	return a
}

// enter judges a pod of a slot that was on a node before. One that ended before it had a node may have had to wait, too.
func (j *journal) enter(a *account, l *life, home string, oneNode bool) {
	if l.bound != 0 {
		a.returns++
	}
	accuse := func(format string, args ...any) {
		a.wrong = append(a.wrong, fmt.Sprintf("return %d, of %s from node %s to node %s: ", a.returns, l.name, home, l.node)+fmt.Sprintf(format, args...))
	}
	room := l.bound != 0 && j.hadRoom(l, home, l.bound)
	if room {
		a.roomAtHome++
	}
	if l.bound != 0 && l.node != home {
		a.elsewhere++
		if room {
			accuse("it had room at home")
		}
		if oneNode || j.zone(l.node) != j.zone(home) {
			accuse("its volume is not reached from there")
		}
	}
	if l.refused != 0 {
		a.waited++
		for node := range j.nodes {
			if reached := node == home || (!oneNode && j.zone(node) == j.zone(home)); reached && j.hadRoom(l, node, l.refused) {
				accuse("it was refused, though it had room on node %s: %s", node, l.messages[0])
			}
		}
	}
	for _, message := range l.messages {
		if other := j.otherZone(message, home); other != "" {
			accuse("it was refused with a message that names %s: %s", other, message)
		}
	}
}

// otherZone returns the zone that a message names, itself or by a node, if it is
// not that of the home. The names of nodes begin with their zones.
func (j *journal) otherZone(message, home string) string {
	for node := range j.nodes {
		if zone := j.zone(node); zone != j.zone(home) && strings.Contains(message, zone) {
			return zone
		}
	}
	return ""
}
