// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package statefulset is the model that Berth's scheduler plugins, its
// simulation and its command line share: which slot a pod fills, which claims
// belong to a slot, and in which domain each ordinal of a set belongs.
//
// It promises that the same facts give the same answer in every process. The
// rules are pure functions of values; the Planner adds only memory, so that an
// answer is worked out again when one of its inputs changed and not before.
//
// Invariants:
//   - a slot is namespace, set name and ordinal, never a UID: a set that is
//     deleted with --cascade=orphan and made again has the same slots;
//   - a claim's name is never taken apart without the templates of the set it
//     is supposed to belong to, so sets called db and db-2, and templates with
//     dashes, stay apart;
//   - a slot with a home is never moved by a domain that comes or goes.
//
// The package imports the standard library, k8s.io/api and
// k8s.io/apimachinery, and nothing else.
package statefulset
