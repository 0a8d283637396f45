// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/berth-dev/berth/autoscaler/nodes/status"
)

// groupReport is how a node group stands. As with the other reports, names of
// fields stay as they are, and fields may be added.
type groupReport struct {
	Name string `json:"name"`
	// LeftAlone says why nothing is known of the group now; the status is then empty.
	LeftAlone string `json:"leftAlone,omitempty"`
	// Status is what the autoscaler says of the group.
	Status status.NodeGroup `json:"status"`
	// BerthActs is what the autoscaler does about nodes.
	BerthActs string `json:"berthActs"`
	// Origin and Written are where and when the autoscaler has said it.
	Origin  string `json:"origin"`
	Written string `json:"written"`
	// Template is a new node of the group; absent where it is not known.
	Template *templateReport `json:"template,omitempty"`
	Nodes    []nodeReport    `json:"nodes,omitempty"`
	// Waiting are pods that the group cannot help.
	Waiting []waitingReport `json:"waiting,omitempty"`
	Notes   []string        `json:"notes,omitempty"`

	now time.Time
}

// templateReport is a new node of a group.
type templateReport struct {
	Labels      map[string]string            `json:"labels,omitempty"`
	Taints      []v1.Taint                   `json:"taints,omitempty"`
	Allocatable v1.ResourceList              `json:"allocatable,omitempty"`
	Drivers     map[string]int32             `json:"drivers,omitempty"`
	Storage     map[string]resource.Quantity `json:"storage,omitempty"`
}

// nodeReport is a node, as its group sees it.
type nodeReport struct {
	Name     string       `json:"name"`
	Group    string       `json:"group,omitempty"`
	State    string       `json:"state"`
	Created  metav1.Time  `json:"created"`
	Pods     int          `json:"pods"`
	Requests sharesReport `json:"requests"`
	// Fate is whether it stays, and why, or when it goes; empty where that is not known.
	Fate      string   `json:"fate,omitempty"`
	BerthActs string   `json:"berthActs,omitempty"`
	Notes     []string `json:"notes,omitempty"`

	going bool // is being emptied
	now   time.Time
}

// sharesReport is how much of a node its pods ask for; absent where the node has none.
type sharesReport struct {
	CPUPercent    *int `json:"cpuPercent,omitempty"`
	MemoryPercent *int `json:"memoryPercent,omitempty"`
}

// over tells that pods ask for more than there is.
func (s sharesReport) over() bool {
	return max(ptr.Deref(s.CPUPercent, 0), ptr.Deref(s.MemoryPercent, 0)) > 100
}

// waitingReport is a pod that waits for a node.
type waitingReport struct {
	Pod      string `json:"pod"`
	Forecast bool   `json:"forecast,omitempty"`
	Reason   string `json:"reason"`
}
