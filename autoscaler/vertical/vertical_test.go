// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package vertical

import (
	"math/rand"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
)

var (
	epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	db    = Key{Namespace: "prod", Name: "db"}
)

func pod(uid types.UID, containers ...string) Pod { return Pod{UID: uid, Containers: containers} }

func vpa(policy *vpav1.PodResourcePolicy, pods ...Pod) VPA {
	return VPA{Key: db, Policy: policy, Pods: pods}
}

func policies(p ...vpav1.ContainerResourcePolicy) *vpav1.PodResourcePolicy {
	return &vpav1.PodResourcePolicy{ContainerPolicies: p}
}

// minutely are samples of constant usage, one a minute since the epoch.
func minutely(uid types.UID, container string, n int, cpu MilliCPU, memory Bytes) []Sample {
	out := make([]Sample, n)
	for i := range out {
		out[i] = Sample{Pod: uid, Container: container, Time: epoch.Add(time.Duration(i) * time.Minute), CPU: cpu, Memory: memory}
	}
	return out
}

// targets reads the decision for the VPA as container name to "cpu memory".
func targets(d Decision) map[string]string {
	out := map[string]string{}
	for _, c := range d.Recommendations[db].Containers {
		out[c.ContainerName] = text(c.Target)
	}
	return out
}

func text(l corev1.ResourceList) string {
	show := func(n corev1.ResourceName, q func(*resource.Quantity) string) string {
		if v, ok := l[n]; ok {
			return q(&v)
		}
		return "-"
	}
	return show(corev1.ResourceCPU, (*resource.Quantity).String) + " " + show(corev1.ResourceMemory, (*resource.Quantity).String)
}

func resources(cpu, memory string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
}

func TestTarget(t *testing.T) {
	off, day := vpav1.ContainerScalingModeOff, 24*60
	cpuOnly := []corev1.ResourceName{corev1.ResourceCPU}
	busy := minutely("p", "a", day, 1000, 1<<30)
	idle := minutely("p", "b", day, 1, 1<<20)
	tests := map[string]struct {
		vpa     VPA
		samples []Sample
		ooms    []OOM
		want    map[string]string
	}{
		// The end of the bucket that holds the usage, and 15 % on top.
		"usage and margin": {vpa: vpa(nil, pod("p", "a")), samples: busy, want: map[string]string{"a": "1168m 1238659775"}},
		"minimum of a pod": {vpa: vpa(nil, pod("p", "b")), samples: idle, want: map[string]string{"b": "25m 250Mi"}},
		"minimum is shared": {
			vpa: vpa(nil, pod("p", "a", "b")), samples: append(idle, busy...), want: map[string]string{"a": "1168m 1238659775", "b": "12m 125Mi"}},
		"a container that is off has no share": {
			vpa:     vpa(policies(vpav1.ContainerResourcePolicy{ContainerName: "a", Mode: &off}), pod("p", "a", "b")),
			samples: append(idle, busy...), want: map[string]string{"b": "25m 250Mi"}},
		"maximum": {
			vpa:     vpa(policies(vpav1.ContainerResourcePolicy{ContainerName: "*", MaxAllowed: resources("500m", "1Gi")}), pod("p", "a")),
			samples: busy, want: map[string]string{"a": "500m 1Gi"}},
		"minimum allowed": {
			vpa:     vpa(policies(vpav1.ContainerResourcePolicy{ContainerName: "*", MinAllowed: resources("2", "3Gi")}), pod("p", "a")),
			samples: busy, want: map[string]string{"a": "2 3Gi"}},
		"maximum wins over minimum": {
			vpa: vpa(policies(vpav1.ContainerResourcePolicy{ContainerName: "*",
				MinAllowed: resources("2", "3Gi"), MaxAllowed: resources("1", "2Gi")}), pod("p", "a")),
			samples: busy, want: map[string]string{"a": "1 2Gi"}},
		"limits of zero are none": {
			vpa: vpa(policies(vpav1.ContainerResourcePolicy{ContainerName: "*",
				MinAllowed: resources("0", "0"), MaxAllowed: resources("0", "0")}), pod("p", "a")),
			samples: busy, want: map[string]string{"a": "1168m 1238659775"}},
		"the named policy before the one for all": {
			vpa: vpa(policies(vpav1.ContainerResourcePolicy{ContainerName: "*", MaxAllowed: resources("1m", "1Mi")},
				vpav1.ContainerResourcePolicy{ContainerName: "a", MaxAllowed: resources("1", "1Gi")}), pod("p", "a")),
			samples: busy, want: map[string]string{"a": "1 1Gi"}},
		"controlled resources": {
			vpa:     vpa(policies(vpav1.ContainerResourcePolicy{ContainerName: "*", ControlledResources: &cpuOnly}), pod("p", "a")),
			samples: busy, want: map[string]string{"a": "1168m -"}},
		"controlling nothing": {
			vpa:     vpa(policies(vpav1.ContainerResourcePolicy{ContainerName: "*", ControlledResources: &[]corev1.ResourceName{}}), pod("p", "a")),
			samples: busy, want: map[string]string{}},
		"containers are merged by name": {
			vpa:     vpa(nil, Pod{UID: "p", Slot: "0", Containers: []string{"a"}}, Pod{UID: "q", Slot: "1", Containers: []string{"a"}}),
			samples: append(minutely("q", "a", day, 10, 1<<20), busy...), want: map[string]string{"a": "1168m 1238659775"}},
		"samples of strangers": {vpa: vpa(nil, pod("p", "a")), samples: append(minutely("x", "a", day, 9000, 1<<40), busy...), want: map[string]string{"a": "1168m 1238659775"}},
		"samples twice":        {vpa: vpa(nil, pod("p", "a")), samples: append(busy, busy...), want: map[string]string{"a": "1168m 1238659775"}},
		"impossible samples":   {vpa: vpa(nil, pod("p", "a")), samples: minutely("p", "a", day, -1, -1), want: map[string]string{}},
		"memory alone":         {vpa: vpa(nil, pod("p", "a")), samples: minutely("p", "a", day, -1, 1<<30), want: map[string]string{"a": "- 1238659775"}},
		"an OOM adds 100 Mi": {
			vpa: vpa(nil, pod("p", "a")), samples: minutely("p", "a", day, 1000, 200<<20),
			ooms: []OOM{{Pod: "p", Container: "a", Time: epoch.Add(time.Hour), Request: 100 << 20}}, want: map[string]string{"a": "1168m 380258472"}},
		"an OOM adds a fifth": {
			vpa: vpa(nil, pod("p", "a")), samples: busy,
			ooms: []OOM{{Pod: "p", Container: "a", Time: epoch.Add(time.Hour), Request: 1 << 20}}, want: map[string]string{"a": "1168m 1555165137"}},
		"an OOM before the interval": {
			vpa: vpa(nil, pod("p", "a")), samples: busy,
			ooms: []OOM{{Pod: "p", Container: "a", Time: epoch.Add(-time.Hour), Request: 1 << 40}}, want: map[string]string{"a": "1168m 1238659775"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			d := Decide(Input{Now: epoch.Add(24 * time.Hour), VPAs: []VPA{tc.vpa}, Samples: tc.samples})
			if tc.ooms != nil {
				d = Decide(Input{Now: epoch.Add(24 * time.Hour), VPAs: []VPA{tc.vpa}, OOMs: tc.ooms, History: d.History})
			}
			if diff := cmp.Diff(tc.want, targets(d)); diff != "" {
				t.Errorf("targets (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReason(t *testing.T) {
	tests := map[string]struct {
		vpa  VPA
		want Recommendation
	}{
		"no pods":         {vpa: vpa(nil), want: Recommendation{Reason: NoPodsMatched}},
		"no samples":      {vpa: vpa(nil, pod("p", "a"), pod("q", "a")), want: Recommendation{Reason: NoUsage, Pods: 2}},
		"all is off":      {vpa: vpa(policies(vpav1.ContainerResourcePolicy{ContainerName: "*", Mode: new(vpav1.ContainerScalingModeOff)}), pod("p", "a")), want: Recommendation{Reason: NothingControlled, Pods: 1}},
		"no containers":   {vpa: vpa(nil, pod("p")), want: Recommendation{Reason: NoUsage, Pods: 1}},
		"pods of another": {vpa: vpa(nil, pod("taken", "a")), want: Recommendation{Reason: NoUsage, Pods: 1}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			first := VPA{Key: Key{Namespace: "prod", Name: "a"}, Pods: []Pod{pod("taken", "a")}}
			d := Decide(Input{Now: epoch, VPAs: []VPA{tc.vpa, first}, Samples: minutely("taken", "a", 1, 100, 1<<30)})
			if diff := cmp.Diff(tc.want, d.Recommendations[db]); diff != "" {
				t.Errorf("recommendation (-want +got):\n%s", diff)
			}
		})
	}
}

// Short histories have wide bounds, which narrow from both sides.
func TestBoundsNarrow(t *testing.T) {
	samples, h := minutely("p", "a", 3*24*60, 1000, 1<<30), History{}
	var before vpav1.RecommendedContainerResources
	for i, n := range []int{30, 600, 1440, 4320} {
		d := Decide(Input{Now: samples[n-1].Time, VPAs: []VPA{vpa(nil, pod("p", "a"))}, Samples: samples[:n], History: h})
		h = d.History
		c := d.Recommendations[db].Containers[0]
		if c.Samples != n || !c.First.Equal(epoch) || !c.Last.Equal(samples[n-1].Time) {
			t.Errorf("after %d samples: %d counted from %v to %v", n, c.Samples, c.First, c.Last)
		}
		for _, r := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			low, mid, up := c.LowerBound[r], c.Target[r], c.UpperBound[r]
			if low.Cmp(mid) > 0 || mid.Cmp(up) > 0 {
				t.Errorf("after %d samples: %s bounds %s..%s do not hold the target %s", n, r, &low, &up, &mid)
			}
			oldLow, oldUp := before.LowerBound[r], before.UpperBound[r]
			if i > 0 && (low.Cmp(oldLow) <= 0 && n < 4320 || up.Cmp(oldUp) >= 0) {
				t.Errorf("after %d samples: %s bounds %s..%s are no narrower than %s..%s", n, r, &low, &up, &oldLow, &oldUp)
			}
		}
		before = c.RecommendedContainerResources
	}
}

func TestForgetting(t *testing.T) {
	seen := vpa(nil, pod("p", "a"))
	learnt := func() History {
		return Decide(Input{Now: epoch, VPAs: []VPA{seen}, Samples: minutely("p", "a", 1, 1000, 1<<30)}).History
	}
	tests := map[string]struct {
		steps []Input
		want  map[string]string
	}{
		"a tick without the VPA":   {steps: []Input{{Now: epoch}, {Now: epoch, VPAs: []VPA{seen}}}, want: map[string]string{"a": "1168m 1238659775"}},
		"a tick without its pods":  {steps: []Input{{Now: epoch, VPAs: []VPA{vpa(nil)}}, {Now: epoch, VPAs: []VPA{seen}}}, want: map[string]string{"a": "1168m 1238659775"}},
		"scaled to zero":           {steps: []Input{{Now: epoch.Add(7 * 24 * time.Hour), VPAs: []VPA{vpa(nil)}}}, want: map[string]string{"a": "1168m 1238659775"}},
		"the next pod":             {steps: []Input{{Now: epoch.Add(time.Hour), VPAs: []VPA{vpa(nil, pod("q", "a"))}}}, want: map[string]string{"a": "1168m 1238659775"}},
		"eight days without usage": {steps: []Input{{Now: epoch.Add(8 * 24 * time.Hour), VPAs: []VPA{seen}}}, want: map[string]string{}},
		"another VPA of the name's namespace": {
			steps: []Input{{Now: epoch, VPAs: []VPA{{Key: Key{Namespace: "prod", Name: "x"}, Pods: seen.Pods}}}}, want: map[string]string{}},
		"a container that is gone": {steps: []Input{{Now: epoch, VPAs: []VPA{vpa(nil, pod("q", "b"))}}}, want: map[string]string{}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			h := learnt()
			var d Decision
			for _, in := range tc.steps {
				in.History = h
				d = Decide(in)
				h = d.History
			}
			if diff := cmp.Diff(tc.want, targets(d)); diff != "" {
				t.Errorf("targets (-want +got):\n%s", diff)
			}
		})
	}
}

// A pod that is not listed for a tick goes on where it was: its peak is not counted twice,
// nor its samples.
func TestPodIsMissedForATick(t *testing.T) {
	samples := minutely("p", "a", 60, 100, 1<<30)
	for i := range samples {
		samples[i].Memory += Bytes(i) << 26
	}
	live := func(missed int) *usage {
		var h History
		for i := range samples {
			in := Input{Now: samples[i].Time, VPAs: []VPA{vpa(nil, pod("p", "a"))}, Samples: samples[max(i-1, 0) : i+1], History: h}
			if i == missed {
				in.VPAs[0].Pods = nil
			}
			h = Decide(in).History
		}
		return h.workloads[db][0].slots[0].live
	}
	s := newHistory().scales
	for of, h := range map[string][2]contents{
		"cpu":    {contentsOf(s.cpu, &live(-1).cpu), contentsOf(s.cpu, &live(30).cpu)},
		"memory": {contentsOf(s.memory, &live(-1).memory), contentsOf(s.memory, &live(30).memory)},
	} {
		if diff := cmp.Diff(h[0], h[1]); diff != "" {
			t.Errorf("%s (-never missed +missed):\n%s", of, diff)
		}
	}
}

// A pod's status tells of its last OOM for as long as the pod lives, and after a restart
// of Berth. It counts once, whatever has been used since.
func TestOOMCountsOnce(t *testing.T) {
	of := []VPA{vpa(nil, pod("p", "a"))}
	oom := []OOM{{Pod: "p", Container: "a", Time: epoch.Add(30 * time.Second), Request: 1 << 30}}
	samples := minutely("p", "a", 60, 100, 1<<30)
	for i := range samples[10:] {
		samples[i+10].Memory = 1200 << 20 // after the OOM, in its interval
	}
	var h History
	for i := range samples {
		h = Decide(Input{Now: samples[i].Time, VPAs: of, Samples: samples[i : i+1], OOMs: oom, History: h}).History
	}
	want := map[string]string{"a": "126m 1555165137"} // a fifth more than the request, and 15 %
	d := Decide(Input{Now: epoch.Add(time.Hour), VPAs: of, OOMs: oom, History: h})
	if diff := cmp.Diff(want, targets(d)); diff != "" {
		t.Errorf("targets (-want +got):\n%s", diff)
	}

	saved := epoch.Add(40 * time.Hour)
	var objects []*vpav1.VerticalPodAutoscalerCheckpoint
	for _, c := range d.History.Checkpoints(db, saved) {
		objects = append(objects, c.Object("x", "berth"))
	}
	h, _ = Restore(objects)
	before := Decide(Input{Now: saved, VPAs: of, History: h}).History.Checkpoints(db, saved)
	h, _ = Restore(objects)
	after := Decide(Input{Now: saved, VPAs: of, OOMs: oom, History: h}).History.Checkpoints(db, saved)
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("history without and with the OOM from before the restart (-without +with):\n%s", diff)
	}
}

// Containers that are gone leave nothing behind.
func TestHistoryStaysSmall(t *testing.T) {
	var h History
	for day := range 30 {
		now := epoch.Add(time.Duration(day) * 24 * time.Hour)
		uid := types.UID(now.String())
		h = Decide(Input{Now: now, VPAs: []VPA{vpa(nil, Pod{UID: uid, Slot: string(uid), Containers: []string{"a"}})},
			Samples: []Sample{{Pod: uid, Container: "a", Time: now, CPU: 1, Memory: 1}}, History: h}).History
	}
	containers := 0
	for _, r := range h.workloads[db][0].slots {
		containers += len(r.running)
	}
	if slots := len(h.workloads[db][0].slots); containers > 2 || slots > 8 {
		t.Errorf("%d containers and %d slots are remembered", containers, slots)
	}
}

// Floating point sums depend on the order in which slots are merged, and people read it.
func TestSlotsAreInOrder(t *testing.T) {
	h := newHistory()
	for _, slot := range []string{"3", "1", "0", "10", "2", "7", "5", "4", "11", "6"} {
		h.lineage(db, "a").record(slot)
	}
	var got []string
	for _, r := range h.lineage(db, "a").slots {
		got = append(got, r.slot)
	}
	if diff := cmp.Diff([]string{"0", "1", "2", "3", "4", "5", "6", "7", "10", "11"}, got); diff != "" {
		t.Errorf("slots (-want +got):\n%s", diff)
	}
}

func TestOrderDoesNotMatter(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	for range 20 {
		in := Input{Now: epoch.Add(48 * time.Hour)}
		for _, name := range []string{"x", "y", "z"} {
			v := VPA{Key: Key{Namespace: "prod", Name: name}}
			for _, p := range []string{"1", "2", "3"} {
				v.Pods = append(v.Pods, Pod{UID: types.UID(name + p), Slot: p, Containers: []string{"a", "b"}})
			}
			v.Pods = append(v.Pods, pod("shared", "a"))
			in.VPAs = append(in.VPAs, v)
		}
		for range 500 {
			p := in.VPAs[r.Intn(3)].Pods[r.Intn(4)]
			at := epoch.Add(time.Duration(r.Intn(2000)) * time.Minute)
			name := p.Containers[r.Intn(len(p.Containers))]
			if r.Intn(20) == 0 {
				in.OOMs = append(in.OOMs, OOM{Pod: p.UID, Container: name, Time: at, Request: Bytes(r.Int63n(1 << 32))})
				continue
			}
			in.Samples = append(in.Samples, Sample{Pod: p.UID, Container: name, Time: at, CPU: MilliCPU(r.Intn(5000)), Memory: Bytes(r.Int63n(1 << 33))})
		}
		want := Decide(in).Recommendations
		shuffle(r, in.VPAs)
		shuffle(r, in.Samples)
		shuffle(r, in.OOMs)
		for i := range in.VPAs {
			shuffle(r, in.VPAs[i].Pods)
		}
		if diff := cmp.Diff(want, Decide(in).Recommendations); diff != "" {
			t.Fatalf("recommendations after a shuffle (-want +got):\n%s", diff)
		}
	}
}

func shuffle[T any](r *rand.Rand, s []T) {
	r.Shuffle(len(s), func(i, j int) { s[i], s[j] = s[j], s[i] })
}
