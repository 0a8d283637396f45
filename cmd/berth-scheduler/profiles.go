// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"slices"

	"github.com/berth-dev/berth/plugins/quorumguard"
	"github.com/berth-dev/berth/plugins/slothold"
	"github.com/spf13/cobra"
	"k8s.io/kubernetes/pkg/scheduler/apis/config"
	configscheme "k8s.io/kubernetes/pkg/scheduler/apis/config/scheme"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/names"
)

// afterCheck returns a run of the command that begins only if every profile
// keeps the room of absent slots, which one that does not would give away, and
// none preempts in two ways.
func afterCheck(run func(*cobra.Command, []string) error) func(*cobra.Command, []string) error {
	return func(command *cobra.Command, args []string) error {
		if version := command.Flags().Lookup("version"); version != nil && version.Changed {
			return run(command, args)
		}
		path, err := command.Flags().GetString("config")
		if err != nil {
			return err
		}
		if err := checkFile(path); err != nil {
			return err
		}
		return run(command, args)
	}
}

// checkFile reads a configuration as upstream does, and leaves it to upstream
// to say what is wrong with one that can not be read.
func checkFile(path string) error {
	if path == "" {
		return fmt.Errorf("berth-scheduler needs a configuration with plugin %s in every profile: use --config", slothold.Name)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	decoded, _, err := configscheme.Codecs.UniversalDecoder().Decode(text, nil, nil)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	cfg, ok := decoded.(*config.KubeSchedulerConfiguration)
	if !ok {
		return fmt.Errorf("%s: is a %T, want a KubeSchedulerConfiguration", path, decoded)
	}
	for _, profile := range cfg.Profiles {
		if point := without(profile.Plugins); point != "" {
			return fmt.Errorf("%s: profile %q lacks plugin %s at %s: its pods would take the room that is kept for slots of other profiles; enable it at multiPoint",
				path, profile.SchedulerName, slothold.Name, point)
		}
		if preemptsTwice(profile.Plugins) {
			return fmt.Errorf("%s: profile %q has both %s and %s: what the one spares the other would take; disable %s at multiPoint",
				path, profile.SchedulerName, quorumguard.Name, names.DefaultPreemption, names.DefaultPreemption)
		}
	}
	return nil
}

// without returns the first extension point where SlotHold is not enabled,
// empty if it is wherever it has something to do.
func without(plugins *config.Plugins) (point string) {
	if plugins == nil {
		return "multiPoint"
	}
	for _, at := range []struct {
		point string
		set   config.PluginSet
	}{{"preFilter", plugins.PreFilter}, {"filter", plugins.Filter}, {"reserve", plugins.Reserve}} {
		if !enabled(plugins, at.set, slothold.Name) {
			return at.point
		}
	}
	return ""
}

// preemptsTwice tells whether upstream's preemption is there beside Berth's.
func preemptsTwice(plugins *config.Plugins) bool {
	return enabled(plugins, plugins.PostFilter, quorumguard.Name) && enabled(plugins, plugins.PostFilter, names.DefaultPreemption)
}

// enabled tells whether a plugin is enabled at an extension point, whose set is
// given, there or everywhere.
func enabled(plugins *config.Plugins, at config.PluginSet, name string) bool {
	has := func(of []config.Plugin, names ...string) bool {
		return slices.ContainsFunc(of, func(p config.Plugin) bool { return slices.Contains(names, p.Name) })
	}
	return has(at.Enabled, name) || (has(plugins.MultiPoint.Enabled, name) && !has(at.Disabled, name, "*"))
}
