// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package protos is the protocol of Cluster Autoscaler's external gRPC
// providers. All but this file is generated from externalgrpc.proto.
package protos
