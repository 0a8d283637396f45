// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"context"
	"slices"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	autoscalingclient "k8s.io/client-go/kubernetes/typed/autoscaling/v2"

	"github.com/berth-dev/berth/autoscaler/config"
)

// Canary reads the HPA that another HPA controller is known by.
type Canary struct {
	hpas autoscalingclient.HorizontalPodAutoscalerInterface
}

// NewCanary returns a reader of the canary.
func NewCanary(hpas autoscalingclient.HorizontalPodAutoscalersGetter) *Canary {
	return &Canary{hpas: hpas.HorizontalPodAutoscalers(config.Namespace)}
}

// Look returns the canary, or nil where there is none. It asks the API server: an informer
// that lags behind shows an answer that has been cleared away.
func (c *Canary) Look(ctx context.Context) (*autoscalingv2.HorizontalPodAutoscaler, error) {
	canary, err := c.hpas.Get(ctx, config.CanaryName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return canary, nil
}

// Answered tells whether somebody else than Berth has written the status of
// the canary: whether it could be scaled is what every controller of HPAs says first, and Berth never.
func Answered(canary *autoscalingv2.HorizontalPodAutoscaler) bool {
	return slices.ContainsFunc(canary.Status.Conditions, func(c autoscalingv2.HorizontalPodAutoscalerCondition) bool {
		return c.Type == autoscalingv2.AbleToScale
	})
}

// isCanary tells the canary, which is nobody's HPA, from all others.
func isCanary(hpa *autoscalingv2.HorizontalPodAutoscaler) bool {
	return hpa.Namespace == config.Namespace && hpa.Name == config.CanaryName
}
