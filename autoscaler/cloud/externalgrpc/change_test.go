// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package externalgrpc

import (
	"context"
	"errors"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"

	"github.com/berth-dev/berth/autoscaler/cloud"
	"github.com/berth-dev/berth/autoscaler/cloud/externalgrpc/protos"
)

func (s *server) wantTarget(group string, want int32) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if got := s.groups[group].target; got != want {
		s.t.Errorf("target of %s is %d, want %d", group, got, want)
	}
}

// The server takes one from the target for each node that it is told to delete, so it is told once.
func TestDeleteOnce(t *testing.T) {
	tests := map[string]struct {
		between func(*server, *Provider, *v1.Node)
		want    int32
	}{
		"again":               {func(*server, *Provider, *v1.Node) {}, 1},
		"again, silently":     {func(s *server, _ *Provider, _ *v1.Node) { s.silent = true }, 1},
		"again, by other ids": {func(s *server, _ *Provider, _ *v1.Node) { s.foreign = true }, 1},
		"by the next leader": {func(_ *server, p *Provider, _ *v1.Node) {
			p.listed["zone-a"] = newNodeGroup(p, Group{Name: "zone-a"})
		}, 1},
		"when it is gone": {func(s *server, _ *Provider, n *v1.Node) { s.must(s.nodes.Delete(n)) }, 1},
		"when another has its name": {func(s *server, _ *Provider, n *v1.Node) {
			n = n.DeepCopy()
			n.UID = "another"
			s.must(s.nodes.Update(n))
		}, 1},
		"long after, silently": {func(s *server, p *Provider, _ *v1.Node) {
			s.silent = true
			p.now = func() time.Time { return time.Now().Add(deleteAgain) }
		}, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			p := s.provider()
			n := s.join("zone-a", "n")
			s.join("zone-a", "other")
			s.refresh(p)
			s.must(p.listed["zone-a"].Delete(t.Context(), n))
			s.wantTarget("zone-a", 1)
			s.set(func() { tt.between(s, p, n) })
			s.must(p.listed["zone-a"].Delete(t.Context(), n))
			s.wantTarget("zone-a", tt.want)
		})
	}
}

// What is remembered of a node does not count when it is to be deleted.
func TestDeleteAsksWhoseTheNodeIs(t *testing.T) {
	s := newServer(t)
	p := s.provider()
	n := s.join("zone-a", "n")
	s.refresh(p)
	s.set(func() { s.groups["zone-a"], s.groups["zone-b"] = s.groups["zone-b"], s.groups["zone-a"] })
	s.wantGroup(p, n, "zone-a")
	var notIn *cloud.NotInGroupError
	if err := p.listed["zone-a"].Delete(t.Context(), n); !errors.As(err, &notIn) || notIn.Node != "n" || notIn.Group != "zone-a" {
		t.Errorf("got %v, want a NotInGroupError", err)
	}
	s.wantTarget("zone-b", 1)
}

// Only a machine that has failed, or goes, may still be wished away. One that has failed is deleted, once.
func TestForgoNoMachine(t *testing.T) {
	comes := func(class int32) *protos.InstanceStatus {
		return &protos.InstanceStatus{InstanceState: protos.InstanceStatus_instanceCreating, ErrorInfo: &protos.InstanceErrorInfo{ErrorCode: "E", InstanceErrorClass: class}}
	}
	tests := map[string]struct {
		status *protos.InstanceStatus
		want   int
	}{
		"runs":          {&protos.InstanceStatus{InstanceState: protos.InstanceStatus_instanceRunning}, 1},
		"not said":      {nil, 1},
		"comes":         {&protos.InstanceStatus{InstanceState: protos.InstanceStatus_instanceCreating}, 1},
		"failed":        {comes(99), 2},
		"cannot be had": {comes(1), 2},
		"goes":          {&protos.InstanceStatus{InstanceState: protos.InstanceStatus_instanceDeleting}, 2},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			g := s.provider().listed["zone-a"]
			s.set(func() {
				s.groups["zone-a"].target = 3
				s.groups["zone-a"].machines = []*protos.Instance{{Id: "one"}, {Id: "two", Status: tt.status}}
			})
			var nothing *cloud.NothingToForgoError
			if err := g.DecreaseTarget(t.Context(), tt.want+1); !errors.As(err, &nothing) || nothing.Awaited != tt.want || nothing.Asked != tt.want+1 {
				t.Errorf("got %v, want a NothingToForgoError with %d awaited", err, tt.want)
			}
			s.must(g.DecreaseTarget(t.Context(), tt.want))
			s.wantTarget("zone-a", int32(3-tt.want))
			deleted := int32(0)
			if tt.status.GetErrorInfo() != nil {
				deleted = 1
			}
			if s.forgone != deleted-int32(tt.want) || s.counted("NodeGroupDeleteNodes") != int(deleted) {
				t.Errorf("the server was told %d, want %d, and %d machines deleted", s.forgone, deleted-int32(tt.want), deleted)
			}
		})
	}
}

// A server may go on to say that a machine has failed that it was told to delete: it is not told twice.
func TestForgoTheFailedOnce(t *testing.T) {
	s := newServer(t)
	g := s.provider().listed["zone-a"]
	failed := &protos.InstanceStatus{InstanceState: protos.InstanceStatus_instanceCreating, ErrorInfo: &protos.InstanceErrorInfo{ErrorCode: "E", InstanceErrorClass: 99}}
	machines := []*protos.Instance{{Id: "one", Status: failed}, {Id: "two", Status: failed}}
	s.set(func() { s.groups["zone-a"].target, s.groups["zone-a"].machines = 2, machines })
	s.must(g.DecreaseTarget(t.Context(), 1))
	s.wantTarget("zone-a", 1)
	s.set(func() {
		s.groups["zone-a"].machines = []*protos.Instance{{Id: "one", Status: failed}, {Id: "two", Status: failed}}
	})
	instances, err := g.Instances(t.Context())
	s.must(err)
	if instances[0].State != cloud.InstanceDeleting || instances[0].Failed != nil || instances[1].Failed == nil {
		t.Errorf("instances %+v, want one on its way out, and two failed", instances)
	}
	var told *protos.NodeGroupDeleteNodesRequest
	s.set(func() { told = s.deleting })
	if n := told.GetNodes(); len(n) != 1 || n[0].GetProviderID() != "one" || n[0].GetAnnotations()["k8s.io/cluster-autoscaler/fake-node-reason"] != "create-error" {
		t.Errorf("the server was told to delete %v, want the placeholder of one", n)
	}
	s.must(g.DecreaseTarget(t.Context(), 1))
	s.wantTarget("zone-a", 0)
}

// The target is read before it grows, and a number beyond what the protocol can carry is beyond the maximum.
func TestIncreaseReadsTheTarget(t *testing.T) {
	s := newServer(t)
	g := s.provider().listed["zone-a"]
	s.set(func() { s.groups["zone-a"].target = 4 })
	for _, n := range []int{2, 1 << 32, 1<<63 - 1} {
		var atMax *cloud.AtMaximumError
		if err := g.Increase(t.Context(), n); !errors.As(err, &atMax) || *atMax != (cloud.AtMaximumError{Group: "zone-a", Size: 4, Asked: n, Max: 5}) {
			t.Errorf("Increase(%d) = %v, want an AtMaximumError", n, err)
		}
	}
	s.must(g.Increase(t.Context(), 1))
	s.wantTarget("zone-a", 5)
}

// Whoever waits for a turn waits no longer than its context.
func TestWaitingForATurn(t *testing.T) {
	s := newServer(t)
	g := s.provider().listed["zone-a"]
	n := s.join("zone-a", "n")
	held, release := make(chan struct{}), make(chan struct{})
	s.set(func() {
		s.before = func(_ context.Context, call string) error {
			if call == "NodeGroupIncreaseSize" {
				close(held)
				<-release
			}
			return nil
		}
	})
	done := make(chan error)
	go func() { done <- g.Increase(t.Context(), 1) }()
	<-held
	for name, change := range map[string]func(context.Context) error{
		"Increase":       func(ctx context.Context) error { return g.Increase(ctx, 1) },
		"DecreaseTarget": func(ctx context.Context) error { return g.DecreaseTarget(ctx, 1) },
		"Delete":         func(ctx context.Context) error { return g.Delete(ctx, n) },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		if err := change(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s = %v, want %v", name, err, context.DeadlineExceeded)
		}
		cancel()
	}
	close(release)
	s.must(<-done)
	s.wantTarget("zone-a", 2)
}
