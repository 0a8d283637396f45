// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package actuate

import (
	"context"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/berth-dev/berth/autoscaler/config"
)

// MakeCanary makes the HPA that another HPA controller is known by: one without
// anything to scale, so that nobody is the worse for it.
func (w *Writer) MakeCanary(ctx context.Context) error {
	canary := &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: config.Namespace,
			Name:      config.CanaryName,
			Labels:    map[string]string{"app.kubernetes.io/name": config.Name},
			Annotations: map[string]string{
				"kubernetes.io/description": "Whoever writes AbleToScale here is a second controller of HPAs, and Berth leaves all HPAs to it. The target is missing on purpose.",
			},
		},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "berth-canary-without-target"},
			MaxReplicas:    1,
		},
	}
	_, err := w.hpas.HorizontalPodAutoscalers(config.Namespace).Create(ctx, canary, metav1.CreateOptions{})
	return err
}
