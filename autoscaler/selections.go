// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"context"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"

	"github.com/berth-dev/berth/autoscaler/guard"
	"github.com/berth-dev/berth/autoscaler/observe"
)

// selection is what the target of an autoscaler selects, where nothing but its scale tells.
type selection struct {
	// read is how the scale was asked for last.
	read *scaleRead
	// selector is the last that it told.
	selector string
	// owners are the top owners of the pods, and stay while there are none for a moment.
	owners []guard.Target
}

// readSelections learns what those targets select that are of kinds which no informer knows. Whole ticks read all of their
// scales, other ticks those that were never asked for: nobody acts in between on a scale that is not known.
func (c *Conductor) readSelections(ctx context.Context, whole bool, hpas []*autoscalingv2.HorizontalPodAutoscaler, vpas []*vpav1.VerticalPodAutoscaler) {
	before := c.history.selections
	c.history.selections = map[types.UID]selection{} // what was read before is not to answer what is read now
	targets := foreignTargets(hpas, vpas)
	var asked []*scaleRead
	for i, read := range targets {
		if last, known := before[read.by]; known && last.read.isOf(read) && !whole {
			targets[i] = last.read
		} else {
			asked = append(asked, read)
		}
	}
	inTurn := turns{}
	if whole {
		inTurn = c.history.reads.guard
	}
	c.readScales(ctx, inTurn, asked)
	for _, read := range targets {
		c.history.selections[read.by] = c.selected(before[read.by], read)
	}
}

// selected is what a target selects after a read, by what was known of it before.
func (c *Conductor) selected(last selection, read *scaleRead) selection {
	now := selection{read: read}
	if last.read != nil && last.read.isOf(read) {
		now.selector, now.owners = last.selector, last.owners
	}
	switch {
	case read.done && apierrors.IsNotFound(read.err):
		now.selector, now.owners = "", nil
	case read.done && read.err == nil && read.scale.Selector != "" && read.scale.Selector != now.selector:
		now.selector, now.owners = read.scale.Selector, nil
	}
	selector, err := labels.Parse(now.selector)
	if err != nil || now.selector == "" {
		return now
	}
	var owners []guard.Target
	for _, top := range c.reader.TopOwners(read.namespace, selector) {
		owners = append(owners, target(top))
	}
	if len(owners) > 0 {
		now.owners = owners
	}
	return now
}

// foreignTargets are those of other kinds than the reader holds, as far as they may be in a conflict: in namespaces
// that have a VPA, and another autoscaler.
func foreignTargets(hpas []*autoscalingv2.HorizontalPodAutoscaler, vpas []*vpav1.VerticalPodAutoscaler) []*scaleRead {
	autoscalers := map[string]int{}
	sized := sets.New[string]()
	for _, vpa := range vpas {
		autoscalers[vpa.Namespace]++
		sized.Insert(vpa.Namespace)
	}
	for _, hpa := range hpas {
		autoscalers[hpa.Namespace]++
	}
	var reads []*scaleRead
	add := func(by types.UID, namespace string, ref autoscalingv2.CrossVersionObjectReference) {
		if sized.Has(namespace) && autoscalers[namespace] > 1 && !observe.Held(ref) {
			reads = append(reads, &scaleRead{by: by, namespace: namespace, ref: ref})
		}
	}
	for _, hpa := range hpas {
		add(hpa.UID, hpa.Namespace, hpa.Spec.ScaleTargetRef)
	}
	for _, vpa := range vpas {
		if vpa.Spec.TargetRef != nil {
			add(vpa.UID, vpa.Namespace, TargetOf(vpa))
		}
	}
	return reads
}
