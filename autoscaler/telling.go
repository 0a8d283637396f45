// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"context"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	"k8s.io/klog/v2"

	"github.com/berth-dev/berth/autoscaler/actuate"
	"github.com/berth-dev/berth/autoscaler/guard"
)

// tell says each verdict that is new by an event on both sides of a conflict. The
// conditions go with the rest of the statuses.
func (c *Conductor) tell(ctx context.Context, hpas []*autoscalingv2.HorizontalPodAutoscaler, vpas []*vpav1.VerticalPodAutoscaler, verdicts map[guard.Key]guard.Verdict) {
	refused := 0
	for _, verdict := range verdicts {
		if !verdict.Allowed {
			refused++
		}
	}
	c.telemetry.Refused(refused)

	told := make(map[guard.Key]string, len(verdicts))
	once := func(key guard.Key, object runtime.Object) {
		verdict := verdicts[key]
		told[key] = verdict.Message
		if verdict.Message == "" || c.history.told[key] == verdict.Message {
			return
		}
		klog.FromContext(ctx).V(2).Info("Two autoscalers on one target", "kind", key.Kind, "namespace", key.Namespace, "name", key.Name, "acts", verdict.Allowed, "reason", verdict.Message)
		c.writer.Event(object, actuate.Event{Type: corev1.EventTypeWarning, Reason: string(verdict.Reason), Message: verdict.Message})
	}
	for _, hpa := range hpas {
		once(hpaKey(hpa), hpa)
	}
	for _, vpa := range vpas {
		once(vpaKey(vpa), vpa)
	}
	c.history.told = told
}
