// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package cloudtest checks that a provider keeps the promises of package cloud.
// Every provider runs it in its own tests.
package cloudtest

import (
	"context"
	"errors"
	"sync"
	"testing"

	v1 "k8s.io/api/core/v1"

	"github.com/berth-dev/berth/autoscaler/cloud"
)

// Fixture is a provider under test. It has at least two groups, each empty,
// with room for at least three nodes.
type Fixture struct {
	Provider cloud.Provider
	// Settle returns when everything asked for has happened and the provider
	// has seen it.
	Settle func()
	// Nodes returns the nodes that exist.
	Nodes func() []*v1.Node
	// Withhold keeps the machines that are asked for after it from coming, and
	// Settle then waits for everything else. It is nil where a machine exists
	// as soon as it is asked for.
	Withhold func()
	// Fail lets the machines that are asked for after it fail, with this code
	// and message. It is nil where none can fail once it was asked for.
	Fail func(code, message string)
}

// Run runs the suite; each test gets a fixture of its own.
func Run(t *testing.T, fixture func(t *testing.T) Fixture) {
	tests := map[string]func(*suite){
		"groups are stable":                       testGroups,
		"increase counts at once, nodes follow":   testIncrease,
		"a group never passes its maximum":        testMaximum,
		"several callers never pass the maximum":  testConcurrency,
		"increase by nothing is refused":          testNothing,
		"delete counts at once":                   testDelete,
		"deleting twice is harmless":              testDeleteTwice,
		"a successor of the name is left alone":   testSuccessor,
		"a node of another group is left alone":   testOtherGroup,
		"an ended context changes nothing":        testContext,
		"nodes look like the template":            testTemplate,
		"a node that is nobody's has no group":    testStranger,
		"what was forgotten is not counted twice": testRefresh,
		"options keep what they are given":        testOptions,
		"a price is a price":                      testPrice,
		"instances are the machines of the nodes": testInstances,
		"a deleted instance is on its way out":    testInstanceDeleted,
		"a failed machine says why":               testInstanceFailed,
		"a node that has come is not taken back":  testForgoNothing,
		"a wish is taken back as it can be":       testForgoAtOnce,
		"only what is still to come is forgone":   testForgo,
		"several callers forgo each wish once":    testForgoConcurrently,
		"an ended context takes nothing back":     testForgoContext,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := fixture(t)
			groups, err := f.Provider.Groups(t.Context())
			if err != nil || len(groups) < 2 {
				t.Fatalf("Groups() = %d groups, %v; the suite needs two", len(groups), err)
			}
			test(&suite{T: t, Fixture: f, group: groups[0], other: groups[1]})
		})
	}
}

type suite struct {
	*testing.T
	Fixture
	group, other cloud.NodeGroup
}

func (s *suite) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *suite) wantSize(g cloud.NodeGroup, want int) {
	s.Helper()
	got, err := g.TargetSize(s.Context())
	if err != nil || got != want {
		s.Fatalf("target size of %s = %d, %v; want %d", g.Name(), got, err, want)
	}
}

// nodesOf returns the nodes of the group that are not being deleted.
func (s *suite) nodesOf(g cloud.NodeGroup) []*v1.Node {
	var nodes []*v1.Node
	for _, n := range s.Nodes() {
		if name, ok := s.Provider.GroupOf(n); ok && name == g.Name() && n.DeletionTimestamp == nil {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

func (s *suite) wantNodes(g cloud.NodeGroup, want int) []*v1.Node {
	s.Helper()
	nodes := s.nodesOf(g)
	if len(nodes) != want {
		s.Fatalf("group %s has %d nodes, want %d", g.Name(), len(nodes), want)
	}
	return nodes
}

// grown returns the nodes of the group after it has grown.
func (s *suite) grown(g cloud.NodeGroup, n int) []*v1.Node {
	s.Helper()
	s.must(g.Increase(s.Context(), n))
	s.Settle()
	return s.wantNodes(g, n)
}

func testGroups(s *suite) {
	again, err := s.Provider.Groups(s.Context())
	s.must(err)
	last := ""
	for _, g := range again {
		if g.Name() <= last {
			s.Errorf("group %q follows %q: not by name, or not unique", g.Name(), last)
		}
		last = g.Name()
		if low, high := g.Limits(); low < 0 || high < low {
			s.Errorf("group %s has limits %d to %d", g.Name(), low, high)
		}
		if problem := s.Provider.Problems()[g.Name()]; problem != nil {
			s.Errorf("group %s is there, and is left out: %v", g.Name(), problem)
		}
	}
}

func testIncrease(s *suite) {
	s.must(s.group.Increase(s.Context(), 1))
	s.wantSize(s.group, 1)
	s.must(s.group.Increase(s.Context(), 2))
	s.wantSize(s.group, 3)
	s.Settle()
	s.wantSize(s.group, 3)
	s.wantSize(s.other, 0)
	s.wantNodes(s.group, 3)
}

func testMaximum(s *suite) {
	_, high := s.group.Limits()
	s.must(s.group.Increase(s.Context(), high-1))
	err := s.group.Increase(s.Context(), 2)
	var atMax *cloud.AtMaximumError
	if !errors.As(err, &atMax) || atMax.Group != s.group.Name() || atMax.Max != high || atMax.Size != high-1 || atMax.Asked != 2 {
		s.Errorf("Increase beyond the maximum = %v, want an AtMaximumError with the numbers", err)
	}
	s.Settle()
	s.wantNodes(s.group, high-1)
}

func testConcurrency(s *suite) {
	_, high := s.group.Limits()
	var calls sync.WaitGroup
	for range high + 3 {
		calls.Go(func() { _ = s.group.Increase(s.Context(), 1) })
	}
	calls.Wait()
	s.wantSize(s.group, high)
	s.Settle()
	s.wantNodes(s.group, high)
}

func testNothing(s *suite) {
	for _, n := range []int{0, -1} {
		if err := s.group.Increase(s.Context(), n); err == nil {
			s.Errorf("Increase(%d) is no error", n)
		}
	}
	s.wantSize(s.group, 0)
}

func testDelete(s *suite) {
	nodes := s.grown(s.group, 3)
	s.must(s.group.Delete(s.Context(), nodes[:2]...))
	s.wantSize(s.group, 1)
	s.Settle()
	s.wantSize(s.group, 1)
	if left := s.wantNodes(s.group, 1); left[0].UID != nodes[2].UID {
		s.Errorf("node %s is left, want %s", left[0].Name, nodes[2].Name)
	}
}

func testDeleteTwice(s *suite) {
	nodes := s.grown(s.group, 2)
	for range 2 {
		s.must(s.group.Delete(s.Context(), nodes[0]))
		s.wantSize(s.group, 1)
		s.Settle()
		s.wantSize(s.group, 1)
	}
}

func testSuccessor(s *suite) {
	former := s.grown(s.group, 1)[0].DeepCopy()
	former.UID = "that-of-a-former-node"
	s.must(s.group.Delete(s.Context(), former))
	s.Settle()
	s.wantSize(s.group, 1)
	s.wantNodes(s.group, 1)
}

func testOtherGroup(s *suite) {
	mine, others := s.grown(s.group, 1), s.grown(s.other, 1)
	err := s.group.Delete(s.Context(), mine[0], others[0])
	var notIn *cloud.NotInGroupError
	if !errors.As(err, &notIn) || notIn.Group != s.group.Name() || notIn.Node != others[0].Name {
		s.Errorf("deleting a node of another group = %v, want a NotInGroupError that names both", err)
	}
	s.Settle()
	s.wantNodes(s.group, 1)
	s.wantNodes(s.other, 1)
}

func testContext(s *suite) {
	nodes := s.grown(s.group, 1)
	ended, cancel := context.WithCancel(s.Context())
	cancel()
	if err := s.group.Increase(ended, 1); !errors.Is(err, context.Canceled) {
		s.Errorf("Increase = %v, want %v", err, context.Canceled)
	}
	if err := s.group.Delete(ended, nodes...); !errors.Is(err, context.Canceled) {
		s.Errorf("Delete = %v, want %v", err, context.Canceled)
	}
	s.Settle()
	s.wantSize(s.group, 1)
	s.wantNodes(s.group, 1)
}

func testTemplate(s *suite) {
	nodes := s.grown(s.group, 2)
	if nodes[0].Name == nodes[1].Name || nodes[0].Labels[v1.LabelHostname] == nodes[1].Labels[v1.LabelHostname] {
		s.Errorf("two nodes share a name or a hostname: %s", nodes[0].Name)
	}
	template, err := s.group.Template(s.Context())
	s.must(err)
	node := template.Node
	if group, ok := s.Provider.GroupOf(node); !ok || group != s.group.Name() {
		s.Errorf("the template is of group %q, want %q", group, s.group.Name())
	}
	for key, want := range node.Labels {
		if got := nodes[0].Labels[key]; key != v1.LabelHostname && got != want {
			s.Errorf("label %s is %q, the template has %q", key, got, want)
		}
	}
	for name, want := range node.Status.Allocatable {
		if got := nodes[0].Status.Allocatable[name]; got.Cmp(want) != 0 {
			s.Errorf("%s is %s, the template has %s", name, got.String(), want.String())
		}
	}
	for _, taint := range node.Spec.Taints {
		found := false
		for _, got := range nodes[0].Spec.Taints {
			found = found || got.MatchTaint(&taint) && got.Value == taint.Value
		}
		if !found {
			s.Errorf("taint %s of the template is missing", taint.ToString())
		}
	}
	node.Labels["changed"] = "by the caller"
	if again, err := s.group.Template(s.Context()); err != nil || again.Node.Labels["changed"] != "" {
		s.Errorf("the caller does not own the template (%v)", err)
	}
}

func testStranger(s *suite) {
	stranger := s.grown(s.group, 1)[0].DeepCopy()
	stranger.Labels, stranger.Annotations, stranger.Spec.ProviderID = nil, nil, ""
	stranger.Name = "stranger"
	if group, ok := s.Provider.GroupOf(stranger); ok {
		s.Errorf("a stranger is of group %q", group)
	}
}

func testRefresh(s *suite) {
	nodes := s.grown(s.group, 2)
	s.must(s.Provider.Refresh(s.Context()))
	s.wantSize(s.group, 2)
	s.must(s.group.Delete(s.Context(), nodes[0]))
	s.must(s.Provider.Refresh(s.Context()))
	s.wantSize(s.group, 1)
	s.Settle()
	s.must(s.Provider.Refresh(s.Context()))
	s.wantSize(s.group, 1)
}
