// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/berth-dev/berth/autoscaler/vertical/resize"
)

// mostRounds bounds the questions of one tick that follow from the answers to others.
const mostRounds = 100

// askSizes decides, and answers what must be known first, until nothing more is asked or there is no more time. Then the rest
// has its turn in the next ticks: until all of it had, pods for which there was no room are not asked about again.
func (c *Conductor) askSizes(ctx context.Context, in resize.Input, pods map[types.UID]*corev1.Pod) resize.Decision {
	h := &c.history.resizing
	answers := c.newAnswers(ctx)
	defer answers.close()
	maps.DeleteFunc(h.turns, func(uid types.UID, _ time.Time) bool { return pods[uid] == nil })
	in.Answers = h.stands
	d := resize.Decide(in)
	for range mostRounds {
		if len(d.Questions) == 0 || ctx.Err() != nil {
			break
		}
		questions := h.turns.inOrder(ahead(d, in.Answers, pods))
		given := answers.of(questions)
		for _, answer := range given {
			h.turns[answer.Pod] = answers.began
		}
		in.Answers = append(in.Answers, given...)
		d = resize.Again(in, d)
		if len(given) < len(questions) {
			break
		}
	}
	h.stands = nil
	if len(d.Questions) > 0 {
		h.stands = slices.DeleteFunc(in.Answers, func(a resize.Answer) bool { return a.Unknown || a.Fits && !a.Coming || pods[a.Pod] == nil })
	}
	return d
}

// inOrder puts questions about rooms on the pods' own nodes first, and then those about pods that wait longest for their turn.
func (t turns) inOrder(questions []resize.Question) []resize.Question {
	move := func(q resize.Question) int {
		if q.Move {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(questions, func(a, b resize.Question) int {
		return cmp.Or(move(a)-move(b), t[a.Pod.UID].Compare(t[b.Pod.UID]))
	})
	return questions
}

// ahead are the questions of a decision and, of a workload of which one pod may have to move, those that the next pods are
// likely to ask first: all that is asked about the nodes as they are is answered before the pods that wait are placed.
func ahead(d resize.Decision, known []resize.Answer, pods map[types.UID]*corev1.Pod) []resize.Question {
	moves := map[types.UID]bool{}
	for _, q := range d.Questions {
		moves[q.Pod.UID] = q.Move
	}
	moving := map[resize.Key]bool{}
	for _, e := range d.Pods {
		moving[e.Target] = moving[e.Target] || moves[e.UID]
	}
	stays := map[types.UID]bool{}
	for _, answer := range known {
		stays[answer.Pod] = stays[answer.Pod] || !answer.Move
	}
	all := slices.Clone(d.Questions)
	for _, e := range d.Pods {
		inPlace := e.Class == resize.InPlace || e.Class == resize.InPlaceRestart
		if pod := pods[e.UID]; pod != nil && moving[e.Target] && !stays[e.UID] && inPlace && e.Step == resize.Waits && pod.Spec.NodeName != "" {
			all = append(all, resize.Question{Pod: pod, Sizes: e.To})
		}
	}
	return all
}
