// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/klog/v2"

	"github.com/berth-dev/berth/autoscaler/nodes/drain"
)

var (
	stormNodes = flag.Int("storm.nodes", 40, "how many nodes the storm begins with; ten pods for each")
	stormSets  = flag.Int("storm.sets", 8, "how many sets they are of, a multiple of 8")
	// stormThreshold lets nodes go as long as that leaves fewer of them. With the default of the configuration, half of a
	// node, the cluster comes to rest with its nodes a little over half full.
	stormThreshold = flag.Float64("storm.threshold", packed, "nodes.utilizationThreshold; how many nodes are left is judged from 0.95 on")
)

// packed is a utilization threshold that leaves no node alone for being used enough.
const packed = 0.95

// storm is the whole cluster with the autoscaler in it.
type storm struct {
	*stormCluster
	size      corev1.ResourceList
	floors    map[string]int
	conductor *Conductor
	decisions int
	cpu, most time.Duration // of decisions, together and the longest
}

// In a cluster that is nine tenths full the load falls to a third: half an hour later there are as few nodes as can be,
// and nobody has noticed.
func TestConsolidationStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(klog.NewContext(t.Context(), klog.Logger{}))
		defer func() {
			cancel()
			time.Sleep(2 * time.Second) // the scheduler's metrics recorders look at their context once a second
		}()
		s := newStorm(ctx, t)
		s.settle(ctx)
		uncontended := s.recreateOneOfEach()
		began, before := time.Now(), s.count()
		s.mu.Lock()
		s.journal.reset()
		for _, set := range s.sets {
			set.load /= 3
		}
		s.mu.Unlock()
		t.Logf("%d nodes, %d pods of %d sets; re-creation without contention takes %s; the load falls", before, len(s.pods), len(s.sets), uncontended)
		for time.Since(began) < 30*time.Minute {
			s.second()
			if elapsed := time.Since(began); elapsed%time.Minute == 0 {
				t.Log(s.progress(elapsed))
			}
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, p := range s.pods {
			if p.pod.Status.Phase == corev1.PodPending {
				s.journal.ran(p, time.Now())
			}
		}
		bound := stormBound(s.sets, s.size, s.floors)
		t.Logf("%d nodes became %d, the lower bound is %d; %d evictions, %d refused; %d pods re-created, pending for %s at most (%s), %s without contention; %d decisions, %s of cpu each, %s at most",
			before, s.count(), bound, s.journal.evicted, s.journal.refused, s.journal.pendings, s.journal.slowest, s.journal.slow, uncontended, s.decisions, s.cpu/time.Duration(max(1, s.decisions)), s.most)
		t.Log(s.journal.told())
		if now := s.count(); *stormThreshold >= packed && float64(now) > 1.1*float64(bound) {
			t.Errorf("%d nodes are left, want at most %.1f: 10%% above %d", now, 1.1*float64(bound), bound)
		}
		if s.journal.slowest > uncontended+5*time.Second {
			t.Errorf("%s was pending for %s, want 5s more than %s at most", s.journal.slow, s.journal.slowest, uncontended)
		}
		for what, times := range s.journal.wrong {
			t.Errorf("%s (%d times)", what, times)
		}
		for _, node := range s.tainted() {
			t.Errorf("node %s is left with the taint", node)
		}
	})
}

// second lets a second go by for everybody.
func (s *storm) second() {
	time.Sleep(time.Second)
	synctest.Wait()
	s.step()
}

// settle has every pod run before the autoscaler begins.
func (s *storm) settle(ctx context.Context) {
	for range 600 {
		s.second()
		s.mu.Lock()
		waiting, have, want := 0, 0, 0
		for _, set := range s.sets {
			want += set.wanted
			for _, p := range set.pods {
				have++
				waiting += 1 - boolAsInt(p.healthy())
			}
		}
		s.mu.Unlock()
		if waiting == 0 && have == want {
			clear(s.journal.wrong)
			go s.conductor.Run(ctx)
			return
		}
	}
	s.t.Fatalf("not every pod runs:%s", s.journal.told())
}

// recreateOneOfEach evicts a pod of every set while nothing else happens, and returns how long the slowest was pending.
func (s *storm) recreateOneOfEach() time.Duration {
	for range 120 {
		s.second()
	}
	s.mu.Lock()
	s.journal.reset()
	for _, set := range s.sets {
		s.end(set.pods[slices.Min(slices.Collect(maps.Keys(set.pods)))])
	}
	s.mu.Unlock()
	for range 60 {
		s.second()
	}
	return s.journal.slowest
}

func (s *storm) count() int {
	list, _ := s.nodes.List(labels.Everything())
	return len(list)
}

func (s *storm) tainted() (names []string) {
	list, _ := s.nodes.List(labels.Everything())
	for _, node := range list {
		if drain.Marked(node) {
			names = append(names, node.Name)
		}
	}
	return names
}

func (s *storm) progress(elapsed time.Duration) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	pending := 0
	for _, p := range s.pods {
		pending += boolAsInt(p.pod.Status.Phase == corev1.PodPending)
	}
	return fmt.Sprintf("%s: %d nodes, %d of them go; %d pods, %d pending; %d evictions, %d refused; %d decisions, %s cpu, longest %s",
		elapsed, s.count(), len(s.tainted()), len(s.pods), pending, s.journal.evicted, s.journal.refused, s.decisions, s.cpu, s.most)
}
