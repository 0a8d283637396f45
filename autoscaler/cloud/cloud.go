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

	v1 "k8s.io/api/core/v1"
)

// Provider knows the node groups of one place where machines come from.
type Provider interface {
	// Refresh brings what the provider remembers up to date. It is called
	// once before each round of decisions.
	Refresh(ctx context.Context) error
	// Groups returns the groups, by name.
	Groups(ctx context.Context) ([]NodeGroup, error)
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
	// Template returns a new node of the group as it will look when ready.
	// Its name and hostname label do not matter. The caller owns it.
	Template(ctx context.Context) (*v1.Node, error)
	// Increase asks for n more nodes. It reads the target size again and
	// returns an *AtMaximumError, with nothing asked for, if the group would pass its maximum.
	Increase(ctx context.Context, n int) error
	// Delete deletes the given nodes, which are known by UID: a node of the
	// same name that came later is left alone, one that is gone is no error.
	// It returns a *NotInGroupError, with nothing deleted, if one of them
	// belongs elsewhere. The minimum is the caller's concern, since a failed
	// node is deleted before another takes its place.
	Delete(ctx context.Context, nodes ...*v1.Node) error
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

// NotInGroupError tells that a node does not belong to the group.
type NotInGroupError struct{ Group, Node string }

func (e *NotInGroupError) Error() string {
	return fmt.Sprintf("node %s is not of node group %s", e.Node, e.Group)
}
