// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 is the API berth.dev/v1alpha1: PlacementPolicy, by which
// the owner of a stateful application says where its ordinals belong.
//
// It promises that what the API server's schema takes is what Default and
// Validate take: the same rules are written twice, as markers for the schema
// and in Go for plugin arguments, which no API server has seen.
//
// +kubebuilder:object:generate=true
// +groupName=berth.dev
package v1alpha1
