// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"context"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"

	"github.com/berth-dev/berth/autoscaler/config"
)

// disownCanary takes back what a process with another configuration has left on the canary, once. None is made for that.
func (c *Conductor) disownCanary(ctx context.Context) {
	if c.canary == nil || c.history.canary.disowned {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, callDeadline)
	defer cancel()
	canary, err := c.canary.Look(ctx)
	if err == nil && canary != nil {
		status := canary.Status
		status.Conditions = withCondition(status.Conditions, c.sayUnjudged())
		err = c.writer.HPAStatus(ctx, canary, status, "")
	}
	if err != nil {
		klog.FromContext(ctx).V(2).Info("The canary can not be told that nobody looks at it", "canary", klog.KRef(config.Namespace, config.CanaryName), "err", err)
		return
	}
	c.history.canary.disowned = true
}

// sayUnjudged is the condition where no other controller is looked for.
func (c *Conductor) sayUnjudged() autoscalingv2.HorizontalPodAutoscalerCondition {
	said := autoscalingv2.HorizontalPodAutoscalerCondition{Type: config.BerthActs, LastTransitionTime: metav1.NewTime(c.now())}
	if c.config.Horizontal.Mode == config.Observe {
		said.Status, said.Reason = corev1.ConditionFalse, "Observing"
		said.Message = "horizontal.mode is Observe: Berth decides, and writes no scale and no status"
		return said
	}
	said.Status, said.Reason = corev1.ConditionTrue, "NotLookedFor"
	said.Message = "horizontal.canary is None: Berth writes scales and statuses, whoever else does"
	return said
}
