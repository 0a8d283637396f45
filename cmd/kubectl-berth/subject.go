// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/berth-dev/berth/plugins"
	"github.com/berth-dev/berth/plugins/statefulset"
	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"
	"k8s.io/utils/ptr"
)

// subject is a set that the planner is asked about.
type subject struct {
	*view
	planner *statefulset.Planner
	rules   statefulset.Rules
	key     statefulset.SetKey
	set     *appsv1.StatefulSet // nil where a policy selects the pods
	// asks is the pod in whose name is asked: the next one that the set would
	// make, or one that an operator made.
	asks   *v1.Pod
	policy *statefulset.Policy
	from   policyReport
	notes  []string
}

// about prepares to ask about a set in the name of a pod; without one, of the
// next that the set would make, or of one that it has.
func (v *view) about(ctx context.Context, key statefulset.SetKey, asks *v1.Pod) *subject {
	s := &subject{view: v, key: key, rules: plugins.Rules(ctx), asks: asks}
	s.rules.EmptyIsLost = true
	s.planner = statefulset.NewPlanner(v, s.rules)
	if !key.Selected {
		s.set = v.Set(key)
		s.notes = v.policies.notes(s.set)
	}
	switch {
	case s.asks != nil:
	case s.set != nil:
		s.asks = podOf(s.set, slotAt(key, s.start()))
	default:
		s.asks = s.someMember()
	}
	s.judge()
	return s
}

// someMember is the pod of the lowest ordinal. Without any pod it is one that
// asks for nothing but Berth.
func (s *subject) someMember() *v1.Pod {
	for _, ordinal := range s.Members(s.key) {
		if name, _ := s.Member(slotAt(s.key, ordinal)); name != "" {
			return s.pods[name]
		}
	}
	s.notes = append(s.notes, "the set has claims and no pod: what its pods ask of nodes is not known, and their schedulerName is taken to be "+schedulerName)
	return &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: s.key.Namespace}, Spec: v1.PodSpec{SchedulerName: schedulerName}}
}

func slotAt(key statefulset.SetKey, ordinal int) statefulset.Slot {
	return statefulset.Slot{Set: key, Ordinal: ordinal}
}

// judge finds out what places the set.
func (s *subject) judge() {
	name := s.asks.Spec.SchedulerName
	s.policy, _ = s.Policy(s.key, name) // known: the policies have been read
	s.from = policyReport{Source: fromNone, SchedulerName: name, Configuration: s.profiles.origin}
	switch {
	case s.policy == nil:
		if names := s.profiles.names(); len(names) > 0 {
			s.notes = append(s.notes, "Berth places pods whose schedulerName is "+strings.Join(names, " or "))
		}
		if s.set != nil {
			if policy := s.policies.book.OfSet(s.set); policy != nil {
				s.notes = append(s.notes, fmt.Sprintf("PlacementPolicy %q is for this set and has no effect: its pods ask for another scheduler", policy.Name))
			}
		}
	case s.policy.Name != "":
		s.from.Source, s.from.Name = fromPolicy, s.policy.Name
	case s.profiles.origin != "":
		s.from.Source = fromProfile
	default:
		s.from.Source = fromPlugin
	}
	if s.profiles.unread != "" && s.from.Source != fromPolicy {
		s.notes = append(s.notes, fmt.Sprintf("the scheduler's configuration was not found (%s): the defaults of profile %s are taken; name the file by --config", s.profiles.unread, schedulerName))
	}
}

// podOf is the pod that a set would make for a slot.
func podOf(set *appsv1.StatefulSet, slot statefulset.Slot) *v1.Pod {
	template := set.Spec.Template.DeepCopy()
	pod := &v1.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec}
	pod.Namespace, pod.Name = set.Namespace, slot.PodName()
	pod.Spec.SchedulerName = cmp.Or(pod.Spec.SchedulerName, v1.DefaultSchedulerName)
	pod.Labels = maps.Clone(pod.Labels)
	if pod.Labels == nil {
		pod.Labels = map[string]string{}
	}
	pod.Labels[appsv1.PodIndexLabel] = strconv.Itoa(slot.Ordinal)
	pod.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(set, appsv1.SchemeGroupVersion.WithKind("StatefulSet"))}
	return pod
}

// start is the first ordinal of a StatefulSet.
func (s *subject) start() int {
	if s.set.Spec.Ordinals == nil {
		return 0
	}
	return int(s.set.Spec.Ordinals.Start)
}

func replicasOf(set *appsv1.StatefulSet) int { return int(ptr.Deref(set.Spec.Replicas, 1)) }

// wanted lists the ordinals that the set wants, as many as are planned.
func (s *subject) wanted() []int {
	if s.set == nil {
		return s.Members(s.key)
	}
	var ordinals []int
	for i := range min(replicasOf(s.set), statefulset.MaxOrdinals) {
		ordinals = append(ordinals, s.start()+i)
	}
	return ordinals
}

// topologyKey is empty where nothing is spread.
func (s *subject) topologyKey() string {
	if s.policy == nil || s.policy.Spread == nil {
		return ""
	}
	return s.policy.Spread.TopologyKey
}

// report is what there is to say about a slot.
func (s *subject) report(p statefulset.Placement) ordinalReport {
	r := ordinalReport{Ordinal: p.Slot.Ordinal, Domain: p.Domain, Claims: s.claimsOf(p.Slot)}
	if s.topologyKey() != "" {
		r.Why = p.Why()
		if s.policy.Spread.ShardSize > 0 {
			r.Shard = p.Shard.String()
		}
	} else if s.policy != nil {
		if i := s.policy.RuleOf(p.Slot.Ordinal); i >= 0 {
			r.Why = fmt.Sprintf("rule %d (ordinals %s: %s)", i+1, s.policy.Rules[i].Ordinals, s.policy.Rules[i].Text)
		}
	}
	pod := s.podIn(p.Slot)
	if pod != nil {
		r.Pod, r.Node = pod.Name, pod.Spec.NodeName
		if node := s.Node(r.Node); node != nil {
			r.NodeDomain = node.Labels[s.topologyKey()]
		}
	}
	r.State, r.Detail = s.stateOf(p, pod, r.NodeDomain)
	return r
}

// podIn returns the pod that fills a slot, nil if there is none.
func (s *subject) podIn(slot statefulset.Slot) *v1.Pod {
	name := slot.PodName()
	if slot.Set.Selected {
		name, _ = s.Member(slot)
	}
	pod := s.pods[name]
	if pod == nil {
		return nil
	}
	if its, ok := s.slotOf(pod); !ok || its != slot {
		return nil
	}
	return pod
}

func (s *subject) stateOf(p statefulset.Placement, pod *v1.Pod, nodeDomain string) (state, string) {
	switch {
	case pod == nil:
		return stateAbsent, ""
	case pod.Status.Phase == v1.PodSucceeded:
		return stateSucceeded, ""
	case pod.Status.Phase == v1.PodFailed:
		return stateFailed, ""
	case pod.DeletionTimestamp != nil:
		return stateTerminating, ""
	case pod.Spec.NodeName == "":
		return s.waiting(p.Slot, pod)
	case p.Domain != "" && nodeDomain == "":
		return stateMisplaced, "in no domain"
	case p.Domain != "" && nodeDomain != p.Domain:
		return stateMisplaced, "in " + nodeDomain
	case statefulset.PodReady(pod):
		return stateReady, ""
	case pod.Status.Phase == v1.PodRunning:
		return stateRunning, ""
	default:
		return stateScheduled, ""
	}
}

// waiting is the state of a pod that has no node.
func (s *subject) waiting(slot statefulset.Slot, pod *v1.Pod) (state, string) {
	if len(pod.Spec.SchedulingGates) > 0 {
		names := make([]string, len(pod.Spec.SchedulingGates))
		for i, gate := range pod.Spec.SchedulingGates {
			names[i] = gate.Name
		}
		return statePending, "scheduling gates: " + strings.Join(names, ", ")
	}
	if gate := s.gate(slot, pod); gate.Closed {
		return stateGated, fmt.Sprintf("waits for ordinal %d", gate.For)
	}
	return statePending, ""
}

// gate tells whether a pod waits for a lower ordinal. A slot that was bound
// before does not, which the scheduler may know better than what exists shows:
// a pod that it has tried to place was let in.
func (s *subject) gate(slot statefulset.Slot, pod *v1.Pod) statefulset.Gate {
	if profile, ours := s.profiles.of(pod.Spec.SchedulerName); !ours || !profile.gates || pod.Spec.NodeName != "" {
		return statefulset.Gate{}
	}
	if _, said := podutil.GetPodCondition(&pod.Status, v1.PodScheduled); said != nil && said.Reason == v1.PodReasonUnschedulable {
		return statefulset.Gate{}
	}
	return s.planner.Start(slot, pod)
}
