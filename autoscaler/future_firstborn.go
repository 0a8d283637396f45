// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/util/workqueue"

	"github.com/berth-dev/berth/autoscaler/forecast"
)

const (
	// maxFirstborns bounds the dry-run creates of one tick for the forecast.
	maxFirstborns = 8
	// firstbornFor is how long an answer stands before it is asked for again: what admission says may change.
	firstbornFor = time.Minute
)

// firstborn is what the API server makes of the first pod of a revision.
type firstborn struct {
	creation
	generation int64
	revision   string
}

// askFirstborns asks what admission makes of the pods of those workloads that have no live pod to copy, each once,
// those first that were never asked about, as many as a tick has time for.
func (c *Conductor) askFirstborns(ctx context.Context, workloads []forecast.Workload) {
	before, now := c.history.futures.created, c.now()
	after := map[forecast.Key]firstborn{}
	type question struct {
		*forecast.Workload
		pod    *corev1.Pod
		last   time.Time
		answer creation
	}
	var unsampled, asked []*question
	for i := range workloads {
		w := &workloads[i]
		pod := w.Unsampled()
		if pod == nil {
			continue
		}
		q := &question{Workload: w, pod: pod}
		if known, ok := before[w.Key()]; ok && known.generation == w.Generation && known.revision == w.Revision {
			after[w.Key()], q.last, q.answer = known, known.at, known.creation
		}
		unsampled = append(unsampled, q)
		if now.Sub(q.last) >= firstbornFor {
			asked = append(asked, q)
		}
	}
	slices.SortFunc(asked, func(a, b *question) int {
		return cmp.Or(a.last.Compare(b.last), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	asked = asked[:min(len(asked), maxFirstborns)]
	bounded, cancel := context.WithTimeout(ctx, callDeadline)
	defer cancel()
	workqueue.ParallelizeUntil(ctx, workers, len(asked), func(i int) {
		if answer := c.bear(bounded, asked[i].pod); !answer.late || asked[i].answer.pod == nil {
			asked[i].answer = answer
		}
	})
	for _, q := range unsampled {
		switch {
		case q.answer.pod != nil:
			q.Created = q.answer.pod
		case q.answer.why != "":
			q.Refused = q.answer.why
		default:
			q.Refused = "the API server is yet to be asked what becomes of them"
		}
		if !q.answer.at.IsZero() && !q.answer.late {
			after[q.Key()] = firstborn{q.answer, q.Generation, q.Revision}
		}
	}
	c.history.futures.created = after
}

// bear asks for a pod in a dry run, as its controller would.
func (c *Conductor) bear(ctx context.Context, pod *corev1.Pod) creation {
	pod = pod.DeepCopy()
	pod.UID, pod.Status = "", corev1.PodStatus{}
	if len(pod.OwnerReferences) > 0 && pod.OwnerReferences[0].Kind != "StatefulSet" {
		pod.Name, pod.GenerateName = "", pod.OwnerReferences[0].Name+"-"
	} else if len(pod.OwnerReferences) == 0 {
		pod.Name, pod.GenerateName = "", "forecast-"
	}
	for i := range pod.OwnerReferences {
		// It may be set by those only who may change the owner's finalizers.
		pod.OwnerReferences[i].BlockOwnerDeletion = nil
	}
	created, err := c.writer.DryRunCreate(ctx, pod)
	answer := creation{pod: created, at: c.now()}
	switch {
	case err == nil:
	case late(err):
		answer.pod, answer.late, answer.why = nil, true, "the API server does not say what becomes of them: "+err.Error()
	default:
		answer.pod, answer.why = nil, fmt.Sprintf("a dry-run create of %s is refused: %v", cmp.Or(pod.Name, pod.GenerateName), err)
	}
	return answer
}
