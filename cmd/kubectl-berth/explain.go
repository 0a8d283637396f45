// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/berth-dev/berth/plugins/ordinalplacement"
	"github.com/berth-dev/berth/plugins/statefulset"
	"github.com/berth-dev/berth/plugins/volumeaffinity"
	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// explain says where a pod belongs, and what keeps it from being there: that may
// be pods and holds of other namespaces.
func (c *cluster) explain(ctx context.Context, name string) (*explainReport, error) {
	all, err := c.surveyWidely(ctx)
	if err != nil {
		return nil, err
	}
	v := all.of(c.namespace)
	report := &explainReport{Namespace: v.namespace, Pod: name}
	pod := v.pods[name]
	var slot statefulset.Slot
	if pod != nil {
		var fills bool
		if slot, fills = v.slotOf(pod); !fills {
			report.Notes = []string{"the pod fills no slot: no StatefulSet owns it, and no PlacementPolicy selects it and finds its ordinal; Berth plans no place for it"}
			v.anyone(pod).obstacles(ctx, all, statefulset.Answer{}, report)
			return report, c.hear(ctx, pod, report)
		}
	} else {
		if slot, err = v.slotNamed(name); err != nil {
			return nil, err
		}
	}
	if !slot.Set.Selected && v.Set(slot.Set) == nil {
		report.Notes = []string{fmt.Sprintf("StatefulSet %s, which owns the pod, does not exist: %s has no place, and the pod should be deleted", slot.Set, slot)}
		return report, c.hear(ctx, pod, report)
	}

	asks := pod
	if asks == nil {
		asks = podOf(v.Set(slot.Set), slot)
	}
	s := v.about(ctx, slot.Set, asks)
	report.Set = &setReport{Kind: kindSet, Namespace: v.namespace, Name: slot.Set.Name}
	if slot.Set.Selected {
		report.Set.Kind = kindPolicy
	}
	_, answer, err := s.planner.PlanOf(slot, asks)
	if err != nil {
		return nil, err
	}
	row := s.report(answer.Placement)
	row.Claims = append(row.Claims, s.otherClaims(row.Claims)...)
	report.Policy, report.Slot, report.Notes = &s.from, &row, append(s.notes, s.remarks(slot, pod)...)
	report.TopologyKey, report.Fallback = s.topologyKey(), answer.Fallback
	report.Room = s.room(slot, all.now)
	if row.Node != "" {
		return report, nil
	}
	if pod != nil {
		if gate := s.gate(slot, pod); gate.Closed {
			report.Gate = gate.String()
		}
		if node := pod.Status.NominatedNodeName; node != "" {
			report.Notes = append(report.Notes, fmt.Sprintf("node %s is nominated: pods of lower priority are leaving it for this one", node))
		}
	}
	s.obstacles(ctx, all, answer, report)
	return report, c.hear(ctx, pod, report)
}

// surveyWidely reads all namespaces; without the right to do so the one, and
// says what that leaves out.
func (c *cluster) surveyWidely(ctx context.Context) (*survey, error) {
	all, err := c.survey(ctx, metav1.NamespaceAll)
	if !apierrors.IsForbidden(err) {
		return all, err
	}
	partial := "all namespaces can not be read, so only pods and holds of this one are counted: " + err.Error()
	if all, err = c.survey(ctx, c.namespace); err != nil {
		return nil, err
	}
	all.partial = partial
	return all, nil
}

// anyone is a pod that fills no slot, as a set that is left alone. Holds keep
// room from it where a scheduler of ours places it.
func (v *view) anyone(pod *v1.Pod) *subject {
	s := &subject{view: v, asks: pod}
	if _, ours := v.profiles.of(pod.Spec.SchedulerName); ours && pod.Spec.NodeName == "" {
		s.policy = &statefulset.Policy{}
	}
	return s
}

// remarks says what a set makes of the pod of a slot.
func (s *subject) remarks(slot statefulset.Slot, pod *v1.Pod) []string {
	switch {
	case s.set == nil:
		return nil
	case pod == nil && s.set.Spec.PodManagementPolicy != appsv1.ParallelPodManagement:
		return []string{"there is no such pod yet: its set makes it once every lower ordinal is ready (podManagementPolicy OrderedReady)"}
	case pod == nil:
		return []string{"there is no such pod yet: its set has not made it"}
	case !slices.Contains(s.wanted(), slot.Ordinal):
		return []string{"the set does not want this ordinal any more"}
	}
	return nil
}

// slotNamed returns the slot whose pod would have a name.
func (v *view) slotNamed(name string) (statefulset.Slot, error) {
	for _, set := range keys(v.sets) {
		digits, found := strings.CutPrefix(name, set+"-")
		ordinal, err := strconv.Atoi(digits)
		if !found || err != nil || strconv.Itoa(ordinal) != digits {
			continue
		}
		slot := slotAt(statefulset.SetKey{Namespace: v.namespace, Name: set}, ordinal)
		s := &subject{view: v, key: slot.Set, set: v.sets[set]}
		if slices.Contains(s.wanted(), ordinal) {
			return slot, nil
		}
		return slot, fmt.Errorf("pod %q not found: StatefulSet %s has %d replicas, from ordinal %d; to see it scaled: kubectl berth plan sts/%s --replicas N",
			name, slot.Set, replicasOf(s.set), s.start(), set)
	}
	return statefulset.Slot{}, notFound("pod", v.namespace, name, keys(v.pods))
}

// obstacles counts what speaks against the nodes that the slot may have by its
// plan.
func (s *subject) obstacles(ctx context.Context, all *survey, answer statefulset.Answer, report *explainReport) {
	if s.policy == nil {
		return
	}
	if answer.Spread() && answer.Domain == "" {
		report.Notes = append(report.Notes, fmt.Sprintf(ordinalplacement.ErrReasonNoDomain, answer.Placement, s.topologyKey()))
		return
	}
	judge := newJudge(ctx, all, s, answer.Slot)
	domains := []string{""}
	if answer.Spread() {
		domains = append([]string{answer.Domain}, answer.Fallback...)
	}
	for _, domain := range domains {
		var nodes []*v1.Node
		for _, name := range keys(s.nodes) {
			if node := s.nodes[name]; domain == "" || node.Labels[s.topologyKey()] == domain {
				nodes = append(nodes, node)
			}
		}
		report.Nodes = append(report.Nodes, nodesReport{Domain: domain, Total: len(nodes), Obstacles: judge.all(nodes)})
	}
	if judge.stranded(report.Nodes) {
		report.Notes = append(report.Notes, fmt.Sprintf(volumeaffinity.ErrReasonHomeGone, answer.Slot, judge.home))
	}
	if all.partial != "" {
		report.Notes = append(report.Notes, all.partial)
	}
}
