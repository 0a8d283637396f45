// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clienttesting "k8s.io/client-go/testing"

	"github.com/berth-dev/berth/autoscaler/cloud"
	"github.com/berth-dev/berth/autoscaler/cloud/kwok"
	"github.com/berth-dev/berth/autoscaler/nodes"
	"github.com/berth-dev/berth/autoscaler/nodes/drain"
	"github.com/berth-dev/berth/autoscaler/observe"
)

// draining is a stage with a node of the pool and one pod of web on it, and an eviction API that does what it is told.
type draining struct {
	*stage
	refuse  bool
	evicted []string
}

func newDraining(s *stage, taints ...corev1.Taint) *draining {
	d := &draining{stage: s}
	s.kube.PrependReactor("create", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
		create, ok := action.(clienttesting.CreateAction)
		if !ok || action.GetSubresource() != "eviction" {
			return false, nil, nil
		}
		eviction := create.GetObject().(*policyv1.Eviction)
		if d.refuse {
			return true, nil, apierrors.NewTooManyRequests("no room", 0)
		}
		if uid := eviction.DeleteOptions.Preconditions.UID; uid == nil || *uid != types.UID(eviction.Name) {
			s.t.Errorf("eviction of %s with UID %v", eviction.Name, uid)
		}
		d.evicted = append(d.evicted, eviction.Name)
		pods := corev1.SchemeGroupVersion.WithResource("pods")
		return true, nil, s.kube.Tracker().Delete(pods, eviction.Namespace, eviction.Name)
	})
	node, err := s.kube.CoreV1().Nodes().Get(s.t.Context(), "n1", metav1.GetOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	node = node.DeepCopy()
	node.Name, node.UID, node.Labels, node.Spec.Taints = "pool-1", "pool-1", map[string]string{kwok.GroupLabel: "pool"}, taints
	pod := webPod(7)
	pod.Spec.NodeName = "pool-1"
	for _, object := range []runtime.Object{node, pod} {
		if err := s.kube.Tracker().Add(object); err != nil {
			s.t.Fatal(err)
		}
	}
	return d
}

// node is what became of the node: stays, marked or gone.
func (d *draining) node() string {
	node, err := d.kube.CoreV1().Nodes().Get(d.t.Context(), "pool-1", metav1.GetOptions{})
	switch {
	case err != nil:
		return "gone"
	case drain.Marked(node):
		return "marked"
	case len(node.Spec.Taints) > 0:
		return node.Spec.Taints[0].Key
	}
	return "stays"
}

// until passes time until the node is as it should be, and returns how long that took.
func (d *draining) until(want string, most time.Duration) time.Duration {
	d.t.Helper()
	began := time.Now()
	for d.node() != want {
		if d.pass(time.Second); time.Since(began) > most {
			d.t.Fatalf("the node is %s after %s, want %s", d.node(), most, want)
		}
	}
	return time.Since(began)
}

func TestAnUnderUsedNodeIsDrained(t *testing.T) {
	perform(t, nil, nil, func(s *stage) {
		d := newDraining(s)
		if took := d.until("marked", 11*time.Minute); took < 10*time.Minute {
			t.Errorf("marked after %s, want 10m", took)
		}
		if len(d.evicted) > 0 {
			t.Errorf("%v evicted before the taint was there", d.evicted)
		}
		if took := d.until("gone", time.Minute); took < 5*time.Second {
			t.Errorf("gone %s after the taint", took)
		}
		if !slices.Equal(d.evicted, []string{"web-7"}) {
			t.Errorf("evicted %v, want web-7", d.evicted)
		}
		told := strings.Join(s.said("ScaleDown"), "\n")
		for _, want := range []string{"node goes: 25% of cpu", "prod/web-7 to n1", "deleting pod for node scale down", "node is deleted"} {
			if !strings.Contains(told, want) {
				t.Errorf("events\n%s\nwant one with %q", told, want)
			}
		}
	})
}

func TestADrainWithoutProgressIsUndone(t *testing.T) {
	perform(t, nil, nil, func(s *stage) {
		d := newDraining(s)
		d.refuse = true
		d.until("marked", 11*time.Minute)
		if took := d.until("stays", 5*time.Minute); took < 2*time.Minute {
			t.Errorf("undone after %s, want 2m", took)
		}
		if told := s.said("ScaleDownFailed"); len(told) != 1 || !strings.Contains(told[0], "none has gone for 2m") {
			t.Errorf("events %v, want one ScaleDownFailed", told)
		}
		s.pass(4 * time.Minute)
		if got := d.node(); got != "stays" {
			t.Errorf("the node is %s again at once", got)
		}
	})
}

// A process that finds a node on its way out goes on with it, unless it must not.
func TestDrainsOfAnotherProcess(t *testing.T) {
	ours := drain.Mark(time.Date(1999, 12, 31, 23, 0, 0, 0, time.UTC))
	for name, tc := range map[string]struct {
		taint  corev1.Taint
		change func(*draining)
		begin  func(*stage)
		config string
		want   string
	}{
		"it goes on":                       {taint: ours, want: "gone"},
		"somebody else's is left alone":    {taint: corev1.Taint{Key: drain.Taint, Value: "946681200", Effect: corev1.TaintEffectNoSchedule}, want: drain.Taint},
		"not where a pod has to stay":      {taint: ours, want: "stays", change: func(d *draining) { d.annotate(drain.SafeToEvict, "false") }},
		"not while most nodes are unready": {taint: ours, want: "stays", change: func(d *draining) { d.lose(4) }},
		"not beside a Cluster Autoscaler":  {taint: ours, want: "stays", begin: func(s *stage) { s.renewLease("anywhere", observe.ClusterAutoscalerLease) }},
		"not where nodes are only watched": {taint: ours, want: "marked", config: "nodes: {mode: Observe}"},
	} {
		t.Run(name, func(t *testing.T) {
			scene{config: tc.config, begin: tc.begin}.perform(t, func(s *stage) {
				d := newDraining(s, tc.taint)
				if tc.change != nil {
					tc.change(d)
				}
				s.pass(time.Minute)
				if got := d.node(); got != tc.want {
					t.Errorf("the node is %s, want %s", got, tc.want)
				}
			})
		})
	}
}

func (d *draining) annotate(key, value string) {
	pod, err := d.kube.CoreV1().Pods("prod").Get(d.t.Context(), "web-7", metav1.GetOptions{})
	if err != nil {
		d.t.Fatal(err)
	}
	pod = pod.DeepCopy()
	metav1.SetMetaDataAnnotation(&pod.ObjectMeta, key, value)
	if _, err := d.kube.CoreV1().Pods("prod").Update(d.t.Context(), pod, metav1.UpdateOptions{}); err != nil {
		d.t.Fatal(err)
	}
}

// lose adds nodes that are not ready.
func (d *draining) lose(n int) {
	for i := range n {
		name := fmt.Sprintf("lost-%d", i)
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)}}
		if err := d.kube.Tracker().Add(node); err != nil {
			d.t.Fatal(err)
		}
	}
}

// mute is a provider that may know nothing.
type mute struct {
	cloud.Provider
	since time.Duration // from the beginning of the story
	began time.Time
}

func (m mute) Refresh(ctx context.Context) error {
	if time.Since(m.began) >= m.since {
		return errors.New("no answer")
	}
	return m.Provider.Refresh(ctx)
}

func TestADrainThatNothingIsKnownOfIsUndone(t *testing.T) {
	silence := 10*time.Minute + 20*time.Second
	mutes := func(s *stage) {
		s.conductor.nodes.Provider = mute{Provider: s.conductor.nodes.Provider, since: silence, began: s.began}
	}
	scene{begin: mutes}.perform(t, func(s *stage) {
		d := newDraining(s)
		d.refuse = true
		if took := d.until("marked", silence); took < 10*time.Minute {
			t.Errorf("marked after %s, want 10m", took)
		}
		if took := d.until("stays", 5*time.Minute); took < 2*time.Minute {
			t.Errorf("undone after %s, want 2m", took)
		}
		if told := s.said("ScaleDownFailed"); len(told) != 1 || !strings.Contains(told[0], "nothing is known of the node groups: refreshing node groups: no answer") {
			t.Errorf("events %v, want one ScaleDownFailed", told)
		}
	})
}

// muteGroups answer, and their groups do not, for a time.
type muteGroups struct {
	cloud.Provider
	from, to time.Time
}

func (m muteGroups) Groups(ctx context.Context) ([]cloud.NodeGroup, error) {
	groups, err := m.Provider.Groups(ctx)
	for i := range groups {
		groups[i] = muteGroup{groups[i], m}
	}
	return groups, err
}

type muteGroup struct {
	cloud.NodeGroup
	of muteGroups
}

func (m muteGroup) TargetSize(ctx context.Context) (int, error) {
	if now := time.Now(); now.After(m.of.from) && now.Before(m.of.to) {
		return 0, errors.New("no answer")
	}
	return m.NodeGroup.TargetSize(ctx)
}

// A drain outlasts the silence of its node's group, unless that is a long one.
func TestADrainWhoseGroupIsSilent(t *testing.T) {
	for silence, want := range map[time.Duration]string{time.Minute: "gone", time.Hour: "stays"} {
		t.Run(want, func(t *testing.T) {
			mutes := func(s *stage) {
				from := s.began.Add(10*time.Minute + 20*time.Second)
				s.conductor.nodes.Provider = muteGroups{s.conductor.nodes.Provider, from, from.Add(silence)}
			}
			scene{begin: mutes}.perform(t, func(s *stage) {
				d := newDraining(s)
				d.refuse = true
				d.until("marked", 10*time.Minute+20*time.Second)
				s.pass(40 * time.Second)
				if told := s.said("ScaleDownFailed"); len(told) > 0 {
					t.Errorf("events %v, want that the node waits", told)
				}
				s.set(func() { d.refuse = false })
				d.until(want, 5*time.Minute)
			})
		})
	}
}

// What was written and the informers do not show yet counts, so that it is not decided a second time.
func TestWhatWasWrittenCounts(t *testing.T) {
	now, h := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), newDrainHistory()
	plain := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", UID: "n", ResourceVersion: "1"}}
	tainted := plain.DeepCopy()
	tainted.ResourceVersion, tainted.Spec.Taints = "2", []corev1.Taint{drain.Mark(now)}
	pod := webPod(1)
	h.written[plain.UID], h.evicted[pod.UID] = writtenNode{past: "1", node: tainted}, true
	h.deleted["gone"], h.failed["gone"], h.progress["gone"] = now, "no", drain.Progress{Left: 1}

	h.forget([]*corev1.Node{plain}, []*corev1.Pod{pod})
	if got := h.nodesAsWritten([]*corev1.Node{plain}); !drain.Marked(got[0]) {
		t.Error("the taint that was written does not count")
	}
	if got := h.podsAsWritten([]*corev1.Pod{pod}, now); got[0].DeletionTimestamp == nil || pod.DeletionTimestamp != nil {
		t.Errorf("the eviction does not count, or was written into the cache: %v, %v", got[0].DeletionTimestamp, pod.DeletionTimestamp)
	}
	if !h.unseen([]*corev1.Pod{pod}) || len(h.deleted)+len(h.failed)+len(h.progress) > 0 {
		t.Errorf("evicted %v, deleted %v, failed %v, progress %v", h.evicted, h.deleted, h.failed, h.progress)
	}

	another := plain.DeepCopy()
	another.ResourceVersion = "3"
	h.forget([]*corev1.Node{another}, nil)
	if got := h.nodesAsWritten([]*corev1.Node{another}); drain.Marked(got[0]) {
		t.Error("what was written counts more than what came after it")
	}
	if h.unseen(nil) {
		t.Error("a pod that is gone is waited for")
	}
}

// What is deleted in a tick neither comes back in it nor counts for its group, though the informer shows it still.
func TestDeletedNodesAreNotDecidedOn(t *testing.T) {
	perform(t, nil, nil, func(s *stage) {
		newDraining(s, drain.Mark(time.Now().Add(-time.Minute)))
		s.pass(100 * time.Millisecond) // the informer shows it, and no tick has come
		c := s.conductor
		c.history.nodes.engine.Asked = map[string]nodes.Asked{"pool": {Target: 1}}
		in, groups, err := c.observeNodes(s.t.Context(), c.reader.Nodes(), nil)
		if err != nil {
			t.Fatal(err)
		}
		before := in.Groups[0].Target
		c.stepDrains(s.t.Context(), &in, groups)
		i := slices.IndexFunc(in.Nodes, func(n nodes.Node) bool { return n.Object.Name == "pool-1" })
		if in.Nodes[i].Draining || before != 1 || in.Groups[0].Target != 0 || in.History.Asked["pool"].Target != 0 {
			t.Errorf("draining %t, target %d of %d, asked for %d; want it gone, and nothing owed", in.Nodes[i].Draining, in.Groups[0].Target, before, in.History.Asked["pool"].Target)
		}
	})
}
