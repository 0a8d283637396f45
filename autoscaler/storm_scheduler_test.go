// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// schedule binds what has a place: what a simulation says is what the scheduler does.
func (c *stormCluster) schedule() {
	c.mu.Lock()
	defer c.mu.Unlock()
	var pending []*stormPod
	var all []*corev1.Pod
	for _, p := range c.pods {
		all = append(all, p.pod)
		if p.pod.Spec.NodeName == "" && p.pod.DeletionTimestamp == nil {
			pending = append(pending, p)
		}
	}
	if len(pending) == 0 {
		return
	}
	slices.SortFunc(pending, func(a, b *stormPod) int {
		return cmp.Or(a.born.Compare(b.born), cmp.Compare(b.pod.Spec.Containers[0].Resources.Requests.Cpu().MilliValue(), a.pod.Spec.Containers[0].Resources.Requests.Cpu().MilliValue()), cmp.Compare(a.pod.Name, b.pod.Name))
	})
	present, err := c.nodes.List(labels.Everything())
	c.must(err)
	session, err := c.scheduler.Begin(c.t.Context(), present, all)
	if err != nil {
		c.t.Error(err)
		return
	}
	defer session.Close()
	names := inTurn(present)
	for _, p := range pending {
		// The scheduler looks at some nodes only where there are many, and goes on behind them with the next pod.
		c.looked = (c.looked + 101) % len(names)
		node, reasons, err := session.Place(p.pod, slices.Concat(names[c.looked:], names[:c.looked])...)
		c.must(err)
		c.bind(p, node, reasons)
	}
}

// inTurn are the names of the nodes, a zone after the other, as the scheduler goes through them.
func inTurn(all []*corev1.Node) []string {
	zones := map[string][]string{}
	for _, node := range all {
		zone := node.Labels[corev1.LabelTopologyZone]
		zones[zone] = append(zones[zone], node.Name)
	}
	var names []string
	for _, zone := range stormZones() {
		slices.Sort(zones[zone])
	}
	for i := 0; len(names) < len(all); i++ {
		for _, zone := range stormZones() {
			if i < len(zones[zone]) {
				names = append(names, zones[zone][i])
			}
		}
	}
	return names
}

func (c *stormCluster) bind(p *stormPod, node string, reasons []string) {
	now := time.Now()
	scheduled := corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now)}
	if node == "" {
		scheduled.Status, scheduled.Reason, scheduled.Message = corev1.ConditionFalse, corev1.PodReasonUnschedulable, fmt.Sprint(reasons)
		if len(p.pod.Status.Conditions) > 0 && p.pod.Status.Conditions[0].Message == scheduled.Message {
			return
		}
		c.journal.stuck(p, scheduled.Message)
	} else {
		p.bound = now
	}
	p.pod = p.pod.DeepCopy()
	p.pod.Spec.NodeName, p.pod.Status.Conditions = node, []corev1.PodCondition{scheduled}
	c.dirty[p.pod.Name] = true
}
