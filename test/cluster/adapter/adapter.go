// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package adapter serves custom.metrics.k8s.io and external.metrics.k8s.io in a
// test cluster, as an adapter to a monitoring system does elsewhere. What it
// serves is written on objects of the cluster, so that a test or a person sets
// a metric with kubectl:
//
//   - a custom metric is an annotation layout.AnnotationMetricPrefix plus its name
//     on the object that it describes;
//   - an external metric is an entry of a ConfigMap with the label
//     layout.LabelExternalMetrics. Each ConfigMap is one series, in its namespace.
//
// A series has the labels of the object that it is written on. Nothing is
// remembered: every answer is read from the API server, and its time is now.
// What is not written is not there: a single object without the metric is not
// found, and a list has no item for it.
package adapter

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
)

// pause makes an answer take its time, or as long as somebody waits for it.
func pause(ctx context.Context, delay time.Duration) error {
	select {
	case <-time.After(delay):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// parse reads a value; where tells a person who mistyped it.
func parse(text, where string) (resource.Quantity, error) {
	value, err := resource.ParseQuantity(text)
	if err != nil {
		return value, apierrors.NewInternalError(fmt.Errorf("%s is %q, want a quantity such as 3 or 250m", where, text))
	}
	return value, nil
}
