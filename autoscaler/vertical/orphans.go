// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package vertical

import (
	"slices"
	"time"

	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
)

// Orphans are the checkpoints, of those that Berth has written, that nobody needs:
//
//   - the VPA is gone;
//   - it holds a slot, and Berth does not recommend for the VPA any more (a container's
//     stays: whoever recommends now may go on with it);
//   - Berth recommends for the VPA, and has not written it for as long as a history
//     without samples is kept: the container or the slot is forgotten;
//   - it cannot be read.
//
// vpas are all that exist; the value is whether Berth recommends for them.
func Orphans(now time.Time, objects []*vpav1.VerticalPodAutoscalerCheckpoint, vpas map[Key]bool) []*vpav1.VerticalPodAutoscalerCheckpoint {
	return slices.DeleteFunc(slices.Clone(objects), func(o *vpav1.VerticalPodAutoscalerCheckpoint) bool {
		return !isOrphan(now, o, vpas)
	})
}

func isOrphan(now time.Time, o *vpav1.VerticalPodAutoscalerCheckpoint, vpas map[Key]bool) bool {
	if _, ours := o.Labels[CheckpointLabel]; !ours {
		return false
	}
	id, err := Identify(o)
	berths, exists := vpas[id.VPA]
	switch {
	case err != nil, !exists:
		return true
	case !berths:
		return id.Slot != ""
	default:
		written := o.Status.LastUpdateTime.Time
		if written.Before(o.CreationTimestamp.Time) {
			written = o.CreationTimestamp.Time
		}
		return now.Sub(written) >= keptFor
	}
}
