// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package vertical

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
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

func isOff(p *vpav1.ContainerResourcePolicy) bool {
	return p != nil && p.Mode != nil && *p.Mode == vpav1.ContainerScalingModeOff
}

func controls(p *vpav1.ContainerResourcePolicy, name corev1.ResourceName) bool {
	return p == nil || p.ControlledResources == nil || slices.Contains(*p.ControlledResources, name)
}

// limit keeps target and bounds between the allowed minimum and maximum, where the
// maximum wins and zero is none; the uncapped target stays as it is.
func limit(r *vpav1.RecommendedContainerResources, p *vpav1.ContainerResourcePolicy) {
	if p == nil {
		return
	}
	for _, list := range []corev1.ResourceList{r.Target, r.LowerBound, r.UpperBound} {
		for name, q := range list {
			if least, ok := p.MinAllowed[name]; ok && q.Cmp(least) < 0 {
				q = least
			}
			if most, ok := p.MaxAllowed[name]; ok && !most.IsZero() && q.Cmp(most) > 0 {
				q = most
			}
			list[name] = q
		}
	}
}
