// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package layout says what a test cluster consists of: its nodes, its
// components and their configuration, as values. It starts nothing and reads
// nothing: the same options give the same bytes.
package layout

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// KubeVersion is what the programs of a cluster are built from and report.
const KubeVersion = "v1.36.4"

// maxZones is how many letters there are to name a zone.
const maxZones = 26

// minNodeGrace lets a kubelet show life once a second, which a busy machine still manages.
const minNodeGrace = 5 * time.Second

// Options is what a person chooses about a cluster.
type Options struct {
	// Name tells clusters of one checkout apart.
	Name string
	// Nodes there are from the start, spread over Zones in turn.
	Nodes, Zones int
	// NodeCPU, NodeMemory and NodePods are the size of each node.
	NodeCPU, NodeMemory, NodePods string
	// NodeBoot is the time from the creation of a node to Ready. The nodes
	// there from the start are exempt.
	NodeBoot time.Duration
	// NodeGrace is how long the control plane believes in a node whose kubelet is
	// silent. Kubelets and their supervision keep Kubernetes' proportions to it. Its
	// 50 s have a thousand nodes renew a hundred leases a second: the default is
	// longer, as most tests look at no dead node.
	NodeGrace time.Duration
	// PodReady is the time from Running to Ready of a pod, PodStop the time from
	// its deletion to its end, which its grace period bounds.
	PodReady, PodStop time.Duration
	// AttachLimit is how many zonal volumes a node takes.
	AttachLimit int
	// AttachDelay is how long the storage takes to attach or detach a volume.
	AttachDelay time.Duration
	// MetricsAdapter serves custom and external metrics beside metrics-server.
	MetricsAdapter bool
	// HPAController leaves kube-controller-manager's own HPA controller on.
	HPAController bool
	// Berth says whether the two Berth programs are part of the cluster.
	Berth bool
}

// DefaultOptions is a cluster that suits most tests.
func DefaultOptions() Options {
	return Options{
		Name:           "berth",
		Nodes:          3,
		Zones:          3,
		NodeCPU:        "4",
		NodeMemory:     "16Gi",
		NodePods:       "110",
		NodeGrace:      200 * time.Second,
		AttachLimit:    16,
		AttachDelay:    200 * time.Millisecond,
		MetricsAdapter: true,
		Berth:          true,
	}
}

// Validate returns everything that is wrong with the options, by flag name.
func (o Options) Validate() error {
	var errs field.ErrorList
	for _, msg := range validation.IsDNS1123Label(o.Name) {
		errs = append(errs, field.Invalid(field.NewPath("name"), o.Name, msg))
	}
	if o.Nodes < 0 {
		errs = append(errs, field.Invalid(field.NewPath("nodes"), o.Nodes, "must not be negative"))
	}
	if o.Zones < 1 || o.Zones > maxZones {
		errs = append(errs, field.Invalid(field.NewPath("zones"), o.Zones, fmt.Sprintf("must be between 1 and %d", maxZones)))
	}
	if o.AttachLimit < 1 {
		errs = append(errs, field.Invalid(field.NewPath("attach-limit"), o.AttachLimit, "must be positive"))
	}
	for flag, quantity := range map[string]string{"node-cpu": o.NodeCPU, "node-memory": o.NodeMemory, "node-pods": o.NodePods} {
		if q, err := resource.ParseQuantity(quantity); err != nil || q.Sign() <= 0 {
			errs = append(errs, field.Invalid(field.NewPath(flag), quantity, "must be a positive quantity, such as 4 or 16Gi"))
		}
	}
	for flag, delay := range map[string]time.Duration{"node-boot": o.NodeBoot, "pod-ready": o.PodReady, "pod-stop": o.PodStop} {
		if delay < 0 || delay%time.Second != 0 {
			errs = append(errs, field.Invalid(field.NewPath(flag), delay.String(), "must be whole seconds: the API server keeps times no finer"))
		}
	}
	if o.NodeGrace < minNodeGrace || o.NodeGrace%time.Second != 0 {
		errs = append(errs, field.Invalid(field.NewPath("node-grace"), o.NodeGrace.String(), fmt.Sprintf("must be whole seconds, at least %s: a kubelet shows life every fifth of it", minNodeGrace)))
	}
	if o.AttachDelay < 0 {
		errs = append(errs, field.Invalid(field.NewPath("attach-delay"), o.AttachDelay.String(), "must not be negative"))
	}
	return errs.ToAggregate()
}

// Place is where one cluster lives on this machine: absolute folders.
type Place struct {
	// Dir is the folder of the cluster, which kwokctl owns.
	Dir string
	// ClusterBin holds the programs of Kubernetes and kwok, BerthBin those of Berth.
	ClusterBin, BerthBin string
}

// Kubeconfig is the administrator's.
func (p Place) Kubeconfig() string { return p.Dir + "/kubeconfig.yaml" }

// Log is where a component of that name writes to.
func (p Place) Log(component string) string { return p.Dir + "/logs/" + component + ".log" }

// own is the folder for files that kwokctl knows nothing of.
func (p Place) own(file string) string { return p.Dir + "/berth/" + file }
