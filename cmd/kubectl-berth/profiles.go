// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/berth-dev/berth/autoscaler/simulator"
	"github.com/berth-dev/berth/plugins/args"
	"github.com/berth-dev/berth/plugins/ordinalgate"
	"github.com/berth-dev/berth/plugins/ordinalplacement"
	"github.com/berth-dev/berth/plugins/policies"
	"github.com/berth-dev/berth/plugins/statefulset"
	"github.com/berth-dev/berth/plugins/volumeaffinity"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/scheduler/apis/config"
)

// schedulerName is that of the scheduler's Deployment, and of the profile that
// is shipped with it.
const schedulerName = "berth-scheduler"

// profiles are those of the scheduler's configuration that place ordinals.
type profiles struct {
	// origin says where the configuration was found; unread, instead, why it
	// was not, and that its defaults are taken.
	origin, unread string
	byScheduler    map[string]profile
}

// profile is what a profile of the scheduler means to sets.
type profile struct {
	placement *statefulset.Policy // of sets that no PlacementPolicy is for
	gates     bool                // start.order is kept
	returns   bool                // home.returnToNode is kept
}

// of returns the profile that pods ask for by schedulerName, if it places
// ordinals.
func (p profiles) of(schedulerName string) (profile, bool) {
	found, ok := p.byScheduler[schedulerName]
	return found, ok
}

// names lists the schedulerNames that place ordinals.
func (p profiles) names() []string { return slices.Sorted(maps.Keys(p.byScheduler)) }

// readProfiles reads the scheduler's configuration from the file that was
// named, else from the ConfigMap that the scheduler runs with.
func (c *cluster) readProfiles(ctx context.Context) (profiles, error) {
	if c.configFile != "" {
		data, err := os.ReadFile(c.configFile)
		if err != nil {
			return profiles{}, fmt.Errorf("--config: %w", err)
		}
		found, err := parseProfiles(data)
		if err != nil {
			return profiles{}, fmt.Errorf("--config %s: %w", c.configFile, err)
		}
		found.origin = "file " + c.configFile
		return found, nil
	}
	found, err := c.configured(ctx)
	if err == nil {
		return found, nil
	}
	if ctx.Err() != nil {
		return profiles{}, err
	}
	assumed, err2 := defaultProfiles()
	assumed.unread = err.Error()
	return assumed, err2
}

// configured looks for the configuration in the ConfigMaps of the scheduler.
func (c *cluster) configured(ctx context.Context) (profiles, error) {
	mounted, err := c.mountOf(ctx, c.schedulerNamespace, schedulerName, "KubeSchedulerConfiguration")
	if err != nil {
		return profiles{}, err
	}
	var found []profiles
	for _, document := range mounted.documents {
		one, err := parseProfiles(document.data)
		if err != nil {
			return profiles{}, fmt.Errorf("%s: %w", document.origin, err)
		}
		if one.origin = document.origin; len(one.byScheduler) > 0 {
			found = append(found, one)
		}
	}
	return pick(mounted, found, "a profile that enables "+ordinalplacement.Name)
}

// parseProfiles reads a KubeSchedulerConfiguration.
func parseProfiles(data []byte) (profiles, error) {
	configuration, err := simulator.ParseConfiguration(data)
	if err != nil {
		return profiles{}, err
	}
	found := profiles{byScheduler: map[string]profile{}}
	for i := range configuration.Profiles {
		from := &configuration.Profiles[i]
		if from.Plugins == nil || !runs(from.Plugins, from.Plugins.PreFilter, ordinalplacement.Name) {
			continue
		}
		placement, err := placementOf(from)
		if err != nil {
			return profiles{}, fmt.Errorf("profile %s: %s: %w", from.SchedulerName, ordinalplacement.Name, err)
		}
		found.byScheduler[from.SchedulerName] = profile{
			placement: placement,
			gates:     runs(from.Plugins, from.Plugins.PreEnqueue, ordinalgate.Name),
			returns:   runs(from.Plugins, from.Plugins.Filter, volumeaffinity.Name),
		}
	}
	return found, nil
}

// runs tells whether a plugin runs at an extension point of a profile.
func runs(plugins *config.Plugins, at config.PluginSet, name string) bool {
	has := func(list []config.Plugin, names ...string) bool {
		return slices.ContainsFunc(list, func(p config.Plugin) bool { return slices.Contains(names, p.Name) })
	}
	return has(at.Enabled, name) || (has(plugins.MultiPoint.Enabled, name) && !has(at.Disabled, name, "*"))
}

// placementOf returns the default policy of a profile, worked out as the
// plugin does.
func placementOf(from *config.KubeSchedulerProfile) (*statefulset.Policy, error) {
	var a ordinalplacement.Args
	for _, given := range from.PluginConfig {
		if given.Name != ordinalplacement.Name {
			continue
		}
		if err := args.DecodeStrict(given.Args, &a); err != nil {
			return nil, err
		}
	}
	a.Default()
	policy, errs := policies.Compile("", a.DefaultPolicy, field.NewPath("args", "defaultPolicy"))
	return policy, errs.ToAggregate()
}

// defaultProfiles are those of a scheduler whose configuration says nothing.
func defaultProfiles() (profiles, error) {
	placement, err := placementOf(&config.KubeSchedulerProfile{})
	if err != nil {
		return profiles{}, err
	}
	return profiles{byScheduler: map[string]profile{schedulerName: {placement: placement, gates: true, returns: true}}}, nil
}
