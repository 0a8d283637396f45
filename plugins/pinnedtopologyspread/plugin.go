// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package pinnedtopologyspread is upstream's PodTopologySpread for pods whose
// bound volumes have already chosen the domain. A spread constraint on that
// domain can then only keep the pod pending for ever, so it refuses no node
// and scores none.
//
// It promises to be upstream's plugin, called with the very same pod, wherever
// no volume pins the pod in the key of a constraint; to refuse no node that
// upstream would accept; and to keep every other constraint as it is.
package pinnedtopologyspread

import (
	"context"
	"fmt"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/apis/config"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/feature"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/podtopologyspread"
)

// Name of the plugin in the registry and in configurations.
const Name = "PinnedTopologySpread"

// Pins knows what has been decided about a pod before it is spread. Both
// methods are asked in every cycle and must be cheap.
type Pins interface {
	// Pinned returns a function from a topology key to the one domain that the
	// pod's bound volumes leave it, whether their node affinity names the key or
	// only leads to nodes of one domain. The function is nil where no volume
	// binds the pod.
	Pinned(pod *v1.Pod) func(topologyKey string) (domain string, pinned bool)
	// Planned tells a pod that fills a slot whose policy spreads it.
	Planned(pod *v1.Pod) bool
}

// upstream is embedded, so that whatever is not overridden here is upstream's:
// Filter, AddPod, RemovePod, Score and NormalizeScore read the constraints from
// the state that PreFilter and PreScore left, and SignPod reads the pod's own.
type upstream = podtopologyspread.PodTopologySpread

// PinnedTopologySpread spreads pods where their volumes leave them a choice.
type PinnedTopologySpread struct {
	*upstream
	handle   fwk.Handle
	features feature.Features
	args     *config.PodTopologySpreadArgs
	pins     Pins
}

var (
	_ fwk.PreFilterPlugin     = &PinnedTopologySpread{}
	_ fwk.PreFilterExtensions = &PinnedTopologySpread{}
	_ fwk.FilterPlugin        = &PinnedTopologySpread{}
	_ fwk.PreScorePlugin      = &PinnedTopologySpread{}
	_ fwk.ScorePlugin         = &PinnedTopologySpread{}
	_ fwk.ScoreExtensions     = &PinnedTopologySpread{}
	_ fwk.EnqueueExtensions   = &PinnedTopologySpread{}
	_ fwk.SignPlugin          = &PinnedTopologySpread{}
)

// New returns the plugin for one profile.
func New(ctx context.Context, obj runtime.Object, handle fwk.Handle, pins Pins) (fwk.Plugin, error) {
	a, err := decode(obj)
	if err != nil {
		return nil, err
	}
	pl := &PinnedTopologySpread{
		handle:   handle,
		features: feature.NewSchedulerFeaturesFromGates(utilfeature.DefaultFeatureGate),
		args:     a,
		pins:     pins,
	}
	pl.upstream, err = pl.newUpstream(ctx, a)
	if err != nil {
		return nil, err
	}
	return pl, nil
}

func (pl *PinnedTopologySpread) newUpstream(ctx context.Context, a *config.PodTopologySpreadArgs) (*upstream, error) {
	built, err := podtopologyspread.New(ctx, a, pl.handle, pl.features)
	if err != nil {
		return nil, fmt.Errorf("building %s: %w", podtopologyspread.Name, err)
	}
	inner, ok := built.(*upstream)
	if !ok {
		return nil, fmt.Errorf("%s is a %T", podtopologyspread.Name, built)
	}
	return inner, nil
}

// Name of the plugin.
func (pl *PinnedTopologySpread) Name() string { return Name }

// EventsToRegister adds to upstream's events those that may pin a pod.
// Upstream's hints look at the pod's own constraints, all of them: they queue a
// pinned pod more often than needed, and never too seldom.
func (pl *PinnedTopologySpread) EventsToRegister(ctx context.Context) ([]fwk.ClusterEventWithHint, error) {
	events, err := pl.upstream.EventsToRegister(ctx)
	if err != nil {
		return nil, err
	}
	return append(events,
		// A claim of a pod that waits is bound, by hand or for another pod that shares it.
		fwk.ClusterEventWithHint{Event: fwk.ClusterEvent{Resource: fwk.PersistentVolumeClaim, ActionType: fwk.Add | fwk.Update}, QueueingHintFn: isSchedulableAfterClaimChange},
		// Its volume becomes known, or gets another node affinity.
		fwk.ClusterEventWithHint{Event: fwk.ClusterEvent{Resource: fwk.PersistentVolume, ActionType: fwk.Add | fwk.Update}, QueueingHintFn: isSchedulableAfterVolumeChange},
	), nil
}

// PreFilter hands upstream a copy of the pod whose hard constraints on pinned
// keys are relaxed, and skips where no other hard constraint is left.
func (pl *PinnedTopologySpread) PreFilter(ctx context.Context, state fwk.CycleState, pod *v1.Pod, nodes []fwk.NodeInfo) (*fwk.PreFilterResult, *fwk.Status) {
	inner, view, err := pl.view(ctx, pod, v1.DoNotSchedule, relax)
	if err != nil {
		return nil, fwk.AsStatus(err)
	}
	if inner == nil {
		return nil, fwk.NewStatus(fwk.Skip)
	}
	return inner.PreFilter(ctx, state, view, nodes)
}

// PreScore hands upstream a copy of the pod without soft constraints on pinned
// keys, and skips where no other is left. A slot that the plan has spread
// already is not spread again by the system's defaults: they cost a pass over
// all nodes for every pod of a StatefulSet. Constraints that somebody wrote,
// in the pod or in the args, are kept.
func (pl *PinnedTopologySpread) PreScore(ctx context.Context, state fwk.CycleState, pod *v1.Pod, nodes []fwk.NodeInfo) *fwk.Status {
	if pl.args.DefaultingType == config.SystemDefaulting && len(pod.Spec.TopologySpreadConstraints) == 0 && pl.pins.Planned(pod) {
		return fwk.NewStatus(fwk.Skip)
	}
	inner, view, err := pl.view(ctx, pod, v1.ScheduleAnyway, drop)
	if err != nil {
		return fwk.AsStatus(err)
	}
	if inner == nil {
		return fwk.NewStatus(fwk.Skip)
	}
	return inner.PreScore(ctx, state, view, nodes)
}

// view returns the plugin and the pod to spread by: upstream's and the very
// same pod where nothing is pinned; none where no constraint with the action
// is left, for upstream would take a pod without constraints for one that
// wants the defaults; else a copy in which the others are freed. Where the
// defaults of the args are what applies, it is the plugin that is another one.
func (pl *PinnedTopologySpread) view(ctx context.Context, pod *v1.Pod, action v1.UnsatisfiableConstraintAction,
	free func([]v1.TopologySpreadConstraint, map[string]string) []v1.TopologySpreadConstraint) (*upstream, *v1.Pod, error) {
	constraints := pod.Spec.TopologySpreadConstraints
	own := len(constraints) > 0
	if !own {
		constraints = pl.args.DefaultConstraints
	}
	if len(constraints) == 0 {
		return pl.upstream, pod, nil
	}
	domainOf := pl.pins.Pinned(pod)
	if domainOf == nil {
		return pl.upstream, pod, nil
	}
	pinned, left := pinnedKeys(constraints, action, domainOf)
	if len(pinned) == 0 {
		return pl.upstream, pod, nil
	}
	klog.FromContext(ctx).V(4).Info("The pod's volumes leave it no choice in keys of its spread constraints", "pod", klog.KObj(pod), "whenUnsatisfiable", action, "domains", pinned, "constraintsLeft", left)
	if left == 0 {
		return nil, nil, nil
	}
	freed := free(constraints, pinned)
	if !own {
		a := *pl.args
		a.DefaultConstraints = freed
		inner, err := pl.newUpstream(ctx, &a)
		return inner, pod, err
	}
	view := *pod
	view.Spec.TopologySpreadConstraints = freed
	return pl.upstream, &view, nil
}
