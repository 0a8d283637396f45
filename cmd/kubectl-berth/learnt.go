// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"

	"github.com/berth-dev/berth/autoscaler/vertical"
	"github.com/berth-dev/berth/autoscaler/vertical/sizes"
)

// sized reads the sizes that pods get when they are created.
func (r *vpaReport) sized(vpa *vpav1.VerticalPodAutoscaler) sizes.Table {
	text, there := vpa.Annotations[sizes.Annotation]
	table, ok := sizes.Parse(text)
	switch {
	case r.UpdateMode == vpav1.UpdateModeOff:
		r.Sizes = sizesOff
	case !there || !ok:
		r.Sizes = sizesMissing
	case table.VPA != vpa.UID:
		r.Sizes = sizesForeign
	default:
		r.Sizes = sizesWritten
		for i := range r.Containers {
			c := &r.Containers[i]
			for j := range c.Resources {
				c.Resources[j].Created = createdOf(table, sizes.AnySlot, c.Name, c.Resources[j].Name)
			}
		}
		return table
	}
	return sizes.Table{}
}

func createdOf(table sizes.Table, slot, container string, name v1.ResourceName) *createdReport {
	size, ok := table.Of(slot, container)
	created := &createdReport{Request: amountOf(size.Requests, name), Limit: amountOf(size.Limits, name)}
	if !ok || *created == (createdReport{}) {
		return nil
	}
	return created
}

// learnt adds what the checkpoints tell, and returns it.
func (r *vpaReport) learnt(s *sizing, table sizes.Table) vertical.Recommendation {
	if s.unlearnt != "" {
		r.Notes = append(r.Notes, fmt.Sprintf("samples, and what single ordinals get, are left out, as the checkpoints can not be read: %s", s.unlearnt))
		return vertical.Recommendation{}
	}
	known, asOf, unread := s.recall()
	r.Notes = append(r.Notes, unread...)
	if asOf.IsZero() {
		r.Notes = append(r.Notes, "there is no checkpoint yet, which would tell of samples and of what single ordinals get")
		return known
	}
	r.AsOf = &metav1.Time{Time: asOf}
	for _, c := range known.Containers {
		i := slices.IndexFunc(r.Containers, func(have containerReport) bool { return have.Name == c.ContainerName })
		if i < 0 {
			r.Containers = append(r.Containers, containerReport{Name: c.ContainerName})
			i = len(r.Containers) - 1
		}
		history := historyOf(c.Samples, c.First, c.Last, c.Confidence)
		r.Containers[i].History = &history
		for _, slot := range c.Slots {
			r.Slots = append(r.Slots, newSlotReport(slot, c.ContainerName, table))
		}
	}
	return known
}

// recall is the decision of berth-autoscaler over the checkpoints alone, and when the last
// of them was written.
func (s *sizing) recall() (known vertical.Recommendation, asOf time.Time, unread []string) {
	history, refused := vertical.Restore(s.checkpoints)
	for _, o := range s.checkpoints {
		if err := refused[vertical.Key{Namespace: o.Namespace, Name: o.Name}]; err != nil {
			unread = append(unread, fmt.Sprintf("checkpoint %q is left out: %v", o.Name, err))
		} else if written := o.Status.LastUpdateTime.Time; written.After(asOf) {
			asOf = written
		}
	}
	of := vertical.VPA{Key: vertical.Key{Namespace: s.vpa.Namespace, Name: s.vpa.Name}, Policy: s.vpa.Spec.ResourcePolicy}
	for _, pod := range s.Pods {
		of.Pods = append(of.Pods, vertical.Pod{UID: pod.UID, Containers: containersOf(pod)})
	}
	decision := vertical.Decide(vertical.Input{Now: s.now, VPAs: []vertical.VPA{of}, History: history})
	return decision.Recommendations[of.Key], asOf, unread
}

func containersOf(pod *v1.Pod) []string {
	names := make([]string, len(pod.Spec.Containers))
	for i, c := range pod.Spec.Containers {
		names[i] = c.Name
	}
	return names
}

func historyOf(samples int, first, last time.Time, confidence float64) historyReport {
	h := historyReport{Samples: samples, Confidence: confidence}
	if !first.IsZero() {
		h.First, h.Last = &metav1.Time{Time: first}, &metav1.Time{Time: last}
	}
	return h
}

func newSlotReport(slot vertical.Slot, container string, table sizes.Table) slotReport {
	r := slotReport{Slot: slot.Slot, Container: container, Differs: slot.Differs,
		History: historyOf(slot.Samples, slot.First, slot.Last, slot.Confidence)}
	is := slot.Recommended(container)
	for _, of := range slot.Resources {
		r.Resources = append(r.Resources, slotAmountReport{
			amountReport: amountReport{Name: of.Name, Target: amountOf(is.Target, of.Name), LowerBound: amountOf(is.LowerBound, of.Name),
				UpperBound: amountOf(is.UpperBound, of.Name), UncappedTarget: amountOf(is.UncappedTarget, of.Name), CappedBy: of.Cap,
				Created: createdOf(table, slot.Slot, container, of.Name)},
			Own: quantityOf(of.Own.Target, of.Name), Set: quantityOf(of.Set.Target, of.Name), Weight: of.Weight,
		})
	}
	return r
}

// sized are the resources that a VPA recommends, in their order.
func sized() [2]v1.ResourceName { return [2]v1.ResourceName{v1.ResourceCPU, v1.ResourceMemory} }

// amountOf is nil where the list has nothing of the resource.
func amountOf(list v1.ResourceList, name v1.ResourceName) *resource.Quantity {
	if q, ok := list[name]; ok {
		return &q
	}
	return nil
}

// quantityOf is an estimate: thousandths of a core, or bytes.
func quantityOf(amount int64, name v1.ResourceName) *resource.Quantity {
	if name == v1.ResourceCPU {
		return resource.NewMilliQuantity(amount, resource.DecimalSI)
	}
	return resource.NewQuantity(amount, resource.BinarySI)
}
