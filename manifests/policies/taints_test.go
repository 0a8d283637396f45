// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package policies_test

import (
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
)

// The right of the autoscaler to patch nodes is one to its own taint, and nobody else's right is touched.
func TestTheAutoscalerWritesItsOwnTaintOnly(t *testing.T) {
	present := documents(t, "../autoscaler/rbac/taints.yaml")
	for _, object := range present {
		if policy, ok := object.(*admissionv1.ValidatingAdmissionPolicy); ok {
			setDefaults(policy.Spec.MatchConstraints)
		}
	}
	s := newServer(t, settings{}, present...)
	const autoscaler, taint = "system:serviceaccount:berth-system:berth-autoscaler", "ToBeDeletedByClusterAutoscaler"
	ours := corev1.Taint{Key: taint, Value: "berth.dev_1767268800", Effect: corev1.TaintEffectNoSchedule}
	theirs := corev1.Taint{Key: taint, Value: "1767268800", Effect: corev1.TaintEffectNoSchedule}
	other := corev1.Taint{Key: "dedicated", Value: "db", Effect: corev1.TaintEffectNoSchedule}
	with := func(taints ...corev1.Taint) func(*corev1.Node) {
		return func(n *corev1.Node) { n.Spec.Taints = taints }
	}
	for name, tc := range map[string]struct {
		user        string
		old, new    func(*corev1.Node)
		subresource string
		refused     bool
	}{
		"its taint":                  {old: with(other), new: with(other, ours)},
		"its taint, the first one":   {old: with(), new: with(ours)},
		"its taint no more":          {old: with(other, ours), new: with(other)},
		"its last taint no more":     {old: with(ours), new: with()},
		"another taint":              {old: with(), new: with(other), refused: true},
		"another taint no more":      {old: with(other, ours), new: with(), refused: true},
		"Cluster Autoscaler's":       {old: with(), new: with(theirs), refused: true},
		"theirs no more":             {old: with(theirs), new: with(), refused: true},
		"a cordon":                   {old: with(), new: func(n *corev1.Node) { n.Spec.Unschedulable = true }, refused: true},
		"a label":                    {old: with(), new: func(n *corev1.Node) { n.Labels = map[string]string{"x": "y"} }, refused: true},
		"an annotation":              {old: with(), new: func(n *corev1.Node) { n.Annotations = map[string]string{"x": "y"} }, refused: true},
		"a finalizer":                {old: with(), new: func(n *corev1.Node) { n.Finalizers = []string{"x.io/y"} }, refused: true},
		"a taint of somebody else's": {user: "system:node:n1", old: with(), new: with(other)},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.user == "" {
				tc.user = autoscaler
			}
			node := func(change func(*corev1.Node)) *corev1.Node {
				n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Spec: corev1.NodeSpec{ProviderID: "kwok://n1"}}
				change(n)
				return n
			}
			before, after := s.untyped(t, node(tc.old)), s.untyped(t, node(tc.new))
			err := s.admit.Validate(t.Context(), admission.NewAttributesRecord(after, before, after.GroupVersionKind(), "", "n1",
				corev1.SchemeGroupVersion.WithResource("nodes"), tc.subresource, admission.Update, nil, false, &user.DefaultInfo{Name: tc.user}),
				admission.NewObjectInterfacesFromScheme(s.scheme))
			if refused := err != nil; refused != tc.refused {
				t.Errorf("refused: %v, want %v", err, tc.refused)
			}
		})
	}
}
