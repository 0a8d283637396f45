// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package vertical

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
)

// policyFor is the policy that names the container, else the one for all, else nil.
func policyFor(p *vpav1.PodResourcePolicy, name string) *vpav1.ContainerResourcePolicy {
	if p == nil {
		return nil
	}
	for _, wanted := range []string{name, vpav1.DefaultContainerResourcePolicy} {
		i := slices.IndexFunc(p.ContainerPolicies, func(c vpav1.ContainerResourcePolicy) bool {
			return c.ContainerName == wanted
		})
		if i >= 0 {
			return &p.ContainerPolicies[i]
		}
	}
	return nil
}

// Controls tells whether a policy lets a resource of a container be recommended.
func Controls(p *vpav1.PodResourcePolicy, container string, name corev1.ResourceName) bool {
	own := policyFor(p, container)
	return !isOff(own) && controls(own, name)
}

func isOff(p *vpav1.ContainerResourcePolicy) bool {
	return p != nil && p.Mode != nil && *p.Mode == vpav1.ContainerScalingModeOff
}

func controls(p *vpav1.ContainerResourcePolicy, name corev1.ResourceName) bool {
	return p == nil || p.ControlledResources == nil || slices.Contains(*p.ControlledResources, name)
}

// rules are how the memory peaks and OOMs of a container are taken in.
type rules struct {
	bumpRatio float64
	leastBump Bytes
	interval  time.Duration
	intervals int64
}

// keptFor is how long a history without samples is kept, where no policy says otherwise.
const keptFor = 8 * 24 * time.Hour

// The longest window is a century: more overflows.
const maxWindow = 100 * 365 * 24 * time.Hour

// window is how long a history without samples is kept.
func (r rules) window() time.Duration {
	if r.intervals > int64(maxWindow/r.interval) {
		return maxWindow
	}
	return r.interval * time.Duration(r.intervals)
}

// rulesOf are upstream's defaults, or what the policy says in their place: the fields that
// upstream has behind its feature gate PerVPAConfig. A value that upstream's admission
// would refuse is not followed, and Ignored tells of it.
func rulesOf(p *vpav1.ContainerResourcePolicy) rules {
	r := rules{bumpRatio: 1.2, leastBump: 100 << 20, interval: 24 * time.Hour, intervals: int64(keptFor / (24 * time.Hour))}
	if p == nil {
		return r
	}
	if q := p.OOMBumpUpRatio; q != nil && q.MilliValue() >= 1000 {
		r.bumpRatio = float64(q.MilliValue()) / 1000
	}
	if q := p.OOMMinBumpUp; q != nil && q.Sign() >= 0 {
		r.leastBump = Bytes(whole(float64(q.MilliValue()) / 1000))
	}
	if s := p.MemoryAggregationIntervalSeconds; s != nil && *s >= 1 {
		r.interval = time.Duration(*s) * time.Second
	}
	if n := p.MemoryAggregationIntervalCount; n != nil && *n >= 1 {
		r.intervals = *n
	}
	return r
}

// Ignored lists what a VPA asks of its recommendation that is not done, one sentence each,
// for its condition ConfigUnsupported.
func Ignored(spec vpav1.VerticalPodAutoscalerSpec) []string {
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if spec.StartupBoost != nil {
		say("spec.startupBoost is not supported: containers start with their recommendation")
	}
	if spec.ResourcePolicy == nil {
		return out
	}
	for _, p := range spec.ResourcePolicy.ContainerPolicies {
		if p.StartupBoost != nil {
			say("startupBoost of container %q is not supported: it starts with its recommendation", p.ContainerName)
		}
		if q := p.OOMBumpUpRatio; q != nil && q.MilliValue() < 1000 {
			say("oomBumpUpRatio %s of container %q is less than 1", q, p.ContainerName)
		}
		if q := p.OOMMinBumpUp; q != nil && q.Sign() < 0 {
			say("oomMinBumpUp %s of container %q is negative", q, p.ContainerName)
		}
		if s := p.MemoryAggregationIntervalSeconds; s != nil && *s < 1 {
			say("memoryAggregationIntervalSeconds %d of container %q is less than 1", *s, p.ContainerName)
		}
		if n := p.MemoryAggregationIntervalCount; n != nil && *n < 1 {
			say("memoryAggregationIntervalCount %d of container %q is less than 1", *n, p.ContainerName)
		}
		if p.ControlledResources != nil {
			for _, name := range *p.ControlledResources {
				if name != corev1.ResourceCPU && name != corev1.ResourceMemory {
					say("resource %q of container %q is neither cpu nor memory", name, p.ContainerName)
				}
			}
		}
	}
	return out
}

// Unmatched says of which container policies the pods have no such container: a typo in a
// name leaves the container that was meant without its bounds.
func Unmatched(policy *vpav1.PodResourcePolicy, containers []string) []string {
	if policy == nil || len(containers) == 0 {
		return nil
	}
	var out []string
	for _, p := range policy.ContainerPolicies {
		if p.ContainerName != vpav1.DefaultContainerResourcePolicy && !slices.Contains(containers, p.ContainerName) {
			out = append(out, fmt.Sprintf("the policy of container %q is for nobody: the pods have %s", p.ContainerName, strings.Join(containers, ", ")))
		}
	}
	return out
}

// Cap is what kept an estimate from being recommended as it was.
type Cap string

// None of the caps is the empty one.
const (
	MinAllowed Cap = "minAllowed"
	MaxAllowed Cap = "maxAllowed"
	// GlobalMaxAllowed is Input.MaxAllowed.
	GlobalMaxAllowed Cap = "maxAllowed of every container"
)

// bounds are the allowed minimum and maximum of one resource of a container.
type bounds struct {
	least, most     *resource.Quantity
	mostBy          Cap
	atLeast, atMost amount
}

// boundsOf reads the bounds of a policy. The VPA's own maximum goes before the global one,
// zero is none.
func boundsOf(p *vpav1.ContainerResourcePolicy, global corev1.ResourceList, name corev1.ResourceName) bounds {
	b := bounds{mostBy: MaxAllowed, atMost: maxAmount}
	if p != nil {
		if q, ok := p.MinAllowed[name]; ok && q.Sign() > 0 {
			b.least, b.atLeast = &q, units(q, name)
		}
		if q, ok := p.MaxAllowed[name]; ok {
			b.most = &q
		}
	}
	if q, ok := global[name]; ok && b.most == nil {
		b.most, b.mostBy = &q, GlobalMaxAllowed
	}
	if b.most != nil && b.most.Sign() <= 0 {
		b.most = nil
	}
	if b.most != nil {
		b.atMost = units(*b.most, name)
		if q := quantity(b.atMost, name); q.Cmp(*b.most) > 0 {
			b.atMost-- // units are rounded up, and a maximum must not be
		}
	}
	return b
}

// cap keeps an amount within the bounds, where the maximum wins, and tells which one did.
func (b bounds) cap(a amount) (amount, Cap) {
	by := Cap("")
	if b.least != nil && a < b.atLeast {
		a, by = b.atLeast, MinAllowed
	}
	if b.most != nil && a > b.atMost {
		a, by = b.atMost, b.mostBy
	}
	return a, by
}

func (b bounds) hold(e Estimate) Estimate {
	at := func(a int64) int64 {
		held, _ := b.cap(amount(a))
		return int64(held)
	}
	return Estimate{Target: at(e.Target), LowerBound: at(e.LowerBound), UpperBound: at(e.UpperBound)}
}

// quantity is the amount within the bounds, written as the bound is where one holds.
func (b bounds) quantity(a amount, name corev1.ResourceName) resource.Quantity {
	switch _, by := b.cap(a); by {
	case "":
		return quantity(a, name)
	case MinAllowed:
		return *b.least
	default:
		return *b.most
	}
}
