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
		for j := range c.Slots {
			if set := recommendedTo(s.vpa, c.ContainerName); set != nil {
				fillIn(&c.Slots[j], *set, table)
			}
			r.Slots = append(r.Slots, newSlotReport(c.Slots[j], c.ContainerName, table))
		}
	}
	return known
}

func recommendedTo(vpa *vpav1.VerticalPodAutoscaler, container string) *vpav1.RecommendedContainerResources {
	if vpa.Status.Recommendation == nil {
		return nil
	}
	all := vpa.Status.Recommendation.ContainerRecommendations
	if i := slices.IndexFunc(all, func(c vpav1.RecommendedContainerResources) bool { return c.ContainerName == container }); i >= 0 {
		return &all[i]
	}
	return nil
}

// fillIn adds what the checkpoint of a slot does not tell: the memory peak of a day that goes on is not in it. The
// target is what the slot's pod is created with, else the set's; the bounds are the set's.
func fillIn(slot *vertical.Slot, set vpav1.RecommendedContainerResources, table sizes.Table) {
	var all []vertical.SlotResource
	for _, name := range sized() {
		if i := slices.IndexFunc(slot.Resources, func(r vertical.SlotResource) bool { return r.Name == name }); i >= 0 {
			all = append(all, slot.Resources[i])
			continue
		}
		if _, ok := set.Target[name]; !ok {
			continue
		}
		one := vertical.SlotResource{Name: name, Set: vertical.Estimate{Target: estimateOf(set.UncappedTarget, name)},
			Estimate: vertical.Estimate{Target: estimateOf(set.Target, name), LowerBound: estimateOf(set.LowerBound, name), UpperBound: estimateOf(set.UpperBound, name)}}
		own, any := createdOf(table, slot.Slot, set.ContainerName, name), createdOf(table, sizes.AnySlot, set.ContainerName, name)
		if own != nil && own.Request != nil && (any == nil || any.Request == nil || own.Request.Cmp(*any.Request) != 0) {
			one.Target, slot.Differs = estimateOf(v1.ResourceList{name: *own.Request}, name), true
		}
		all = append(all, one)
	}
	slot.Resources = all
}

// estimateOf is an amount as estimates have it.
func estimateOf(list v1.ResourceList, name v1.ResourceName) int64 {
	q := list[name]
	if name == v1.ResourceCPU {
		return q.MilliValue()
	}
	return q.Value()
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
		one := slotAmountReport{
			amountReport: amountReport{Name: of.Name, Target: amountOf(is.Target, of.Name), LowerBound: amountOf(is.LowerBound, of.Name),
				UpperBound: amountOf(is.UpperBound, of.Name), UncappedTarget: amountOf(is.UncappedTarget, of.Name), CappedBy: of.Cap,
				Created: createdOf(table, slot.Slot, container, of.Name)},
			Set: quantityOf(of.Set.Target, of.Name), Weight: of.Weight,
		}
		if of.Own != (vertical.Estimate{}) {
			one.Own = quantityOf(of.Own.Target, of.Name)
		}
		r.Resources = append(r.Resources, one)
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
