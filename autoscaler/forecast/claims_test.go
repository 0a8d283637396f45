// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package forecast

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func class(name string, mode storagev1.VolumeBindingMode, zones ...string) *storagev1.StorageClass {
	c := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name}, VolumeBindingMode: &mode}
	if len(zones) > 0 {
		c.AllowedTopologies = []v1.TopologySelectorTerm{{MatchLabelExpressions: []v1.TopologySelectorLabelRequirement{{Key: "zone", Values: zones}}}}
	}
	return c
}

// Where a volume will be is known before its pod is there, or the pod is held.
func TestClaims(t *testing.T) {
	classes := []*storagev1.StorageClass{
		class("late", storagev1.VolumeBindingWaitForFirstConsumer), class("now", storagev1.VolumeBindingImmediate), class("zonal", storagev1.VolumeBindingImmediate, "a", "b"),
	}
	for name, tc := range map[string]struct {
		class   *string
		usual   string
		pin     []v1.NodeSelectorTerm
		claims  []string
		volumes []string
		want    []v1.NodeSelectorTerm
		held    string
	}{
		"provisioned with the pod":     {class: ptr.To("late"), claims: []string{"data-db-0"}, volumes: []string{"data"}},
		"of the default class":         {usual: "late", claims: []string{"data-db-0"}, volumes: []string{"data"}},
		"provisioned at once":          {class: ptr.To("now")},
		"at once in some zones":        {class: ptr.To("zonal"), want: []v1.NodeSelectorTerm{{MatchExpressions: []v1.NodeSelectorRequirement{{Key: "zone", Operator: v1.NodeSelectorOpIn, Values: []string{"a", "b"}}}}}},
		"and the pod has its own mind": {class: ptr.To("zonal"), pin: []v1.NodeSelectorTerm{{MatchExpressions: []v1.NodeSelectorRequirement{{Key: "disk", Operator: v1.NodeSelectorOpExists}}}}, want: []v1.NodeSelectorTerm{{MatchExpressions: []v1.NodeSelectorRequirement{{Key: "disk", Operator: v1.NodeSelectorOpExists}, {Key: "zone", Operator: v1.NodeSelectorOpIn, Values: []string{"a", "b"}}}}}},
		"of no class":                  {held: "claim data-db-0 names no StorageClass that is there: which volume it gets is known once it has one"},
		"of a class that is not there": {class: ptr.To("gone"), held: "claim data-db-0 names no StorageClass that is there: which volume it gets is known once it has one"},
	} {
		t.Run(name, func(t *testing.T) {
			s := set("db")
			s.Spec.VolumeClaimTemplates[0].Spec.StorageClassName = tc.class
			if tc.pin != nil {
				s.Spec.Template.Spec.Affinity = &v1.Affinity{NodeAffinity: &v1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &v1.NodeSelector{NodeSelectorTerms: tc.pin}}}
			}
			in := on(OfSet(s, 1, nil, nil))
			in.Classes, in.DefaultStorageClass = classes, tc.usual
			d := Decide(in)
			if tc.held != "" {
				if len(d.Pods) > 0 || len(d.Claims) > 0 || len(d.Held) != 1 || d.Held[0].Reason != tc.held {
					t.Errorf("pods %v, claims %v, held %+v, want %q", names(d.Pods), d.Claims, d.Held, tc.held)
				}
				return
			}
			if len(d.Pods) != 1 {
				t.Fatalf("pods %v, held %+v", names(d.Pods), d.Held)
			}
			var claims, volumes []string
			for _, c := range d.Claims {
				claims = append(claims, c.Name)
			}
			for _, v := range d.Pods[0].Spec.Volumes {
				volumes = append(volumes, v.Name)
			}
			if diff := cmp.Diff(tc.claims, claims) + cmp.Diff(tc.volumes, volumes); diff != "" {
				t.Errorf("claims and volumes (-want +got):\n%s", diff)
			}
			var got []v1.NodeSelectorTerm
			if a := d.Pods[0].Spec.Affinity; a != nil {
				got = a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
			}
			if diff := cmp.Diff(tc.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("terms (-want +got):\n%s", diff)
			}
		})
	}
}

// A claim for a volume of the pod alone is the pod's.
func TestEphemeralClaims(t *testing.T) {
	s := set("db")
	s.Spec.VolumeClaimTemplates = nil
	s.Spec.Template.Spec.Volumes = []v1.Volume{{Name: "scratch", VolumeSource: v1.VolumeSource{Ephemeral: &v1.EphemeralVolumeSource{
		VolumeClaimTemplate: &v1.PersistentVolumeClaimTemplate{Spec: v1.PersistentVolumeClaimSpec{StorageClassName: ptr.To("late")}}}}}}
	d := Decide(on(OfSet(s, 2, nil, nil)))
	for i, claim := range d.Claims {
		if !metav1.IsControlledBy(claim, d.Pods[i]) || claim.Name != d.Pods[i].Name+"-scratch" || *claim.Spec.StorageClassName != "late" {
			t.Errorf("claim %+v of pod %s", claim, d.Pods[i].Name)
		}
	}
	if len(d.Claims) != 2 {
		t.Errorf("%d claims, want one for each pod", len(d.Claims))
	}
	s.Spec.Template.Spec.ResourceClaims = []v1.PodResourceClaim{{Name: "gpu", ResourceClaimTemplateName: ptr.To("gpus")}}
	d = Decide(on(OfSet(s, 2, nil, nil)))
	if len(d.Pods) > 0 || len(d.Held) != 1 || d.Held[0].Reason != "its ResourceClaim gpu is made once the pod is there" {
		t.Errorf("pods %v, held %+v", names(d.Pods), d.Held)
	}
}
