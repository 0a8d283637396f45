// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/scheduler/apis/config"
	"k8s.io/kubernetes/pkg/scheduler/apis/config/latest"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/names"
)

// growthProfile has what matters to a pod that grows where it is: resources, as
// the kubelet checks them when it resizes, and those who keep room for others.
// Taints and affinities do not: the pod is there.
func growthProfile(keepers []string) (*config.KubeSchedulerProfile, error) {
	defaults, err := latest.Default()
	if err != nil {
		return nil, fmt.Errorf("default profile: %w", err)
	}
	enabled := func(plugins ...string) config.PluginSet {
		var set config.PluginSet
		for _, name := range plugins {
			set.Enabled = append(set.Enabled, config.Plugin{Name: name})
		}
		return set
	}
	judges := enabled(append([]string{names.NodeResourcesFit}, keepers...)...)
	return &config.KubeSchedulerProfile{
		SchedulerName: "berth.dev/growth", // no pod can name it
		Plugins: &config.Plugins{
			PreFilter: judges,
			Filter:    judges,
			// A framework without these is refused.
			QueueSort: enabled(names.PrioritySort),
			Bind:      enabled(names.DefaultBinder),
		},
		PluginConfig: slices.DeleteFunc(defaults.Profiles[0].PluginConfig, func(c config.PluginConfig) bool {
			return c.Name != names.NodeResourcesFit
		}),
	}, nil
}

// Grow tells whether the node of a pod has room for it as it is given, which is
// with other requests than it has, all others left where they are. It changes
// nothing, and returns why there is no room. An error says that there is no answer.
func (s *Session) Grow(pod *v1.Pod) (fits bool, reasons []string, err error) {
	if err := context.Cause(s.ctx); err != nil {
		return false, nil, fmt.Errorf("simulation of pod %s: %w", klog.KObj(pod), err)
	}
	info := s.simulator.snapshot.node(pod.Spec.NodeName)
	if info == nil {
		return false, nil, fmt.Errorf("no node %s in the snapshot", pod.Spec.NodeName)
	}
	without := info.SnapshotConcrete()
	if err := without.RemovePod(s.logger, pod); err != nil {
		return false, nil, err
	}
	standIn, err := roomOf(pod)
	if err != nil {
		return false, nil, err
	}
	judge, state := s.simulator.growth, framework.NewCycleState()
	if _, status, _ := judge.RunPreFilterPlugins(s.ctx, state, standIn); !status.IsSuccess() {
		return false, []string{status.Message()}, failure(status)
	}
	status := judge.RunFilterPluginsWithNominatedPods(s.ctx, state, standIn, without)
	if err := cmp.Or(context.Cause(s.ctx), failure(status)); err != nil {
		return false, nil, fmt.Errorf("simulation of pod %s: %w", klog.KObj(pod), err)
	}
	if status.IsSuccess() {
		return true, nil, nil
	}
	return false, slices.Sorted(slices.Values(status.Reasons())), nil
}

// roomOf returns a pod that takes the cpu and memory that the scheduler counts
// for the given one, and fills its slot. Ports, volumes and devices it has already.
func roomOf(pod *v1.Pod) (*v1.Pod, error) {
	resized := pod.DeepCopy()
	// With a resize that is infeasible its requests would not count.
	resized.Status.Conditions = nil
	info, err := framework.NewPodInfo(resized)
	if err != nil {
		return nil, fmt.Errorf("pod %s: %w", klog.KObj(pod), err)
	}
	counted := info.CalculateResource().Resource
	return &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, Labels: pod.Labels, OwnerReferences: pod.OwnerReferences,
		},
		Spec: v1.PodSpec{
			SchedulerName: pod.Spec.SchedulerName, Priority: pod.Spec.Priority,
			Containers: []v1.Container{{Name: "room", Resources: v1.ResourceRequirements{Requests: v1.ResourceList{
				v1.ResourceCPU:    *resource.NewMilliQuantity(counted.GetMilliCPU(), resource.DecimalSI),
				v1.ResourceMemory: *resource.NewQuantity(counted.GetMemory(), resource.BinarySI),
			}}}},
		},
	}, nil
}
