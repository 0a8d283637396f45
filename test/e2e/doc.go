// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package e2e proves what Berth promises on a real control plane: the API
// server decides, kube-controller-manager makes the pods, and both programs run
// with nothing but the RBAC that is shipped.
//
// Without KUBECONFIG the tests start a cluster of test/cluster and take it down
// again; with it they run against that cluster, and those that end components
// of a cluster, or start one with other settings, say why they are skipped. Such
// a cluster has simulated nodes in zone-a, zone-b and zone-c, the StorageClasses
// and metrics APIs of test/cluster, and the node groups of testdata/autoscaler.yaml:
//
//	berth-cluster up --nodes 9 --autoscaler-config test/e2e/testdata/autoscaler.yaml
//
// Each test has a namespace of its own, and nodes of its own where it needs
// some that nobody else fills. Tests that end components run alone; all
// others run at the same time.
package e2e
