// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"context"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/berth-dev/berth/autoscaler/nodes"
	"github.com/berth-dev/berth/autoscaler/vertical/resize"
	"github.com/berth-dev/berth/autoscaler/vertical/sizes"
	"github.com/berth-dev/berth/plugins/statefulset"
)

// rooms are the pods that need room for their new size, as they are now: those that wait for a node with it, and those
// that were evicted and come back larger.
func (c *Conductor) rooms(pods []*corev1.Pod) []resize.Room {
	wanted := make(map[types.UID]resize.Sizes, len(c.history.rooms))
	for _, room := range c.history.rooms {
		wanted[room.Pod.UID] = room.Sizes
	}
	rooms := c.returning(pods)
	for _, pod := range pods {
		if to, ok := wanted[pod.UID]; ok && pod.DeletionTimestamp == nil && pod.Spec.NodeName != "" && !ended(pod) {
			rooms = append(rooms, resize.Room{Pod: pod, Sizes: to})
		}
	}
	return rooms
}

// returning are the pods on their way out whose set wants them back with more than they have: the room that they
// leave is kept for them and may be too small, and until they are there again nothing else tells what they need.
func (c *Conductor) returning(pods []*corev1.Pod) []resize.Room {
	var tables map[scaled]sizes.Table
	var rooms []resize.Room
	for _, pod := range pods {
		slot, ok := statefulset.SlotOf(pod)
		if !ok || pod.DeletionTimestamp == nil || pod.Spec.NodeName == "" || ended(pod) {
			continue
		}
		set := c.reader.StatefulSet(pod.Namespace, slot.Set.Name)
		if set == nil || set.DeletionTimestamp != nil || !slices.Contains(ordinals(set, replicasOf(set.Spec.Replicas, nil, scaled{})), slot.Ordinal) {
			continue
		}
		if tables == nil {
			tables = c.tables()
		}
		if to, grows := larger(pod, tables[scaled{"StatefulSet", set.Namespace, set.Name}], strconv.Itoa(slot.Ordinal)); grows {
			rooms = append(rooms, resize.Room{Pod: pod, Sizes: to})
		}
	}
	return rooms
}

// larger is what a pod of a slot gets when it is created anew, and whether that is more than it has.
func larger(pod *corev1.Pod, table sizes.Table, slot string) (to resize.Sizes, grows bool) {
	to = resize.Sizes{}
	for _, container := range pod.Spec.Containers {
		size, ok := table.Of(slot, container.Name)
		if !ok {
			continue
		}
		to[container.Name] = corev1.ResourceRequirements{Requests: size.Requests}
		for name, quantity := range size.Requests {
			grows = grows || quantity.Cmp(container.Resources.Requests[name]) > 0
		}
	}
	return to, grows
}

// resized are the pods on nodes, by UID, that come back larger than they are when they are moved, as they will be.
func (c *Conductor) resized(pods []*corev1.Pod, tables map[scaled]sizes.Table) map[types.UID]*corev1.Pod {
	resized := map[types.UID]*corev1.Pod{}
	if len(tables) == 0 {
		return resized
	}
	for _, pod := range pods {
		if pod.Spec.NodeName == "" || ended(pod) {
			continue
		}
		of, slot := c.reader.Scaled(pod), ""
		table, ok := tables[scaled{of.Kind, pod.Namespace, of.Name}]
		if !ok {
			continue
		}
		if fills, ok := statefulset.SlotOf(pod); ok {
			slot = strconv.Itoa(fills.Ordinal)
		}
		if to, grows := larger(pod, table, slot); grows {
			resized[pod.UID] = sizedAs(pod, to)
		}
	}
	return resized
}

// tables are the sizes that pods get when they are created, by what their VPA targets.
func (c *Conductor) tables() map[scaled]sizes.Table {
	tables := map[scaled]sizes.Table{}
	vpas, _ := c.reader.VPAs()
	for _, vpa := range vpas {
		table, ok := sizes.Parse(vpa.Annotations[sizes.Annotation])
		if ok && table.VPA == vpa.UID && vpa.Spec.TargetRef != nil {
			tables[scaled{vpa.Spec.TargetRef.Kind, vpa.Namespace, vpa.Spec.TargetRef.Name}] = table
		}
	}
	return tables
}

// awaited are the nodes on their way, as they will be.
func (c *Conductor) awaited(ctx context.Context) ([]*corev1.Node, error) {
	if c.nodes != nil {
		in, _, err := c.observeNodes(ctx, c.reader.Nodes(), nil)
		if err != nil {
			return nil, err
		}
		return nodes.Upcoming(in), nil
	}
	in := c.nodeInput()
	for _, node := range c.reader.Nodes() {
		in.Nodes = append(in.Nodes, nodes.Node{Object: node})
	}
	return nodes.Upcoming(in), nil
}
