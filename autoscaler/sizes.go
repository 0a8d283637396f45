// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	"k8s.io/klog/v2"

	"github.com/berth-dev/berth/autoscaler/guard"
	"github.com/berth-dev/berth/autoscaler/vertical"
	"github.com/berth-dev/berth/autoscaler/vertical/sizes"
)

// writeSizes puts the sizes of all slots on the VPA, where the API server finds them for pods that are created.
// While there is no recommendation, those of before stand; where a LimitRange refuses what is recommended, they do not.
func (c *Conductor) writeSizes(ctx context.Context, r Resizable) {
	if r.Recommendation.Reason != vertical.Provided || modeOf(r.VPA) == vpav1.UpdateModeOff || r.template() == nil {
		return
	}
	text := ""
	if table := r.Sizes(); len(table.Sizes) > 0 {
		text = table.String()
	}
	c.putSizes(ctx, r.VPA, text)
}

// clearSizes takes the sizes away from the VPAs that size no pod: of two that have them, either might be followed.
func (c *Conductor) clearSizes(ctx context.Context, vpas []*vpav1.VerticalPodAutoscaler, verdicts map[guard.Key]guard.Verdict) {
	for _, vpa := range vpas {
		_, has := vpa.Annotations[sizes.Annotation]
		ours := recommender(vpa) == c.config.Vertical.RecommenderName && verdicts[vpaKey(vpa)].Allowed
		if has && (!ours || modeOf(vpa) == vpav1.UpdateModeOff) {
			c.putSizes(ctx, vpa, "")
		}
	}
}

func (c *Conductor) putSizes(ctx context.Context, vpa *vpav1.VerticalPodAutoscaler, table string) {
	ctx, cancel := context.WithTimeout(ctx, callDeadline)
	defer cancel()
	err := c.writer.AnnotateVPA(ctx, vpa, sizes.Annotation, table)
	if err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
		klog.FromContext(ctx).Error(err, "Writing the sizes of a VPA's pods", "vpa", klog.KObj(vpa))
	}
}
