// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"context"
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Reason is why a metrics API gave no answer, in few words that suit a metric's label.
type Reason string

const (
	// NotServed: nothing serves the API, or it does not know the metric. Is metrics-server, or an adapter, installed?
	NotServed Reason = "NotServed"
	// Forbidden: this service account may not read there.
	Forbidden Reason = "Forbidden"
	// TimedOut: no answer within the deadline.
	TimedOut Reason = "TimedOut"
	// NotAsked: there was no time to ask, as nothing that was asked before was answered.
	NotAsked Reason = "NotAsked"
	// Failed: anything else, such as a server that is down.
	Failed Reason = "Failed"
)

// UnavailableError tells that a metrics API gave no answer. It reads like the error it wraps: conditions
// of HPAs quote it as kube-controller-manager quotes its own.
type UnavailableError struct {
	Reason Reason
	Err    error
}

func (e *UnavailableError) Error() string { return e.Err.Error() }

func (e *UnavailableError) Unwrap() error { return e.Err }

func reasonOf(bounded context.Context, err error) Reason {
	switch {
	case apierrors.IsNotFound(err):
		return NotServed
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		return Forbidden
	case bounded.Err() != nil, errors.Is(err, context.DeadlineExceeded), apierrors.IsTimeout(err), apierrors.IsServerTimeout(err):
		return TimedOut
	}
	return Failed
}
