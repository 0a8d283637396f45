// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package simulator answers where the scheduler would put a pod, by running
// the scheduler's own framework and plugins.
//
// The plugins are built once, for all profiles of a KubeSchedulerConfiguration,
// over an Overlay of the live informers. A Session takes a snapshot of nodes
// and pods and answers questions about it: objects, nodes and pods are added
// to it, forked and reverted, and when it is closed nothing of it is left.
//
// Of a scheduling cycle it runs PreFilter, Filter, PreScore, Score and Reserve.
// Preemption, Permit and binding are not simulated, so a gang is judged pod by
// pod; extenders are refused. Its client refuses to write.
//
// Where several present nodes would do, the scheduler's scores choose, and
// among equals the first by name does: the same questions get the same answers.
// Nodes added to a session take pods only when no present node can, in the
// order in which they were added.
//
// Of a pod that grows where it is, only the room of its node is asked about.
//
// What is remembered between questions changes no answer: equal pods share
// their refusals only while nothing that could make one of them fit has
// happened. The README says what is simulated, and what is not.
package simulator

import (
	"context"
	"errors"
	"fmt"
	"sync"

	v1 "k8s.io/api/core/v1"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	appslisters "k8s.io/client-go/listers/apps/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	resourceslicetracker "k8s.io/dynamic-resource-allocation/resourceslice/tracker"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/features"
	"k8s.io/kubernetes/pkg/scheduler/apis/config"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/dynamicresources"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/nodevolumelimits"
	"k8s.io/kubernetes/pkg/scheduler/framework/runtime"
	"k8s.io/kubernetes/pkg/scheduler/metrics"
	"k8s.io/kubernetes/pkg/scheduler/util/assumecache"
)

// Options are what a Simulator is built from.
type Options struct {
	// Overlay is what the plugins read.
	Overlay *Overlay
	// Configuration is that of the scheduler whose answers are wanted. Pods
	// of other schedulers are simulated with the in-tree default profile.
	Configuration *config.KubeSchedulerConfiguration
	// Registry holds the plugins that are not in-tree.
	Registry runtime.Registry
	// RestConfig is how plugins read what they have no informer for. Whatever
	// writes is refused; so is everything when it is nil.
	RestConfig *rest.Config
	// Checkpoint remembers the state that the plugins of the Registry share
	// and returns how to put it back. It may be nil.
	Checkpoint func() (restore func())
	// Keepers are the plugins of the Registry that keep room on nodes also from
	// pods that are there already and grow.
	Keepers []string
	// Orderly are the plugins of the Registry that judge pods of one Standing
	// alike, and by which a pod that is added takes room and makes none. Where a
	// profile has others, each pod is asked for itself.
	Orderly []string
	// Standing tells what the plugins of the Registry make of a pod. It may be nil.
	Standing func(*v1.Pod) Standing

	// plain has every pod asked for itself, by in-tree plugins as they are: so
	// much slower, it has the same answers.
	plain bool
}

// Standing is what plugins make of a pod beyond its spec.
type Standing struct {
	// Slot has a place of its own. Slots are alike where they say so, and Of, which
	// is what decides about their places, is the same.
	Slot, Alike bool
	Of          string
	// Kept tells that room is kept for it, which is free once it is placed.
	Kept bool
}

// Simulator runs the plugins. One Session is open at a time.
type Simulator struct {
	overlay    *Overlay
	frameworks map[string]framework.Framework
	natures    map[string]nature
	fallback   framework.Framework
	growth     framework.Framework // judges pods that grow where they are
	checkpoint func() (restore func())
	standing   func(*v1.Pod) Standing
	daemonSets appslisters.DaemonSetLister
	csiNodes   storagelisters.CSINodeLister
	capacities storagelisters.CSIStorageCapacityLister
	claims     corelisters.PersistentVolumeClaimLister
	volumes    corelisters.PersistentVolumeLister
	classes    storagelisters.StorageClassLister
	snapshot   *snapshot
	nominated  *nominator
	plain      bool

	session sync.Mutex
}

// New builds the plugins. It makes no call, and registers informers with the
// overlay's factory, which the caller starts afterwards. The context ends what
// the plugins started.
func New(ctx context.Context, options Options) (*Simulator, error) {
	if len(options.Configuration.Extenders) > 0 {
		return nil, errors.New("scheduler extenders cannot be simulated")
	}
	if metrics.FrameworkExtensionPointDuration == nil {
		metrics.InitMetrics() // made but not registered: these are not the scheduler's figures
	}
	s := &Simulator{
		overlay:    options.Overlay,
		frameworks: map[string]framework.Framework{},
		checkpoint: options.Checkpoint,
		natures:    map[string]nature{},
		standing:   options.Standing,
		daemonSets: options.Overlay.Apps().V1().DaemonSets().Lister(),
		csiNodes:   options.Overlay.Storage().V1().CSINodes().Lister(),
		capacities: options.Overlay.Storage().V1().CSIStorageCapacities().Lister(),
		claims:     options.Overlay.Core().V1().PersistentVolumeClaims().Lister(),
		volumes:    options.Overlay.Core().V1().PersistentVolumes().Lister(),
		classes:    options.Overlay.Storage().V1().StorageClasses().Lister(),
		snapshot:   &snapshot{},
		nominated:  &nominator{},
		plain:      options.plain,
	}
	if s.checkpoint == nil {
		s.checkpoint = func() func() { return func() {} }
	}
	if s.standing == nil {
		s.standing = func(*v1.Pod) Standing { return Standing{} }
	}
	registry := plugins.NewInTreeRegistry()
	if err := registry.Merge(options.Registry); err != nil {
		return nil, fmt.Errorf("plugin registry: %w", err)
	}
	if !options.plain {
		acquaint(registry, s.snapshot)
	}
	handle, err := s.handle(ctx, options)
	if err != nil {
		return nil, err
	}
	profiles, err := withFallback(options.Configuration.Profiles)
	if err != nil {
		return nil, err
	}
	for i := range profiles {
		profile := &profiles[i]
		built, err := runtime.NewFramework(ctx, registry, profile, handle...)
		if err != nil {
			return nil, fmt.Errorf("profile %s: %w", profile.SchedulerName, err)
		}
		s.frameworks[profile.SchedulerName] = built
		s.natures[profile.SchedulerName] = natureOf(profile, built.ListPlugins(), options.Orderly)
	}
	s.fallback = s.frameworks[fallbackProfile]
	growing, err := growthProfile(options.Keepers)
	if err != nil {
		return nil, err
	}
	if s.growth, err = runtime.NewFramework(ctx, registry, growing, handle...); err != nil {
		return nil, fmt.Errorf("profile of pods that grow: %w", err)
	}
	return s, nil
}

// handle returns what the plugins are given besides their arguments.
func (s *Simulator) handle(ctx context.Context, options Options) ([]runtime.Option, error) {
	client, restConfig, err := readOnly(options.RestConfig)
	if err != nil {
		return nil, err
	}
	handle := []runtime.Option{
		runtime.WithComponentConfigVersion(options.Configuration.APIVersion),
		runtime.WithClientSet(client),
		runtime.WithKubeConfig(restConfig),
		runtime.WithInformerFactory(options.Overlay),
		runtime.WithSnapshotSharedLister(s.snapshot),
		runtime.WithSharedCSIManager(nodevolumelimits.NewCSIManager(options.Overlay.Storage().V1().CSINodes().Lister())),
		runtime.WithPodNominator(s.nominated),
		runtime.WithPodActivator(sleeper{}),
		runtime.WithPodGroupManager(podGroups{}),
		runtime.WithEventRecorder(&events.FakeRecorder{}),
		runtime.WithWaitingPods(runtime.NewWaitingPodsMap()),
		runtime.WithPodsInPreBind(runtime.NewPodsInPreBindMap()),
	}
	if !utilfeature.DefaultFeatureGate.Enabled(features.DynamicResourceAllocation) {
		return handle, nil
	}
	claims := options.Overlay.Resource().V1().ResourceClaims().Informer()
	trackerOptions := resourceslicetracker.Options{
		EnableDeviceTaintRules:   utilfeature.DefaultFeatureGate.Enabled(features.DRADeviceTaintRules),
		EnableConsumableCapacity: utilfeature.DefaultFeatureGate.Enabled(features.DRAConsumableCapacity),
		SliceInformer:            options.Overlay.Resource().V1().ResourceSlices(),
		KubeClient:               client,
	}
	if trackerOptions.EnableDeviceTaintRules {
		trackerOptions.TaintInformer = options.Overlay.Resource().V1beta2().DeviceTaintRules()
		trackerOptions.ClassInformer = options.Overlay.Resource().V1().DeviceClasses()
	}
	tracker, err := resourceslicetracker.StartTracker(ctx, trackerOptions)
	if err != nil {
		return nil, fmt.Errorf("resource slices: %w", err)
	}
	cache := assumecache.NewAssumeCache(klog.FromContext(ctx), claims, "ResourceClaim", "", nil)
	return append(handle, runtime.WithSharedDRAManager(dynamicresources.NewDRAManager(ctx, cache, tracker, options.Overlay))), nil
}

// of returns the profile that the pod is scheduled with.
func (s *Simulator) of(schedulerName string) framework.Framework {
	if known, ok := s.frameworks[schedulerName]; ok {
		return known
	}
	return s.fallback
}

// natureOf returns the nature of the profile that the pod is scheduled with.
func (s *Simulator) natureOf(schedulerName string) nature {
	if known, ok := s.natures[schedulerName]; ok {
		return known
	}
	return s.natures[fallbackProfile]
}

var _ fwk.PodActivator = sleeper{}
