// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package perf

import (
	"fmt"
	"os"
	"runtime/pprof"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/component-base/metrics/testutil"

	"github.com/berth-dev/berth/test/perf/report"
)

// window is a measurement that goes on. It sees pods by the informer that the
// scheduler has anyway: nothing else watches.
type window struct {
	pods    cache.SharedIndexInformer
	handler cache.ResourceEventHandlerRegistration
	cycles  time.Duration // at the beginning
	profile *os.File

	mu          sync.Mutex
	first, last time.Time // pod seen, pod bound
	bound       int
}

// seen is what a window saw.
type seen struct {
	bound  int
	took   time.Duration
	cpu    report.Cost
	cycles time.Duration
}

func (s seen) rate() float64       { return float64(s.bound) / s.took.Seconds() }
func (s seen) pods() time.Duration { return time.Duration(s.bound) }

// open begins a measurement.
func open(factory informers.SharedInformerFactory, profilePath string) (*window, error) {
	w := &window{pods: factory.Core().V1().Pods().Informer()}
	var err error
	if w.cycles, err = cycles(); err != nil {
		return nil, err
	}
	if w.handler, err = w.pods.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { w.see(nil, obj.(*v1.Pod)) },
		UpdateFunc: func(before, after any) { w.see(before.(*v1.Pod), after.(*v1.Pod)) },
	}); err != nil {
		return nil, err
	}
	if w.profile, err = os.Create(profilePath); err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(w.profile); err != nil {
		return nil, fmt.Errorf("%w; run without -cpuprofile, the benchmark takes a CPU profile itself", err)
	}
	return w, nil
}

func (w *window) see(before, after *v1.Pod) {
	if after.Namespace != namespace {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.first.IsZero() {
		w.first = time.Now()
	}
	if after.Spec.NodeName != "" && (before == nil || before.Spec.NodeName == "") {
		w.bound++
		w.last = time.Now()
	}
}

// close ends the measurement. The time is that from the first pod that the
// scheduler could see to the last one that was bound.
func (w *window) close() (seen, error) {
	pprof.StopCPUProfile()
	if err := w.pods.RemoveEventHandler(w.handler); err != nil {
		return seen{}, err
	}
	until, err := cycles()
	if err != nil {
		return seen{}, err
	}
	if _, err := w.profile.Seek(0, 0); err != nil {
		return seen{}, err
	}
	cpu, err := report.ReadCost(w.profile)
	if err != nil {
		return seen{}, err
	}
	if err := w.profile.Close(); err != nil {
		return seen{}, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.bound == 0 {
		return seen{}, fmt.Errorf("no pod was bound in namespace %s", namespace)
	}
	return seen{
		bound:  w.bound,
		took:   w.last.Sub(w.first),
		cpu:    cpu,
		cycles: until - w.cycles,
	}, nil
}

// cycles is the time of all scheduling cycles of the process until now.
func cycles() (time.Duration, error) {
	histogram, err := testutil.GetHistogramVecFromGatherer(legacyregistry.DefaultGatherer, "scheduler_scheduling_algorithm_duration_seconds", nil)
	if err != nil {
		return 0, err
	}
	return time.Duration(histogram.GetAggregatedSampleSum() * float64(time.Second)), nil
}
