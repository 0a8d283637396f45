// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"github.com/berth-dev/berth/autoscaler/config"
	"github.com/berth-dev/berth/autoscaler/observe"
)

// asked counts the nodes that were asked for.
func (s *stage) asked() (n int) {
	for _, action := range s.kube.Actions() {
		if action.Matches("create", "nodes") {
			n++
		}
	}
	return n
}

// nodesAre demands that berth_nodes_state names this state alone.
func (s *stage) nodesAre(want string) {
	s.t.Helper()
	families, err := s.figures.Gather()
	if err != nil {
		s.t.Fatal(err)
	}
	var is []string
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == "berth_nodes_state" && m.GetGauge().GetValue() == 1 {
				is = append(is, m.GetLabel()[0].GetValue())
			}
		}
	}
	if len(is) != 1 || is[0] != want {
		s.t.Errorf("berth_nodes_state is 1 for %q, want %q", is, want)
	}
}

func TestNodesAreLeftToAClusterAutoscaler(t *testing.T) {
	renew := func(s *stage) { s.renewLease("anywhere", observe.ClusterAutoscalerLease) }
	scene{hpas: hpaList{webHPA("web", "web")}, begin: renew}.perform(t, func(s *stage) {
		s.set(func() { s.usage, s.slow = 1500, true })
		for range 24 {
			renew(s)
			s.pass(5 * time.Second)
		}
		s.nodesAre("stands_back")
		if n := s.asked(); n != 0 {
			t.Errorf("%d nodes were asked for beside a Cluster Autoscaler", n)
		}
		s.pass(80 * time.Second)
		s.nodesAre("acts")
		if s.asked() == 0 {
			t.Error("no node was asked for once the Cluster Autoscaler was gone")
		}
	})
}

func TestNodesAreLeftAloneUntilItIsKnownWhoElseActs(t *testing.T) {
	var silent atomic.Bool
	begin := func(s *stage) {
		silent.Store(true)
		s.kube.PrependReactor("list", "leases", func(clienttesting.Action) (bool, runtime.Object, error) {
			return silent.Load(), nil, errors.New("no answer")
		})
	}
	scene{hpas: hpaList{webHPA("web", "web")}, begin: begin}.perform(t, func(s *stage) {
		s.set(func() { s.usage, s.slow = 1500, true })
		s.pass(2 * time.Minute)
		s.nodesAre("judges")
		if n := s.asked(); n != 0 {
			t.Errorf("%d nodes were asked for while nobody knew who else does", n)
		}
		silent.Store(false)
		s.pass(30 * time.Second)
		s.nodesAre("acts")
		if s.asked() == 0 {
			t.Error("no node was asked for when it was known that nobody else does")
		}
	})
}

func TestNodesOfKarpenterAreItsOwn(t *testing.T) {
	perform(t, nil, nil, func(s *stage) {
		of := func(name string, labels map[string]string) *corev1.Node {
			labels["berth.dev/node-group"] = "pool"
			return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
		}
		mine, theirs := of("mine", map[string]string{}), of("theirs", map[string]string{"karpenter.sh/nodepool": "default"})
		in, _, err := s.conductor.observeNodes(s.t.Context(), []*corev1.Node{mine, theirs}, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range in.Nodes {
			if want := map[string]string{"mine": "pool", "theirs": ""}[n.Object.Name]; n.Group != want {
				t.Errorf("node %s is of group %q, want %q", n.Object.Name, n.Group, want)
			}
		}
	})
}

func TestNodesAreObserved(t *testing.T) {
	scene{hpas: hpaList{webHPA("web", "web")}, config: "nodes: {mode: Observe}\n"}.perform(t, func(s *stage) {
		s.set(func() { s.usage, s.slow = 1500, true })
		s.pass(time.Minute)
		s.nodesAre("observes")
		if got := s.conductor.history.rivals.hold.reason; got != observing || s.asked() != 0 {
			t.Errorf("held for %q, %d nodes asked for, want %q and none (mode %s)", got, s.asked(), observing, config.Observe)
		}
	})
}
