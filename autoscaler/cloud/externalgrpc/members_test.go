// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package externalgrpc

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/berth-dev/berth/autoscaler/cloud/externalgrpc/protos"
)

// join adds a node whose machine is in the group, or in none.
func (s *server) join(group, name string) *v1.Node {
	n := newNode(group, name, types.UID("uid-of-"+name))
	s.set(func() {
		if g := s.groups[group]; g != nil {
			g.target++
			g.machines = append(g.machines, &protos.Instance{Id: n.Spec.ProviderID})
		}
		s.must(s.nodes.Add(n))
	})
	return n
}

func (s *server) wantGroup(p *Provider, n *v1.Node, want string) {
	s.t.Helper()
	if got, ok := p.GroupOf(n); got != want || ok != (want != "") {
		s.t.Errorf("node %s is of group %q, %t; want %q", n.Name, got, ok, want)
	}
}

func (s *server) wantCalls(call string, want int) {
	s.t.Helper()
	if got := s.counted(call); got != want {
		s.t.Errorf("%d calls of %s, want %d", got, call, want)
	}
}

// A few calls answer for many nodes, and none is asked about twice.
func TestManyNodes(t *testing.T) {
	s := newServer(t)
	p := s.provider()
	var nodes []*v1.Node
	for i := range 1000 {
		nodes = append(nodes, s.join([]string{"zone-a", "zone-b"}[i%2], fmt.Sprintf("n-%d", i)))
	}
	s.refresh(p)
	s.wantCalls("NodeGroupNodes", 2)
	s.wantCalls("NodeGroupForNode", 0)
	for i, n := range nodes {
		s.wantGroup(p, n, []string{"zone-a", "zone-b"}[i%2])
	}
	s.refresh(p)
	s.wantCalls("NodeGroupNodes", 0)
	s.wantCalls("NodeGroupForNode", 0)
	another := s.join("zone-a", "another")
	s.wantGroup(p, another, "")
	s.refresh(p)
	s.wantCalls("NodeGroupNodes", 0)
	s.wantCalls("NodeGroupForNode", 1)
	s.wantGroup(p, another, "zone-a")
	for _, n := range nodes {
		s.must(s.nodes.Delete(n))
	}
	s.refresh(p)
	if len(p.members) != 1 {
		t.Errorf("%d nodes are remembered, want 1", len(p.members))
	}
}

// A node that is not as it was asked about is asked about again.
func TestNodeChanges(t *testing.T) {
	tests := map[string]struct {
		change func(*v1.Node)
		calls  int
	}{
		"annotations": {func(n *v1.Node) { n.Annotations = map[string]string{"a": "b"} }, 0},
		"heartbeat":   {func(n *v1.Node) { n.ResourceVersion = "9" }, 0},
		"labels":      {func(n *v1.Node) { n.Labels["pool"] = "x" }, 1},
		"provider ID": {func(n *v1.Node) { n.Spec.ProviderID = "fake://m" }, 1},
		"another":     {func(n *v1.Node) { n.UID = "another" }, 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			p := s.provider()
			n := s.join("zone-a", "n")
			s.set(func() {
				s.groups["zone-a"].machines = append(s.groups["zone-a"].machines, &protos.Instance{Id: "fake://m"})
			})
			s.refresh(p)
			s.wantCalls("NodeGroupForNode", 1)
			changed := n.DeepCopy()
			tt.change(changed)
			s.must(s.nodes.Update(changed))
			s.refresh(p)
			s.wantCalls("NodeGroupForNode", tt.calls)
			s.wantGroup(p, changed, "zone-a")
		})
	}
}

// Strangers are asked about less and less often.
func TestStrangers(t *testing.T) {
	s := newServer(t)
	p := s.provider()
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	stranger := s.join("", "stranger")
	var asked []int
	for minute := range 40 {
		p.now = func() time.Time { return start.Add(time.Duration(minute) * time.Minute) }
		s.refresh(p)
		if s.counted("NodeGroupForNode") > 0 {
			asked = append(asked, minute)
		}
	}
	if got, want := fmt.Sprint(asked), "[0 1 2 4 8 16 32]"; got != want {
		t.Errorf("asked in minutes %s, want %s", got, want)
	}
	s.wantGroup(p, stranger, "")
	s.set(func() {
		s.groups["zone-b"].machines = []*protos.Instance{{Id: stranger.Spec.ProviderID}}
	})
	p.now = func() time.Time { return start.Add(2 * time.Hour) }
	s.refresh(p)
	s.wantGroup(p, stranger, "zone-b")
}

// A server that renames a group is asked whose its nodes are now.
func TestGroupIsRenamed(t *testing.T) {
	s := newServer(t)
	p := s.provider(func(o *Options) { o.Groups = append(o.Groups, Group{Name: "zone-c"}) })
	n := s.join("zone-a", "n")
	s.refresh(p)
	s.wantGroup(p, n, "zone-a")
	s.set(func() { s.groups["zone-c"] = s.groups["zone-a"]; delete(s.groups, "zone-a") })
	s.refresh(p)
	s.wantGroup(p, n, "zone-c")
}

// Nodes that there is no answer for keep their group; the others get theirs.
func TestHalfFailing(t *testing.T) {
	s := newServer(t)
	p := s.provider()
	known := s.join("zone-a", "known")
	s.refresh(p)
	s.fail(codes.Internal, "NodeGroupNodes")
	many := []*v1.Node{s.join("zone-a", "m-1"), s.join("zone-b", "m-2"), s.join("zone-b", "m-3")}
	s.refresh(p)
	for i, want := range []string{"zone-a", "zone-b", "zone-b"} {
		s.wantGroup(p, many[i], want)
	}
	s.fail(codes.Internal, "NodeGroupForNode")
	s.set(func() {
		s.groups["zone-b"].machines = append(s.groups["zone-b"].machines, &protos.Instance{Id: many[0].Spec.ProviderID})
	})
	relabelled := known.DeepCopy()
	relabelled.Labels["pool"] = "x"
	s.must(s.nodes.Update(relabelled))
	lost, found := s.join("", "lost"), s.join("zone-b", "found")
	s.refresh(p)
	s.wantGroup(p, relabelled, "zone-a")
	s.wantGroup(p, lost, "")
	s.wantGroup(p, found, "zone-b")
	s.set(func() { s.before = nil })
	s.wantCalls("NodeGroupForNode", 3+1+1)
	s.refresh(p)
	s.wantCalls("NodeGroupForNode", 1)
}

// A machine that two groups claim is asked about by itself.
func TestMachineOfTwoGroups(t *testing.T) {
	s := newServer(t)
	p := s.provider()
	for i := range 5 {
		s.join("zone-a", fmt.Sprintf("n-%d", i))
	}
	s.set(func() { s.groups["zone-b"].machines = []*protos.Instance{{Id: "fake://n-3"}} })
	s.refresh(p)
	s.wantCalls("NodeGroupForNode", 1)
}

// A server that does not answer for nodes delays a round by one call, and the groups are known.
func TestSlowForNodes(t *testing.T) {
	s := newServer(t)
	p := s.provider()
	for i := range 5 {
		s.join("zone-a", fmt.Sprintf("n-%d", i))
	}
	p.timeout = 50 * time.Millisecond
	s.set(func() {
		s.before = func(ctx context.Context, call string) error {
			if call == "NodeGroupForNode" || call == "NodeGroupNodes" {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}
	})
	s.refresh(p)
	if n := s.counted("NodeGroupNodes") + s.counted("NodeGroupForNode"); n != 1 {
		t.Errorf("%d calls, want 1", n)
	}
	if groups, err := p.Groups(t.Context()); err != nil || len(groups) != 2 {
		t.Errorf("groups %v, %v; want both", groups, err)
	}
}

func TestRefreshFails(t *testing.T) {
	for _, name := range []string{"Refresh", "NodeGroups"} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			p := s.provider()
			n := s.join("zone-a", "n")
			s.refresh(p)
			s.fail(codes.Unavailable, name)
			var failed *CallError
			if err := p.Refresh(t.Context()); !errors.As(err, &failed) || failed.Call != name || status.Code(err) != codes.Unavailable {
				t.Errorf("got %v, want a CallError of %s that is unavailable", err, name)
			}
			s.wantGroup(p, n, "zone-a")
			if groups, err := p.Groups(t.Context()); err != nil || len(groups) != 2 {
				t.Errorf("groups %v, %v; want those of before", groups, err)
			}
		})
	}
}

// BenchmarkRefresh is a round with 5,000 nodes in 50 groups: the first one, and one of those that follow.
func BenchmarkRefresh(b *testing.B) {
	s := newServer(b)
	var groups []Group
	for i := range 50 {
		name := fmt.Sprintf("group-%d", i)
		s.groups[name] = &serverGroup{max: 200}
		groups = append(groups, Group{Name: name})
		for j := range 100 {
			s.join(name, fmt.Sprintf("%s-%d", name, j))
		}
	}
	p := s.provider(func(o *Options) { o.Groups = groups })
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			p.members = members{}
			s.refresh(p)
		}
	})
	b.Run("next", func(b *testing.B) {
		for b.Loop() {
			s.refresh(p)
		}
	})
}
