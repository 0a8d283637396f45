// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"slices"

	v1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"
)

// sleeper wakes no pod: there is no queue.
type sleeper struct{}

func (sleeper) Activate(klog.Logger, map[string]*v1.Pod) {}

// nominator knows the pods that wait on a node for the pods they preempted to
// leave, so that their room is not given to others. It is written between
// questions only.
type nominator struct {
	byNode map[string][]fwk.PodInfo
}

var _ fwk.PodNominator = &nominator{}

// reset makes it that of the given pods.
func (n *nominator) reset(pods []*v1.Pod) {
	n.byNode = map[string][]fwk.PodInfo{}
	for _, pod := range pods {
		if pod.Spec.NodeName != "" || pod.Status.NominatedNodeName == "" || pod.DeletionTimestamp != nil {
			continue
		}
		// A pod whose affinity does not parse is in nobody's way.
		if info, err := framework.NewPodInfo(pod); err == nil {
			n.byNode[pod.Status.NominatedNodeName] = append(n.byNode[pod.Status.NominatedNodeName], info)
		}
	}
}

// remove forgets a pod, and returns how to undo it.
func (n *nominator) remove(pod *v1.Pod) (undo func()) {
	node := pod.Status.NominatedNodeName
	before := n.byNode[node]
	n.byNode[node] = slices.DeleteFunc(slices.Clone(before), func(p fwk.PodInfo) bool { return p.GetPod().UID == pod.UID })
	return func() { n.byNode[node] = before }
}

func (n *nominator) NominatedPodsForNode(node string) []fwk.PodInfo { return n.byNode[node] }

func (n *nominator) AddNominatedPod(klog.Logger, fwk.PodInfo, *fwk.NominatingInfo) {}
func (n *nominator) DeleteNominatedPodIfExists(*v1.Pod)                            {}
func (n *nominator) UpdateNominatedPod(_ klog.Logger, _ *v1.Pod, _ fwk.PodInfo)    {}
