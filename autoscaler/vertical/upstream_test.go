// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package vertical

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	"k8s.io/autoscaler/vertical-pod-autoscaler/pkg/recommender/model"
)

// Over virtual weeks of random workloads, restarts from checkpoints included, the
// recommendation is upstream's at every step, and so is every bucket that it was read
// from, to the last bit.
func TestUpstreamAgrees(t *testing.T) {
	prepare(t)
	for seed := range int64(24) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			s := newStory(rand.New(rand.NewSource(seed)))
			tale := tale{policy: s.policy(), steps: s.tell(400)}
			if _, err := tale.play(t.Context()); err != nil {
				t.Error(tale.shrunk(t.Context()))
			}
		})
	}
}

func FuzzUpstreamAgrees(f *testing.F) {
	prepare(f)
	for seed := range int64(4) {
		text := make([]byte, 4000)
		rand.New(rand.NewSource(seed)).Read(text)
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s := newStory(rand.New(&recording{text: text}))
		tale := tale{policy: s.policy(), steps: s.tell(min(len(text)/40, 200))}
		if _, err := tale.play(t.Context()); err != nil {
			t.Error(tale.shrunk(t.Context()))
		}
	})
}

// recording is a source of chance that a fuzzer can write.
type recording struct{ text []byte }

func (r *recording) Seed(int64) {}

func (r *recording) Int63() int64 {
	var next [8]byte
	n := copy(next[4:], r.text[:min(4, len(r.text))])
	r.text = r.text[n:]
	return int64(binary.LittleEndian.Uint64(next[:]) >> 1)
}

// tale is a story that was told, which can be played again in parts.
type tale struct {
	policy *vpav1.PodResourcePolicy
	steps  []step
}

// step is one pass of a recommender.
type step struct {
	now     time.Time
	restart bool
	pods    []Pod
	samples []Sample
	ooms    []OOM
}

// play tells the first difference and its step.
func (t tale) play(ctx context.Context) (int, error) {
	o, h := newOracle(t.policy), History{}
	for i, s := range t.steps {
		if s.restart {
			var err error
			if o, h, err = restarted(o, h, s.now); err != nil {
				return i, fmt.Errorf("step %d: %w", i, err)
			}
		}
		o.observe(s.pods)
		for _, e := range inOrder(s) {
			if e.sample != nil {
				o.sample(*e.sample)
			} else {
				o.oom(*e.oom)
			}
		}
		o.forget(ctx, s.now)
		d := Decide(Input{Now: s.now, VPAs: []VPA{vpa(t.policy, s.pods...)}, Samples: s.samples, OOMs: s.ooms, History: h})
		h = d.History
		if diff := difference(o, d); diff != "" {
			return i, fmt.Errorf("step %d (-upstream +berth):\n%s", i, diff)
		}
	}
	return 0, nil
}

// restarted ends both processes and begins new ones, if they leave the same behind.
func restarted(o *oracle, h History, now time.Time) (*oracle, History, error) {
	theirs, err := o.checkpoints(now)
	if err != nil {
		return nil, h, err
	}
	var objects []*vpav1.VerticalPodAutoscalerCheckpoint
	for _, c := range h.Checkpoints(db, now) {
		object, err := stored(c.Object(c.ID.Name(func(string) bool { return false }), "berth"))
		if err != nil {
			return nil, h, err
		}
		objects = append(objects, object)
		if c.ID.Slot != "" || !o.has(c.ID.Container) {
			continue
		}
		if diff := gocmp.Diff(theirs[c.ID.Container], c.Status, cmpopts.EquateEmpty()); diff != "" {
			return nil, h, fmt.Errorf("checkpoint of %s (-upstream +berth):\n%s", c.ID.Container, diff)
		}
	}
	if theirs, err = stored(theirs); err != nil {
		return nil, h, err
	}
	o, err = o.restart(theirs)
	h, refused := Restore(objects)
	if len(refused) > 0 {
		return nil, h, fmt.Errorf("refused: %v", refused)
	}
	return o, h, err
}

func difference(o *oracle, d Decision) string {
	want, err := o.recommend()
	if err != nil {
		return err.Error()
	}
	var got []vpav1.RecommendedContainerResources
	for _, c := range d.Recommendations[db].Containers {
		got = append(got, c.RecommendedContainerResources)
	}
	if diff := gocmp.Diff(want.ContainerRecommendations, got, cmpopts.EquateEmpty()); diff != "" {
		return diff
	}
	for key, s := range o.aggregates() {
		r := remembered(d.History, key.ContainerName(), key.Labels().Get("slot"))
		if r == nil || r.live == nil {
			continue // a container that has not been measured is not remembered
		}
		if diff := differentContents(d.History.scales, s, r.live); diff != "" {
			return fmt.Sprintf("%s in slot %q:\n%s", key.ContainerName(), r.slot, diff)
		}
	}
	for name, s := range o.merged(o.managed) {
		u := newScratch(d.History.scales).sum(lineageOf(d.History, name).all(newScratch(d.History.scales)))
		diff := differentContents(d.History.scales, s, u)
		if diff != "" || u.samples != s.TotalSamplesCount || !u.first.time().Equal(s.FirstSampleStart) || !u.last.time().Equal(s.LastSampleStart) {
			return fmt.Sprintf("%s, all slots, %d samples against %d:\n%s", name, s.TotalSamplesCount, u.samples, diff)
		}
	}
	return ""
}

// lineageOf is nil where the container is not remembered.
func lineageOf(h History, container string) *lineage {
	i := slices.IndexFunc(h.workloads[db], func(l *lineage) bool { return l.container == container })
	if i < 0 {
		return nil
	}
	return h.workloads[db][i]
}

func remembered(h History, container, slot string) *record {
	l := lineageOf(h, container)
	if l == nil {
		return nil
	}
	i := slices.IndexFunc(l.slots, func(r *record) bool { return r.slot == slot })
	if i < 0 {
		return nil
	}
	return l.slots[i]
}

func differentContents(s *scales, want *model.AggregateContainerState, got *usage) string {
	diff := ""
	for of, h := range map[string][2]contents{
		"cpu":    {upstreamContents(want.AggregateCPUUsage), contentsOf(s.cpu, &got.cpu)},
		"memory": {upstreamContents(want.AggregateMemoryPeaks), contentsOf(s.memory, &got.memory)},
	} {
		if !reflect.DeepEqual(h[0], h[1]) {
			diff += of + ": " + gocmp.Diff(h[0], h[1])
		}
	}
	return diff
}

type happening struct {
	sample *Sample
	oom    *OOM
}

// inOrder is the order that upstream's feeder would see: time, and the sample first.
func inOrder(s step) []happening {
	var out []happening
	for _, x := range s.samples {
		out = append(out, happening{sample: &x})
	}
	for _, x := range s.ooms {
		out = append(out, happening{oom: &x})
	}
	key := func(h happening) (time.Time, string, string, int, int64, int64) {
		if h.oom != nil {
			return h.oom.Time, string(h.oom.Pod), h.oom.Container, 1, 0, int64(h.oom.Request)
		}
		return h.sample.Time, string(h.sample.Pod), h.sample.Container, 0, int64(h.sample.CPU), int64(h.sample.Memory)
	}
	slices.SortStableFunc(out, func(a, b happening) int {
		at, ap, an, ak, ac, am := key(a)
		bt, bp, bn, bk, bc, bm := key(b)
		return cmp.Or(at.Compare(bt), cmp.Compare(ap, bp), cmp.Compare(an, bn), cmp.Compare(ak, bk), cmp.Compare(ac, bc), cmp.Compare(am, bm))
	})
	return out
}

// shrunk takes parts out of the tale for as long as it still ends badly, and tells it.
func (t tale) shrunk(ctx context.Context) string {
	left := 500
	try := func(less tale) bool {
		last, err := less.play(ctx)
		if left--; err == nil || left < 0 {
			return false
		}
		t = tale{less.policy, less.steps[:last+1]}
		return true
	}
	try(t)
	for size := len(t.steps) / 2; size > 0; size /= 2 {
		for from := 0; from < len(t.steps); {
			if !try(tale{t.policy, slices.Delete(slices.Clone(t.steps), from, min(from+size, len(t.steps)))}) {
				from += size
			}
		}
	}
	for i := 0; i < len(t.steps); i++ {
		for j := len(t.steps[i].samples) - 1; i < len(t.steps) && j >= 0; j-- {
			less := tale{t.policy, slices.Clone(t.steps)}
			less.steps[i].samples = slices.Delete(slices.Clone(less.steps[i].samples), j, j+1)
			try(less)
		}
	}
	_, err := t.play(ctx)
	var b strings.Builder
	fmt.Fprintf(&b, "policy %+v\n", t.policy)
	for i, s := range t.steps {
		fmt.Fprintf(&b, "step %d at %v, restart %t\n  pods %v\n", i, s.now.Sub(epoch), s.restart, s.pods)
		for _, x := range s.samples {
			fmt.Fprintf(&b, "  sample %s %s at %v: %dm %d\n", x.Pod, x.Container, x.Time.Sub(epoch), x.CPU, x.Memory)
		}
		for _, x := range s.ooms {
			fmt.Fprintf(&b, "  OOM %s %s at %v: %d\n", x.Pod, x.Container, x.Time.Sub(epoch), x.Request)
		}
	}
	return fmt.Sprintf("%v\n%s", err, b.String())
}

// A checkpoint of upstream's is read as one of ours, whoever runs next.
func TestVPAChangesHands(t *testing.T) {
	prepare(t)
	s := newStory(rand.New(rand.NewSource(1)))
	o, now := newOracle(nil), epoch
	for _, step := range s.tell(300) {
		o.observe(step.pods)
		for _, e := range inOrder(step) {
			if e.sample != nil {
				o.sample(*e.sample)
			}
		}
		now = step.now
	}
	saved, err := o.checkpoints(now)
	if err != nil {
		t.Fatal(err)
	}
	var objects []*vpav1.VerticalPodAutoscalerCheckpoint
	for _, name := range slices.Sorted(maps.Keys(saved)) {
		objects = append(objects, &vpav1.VerticalPodAutoscalerCheckpoint{
			ObjectMeta: metav1.ObjectMeta{Namespace: db.Namespace, Name: db.Name + "-" + name},
			Spec:       vpav1.VerticalPodAutoscalerCheckpointSpec{VPAObjectName: db.Name, ContainerName: name},
			Status:     saved[name],
		})
	}
	next, err := o.restart(saved)
	if err != nil {
		t.Fatal(err)
	}
	var pods []Pod
	for _, p := range o.pods {
		pods = append(pods, p)
	}
	next.observe(pods)
	h, refused := Restore(objects)
	if len(refused) > 0 {
		t.Fatal(refused)
	}
	if diff := difference(next, Decide(Input{Now: now, VPAs: []VPA{vpa(nil, pods...)}, History: h})); diff != "" {
		t.Errorf("(-upstream +berth):\n%s", diff)
	}
}
