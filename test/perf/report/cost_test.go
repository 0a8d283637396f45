// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/pprof/profile"
)

// cpuProfile is one with 10 ms for each stack, given from the outermost to the
// innermost function.
func cpuProfile(t *testing.T, stacks ...[]string) *bytes.Buffer {
	t.Helper()
	prof := &profile.Profile{SampleType: []*profile.ValueType{{Type: "samples", Unit: "count"}, {Type: "cpu", Unit: "nanoseconds"}}}
	for _, stack := range stacks {
		sample := &profile.Sample{Value: []int64{1, int64(10 * time.Millisecond)}}
		for _, name := range slices.Backward(stack) {
			function := &profile.Function{ID: uint64(len(prof.Function) + 1), Name: name}
			location := &profile.Location{ID: function.ID, Line: []profile.Line{{Function: function}}}
			prof.Function, prof.Location = append(prof.Function, function), append(prof.Location, location)
			sample.Location = append(sample.Location, location)
		}
		prof.Sample = append(prof.Sample, sample)
	}
	var content bytes.Buffer
	if err := prof.Write(&content); err != nil {
		t.Fatal(err)
	}
	return &content
}

func TestReadCost(t *testing.T) {
	const (
		cycle   = "k8s.io/kubernetes/pkg/scheduler.(*Scheduler).ScheduleOne"
		filters = "k8s.io/kubernetes/pkg/scheduler/framework/runtime.(*frameworkImpl).RunFilterPlugins"
		handler = "k8s.io/client-go/tools/cache.(*processorListener).run"
	)
	tests := map[string]struct {
		stack []string
		want  string
	}{
		"the cycle itself":        {[]string{cycle, filters, "runtime.mapaccess2"}, Framework},
		"a plugin":                {[]string{cycle, filters, "k8s.io/kubernetes/pkg/scheduler/framework/plugins/volumebinding.(*VolumeBinding).Filter", "runtime.mallocgc"}, "volumebinding"},
		"ours":                    {[]string{cycle, filters, "github.com/berth-dev/berth/plugins/volumeaffinity.(*VolumeAffinity).Filter"}, "volumeaffinity"},
		"ours around upstream's":  {[]string{cycle, "github.com/berth-dev/berth/plugins/pinnedtopologyspread.(*Plugin).Filter", "k8s.io/kubernetes/pkg/scheduler/framework/plugins/podtopologyspread.(*PodTopologySpread).Filter"}, "pinnedtopologyspread"},
		"what ours share":         {[]string{handler, "github.com/berth-dev/berth/plugins.(*slots).podAdded", "github.com/berth-dev/berth/plugins/statefulset.(*Planner).Add"}, Shared},
		"the model alone":         {[]string{handler, "github.com/berth-dev/berth/plugins/statefulset.(*Planner).Add"}, Shared},
		"a helper of plugins":     {[]string{cycle, "k8s.io/kubernetes/pkg/scheduler/framework/plugins/helper.DefaultNormalizeScore"}, Framework},
		"a plugin of others":      {[]string{cycle, "sigs.k8s.io/scheduler-plugins/pkg/coscheduling/core.(*PodGroupManager).PreFilter"}, "coscheduling"},
		"the cache":               {[]string{handler, "k8s.io/kubernetes/pkg/scheduler.(*Scheduler).addPod"}, Framework},
		"the API server":          {[]string{"net/http.(*conn).serve", "k8s.io/apiserver/pkg/endpoints/handlers.CreateResource"}, ""},
		"the garbage collector":   {[]string{"runtime.gcBgMarkWorker"}, ""},
		"the benchmark":           {[]string{handler, "k8s.io/kubernetes/test/integration/scheduler_perf.(*throughputCollector).run", "k8s.io/kubernetes/pkg/scheduler/util.As"}, ""},
		"a name that looks alike": {[]string{"github.com/berth-dev/berth/pluginsmith.Forge"}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := ReadCost(cpuProfile(t, tt.stack, tt.stack))
			if err != nil {
				t.Fatal(err)
			}
			want := Cost{Parts: map[string]time.Duration{}}
			if tt.want != "" {
				want = Cost{Total: 20 * time.Millisecond, Parts: map[string]time.Duration{tt.want: 20 * time.Millisecond}}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("cost (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReadCostRefusesOtherProfiles(t *testing.T) {
	if _, err := ReadCost(strings.NewReader("no profile")); err == nil {
		t.Error("text: no error")
	}
	for name, kind := range map[string]profile.ValueType{
		"a heap profile":    {Type: "inuse_space", Unit: "bytes"},
		"a mutex profile":   {Type: "delay", Unit: "nanoseconds"},
		"CPU time in ticks": {Type: "cpu", Unit: "ticks"},
	} {
		var content bytes.Buffer
		if err := (&profile.Profile{SampleType: []*profile.ValueType{&kind}}).Write(&content); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadCost(&content); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestTop(t *testing.T) {
	cost := Cost{Parts: map[string]time.Duration{
		Framework: time.Second, "nodename": 2 * time.Second, "nodeports": 2 * time.Second, "interpodaffinity": 10 * time.Millisecond,
	}}
	if diff := cmp.Diff("nodename 2000, nodeports 2000, framework 1000", cost.Top(3, 1000)); diff != "" {
		t.Errorf("top (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff("", Cost{}.Top(3, 1000)); diff != "" {
		t.Errorf("top of nothing (-want +got):\n%s", diff)
	}
}
