// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package externalgrpc

import (
	"fmt"
	"strings"
)

// CallError tells that the server did not answer a call, or answered with an
// error. It wraps the status, or the error of a context: the caller's, or
// context.DeadlineExceeded where the time-out of the call has passed. What the
// call asks for may have been done all the same.
type CallError struct {
	Server, Call string
	// Group is empty for calls that are about no group.
	Group string
	Err   error
}

func (e *CallError) Error() string {
	if e.Group == "" {
		return fmt.Sprintf("provider %s: %s: %v", e.Server, e.Call, e.Err)
	}
	return fmt.Sprintf("provider %s: %s of node group %s: %v", e.Server, e.Call, e.Group, e.Err)
}

func (e *CallError) Unwrap() error { return e.Err }

// AnswerError tells that the server answered with something that cannot be.
type AnswerError struct {
	Group, Call string
	// Got is what it said, Want what it may say.
	Got, Want string
}

func (e *AnswerError) Error() string {
	return fmt.Sprintf("node group %s: %s answered %s, want %s", e.Group, e.Call, e.Got, e.Want)
}

// MissingGroupError tells that a listed group is not one of the server's.
type MissingGroupError struct {
	Group string
	// Offered are the groups that it has.
	Offered []string
}

func (e *MissingGroupError) Error() string {
	const most = 10
	offered := strings.Join(e.Offered[:min(len(e.Offered), most)], ", ")
	switch {
	case len(e.Offered) == 0:
		offered = "none"
	case len(e.Offered) > most:
		offered += fmt.Sprintf(" and %d more", len(e.Offered)-most)
	}
	return fmt.Sprintf("node group %s is listed, and the provider does not have it; it has %s", e.Group, offered)
}
