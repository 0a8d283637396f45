// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package horizontal_test

import (
	"cmp"
	"flag"
	"fmt"
	"math"
	"math/rand"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"

	"github.com/berth-dev/berth/autoscaler/horizontal"
)

var (
	storyCount = flag.Int("stories", 100, "how many random stories to play against upstream's controller")
	storySteps = flag.Int("steps", 0, "how many syncs a story lasts; 0: from 40, which is ten minutes, to 320")
	storySeed  = flag.Int64("seed", 1, "seed of the first story; the others count up from it")
)

func TestMain(m *testing.M) {
	flag.Parse()
	// The default handlers end in a back-off whose last error is stamped with the real time at start. In a bubble, whose
	// clock starts in 2000, the first error would sleep until today.
	utilruntime.ErrorHandlers = nil
	klog.SetLogger(logr.Discard())
	os.Exit(m.Run())
}

// story is what happens to a world, sync by sync. It is a value: leaving operations out gives another story.
type story struct {
	seed   int64
	config horizontal.Config
	rivals []string
	steps  [][]op
}

type kind int

const (
	load kind = iota
	memory
	skew
	unmeasured
	unmeasuredCPU
	emptySample
	stale
	turnReady
	turnUnready
	conditionless
	startless
	fail
	succeed
	pend
	leave
	letGo
	metricsBreak
	metricsReturn
	byHand
	scaleGone
	scaleReturns
	writesFail
	writesReturn
	selector
	selectorReturns
	template
	rollOut
	starve
	feed
	edit
	editBounds
	editBehavior
	raise
	zeroCondition
	rate
	skewRate
	unrated
	haunt
	backlog
	idle
	extremes
	report
	customBreak
	customReturn
	externalBreak
	externalReturn
	restart
	kinds
)

var kindNames = [...]string{"load", "memory", "skew", "unmeasured", "unmeasuredCPU", "emptySample", "stale", "turnReady",
	"turnUnready", "conditionless", "startless", "fail", "succeed", "pend", "leave", "letGo", "metricsBreak", "metricsReturn", "byHand",
	"scaleGone", "scaleReturns", "writesFail", "writesReturn", "selector", "selectorReturns", "template", "rollOut", "starve", "feed", "edit", "editBounds", "editBehavior", "raise", "zeroCondition",
	"rate", "skewRate", "unrated", "haunt", "backlog", "idle", "extremes", "report", "customBreak", "customReturn", "externalBreak", "externalReturn", "restart"}

// op changes the world once. What n means is the kind's business.
type op struct {
	kind kind
	n    int64
}

func (o op) String() string { return fmt.Sprintf("%s(%d)", kindNames[o.kind], o.n) }

// weights make what is common in clusters common in stories, and repairs as likely as damages.
var weights = [kinds]int{load: 30, memory: 10, skew: 8, unmeasured: 8, unmeasuredCPU: 3, emptySample: 2, stale: 4, turnReady: 8,
	turnUnready: 8, conditionless: 1, startless: 1, fail: 3, succeed: 2, pend: 3, leave: 4, letGo: 14, metricsBreak: 2, metricsReturn: 8,
	byHand: 4, scaleGone: 1, scaleReturns: 8, writesFail: 3, writesReturn: 10, selector: 3, selectorReturns: 15, template: 10, rollOut: 4, starve: 2, feed: 8, edit: 6, editBounds: 4, editBehavior: 4, raise: 3, zeroCondition: 1,
	rate: 10, skewRate: 4, unrated: 4, haunt: 2, backlog: 20, idle: 4, extremes: 5, report: 3, customBreak: 2, customReturn: 8, externalBreak: 2, externalReturn: 8,
	restart: 1}

func newStory(seed int64, steps int) story {
	r := rand.New(rand.NewSource(seed))
	s := story{seed: seed, config: defaults()}
	if r.Intn(3) == 0 {
		s.config = horizontal.Config{Tolerance: r.Float64() / 2, DownscaleStabilization: time.Duration(r.Intn(40))*syncPeriod + time.Duration(r.Intn(1000))*time.Millisecond,
			CPUInitializationPeriod: time.Duration(r.Intn(300)) * time.Second, InitialReadinessDelay: time.Duration(r.Intn(60)) * time.Second}
	}
	s.config.ScaleToZero = r.Intn(2) == 0
	var wheel []kind
	for k, weight := range weights {
		for range weight {
			wheel = append(wheel, kind(k))
		}
	}
	calm := 1 + r.Intn(6)
	steps = cmp.Or(steps, 40<<r.Intn(4))
	for range steps {
		var ops []op
		for range r.Intn(4) {
			if r.Intn(calm) == 0 {
				ops = append(ops, op{wheel[r.Intn(len(wheel))], r.Int63n(1 << 30)})
			}
		}
		s.steps = append(s.steps, ops)
	}
	return s
}

func defaults() horizontal.Config {
	return horizontal.Config{Tolerance: 0.1, DownscaleStabilization: 5 * time.Minute,
		CPUInitializationPeriod: 5 * time.Minute, InitialReadinessDelay: 30 * time.Second}
}

func (w *world) apply(o op) {
	r := rand.New(rand.NewSource(o.n))
	switch o.kind {
	case load:
		w.cpu = int64(r.Intn([]int{60, 250, 400, 900, 3000}[r.Intn(5)]))
	case memory:
		w.memory = int64(r.Intn(400))
	case metricsBreak:
		w.metricsDown = "the server is currently unable to handle the request (get pods.metrics.k8s.io)"
	case metricsReturn:
		w.metricsDown = ""
	case rate:
		w.rate = int64(r.Intn([]int{600, 3000, 30000}[r.Intn(3)])) - int64(r.Intn(20)/19*1000)
	case haunt:
		w.ghosts = max(0, r.Intn(6)-2)
	case backlog:
		w.depth = int64(r.Intn([]int{1, 900, 9000, 60000}[r.Intn(4)])) - int64(r.Intn(20)/19*1000)
		w.queue = nil
		for range r.Intn(4) {
			w.queue = append(w.queue, int64(r.Intn([]int{1, 600, 9000, 30000}[r.Intn(4)]))-int64(r.Intn(12)/11*2000))
		}
	case extremes:
		w.queue = []int64{math.MaxInt64 >> r.Intn(3), math.MaxInt64 >> r.Intn(8), -r.Int63() >> r.Intn(60)}[:1+r.Intn(3)]
		if w.mayZero {
			w.queue = nil // upstream saturates only with replicas
		}
	case report:
		w.reported = max(-1, int32(r.Intn(24))-12)
	case customBreak:
		w.customDown = "the server could not find the metric rate for pods"
	case customReturn:
		w.customDown = ""
	case externalBreak:
		w.externalDown = "the server is currently unable to handle the request (get queue.external.metrics.k8s.io)"
	case externalReturn:
		w.externalDown = ""
	case idle:
		w.rate, w.depth, w.queue = 0, 0, []int64{0}
	case byHand:
		w.replicas = int32(r.Intn(25) * min(1, r.Intn(6)))
	case scaleGone:
		w.gone = `deployments.apps "web" not found`
	case scaleReturns:
		w.gone = ""
	case writesFail:
		w.readOnly = "admission webhook denied the request"
	case writesReturn:
		w.readOnly = ""
	case selector:
		w.selector = []string{"", "app=none", "app in web"}[r.Intn(3)]
	case selectorReturns:
		w.selector = "app=web"
	case template:
		w.template = max(0, r.Intn(8)-2)
	case starve:
		w.starved = true
	case feed:
		w.starved = false
	case rollOut:
		for _, b := range w.pods {
			b.changed, b.held, b.pod.DeletionTimestamp = true, r.Intn(4) == 0, ptr.To(metav1.Now())
		}
	case edit, editBounds, editBehavior, raise:
		stored, err := w.tracker.Get(hpaResource, namespace, "web")
		if err != nil {
			return
		}
		hpa := stored.(*autoscalingv2.HorizontalPodAutoscaler).DeepCopy()
		least := int32(1 + r.Intn(4))
		if r.Intn(12) == 0 || w.mayZero && r.Intn(2) == 0 {
			least = 0
		}
		bounds := specFrom(o.n, []*int32{nil, &least}[r.Intn(2)], least+1+int32(r.Intn(20)))
		if o.kind == raise {
			bounds.MinReplicas = ptr.To(1 + least%3)
		}
		switch o.kind {
		case editBehavior:
			bounds.MinReplicas, bounds.MaxReplicas, bounds.Metrics = hpa.Spec.MinReplicas, hpa.Spec.MaxReplicas, hpa.Spec.Metrics
		case editBounds, raise:
			bounds.Metrics, bounds.Behavior = hpa.Spec.Metrics, hpa.Spec.Behavior
		}
		hpa.Spec = bounds
		w.track(w.tracker.Update(hpaResource, hpa, namespace))
	case zeroCondition: // left behind by a controller with the gate on
		stored, err := w.tracker.Get(hpaResource, namespace, "web")
		if err != nil {
			return
		}
		hpa := stored.(*autoscalingv2.HorizontalPodAutoscaler).DeepCopy()
		hpa.Status.Conditions = append(hpa.Status.Conditions,
			autoscalingv2.HorizontalPodAutoscalerCondition{Type: autoscalingv2.ScaledToZero, Status: v1.ConditionTrue})
		w.track(w.tracker.Update(hpaResource, hpa, namespace))
	default:
		if len(w.pods) > 0 {
			w.pods[r.Intn(len(w.pods))].apply(o.kind, r)
		}
	}
}

func (b *berthed) apply(k kind, r *rand.Rand) {
	b.changed = true
	switch k {
	case skew:
		b.cpu = int64(r.Intn(2000))
	case skewRate:
		b.rate = int64(r.Intn(3000))
	case unrated:
		b.noRate = true
	case unmeasured:
		b.noSample = true
	case unmeasuredCPU:
		b.noCPU = true
	case emptySample:
		b.noneAtAll = true
	case stale:
		b.staleness = time.Duration(r.Intn(900)) * time.Second
	case turnReady:
		b.setReady(v1.ConditionTrue)
	case turnUnready:
		b.held = true
		b.setReady([]v1.ConditionStatus{v1.ConditionFalse, v1.ConditionFalse, v1.ConditionUnknown}[r.Intn(3)])
	case conditionless:
		b.held, b.pod.Status.Conditions = true, nil
	case startless:
		b.held, b.pod.Status.StartTime = true, nil
	case fail:
		b.held, b.pod.Status.Phase = true, v1.PodFailed
	case succeed:
		b.held, b.pod.Status.Phase = true, v1.PodSucceeded
	case pend:
		b.held, b.pod.Status.Phase = true, v1.PodPending
	case leave:
		b.held, b.pod.DeletionTimestamp = r.Intn(2) == 0, ptr.To(metav1.Now())
	case letGo:
		b.held, b.age = false, 0
		b.noSample, b.noCPU, b.noneAtAll, b.noRate, b.staleness, b.cpu, b.rate = false, false, false, false, 0, 0, 0
	}
}

// TestStoriesMatchUpstream is the definition of correct: any history, sync by sync, as kube-controller-manager. The long run,
// which `make fuzz` ends with, says how far it is:
//
//	go test -v -run Stories -timeout 6h ./autoscaler/horizontal -stories 10000
func TestStoriesMatchUpstream(t *testing.T) {
	syncs := 0
	for i := range *storyCount {
		s := newStory(*storySeed+int64(i), *storySteps)
		syncs += len(s.steps)
		mustMatch(t, s)
		if played := i + 1; played%200 == 0 || played == *storyCount {
			t.Logf("%d of %d stories, %d syncs, %s of virtual time", played, *storyCount, syncs, time.Duration(syncs)*syncPeriod)
		}
	}
}

// FuzzUpstream looks for other stories for as long as it is let. A seed is all that it varies, as bytes would
// have it spend its time on making stories shorter, which shrink does when it matters.
func FuzzUpstream(f *testing.F) {
	f.Add(int64(-1))
	f.Fuzz(func(t *testing.T, seed int64) { mustMatch(t, newStory(seed, *storySteps)) })
}

func mustMatch(t *testing.T, s story) {
	t.Helper()
	if step, diff := play(t, s); step >= 0 {
		s, step, diff = shrink(t, s, step, diff)
		t.Fatalf("seed %d, shrunk to %d syncs, differs at the last %s\nstory:\n%s", s.seed, step+1, diff, s)
	}
}

func TestRivalsMatchUpstream(t *testing.T) {
	quiet := make([][]op, 5)
	quiet[3] = []op{{turnUnready, 1}}
	if step, diff := play(t, story{config: defaults(), rivals: []string{"aaa"}, steps: quiet}); step >= 0 {
		t.Errorf("sync %d %s", step, diff)
	}
}

// shrink leaves out all it can while the story still tells of a difference.
func shrink(t *testing.T, s story, step int, diff string) (story, int, string) {
	s.steps = s.steps[:step+1]
	try := func(steps [][]op) bool {
		shorter := s
		shorter.steps = steps
		at, d := play(t, shorter)
		if at < 0 {
			return false
		}
		shorter.steps = steps[:at+1]
		s, step, diff = shorter, at, d
		return true
	}
	for size := len(s.steps) / 2; size > 0; size /= 2 {
		for from := 0; from+size <= len(s.steps); {
			steps := append(append([][]op{}, s.steps[:from]...), s.steps[from+size:]...)
			if !try(steps) {
				from += size
			}
		}
	}
	for i := 0; i < len(s.steps); i++ {
		for j := 0; i < len(s.steps) && j < len(s.steps[i]); {
			steps := append([][]op{}, s.steps...)
			steps[i] = append(append([]op{}, steps[i][:j]...), steps[i][j+1:]...)
			if !try(steps) {
				j++
			}
		}
	}
	return s, step, diff
}

func (s story) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "config %+v\n", s.config)
	for i, ops := range s.steps {
		fmt.Fprintf(&b, "%4d: %v\n", i, ops)
	}
	return b.String()
}
