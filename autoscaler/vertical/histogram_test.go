// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package vertical

import (
	"math"
	"math/rand"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	"k8s.io/autoscaler/vertical-pod-autoscaler/pkg/recommender/util"
)

// twins are one of our histograms and one of upstream's.
type twins struct {
	ours   histogram
	theirs util.Histogram
}

func newTwins(s *scale) *twins {
	return &twins{newHistogram(s), util.NewDecayingHistogram(s.HistogramOptions, halfLife)}
}

// Whatever is done to a histogram and to upstream's leaves the same in both.
func TestHistogramIsUpstreams(t *testing.T) {
	for seed := range int64(30) {
		abuse(t, rand.New(rand.NewSource(seed)), 300)
	}
}

func FuzzHistogramIsUpstreams(f *testing.F) {
	for seed := range int64(4) {
		text := make([]byte, 2000)
		rand.New(rand.NewSource(seed)).Read(text)
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		abuse(t, rand.New(&recording{text: text}), min(len(text)/8, 300))
	})
}

func abuse(t *testing.T, r *rand.Rand, steps int) {
	t.Helper()
	s := newHistory().scales.memory
	all := []*twins{newTwins(s), newTwins(s), newTwins(s)}
	now := epoch
	for i := range steps {
		a, b := all[r.Intn(len(all))], all[r.Intn(len(all))]
		at := now.Add(-time.Duration(r.Intn(100)) * time.Hour)
		value, weight := math.Exp(r.Float64()*30), r.Float64()
		switch r.Intn(12) {
		case 0:
			now = now.Add(time.Duration(r.Intn(200*24)) * time.Hour)
		case 1, 2:
			a.ours.subtract(s, value, weight, at)
			a.theirs.SubtractSample(value, weight, at)
		case 3:
			if a != b {
				a.ours.merge(s, &b.ours)
				a.theirs.Merge(b.theirs)
			}
		case 4:
			reload(t, s, a)
		default:
			now = now.Add(time.Duration(r.Intn(60)) * time.Minute)
			a.ours.add(s, value, weight, at)
			a.theirs.AddSample(value, weight, at)
		}
		for _, h := range []*twins{a, b} {
			if want, got := upstreamContents(h.theirs), contentsOf(s, &h.ours); !reflect.DeepEqual(want, got) {
				t.Fatalf("step %d (-upstream +berth):\n%s", i, cmp.Diff(want, got))
			}
			for _, p := range []float64{0, 0.5, 0.9, 0.95, 1} {
				if want, got := h.theirs.Percentile(p), h.ours.percentile(s, p); want != got {
					t.Fatalf("step %d: percentile %v is %v, upstream's %v", i, p, got, want)
				}
			}
		}
	}
}

// reload is a restart.
func reload(t *testing.T, s *scale, h *twins) {
	t.Helper()
	want, err := h.theirs.SaveToChekpoint()
	if err != nil {
		t.Fatal(err)
	}
	got := h.ours.save()
	if diff := cmp.Diff(*want, got); diff != "" {
		t.Fatalf("checkpoint (-upstream +berth):\n%s", diff)
	}
	*h = *newTwins(s)
	if err := h.theirs.LoadFromCheckpoint(want); err != nil {
		t.Fatal(err)
	}
	if err := h.ours.load(s, got); err != nil {
		t.Fatal(err)
	}
}

// A histogram has room for what it holds, and a reset keeps it.
func TestHistogramKeepsItsRange(t *testing.T) {
	s := newHistory().scales.cpu
	h := newHistogram(s)
	for range 1000 {
		h.add(s, 1.0, 0.1, epoch)
	}
	if len(h.weights) != 1 {
		t.Errorf("%d buckets for a constant", len(h.weights))
	}
	h.add(s, 0.001, 0.1, epoch)
	if want := s.FindBucket(1.0) + 1; len(h.weights) != want {
		t.Errorf("%d buckets from zero to a core, not %d", len(h.weights), want)
	}
	h.reset(s)
	if !reflect.DeepEqual(contentsOf(s, &h), contentsOf(s, &newTwins(s).ours)) || len(h.weights) == 0 {
		t.Errorf("after a reset: %+v", h)
	}
}

func TestHistogramRefusesCheckpoints(t *testing.T) {
	s := newHistory().scales.cpu
	tests := map[string]vpav1.HistogramCheckpoint{
		"negative weight": {TotalWeight: -1, BucketWeights: map[int]uint32{3: 1}},
		"no number":       {TotalWeight: math.NaN(), BucketWeights: map[int]uint32{3: 1}},
		"infinite":        {TotalWeight: math.Inf(1), BucketWeights: map[int]uint32{3: 1}},
		"below":           {TotalWeight: 1, BucketWeights: map[int]uint32{-1: 1}},
		"above":           {TotalWeight: 1, BucketWeights: map[int]uint32{s.NumBuckets(): 1}},
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			c.ReferenceTimestamp = metav1.NewTime(epoch)
			h := newHistogram(s)
			if err := h.load(s, c); err == nil {
				t.Error("it was loaded")
			}
			if !reflect.DeepEqual(h, newHistogram(s)) {
				t.Errorf("it left %+v", h)
			}
		})
	}
}
