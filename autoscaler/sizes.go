// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"context"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"

	"github.com/berth-dev/berth/autoscaler/guard"
	"github.com/berth-dev/berth/autoscaler/vertical"
	"github.com/berth-dev/berth/autoscaler/vertical/sizes"
)

// writeSizes puts the sizes of all slots on the VPAs, where the API server finds them for pods that are created, and returns the
// VPAs as they are then: what is written of them next is written upon that.
func (c *Conductor) writeSizes(ctx context.Context, vpas []*vpav1.VerticalPodAutoscaler, verdicts map[guard.Key]guard.Verdict, all []Resizable) []*vpav1.VerticalPodAutoscaler {
	resizables := make(map[types.UID]Resizable, len(all))
	for _, r := range all {
		resizables[r.VPA.UID] = r
	}
	written := slices.Clone(vpas)
	// While there is no recommendation, the sizes of before stand; and before the first metrics, without which the
	// memory of a set on its first day is not known.
	measured := !c.history.usage.at.IsZero()
	workqueue.ParallelizeUntil(ctx, workers, len(vpas), func(i int) {
		r, known := resizables[vpas[i].UID]
		switch {
		case c.sizesNone(vpas[i], verdicts), known && r.Hold == "" && r.nothingControlled():
			written[i] = c.putSizes(ctx, vpas[i], "")
		case known && r.Hold == "" && r.Recommendation.Reason == vertical.Provided && r.template() != nil && measured:
			// Where a LimitRange refuses what is recommended, the sizes of before do not stand.
			text := ""
			if table := r.Sizes(); len(table.Sizes) > 0 {
				text = table.String()
			}
			written[i] = c.putSizes(ctx, vpas[i], text)
		}
	})
	return written
}

// sizesNone tells of a VPA that sizes no pod: of two that have sizes, either might be followed.
func (c *Conductor) sizesNone(vpa *vpav1.VerticalPodAutoscaler, verdicts map[guard.Key]guard.Verdict) bool {
	ours := recommender(vpa) == c.config.Vertical.RecommenderName && verdicts[vpaKey(vpa)].Allowed
	return !ours || modeOf(vpa) == vpav1.UpdateModeOff
}

// found tells whether the admission policy finds the line of a slot for the pods of that slot, and for no others. It knows a pod
// by its index or else its name, where a PlacementPolicy may take the ordinal of an operator's pods from elsewhere.
func (r Resizable) found(slot string) bool {
	return !slices.ContainsFunc(r.Pods, func(pod *corev1.Pod) bool {
		of, ok := r.SlotOf(pod)
		by, labelled := pod.Labels[appsv1.PodIndexLabel]
		if !labelled {
			by = pod.Name[strings.LastIndex(pod.Name, "-")+1:]
		}
		return (ok && strconv.Itoa(of.Ordinal) == slot) != (by == slot)
	})
}

// nothingControlled tells whether the policy switches off all that would be sized.
func (r Resizable) nothingControlled() bool {
	template := r.template()
	return template != nil && !slices.ContainsFunc(template.Containers, func(container corev1.Container) bool {
		return vertical.Controls(r.VPA.Spec.ResourcePolicy, container.Name, corev1.ResourceCPU) ||
			vertical.Controls(r.VPA.Spec.ResourcePolicy, container.Name, corev1.ResourceMemory)
	})
}

func (c *Conductor) putSizes(ctx context.Context, vpa *vpav1.VerticalPodAutoscaler, table string) *vpav1.VerticalPodAutoscaler {
	ctx, cancel := context.WithTimeout(ctx, callDeadline)
	defer cancel()
	written, err := c.writer.AnnotateVPA(ctx, vpa, sizes.Annotation, table)
	if err == nil {
		return written
	}
	if !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
		klog.FromContext(ctx).Error(err, "Writing the sizes of a VPA's pods", "vpa", klog.KObj(vpa))
	}
	return vpa
}
