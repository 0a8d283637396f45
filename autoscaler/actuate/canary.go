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

// HorizontalState is what Berth does about HPAs.
type HorizontalState string

// The states, of which one is true at any time.
const (
	// HorizontalActs: scales and statuses are written.
	HorizontalActs HorizontalState = "acts"
	// HorizontalObserves: nothing is written, as the configuration says.
	HorizontalObserves HorizontalState = "observes"
	// HorizontalJudges: nothing is written while it is not known whether another controller does.
	HorizontalJudges HorizontalState = "judges"
	// HorizontalStandsBack: nothing is written, since another controller does.
	HorizontalStandsBack HorizontalState = "stands_back"
)

func newHorizontalState() stateGauge[HorizontalState] {
	return newStateGauge("horizontal_state",
		"What Berth does about HPAs, 1 for one of: acts; observes, as configured; judges whether another HPA controller is there; stands_back for another one.",
		HorizontalActs, HorizontalObserves, HorizontalJudges, HorizontalStandsBack)
}

// Horizontal sets what Berth does about HPAs.
func (t *Telemetry) Horizontal(state HorizontalState) { t.horizontalState.set(state) }
