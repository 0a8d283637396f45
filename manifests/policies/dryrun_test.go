// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package policies_test

import (
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
)

// The right of the autoscaler to create pods is one to dry runs, and nobody
// else's right is touched.
func TestTheAutoscalerCreatesPodsInDryRunsOnly(t *testing.T) {
	present := documents(t, "../autoscaler/rbac/dry-run.yaml")
	for _, object := range present {
		if policy, ok := object.(*admissionv1.ValidatingAdmissionPolicy); ok {
			setDefaults(policy.Spec.MatchConstraints)
		}
	}
	s := newServer(t, settings{}, present...)
	const autoscaler = "system:serviceaccount:berth-system:berth-autoscaler"
	for name, tc := range map[string]struct {
		user        string
		operation   admission.Operation
		subresource string
		dryRun      bool
		refused     bool
	}{
		"dry run":              {user: autoscaler, operation: admission.Create, dryRun: true},
		"creation":             {user: autoscaler, operation: admission.Create, refused: true},
		"eviction":             {user: autoscaler, operation: admission.Create, subresource: "eviction"},
		"update":               {user: autoscaler, operation: admission.Update},
		"another's creation":   {user: "system:serviceaccount:kube-system:statefulset-controller", operation: admission.Create},
		"of another namespace": {user: "system:serviceaccount:prod:berth-autoscaler", operation: admission.Create},
	} {
		t.Run(name, func(t *testing.T) {
			pod := s.untyped(t, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "db-successor-4"}})
			var old runtime.Object
			if tc.operation == admission.Update {
				old = pod.DeepCopy()
			}
			err := s.admit.Validate(t.Context(), admission.NewAttributesRecord(pod, old, pod.GroupVersionKind(), pod.GetNamespace(), pod.GetName(),
				corev1.SchemeGroupVersion.WithResource("pods"), tc.subresource, tc.operation, nil, tc.dryRun, &user.DefaultInfo{Name: tc.user}),
				admission.NewObjectInterfacesFromScheme(s.scheme))
			if refused := err != nil; refused != tc.refused {
				t.Errorf("refused: %v, want %v", err, tc.refused)
			}
			if err != nil && !strings.Contains(err.Error(), "in dry runs only") {
				t.Errorf("refused for another reason: %v", err)
			}
		})
	}
}
