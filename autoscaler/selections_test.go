// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"

	"github.com/berth-dev/berth/autoscaler/config"
)

// vpaOf is an acting VPA of a target.
func vpaOf(name, apiVersion, kind, target string) *vpav1.VerticalPodAutoscaler {
	vpa := webVPA(name, true)
	vpa.Spec.TargetRef.APIVersion, vpa.Spec.TargetRef.Kind, vpa.Spec.TargetRef.Name = apiVersion, kind, target
	return vpa
}

// A Ring selects the pods that have its name as label app.
func TestATargetThatSelectsThePodsOfAnotherIsRefused(t *testing.T) {
	bare := webPod(9)
	bare.Name, bare.UID, bare.Labels, bare.OwnerReferences = "bare", "bare", map[string]string{"app": "Ring000"}, nil
	for name, tc := range map[string]struct {
		ring string
		vpa  *vpav1.VerticalPodAutoscaler
		says string
	}{
		"which a Deployment owns":    {ring: "web", vpa: webVPA("sizes", true), says: "Ring/web (which selects pods of Deployment/web)"},
		"which nobody owns":          {ring: "Ring000", vpa: vpaOf("sizes", "example.com/v1", "Loop", "Ring000"), says: "Ring/Ring000 (which selects pods of Pod/bare)"},
		"and none of it, is allowed": {ring: "Ring001", vpa: webVPA("sizes", true)},
	} {
		t.Run(name, func(t *testing.T) {
			customs := &customTargets{read: map[string]int{}}
			rings := hpasOf("Ring", 1)
			rings[0].Spec.ScaleTargetRef.Name = tc.ring
			scene{customs: customs, hpas: rings, vpas: []runtime.Object{tc.vpa}, objects: []runtime.Object{bare.DeepCopy()}}.perform(t, func(s *stage) {
				s.apis.set("depth", 10, 0)
				s.pass(16 * time.Second)
				says := func() string { return condition(s.hpa(rings[0].Name), config.Conflicted).Message }
				if got := says(); (tc.says == "") != (got == "") || !strings.Contains(got, tc.says) {
					t.Errorf("the HPA says %q, want %q", got, tc.says)
				}
				if got := customs.read["rings/"+tc.ring]; got != 2 {
					t.Errorf("%d reads of the scale at the start and in one period, want 2", got)
				}
				// The pod is away for as long as it takes to be made again.
				if err := s.kube.CoreV1().Pods("prod").Delete(t.Context(), "bare", metav1.DeleteOptions{}); err != nil {
					t.Fatal(err)
				}
				s.pass(15 * time.Second)
				if got := says(); !strings.Contains(got, tc.says) {
					t.Errorf("without a pod the HPA says %q", got)
				}
			})
		})
	}
}

// Where no conflict can be nothing is read for it, and what is read for it is read once.
func TestScalesAreReadOnceInAPeriod(t *testing.T) {
	for name, vpas := range map[string][]runtime.Object{
		"beside no VPA": nil,
		"beside a VPA":  {webVPA("sizes", true)},
	} {
		t.Run(name, func(t *testing.T) {
			customs := &customTargets{read: map[string]int{}}
			rings := hpasOf("Ring", 3)
			scene{customs: customs, hpas: rings, vpas: vpas}.perform(t, func(s *stage) {
				s.apis.set("depth", 10, 0)
				s.pass(5 * time.Second)
				atFirst := len(vpas)
				for range 10 {
					s.conductor.Wake()
					s.pass(2 * time.Second)
				}
				s.pass(24 * time.Second)
				for _, ring := range rings {
					if got := customs.read["rings/"+ring.Name]; got != atFirst+3 {
						t.Errorf("%s was read %d times in 49 s, want %d", ring.Name, got, atFirst+3)
					}
				}
			})
		})
	}
}

// An HPA whose target cannot be told from the VPA's does not act on it: the scale that the guard did not see is not used.
func TestNobodyActsOnAScaleThatTheGuardHasNotSeen(t *testing.T) {
	customs := &customTargets{takes: map[string]time.Duration{"rings": time.Hour}, read: map[string]int{}}
	rings := hpasOf("Ring", 1)
	rings[0].Spec.ScaleTargetRef.Name = "web"
	rings[0].Spec.MinReplicas = new(int32(2)) // a reason to act without metrics
	scene{customs: customs, hpas: rings, vpas: []runtime.Object{webVPA("sizes", true)}}.perform(t, func(s *stage) {
		s.pass(time.Minute)
		if got := append(s.said("SuccessfulRescale"), s.said("FailedRescale")...); len(got) > 0 {
			t.Errorf("events %v", got)
		}
		customs.mu.Lock()
		customs.takes = nil
		customs.mu.Unlock()
		s.pass(30 * time.Second)
		if got := append(s.said("SuccessfulRescale"), s.said("FailedRescale")...); len(got) > 0 {
			t.Errorf("events %v once the scale is read", got)
		}
		if c := condition(s.hpa(rings[0].Name), config.Conflicted); c.Reason != "TargetHasVPA" {
			t.Errorf("condition %+v, want TargetHasVPA", c)
		}
	})
}
