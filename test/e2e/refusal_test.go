// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"testing"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/test/fixture"
)

// dryRun asks the API server, admission included, and stores nothing.
var dryRun = metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}

// TestRefusalAtAdmission: the API server itself refuses an HPA and a VPA on one target.
func TestRefusalAtAdmission(t *testing.T) {
	t.Parallel()
	web, db, free := fixture.Target("Deployment", "web"), fixture.Target("StatefulSet", "db"), fixture.Target("Deployment", "free")
	hpa := fixture.Scaler{Name: "web-scaler", Target: web, Min: 1, Max: 3, CPUPercent: 50}
	vpa := fixture.VPA("db-sizer", db)
	testenv.Test(t, features.New("an HPA and a VPA on one target").
		Assess("a VPA is refused where an HPA is", step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, hpa.HPA())
			// The policy knows other objects from a watch, so a moment later.
			s.awaitRefusal(ctx, t, s.tryVPA(fixture.VPA("web-sizer", web)), "web-scaler")
			_, err := s.VPA.AutoscalingV1().VerticalPodAutoscalers(s.Namespace).Create(ctx, fixture.VPA("web-sizer", web), metav1.CreateOptions{})
			refused(t, err, "Deployment/web", "HorizontalPodAutoscaler", "web-scaler")
		})).
		Assess("an HPA is refused where a VPA is", step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, vpa)
			other := fixture.Scaler{Name: "db-scaler", Target: db, Min: 1, Max: 3, CPUPercent: 50}
			s.awaitRefusal(ctx, t, s.tryHPA(other.HPA()), "db-sizer")
			_, err := s.Kube.AutoscalingV2().HorizontalPodAutoscalers(s.Namespace).Create(ctx, other.HPA(), metav1.CreateOptions{})
			refused(t, err, "StatefulSet/db", "VerticalPodAutoscaler", "db-sizer")
		})).
		Assess("a change of the VPA's target is refused", step(func(ctx context.Context, t *testing.T, s scene) {
			ref := autoscalingv1.CrossVersionObjectReference(web)
			err := s.updateVPA(ctx, vpa.Name, func(moved *vpav1.VerticalPodAutoscaler) { moved.Spec.TargetRef = &ref })
			refused(t, err, "Deployment/web", "web-scaler")
		})).
		Assess("a change of the HPA's target is refused", step(func(ctx context.Context, t *testing.T, s scene) {
			hpas := s.Kube.AutoscalingV2().HorizontalPodAutoscalers(s.Namespace)
			refused(t, retry.RetryOnConflict(retry.DefaultBackoff, func() error {
				moved, err := hpas.Get(ctx, hpa.Name, metav1.GetOptions{})
				if err != nil {
					return err
				}
				moved.Spec.ScaleTargetRef = db
				_, err = hpas.Update(ctx, moved, metav1.UpdateOptions{})
				return err
			}), "StatefulSet/db", "db-sizer")
		})).
		Assess("both may be on targets of their own, and change in other ways", step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, fixture.VPA("free-sizer", free))
			if err := s.updateVPA(ctx, vpa.Name, func(labelled *vpav1.VerticalPodAutoscaler) {
				labelled.Labels = map[string]string{"seen": "yes"}
			}); err != nil {
				t.Error(err)
			}
		})).
		Feature())
}

// updateVPA changes a VPA, though its status is being written meanwhile.
func (s scene) updateVPA(ctx context.Context, name string, change func(*vpav1.VerticalPodAutoscaler)) error {
	vpas := s.VPA.AutoscalingV1().VerticalPodAutoscalers(s.Namespace)
	return retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		vpa, err := vpas.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		change(vpa)
		_, err = vpas.Update(ctx, vpa, metav1.UpdateOptions{})
		return err
	})
}

// tryHPA and tryVPA ask whether the API server would take one, and store nothing.
func (s scene) tryHPA(hpa *autoscalingv2.HorizontalPodAutoscaler) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := s.Kube.AutoscalingV2().HorizontalPodAutoscalers(s.Namespace).Create(ctx, hpa, dryRun)
		return err
	}
}

func (s scene) tryVPA(vpa *vpav1.VerticalPodAutoscaler) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := s.VPA.AutoscalingV1().VerticalPodAutoscalers(s.Namespace).Create(ctx, vpa, dryRun)
		return err
	}
}

// awaitRefusal waits until the API server refuses what try asks for, with all the words: it
// refuses everything while it is not ready, and may fail for any reason. Try stores nothing.
func (s scene) awaitRefusal(ctx context.Context, t *testing.T, try func(context.Context) error, words ...string) {
	t.Helper()
	s.until(ctx, t, fmt.Sprintf("a refusal that says %q", words), func(ctx context.Context) (string, bool, error) {
		err := try(ctx)
		if err == nil {
			return "it would be taken", false, nil
		}
		return err.Error(), apierrors.IsForbidden(err) && containsAll(err.Error(), words), nil
	})
}

// awaitConsent waits until the API server takes what try asks for.
func (s scene) awaitConsent(ctx context.Context, t *testing.T, try func(context.Context) error) {
	t.Helper()
	s.until(ctx, t, "it to be taken", func(ctx context.Context) (string, bool, error) {
		err := try(ctx)
		return fmt.Sprint(err), err == nil, nil
	})
}
