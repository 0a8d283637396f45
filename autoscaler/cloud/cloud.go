// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package cloud is the contract between the autoscaler and whoever creates and
// deletes machines.
//
// A Provider knows the groups; a NodeGroup is a set of equal nodes that can
// grow and lose nodes. Both are safe for use by several goroutines. Every call
// that may leave the process takes a context and returns when it ends.
// cloud/cloudtest checks the promises written here for any provider.
package cloud

import (
	"context"
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Provider knows the node groups of one place where machines come from.
type Provider interface {
	// Refresh brings what the provider remembers up to date. It is called
	// once before each round of decisions.
	Refresh(ctx context.Context) error
	// Groups returns the groups, by name.
	Groups(ctx context.Context) ([]NodeGroup, error)
	// Problems are the groups that were asked for and that the last Refresh left
	// out, by name, with the reason. None of them is among Groups.
	Problems() map[string]error
	// GroupOf returns the name of the group that a node belongs to, or false
	// for a node that is none of the provider's.
	GroupOf(node *v1.Node) (string, bool)
}

// NodeGroup is a set of equal nodes.
type NodeGroup interface {
	Name() string
	// Limits returns the bounds of the target size, both included.
	Limits() (low, high int)
	// TargetSize is the number of nodes that the group works towards: those
	// that exist or were asked for, without those that are being deleted. What
	// Increase and Delete did counts at once.
	TargetSize(ctx context.Context) (int, error)
	// Template returns a new node of the group as it will look when ready. The caller owns it.
	// A provider that cannot tell returns a *NoTemplateError.
	Template(ctx context.Context) (*Template, error)
	// Options returns the group's own limits where it has some, the given ones elsewhere.
	Options(ctx context.Context, defaults Options) (Options, error)
	// Price is what a node costs per hour, in a currency that is the same for
	// all groups; unknown where the provider cannot tell.
	Price(ctx context.Context) (perHour float64, known bool, err error)
	// Instances returns the machines that the group has, also those without a Node object yet.
	Instances(ctx context.Context) ([]Instance, error)
	// Increase asks for n more nodes. It reads the target size again and
	// returns an *AtMaximumError, with nothing asked for, if the group would pass its maximum.
	Increase(ctx context.Context, n int) error
	// DecreaseTarget takes back the wish for n nodes that have not come. Machines
	// that have failed are deleted where the provider keeps them, and never one
	// that is or may become a node: it returns a *NothingToForgoError, with
	// nothing changed, where fewer than n are still to come.
	DecreaseTarget(ctx context.Context, n int) error
	// Delete deletes the given nodes, which are known by UID: a node of the
	// same name that came later is left alone, one that is gone is no error.
	// It returns a *NotInGroupError, with nothing deleted, if one of them
	// belongs elsewhere. The minimum is the caller's concern, since a failed
	// node is deleted before another takes its place.
	Delete(ctx context.Context, nodes ...*v1.Node) error
}

// Template is a new node of a group as it will look when ready.
type Template struct {
	// Node is the node. Its name and hostname label do not matter.
	Node *v1.Node
	// Drivers are the CSI drivers that the node will have, with the number of
	// volumes that each can attach; 0 is no limit.
	Drivers map[string]int32
	// Storage is how much each StorageClass can provision on the node alone,
	// for classes whose volumes are local to it.
	Storage map[string]resource.Quantity
}

// Options are limits that a group may have for itself. They mean what the
// fields of the same names in the configuration mean.
type Options struct {
	UtilizationThreshold float64
	UnneededTime         time.Duration
	UnreadyTime          time.Duration
	MaxNodeProvisionTime time.Duration
}

// Instance is a machine of a group.
type Instance struct {
	// ProviderID is the spec.providerID that its node has or will have; empty while the provider does not know it.
	ProviderID string
	State      InstanceState
	// Failed says why the machine will never be a node; nil where it may.
	Failed *InstanceFailure
}

// InstanceState is what a machine does.
type InstanceState string

// A machine is being created, runs or is being deleted.
const (
	InstanceCreating InstanceState = "Creating"
	InstanceRunning  InstanceState = "Running"
	InstanceDeleting InstanceState = "Deleting"
)

// InstanceFailure is why a machine will never be a node.
type InstanceFailure struct {
	// OutOfResources tells that there is no such machine to have: a quota or a
	// stock is used up.
	OutOfResources bool
	// Code and Message are in the words of the provider.
	Code, Message string
}

// NoTemplateError tells that the provider does not know what the nodes of a
// group look like. A node that it has is an example.
type NoTemplateError struct{ Group string }

func (e *NoTemplateError) Error() string {
	return fmt.Sprintf("node group %s: the provider does not tell what its nodes look like", e.Group)
}

// AtMaximumError tells that a group cannot grow as asked.
type AtMaximumError struct {
	Group string
	// Size is the target size now, Asked the number of nodes asked for.
	Size, Asked, Max int
}

func (e *AtMaximumError) Error() string {
	return fmt.Sprintf("node group %s: %d more nodes for %d would pass its maximum %d", e.Group, e.Asked, e.Size, e.Max)
}

// NothingToForgoError tells that a target cannot be decreased as asked.
type NothingToForgoError struct {
	Group string
	// Awaited is the number of nodes that are still to come, Asked the number to take back.
	Awaited, Asked int
}

func (e *NothingToForgoError) Error() string {
	return fmt.Sprintf("node group %s: %d nodes are still to come, %d cannot be taken back", e.Group, e.Awaited, e.Asked)
}

// NotInGroupError tells that a node does not belong to the group.
type NotInGroupError struct{ Group, Node string }

func (e *NotInGroupError) Error() string {
	return fmt.Sprintf("node %s is not of node group %s", e.Node, e.Group)
}
