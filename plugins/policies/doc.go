// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package policies answers which PlacementPolicy places a set, and which slot
// a pod fills that no StatefulSet owns. The scheduler, its simulation, the
// command line and the writer of statuses all ask here, so that they never
// differ.
//
// It promises:
//   - of several policies for one set the oldest counts, then the first by
//     name; an invalid one never counts;
//   - answers depend on the policies alone, not on the order in which they
//     were heard of, and the same policy is the same *statefulset.Policy until
//     its spec changes;
//   - readers never wait for writers;
//   - a cluster where PlacementPolicy is not installed is a cluster without
//     policies, while one whose policies can not be read is unknown.
package policies
