// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/test/fixture"
)

// conflictAtRunTime: what no policy has stopped is refused while the autoscaler
// runs. The Deployment web has an HPA, and the VPA's CRD is not there yet.
func conflictAtRunTime() features.Feature {
	web, other := fixture.Target("Deployment", "web"), fixture.Target("Deployment", "other")
	return features.New("a conflict that no policy has stopped").
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			s.kubectl(ctx, t, "delete", "-k", filepath.Join(root, "manifests/policies"))
			s.kubectl(ctx, t, "apply", "--server-side", "-f", filepath.Join(bin(), "cluster", "vpa-crd.yaml"))
			s.until(ctx, t, "the API of the VPA", func(ctx context.Context) (string, bool, error) {
				_, err := s.VPA.AutoscalingV1().VerticalPodAutoscalers(s.Namespace).List(ctx, metav1.ListOptions{})
				return "", err == nil, err
			})
		})).
		Assess("the HPA that acts goes on acting, and both say so", step(func(ctx context.Context, t *testing.T, s scene) {
			s.awaitConsent(ctx, t, s.tryVPA(fixture.VPA("web-sizer", web))) // the policies live on for a moment
			s.create(ctx, t, fixture.VPA("web-sizer", web))
			t.Log(s.awaitVPA(ctx, t, "web-sizer", "TargetHasHPA"))
			t.Log(s.awaitHPA(ctx, t, "web", hpaCondition{"Conflicted", "True", "HoldsTarget"}))
			s.awaitEvent(ctx, t, "VerticalPodAutoscaler", "web-sizer", "TargetHasHPA", `"web"`)
			s.awaitEvent(ctx, t, "HorizontalPodAutoscaler", "web", "HoldsTarget", `"web-sizer"`)
			s.kubectl(ctx, t, "patch", "--namespace", s.Namespace, "hpa", "web", "--type=merge", "--patch", `{"spec":{"minReplicas":3}}`)
			s.awaitReplicas(ctx, t, "web", 3)
		})).
		Assess("a younger HPA does not act on the target of a VPA", step(func(ctx context.Context, t *testing.T, s scene) {
			vpa := fixture.VPA("other-sizer", other)
			s.create(ctx, t, fixture.Workload{Name: "other", Replicas: 1, CPU: "100m"}.Deployment(), vpa)
			s.until(ctx, t, "the VPA to be known, and the older one", func(ctx context.Context) (string, bool, error) {
				is, err := s.VPA.AutoscalingV1().VerticalPodAutoscalers(s.Namespace).Get(ctx, vpa.Name, metav1.GetOptions{})
				if err != nil {
					return "", false, err
				}
				older := time.Since(is.CreationTimestamp.Time) > 2*time.Second // times of objects are in seconds
				return fmt.Sprintf("older %t, conditions %v", older, is.Status.Conditions), older && len(is.Status.Conditions) > 0, nil
			})
			s.create(ctx, t, fixture.Scaler{Name: "other", Target: other, Min: 3, Max: 4, CPUPercent: 50}.HPA())
			t.Log(s.awaitHPA(ctx, t, "other", hpaCondition{"Conflicted", "True", "TargetHasVPA"}))
			s.awaitEvent(ctx, t, "HorizontalPodAutoscaler", "other", "TargetHasVPA", `"other-sizer"`)
			s.stays(ctx, t, "one replica", 12*time.Second, s.wantsReplicas("other", 1))
		})).
		Assess("the refusal ends with the conflict", step(func(ctx context.Context, t *testing.T, s scene) {
			if err := s.VPA.AutoscalingV1().VerticalPodAutoscalers(s.Namespace).Delete(ctx, "other-sizer", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			s.awaitReplicas(ctx, t, "other", 3)
			s.until(ctx, t, "the end of the condition", func(ctx context.Context) (string, bool, error) {
				hpa, err := s.Kube.AutoscalingV2().HorizontalPodAutoscalers(s.Namespace).Get(ctx, "other", metav1.GetOptions{})
				if err != nil {
					return "", false, err
				}
				for _, c := range hpa.Status.Conditions {
					if c.Type == "Conflicted" {
						return c.Message, false, nil
					}
				}
				return "", true, nil
			})
		})).
		Feature()
}

// conflictOlderThanPolicies: web has an HPA and a VPA, from before the policies.
func conflictOlderThanPolicies() features.Feature {
	const finalizer = "e2e.berth.dev/hold"
	return features.New("a conflict that is older than the policies").
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			s.kubectl(ctx, t, "apply", "--server-side", "-k", filepath.Join(root, "manifests/policies"))
			s.awaitRefusal(ctx, t, s.tryVPA(fixture.VPA("another", fixture.Target("Deployment", "web"))), "Deployment/web")
		})).
		Assess("both can still be labelled", step(func(ctx context.Context, t *testing.T, s scene) {
			s.kubectl(ctx, t, "label", "--namespace", s.Namespace, "hpa", "web", "seen=yes")
			s.kubectl(ctx, t, "label", "--namespace", s.Namespace, "vpa", "web-sizer", "seen=yes")
		})).
		Assess("the HPA can be deleted, finalizers included", step(func(ctx context.Context, t *testing.T, s scene) {
			hpas := s.Kube.AutoscalingV2().HorizontalPodAutoscalers(s.Namespace)
			s.kubectl(ctx, t, "patch", "--namespace", s.Namespace, "hpa", "web", "--type=merge", "--patch", fmt.Sprintf(`{"metadata":{"finalizers":[%q]}}`, finalizer))
			if err := hpas.Delete(ctx, "web", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			s.kubectl(ctx, t, "patch", "--namespace", s.Namespace, "hpa", "web", "--type=merge", "--patch", `{"metadata":{"finalizers":null}}`)
			s.until(ctx, t, "the end of the HPA", func(ctx context.Context) (string, bool, error) {
				_, err := hpas.Get(ctx, "web", metav1.GetOptions{})
				if apierrors.IsNotFound(err) {
					return "", true, nil
				}
				return "still there", false, err
			})
		})).
		Assess("the VPA is free then", step(func(ctx context.Context, t *testing.T, s scene) {
			s.awaitVPA(ctx, t, "web-sizer", "")
		})).
		Feature()
}

// awaitVPA waits until the Conflicted condition of a VPA has the reason, and
// returns its message; an empty reason is no condition.
func (s scene) awaitVPA(ctx context.Context, t *testing.T, name, reason string) string {
	t.Helper()
	var message string
	s.until(ctx, t, fmt.Sprintf("condition Conflicted of VPA %s with reason %q", name, reason), func(ctx context.Context) (string, bool, error) {
		vpa, err := s.VPA.AutoscalingV1().VerticalPodAutoscalers(s.Namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return "", false, err
		}
		seen := ""
		for _, c := range vpa.Status.Conditions {
			if c.Type == "Conflicted" {
				seen, message = c.Reason, c.Message
			}
		}
		return seen + ": " + message, seen == reason, nil
	})
	return message
}
