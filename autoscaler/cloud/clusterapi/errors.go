// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package clusterapi

import (
	"fmt"

	"github.com/berth-dev/berth/autoscaler/cloud"
)

// InvalidError tells that an object says something that cannot be understood.
// The group is left out until it is put right.
type InvalidError struct {
	Group string
	// Field is the annotation, or the path of the field. Value is empty where it is not set.
	Field, Value string
	// Want is what is allowed.
	Want string
}

func (e *InvalidError) Error() string {
	if e.Value == "" {
		return fmt.Sprintf("node group %s: %s is not set: want %s", e.Group, e.Field, e.Want)
	}
	return fmt.Sprintf("node group %s: %s is %q: want %s", e.Group, e.Field, e.Value, e.Want)
}

// MissingError tells that a group of the configuration does not exist.
type MissingError struct{ Group string }

func (e *MissingError) Error() string {
	return fmt.Sprintf("node group %s does not exist, or is being deleted", e.Group)
}

// OwnedError tells that a MachineSet is no group of its own.
type OwnedError struct{ Group, Owner string }

func (e *OwnedError) Error() string {
	return fmt.Sprintf("node group %s belongs to %s, which decides its size: list that instead", e.Group, e.Owner)
}

// PausedError tells that a group was not changed because Cluster API would not act on it.
type PausedError struct {
	Group string
	// By is the object that is paused, and how.
	By string
}

func (e *PausedError) Error() string {
	return fmt.Sprintf("node group %s is left alone: %s", e.Group, e.By)
}

// UnsettledError tells that a group was not changed because Cluster API has yet
// to finish what it does with it, and would now delete other machines than the ones that were meant.
type UnsettledError struct{ Group, Why string }

func (e *UnsettledError) Error() string {
	return fmt.Sprintf("node group %s is left alone for now: %s", e.Group, e.Why)
}

// UndeletableError tells that single nodes of a group cannot be deleted.
type UndeletableError struct{ Group, Node string }

func (e *UndeletableError) Error() string {
	return fmt.Sprintf("node group %s: node %s has no Machine: the infrastructure provider of its MachinePool does not support MachinePool Machines, so that no single node of it can be deleted", e.Group, e.Node)
}

// UntoldError tells that nothing says how large a new node of a group is. It is a *cloud.NoTemplateError.
type UntoldError struct{ Group, Missing string }

func (e *UntoldError) Error() string {
	return fmt.Sprintf("node group %s: %s of a new node is not known: want the annotation %s%s, or status.capacity of the infrastructure template", e.Group, e.Missing, capacityPrefix, e.Missing)
}

// Unwrap has the caller take a node of the group for an example.
func (e *UntoldError) Unwrap() error { return &cloud.NoTemplateError{Group: e.Group} }
