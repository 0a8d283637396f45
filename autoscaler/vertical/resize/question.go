// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package resize

import (
	"maps"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Question is what must be known before a pod is changed.
type Question struct {
	Pod *v1.Pod
	// Move false: does the pod's own node have room for the pod with these sizes, all
	// others left where they are? Move true: what size would the pod have if it was
	// re-created, and on which node would that one find a place, with its volumes, the
	// plan and the holds?
	Move bool
	// Sizes are those of the containers that change.
	Sizes Sizes
}

// Answer answers one question.
type Answer struct {
	Pod   types.UID
	Move  bool
	Sizes Sizes
	// Fits: there is room; of a Move, on a node that exists or is on its way.
	Fits bool
	// Node is that node, and Coming that it is not ready yet: an evicted pod would be
	// Pending until it is.
	Node   string
	Coming bool
	// Created is what a server-side dry-run create returned, for a Move; nil where it
	// was not made or the admission policy is not installed.
	Created Sizes
	// Unknown: nothing could find out, and the rest of the answer means nothing. The pod
	// waits, as long as that lasts.
	Unknown bool
	// Reason is why there is no room, no size or no answer.
	Reason string
}

// ask finds the answer to a question, or puts it.
func (d *decider) ask(pod *v1.Pod, move bool, sizes Sizes) (Answer, bool) {
	for _, a := range d.Answers {
		if a.Pod == pod.UID && a.Move == move && a.Sizes.equal(sizes) {
			return a, true
		}
	}
	d.out.Questions = append(d.out.Questions, Question{Pod: pod, Move: move, Sizes: maps.Clone(sizes)})
	return Answer{}, false
}
