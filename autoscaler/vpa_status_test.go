// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
)

func TestWhatWasSaidLastStands(t *testing.T) {
	amounts := func(cpu, memory string) corev1.ResourceList {
		list := corev1.ResourceList{}
		if cpu != "" {
			list[corev1.ResourceCPU] = resource.MustParse(cpu)
		}
		if memory != "" {
			list[corev1.ResourceMemory] = resource.MustParse(memory)
		}
		return list
	}
	of := func(container, cpu, memory string) vpav1.RecommendedContainerResources {
		return vpav1.RecommendedContainerResources{ContainerName: container, Target: amounts(cpu, memory), LowerBound: amounts(cpu, memory), UpperBound: amounts(cpu, memory), UncappedTarget: amounts(cpu, memory)}
	}
	cpuOnly := &vpav1.PodResourcePolicy{ContainerPolicies: []vpav1.ContainerResourcePolicy{{ContainerName: "*", ControlledResources: &[]corev1.ResourceName{corev1.ResourceCPU}}}}
	for name, tc := range map[string]struct {
		last      []vpav1.RecommendedContainerResources
		policy    *vpav1.PodResourcePolicy
		now, want vpav1.RecommendedContainerResources
	}{
		"nothing":                         {now: of("app", "1", ""), want: of("app", "1", "")},
		"all is known anew":               {last: []vpav1.RecommendedContainerResources{of("app", "2", "2Gi")}, now: of("app", "1", "1Gi"), want: of("app", "1", "1Gi")},
		"nothing is known of memory":      {last: []vpav1.RecommendedContainerResources{of("app", "2", "2Gi")}, now: of("app", "1", ""), want: of("app", "1", "2Gi")},
		"nobody asks for memory any more": {last: []vpav1.RecommendedContainerResources{of("app", "2", "2Gi")}, policy: cpuOnly, now: of("app", "1", ""), want: of("app", "1", "")},
		"of another container":            {last: []vpav1.RecommendedContainerResources{of("other", "2", "2Gi")}, now: of("app", "1", ""), want: of("app", "1", "")},
	} {
		t.Run(name, func(t *testing.T) {
			last := &vpav1.RecommendedPodResources{ContainerRecommendations: tc.last}
			given := tc.now.DeepCopy()
			if diff := cmp.Diff(tc.want, standing(last, tc.policy, tc.now)); diff != "" {
				t.Errorf("recommendation (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(*given, tc.now); diff != "" {
				t.Errorf("what was decided has changed (-want +got):\n%s", diff)
			}
		})
	}
}
