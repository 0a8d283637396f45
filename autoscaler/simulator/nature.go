// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"bytes"
	"slices"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/kubernetes/pkg/scheduler/apis/config"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/names"
)

// nature is what refusals of a profile are worth.
type nature int

const (
	// steady refuses a pod for as long as pods are only added, unless the pod
	// itself asks for their company.
	steady nature = iota
	// fickle may take a pod after any change.
	fickle
	// unpredictable may take one of two equal pods.
	unpredictable
)

// inTree are the plugins of Kubernetes that refuse nodes.
var inTree = []string{
	names.DynamicResources, names.InterPodAffinity, names.NodeAffinity, names.NodeDeclaredFeatures, names.NodeName, names.NodePorts,
	names.NodeResourcesFit, names.NodeUnschedulable, names.NodeVolumeLimits, names.PodTopologySpread, names.TaintToleration,
	names.VolumeBinding, names.VolumeRestrictions, names.VolumeZone,
}

func natureOf(profile *config.KubeSchedulerProfile, plugins *config.Plugins, orderly []string) nature {
	for _, p := range slices.Concat(plugins.PreFilter.Enabled, plugins.Filter.Enabled) {
		if !slices.Contains(inTree, p.Name) && !slices.Contains(orderly, p.Name) {
			return unpredictable
		}
	}
	if slices.ContainsFunc(profile.PluginConfig, spreads) {
		return fickle
	}
	return steady
}

// spreads tells whether a plugin refuses nodes so as to spread pods that do not ask for it.
func spreads(plugin config.PluginConfig) bool {
	switch args := plugin.Args.(type) {
	case *config.PodTopologySpreadArgs:
		return slices.ContainsFunc(args.DefaultConstraints, func(c v1.TopologySpreadConstraint) bool {
			return c.WhenUnsatisfiable == v1.DoNotSchedule
		})
	case *runtime.Unknown: // of a plugin that is not in-tree, one that wraps it say
		return bytes.Contains(args.Raw, []byte(v1.DoNotSchedule))
	}
	return false
}
