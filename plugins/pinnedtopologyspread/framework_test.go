// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package pinnedtopologyspread

import (
	"context"
	"testing"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/apis/config"
	"k8s.io/kubernetes/pkg/scheduler/backend/cache"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/defaultbinder"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/feature"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/podtopologyspread"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/queuesort"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/volumebinding"
	schedulerruntime "k8s.io/kubernetes/pkg/scheduler/framework/runtime"
	"k8s.io/kubernetes/pkg/scheduler/metrics"
)

const (
	zone = v1.LabelTopologyZone
	host = v1.LabelHostname
	rack = "example.com/rack"
)

// pins are the keys in which every pod is pinned.
type pins struct {
	domains map[string]string
	planned bool
}

func (p *pins) Planned(*v1.Pod) bool { return p.planned }

func (p *pins) Pinned(*v1.Pod) func(string) (string, bool) {
	if p.domains == nil {
		return nil
	}
	return p.domainOf
}

func (p *pins) domainOf(key string) (string, bool) {
	domain, ok := p.domains[key]
	return domain, ok
}

// snapshot is a lister whose content a test may change between cycles.
type snapshot struct{ fwk.SharedLister }

// profile is a real framework with upstream's VolumeBinding and one plugin
// that spreads.
type profile struct {
	framework.Framework
	snapshot *snapshot
}

// build makes the profile over the stores of real informers, which hold the
// objects; pods and nodes among them are in the snapshot too.
func build(t testing.TB, plugin, args string, p Pins, objects ...runtime.Object) *profile {
	t.Helper()
	built, err := tryBuild(t, plugin, args, p, objects...)
	if err != nil {
		t.Fatal(err)
	}
	return built
}

func tryBuild(t testing.TB, plugin, args string, p Pins, objects ...runtime.Object) (*profile, error) {
	t.Helper()
	metrics.Register()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)

	given := &runtime.Unknown{Raw: []byte(args)}
	fts := feature.NewSchedulerFeaturesFromGates(utilfeature.DefaultFeatureGate)
	registry := schedulerruntime.Registry{
		queuesort.Name:     queuesort.New,
		defaultbinder.Name: defaultbinder.New,
		volumebinding.Name: schedulerruntime.FactoryAdapter(fts, volumebinding.New),
		podtopologyspread.Name: func(ctx context.Context, _ runtime.Object, handle fwk.Handle) (fwk.Plugin, error) {
			typed, err := decode(given)
			if err != nil {
				return nil, err
			}
			return podtopologyspread.New(ctx, typed, handle, fts)
		},
		Name: func(ctx context.Context, args runtime.Object, handle fwk.Handle) (fwk.Plugin, error) {
			return New(ctx, args, handle, p)
		},
	}
	spread := &config.KubeSchedulerProfile{
		SchedulerName: "berth-scheduler",
		Plugins: &config.Plugins{
			QueueSort:  config.PluginSet{Enabled: []config.Plugin{{Name: queuesort.Name}}},
			Bind:       config.PluginSet{Enabled: []config.Plugin{{Name: defaultbinder.Name}}},
			MultiPoint: config.PluginSet{Enabled: []config.Plugin{{Name: volumebinding.Name}, {Name: plugin, Weight: 2}}},
		},
		PluginConfig: []config.PluginConfig{
			{Name: volumebinding.Name, Args: &config.VolumeBindingArgs{BindTimeoutSeconds: 600}},
			{Name: Name, Args: given},
		},
	}
	client := fake.NewClientset(objects...)
	factory := informers.NewSharedInformerFactory(client, 0)
	lister := &snapshot{snapshotOf(objects...)}
	built, err := schedulerruntime.NewFramework(ctx, registry, spread,
		schedulerruntime.WithClientSet(client),
		schedulerruntime.WithInformerFactory(factory),
		schedulerruntime.WithSnapshotSharedLister(lister))
	if err != nil {
		return nil, err
	}
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop); factory.Shutdown() })
	factory.Start(stop)
	factory.WaitForCacheSync(stop)
	return &profile{Framework: built, snapshot: lister}, nil
}

func snapshotOf(objects ...runtime.Object) *cache.Snapshot {
	var nodes []*v1.Node
	var pods []*v1.Pod
	for _, obj := range objects {
		switch obj := obj.(type) {
		case *v1.Node:
			nodes = append(nodes, obj)
		case *v1.Pod:
			pods = append(pods, obj)
		}
	}
	return cache.NewSnapshot(pods, nodes)
}

func (p *profile) nodes(t testing.TB) []fwk.NodeInfo {
	t.Helper()
	all, err := p.snapshot.NodeInfos().List()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// outcome is what one cycle says. Names of plugins are left out, so that the
// outcomes of two plugins can be compared.
type outcome struct {
	PreFilter string            // why it refused
	NoFilter  bool              // it skipped
	Refused   map[string]string // why, by node
	Preempted map[string]string // the same once the first pod of the node is gone
	NoScore   bool
	Scores    map[string]int64 // of the nodes that fit
}

// try runs a whole cycle on every node.
func (p *profile) try(t testing.TB, pod *v1.Pod) outcome {
	t.Helper()
	ctx, state, out := t.Context(), framework.NewCycleState(), outcome{}
	_, status, _ := p.RunPreFilterPlugins(ctx, state, pod)
	if !status.IsSuccess() {
		out.PreFilter = status.Code().String() + ": " + status.Message()
		return out
	}
	skipped := state.GetSkipFilterPlugins()
	out.NoFilter = skipped.Has(Name) || skipped.Has(podtopologyspread.Name)
	out.Refused, out.Preempted = map[string]string{}, map[string]string{}
	var fit []fwk.NodeInfo
	for _, nodeInfo := range p.nodes(t) {
		name := nodeInfo.Node().Name
		status := p.RunFilterPlugins(ctx, state, pod, nodeInfo)
		if status.IsSuccess() {
			fit = append(fit, nodeInfo)
		} else {
			out.Refused[name] = status.Code().String() + ": " + status.Message()
		}
		if len(nodeInfo.GetPods()) == 0 {
			continue
		}
		if status := p.without(t, state, pod, nodeInfo); !status.IsSuccess() {
			out.Preempted[name] = status.Code().String() + ": " + status.Message()
		}
	}
	if status := p.RunPreScorePlugins(ctx, state, pod, fit); !status.IsSuccess() {
		t.Fatalf("PreScore: %s", status.Message())
	}
	skipped = state.GetSkipScorePlugins()
	if skipped.Has(Name) || skipped.Has(podtopologyspread.Name) {
		out.NoScore = true
		return out
	}
	out.Scores = map[string]int64{}
	scores, status := p.RunScorePlugins(ctx, state, pod, fit)
	if !status.IsSuccess() {
		t.Fatalf("Score: %s", status.Message())
	}
	for _, score := range scores {
		out.Scores[score.Name] = score.TotalScore
	}
	return out
}

// without filters the node as preemption does, without its first pod.
func (p *profile) without(t testing.TB, state fwk.CycleState, pod *v1.Pod, nodeInfo fwk.NodeInfo) *fwk.Status {
	t.Helper()
	state, nodeInfo = state.Clone(), nodeInfo.Snapshot()
	victim := nodeInfo.GetPods()[0]
	if err := nodeInfo.RemovePod(klog.FromContext(t.Context()), victim.GetPod()); err != nil {
		t.Fatal(err)
	}
	if status := p.RunPreFilterExtensionRemovePod(t.Context(), state, pod, victim, nodeInfo); !status.IsSuccess() {
		t.Fatalf("RemovePod: %s", status.Message())
	}
	return p.RunFilterPlugins(t.Context(), state, pod, nodeInfo)
}
