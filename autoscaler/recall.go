// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"context"
	"maps"
	"strings"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/klog/v2"

	"github.com/berth-dev/berth/autoscaler/config"
	"github.com/berth-dev/berth/autoscaler/horizontal"
)

// evaluation is what the last evaluation of an HPA leaves for the next.
type evaluation struct {
	at      time.Time
	history horizontal.History
	// left is how many replicas the target had after it, nil where that is not known.
	left *int32
}

// due tells whether an HPA may be evaluated: a late answer may have brought
// its last evaluation near to this one. What a tick waits for answers does not count, or
// a period would now and then be left out for milliseconds.
func (c *Conductor) due(hpa *autoscalingv2.HorizontalPodAutoscaler, now time.Time) bool {
	last, known := c.history.horizontal[hpa.UID]
	return !known || now.Sub(last.at) >= c.config.SyncPeriod.Duration-patience
}

// recall returns an HPA's history. After a restart that is what its
// annotation says of scale events.
func (c *Conductor) recall(ctx context.Context, hpa *autoscalingv2.HorizontalPodAutoscaler, now time.Time) horizontal.History {
	if last, known := c.history.horizontal[hpa.UID]; known {
		return last.history
	}
	history, err := Recall(hpa, now)
	if err != nil {
		klog.FromContext(ctx).Error(err, "The scale events that an HPA's annotation keeps cannot be read: rates start anew", "hpa", klog.KObj(hpa), "annotation", config.ScaleEvents)
	}
	return history
}

// Recall returns what an HPA's annotation keeps of its history: none with the error.
func Recall(hpa *autoscalingv2.HorizontalPodAutoscaler, now time.Time) (horizontal.History, error) {
	uid, kept, _ := strings.Cut(hpa.Annotations[config.ScaleEvents], " ")
	if uid != string(hpa.UID) {
		return horizontal.History{}, nil // nothing kept, or by the HPA that this one was copied from
	}
	return horizontal.Recall(kept, now)
}

// forget drops the history of HPAs that are gone.
func (c *Conductor) forget(present []*autoscalingv2.HorizontalPodAutoscaler) {
	uids := make(sets.Set[types.UID], len(present))
	for _, hpa := range present {
		uids.Insert(hpa.UID)
	}
	maps.DeleteFunc(c.history.horizontal, func(uid types.UID, _ evaluation) bool { return !uids.Has(uid) })
	maps.DeleteFunc(c.history.turns, func(uid types.UID, _ time.Time) bool { return !uids.Has(uid) })
}

// keep is the text that Recall reads.
func keep(hpa *autoscalingv2.HorizontalPodAutoscaler, history horizontal.History, now time.Time) string {
	events := history.Keep(now)
	if events == "" {
		return ""
	}
	return string(hpa.UID) + " " + events
}
