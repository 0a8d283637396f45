// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package perf compares the profile that Berth ships with the one that
// kube-scheduler has by default, on upstream's scheduler_perf: a real API
// server with etcd, nodes and pods as objects only, one scheduler.
//
// Both profiles run the same cases in one process, in turn and round by round,
// so that whatever slows the machine slows both. No time is asserted; the table
// at the end is the result.
package perf
