// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package actuate carries decisions out: scales, statuses, claims and events. Nodes are
// written by the cloud providers, and everything else by nobody.
//
// It decides nothing. Leader election has no fencing, so each write says what it
// was decided upon, and is refused where that has changed since.
package actuate

import (
	"context"
	"fmt"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	vpaclient "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/client/clientset/versioned/typed/autoscaling.k8s.io/v1"
	autoscalingclient "k8s.io/client-go/kubernetes/typed/autoscaling/v2"
	typedcore "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/scale"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/retry"

	"github.com/berth-dev/berth/autoscaler/config"
	"github.com/berth-dev/berth/plugins/api/v1alpha1"
)

// Event is what a decision tells the people who look at an object.
type Event struct {
	// Type is corev1.EventTypeNormal or corev1.EventTypeWarning.
	Type            string
	Reason, Message string
}

// PolicyStatuses writes the statuses of PlacementPolicies.
type PolicyStatuses interface {
	// UpdateStatus fails with a conflict where the policy was changed meanwhile.
	UpdateStatus(ctx context.Context, policy *v1alpha1.PlacementPolicy) error
}

// Writer writes to the API server.
type Writer struct {
	hpas     autoscalingclient.HorizontalPodAutoscalersGetter
	vpas     vpaclient.AutoscalingV1Interface
	policies PolicyStatuses
	core     typedcore.CoreV1Interface
	scales   scale.ScalesGetter
	events   record.EventRecorder
}

// New returns a writer.
func New(hpas autoscalingclient.HorizontalPodAutoscalersGetter, vpas vpaclient.AutoscalingV1Interface, policies PolicyStatuses, core typedcore.CoreV1Interface, scales scale.ScalesGetter, events record.EventRecorder) *Writer {
	return &Writer{hpas: hpas, vpas: vpas, policies: policies, core: core, scales: scales, events: events}
}

// Scale sets the replicas of a target from one number to another. It fails
// where the target no longer asks for the number that the decision was made upon.
// A target that is still of the version is known to ask for it, and not read again.
func (w *Writer) Scale(ctx context.Context, namespace, name string, resource schema.GroupResource, version string, from, to int32) error {
	scales := w.scales.Scales(namespace)
	if version != "" {
		_, err := scales.Update(ctx, resource, &autoscalingv1.Scale{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, ResourceVersion: version},
			Spec:       autoscalingv1.ScaleSpec{Replicas: to},
		}, metav1.UpdateOptions{})
		if !apierrors.IsConflict(err) {
			return err
		}
	}
	// A conflict alone says little: a status that moves changes the version, too.
	return retry.RetryOnConflict(retry.DefaultRetry, func() error {
		current, err := scales.Get(ctx, resource, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if current.Spec.Replicas != from {
			return fmt.Errorf("%s %q asks for %d replicas, not for the %d that the decision was made upon", resource, name, current.Spec.Replicas, from)
		}
		current.Spec.Replicas = to
		_, err = scales.Update(ctx, resource, current, metav1.UpdateOptions{})
		return err
	})
}

// HPAStatus writes the status of an HPA and, empty for none, its annotation config.ScaleEvents, where they differ from
// what the HPA has. That is one request, so that no status tells of a rescale which is not kept: the status
// subresource of an HPA takes its metadata, too. It fails with a conflict where the HPA is another one by now, or somebody
// else has written one of the two; an edit of anything else is no reason to lose what became of a rescale.
func (w *Writer) HPAStatus(ctx context.Context, hpa *autoscalingv2.HorizontalPodAutoscaler, status autoscalingv2.HorizontalPodAutoscalerStatus, scaleEvents string) error {
	if hpa.Annotations[config.ScaleEvents] == scaleEvents && equality.Semantic.DeepEqual(hpa.Status, status) {
		return nil
	}
	hpas, current, others := w.hpas.HorizontalPodAutoscalers(hpa.Namespace), hpa, false
	again := func(err error) bool { return apierrors.IsConflict(err) && !others }
	return retry.OnError(retry.DefaultRetry, again, func() error {
		updated := current.DeepCopy()
		updated.Status = status
		if scaleEvents == "" {
			delete(updated.Annotations, config.ScaleEvents)
		} else {
			metav1.SetMetaDataAnnotation(&updated.ObjectMeta, config.ScaleEvents, scaleEvents)
		}
		_, err := hpas.UpdateStatus(ctx, updated, metav1.UpdateOptions{})
		if !apierrors.IsConflict(err) {
			return err
		}
		fresh, readErr := hpas.Get(ctx, hpa.Name, metav1.GetOptions{})
		if readErr != nil {
			return readErr
		}
		others = fresh.UID != hpa.UID || fresh.Annotations[config.ScaleEvents] != hpa.Annotations[config.ScaleEvents] || !equality.Semantic.DeepEqual(fresh.Status, hpa.Status)
		current = fresh
		return err
	})
}

// VPAStatus writes the status of a VPA where it differs from what the VPA has.
func (w *Writer) VPAStatus(ctx context.Context, vpa *vpav1.VerticalPodAutoscaler, status vpav1.VerticalPodAutoscalerStatus) error {
	if equality.Semantic.DeepEqual(vpa.Status, status) {
		return nil
	}
	updated := vpa.DeepCopy()
	updated.Status = status
	_, err := w.vpas.VerticalPodAutoscalers(vpa.Namespace).UpdateStatus(ctx, updated, metav1.UpdateOptions{})
	return err
}

// PolicyStatus writes the status that a policy was given.
func (w *Writer) PolicyStatus(ctx context.Context, judged *v1alpha1.PlacementPolicy) error {
	return w.policies.UpdateStatus(ctx, judged)
}

// ReleaseClaim deletes a claim. It fails with a conflict where the claim is
// another one by now, or anything about it has changed.
func (w *Writer) ReleaseClaim(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	return w.core.PersistentVolumeClaims(claim.Namespace).Delete(ctx, claim.Name, metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &claim.UID, ResourceVersion: &claim.ResourceVersion},
	})
}

// Event tells of a decision on an object.
func (w *Writer) Event(object runtime.Object, event Event) {
	w.events.Event(object, event.Type, event.Reason, event.Message)
}
