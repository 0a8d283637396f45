// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"context"
	"strings"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	"k8s.io/klog/v2"

	"github.com/berth-dev/berth/autoscaler/actuate"
	"github.com/berth-dev/berth/autoscaler/guard"
	"github.com/berth-dev/berth/autoscaler/nodes"
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
		if key.Kind != guard.HPA || c.actsOnHPAs() {
			c.writer.Event(object, actuate.Event{Type: corev1.EventTypeWarning, Reason: string(verdict.Reason), Message: verdict.Message})
		}
	}
	for _, hpa := range hpas {
		once(hpaKey(hpa), hpa)
	}
	for _, vpa := range vpas {
		once(vpaKey(vpa), vpa)
	}
	c.history.told = told
}

// byName finds the pods that a decision names.
func byName(pods []*corev1.Pod) map[types.NamespacedName]*corev1.Pod {
	named := make(map[types.NamespacedName]*corev1.Pod, len(pods))
	for _, pod := range pods {
		named[types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}] = pod
	}
	return named
}

// tellHelped says on each waiting pod which nodes were asked for on its account.
func (c *Conductor) tellHelped(pending map[types.NamespacedName]*corev1.Pod, add nodes.Add) {
	message := growth(add)
	for _, name := range add.Pods {
		if pod := pending[name]; pod != nil {
			c.writer.Event(pod, actuate.Event{Type: corev1.EventTypeNormal, Reason: "TriggeredScaleUp", Message: message})
		}
	}
}

// tellUnhelped says once per reason, on each waiting pod, why no node group can help it.
func (c *Conductor) tellUnhelped(ctx context.Context, pending map[types.NamespacedName]*corev1.Pod, unhelped []nodes.Unhelped) {
	c.telemetry.Unhelped(len(unhelped))
	told := make(map[types.UID]string, len(unhelped))
	for _, u := range unhelped {
		reason := "no node group can help: " + strings.Join(u.Groups, "; ")
		if len(u.Groups) == 0 {
			reason = "there is no node group"
		}
		pod := pending[u.Pod]
		if u.Forecast || pod == nil {
			klog.FromContext(ctx).V(2).Info("A pod that is about to come will find no node", "pod", u.Pod, "reason", reason)
			continue
		}
		told[pod.UID] = reason
		if c.history.nodes.unhelped[pod.UID] != reason && c.history.rivals.hold.reason == "" {
			c.writer.Event(pod, actuate.Event{Type: corev1.EventTypeNormal, Reason: "NotTriggerScaleUp", Message: reason})
		}
	}
	c.history.nodes.unhelped = told
}
