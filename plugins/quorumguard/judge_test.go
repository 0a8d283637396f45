// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package quorumguard

import (
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	fwk "k8s.io/kube-scheduler/framework"
)

func podsOf(uids ...string) []*v1.Pod {
	var pods []*v1.Pod
	for _, uid := range uids {
		pods = append(pods, &v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: uid, UID: types.UID(uid)}})
	}
	return pods
}

func TestPromiseJudgesTheWholeList(t *testing.T) {
	pods := map[types.UID]bool{"db-0": true, "db-1": true, "db-2": true, "starting": false}
	tests := map[string]struct {
		room    int
		victims string
		reason  string
		ways    [][]types.UID
	}{
		"others":                              {room: 0, victims: "web-0 web-1"},
		"nobody":                              {room: -1},
		"one of one":                          {room: 1, victims: "web-0 db-1"},
		"one of none":                         {room: 0, victims: "web-0 db-1", reason: "takes 1", ways: [][]types.UID{{"db-1"}}},
		"two of one, either of them":          {room: 1, victims: "db-0 web-0 db-1", reason: "takes 2", ways: [][]types.UID{{"db-0"}, {"db-1"}}},
		"three of one, one of the first two":  {room: 1, victims: "db-0 db-1 db-2", reason: "takes 3", ways: [][]types.UID{{"db-0"}, {"db-1"}}},
		"one that starts takes nothing":       {room: 0, victims: "starting"},
		"nor beside one that may go":          {room: 1, victims: "starting db-0"},
		"a set below its quorum gets it back": {room: -1, victims: "web-0 starting", reason: "takes 0", ways: [][]types.UID{{"starting"}}},
		"all of it":                           {room: -2, victims: "starting db-1 db-0", reason: "takes 2", ways: [][]types.UID{{"db-1", "db-0", "starting"}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := promise{room: tt.room, pods: pods, text: func(taken int) string { return fmt.Sprintf("takes %d", taken) }}
			got := p.judge(podsOf(strings.Fields(tt.victims)...))
			if got == nil {
				got = &breach{}
			}
			if diff := cmp.Diff(tt.reason, got.reason); diff != "" {
				t.Errorf("reason (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.ways, got.ways); diff != "" {
				t.Errorf("ways (-want +got):\n%s", diff)
			}
		})
	}
}

// crowd is a node full of pods of known size, in the order of importance, with
// a pod that needs room on it.
type crowd struct {
	sizes    map[types.UID]int
	order    []types.UID
	need     int
	promises []*promise
}

// choose is the rule by which upstream picks victims, over numbers: take all,
// then let back, the most important first, who leaves enough room.
func (c crowd) choose(spared sets.Set[types.UID]) choice {
	free := 0
	for _, uid := range c.order {
		if !spared.Has(uid) {
			free += c.sizes[uid]
		}
	}
	if free < c.need {
		return choice{status: fwk.NewStatus(fwk.Unschedulable, "does not fit")}
	}
	var victims []string
	for _, uid := range c.order {
		switch {
		case spared.Has(uid):
		case free-c.sizes[uid] >= c.need:
			free -= c.sizes[uid]
		default:
			victims = append(victims, string(uid))
		}
	}
	return choice{victims: podsOf(victims...)}
}

func (c crowd) judge(victims []*v1.Pod) *breach {
	for _, p := range c.promises {
		if broken := p.judge(victims); broken != nil {
			return broken
		}
	}
	return nil
}

// possible tries every list of victims.
func (c crowd) possible() bool {
	for mask := 1; mask < 1<<len(c.order); mask++ {
		free, victims := 0, []string{}
		for i, uid := range c.order {
			if mask>>i&1 == 1 {
				free += c.sizes[uid]
				victims = append(victims, string(uid))
			}
		}
		if free >= c.need && c.judge(podsOf(victims...)) == nil {
			return true
		}
	}
	return false
}

func randomCrowd(random *rand.Rand) crowd {
	c := crowd{sizes: map[types.UID]int{}, need: 1 + random.Intn(12)}
	for set := range 2 {
		c.promises = append(c.promises, &promise{
			room: random.Intn(4) - 1, pods: map[types.UID]bool{},
			text: func(int) string { return fmt.Sprintf("spares set %d", set) },
		})
	}
	for i := range 1 + random.Intn(8) {
		uid := types.UID(fmt.Sprint("pod-", i))
		c.order, c.sizes[uid] = append(c.order, uid), random.Intn(5)
		if set := random.Intn(3); set < 2 {
			c.promises[set].pods[uid] = random.Intn(4) > 0
		}
	}
	return c
}

// Whatever the sizes, the search finds victims exactly where some list breaks
// no promise, and takes upstream's own where that is such a list.
func TestSearchFindsWhatIsPossible(t *testing.T) {
	random := rand.New(rand.NewSource(1))
	outcomes := map[string]int{}
	for i := range 20000 {
		c := randomCrowd(random)
		own := c.choose(nil)
		s := search{choose: c.choose, judge: c.judge, tries: 1 << 20}
		got := s.run(nil)
		switch {
		case !own.status.IsSuccess():
			outcomes["does not fit"]++
			if got.status.IsSuccess() || got.status.Message() != own.status.Message() {
				t.Fatalf("crowd %d: %v, want upstream's %v", i, got.status, own.status)
			}
		case c.judge(own.victims) == nil:
			outcomes["upstream's own"]++
			if diff := cmp.Diff(own.victims, got.victims); diff != "" {
				t.Fatalf("crowd %d: upstream's own choice is good (-want +got):\n%s", i, diff)
			}
		case c.possible():
			outcomes["another"]++
			if !got.status.IsSuccess() {
				t.Fatalf("crowd %d %+v: %s, though there are victims", i, c, got.status.Message())
			}
			if broken := c.judge(got.victims); broken != nil {
				t.Fatalf("crowd %d: victims %v: %s", i, names(got.victims), broken.reason)
			}
		default:
			outcomes["guarded"]++
			if got.status.IsSuccess() || !strings.HasPrefix(got.status.Message(), "spares set") {
				t.Fatalf("crowd %d: victims %v, status %q, though every list breaks a promise", i, names(got.victims), got.status.Message())
			}
		}
	}
	for _, outcome := range []string{"does not fit", "upstream's own", "another", "guarded"} {
		if outcomes[outcome] < 500 {
			t.Errorf("%q happened %d times: %v", outcome, outcomes[outcome], outcomes)
		}
	}
}

func names(pods []*v1.Pod) []string {
	var names []string
	for _, pod := range pods {
		names = append(names, pod.Name)
	}
	return names
}

func TestSearchEnds(t *testing.T) {
	c := crowd{sizes: map[types.UID]int{}, need: 20}
	p := &promise{room: 9, pods: map[types.UID]bool{}, text: func(int) string { return "spares" }}
	for i := range 20 {
		uid := types.UID(fmt.Sprint(i))
		c.order, c.sizes[uid], p.pods[uid] = append(c.order, uid), 1, true
	}
	c.promises = []*promise{p}
	asked := 0
	s := search{judge: c.judge, tries: mostTries, choose: func(spared sets.Set[types.UID]) choice {
		asked++
		c.need = 20 - len(spared) // whoever is spared, the others seem enough
		return c.choose(spared)
	}}
	if got := s.run(nil); got.status.IsSuccess() {
		t.Errorf("victims %v", names(got.victims))
	}
	if asked != mostTries {
		t.Errorf("upstream was asked %d times, want %d", asked, mostTries)
	}
}

// An error of one try is the node's, and no reason to spare anybody.
func TestSearchHandsErrorsOn(t *testing.T) {
	c := crowd{sizes: map[types.UID]int{"a": 1, "b": 1}, order: []types.UID{"a", "b"}, need: 2,
		promises: []*promise{{room: 1, pods: map[types.UID]bool{"a": true, "b": true}, text: func(int) string { return "spares" }}}}
	s := search{judge: c.judge, tries: mostTries, choose: func(spared sets.Set[types.UID]) choice {
		if len(spared) > 0 {
			return choice{status: fwk.NewStatus(fwk.Error, "broken")}
		}
		return c.choose(spared)
	}}
	if got := s.run(nil); !got.status.IsError() || !slices.Equal(got.status.Reasons(), []string{"broken"}) {
		t.Errorf("status %v, want the error", got.status)
	}
}
