// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"maps"
	"slices"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/berth-dev/berth/autoscaler/nodes/drain"
)

const (
	// ToBeDeletedTaint marks a node that is about to go; kube-proxy and the
	// service controller drain connections on it.
	ToBeDeletedTaint = drain.Taint

	uninitializedTaint = "node.cloudprovider.kubernetes.io/uninitialized"
)

// startupPrefixes begin the keys of taints that go once a node has started, as
// Cluster Autoscaler's users write them; the second is the older one.
func startupPrefixes() []string {
	return []string{"startup-taint.cluster-autoscaler.kubernetes.io/", "ignore-taint.cluster-autoscaler.kubernetes.io/"}
}

type state int

const (
	ready state = iota
	// upcoming: not ready, and young enough to become so.
	upcoming
	// unreadyNow: was ready once.
	unreadyNow
	// neverReady: not ready within the provision time.
	neverReady
	// leaving: being deleted or marked for it.
	leaving
)

type node struct {
	Node
	state state
	gone  bool // decided to be removed
}

// empty tells that only pods that live and die with their node run on it.
func (n *node) empty() bool {
	return !slices.ContainsFunc(n.Pods, func(pod *v1.Pod) bool {
		if pod.Status.Phase == v1.PodSucceeded || pod.Status.Phase == v1.PodFailed {
			return false
		}
		return !everywhere(pod)
	})
}

// everywhere tells that a pod is one that lives and dies with its node.
func everywhere(pod *v1.Pod) bool {
	if _, mirror := pod.Annotations[v1.MirrorPodAnnotationKey]; mirror {
		return true
	}
	owner := metav1.GetControllerOfNoCopy(pod)
	return owner != nil && owner.Kind == "DaemonSet"
}

// stateOf judges a node that may take that long to become ready.
func (p *planner) stateOf(n *v1.Node, provisionTime time.Duration) state {
	if n.DeletionTimestamp != nil || hasTaint(n, ToBeDeletedTaint) {
		return leaving
	}
	var condition *v1.NodeCondition
	for i := range n.Status.Conditions {
		if n.Status.Conditions[i].Type == v1.NodeReady {
			condition = &n.Status.Conditions[i]
		}
	}
	if condition != nil && condition.Status == v1.ConditionTrue && !hasTaint(n, v1.TaintNodeNotReady) && !hasTaint(n, uninitializedTaint) &&
		!slices.ContainsFunc(n.Spec.Taints, p.startup) {
		return ready
	}
	limit := n.CreationTimestamp.Add(provisionTime)
	switch {
	case p.in.History.WasReady[n.UID]:
		return unreadyNow
	case !p.in.Now.After(limit):
		return upcoming
	case condition != nil && condition.LastTransitionTime.After(limit):
		// It changed after its time to become ready was over, so it was ready then.
		return unreadyNow
	}
	return neverReady
}

func hasTaint(n *v1.Node, key string) bool {
	return slices.ContainsFunc(n.Spec.Taints, func(t v1.Taint) bool { return t.Key == key })
}

// startup tells of a taint that goes once its node has started.
func (p *planner) startup(taint v1.Taint) bool {
	return slices.Contains(p.in.Config.StartupTaints, taint.Key) ||
		slices.ContainsFunc(startupPrefixes(), func(prefix string) bool { return strings.HasPrefix(taint.Key, prefix) })
}

// withoutStartup returns a template as its node will be once it has started.
func (p *planner) withoutStartup(template *v1.Node) *v1.Node {
	if !slices.ContainsFunc(template.Spec.Taints, p.startup) {
		return template
	}
	template = template.DeepCopy()
	template.Spec.Taints = slices.DeleteFunc(template.Spec.Taints, p.startup)
	return template
}

// asReady returns a node on its way as it will be: without the taints that
// going ready removes, and with what the template promises and the kubelet
// or the cloud has not reported yet.
func (p *planner) asReady(n, template *v1.Node) *v1.Node {
	n = n.DeepCopy()
	n.Spec.Taints = slices.DeleteFunc(n.Spec.Taints, func(t v1.Taint) bool {
		switch t.Key {
		case v1.TaintNodeNotReady, v1.TaintNodeUnreachable, v1.TaintNodeNetworkUnavailable, uninitializedTaint:
			return true
		}
		return p.startup(t)
	})
	if template == nil {
		return n
	}
	labels := maps.Clone(template.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	delete(labels, v1.LabelHostname)
	maps.Copy(labels, n.Labels)
	n.Labels = labels
	if len(n.Status.Allocatable) == 0 {
		n.Status.Allocatable = template.Status.Allocatable
		n.Status.Capacity = template.Status.Capacity
	}
	return n
}

// newNode returns a node that a group would add.
func newNode(template *v1.Node, name string) *v1.Node {
	n := template.DeepCopy()
	n.Name, n.UID, n.ResourceVersion = name, "", ""
	if n.Labels == nil {
		n.Labels = map[string]string{}
	}
	n.Labels[v1.LabelHostname] = name
	return n
}
