// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package cloudtest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/berth-dev/berth/autoscaler/cloud"
)

// wantNothingToForgo checks the error of DecreaseTarget. A provider may know
// fewer machines to be on their way than there are.
func (s *suite) wantNothingToForgo(err error, asked, most int) {
	s.Helper()
	var nothing *cloud.NothingToForgoError
	if !errors.As(err, &nothing) || nothing.Group != s.group.Name() || nothing.Asked != asked || nothing.Awaited < 0 || nothing.Awaited > most {
		s.Errorf("DecreaseTarget(%d) = %v, want a NothingToForgoError of group %s with at most %d awaited", asked, err, s.group.Name(), most)
	}
}

func testForgoNothing(s *suite) {
	s.wantNothingToForgo(s.group.DecreaseTarget(s.Context(), 1), 1, 0)
	s.wantSize(s.group, 0)
	s.grown(s.group, 2)
	for _, n := range []int{0, -1} {
		if err := s.group.DecreaseTarget(s.Context(), n); err == nil {
			s.Errorf("DecreaseTarget(%d) is no error", n)
		}
	}
	for _, n := range []int{1, 2, 3} {
		s.wantNothingToForgo(s.group.DecreaseTarget(s.Context(), n), n, 0)
	}
	s.wantSize(s.group, 2)
	s.Settle()
	s.wantSize(s.group, 2)
	s.wantNodes(s.group, 2)
}

// Where the machine exists at once there is nothing to take back; where it does not, the wish goes.
func testForgoAtOnce(s *suite) {
	s.must(s.group.Increase(s.Context(), 2))
	want := 1
	if err := s.group.DecreaseTarget(s.Context(), 1); err != nil {
		s.wantNothingToForgo(err, 1, 0)
		want = 2
	}
	s.wantSize(s.group, want)
	s.Settle()
	s.wantSize(s.group, want)
	s.wantNodes(s.group, want)
}

// awaiting returns a group with one node and n that do not come.
func (s *suite) awaiting(n int) {
	s.Helper()
	if s.Withhold == nil {
		s.Skip("a machine of this provider exists as soon as it is asked for")
	}
	s.grown(s.group, 1)
	s.Withhold()
	s.must(s.group.Increase(s.Context(), n))
	s.Settle()
	s.wantSize(s.group, 1+n)
	s.wantNodes(s.group, 1)
}

func testForgo(s *suite) {
	s.awaiting(2)
	node := s.wantNodes(s.group, 1)[0]
	s.wantNothingToForgo(s.group.DecreaseTarget(s.Context(), 3), 3, 2)
	s.wantSize(s.group, 3)
	for _, want := range []int{2, 1} {
		s.must(s.group.DecreaseTarget(s.Context(), 1))
		s.wantSize(s.group, want)
		s.Settle()
		s.must(s.Provider.Refresh(s.Context()))
		s.wantSize(s.group, want)
	}
	s.wantNothingToForgo(s.group.DecreaseTarget(s.Context(), 1), 1, 0)
	if left := s.wantNodes(s.group, 1); left[0].UID != node.UID {
		s.Errorf("node %s is left, want %s", left[0].Name, node.Name)
	}
}

func testForgoConcurrently(s *suite) {
	s.awaiting(2)
	var calls sync.WaitGroup
	var forgone atomic.Int32
	for range 5 {
		calls.Go(func() {
			if s.group.DecreaseTarget(s.Context(), 1) == nil {
				forgone.Add(1)
			}
		})
	}
	calls.Wait()
	if forgone.Load() != 2 {
		s.Errorf("%d wishes were taken back, want 2", forgone.Load())
	}
	s.wantSize(s.group, 1)
	s.Settle()
	s.wantSize(s.group, 1)
	s.wantNodes(s.group, 1)
}

func testForgoContext(s *suite) {
	s.awaiting(1)
	ended, cancel := context.WithCancel(s.Context())
	cancel()
	if err := s.group.DecreaseTarget(ended, 1); !errors.Is(err, context.Canceled) {
		s.Errorf("DecreaseTarget = %v, want %v", err, context.Canceled)
	}
	s.wantSize(s.group, 2)
	s.must(s.group.DecreaseTarget(s.Context(), 1))
	s.wantSize(s.group, 1)
}
