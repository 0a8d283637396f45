// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package report turns what a scheduler did for some pods into numbers that
// can be compared: the CPU time that the scheduler had of a process it shares
// with an API server, and a table of two profiles side by side.
//
// It starts nothing and measures nothing; profiles and times are values in.
package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/google/pprof/profile"
)

const (
	schedulerCode = "k8s.io/kubernetes/pkg/scheduler"
	inTreePlugins = schedulerCode + "/framework/plugins/"
	ourPlugins    = "github.com/berth-dev/berth/plugins"
	otherPlugins  = "sigs.k8s.io/scheduler-plugins/pkg/"
	harness       = "k8s.io/kubernetes/test/"

	// Framework is the part of a cost that no plugin caused.
	Framework = "framework"
	// Shared is the part that Berth's plugins have in common.
	Shared = "shared"
)

// Cost is CPU time that went into scheduling, and to whom in it.
type Cost struct {
	Total time.Duration
	Parts map[string]time.Duration // by plugin package; the sum is Total
}

// ReadCost reads a CPU profile of the whole process.
//
// A sample counts when code of the scheduler or of a plugin is on its stack:
// scheduling and binding cycles, queue, cache, and the handlers of events. What
// runs on goroutines that all of the process shares does not: collection of
// garbage, connections, and the decoding of watch events. Of a plugin that
// calls another one the outer pays, as it does in the scheduler.
func ReadCost(r io.Reader) (Cost, error) {
	prof, err := profile.Parse(r)
	if err != nil {
		return Cost{}, fmt.Errorf("reading the CPU profile: %w", err)
	}
	value := slices.IndexFunc(prof.SampleType, func(t *profile.ValueType) bool { return t.Type == "cpu" && t.Unit == "nanoseconds" })
	if value < 0 {
		return Cost{}, fmt.Errorf("the profile has no CPU time in nanoseconds")
	}
	cost := Cost{Parts: map[string]time.Duration{}}
	for _, sample := range prof.Sample {
		part := partOf(stackOf(sample))
		if part == "" {
			continue
		}
		spent := time.Duration(sample.Value[value])
		cost.Total += spent
		cost.Parts[part] += spent
	}
	return cost, nil
}

// Top names the n largest parts, per pod.
func (c Cost) Top(n, pods int) string {
	names := make([]string, 0, len(c.Parts))
	for name := range c.Parts {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(c.Parts[b], c.Parts[a]), cmp.Compare(a, b))
	})
	var top []string
	for _, name := range names[:min(n, len(names))] {
		top = append(top, fmt.Sprintf("%s %d", name, (c.Parts[name]/time.Duration(pods)).Microseconds()))
	}
	return strings.Join(top, ", ")
}

// stackOf lists the functions of a sample from the outermost to the innermost.
func stackOf(sample *profile.Sample) []string {
	var stack []string
	for _, location := range slices.Backward(sample.Location) {
		for _, line := range slices.Backward(location.Line) {
			if line.Function != nil {
				stack = append(stack, line.Function.Name)
			}
		}
	}
	return stack
}

// partOf names the part that pays for a stack: the outermost plugin on it, the
// framework when there is none, nobody when it is not the scheduler's.
func partOf(stack []string) string {
	if slices.ContainsFunc(stack, func(function string) bool { return strings.HasPrefix(function, harness) }) {
		return ""
	}
	part := ""
	for _, function := range stack {
		for _, home := range []string{inTreePlugins, otherPlugins, ourPlugins + "/"} {
			if inside, found := strings.CutPrefix(function, home); found {
				return roomOf(inside)
			}
		}
		switch {
		case strings.HasPrefix(function, ourPlugins+"."):
			return Shared
		case strings.HasPrefix(function, schedulerCode):
			part = Framework
		}
	}
	return part
}

// roomOf is the first folder of "room/below.Type.Method". In-tree helpers and
// the model that Berth's plugins share are no plugins.
func roomOf(inside string) string {
	room := inside[:strings.IndexAny(inside+".", "./")]
	switch room {
	case "helper", "feature", "names":
		return Framework
	case "statefulset", "policies", "args", "api":
		return Shared
	}
	return room
}
