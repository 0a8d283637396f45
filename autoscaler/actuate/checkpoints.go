// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package actuate

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	"k8s.io/component-base/metrics"
)

// CreateCheckpoint makes a checkpoint and returns it as it is stored. It fails where there is one of that name.
func (w *Writer) CreateCheckpoint(ctx context.Context, checkpoint *vpav1.VerticalPodAutoscalerCheckpoint) (*vpav1.VerticalPodAutoscalerCheckpoint, error) {
	return w.vpas.VerticalPodAutoscalerCheckpoints(checkpoint.Namespace).Create(ctx, checkpoint, metav1.CreateOptions{})
}

// UpdateCheckpoint writes the status of a checkpoint, and labels beside those of others, and returns it as it is
// stored. Bare tells that it has no labels yet. It fails with a conflict where the checkpoint is of another resourceVersion.
//
// The status is in the object itself: the CRD has no status subresource. It is replaced as a whole, where a
// merge would leave the buckets of before.
func (w *Writer) UpdateCheckpoint(ctx context.Context, checkpoint *vpav1.VerticalPodAutoscalerCheckpoint, bare bool) (*vpav1.VerticalPodAutoscalerCheckpoint, error) {
	type operation struct {
		Op    string `json:"op"`
		Path  string `json:"path"`
		Value any    `json:"value"`
	}
	patch := []operation{{"add", "/metadata/resourceVersion", checkpoint.ResourceVersion}}
	if bare {
		patch = append(patch, operation{"add", "/metadata/labels", checkpoint.Labels})
	} else {
		for key, value := range checkpoint.Labels {
			patch = append(patch, operation{"add", "/metadata/labels/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(key), value})
		}
	}
	data, err := json.Marshal(append(patch, operation{"add", "/status", checkpoint.Status}))
	if err != nil {
		return nil, fmt.Errorf("a checkpoint as a patch: %w", err)
	}
	return w.vpas.VerticalPodAutoscalerCheckpoints(checkpoint.Namespace).Patch(ctx, checkpoint.Name, types.JSONPatchType, data, metav1.PatchOptions{})
}

// DeleteCheckpoint deletes a checkpoint. It fails with a conflict where it is another one by now, or anything about it has changed.
func (w *Writer) DeleteCheckpoint(ctx context.Context, checkpoint *vpav1.VerticalPodAutoscalerCheckpoint) error {
	return w.vpas.VerticalPodAutoscalerCheckpoints(checkpoint.Namespace).Delete(ctx, checkpoint.Name, metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &checkpoint.UID, ResourceVersion: &checkpoint.ResourceVersion},
	})
}

func newCheckpointWrites() *metrics.CounterVec {
	return metrics.NewCounterVec(&metrics.CounterOpts{
		Subsystem: subsystem, Name: "checkpoint_writes_total", StabilityLevel: metrics.ALPHA,
		Help: "Checkpoints of VPAs written, by outcome. One that somebody else has written meanwhile counts as an error, and is written again.",
	}, []string{"outcome"})
}

// CheckpointWritten counts a checkpoint that was written, or was not.
func (t *Telemetry) CheckpointWritten(err error) {
	t.checkpointWrites.WithLabelValues(outcome(err)).Inc()
}
