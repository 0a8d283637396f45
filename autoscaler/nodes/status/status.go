// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package status says how node groups stand, for people and for kubectl berth.
//
// A Status has the fields of Cluster Autoscaler's status ConfigMap, by their
// names and with their meaning, and beside them, under berth, what Berth knows
// more. Of makes it from the values of one decision; Render turns it, with the
// templates of the groups, into the data of a ConfigMap, and Parse back.
//
// Invariants, each a property test:
//   - what is rendered stays below the size of a ConfigMap, and says how much is left out;
//   - what is parsed is what was rendered;
//   - a condition keeps the time of its last transition for as long as its status stays.
package status

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The values of the conditions, and of Status.AutoscalerStatus.
const (
	Running      = "Running"
	Initializing = "Initializing"

	Healthy   = "Healthy"
	Unhealthy = "Unhealthy"

	Needed     = "Needed"
	InProgress = "InProgress"
	NoActivity = "NoActivity"
	Backoff    = "Backoff"

	CandidatesPresent = "CandidatesPresent"
	NoCandidates      = "NoCandidates"
)

// Status is the status of all that is done about nodes.
type Status struct {
	// Time is when it was written.
	Time string `json:"time,omitempty"`
	// AutoscalerStatus is Initializing until the first decision, and then Running.
	AutoscalerStatus string `json:"autoscalerStatus,omitempty"`
	// Message says why nothing could be decided; empty when it could. The rest is then of before, but for
	// Berth.State and Berth.Reason, and for groups that are not listed any more.
	Message     string      `json:"message,omitempty"`
	ClusterWide ClusterWide `json:"clusterWide"`
	NodeGroups  []NodeGroup `json:"nodeGroups,omitempty"`
	Berth       Berth       `json:"berth"`
}

// ClusterWide is about all nodes, also those that Berth does not scale.
type ClusterWide struct {
	Health    ClusterHealth `json:"health"`
	ScaleUp   Condition     `json:"scaleUp"`
	ScaleDown ScaleDown     `json:"scaleDown"`
}

// NodeGroup is about one group.
type NodeGroup struct {
	Name      string      `json:"name"`
	Health    GroupHealth `json:"health"`
	ScaleUp   ScaleUp     `json:"scaleUp"`
	ScaleDown ScaleDown   `json:"scaleDown"`
	Berth     BerthGroup  `json:"berth"`
}

// Condition is the status of one concern.
type Condition struct {
	Status             string      `json:"status,omitempty"`
	LastProbeTime      metav1.Time `json:"lastProbeTime"`
	LastTransitionTime metav1.Time `json:"lastTransitionTime"`
}

// ClusterHealth is Unhealthy while too many nodes are unready for any to be added or removed.
type ClusterHealth struct {
	Condition
	NodeCounts NodeCounts `json:"nodeCounts"`
}

// GroupHealth is Unhealthy while too many nodes of the group are unready.
type GroupHealth struct {
	Condition
	NodeCounts NodeCounts `json:"nodeCounts"`
	// CloudProviderTarget is the number of nodes that the provider works towards.
	CloudProviderTarget int `json:"cloudProviderTarget"`
	MinSize             int `json:"minSize"`
	MaxSize             int `json:"maxSize"`
}

// NodeCounts counts nodes by state.
type NodeCounts struct {
	Registered Registered `json:"registered"`
	// Unregistered were asked for and have no Node object; LongUnregistered for longer than a node may take.
	LongUnregistered int `json:"longUnregistered"`
	Unregistered     int `json:"unregistered"`
}

// Registered counts the nodes that exist.
type Registered struct {
	Total        int     `json:"total"`
	Ready        int     `json:"ready"`
	NotStarted   int     `json:"notStarted"`
	BeingDeleted int     `json:"beingDeleted,omitempty"`
	Unready      Unready `json:"unready"`
}

// Unready counts nodes that were ready once, or had the time to be.
type Unready struct {
	Total int `json:"total"`
	// ResourceUnready is always 0: Berth takes a node whose devices are not there yet for ready.
	ResourceUnready int `json:"resourceUnready"`
}

// ScaleUp is InProgress while nodes are on their way, Backoff while a group that failed is left alone.
type ScaleUp struct {
	Condition
	BackoffInfo BackoffInfo `json:"backoffInfo"`
}

// BackoffInfo says why a group is left alone.
type BackoffInfo struct {
	ErrorCode    string `json:"errorCode,omitempty"`
	ErrorMessage string `json:"errorMessage,omitempty"`
}

// ScaleDown tells of nodes that are not needed.
type ScaleDown struct {
	Condition
	Candidates int `json:"candidates,omitempty"`
}

// Berth is what Berth knows more of the cluster.
type Berth struct {
	// State is what Berth does about nodes, as the metric berth_nodes_state has it; Reason why it leaves them alone.
	State  string `json:"state,omitempty"`
	Reason string `json:"reason,omitempty"`
	// Blocked says why nothing at all was decided, Incomplete why not every pod was looked at.
	Blocked    string `json:"blocked,omitempty"`
	Incomplete string `json:"incomplete,omitempty"`
	// Pending is the number of pods that wait for a node and Forecast that of pods about to come, Upcoming
	// that of nodes on their way.
	Pending  int `json:"pending"`
	Forecast int `json:"forecast"`
	Upcoming int `json:"upcoming"`
	// Unhelped are the pods that no node and no group can take, Kept the nodes that were not needed for long
	// enough and stay all the same, Unneeded those that may go at their time, Draining those that are being emptied.
	Unhelped []Unhelped `json:"unhelped,omitempty"`
	Kept     []Kept     `json:"kept,omitempty"`
	Unneeded []Unneeded `json:"unneeded,omitempty"`
	Draining []Drain    `json:"draining,omitempty"`
	// Unread are groups of the configuration that nothing is known of now: they are left alone.
	Unread []Unread `json:"unread,omitempty"`
	// LeftOut is how many of each list are not in it for want of room.
	LeftOut LeftOut `json:"leftOut,omitzero"`
}

// LeftOut counts what is not in the lists.
type LeftOut struct {
	Unhelped   int `json:"unhelped,omitempty"`
	Kept       int `json:"kept,omitempty"`
	Unneeded   int `json:"unneeded,omitempty"`
	Draining   int `json:"draining,omitempty"`
	Unread     int `json:"unread,omitempty"`
	NodeGroups int `json:"nodeGroups,omitempty"`
}

// BerthGroup is what Berth knows more of a group.
type BerthGroup struct {
	// Obstacle says why the group cannot grow now; RetryAt, of one that failed, when it is tried again.
	Obstacle string       `json:"obstacle,omitempty"`
	RetryAt  *metav1.Time `json:"retryAt,omitempty"`
	// Priority and PricePerHour are what the expanders of these names go by; the price is absent where it is not known.
	Priority     int      `json:"priority,omitempty"`
	PricePerHour *float64 `json:"pricePerHour,omitempty"`
	// Options are the group's own limits, and those of the configuration where it has none.
	Options Options `json:"options,omitzero"`
	// LastScaleUp is the last one that was asked for.
	LastScaleUp *Growth `json:"lastScaleUp,omitempty"`
	// Planned is a growth that is decided and not asked for, since Berth leaves nodes alone.
	Planned *Growth `json:"planned,omitempty"`
}

// Options are limits of a group; they mean what the fields of the same names in the configuration mean.
type Options struct {
	UtilizationThreshold float64         `json:"utilizationThreshold"`
	UnneededTime         metav1.Duration `json:"unneededTime"`
	UnreadyTime          metav1.Duration `json:"unreadyTime"`
	MaxNodeProvisionTime metav1.Duration `json:"maxNodeProvisionTime"`
}

// Growth is a change of a target.
type Growth struct {
	Time   metav1.Time `json:"time"`
	From   int         `json:"from"`
	To     int         `json:"to"`
	Reason string      `json:"reason"`
}

// Unhelped is a pod that waits, and why.
type Unhelped struct {
	Pod string `json:"pod"`
	// Forecast tells that the pod does not exist yet.
	Forecast bool     `json:"forecast,omitempty"`
	Nodes    []string `json:"nodes,omitempty"`
	Groups   []string `json:"groups,omitempty"`
}

// Kept is a node that stays, and why.
type Kept struct {
	Node   string `json:"node"`
	Group  string `json:"group,omitempty"`
	Reason string `json:"reason"`
}

// Unneeded is a node that goes when nothing changes.
type Unneeded struct {
	Node  string      `json:"node"`
	Group string      `json:"group"`
	Since metav1.Time `json:"since"`
	// Until is when it goes.
	Until metav1.Time `json:"until"`
}

// Drain is a node that is being emptied.
type Drain struct {
	Node  string      `json:"node"`
	Group string      `json:"group,omitempty"`
	Since metav1.Time `json:"since"`
	// Step is what is done, and Reason what it waits for.
	Step   string `json:"step"`
	Reason string `json:"reason,omitempty"`
	// Pods is how many still have to leave.
	Pods int `json:"pods"`
}

// Unread is a group that nothing is known of, and why.
type Unread struct {
	Group  string `json:"group"`
	Reason string `json:"reason"`
}

// layout is how Cluster Autoscaler writes the time of its status.
const layout = "2006-01-02 15:04:05.999999999 -0700 MST"

// Written is when the status was written; zero where it does not say.
func (s Status) Written() time.Time {
	t, err := time.Parse(layout, s.Time)
	if err != nil {
		return time.Time{}
	}
	return t
}
