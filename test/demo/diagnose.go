// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/berth-dev/berth/test/demo/story"
	"github.com/berth-dev/berth/test/fixture"
)

// lastEvents is how many of an object's events are worth reading.
const lastEvents = 3

// diagnose writes what the objects of the story say of themselves. What cannot
// be read is said, and the rest goes on.
func (d *demo) diagnose(ctx context.Context, out io.Writer) {
	heading := func(text string) { story.Say(out, "\n  %s\n", text) }
	rows := func(rows [][]string) { story.WriteTable(out, "    ", rows) }

	heading("nodes")
	rows(d.nodesTable())

	heading("pods that do not run, and what was said about them")
	if waiting := d.waitingTable(ctx); len(waiting) > 0 {
		rows(waiting)
	} else {
		story.Say(out, "    none\n")
	}

	heading("db")
	if table, err := d.Table(ctx, d.namespace, db); err != nil {
		story.Say(out, "    %v\n", err)
	} else {
		rows(where(table))
	}
	d.explain(ctx, out, "StatefulSet", db)

	heading("web's autoscaler")
	if hpa, err := d.Kube.AutoscalingV2().HorizontalPodAutoscalers(d.namespace).Get(ctx, web, metav1.GetOptions{}); err != nil {
		story.Say(out, "    %v\n", err)
	} else {
		story.Say(out, "    replicas: %d, desired %d\n", hpa.Status.CurrentReplicas, hpa.Status.DesiredReplicas)
		for _, c := range hpa.Status.Conditions {
			story.Say(out, "    %s=%s %s: %s\n", c.Type, c.Status, c.Reason, c.Message)
		}
	}
	d.explain(ctx, out, "HorizontalPodAutoscaler", web)
}

// explain writes the last events of an object.
func (d *demo) explain(ctx context.Context, out io.Writer, kind, name string) {
	for _, event := range d.said(ctx, kind, name) {
		story.Say(out, "    %s\n", event)
	}
}

func (d *demo) said(ctx context.Context, kind, name string) []string {
	events, err := d.Events(ctx, d.namespace, kind, name)
	if err != nil {
		return []string{err.Error()}
	}
	var lines []string
	for _, event := range events[max(0, len(events)-lastEvents):] {
		lines = append(lines, event.String())
	}
	return lines
}

func (d *demo) nodesTable() [][]string {
	pods := podsOn(d.everywhere())
	rows := [][]string{{"node", "zone", "group", "ready", "pods"}}
	for _, node := range d.present() {
		rows = append(rows, []string{
			node.Name, node.Labels[corev1.LabelTopologyZone], orDash(node.Labels[groupLabel]),
			fmt.Sprint(isReady(node)), fmt.Sprint(pods[node.Name]),
		})
	}
	return rows
}

func (d *demo) waitingTable(ctx context.Context) [][]string {
	pods, _ := d.pods.Pods(d.namespace).List(labels.Everything())
	slices.SortFunc(pods, func(a, b *corev1.Pod) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
	var rows [][]string
	for _, pods := range alike(pods) {
		pod, others := pods[0], ""
		if len(pods) > 1 {
			others = fmt.Sprintf(" and %d like it", len(pods)-1)
		}
		name := fmt.Sprintf("%s%s (%s, node %s)", pod.Name, others, pod.Status.Phase, orDash(pod.Spec.NodeName))
		for _, line := range d.said(ctx, "Pod", pod.Name) {
			rows = append(rows, []string{name, line})
			name = ""
		}
		if name != "" {
			rows = append(rows, []string{name, "nothing was said"})
		}
	}
	return rows
}

// alike groups the pods that do not run. Those of one ReplicaSet that have no
// node are told the same, and one may speak for all.
func alike(pods []*corev1.Pod) (groups [][]*corev1.Pod) {
	group := map[types.UID]int{}
	for _, pod := range pods {
		if pod.Status.Phase == corev1.PodRunning {
			continue
		}
		owner := metav1.GetControllerOf(pod)
		if owner == nil || owner.Kind != "ReplicaSet" || pod.Spec.NodeName != "" {
			groups = append(groups, []*corev1.Pod{pod})
			continue
		}
		i, known := group[owner.UID]
		if !known {
			i = len(groups)
			group[owner.UID] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], pod)
	}
	return groups
}

// selecting selects the pods of a workload.
func selecting(workload string) labels.Selector {
	return labels.SelectorFromSet(labels.Set{fixture.AppLabel: workload})
}
