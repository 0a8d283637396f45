// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/berth-dev/berth/plugins/ordinalplacement"
	"github.com/berth-dev/berth/plugins/statefulset"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/component-helpers/storage/volume"
	"k8s.io/klog/v2"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"
	"k8s.io/kubernetes/pkg/features"
	"k8s.io/kubernetes/pkg/scheduler"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/helper"
	affinityplugin "k8s.io/kubernetes/pkg/scheduler/framework/plugins/nodeaffinity"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/noderesources"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/nodeunschedulable"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/volumebinding"
)

// judge looks for what keeps a pod off a node, by upstream's own checks. It
// knows what one look at the API shows: not the other plugins, like affinity to
// other pods, and not the scheduler's memory.
type judge struct {
	logger  klog.Logger
	subject *subject
	slot    statefulset.Slot
	pod     *v1.Pod
	rule    *statefulset.Rule
	reason  string // of the rule
	volumes []*v1.PersistentVolume
	onNode  map[string][]*v1.Pod
	// partial says what can not be judged.
	partial string
}

func (c *cluster) judge(ctx context.Context, s *subject, slot statefulset.Slot) (*judge, error) {
	j := &judge{logger: klog.FromContext(ctx), subject: s, slot: slot, pod: s.asks, onNode: map[string][]*v1.Pod{}}
	if i := s.policy.RuleOf(slot.Ordinal); i >= 0 {
		j.rule = &s.policy.Rules[i]
		j.reason = fmt.Sprintf(ordinalplacement.ErrReasonUnselected, i, j.rule.Ordinals, j.rule.Text)
	}
	for _, claim := range append(s.claimsOf(slot), s.otherClaims(nil)...) {
		if volume := s.Volume(claim.Volume); volume != nil {
			j.volumes = append(j.volumes, volume)
		}
	}
	note := func(pod *v1.Pod) {
		if pod.Spec.NodeName != "" && !podutil.IsPodTerminal(pod) {
			j.onNode[pod.Spec.NodeName] = append(j.onNode[pod.Spec.NodeName], pod)
		}
	}
	err := visit(ctx, c.kube.CoreV1().Pods(metav1.NamespaceAll).List, note)
	if apierrors.IsForbidden(err) {
		j.partial = "pods of all namespaces can not be listed, so only those of this one are counted: " + err.Error()
		j.onNode = map[string][]*v1.Pod{}
		for _, pod := range s.pods {
			note(pod)
		}
		err = nil
	}
	return j, wrap("listing pods of all namespaces", err)
}

// all counts what speaks against nodes, the most frequent first. A node that
// does not suit counts once, one without room under everything that it lacks.
func (j *judge) all(nodes []*v1.Node) []obstacleReport {
	byReason := map[string]*obstacleReport{}
	mostFree := map[string]int64{}
	for _, node := range nodes {
		for _, found := range j.refuses(node) {
			o := byReason[found.reason]
			if o == nil {
				o = &obstacleReport{Reason: found.reason}
				byReason[found.reason] = o
			}
			o.Nodes = append(o.Nodes, node.Name)
			if lacks := found.lacks; lacks != nil {
				free := lacks.Capacity - lacks.Used
				if most, known := mostFree[found.reason]; !known || free > most {
					mostFree[found.reason] = free
					o.Asked, o.Free = quantity(lacks.ResourceName, lacks.Requested), quantity(lacks.ResourceName, max(free, 0))
				}
			}
		}
	}
	obstacles := make([]obstacleReport, 0, len(byReason))
	for _, o := range byReason {
		obstacles = append(obstacles, *o)
	}
	slices.SortFunc(obstacles, func(a, b obstacleReport) int {
		return cmp.Or(cmp.Compare(len(b.Nodes), len(a.Nodes)), cmp.Compare(a.Reason, b.Reason))
	})
	return obstacles
}

// refusal is one thing that speaks against a node.
type refusal struct {
	reason string
	lacks  *noderesources.InsufficientResource
}

// refuses returns what speaks against a node.
func (j *judge) refuses(node *v1.Node) []refusal {
	comparisons := utilfeature.DefaultFeatureGate.Enabled(features.TaintTolerationComparisonOperators)
	cordon := &v1.Taint{Key: v1.TaintNodeUnschedulable, Effect: v1.TaintEffectNoSchedule}
	if node.Spec.Unschedulable && !corev1helpers.TolerationsTolerateTaint(j.logger, j.pod.Spec.Tolerations, cordon, comparisons) {
		return []refusal{{reason: nodeunschedulable.ErrReasonUnschedulable}}
	}
	if taint, found := corev1helpers.FindMatchingUntoleratedTaint(j.logger, node.Spec.Taints, j.pod.Spec.Tolerations, helper.DoNotScheduleTaintsFilterFunc(), comparisons); found {
		return []refusal{{reason: "node(s) had untolerated taint " + taint.ToString()}}
	}
	if matches, _ := nodeaffinity.GetRequiredNodeAffinity(j.pod).Match(node); !matches {
		return []refusal{{reason: affinityplugin.ErrReasonPod}}
	}
	if j.rule != nil && !j.rule.Selects(node) {
		return []refusal{{reason: j.reason}}
	}
	for _, pv := range j.volumes {
		if volume.CheckNodeAffinity(pv, node.Labels) != nil {
			return []refusal{{reason: fmt.Sprintf("%s: volume %q", volumebinding.ErrReasonNodeConflict, pv.Name)}}
		}
	}
	return j.lacks(node)
}

// lacks returns what a node that suits has no room for.
func (j *judge) lacks(node *v1.Node) []refusal {
	pods := j.onNode[node.Name]
	var all []refusal
	if j.subject.policy.SeparateNodes == statefulset.NeedOwnNode && slices.ContainsFunc(pods, j.sibling) {
		all = append(all, refusal{reason: fmt.Sprintf(ordinalplacement.ErrReasonShared, j.slot.Set)})
	}
	info := framework.NewNodeInfo(pods...)
	info.SetNode(node)
	for _, result := range scheduler.AdmissionCheck(j.pod, info, true) {
		if result.InsufficientResource != nil {
			result.Reason = result.InsufficientResource.Reason
		}
		all = append(all, refusal{reason: result.Reason, lacks: result.InsufficientResource})
	}
	return all
}

// sibling tells whether a pod fills another slot of the set.
func (j *judge) sibling(pod *v1.Pod) bool {
	its, ok := j.subject.slotOf(pod)
	return ok && its.Set == j.slot.Set && its.Ordinal != j.slot.Ordinal
}

// quantity writes an amount as people write it for a resource.
func quantity(name v1.ResourceName, amount int64) string {
	switch {
	case name == v1.ResourceCPU:
		return resource.NewMilliQuantity(amount, resource.DecimalSI).String()
	case name == v1.ResourceMemory, name == v1.ResourceEphemeralStorage, strings.HasPrefix(string(name), v1.ResourceHugePagesPrefix):
		return resource.NewQuantity(amount, resource.BinarySI).String()
	default:
		return resource.NewQuantity(amount, resource.DecimalSI).String()
	}
}
