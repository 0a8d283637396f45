// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package clusterapi

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/berth-dev/berth/autoscaler/cloud"
)

const (
	// deleteAnnotation has Cluster API take a Machine first when its group shrinks. Ours has markValue, so that a
	// mark that was left behind can be told from one that a person has set.
	deleteAnnotation = "cluster.x-k8s.io/delete-machine"
	markValue        = "berth.dev/autoscaler"
	// outOfResources is the reason of Cluster API for a quota or stock that is used up.
	outOfResources = "InsufficientResources"
)

// machine reads a Machine of v1beta1 or v1beta2.
type machine struct{ *unstructured.Unstructured }

func (m machine) text(path ...string) string {
	s, _, _ := unstructured.NestedString(m.Object, path...)
	return s
}

func (m machine) providerID() string { return m.text("spec", "providerID") }
func (m machine) node() string       { return m.text("status", "nodeRef", "name") }
func (m machine) deleting() bool     { return m.GetDeletionTimestamp() != nil }

// marked tells whether Cluster API will take the Machine first, and whether that is our wish.
func (m machine) marked() (marked, ours bool) {
	value, marked := m.GetAnnotations()[deleteAnnotation]
	return marked, value == markValue
}

// unborn tells that there is no machine behind the Machine that could become a node.
func (m machine) unborn() bool {
	return m.node() == "" && (m.providerID() == "" || m.failure() != nil)
}

// failure tells why the Machine will never be a node. v1beta2 has moved the terminal failures aside, and
// a MachineHealthCheck gives up what never came.
func (m machine) failure() *cloud.InstanceFailure {
	if m.node() != "" || m.deleting() {
		return nil
	}
	for _, path := range [][]string{{"status"}, {"status", "deprecated", "v1beta1"}} {
		reason, message := m.text(append(path, "failureReason")...), m.text(append(path, "failureMessage")...)
		if reason != "" || message != "" {
			return &cloud.InstanceFailure{OutOfResources: reason == outOfResources, Code: reason, Message: message}
		}
	}
	suspects := []string{"HealthCheckSucceeded"}
	failed := m.text("status", "phase") == "Failed"
	if failed {
		suspects = append(suspects, "InfrastructureReady", "BootstrapConfigReady", "BootstrapReady", "Ready")
	}
	for _, kind := range suspects {
		if reason, message, ok := m.without(kind); ok {
			return &cloud.InstanceFailure{OutOfResources: reason == outOfResources, Code: reason, Message: message}
		}
	}
	if failed {
		return &cloud.InstanceFailure{Code: "Failed"}
	}
	return nil
}

// without returns the reason of a condition that is False.
func (m machine) without(kind string) (reason, message string, found bool) {
	conditions, _, _ := unstructured.NestedSlice(m.Object, "status", "conditions")
	for _, c := range conditions {
		condition, _ := c.(map[string]any)
		if condition["type"] == kind && condition["status"] == string(metav1.ConditionFalse) {
			reason, _ = condition["reason"].(string)
			message, _ = condition["message"].(string)
			return reason, message, true
		}
	}
	return "", "", false
}

// instance is the Machine as the contract has it.
func (m machine) instance() cloud.Instance {
	i := cloud.Instance{ProviderID: m.providerID(), State: cloud.InstanceCreating, Failed: m.failure()}
	switch {
	case m.deleting():
		i.State = cloud.InstanceDeleting
	case m.node() != "":
		i.State = cloud.InstanceRunning
	}
	return i
}

// owner is the controller of an object, empty where it has none.
func owner(o metav1.Object) (kind, name string) {
	if ref := metav1.GetControllerOfNoCopy(o); ref != nil {
		return ref.Kind, ref.Name
	}
	return "", ""
}
