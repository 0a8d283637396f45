// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package horizontal_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	scalefake "k8s.io/client-go/scale/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/controller/podautoscaler"
	upstreammetrics "k8s.io/kubernetes/pkg/controller/podautoscaler/metrics"
	"k8s.io/kubernetes/pkg/features"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"
	resourceclient "k8s.io/metrics/pkg/client/clientset/versioned/typed/metrics/v1beta1"

	"github.com/berth-dev/berth/autoscaler/horizontal"
)

// The oracle plays a story through kube-controller-manager's own controller, in virtual time, and through Decide.
// Both see the same world at the same instant; they must agree on everything they write.

const syncPeriod = 15 * time.Second

var hpaResource = autoscalingv2.SchemeGroupVersion.WithResource("horizontalpodautoscalers")

// synced is all that one sync writes.
type synced struct {
	Scaled []int32 // attempts included
	Status autoscalingv2.HorizontalPodAutoscalerStatus
	Events []horizontal.Event
}

// oracle runs upstream's controller over a world and keeps, for the sync under way, what it saw and wrote.
type oracle struct {
	w      *world
	cs     *fake.Clientset
	stop   func()
	config horizontal.Config

	saw    []horizontal.Input
	scaled []int32
	reread bool // the next read of the scale belongs to a failed write
	events []horizontal.Event
}

func newOracle(w *world, config horizontal.Config) *oracle {
	o := &oracle{w: w, config: config}
	// NewClientset would build a REST mapper for every write: half of the time a story takes.
	o.cs = fake.NewSimpleClientset(w.hpa.DeepCopy())
	w.tracker = o.cs.Tracker()
	for _, name := range w.rivals {
		rival := w.hpa.DeepCopy()
		rival.Name = name
		w.track(w.tracker.Add(rival))
	}
	ignore := func(clienttesting.Action) (bool, runtime.Object, error) { return true, &v1.Event{}, nil }
	o.cs.PrependReactor("create", "events", ignore)
	o.cs.PrependReactor("patch", "events", ignore)
	o.cs.PrependReactor("update", "horizontalpodautoscalers", o.updateHPA)
	return o
}

// updateHPA keeps the spec, as an API server does when the status is updated.
func (o *oracle) updateHPA(action clienttesting.Action) (bool, runtime.Object, error) {
	written := action.(clienttesting.UpdateAction).GetObject().(*autoscalingv2.HorizontalPodAutoscaler)
	stored := o.hpa(written.Name)
	stored.Status = written.Status
	return true, stored, o.w.tracker.Update(hpaResource, stored, namespace)
}

func (o *oracle) hpa(name string) *autoscalingv2.HorizontalPodAutoscaler {
	stored, err := o.w.tracker.Get(hpaResource, namespace, name)
	if err != nil {
		return &autoscalingv2.HorizontalPodAutoscaler{}
	}
	return stored.(*autoscalingv2.HorizontalPodAutoscaler)
}

// start starts a controller, with no memory of an earlier one. All its goroutines are born in the caller's bubble.
func (o *oracle) start(t *testing.T) {
	ctx, cancel := context.WithCancel(klog.NewContext(t.Context(), logr.New(eventSink{o})))
	scales := &scalefake.FakeScaleClient{}
	scales.AddReactor("get", "deployments", o.readScale)
	scales.AddReactor("update", "deployments", o.writeScale)
	mapper := meta.NewDefaultRESTMapper([]schema.GroupVersion{{Group: "apps", Version: "v1"}})
	mapper.Add(schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}, meta.RESTScopeNamespace)
	factory := informers.NewSharedInformerFactory(o.cs, 0)
	controller := podautoscaler.NewHorizontalController(ctx, o.cs.CoreV1(), scales, o.cs.AutoscalingV2(), mapper,
		upstreammetrics.NewRESTMetricsClient(podMetrics{w: o.w}, customMetrics{o.w}, externalMetrics{o.w}),
		factory.Autoscaling().V2().HorizontalPodAutoscalers(), factory.Core().V1().Pods(),
		syncPeriod, o.config.DownscaleStabilization, o.config.Tolerance,
		o.config.CPUInitializationPeriod, o.config.InitialReadinessDelay)
	factory.Start(ctx.Done())
	go controller.Run(ctx, 1)
	o.stop = func() {
		cancel()
		factory.Shutdown()
	}
}

// readScale is the first thing a sync does, so this is where the world as it sees it is put aside.
func (o *oracle) readScale(clienttesting.Action) (bool, runtime.Object, error) {
	o.w.mu.Lock()
	defer o.w.mu.Unlock()
	if !o.reread {
		o.saw = append(o.saw, o.w.input(o.hpa("web"), o.config))
	}
	o.reread = false
	if o.w.gone != "" {
		return true, nil, errors.New(o.w.gone)
	}
	return true, o.w.scale(), nil
}

func (o *oracle) writeScale(action clienttesting.Action) (bool, runtime.Object, error) {
	o.w.mu.Lock()
	defer o.w.mu.Unlock()
	replicas := scaleOf(action).Spec.Replicas
	o.scaled = append(o.scaled, replicas)
	if o.w.readOnly != "" {
		o.reread = true
		return true, nil, errors.New(o.w.readOnly)
	}
	o.w.replicas = replicas
	return true, scaleOf(action), nil
}

// take returns what the last sync saw and wrote, and forgets it.
func (o *oracle) take() ([]horizontal.Input, synced) {
	o.w.mu.Lock()
	defer o.w.mu.Unlock()
	saw, wrote := o.saw, synced{Scaled: o.scaled, Status: o.hpa("web").Status, Events: o.events}
	o.saw, o.scaled, o.events = nil, nil, nil
	return saw, wrote
}

// ours is the same sync by Decide.
func ours(in horizontal.Input, readOnly string) (synced, horizontal.History) {
	decision := horizontal.Decide(in)
	outcome := decision.Outcome
	var scaled []int32
	if decision.Rescale {
		scaled = []int32{decision.DesiredReplicas}
		var err error
		if readOnly != "" {
			err = errors.New(readOnly)
		}
		outcome = horizontal.Confirm(in, decision, err)
	}
	return synced{Scaled: scaled, Status: outcome.Status, Events: outcome.Events}, outcome.History
}

// eventSink hears events where the recorder tells them, before they are merged, rationed and named:
// two events of one instant would get one name.
type eventSink struct{ o *oracle }

func (eventSink) Init(logr.RuntimeInfo)            {}
func (eventSink) Enabled(level int) bool           { return level <= 3 }
func (eventSink) Error(error, string, ...any)      {}
func (s eventSink) WithValues(...any) logr.LogSink { return s }
func (s eventSink) WithName(string) logr.LogSink   { return s }
func (s eventSink) Info(_ int, what string, kv ...any) {
	if what != "Event occurred" {
		return
	}
	said := map[string]string{}
	for i := 0; i+1 < len(kv); i += 2 {
		said[fmt.Sprint(kv[i])] = fmt.Sprint(kv[i+1])
	}
	if !strings.HasSuffix(said["object"], "/web") {
		return
	}
	s.o.w.mu.Lock()
	defer s.o.w.mu.Unlock()
	s.o.events = append(s.o.events, horizontal.Event{Type: said["type"], Reason: said["reason"], Message: said["message"]})
}

// podMetrics is the resource metrics API of a world.
type podMetrics struct {
	w *world
	resourceclient.PodMetricsInterface
}

func (m podMetrics) PodMetricses(string) resourceclient.PodMetricsInterface { return m }

func (m podMetrics) List(_ context.Context, options metav1.ListOptions) (*metricsv1beta1.PodMetricsList, error) {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	if m.w.metricsDown != "" {
		return nil, errors.New(m.w.metricsDown)
	}
	return &metricsv1beta1.PodMetricsList{Items: m.w.samples(options.LabelSelector)}, nil
}

// difference compares in full, down to transition times and the format of quantities.
// Only where upstream's words come in the order of a map are they taken for equal.
func difference(upstream, berth synced) string {
	for _, side := range []synced{upstream, berth} {
		for i := range side.Status.Conditions {
			side.Status.Conditions[i].Message = anyOrder(side.Status.Conditions[i].Message)
		}
		for i := range side.Events {
			side.Events[i].Message = anyOrder(side.Events[i].Message)
		}
	}
	if reflect.DeepEqual(upstream, berth) {
		return ""
	}
	return gocmp.Diff(upstream, berth, cmpopts.EquateEmpty(),
		gocmp.Comparer(func(a, b resource.Quantity) bool { return a.Cmp(b) == 0 && a.Format == b.Format }),
		gocmp.Comparer(func(a, b metav1.Time) bool { return a.Time.Equal(b.Time) }))
}

var (
	noRequest = regexp.MustCompile(`missing .*request for (\w+) in .*Pod web-[0-9]+`)
	somePod   = regexp.MustCompile(`Pod web-[0-9]+`)
)

func anyOrder(message string) string {
	message = strings.Replace(message, "[prod/web prod/aaa]", "[prod/aaa prod/web]", 1)
	message = noRequest.ReplaceAllString(message, "missing request for $1 in some pod")
	return somePod.ReplaceAllString(message, "some pod")
}

// forgetShares takes the share that each of no replicas has out of both statuses: it is a division by zero, and what
// upstream writes then depends on the processor.
func forgetShares(upstream, berth []autoscalingv2.MetricStatus) {
	share := func(m autoscalingv2.MetricStatus) *resource.Quantity {
		switch {
		case m.Object != nil:
			return m.Object.Current.AverageValue
		case m.External != nil:
			return m.External.Current.AverageValue
		}
		return nil
	}
	for i := range min(len(upstream), len(berth)) {
		if a, b := share(upstream[i]), share(berth[i]); a != nil && b != nil {
			*a = *b
		}
	}
}

// gate switches upstream's feature gate.
func gate(t *testing.T, on bool) {
	t.Helper()
	if err := utilfeature.DefaultMutableFeatureGate.SetFromMap(map[string]bool{string(features.HPAScaleToZero): on}); err != nil {
		t.Fatal(err)
	}
}

// play runs a story and returns the step at which the two first differ, and how; or -1.
func play(t *testing.T, s story) (step int, diff string) {
	step = -1
	gate(t, s.config.ScaleToZero)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(s)
		o := newOracle(w, s.config)
		w.locked(w.settle)
		o.start(t)
		var history horizontal.History
		wait := func(d time.Duration) {
			time.Sleep(d)
			synctest.Wait()
		}
		wait(time.Second) // from here on the story acts one second after each sync
		for i, ops := range s.steps {
			for _, op := range ops {
				if op.kind == restart {
					o.stop()
					synctest.Wait()
					history = horizontal.History{}
					o.start(t)
					wait(time.Second)
				}
				w.locked(func() { w.apply(op) })
			}
			w.locked(w.settle)
			wait(syncPeriod)
			saw, upstream := o.take()
			if len(saw) != 1+len(s.rivals) {
				step, diff = i, fmt.Sprintf("upstream synced %d times", len(saw))
				break
			}
			if i == 0 && len(s.rivals) > 0 {
				continue // upstream does not know the selectors of the HPAs that it has not yet synced
			}
			saw[0].History = history
			var berth synced
			berth, history = ours(saw[0], w.readOnly)
			if saw[0].Scale.StatusReplicas == 0 {
				forgetShares(upstream.Status.CurrentMetrics, berth.Status.CurrentMetrics)
			}
			if d := difference(upstream, berth); d != "" {
				step, diff = i, "(-upstream +berth):\n"+d
				break
			}
		}
		o.stop()
	})
	return step, diff
}
