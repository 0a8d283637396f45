// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package resize_test

import (
	"fmt"
	"math/rand"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/berth-dev/berth/autoscaler/vertical/resize"
)

// temper is how a node agent treats the resizes of a pod.
type temper int

const (
	prompt     temper = iota // acknowledges at once
	slow                     // takes its time
	deferring                // says Deferred to whatever grows
	infeasible               // says Infeasible to whatever grows
	failing                  // can not shrink
	hanging                  // never finishes what it has allocated
	silent                   // reports nothing for good
	refused                  // the API server refuses the patch
	tempers
)

// cluster is a toy: a set, its pods, nodes of one size, a kubelet with moods, and the
// set's controller. It keeps the facts, of which the engine sees what an API server shows.
type cluster struct {
	now    time.Time
	target v1.ResourceList
	// roomOf is the milli cpu of each node.
	nodes map[string]int64
	pods  map[int]*v1.Pod
	moods map[string]temper
	// allocated is what the kubelet reserved; actual is in the status.
	allocated map[types.UID]v1.ResourceList
	// until is when something that takes time is over.
	until    map[types.UID]time.Time
	born     map[int]time.Time
	restarts bool
	made     int
	input    resize.Input
}

func (c *cluster) spec(p *v1.Pod) *v1.ResourceList { return &p.Spec.Containers[0].Resources.Requests }

func cpu(list v1.ResourceList) int64 { return list.Cpu().MilliValue() }

func equal(a, b v1.ResourceList) bool {
	return a.Cpu().Cmp(*b.Cpu()) == 0 && a.Memory().Cmp(*b.Memory()) == 0
}

// add makes the pod of an ordinal on a node.
func (c *cluster) add(ordinal int, size v1.ResourceList, node string) {
	p := pod("db", ordinal, size, nil)
	c.made++
	p.UID = types.UID(fmt.Sprintf("%s-%d", p.Name, c.made))
	p.CreationTimestamp = metav1.NewTime(c.now)
	p.Spec.NodeName = node
	if c.restarts {
		p.Spec.Containers[0].ResizePolicy = []v1.ContainerResizePolicy{{ResourceName: v1.ResourceCPU, RestartPolicy: v1.RestartContainer}}
	}
	c.pods[ordinal], c.allocated[p.UID] = p, size.DeepCopy()
}

// used is what a node's pods reserve, as a scheduler counts it, without one pod.
func (c *cluster) used(node string, without types.UID) int64 {
	sum := int64(0)
	for _, p := range c.pods {
		if p.Spec.NodeName == node && p.UID != without {
			most := max(cpu(*c.spec(p)), cpu(c.allocated[p.UID]))
			sum += max(most, cpu(p.Status.ContainerStatuses[0].Resources.Requests))
		}
	}
	return sum
}

// place finds a node for a new pod of a size.
func (c *cluster) place(size v1.ResourceList, without types.UID) string {
	for i := range len(c.nodes) {
		name := fmt.Sprintf("node-%d", i)
		if c.used(name, without)+size.Cpu().MilliValue() <= c.nodes[name] {
			return name
		}
	}
	return ""
}

// tick lets kubelets and the controller of the set go on by one step.
func (c *cluster) tick(step time.Duration) {
	c.now = c.now.Add(step)
	for ordinal := range c.input.Targets[0].Workload.Replicas {
		p := c.pods[ordinal]
		switch {
		case p == nil && c.born[ordinal].IsZero():
			c.born[ordinal] = c.now.Add(time.Second)
		case p == nil && !c.now.Before(c.born[ordinal]):
			if node := c.place(c.target, ""); node != "" {
				c.add(ordinal, c.target, node)
				p = c.pods[ordinal]
				c.moods[p.Name] = prompt
				setReady(p, false)
				c.until[p.UID] = c.now.Add(40 * time.Second)
				delete(c.born, ordinal)
			}
		case p != nil && p.DeletionTimestamp != nil && !c.now.Before(c.until[p.UID]):
			delete(c.pods, ordinal)
		case p != nil && p.DeletionTimestamp == nil:
			c.kubelet(p)
		}
	}
}

// kubelet allocates, then actuates, then reports.
func (c *cluster) kubelet(p *v1.Pod) {
	mood, spec, cs := c.moods[p.Name], *c.spec(p), &p.Status.ContainerStatuses[0]
	if mood == silent && !equal(spec, cs.Resources.Requests) {
		return
	}
	p.Status.ObservedGeneration = p.Generation
	grows := spec.Cpu().Cmp(*cs.Resources.Requests.Cpu()) > 0
	switch {
	case equal(spec, c.allocated[p.UID]):
		setCondition(p, v1.PodResizePending, "", time.Time{})
	case mood == infeasible && grows:
		setCondition(p, v1.PodResizePending, v1.PodReasonInfeasible, c.now)
	case mood == deferring && grows || c.used(p.Spec.NodeName, p.UID)+spec.Cpu().MilliValue() > c.nodes[p.Spec.NodeName]:
		setCondition(p, v1.PodResizePending, v1.PodReasonDeferred, c.now)
	default:
		setCondition(p, v1.PodResizePending, "", time.Time{})
		c.allocated[p.UID] = spec.DeepCopy()
		c.until[p.UID] = c.now.Add(map[bool]time.Duration{true: 45 * time.Second}[mood == slow])
		if c.restarts && !equal(spec, cs.Resources.Requests) && mood != hanging {
			setReady(p, false)
			c.until[p.UID] = c.now.Add(30 * time.Second)
		}
	}
	allocated := c.allocated[p.UID]
	cs.AllocatedResources = allocated.DeepCopy()
	shrinks := allocated.Cpu().Cmp(*cs.Resources.Requests.Cpu()) < 0
	switch {
	case equal(allocated, cs.Resources.Requests):
		setCondition(p, v1.PodResizeInProgress, "", time.Time{})
	case mood == failing && shrinks:
		setCondition(p, v1.PodResizeInProgress, v1.PodReasonError, c.now)
	case mood == hanging || c.now.Before(c.until[p.UID]):
		setCondition(p, v1.PodResizeInProgress, "", c.now)
	default:
		cs.Resources.Requests = allocated.DeepCopy()
		setCondition(p, v1.PodResizeInProgress, "", time.Time{})
	}
	if !c.now.Before(c.until[p.UID]) {
		setReady(p, true)
	}
}

// answer is what a simulator would say.
func (c *cluster) answer(q resize.Question) resize.Answer {
	size := q.Sizes["db"].Requests
	if !q.Move {
		return resize.Answer{Fits: c.used(q.Pod.Spec.NodeName, q.Pod.UID)+size.Cpu().MilliValue() <= c.nodes[q.Pod.Spec.NodeName]}
	}
	node := c.place(size, q.Pod.UID)
	return resize.Answer{Fits: node != "", Node: node, Created: q.Sizes}
}

// carryOut does what was decided. A crash leaves out all or the second half of it.
func (c *cluster) carryOut(r *rand.Rand, a resize.Action, crash bool) (refusal *resize.Refused) {
	p := c.byUID(a.Pod.UID)
	if crash && r.Intn(2) == 0 {
		return nil
	}
	if a.Kind == resize.Evict {
		p.DeletionTimestamp = &metav1.Time{Time: c.now}
		c.until[p.UID] = c.now.Add(20 * time.Second)
		return nil
	}
	if a.Kind == resize.Patch && c.moods[p.Name] == refused {
		return &resize.Refused{Pod: p.UID, Kind: a.Kind, Message: "exceeded quota"}
	}
	p.Annotations = map[string]string{resize.RecordAnnotation: a.Record}
	if !crash {
		write(p, a.Sizes)
	}
	return nil
}

func (c *cluster) byUID(uid types.UID) *v1.Pod {
	for _, p := range c.pods {
		if p.UID == uid {
			return p
		}
	}
	return nil
}

// observe is what the conductor sees now; statuses of budgets lag behind at times.
func (c *cluster) observe(r *rand.Rand) resize.Input {
	in := c.input
	in.Now = c.now
	t := in.Targets[0]
	t.Pods, t.Workload.Absent = nil, nil
	var all []*v1.Pod
	healthy := int32(0)
	for ordinal := range t.Workload.Replicas {
		p := c.pods[ordinal]
		if p == nil {
			t.Workload.Absent = append(t.Workload.Absent, ordinal)
			continue
		}
		p = p.DeepCopy()
		all = append(all, p)
		if up(p) {
			healthy++
		}
		t.Pods = append(t.Pods, resize.Pod{Object: p, Ordinal: ordinal, Usage: map[string]resize.Bytes{"db": 1},
			Containers: []resize.Recommendation{{Container: "db", Target: c.target, Lower: c.target, Upper: c.target}}})
	}
	in.Targets = []resize.Target{t}
	if len(in.Budgets) > 0 {
		b := resize.Budget{Object: in.Budgets[0].Object.DeepCopy(), Pods: all}
		if r.Intn(3) > 0 {
			b.Object.Status.CurrentHealthy = healthy
			b.Object.Status.DisruptionsAllowed = max(0, healthy-b.Object.Status.DesiredHealthy)
		}
		in.Budgets = []resize.Budget{b}
	}
	return in
}

func up(p *v1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == v1.PodReady && c.Status == v1.ConditionTrue {
			return p.DeletionTimestamp == nil
		}
	}
	return false
}
