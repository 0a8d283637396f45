// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package layout

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// AnnotationBootSeconds, on a node, replaces the cluster's node boot delay.
	AnnotationBootSeconds = "cluster.berth.dev/boot-seconds"
	// AnnotationReadySeconds and AnnotationStopSeconds, on a pod, replace the
	// cluster's delays to Ready and from deletion to the end.
	AnnotationReadySeconds = "cluster.berth.dev/ready-seconds"
	AnnotationStopSeconds  = "cluster.berth.dev/stop-seconds"

	// AnnotationStoragePool, on a node, is the size of its pool for volumes of
	// class pooled, such as 100Gi. Without it the node has none.
	AnnotationStoragePool = "cluster.berth.dev/storage-pool"
	// AnnotationKubelet, on a node, is KubeletDead to have nobody do a kubelet's
	// work there any more, until it is taken away.
	AnnotationKubelet = "cluster.berth.dev/kubelet"
	// KubeletDead is the one value of AnnotationKubelet.
	KubeletDead = "dead"

	// AnnotationResizeSeconds, on a pod, is how long the kubelet takes over a resize that it
	// has allocated; none without it.
	AnnotationResizeSeconds = "cluster.berth.dev/resize-seconds"
	// AnnotationResize, on a pod, is ResizeHangs to have resizes allocated and never carried
	// out, or ResizeFails to have them end in an error, until it is taken away.
	AnnotationResize = "cluster.berth.dev/resize"
	ResizeHangs      = "hang"
	ResizeFails      = "fail"
	// AnnotationCPUManager, AnnotationMemoryManager and AnnotationSwap, on a node, are what its
	// kubelet's configuration calls cpuManagerPolicy (static), memoryManagerPolicy (Static) and
	// memorySwap.swapBehavior (LimitedSwap).
	AnnotationCPUManager    = "cluster.berth.dev/cpu-manager"
	AnnotationMemoryManager = "cluster.berth.dev/memory-manager"
	AnnotationSwap          = "cluster.berth.dev/swap"
	// AnnotationUsageMemory, on a pod, is what kwok says each of its containers uses.
	AnnotationUsageMemory = "kwok.x-k8s.io/usage-memory"

	// AnnotationMetricPrefix and the name of a metric, on any object, is the
	// value of that custom metric of the object: a quantity.
	AnnotationMetricPrefix = "metrics.cluster.berth.dev/"
	// LabelExternalMetrics makes each entry of a ConfigMap the value of the
	// external metric of that name.
	LabelExternalMetrics = "cluster.berth.dev/external-metrics"

	// annotationResourceMetrics tells metrics-server where kwok serves the usage
	// of a node: one server stands for all kubelets.
	annotationResourceMetrics = "metrics.k8s.io/resource-metrics-path"
	// annotationAttachDetach leaves attaching to the controller manager, as
	// every kubelet of today does.
	annotationAttachDetach = "volumes.kubernetes.io/controller-managed-attach-detach"
)

// ZoneName is zone-a, zone-b and so on.
func ZoneName(i int) string { return fmt.Sprintf("zone-%c", 'a'+i) }

// HostName is the kubernetes.io/hostname of a node. It differs from the node's
// name on purpose: on some clouds it does, and nobody may equate them.
func HostName(node string) string { return node + ".local" }

// Nodes are the nodes there from the start: node-a-0, node-b-0, node-c-0, node-a-1, …
func Nodes(o Options) []*corev1.Node {
	nodes := make([]*corev1.Node, 0, o.Nodes)
	for i := range o.Nodes {
		zone := i % o.Zones
		nodes = append(nodes, node(fmt.Sprintf("node-%c-%d", 'a'+zone, i/o.Zones), ZoneName(zone), o))
	}
	return nodes
}

func node(name, zone string, o Options) *corev1.Node {
	size := corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse(o.NodeCPU),
		corev1.ResourceMemory: resource.MustParse(o.NodeMemory),
		corev1.ResourcePods:   resource.MustParse(o.NodePods),
	}
	annotations := NodeAnnotations(name)
	annotations[AnnotationBootSeconds] = "0"
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: name,
			Labels: map[string]string{
				"type":                   "kwok",
				corev1.LabelHostname:     HostName(name),
				corev1.LabelTopologyZone: zone,
				corev1.LabelOSStable:     "linux",
				corev1.LabelArchStable:   "amd64",
			},
			Annotations: annotations,
		},
		Status: corev1.NodeStatus{Capacity: size, Allocatable: size},
	}
}

// NodeAnnotations are those that a kubelet writes and that a simulated node
// needs beside them, whoever made the node.
func NodeAnnotations(node string) map[string]string {
	return map[string]string{
		"kwok.x-k8s.io/node":      "fake",
		annotationAttachDetach:    "true",
		annotationResourceMetrics: "/metrics/nodes/" + node + "/metrics/resource",
	}
}
