// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/berth-dev/berth/plugins/ordinalplacement"
	"github.com/berth-dev/berth/plugins/slothold"
	"github.com/berth-dev/berth/plugins/statefulset"
	"github.com/berth-dev/berth/plugins/volumeaffinity"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
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
// other pods, and not the scheduler's memory, but for what it notes.
type judge struct {
	logger  klog.Logger
	subject *subject
	slot    statefulset.Slot
	pod     *v1.Pod
	rule    *statefulset.Rule
	reason  string // of the rule
	volumes []*v1.PersistentVolume
	home    string // the node that the slot must return to, if any
	notHome string // what is said to all others
	onNode  map[string][]*v1.Pod
	kept    map[string][]heldSlot
	now     time.Time
}

func newJudge(ctx context.Context, all *survey, s *subject, slot statefulset.Slot) *judge {
	j := &judge{
		logger: klog.FromContext(ctx), subject: s, slot: slot, pod: s.asks, home: s.home(slot),
		onNode: map[string][]*v1.Pod{}, kept: map[string][]heldSlot{}, now: all.now,
	}
	j.notHome = fmt.Sprintf(volumeaffinity.ErrReasonNotHome, slot, j.home)
	if i := s.policy.RuleOf(slot.Ordinal); i >= 0 {
		j.rule = &s.policy.Rules[i]
		j.reason = fmt.Sprintf(ordinalplacement.ErrReasonUnselected, i, j.rule.Ordinals, j.rule.Text)
	}
	for _, claim := range append(s.claimsOf(slot), s.otherClaims(nil)...) {
		if volume := s.Volume(claim.Volume); volume != nil {
			j.volumes = append(j.volumes, volume)
		}
	}
	for _, pods := range all.pods {
		for _, pod := range pods {
			if pod.Spec.NodeName != "" && !podutil.IsPodTerminal(pod) {
				j.onNode[pod.Spec.NodeName] = append(j.onNode[pod.Spec.NodeName], pod)
			}
		}
	}
	for _, held := range all.held(ctx, nil) {
		if j.respects(held.hold.Hold) {
			j.kept[held.hold.Node] = append(j.kept[held.hold.Node], held)
		}
	}
	return j
}

// home returns the node that a slot must return to, as far as its claims
// remember one; empty where any will do.
func (s *subject) home(slot statefulset.Slot) string {
	if profile, _ := s.profiles.of(s.asks.Spec.SchedulerName); !profile.returns || s.policy.Home.Return != statefulset.ReturnRequired {
		return ""
	}
	return s.planner.LastNode(slot)
}

// stranded tells whether nodes are refused because the slot must return to one
// that is gone.
func (j *judge) stranded(reports []nodesReport) bool {
	return j.home != "" && j.subject.Node(j.home) == nil && slices.ContainsFunc(reports, func(r nodesReport) bool {
		return slices.ContainsFunc(r.Obstacles, func(o obstacleReport) bool { return o.Reason == j.notHome })
	})
}

// respects tells whether a hold keeps the pod out, as the scheduler does.
func (j *judge) respects(hold statefulset.Hold) bool {
	if hold.Slot.Set == j.slot.Set {
		return hold.Slot != j.slot
	}
	return hold.Priority >= corev1helpers.PodPriority(j.pod)
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
			for _, held := range found.holds {
				o.Holds = append(o.Holds, held.holdReport(held.hold, j.now))
			}
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
	holds  []heldSlot // without which there were room
}

// refuses returns what speaks against a node: first, as in the scheduler, where
// volumes are and where the slot must return, which no change of the node mends.
func (j *judge) refuses(node *v1.Node) []refusal {
	for _, pv := range j.volumes {
		if volume.CheckNodeAffinity(pv, node.Labels) != nil {
			return []refusal{{reason: fmt.Sprintf("%s: volume %q", volumebinding.ErrReasonNodeConflict, pv.Name)}}
		}
	}
	if j.home != "" && node.Name != j.home {
		return []refusal{{reason: j.notHome}}
	}
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
	return j.lacks(node)
}

// lacks returns what a node that suits has no room for.
func (j *judge) lacks(node *v1.Node) []refusal {
	pods := j.onNode[node.Name]
	var all []refusal
	if j.subject.policy.SeparateNodes == statefulset.NeedOwnNode && slices.ContainsFunc(pods, j.sibling) {
		all = append(all, refusal{reason: fmt.Sprintf(ordinalplacement.ErrReasonShared, j.slot.Set)})
	}
	short := j.admission(node, pods)
	all = append(all, short...)
	kept := j.kept[node.Name]
	if len(kept) == 0 {
		return all
	}
	var sets, lacks []string
	beside := slices.Clone(pods)
	for _, held := range kept {
		beside = append(slices.DeleteFunc(beside, func(pod *v1.Pod) bool { return pod == held.hold.pod }), held.hold.StandIn)
		sets = append(sets, held.key.String())
	}
	for _, more := range j.admission(node, beside) {
		if !slices.ContainsFunc(short, func(r refusal) bool { return r.reason == more.reason }) {
			lacks = append(lacks, more.reason)
		}
	}
	if len(lacks) > 0 {
		slices.Sort(lacks)
		all = append(all, refusal{reason: fmt.Sprintf(slothold.ErrReasonKept, strings.Join(slices.Compact(sets), ", "), strings.Join(lacks, ", ")), holds: kept})
	}
	return all
}

// admission returns what the pod lacks on a node beside other pods.
func (j *judge) admission(node *v1.Node, pods []*v1.Pod) []refusal {
	info := framework.NewNodeInfo(pods...)
	info.SetNode(node)
	var all []refusal
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
