// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"

	"github.com/berth-dev/berth/autoscaler/vertical"
)

var (
	// errTaken tells of a checkpoint under the name of another one, that nobody can read: it is not Berth's to write over.
	errTaken = errors.New("its name is taken by a checkpoint that can not be read")
	// errUnbegun tells of a write that there was no time for.
	errUnbegun = errors.New("there was no time for it")
)

// checkpointWrite is a checkpoint on its way to the API server.
type checkpointWrite struct {
	checkpoint vertical.Checkpoint
	at         types.NamespacedName
	was        stored

	err error
	// looked: is tells what there is now, nil for nothing.
	looked bool
	is     *vpav1.VerticalPodAutoscalerCheckpoint
}

// writeCheckpoints writes checkpoints, as many at a time as there are workers, until the context ends.
func (c *Conductor) writeCheckpoints(ctx context.Context, due []*checkpointWrite) (done func()) {
	for _, w := range due {
		if w.err == nil {
			w.err = errUnbegun
		}
	}
	workqueue.ParallelizeUntil(ctx, workers, len(due), func(i int) {
		if w := due[i]; !errors.Is(w.err, errTaken) {
			c.writeCheckpoint(ctx, w)
			c.telemetry.CheckpointWritten(w.err)
		}
	})
	return func() { c.noteWrites(ctx, due) }
}

func (c *Conductor) writeCheckpoint(ctx context.Context, w *checkpointWrite) {
	object := w.checkpoint.Object(w.at.Name, c.config.Vertical.RecommenderName)
	if w.was.planned {
		w.is, w.err = c.writer.CreateCheckpoint(ctx, object)
	} else {
		object.ResourceVersion = w.was.version
		w.is, w.err = c.writer.UpdateCheckpoint(ctx, object, w.was.bare)
	}
	w.looked = w.err == nil
	if apierrors.IsConflict(w.err) || apierrors.IsAlreadyExists(w.err) || apierrors.IsNotFound(w.err) {
		w.look(ctx, c)
	}
}

// look finds out whose a checkpoint is by now that somebody else has written.
func (w *checkpointWrite) look(ctx context.Context, c *Conductor) {
	is, err := c.checkpoints.Look(ctx, w.at.Namespace, w.at.Name)
	if err == nil {
		w.looked, w.is = true, is
	}
}

// noteWrites takes what became of writes.
func (c *Conductor) noteWrites(ctx context.Context, due []*checkpointWrite) {
	s := &c.history.shelf
	failed, unbegun, first := 0, 0, (*checkpointWrite)(nil)
	for _, w := range due {
		switch {
		case w.looked && w.is == nil, !w.looked && w.was.planned:
			s.drop(w.at)
		case w.looked:
			s.hold([]*vpav1.VerticalPodAutoscalerCheckpoint{w.is})
		}
		key := w.checkpoint.ID.VPA
		_, kept := s.turns[key]
		switch {
		case w.err == nil:
		case w.looked, errors.Is(w.err, errUnbegun):
			if kept {
				s.turns[key] = time.Time{} // again in the next tick
			}
			unbegun++
		case apierrors.HasStatusCause(w.err, corev1.NamespaceTerminatingCause):
		default:
			if failed++; first == nil {
				first = w
			}
		}
	}
	logger := klog.FromContext(ctx)
	logger.V(4).Info("Wrote checkpoints of VPAs", "checkpoints", len(due)-failed-unbegun, "again", unbegun)
	if first != nil {
		logger.Error(first.err, "Writing checkpoints of VPAs", "failed", failed, "of", len(due), "such as", klog.KRef(first.at.Namespace, first.at.Name), "vpa", first.checkpoint.ID.VPA.Name, "container", first.checkpoint.ID.Container, "slot", first.checkpoint.ID.Slot)
	}
}

// sweep deletes checkpoints that nobody needs, unless somebody has written them since.
func (c *Conductor) sweep(ctx context.Context, orphans []*vpav1.VerticalPodAutoscalerCheckpoint) (done func()) {
	errs := make([]error, len(orphans))
	now := make([]*checkpointWrite, len(orphans))
	workqueue.ParallelizeUntil(ctx, workers, len(orphans), func(i int) {
		o := orphans[i]
		now[i] = &checkpointWrite{at: types.NamespacedName{Namespace: o.Namespace, Name: o.Name}}
		errs[i] = c.writer.DeleteCheckpoint(ctx, o)
		switch {
		case errs[i] == nil:
			now[i].looked = true
		case apierrors.IsConflict(errs[i]), apierrors.IsNotFound(errs[i]):
			now[i].look(ctx, c)
		}
	})
	return func() {
		s := &c.history.shelf
		for i, w := range now {
			switch {
			case w == nil: // there was no time for it
			case !w.looked:
				klog.FromContext(ctx).Error(errs[i], "Deleting a checkpoint that nobody needs", "checkpoint", klog.KRef(w.at.Namespace, w.at.Name))
			case w.is == nil:
				s.drop(w.at)
			default:
				s.hold([]*vpav1.VerticalPodAutoscalerCheckpoint{w.is})
			}
		}
		klog.FromContext(ctx).V(2).Info("Deleted checkpoints that nobody needs", "checkpoints", len(orphans))
	}
}
