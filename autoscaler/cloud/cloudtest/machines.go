// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package cloudtest

import (
	"math"
	"time"

	v1 "k8s.io/api/core/v1"

	"github.com/berth-dev/berth/autoscaler/cloud"
)

// A group's own limit is the same whatever the defaults are; elsewhere each default comes back.
func testOptions(s *suite) {
	a := cloud.Options{UtilizationThreshold: 0.125, UnneededTime: 11 * time.Second, UnreadyTime: 12 * time.Second, MaxNodeProvisionTime: 13 * time.Second}
	b := cloud.Options{UtilizationThreshold: 0.375, UnneededTime: 21 * time.Second, UnreadyTime: 22 * time.Second, MaxNodeProvisionTime: 23 * time.Second}
	gotA, err := s.group.Options(s.Context(), a)
	s.must(err)
	gotB, err := s.group.Options(s.Context(), b)
	s.must(err)
	own := func(field string, kept, same bool) {
		s.Helper()
		if !kept && !same {
			s.Errorf("%s is neither what was given nor the group's own: %+v for %+v, %+v for %+v", field, gotA, a, gotB, b)
		}
	}
	own("UtilizationThreshold", gotA.UtilizationThreshold == a.UtilizationThreshold && gotB.UtilizationThreshold == b.UtilizationThreshold, gotA.UtilizationThreshold == gotB.UtilizationThreshold)
	own("UnneededTime", gotA.UnneededTime == a.UnneededTime && gotB.UnneededTime == b.UnneededTime, gotA.UnneededTime == gotB.UnneededTime)
	own("UnreadyTime", gotA.UnreadyTime == a.UnreadyTime && gotB.UnreadyTime == b.UnreadyTime, gotA.UnreadyTime == gotB.UnreadyTime)
	own("MaxNodeProvisionTime", gotA.MaxNodeProvisionTime == a.MaxNodeProvisionTime && gotB.MaxNodeProvisionTime == b.MaxNodeProvisionTime, gotA.MaxNodeProvisionTime == gotB.MaxNodeProvisionTime)
}

func testPrice(s *suite) {
	for _, g := range []cloud.NodeGroup{s.group, s.other} {
		price, known, err := g.Price(s.Context())
		if err != nil || known && (price < 0 || math.IsNaN(price) || math.IsInf(price, 0)) {
			s.Errorf("price of %s = %v, %t, %v", g.Name(), price, known, err)
		}
	}
}

func (s *suite) instances(g cloud.NodeGroup) []cloud.Instance {
	s.Helper()
	instances, err := g.Instances(s.Context())
	s.must(err)
	for _, i := range instances {
		switch i.State {
		case cloud.InstanceCreating, cloud.InstanceRunning, cloud.InstanceDeleting:
		default:
			s.Errorf("instance %q of %s has state %q", i.ProviderID, g.Name(), i.State)
		}
	}
	return instances
}

// wantRunning checks that the instances that run are the machines of the nodes, each once.
func (s *suite) wantRunning(g cloud.NodeGroup, nodes ...*v1.Node) {
	s.Helper()
	running := map[string]int{}
	for _, i := range s.instances(g) {
		if i.State == cloud.InstanceRunning {
			running[i.ProviderID]++
		}
	}
	for _, n := range nodes {
		if running[n.Spec.ProviderID] != 1 {
			s.Errorf("node %s (%s) has %d running instances, want 1: %v", n.Name, n.Spec.ProviderID, running[n.Spec.ProviderID], running)
		}
	}
	if len(running) != len(nodes) {
		s.Errorf("%d instances of %s run, want %d: %v", len(running), g.Name(), len(nodes), running)
	}
}

func testInstances(s *suite) {
	if got := s.instances(s.group); len(got) != 0 {
		s.Errorf("an empty group has instances %v", got)
	}
	s.must(s.group.Increase(s.Context(), 2))
	if got := s.instances(s.group); len(got) > 2 {
		s.Errorf("%d instances for a target of 2", len(got))
	}
	s.Settle()
	s.wantRunning(s.group, s.wantNodes(s.group, 2)...)
	s.wantRunning(s.other)
	if s.Withhold == nil {
		return
	}
	s.Withhold()
	s.must(s.group.Increase(s.Context(), 1))
	s.Settle()
	s.wantSize(s.group, 3)
	s.wantRunning(s.group, s.wantNodes(s.group, 2)...)
}

func testInstanceDeleted(s *suite) {
	nodes := s.grown(s.group, 2)
	s.must(s.group.Delete(s.Context(), nodes[0]))
	s.wantRunning(s.group, nodes[1])
	s.Settle()
	s.wantRunning(s.group, nodes[1])
	if got := s.instances(s.group); len(got) != 1 {
		s.Errorf("instances %v, want one", got)
	}
}

func testInstanceFailed(s *suite) {
	if s.Fail == nil {
		s.Skip("no machine of this provider fails")
	}
	node := s.grown(s.group, 1)[0]
	s.Fail("NoSuchMachine", "there are no such machines today")
	s.must(s.group.Increase(s.Context(), 1))
	s.Settle()
	failed := 0
	for _, i := range s.instances(s.group) {
		if i.Failed == nil {
			continue
		}
		failed++
		if i.Failed.Code != "NoSuchMachine" || i.Failed.Message != "there are no such machines today" {
			s.Errorf("failure %+v, want the provider's code and message", *i.Failed)
		}
		if i.ProviderID == node.Spec.ProviderID {
			s.Errorf("the machine of node %s has failed", node.Name)
		}
	}
	if failed != 1 {
		s.Errorf("%d failed instances, want 1", failed)
	}
}
