// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"fmt"
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/controller/daemon"
	"k8s.io/kubernetes/pkg/features"
)

// daemons are the DaemonSets of a session, with what each would run.
type daemons []daemonSet

type daemonSet struct {
	uid      types.UID
	pod      *v1.Pod
	affinity nodeaffinity.RequiredNodeAffinity
}

func newDaemons(sets []*appsv1.DaemonSet) daemons {
	var all daemons
	for _, set := range slices.SortedFunc(slices.Values(sets), func(a, b *appsv1.DaemonSet) int {
		return byName(&v1.Pod{ObjectMeta: a.ObjectMeta}, &v1.Pod{ObjectMeta: b.ObjectMeta})
	}) {
		if set.DeletionTimestamp != nil {
			continue
		}
		pod := daemon.NewPod(set.DeepCopy(), "")
		pod.Name = set.Name
		requestLimits(pod.Spec.InitContainers)
		requestLimits(pod.Spec.Containers)
		all = append(all, daemonSet{set.UID, pod, nodeaffinity.GetRequiredNodeAffinity(pod)})
	}
	return all
}

// requestLimits does what the API server does to pods, and not to templates.
func requestLimits(containers []v1.Container) {
	for i := range containers {
		if requests := maps.Clone(containers[i].Resources.Limits); requests != nil {
			maps.Copy(requests, containers[i].Resources.Requests)
			containers[i].Resources.Requests = requests
		}
	}
}

// missing returns the daemon pods that a node will have and has not.
func (all daemons) missing(logger klog.Logger, info fwk.NodeInfo) (pods []*v1.Pod) {
	node, running := info.Node(), map[types.UID]bool{}
	for _, pod := range info.GetPods() {
		if owner := metav1.GetControllerOf(pod.GetPod()); owner != nil {
			running[owner.UID] = true
		}
	}
	for _, set := range all {
		if running[set.uid] || !set.runsOn(logger, node) {
			continue
		}
		pod := *set.pod
		pod.Name = fmt.Sprintf("%s-%s", set.pod.Name, node.Name)
		pod.Spec.NodeName = node.Name
		pods = append(pods, identified(&pod))
	}
	return pods
}

// runsOn tells whether the controller of DaemonSets will make a pod for the node.
func (set daemonSet) runsOn(logger klog.Logger, node *v1.Node) bool {
	if matches, _ := set.affinity.Match(node); !matches {
		return false
	}
	_, untolerated := corev1helpers.FindMatchingUntoleratedTaint(logger, node.Spec.Taints, set.pod.Spec.Tolerations, func(t *v1.Taint) bool {
		return t.Effect == v1.TaintEffectNoExecute || t.Effect == v1.TaintEffectNoSchedule
	}, utilfeature.DefaultFeatureGate.Enabled(features.TaintTolerationComparisonOperators))
	return !untolerated
}
