// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package resize

import (
	"fmt"
	"maps"
	"math"
	"math/big"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
)

// Sizes are requests and limits of cpu and memory by container.
type Sizes map[string]v1.ResourceRequirements

// resizable are the resources that a pod can be resized in, in the order of reasons.
func resizable() []v1.ResourceName { return []v1.ResourceName{v1.ResourceCPU, v1.ResourceMemory} }

// sizesOf are the sizes that the spec asks for.
func sizesOf(containers []v1.Container) Sizes {
	out := Sizes{}
	for _, c := range containers {
		out[c.Name] = v1.ResourceRequirements{Requests: only(c.Resources.Requests), Limits: only(c.Resources.Limits)}
	}
	return out
}

// only keeps cpu and memory.
func only(list v1.ResourceList) v1.ResourceList {
	var out v1.ResourceList
	for _, name := range resizable() {
		if q, ok := list[name]; ok {
			if out == nil {
				out = v1.ResourceList{}
			}
			out[name] = q.DeepCopy()
		}
	}
	return out
}

// amount is a quantity in thousandths of a core, or in bytes.
func amount(name v1.ResourceName, q resource.Quantity) int64 {
	if name == v1.ResourceCPU {
		return q.MilliValue()
	}
	return q.Value()
}

// same tells whether two lists say the same about cpu and memory; nothing and zero are one.
func same(a, b v1.ResourceList) bool {
	for _, name := range resizable() {
		if amount(name, a[name]) != amount(name, b[name]) {
			return false
		}
	}
	return true
}

func sameSize(a, b v1.ResourceRequirements) bool {
	return same(a.Requests, b.Requests) && same(a.Limits, b.Limits)
}

// in tells whether all of these sizes are those of the pod.
func (s Sizes) in(all Sizes) bool {
	for name, size := range s {
		if have, ok := all[name]; !ok || !sameSize(size, have) {
			return false
		}
	}
	return true
}

// equal tells whether two sizes are about the same containers and say the same.
func (s Sizes) equal(other Sizes) bool { return len(s) == len(other) && s.in(other) }

// near tells whether requests differ by no more than rounding: a thousandth of a core,
// and less than a page. Limits that are scaled down, and the bounds that are scaled
// back from them, lose a unit each time, and no pod restarts for that.
func near(a, b v1.ResourceList) bool {
	within := func(name v1.ResourceName, unit resource.Quantity) bool {
		x, hasX := a[name]
		y, hasY := b[name]
		if hasX != hasY || x.Cmp(y) == 0 {
			return hasX == hasY
		}
		small, large := smaller(x, y).DeepCopy(), larger(x, y)
		small.Add(unit)
		return large.Cmp(small) <= 0
	}
	return within(v1.ResourceCPU, *resource.NewMilliQuantity(1, resource.DecimalSI)) &&
		within(v1.ResourceMemory, *resource.NewQuantity(4095, resource.BinarySI))
}

// nearly tells whether all has these sizes but for rounding. Limits are in the ratio that the
// pod has, which each resize rounds, the more the smaller they are, and a re-created one gets
// the ratio of its template. Limits that the policy does not control are the template's.
func (s Sizes) nearly(all Sizes, policies *vpav1.PodResourcePolicy) bool {
	for name, size := range s {
		other, ok := all[name]
		if !ok || !near(size.Requests, other.Requests) {
			return false
		}
		if requestsOnly(policyFor(policies, name)) {
			continue
		}
		for r, part := range map[v1.ResourceName]int64{v1.ResourceCPU: 5, v1.ResourceMemory: 100} {
			a, b := amount(r, size.Limits[r]), amount(r, other.Limits[r])
			if low, high := min(a, b), max(a, b); high-low > max(1, high/part) {
				return false
			}
		}
	}
	return true
}

// without leaves out the containers that have the size of base already.
func (s Sizes) without(base Sizes) Sizes {
	out := Sizes{}
	for name, size := range s {
		if !near(size.Requests, base[name].Requests) {
			out[name] = size
		}
	}
	return out
}

// grows tells whether some container requests more than in base.
func (s Sizes) grows(base Sizes) bool {
	for name, size := range s {
		for _, r := range resizable() {
			if q := size.Requests[r]; q.Cmp(base[name].Requests[r]) > 0 {
				return true
			}
		}
	}
	return false
}

// lower tells whether some container requests less than in other.
func (s Sizes) lower(other Sizes) bool {
	for name, size := range other {
		if mine, ok := s[name]; ok {
			for _, r := range resizable() {
				if q := mine.Requests[r]; q.Cmp(size.Requests[r]) < 0 {
					return true
				}
			}
		}
	}
	return false
}

// backTo are the sizes that undo these. A value that was not there can not be taken
// away by a resize (validateContainerResize), so it becomes zero, which means the same.
func (s Sizes) backTo(before Sizes) Sizes {
	restore := func(now, then v1.ResourceList) v1.ResourceList {
		out := only(then)
		for _, r := range resizable() {
			if _, ok := now[r]; !ok {
				continue
			}
			if out == nil {
				out = v1.ResourceList{}
			}
			if _, ok := out[r]; !ok {
				out[r] = resource.Quantity{}
			}
		}
		return out
	}
	out := Sizes{}
	for name, size := range s {
		out[name] = v1.ResourceRequirements{Requests: restore(size.Requests, before[name].Requests), Limits: restore(size.Limits, before[name].Limits)}
	}
	return out
}

// applied is a copy of the pod with these sizes.
func (s Sizes) applied(pod *v1.Pod) *v1.Pod {
	out := pod.DeepCopy()
	for i := range out.Spec.Containers {
		c := &out.Spec.Containers[i]
		size, ok := s[c.Name]
		if !ok {
			continue
		}
		for _, r := range resizable() {
			if q, ok := size.Requests[r]; ok {
				put(&c.Resources.Requests, r, q)
			}
			if q, ok := size.Limits[r]; ok {
				put(&c.Resources.Limits, r, q)
			}
		}
	}
	return out
}

func put(list *v1.ResourceList, name v1.ResourceName, q resource.Quantity) {
	if *list == nil {
		*list = v1.ResourceList{}
	}
	(*list)[name] = q
}

// Describe tells what changes, for people: "db: memory 1Gi to 2Gi (limit 2Gi to 4Gi)".
func (s Sizes) Describe(from Sizes) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(s)) {
		for _, r := range resizable() {
			old, size := from[name], s[name]
			was, now := old.Requests[r], size.Requests[r]
			lwas, lnow := old.Limits[r], size.Limits[r]
			if was.Cmp(now) == 0 && lwas.Cmp(lnow) == 0 {
				continue
			}
			low, high := legible(was, now)
			part := fmt.Sprintf("%s: %s %s to %s", name, r, low, high)
			if !lwas.IsZero() || !lnow.IsZero() {
				low, high = legible(lwas, lnow)
				part += fmt.Sprintf(" (limit %s to %s)", low, high)
			}
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, ", ")
}

// legible are two amounts for people: those that have more digits than anybody reads are rounded to mebibytes, unless
// they would look the same then.
func legible(a, b resource.Quantity) (string, string) {
	if x, y := rounded(a), rounded(b); x != y {
		return x, y
	}
	return a.String(), b.String()
}

func rounded(q resource.Quantity) string {
	const mebi, most = 1 << 20, 6
	if text := q.String(); len(text) <= most || q.Value() < mebi {
		return text
	}
	return resource.NewQuantity((q.Value()+mebi/2)/mebi*mebi, resource.BinarySI).String()
}

// policyFor is the policy that names the container, else the one for all, else nil.
func policyFor(p *vpav1.PodResourcePolicy, name string) *vpav1.ContainerResourcePolicy {
	if p == nil {
		return nil
	}
	for _, wanted := range []string{name, vpav1.DefaultContainerResourcePolicy} {
		i := slices.IndexFunc(p.ContainerPolicies, func(c vpav1.ContainerResourcePolicy) bool { return c.ContainerName == wanted })
		if i >= 0 {
			return &p.ContainerPolicies[i]
		}
	}
	return nil
}

func requestsOnly(p *vpav1.ContainerResourcePolicy) bool {
	return p != nil && p.ControlledValues != nil && *p.ControlledValues == vpav1.ContainerControlledValuesRequestsOnly
}

func isOff(p *vpav1.ContainerResourcePolicy) bool {
	return p != nil && p.Mode != nil && *p.Mode == vpav1.ContainerScalingModeOff
}

// scaled is q * by / of, in thousandths of a core for cpu and in bytes for memory. It
// is rounded down, as upstream's limits are.
func scaled(name v1.ResourceName, q, by, of resource.Quantity) resource.Quantity {
	out, _ := divided(name, q, by, of)
	return out
}

// scaledUp is the same, rounded up.
func scaledUp(name v1.ResourceName, q, by, of resource.Quantity) resource.Quantity {
	out, rest := divided(name, q, by, of)
	switch {
	case !rest:
	case name == v1.ResourceCPU:
		out.Add(*resource.NewMilliQuantity(1, out.Format))
	default:
		out.Add(*resource.NewQuantity(1, out.Format))
	}
	return out
}

// divided is q * by / of, and whether a rest was left out.
func divided(name v1.ResourceName, q, by, of resource.Quantity) (resource.Quantity, bool) {
	value := func(q resource.Quantity) *big.Int { return big.NewInt(amount(name, q)) }
	n, divisor, rest := new(big.Int).Mul(value(q), value(by)), value(of), new(big.Int)
	if divisor.Sign() == 0 {
		return q, false
	}
	n.QuoRem(n, divisor, rest)
	result := int64(math.MaxInt64)
	if n.IsInt64() {
		result = n.Int64()
	}
	if name == v1.ResourceCPU {
		return *resource.NewMilliQuantity(result, q.Format), rest.Sign() != 0
	}
	return *resource.NewQuantity(result, q.Format), rest.Sign() != 0
}
