// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package vertical

import (
	"encoding/json"
	"math/rand"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	"k8s.io/autoscaler/vertical-pod-autoscaler/pkg/recommender/model"
)

func free(string) bool { return false }

func TestCheckpointName(t *testing.T) {
	long := strings.Repeat("a", 253)
	tests := map[string]struct {
		id    CheckpointID
		taken bool
		want  string
	}{
		"a container's is upstream's":    {id: CheckpointID{VPA: db, Container: "main"}, want: "db-main"},
		"a container's that is taken":    {id: CheckpointID{VPA: db, Container: "main"}, taken: true, want: "db.main.all"},
		"a slot's":                       {id: CheckpointID{VPA: db, Container: "main", Slot: "10"}, want: "db.main.10"},
		"a container's that is too long": {id: CheckpointID{VPA: Key{Name: long}, Container: "main"}, want: long[:180] + ".berth.be43be3482ad23eb55bff3f790ad5ac8"},
		"a slot that is no ordinal":      {id: CheckpointID{VPA: db, Container: "main", Slot: "a/b"}, want: "db.berth.254c5bdfff2939aa2a48c3acfc1d3578"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := tc.id.Name(func(string) bool { return tc.taken }); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
}

// Names are valid, no two histories share one, and no slot's is one that upstream could
// give to any container of any VPA.
func TestCheckpointNamesAreApart(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	word := func(letters string, most int) string {
		b := []byte("a")
		for range r.Intn(most) {
			b = append(b, letters[r.Intn(len(letters))])
		}
		return string(append(b, 'z'))
	}
	used, upstreams := map[string]CheckpointID{}, map[string]bool{}
	var ids []CheckpointID
	for range 5000 {
		id := CheckpointID{VPA: Key{Name: word("ab-", 4)}, Container: word("ab-", 4)}
		if r.Intn(3) == 0 {
			id.VPA.Name = word("ab-", 3) + "." + word("ab1-", 3)
		}
		if r.Intn(20) == 0 {
			id.VPA.Name = strings.Repeat(word("ab", 10), 126)[:1+r.Intn(252)] + "z"
		}
		upstreams[id.VPA.Name+"-"+id.Container] = true
		ids = append(ids, id)
		for _, slot := range []string{"0", "1", "10", "2147483647"} {
			id.Slot = slot
			ids = append(ids, id)
		}
	}
	for _, id := range ids {
		name := id.Name(func(name string) bool { owner, ok := used[name]; return ok && owner != id })
		if owner, ok := used[name]; ok && owner != id {
			t.Fatalf("%+v and %+v are both %s", owner, id, name)
		}
		used[name] = id
		if problems := validation.IsDNS1123Subdomain(name); len(problems) > 0 {
			t.Fatalf("%+v: %s: %v", id, name, problems)
		}
		if id.Slot != "" && upstreams[name] {
			t.Fatalf("%+v is %s, which upstream may use", id, name)
		}
	}
}

// Upstream refuses the checkpoint of a slot, or it would take it for the set's, and knows
// the VPA that it names, or it would delete it.
func TestUpstreamLeavesSlotsAlone(t *testing.T) {
	h := Decide(Input{Now: epoch, VPAs: []VPA{vpa(nil, shards(1)...)}, Samples: minutely("pod-0", "a", 1, 100, 1<<30)}).History
	for _, c := range h.Checkpoints(db, epoch) {
		o := c.Object(c.ID.Name(free), "berth")
		if o.Spec.VPAObjectName != db.Name || o.Namespace != db.Namespace {
			t.Errorf("%s is of VPA %s in %s", o.Name, o.Spec.VPAObjectName, o.Namespace)
		}
		if err := model.NewAggregateContainerState().LoadFromCheckpoint(&o.Status); (err != nil) != (c.ID.Slot != "") {
			t.Errorf("%s: %v", o.Name, err)
		}
	}
}

func TestCheckpointsOf(t *testing.T) {
	now := epoch.Add(time.Hour)
	read := func(h History) []CheckpointID {
		var out []CheckpointID
		for _, c := range h.Checkpoints(db, now) {
			out = append(out, c.ID)
		}
		return out
	}
	twoSlots := []VPA{vpa(nil, shards(2)...)}
	tests := map[string]struct {
		in   Input
		want []CheckpointID
	}{
		"no pods":           {in: Input{VPAs: []VPA{vpa(nil)}}},
		"nothing measured":  {in: Input{VPAs: twoSlots}},
		"one slot measured": {in: Input{VPAs: twoSlots, Samples: minutely("pod-1", "a", 9, 1, 1)}, want: []CheckpointID{{db, "a", "1"}, {db, "a", ""}}},
		"pods without one":  {in: Input{VPAs: []VPA{vpa(nil, pod("p", "a"))}, Samples: minutely("p", "a", 9, 1, 1)}, want: []CheckpointID{{db, "a", ""}}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			tc.in.Now = now
			if diff := cmp.Diff(tc.want, read(Decide(tc.in).History)); diff != "" {
				t.Errorf("checkpoints (-want +got):\n%s", diff)
			}
		})
	}
}

// The only slot of a set has the set's history, without the peak of an interval that goes on.
func TestCheckpointOfTheOnlySlot(t *testing.T) {
	samples := minutely("pod-0", "a", 30*60, 100, 1<<30)
	for i := range samples[25*60:] {
		samples[25*60+i].Memory = 8 << 30
	}
	now := samples[len(samples)-1].Time
	h := Decide(Input{Now: now, VPAs: []VPA{vpa(nil, shards(1)...)}, Samples: samples}).History
	got := h.Checkpoints(db, now)
	if len(got) != 2 {
		t.Fatalf("%d checkpoints", len(got))
	}
	slot, set := got[0].Status, got[1].Status
	if slot.Version = set.Version; !cmp.Equal(set, slot) {
		t.Errorf("(-set +slot):\n%s", cmp.Diff(set, slot))
	}
	if peaks := slot.MemoryHistogram.BucketWeights; len(peaks) != 1 {
		t.Errorf("memory peaks %v, want that of the day that is over", peaks)
	}
}

func TestRestoreRefuses(t *testing.T) {
	good := func() *vpav1.VerticalPodAutoscalerCheckpoint {
		h := Decide(Input{Now: epoch, VPAs: []VPA{vpa(nil, shards(1)...)}, Samples: minutely("pod-0", "a", 9, 100, 1<<30)}).History
		return h.Checkpoints(db, epoch)[0].Object("x", "berth")
	}
	tests := map[string]struct {
		spoil func(*vpav1.VerticalPodAutoscalerCheckpoint)
		want  string
	}{
		"nothing":      {spoil: func(*vpav1.VerticalPodAutoscalerCheckpoint) {}},
		"no VPA":       {func(o *vpav1.VerticalPodAutoscalerCheckpoint) { o.Spec.VPAObjectName = "" }, "it names no VPA or no container"},
		"no container": {func(o *vpav1.VerticalPodAutoscalerCheckpoint) { o.Spec.ContainerName = "" }, "it names no VPA or no container"},
		"no slot":      {func(o *vpav1.VerticalPodAutoscalerCheckpoint) { o.Labels = nil }, "it names no slot in the label berth.dev/slot"},
		"a version":    {func(o *vpav1.VerticalPodAutoscalerCheckpoint) { o.Status.Version = "v4" }, `its version "v4" is none of v3 and berth.dev/slot-v3`},
		"cpu": {func(o *vpav1.VerticalPodAutoscalerCheckpoint) { o.Status.CPUHistogram.TotalWeight = -1 },
			"its cpu histogram has a total weight of -1"},
		"memory": {func(o *vpav1.VerticalPodAutoscalerCheckpoint) {
			o.Status.MemoryHistogram.BucketWeights = map[int]uint32{999: 1}
		},
			"its memory histogram has a bucket outside of the histogram"},
		"samples": {func(o *vpav1.VerticalPodAutoscalerCheckpoint) { o.Status.TotalSamplesCount = -1 },
			"its -1 samples are from 2026-01-01 00:00:00 +0000 UTC to 2026-01-01 00:08:00 +0000 UTC"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			o := good()
			tc.spoil(o)
			h, refused := Restore([]*vpav1.VerticalPodAutoscalerCheckpoint{o})
			got := ""
			if err := refused[Key{Namespace: "prod", Name: "x"}]; err != nil {
				got = err.Error()
			}
			if got != tc.want || (got == "") != (len(h.workloads) == 1) {
				t.Errorf("%q, want %q; %d workloads", got, tc.want, len(h.workloads))
			}
		})
	}
}

// Of two that tell of the same, the later holds.
func TestRestoreTakesTheLatest(t *testing.T) {
	var objects []*vpav1.VerticalPodAutoscalerCheckpoint
	for i, cpu := range []MilliCPU{100, 4000, 500} {
		at := epoch.Add(time.Duration([]int{1, 3, 2}[i]) * time.Hour)
		h := Decide(Input{Now: at, VPAs: []VPA{vpa(nil, pod("p", "a"))}, Samples: minutely("p", "a", 9, cpu, 1<<30)}).History
		objects = append(objects, h.Checkpoints(db, at)[0].Object("x", "berth"))
	}
	h, _ := Restore(objects)
	if diff := cmp.Diff(map[string]string{"a": "4742m -"}, targets(Decide(Input{Now: epoch, VPAs: []VPA{vpa(nil, pod("p", "a"))}, History: h}))); diff != "" {
		t.Errorf("targets (-want +got):\n%s", diff)
	}
}

// What a slot was told counts for as long as the slot is measured, and not longer.
func TestRestoredSlotGrowsOld(t *testing.T) {
	day := func(n int) time.Time { return epoch.Add(time.Duration(n) * 24 * time.Hour) }
	of := []VPA{vpa(nil, shards(1)...)}
	h := Decide(Input{Now: day(0), VPAs: of, Samples: minutely("pod-0", "a", 9, 100, 1<<30)}).History
	var objects []*vpav1.VerticalPodAutoscalerCheckpoint
	for _, c := range h.Checkpoints(db, day(0)) {
		objects = append(objects, c.Object(c.ID.Name(free), "berth"))
	}
	h, _ = Restore(objects)
	for n := 7; n < 20; n++ {
		d := Decide(Input{Now: day(n), VPAs: of, Samples: []Sample{{Pod: "pod-0", Container: "a", Time: day(n), CPU: 100, Memory: 1 << 30}}, History: h})
		h = d.History
		if got, want := d.Recommendations[db].Containers[0].Slots[0].Samples, 9+n-6; got != want {
			t.Fatalf("day %d: %d samples, want %d", n, got, want)
		}
	}
	d := Decide(Input{Now: day(19 + 8), VPAs: of, History: h})
	if slots := d.Recommendations[db].Containers[0].Slots; len(slots) > 0 {
		t.Errorf("after eight days without a sample: %+v", slots)
	}
}

func TestOrphans(t *testing.T) {
	now := epoch.Add(30 * 24 * time.Hour)
	object := func(id CheckpointID, written time.Duration) *vpav1.VerticalPodAutoscalerCheckpoint {
		c := Checkpoint{ID: id, Status: vpav1.VerticalPodAutoscalerCheckpointStatus{Version: containerVersion, LastUpdateTime: metav1.NewTime(now.Add(-written))}}
		if id.Slot != "" {
			c.Status.Version = slotVersion
		}
		return c.Object(id.Name(free), "berth")
	}
	whole, slot := CheckpointID{db, "main", ""}, CheckpointID{db, "main", "2"}
	berths, others, none := map[Key]bool{db: true}, map[Key]bool{db: false}, map[Key]bool{}
	unmarked, spoilt, young := object(whole, 0), object(slot, 0), object(slot, 9*24*time.Hour)
	unmarked.Labels = nil
	spoilt.Status.Version = "v2"
	young.CreationTimestamp = metav1.NewTime(now.Add(-time.Hour))
	tests := map[string]struct {
		object *vpav1.VerticalPodAutoscalerCheckpoint
		vpas   map[Key]bool
		want   bool
	}{
		"a container":                      {object(whole, time.Hour), berths, false},
		"a slot":                           {object(slot, time.Hour), berths, false},
		"a container, the VPA gone":        {object(whole, time.Hour), none, true},
		"a slot, the VPA gone":             {object(slot, time.Hour), none, true},
		"a container, handed over":         {object(whole, 99*24*time.Hour), others, false},
		"a slot, handed over":              {object(slot, time.Hour), others, true},
		"a container that is forgotten":    {object(whole, 8*24*time.Hour), berths, true},
		"a slot that is forgotten":         {object(slot, 8*24*time.Hour), berths, true},
		"almost forgotten":                 {object(slot, 8*24*time.Hour-time.Second), berths, false},
		"created, not written yet":         {young, berths, false},
		"unreadable":                       {spoilt, berths, true},
		"another's, the VPA gone":          {unmarked, none, false},
		"another namespace's VPA is there": {object(whole, 0), map[Key]bool{{Namespace: "test", Name: "db"}: true}, true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := len(Orphans(now, []*vpav1.VerticalPodAutoscalerCheckpoint{tc.object}, tc.vpas)) == 1; got != tc.want {
				t.Errorf("orphan %t, want %t", got, tc.want)
			}
		})
	}
}

// Whatever an object says, reading it ends well, and a decision can be made.
func FuzzRestore(f *testing.F) {
	h := Decide(Input{Now: epoch, VPAs: []VPA{vpa(nil, shards(1)...)}, Samples: minutely("pod-0", "a", 9, 100, 1<<30)}).History
	for _, c := range h.Checkpoints(db, epoch) {
		text, err := json.Marshal(c.Object(c.ID.Name(free), "berth"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var o vpav1.VerticalPodAutoscalerCheckpoint
		if json.Unmarshal(text, &o) != nil {
			return
		}
		h, _ := Restore([]*vpav1.VerticalPodAutoscalerCheckpoint{&o})
		d := Decide(Input{Now: epoch.Add(time.Hour), VPAs: []VPA{vpa(nil, shards(2)...)}, Samples: minutely("pod-0", "a", 9, 100, 1<<30), History: h})
		for _, c := range d.Recommendations[db].Containers {
			for name, q := range c.Target {
				if q.Sign() <= 0 {
					t.Errorf("%s of %s is %s", name, c.ContainerName, &q)
				}
			}
		}
		d.History.Checkpoints(db, epoch.Add(2*time.Hour))
	})
}
