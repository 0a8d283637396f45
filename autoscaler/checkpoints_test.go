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

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	clienttesting "k8s.io/client-go/testing"

	"github.com/berth-dev/berth/autoscaler/config"
	"github.com/berth-dev/berth/autoscaler/observe"
	"github.com/berth-dev/berth/autoscaler/vertical"
)

const checkpointResource = "verticalpodautoscalercheckpoints"

func (sc scene) checkpoints(s *stage) *observe.Checkpoints {
	if !sc.keeps {
		return nil
	}
	return observe.NewCheckpoints(s.vpa.AutoscalingV1())
}

// keeping is a stage with VPAs, and what else of theirs there is, whose histories are kept.
func keeping(t *testing.T, vpas []runtime.Object, play func(*stage)) {
	t.Helper()
	scene{vpas: vpas, keeps: true}.perform(t, play)
}

func (s *stage) webVPA() *vpav1.VerticalPodAutoscaler {
	s.t.Helper()
	vpa, err := s.vpa.AutoscalingV1().VerticalPodAutoscalers("prod").Get(s.t.Context(), "web-vpa", metav1.GetOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	return vpa
}

// targets are the recommended cpu of each container of web-vpa, in thousandths.
func (s *stage) targets() map[string]int64 {
	s.t.Helper()
	targets := map[string]int64{}
	if r := s.webVPA().Status.Recommendation; r != nil {
		for _, c := range r.ContainerRecommendations {
			targets[c.ContainerName] = c.Target.Cpu().MilliValue()
		}
	}
	return targets
}

// kept are the checkpoints by name.
func (s *stage) kept() map[string]*vpav1.VerticalPodAutoscalerCheckpoint {
	s.t.Helper()
	list, err := s.vpa.AutoscalingV1().VerticalPodAutoscalerCheckpoints("prod").List(s.t.Context(), metav1.ListOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	kept := map[string]*vpav1.VerticalPodAutoscalerCheckpoint{}
	for i := range list.Items {
		kept[list.Items[i].Name] = &list.Items[i]
	}
	return kept
}

// touched counts requests that write checkpoints.
func (s *stage) touched() (n int) {
	for _, action := range s.vpa.Actions() {
		if action.GetResource().Resource == checkpointResource && !slices.Contains([]string{"get", "list", "watch"}, action.GetVerb()) {
			n++
		}
	}
	return n
}

// refuse makes the API server answer one kind of request with an error while there is one.
func (s *stage) refuse(verb string, err func() error) {
	s.vpa.PrependReactor(verb, checkpointResource, func(clienttesting.Action) (bool, runtime.Object, error) {
		if e := err(); e != nil {
			return true, nil, e
		}
		return false, nil, nil
	})
}

func TestARecommendationOutlivesTheProcess(t *testing.T) {
	var left []runtime.Object
	want := map[string]int64{}
	keeping(t, []runtime.Object{webVPA("web-vpa", false)}, func(s *stage) {
		s.set(func() { s.usage = 4000 })
		s.pass(20 * time.Minute)
		s.set(func() { s.usage = 100 })
		s.pass(10*time.Minute + 7*time.Second) // between ticks, and between writes
		want = s.targets()
		s.stop()
		s.pass(0)
		kept := s.kept()["web-vpa-c"]
		if kept == nil || len(s.kept()) != 1 {
			t.Fatalf("checkpoints %v, want web-vpa-c only", s.kept())
		}
		if age := time.Since(kept.Status.LastUpdateTime.Time); age != 0 || kept.Labels[vertical.CheckpointLabel] != "berth" {
			t.Errorf("the checkpoint was written %s before the end, and its labels are %v", age, kept.Labels)
		}
		vpa := s.webVPA()
		vpa.Status = vpav1.VerticalPodAutoscalerStatus{} // or it would just stand
		left = []runtime.Object{vpa, kept}
	})
	if want["c"] < 4000 {
		t.Fatalf("targets %v before: the story is too short", want)
	}
	keeping(t, left, func(s *stage) {
		s.set(func() { s.down = errDown })
		s.pass(16 * time.Second)
		if diff := cmp.Diff(want, s.targets()); diff != "" {
			t.Errorf("targets of the next process, without metrics (-want +got):\n%s", diff)
		}
	})
}

func TestNothingIsRecommendedBeforeTheCheckpointsAreKnown(t *testing.T) {
	down := apierrors.NewServiceUnavailable("no etcd")
	unserved := apierrors.NewNotFound(schema.GroupResource{Group: "autoscaling.k8s.io", Resource: checkpointResource}, "")
	for name, tc := range map[string]struct {
		answer              error
		recommended, writes bool
	}{
		"they are there":                {recommended: true, writes: true},
		"they can not be read":          {answer: down},
		"the API server does not serve": {answer: unserved, recommended: true},
	} {
		t.Run(name, func(t *testing.T) {
			answer := tc.answer
			refusing := func(s *stage) {
				s.refuse("list", func() error {
					s.mu.Lock()
					defer s.mu.Unlock()
					return answer
				})
			}
			scene{vpas: []runtime.Object{webVPA("web-vpa", false)}, keeps: true, begin: refusing}.perform(t, func(s *stage) {
				s.pass(3 * time.Minute)
				if got := len(s.targets()) > 0; got != tc.recommended {
					t.Errorf("recommended: %t, want %t", got, tc.recommended)
				}
				if got := s.touched() > 0; got != tc.writes {
					t.Errorf("written: %t, want %t", got, tc.writes)
				}
				s.set(func() { answer = nil })
				s.pass(3 * time.Minute)
				if len(s.targets()) == 0 || s.touched() == 0 {
					t.Errorf("once they can be read: targets %v, %d writes", s.targets(), s.touched())
				}
			})
		})
	}
}

func TestACheckpointOfAnotherIsNotWrittenOver(t *testing.T) {
	other := vertical.Checkpoint{ID: vertical.CheckpointID{VPA: vertical.Key{Namespace: "prod", Name: "web"}, Container: "vpa-c"}}
	other.Status.Version = "v3"
	unreadable := other
	unreadable.Status.Version = "v9"
	for name, theirs := range map[string]vertical.Checkpoint{"of another VPA": other, "that nobody can read": unreadable} {
		for when, late := range map[string]bool{"from before": false, "made meanwhile": true} {
			t.Run(name+", "+when, func(t *testing.T) {
				o := theirs.Object("web-vpa-c", "default")
				o.Labels = nil
				objects := []runtime.Object{webVPA("web-vpa", false)}
				if !late {
					objects = append(objects, o)
				}
				keeping(t, objects, func(s *stage) {
					if late {
						if err := s.vpa.Tracker().Add(o); err != nil {
							t.Fatal(err)
						}
					}
					s.pass(3 * time.Minute)
					kept := s.kept()
					if diff := cmp.Diff(o, kept["web-vpa-c"]); diff != "" {
						t.Errorf("the other one (-want +got):\n%s", diff)
					}
					if ours := kept["web-vpa.c.all"]; ours == nil || ours.Spec.VPAObjectName != "web-vpa" || ours.Status.TotalSamplesCount == 0 {
						t.Errorf("Berth's own is %+v", ours)
					}
				})
			})
		}
	}
}

func TestACheckpointThatSomebodyElseHasWrittenIsWrittenAgain(t *testing.T) {
	keeping(t, []runtime.Object{webVPA("web-vpa", false)}, func(s *stage) {
		s.pass(90 * time.Second)
		var tries []time.Time
		s.refuse("patch", func() error {
			s.mu.Lock()
			defer s.mu.Unlock()
			if tries = append(tries, time.Now()); len(tries) == 1 {
				return apierrors.NewConflict(schema.GroupResource{Resource: checkpointResource}, "web-vpa-c", nil)
			}
			return nil
		})
		s.pass(2 * time.Minute)
		if len(tries) < 2 || tries[1].Sub(tries[0]) > 15*time.Second {
			t.Errorf("written at %v, and refused the first time: want the next one in the next tick", tries)
		}
		if err := s.vpa.Tracker().Delete(vpav1.SchemeGroupVersion.WithResource(checkpointResource), "prod", "web-vpa-c"); err != nil {
			t.Fatal(err)
		}
		s.pass(3 * time.Minute)
		if s.kept()["web-vpa-c"] == nil {
			t.Error("a checkpoint that was deleted is not made again")
		}
	})
}

func TestOrphansAreCollected(t *testing.T) {
	at := func(vpa, slot string) *vpav1.VerticalPodAutoscalerCheckpoint {
		c := vertical.Checkpoint{ID: vertical.CheckpointID{VPA: vertical.Key{Namespace: "prod", Name: vpa}, Container: "c", Slot: slot}}
		c.Status.Version = "v3"
		if slot != "" {
			c.Status.Version = "berth.dev/slot-v3"
		}
		c.Status.LastUpdateTime = metav1.NewTime(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC))
		o := c.Object(c.ID.Name(func(string) bool { return false }), "berth")
		o.ResourceVersion, o.UID = "1", types.UID(o.Name)
		return o
	}
	theirs := at("upstreams", "")
	theirs.Labels = nil
	keeping(t, []runtime.Object{webVPA("web-vpa", false), at("web-vpa", ""), at("web-vpa", "0"), at("gone", ""), at("gone", "0"), theirs}, func(s *stage) {
		s.pass(2 * time.Minute)
		names := func() []string {
			var names []string
			for name := range s.kept() {
				names = append(names, name)
			}
			slices.Sort(names)
			return names
		}
		if diff := cmp.Diff([]string{"upstreams-c", "web-vpa-c", "web-vpa.c.0"}, names()); diff != "" {
			t.Errorf("checkpoints (-want +got):\n%s", diff)
		}
		if err := s.vpa.AutoscalingV1().VerticalPodAutoscalers("prod").Delete(t.Context(), "web-vpa", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		s.pass(2 * time.Minute)
		if diff := cmp.Diff([]string{"upstreams-c"}, names()); diff != "" {
			t.Errorf("checkpoints once the VPA is gone (-want +got):\n%s", diff)
		}
	})
}

// heavy is a history of ten cores, by upstream's recommender.
func heavy(vpa *vpav1.VerticalPodAutoscaler) *vpav1.VerticalPodAutoscalerCheckpoint {
	key := vertical.Key{Namespace: vpa.Namespace, Name: vpa.Name}
	now := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	in := vertical.Input{VPAs: []vertical.VPA{{Key: key, Pods: []vertical.Pod{{UID: "pod", Containers: []string{"c"}}}}}}
	for range 3000 {
		now = now.Add(-time.Minute)
		in.Samples = append(in.Samples, vertical.Sample{Pod: "pod", Container: "c", Time: now, CPU: 10_000, Memory: -1})
	}
	in.Now = now.Add(3000 * time.Minute)
	o := vertical.Decide(in).History.Checkpoints(key, in.Now)[0].Object(vpa.Name+"-c", "default")
	o.Labels, o.ResourceVersion = nil, "1"
	return o
}

func TestAVPAThatIsHandedOverKeepsItsHistory(t *testing.T) {
	vpa := webVPA("web-vpa", true)
	vpa.Spec.Recommenders = nil
	vpa.CreationTimestamp = metav1.NewTime(time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC))
	keeping(t, []runtime.Object{vpa}, func(s *stage) {
		s.pass(5 * time.Minute)
		// The other recommender writes on, and Berth does not know of it.
		if err := s.vpa.Tracker().Add(heavy(vpa)); err != nil {
			t.Fatal(err)
		}
		fails := true
		s.refuse("list", func() error {
			s.mu.Lock()
			defer s.mu.Unlock()
			if fails {
				return apierrors.NewServiceUnavailable("stuck")
			}
			return nil
		})
		ours := vpa.DeepCopy()
		ours.Spec.Recommenders = []*vpav1.VerticalPodAutoscalerRecommenderSelector{{Name: "berth"}}
		if _, err := s.vpa.AutoscalingV1().VerticalPodAutoscalers("prod").Update(t.Context(), ours, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		s.pass(3 * time.Minute)
		if got := s.targets(); len(got) != 0 {
			t.Errorf("recommended %v before its history is known", got)
		}
		s.set(func() { fails = false })
		for i := range 8 {
			s.pass(15 * time.Second)
			if got := s.targets()["c"]; got != 0 && got < 10_000 {
				t.Fatalf("after %d ticks %dm are recommended, as if nothing had been before", i, got)
			}
		}
		kept := s.kept()["web-vpa-c"]
		if got := s.targets()["c"]; got < 10_000 || kept.Labels[vertical.CheckpointLabel] != "berth" || kept.Status.TotalSamplesCount <= 3000 {
			t.Errorf("target %dm, and a checkpoint of %d samples with labels %v, want the history to go on", got, kept.Status.TotalSamplesCount, kept.Labels)
		}
	})
}

func TestWhoDoesNotLeadAnyMoreWritesNothing(t *testing.T) {
	for name, tc := range map[string]struct {
		cause error
		want  int
	}{
		"asked to end":      {cause: nil, want: 1},
		"the Lease is lost": {cause: ErrNotLeading},
	} {
		t.Run(name, func(t *testing.T) {
			keeping(t, []runtime.Object{webVPA("web-vpa", false)}, func(s *stage) {
				s.pass(2*time.Minute + 7*time.Second)
				s.stop()
				s.pass(time.Minute)
				before := s.touched()
				ctx, cancel := context.WithCancelCause(context.WithoutCancel(t.Context()))
				cancel(tc.cause)
				s.conductor.leave(ctx)
				if got := s.touched() - before; got != tc.want {
					t.Errorf("%d writes, want %d", got, tc.want)
				}
			})
		})
	}
}

// A fleet's checkpoints are spread over time, and each is written again and again.
func TestCheckpointsAreSpread(t *testing.T) {
	for name, tc := range map[string]struct {
		vpas, slots int
		// most are in a tick; every is how long it takes to come round.
		most  int
		every time.Duration
	}{
		"a few":             {vpas: 3, most: 2, every: time.Minute},
		"a hundred":         {vpas: 100, most: 26, every: time.Minute},
		"a thousand":        {vpas: 1000, most: 251, every: time.Minute},
		"five thousand":     {vpas: 1000, slots: 4, most: 754, every: 105 * time.Second},
		"as many, of a set": {vpas: 200, slots: 24, most: 774, every: 105 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
			in := vertical.Input{Now: now}
			s := &shelf{turns: map[vertical.Key]time.Time{}}
			s.hold(nil)
			for i := range tc.vpas {
				v := vertical.VPA{Key: vertical.Key{Namespace: "prod", Name: fmt.Sprintf("v%04d", i)}}
				for slot := range max(1, tc.slots) {
					pod := vertical.Pod{UID: types.UID(fmt.Sprintf("%d-%d", i, slot)), Containers: []string{"c"}}
					if tc.slots > 0 {
						pod.Slot = fmt.Sprint(slot)
					}
					v.Pods = append(v.Pods, pod)
					in.Samples = append(in.Samples, vertical.Sample{Pod: pod.UID, Container: "c", Time: now, CPU: 100, Memory: -1})
				}
				in.VPAs = append(in.VPAs, v)
				s.turns[v.Key] = time.Time{}
			}
			history := vertical.Decide(in).History
			c := &Conductor{config: &config.Autoscaler{SyncPeriod: metav1.Duration{Duration: 15 * time.Second}}}
			written := map[vertical.Key][]time.Time{}
			start := now
			for range 60 {
				now = now.Add(15 * time.Second)
				due := s.due(history, now, now.Add(7500*time.Millisecond-checkpointPeriod), c.share(len(s.turns)), c.perPeriod())
				if first := now.Sub(start) <= 2*tc.every; !first && len(due) > tc.most {
					t.Errorf("%d checkpoints in the tick after %s, want %d at most", len(due), now.Sub(start), tc.most)
				}
				if len(due) > c.perPeriod()+tc.slots {
					t.Errorf("%d checkpoints in one tick", len(due))
				}
				seen := map[vertical.Key]bool{}
				for _, w := range due {
					if key := w.checkpoint.ID.VPA; !seen[key] {
						seen[key] = true
						written[key] = append(written[key], now)
					}
				}
			}
			for key, times := range written {
				for i := 2; i < len(times); i++ { // they all come in the first tick, and have to be spread
					if gap := times[i].Sub(times[i-1]); gap > tc.every || gap < 50*time.Second {
						t.Fatalf("%s was written after %s, want %s at most", key.Name, gap, tc.every)
					}
				}
			}
			if len(written) != tc.vpas {
				t.Errorf("%d of %d VPAs were written", len(written), tc.vpas)
			}
		})
	}
}

func TestTwoVPAsThatWantOneName(t *testing.T) {
	s := &shelf{}
	s.hold(nil)
	plan := func(vpa, container string) string {
		return s.plan(vertical.Checkpoint{ID: vertical.CheckpointID{VPA: vertical.Key{Namespace: "prod", Name: vpa}, Container: container}}).at.Name
	}
	for range 2 { // and so it stays
		got := strings.Join([]string{plan("a", "b-c"), plan("a-b", "c")}, " ")
		if want := "a-b-c a-b.c.all"; got != want {
			t.Errorf("names %q, want %q", got, want)
		}
	}
}

func TestASlotsNameThatIsTaken(t *testing.T) {
	slot := vertical.Checkpoint{ID: vertical.CheckpointID{VPA: vertical.Key{Namespace: "prod", Name: "db"}, Container: "app", Slot: "0"}}
	slot.Status.Version = "of a later Berth"
	s := &shelf{}
	s.hold([]*vpav1.VerticalPodAutoscalerCheckpoint{slot.Object("db.app.0", "berth")})
	if w := s.plan(slot); !errors.Is(w.err, errTaken) || w.at.Name != "db.app.0" {
		t.Errorf("a checkpoint that nobody can read would be written over: %+v", w)
	}
	set := slot
	set.ID.Slot = ""
	if w := s.plan(set); w.err != nil || w.at.Name != "db-app" {
		t.Errorf("the checkpoint of the set is planned as %+v, want a name of its own", w)
	}
}
