// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"context"
	"slices"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/interpodaffinity"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/podtopologyspread"
	frameworkruntime "k8s.io/kubernetes/pkg/scheduler/framework/runtime"

	"github.com/berth-dev/berth/plugins/pinnedtopologyspread"
)

// acquaint has the plugins of a registry that look for the company of a pod
// shown what they look for, and nothing else.
func acquaint(registry frameworkruntime.Registry, snapshot *snapshot) {
	for name, build := range registry {
		switch name {
		case interpodaffinity.Name:
			registry[name] = func(ctx context.Context, args runtime.Object, handle fwk.Handle) (fwk.Plugin, error) {
				view := &affinityView{snapshot: snapshot}
				plugin, err := build(ctx, args, affinityHandle{handle, view})
				if inner, ok := plugin.(*interpodaffinity.InterPodAffinity); ok && err == nil {
					return &affinity{inner, view, handle.SharedInformerFactory().Core().V1().Namespaces().Lister()}, nil
				}
				return plugin, err
			}
		case podtopologyspread.Name, pinnedtopologyspread.Name:
			registry[name] = func(ctx context.Context, args runtime.Object, handle fwk.Handle) (fwk.Plugin, error) {
				plugin, err := build(ctx, args, handle)
				switch inner := plugin.(type) {
				case *podtopologyspread.PodTopologySpread:
					return &spread{inner, snapshot}, err
				case *pinnedtopologyspread.PinnedTopologySpread:
					return &pinnedSpread{inner, snapshot}, err
				}
				return plugin, err
			}
		}
	}
}

// affinity is InterPodAffinity among the pods that its terms, or theirs, may be about.
type affinity struct {
	*interpodaffinity.InterPodAffinity
	view       *affinityView
	namespaces corelisters.NamespaceLister
}

// affinityView is the snapshot as InterPodAffinity sees it.
type affinityView struct {
	*snapshot
	shy []fwk.NodeInfo
}

func (v *affinityView) NodeInfos() fwk.NodeInfoLister { return v }
func (v *affinityView) HavePodsWithRequiredAntiAffinityList() ([]fwk.NodeInfo, error) {
	return v.shy, nil
}

type affinityHandle struct {
	fwk.Handle
	view *affinityView
}

func (h affinityHandle) SnapshotSharedLister() fwk.SharedLister { return h.view }

// PreFilter looks for the pods that keep away from this one, and for those that
// it wants or keeps away from.
func (a *affinity) PreFilter(ctx context.Context, state fwk.CycleState, pod *v1.Pod, nodes []fwk.NodeInfo) (*fwk.PreFilterResult, *fwk.Status) {
	snapshot := a.view.snapshot
	if len(snapshot.company.shy) > 0 {
		namespace := interpodaffinity.GetNamespaceLabelsSnapshot(klog.FromContext(ctx), pod.Namespace, a.namespaces)
		a.view.shy = snapshot.with(snapshot.company.shy, func(f *flock) bool {
			return slices.ContainsFunc(f.terms, func(t fwk.AffinityTerm) bool { return t.Matches(pod, namespace) })
		}, false)
		defer func() { a.view.shy = nil }()
	}
	if info, err := framework.NewPodInfo(pod); err == nil && !anyNamespace(pod.Spec.Affinity) {
		terms := slices.Concat(info.GetRequiredAffinityTerms(), info.GetRequiredAntiAffinityTerms())
		if len(terms) > 0 {
			nodes = snapshot.with(snapshot.company.alike, func(f *flock) bool {
				return slices.ContainsFunc(terms, func(t fwk.AffinityTerm) bool { return t.Matches(f.pod, nil) })
			}, false)
		}
	}
	return a.InterPodAffinity.PreFilter(ctx, state, pod, nodes)
}

// anyNamespace tells whether terms select namespaces, which are looked up later.
func anyNamespace(affinity *v1.Affinity) bool {
	selects := func(t v1.PodAffinityTerm) bool { return t.NamespaceSelector != nil }
	return affinity != nil &&
		(affinity.PodAffinity != nil && slices.ContainsFunc(affinity.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution, selects) ||
			affinity.PodAntiAffinity != nil && slices.ContainsFunc(affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution, selects))
}

// spread is PodTopologySpread among the pods that its hard constraints count.
type spread struct {
	*podtopologyspread.PodTopologySpread
	snapshot *snapshot
}

// PreFilter counts them.
func (p *spread) PreFilter(ctx context.Context, state fwk.CycleState, pod *v1.Pod, nodes []fwk.NodeInfo) (*fwk.PreFilterResult, *fwk.Status) {
	return p.PodTopologySpread.PreFilter(ctx, state, pod, p.snapshot.counted(pod, nodes))
}

// pinnedSpread is the same of Berth's plugin, which asks for no more.
type pinnedSpread struct {
	*pinnedtopologyspread.PinnedTopologySpread
	snapshot *snapshot
}

// PreFilter counts them.
func (p *pinnedSpread) PreFilter(ctx context.Context, state fwk.CycleState, pod *v1.Pod, nodes []fwk.NodeInfo) (*fwk.PreFilterResult, *fwk.Status) {
	return p.PinnedTopologySpread.PreFilter(ctx, state, pod, p.snapshot.counted(pod, nodes))
}

// counted returns the nodes with the pods that the pod's own hard constraints
// may count. Where it has none, those of the plugin's arguments may count any.
func (s *snapshot) counted(pod *v1.Pod, nodes []fwk.NodeInfo) []fwk.NodeInfo {
	var selectors []labels.Selector
	for _, c := range pod.Spec.TopologySpreadConstraints {
		if c.WhenUnsatisfiable != v1.DoNotSchedule {
			continue
		}
		selector, err := metav1.LabelSelectorAsSelector(c.LabelSelector)
		if err != nil || c.LabelSelector == nil {
			return nodes
		}
		selectors = append(selectors, selector)
	}
	if len(selectors) == 0 {
		return nodes
	}
	return s.with(s.company.alike, func(f *flock) bool {
		return f.pod.Namespace == pod.Namespace &&
			slices.ContainsFunc(selectors, func(selector labels.Selector) bool { return selector.Matches(labels.Set(f.pod.Labels)) })
	}, true)
}
