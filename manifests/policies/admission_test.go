// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package policies_test

import (
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
)

type (
	hpaV1 = autoscalingv1.HorizontalPodAutoscaler
	hpaV2 = autoscalingv2.HorizontalPodAutoscaler
	vpaV1 = vpav1.VerticalPodAutoscaler
)

// ref is a target written as "apps/v1 Deployment web".
func ref(target string) (apiVersion, kind, name string) {
	parts := strings.Split(target, " ")
	return parts[0], parts[1], parts[2]
}

func in(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name}
}

func hpa(target string) *hpaV2 {
	v, k, n := ref(target)
	return &hpaV2{ObjectMeta: in("prod", "front"), Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
		ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: v, Kind: k, Name: n}}}
}

func oldHPA(target string) *hpaV1 {
	v, k, n := ref(target)
	return &hpaV1{ObjectMeta: in("prod", "front"), Spec: autoscalingv1.HorizontalPodAutoscalerSpec{
		ScaleTargetRef: autoscalingv1.CrossVersionObjectReference{APIVersion: v, Kind: k, Name: n}}}
}

func vpa(target string, mode vpav1.UpdateMode) *vpaV1 {
	v, k, n := ref(target)
	o := &vpaV1{ObjectMeta: in("prod", "sizes"), Spec: vpav1.VerticalPodAutoscalerSpec{
		TargetRef: &autoscalingv1.CrossVersionObjectReference{APIVersion: v, Kind: k, Name: n}}}
	if mode != "" {
		o.Spec.UpdatePolicy = &vpav1.PodUpdatePolicy{UpdateMode: &mode}
	}
	return o
}

// edited is a copy of the object with other metadata.
func edited[T metav1.Object](o T, edit func(T)) T { edit(o); return o }

// madeBy is the reference to a controller.
func madeBy(kind, name string) []metav1.OwnerReference {
	return []metav1.OwnerReference{{APIVersion: "example.com/v1", Kind: "Other", Name: "other"}, {APIVersion: "example.com/v1", Kind: kind, Name: name, Controller: new(true)}}
}

const (
	web       = "apps/v1 Deployment web"
	set       = "apps/v1 StatefulSet db"
	byHPA     = `target Deployment/web already has HorizontalPodAutoscaler "front": `
	byVPA     = `target Deployment/web already has VerticalPodAutoscaler "sizes": `
	recreate  = vpav1.UpdateModeRecreate
	initial   = vpav1.UpdateModeInitial
	switchOff = vpav1.UpdateModeOff
)

// missing is a reference without apiVersion.
const missing = " Deployment web"

func TestAdmission(t *testing.T) {
	recommendOnly := settings{edit: func(p *admissionv1.ValidatingAdmissionPolicy) {
		if len(p.Spec.Variables) > 0 && p.Spec.Variables[0].Name == "recommendOnly" {
			p.Spec.Variables[0].Expression = "true"
		}
	}}
	labelled := func(o metav1.Object) { o.SetLabels(map[string]string{"team": "a"}) }
	tests := map[string]struct {
		settings settings
		present  []runtime.Object
		old, new runtime.Object
		refused  string
	}{
		"VPA beside HPA":                       {present: []runtime.Object{hpa(web)}, new: vpa(web, recreate), refused: byHPA},
		"VPA without mode":                     {present: []runtime.Object{hpa(web)}, new: vpa(web, ""), refused: byHPA},
		"VPA in mode Off":                      {present: []runtime.Object{hpa(web)}, new: vpa(web, switchOff), refused: byHPA},
		"VPA alone":                            {new: vpa(web, recreate)},
		"VPA beside HPA of another name":       {present: []runtime.Object{hpa("apps/v1 Deployment web-2")}, new: vpa(web, recreate)},
		"VPA beside HPA of another kind":       {present: []runtime.Object{hpa("apps/v1 StatefulSet web")}, new: vpa(web, recreate)},
		"VPA beside HPA of another group":      {present: []runtime.Object{hpa("example.com/v1 Deployment web")}, new: vpa(web, recreate)},
		"VPA beside HPA of another version":    {present: []runtime.Object{hpa("apps/v1beta1 Deployment web")}, new: vpa(web, recreate), refused: byHPA},
		"VPA beside HPA of the core group":     {present: []runtime.Object{hpa("v1 Deployment web")}, new: vpa(web, recreate)},
		"both of the core group":               {present: []runtime.Object{hpa("v1 ReplicationController web")}, new: vpa("v1 ReplicationController web", recreate), refused: `target ReplicationController/web already has`},
		"VPA without apiVersion":               {present: []runtime.Object{hpa(web)}, new: vpa(missing, recreate), refused: byHPA},
		"HPA stands without apiVersion":        {present: []runtime.Object{hpa(missing)}, new: vpa(web, recreate), refused: byHPA},
		"VPA beside an HPA of another's space": {present: []runtime.Object{edited(hpa(web), func(o *hpaV2) { o.Namespace = "test" })}, new: vpa(web, recreate)},
		"VPA beside the second of two HPAs": {
			present: []runtime.Object{edited(hpa(set), func(o *hpaV2) { o.Name = "a" }), hpa(web)}, new: vpa(web, recreate), refused: byHPA},
		"VPA where both are allowed": {
			present: []runtime.Object{edited(hpa(web), func(o *hpaV2) { o.Namespace = "both" })},
			new:     edited(vpa(web, recreate), func(o *vpaV1) { o.Namespace = "both" })},
		"VPA beside KEDA's HPA": {
			present: []runtime.Object{edited(hpa(web), func(o *hpaV2) { o.OwnerReferences = madeBy("ScaledObject", "queue") })}, new: vpa(web, recreate),
			refused: `delete or change ScaledObject "queue", which makes it, first, or label`},
		"HPA beside an operator's VPA": {
			present: []runtime.Object{edited(vpa(web, recreate), func(o *vpaV1) { o.OwnerReferences = madeBy("Database", "db") })}, new: hpa(web),
			refused: `delete or change Database "db", which makes it, first, or label`},
		"VPA beside HPA that somebody owns": {
			present: []runtime.Object{edited(hpa(web), func(o *hpaV2) { o.OwnerReferences = []metav1.OwnerReference{{Kind: "App", Name: "app"}} })}, new: vpa(web, recreate),
			refused: `stateful ones; delete it first, or label`},
		"VPA Off where that is allowed":       {settings: recommendOnly, present: []runtime.Object{hpa(web)}, new: vpa(web, switchOff)},
		"VPA Recreate where Off is allowed":   {settings: recommendOnly, present: []runtime.Object{hpa(web)}, new: vpa(web, recreate), refused: byHPA},
		"VPA without mode where Off may be":   {settings: recommendOnly, present: []runtime.Object{hpa(web)}, new: vpa(web, ""), refused: byHPA},
		"VPA switched on where Off may be":    {settings: recommendOnly, present: []runtime.Object{hpa(web)}, old: vpa(web, switchOff), new: vpa(web, recreate), refused: byHPA},
		"VPA turns to the HPA's target":       {present: []runtime.Object{hpa(web)}, old: vpa(set, recreate), new: vpa(web, recreate), refused: byHPA},
		"VPA turns to its kind":               {present: []runtime.Object{hpa(web)}, old: vpa("apps/v1 StatefulSet web", recreate), new: vpa(web, recreate), refused: byHPA},
		"VPA turns to its group":              {present: []runtime.Object{hpa(web)}, old: vpa("example.com/v1 Deployment web", recreate), new: vpa(web, recreate), refused: byHPA},
		"VPA turns away":                      {present: []runtime.Object{hpa(web)}, old: vpa(web, recreate), new: vpa(set, recreate)},
		"VPA in conflict is switched on":      {present: []runtime.Object{hpa(web)}, old: vpa(web, switchOff), new: vpa(web, recreate), refused: byHPA},
		"VPA in conflict changes its mode":    {present: []runtime.Object{hpa(web)}, old: vpa(web, initial), new: vpa(web, recreate), refused: byHPA},
		"VPA in conflict is switched off":     {present: []runtime.Object{hpa(web)}, old: vpa(web, recreate), new: vpa(web, switchOff)},
		"VPA in conflict is labelled":         {present: []runtime.Object{hpa(web)}, old: vpa(web, recreate), new: edited(vpa(web, recreate), func(o *vpaV1) { labelled(o) })},
		"VPA in conflict changes version":     {present: []runtime.Object{hpa(web)}, old: vpa(web, recreate), new: vpa("apps/v1beta1 Deployment web", recreate)},
		"VPA in conflict loses a finalizer":   {present: []runtime.Object{hpa(web)}, old: edited(vpa(web, ""), func(o *vpaV1) { o.Finalizers = []string{"example.com/x"} }), new: vpa(web, "")},
		"HPA beside VPA":                      {present: []runtime.Object{vpa(web, recreate)}, new: hpa(web), refused: byVPA},
		"HPA of autoscaling/v1 beside VPA":    {present: []runtime.Object{vpa(web, recreate)}, new: oldHPA(web), refused: byVPA},
		"HPA beside VPA without mode":         {present: []runtime.Object{vpa(web, "")}, new: hpa(web), refused: byVPA},
		"HPA beside VPA Off":                  {present: []runtime.Object{vpa(web, switchOff)}, new: hpa(web), refused: byVPA},
		"HPA beside VPA Off, allowed":         {settings: recommendOnly, present: []runtime.Object{vpa(web, switchOff)}, new: hpa(web)},
		"HPA beside VPA on, Off is allowed":   {settings: recommendOnly, present: []runtime.Object{vpa(web, "")}, new: hpa(web), refused: byVPA},
		"HPA alone":                           {new: hpa(web)},
		"HPA beside VPA of another name":      {present: []runtime.Object{vpa("apps/v1 Deployment web-2", "")}, new: hpa(web)},
		"HPA beside VPA of another kind":      {present: []runtime.Object{vpa("apps/v1 StatefulSet web", "")}, new: hpa(web)},
		"HPA beside VPA of another group":     {present: []runtime.Object{vpa("example.com/v1 Deployment web", "")}, new: hpa(web)},
		"HPA beside VPA of another version":   {present: []runtime.Object{vpa("apps/v1beta1 Deployment web", "")}, new: hpa(web), refused: byVPA},
		"HPA without apiVersion":              {present: []runtime.Object{vpa(web, "")}, new: hpa(missing), refused: byVPA},
		"VPA stands without apiVersion":       {present: []runtime.Object{vpa(missing, "")}, new: hpa(web), refused: byVPA},
		"HPA beside a VPA of another's space": {present: []runtime.Object{edited(vpa(web, ""), func(o *vpaV1) { o.Namespace = "test" })}, new: hpa(web)},
		"HPA where both are allowed": {
			present: []runtime.Object{edited(vpa(web, ""), func(o *vpaV1) { o.Namespace = "both" })},
			new:     edited(hpa(web), func(o *hpaV2) { o.Namespace = "both" })},
		"HPA turns to the VPA's target":     {present: []runtime.Object{vpa(web, "")}, old: hpa(set), new: hpa(web), refused: byVPA},
		"HPA turns to its kind":             {present: []runtime.Object{vpa(web, "")}, old: hpa("apps/v1 ReplicaSet web"), new: hpa(web), refused: byVPA},
		"HPA turns to its group":            {present: []runtime.Object{vpa(web, "")}, old: hpa("example.com/v1 Deployment web"), new: hpa(web), refused: byVPA},
		"HPA turns away":                    {present: []runtime.Object{vpa(web, "")}, old: hpa(web), new: hpa(set)},
		"HPA in conflict is labelled":       {present: []runtime.Object{vpa(web, "")}, old: hpa(web), new: edited(hpa(web), func(o *hpaV2) { labelled(o) })},
		"HPA in conflict changes maximum":   {present: []runtime.Object{vpa(web, "")}, old: hpa(web), new: edited(hpa(web), func(o *hpaV2) { o.Spec.MaxReplicas = 9 })},
		"HPA in conflict changes version":   {present: []runtime.Object{vpa(web, "")}, old: hpa(web), new: hpa("apps/v1beta1 Deployment web")},
		"HPA in conflict loses a finalizer": {present: []runtime.Object{vpa(web, "")}, old: edited(hpa(web), func(o *hpaV2) { o.Finalizers = []string{"example.com/x"} }), new: hpa(web)},
		"HPA without the VPA CRD":           {settings: settings{withoutCRD: true}, new: hpa(web)},
		"HPA turns without the VPA CRD":     {settings: settings{withoutCRD: true}, old: hpa(set), new: hpa(web)},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, tc.settings, tc.present...)
			write := func() ([]string, error) { return s.create(t, tc.new) }
			if tc.old != nil {
				write = func() ([]string, error) { return s.update(t, tc.old, tc.new) }
			}
			switch _, err := write(); {
			case tc.refused == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tc.refused != "" && err == nil:
				t.Errorf("passed, want a refusal that says %q", tc.refused)
			case tc.refused != "" && !strings.Contains(err.Error(), tc.refused):
				t.Errorf("refused with %q, want it to say %q", err, tc.refused)
			}
		})
	}
}

func TestAdvice(t *testing.T) {
	db := func(claims int) *appsv1.StatefulSet {
		s := &appsv1.StatefulSet{ObjectMeta: in("prod", "db")}
		s.Spec.VolumeClaimTemplates = make([]corev1.PersistentVolumeClaim, claims)
		return s
	}
	tests := map[string]struct {
		present []runtime.Object
		new     runtime.Object
		want    string
	}{
		"HPA on a set with claims":    {present: []runtime.Object{db(1)}, new: hpa(set), want: "StatefulSet/db has volume claims"},
		"HPA on a set without claims": {present: []runtime.Object{db(0)}, new: hpa(set)},
		"HPA on a missing set":        {new: hpa(set)},
		"HPA on a Deployment":         {present: []runtime.Object{db(1)}, new: hpa("apps/v1 Deployment db")},
		"VPA on a Deployment":         {new: vpa(web, recreate), want: "Deployment/web can add replicas"},
		"VPA on a set":                {present: []runtime.Object{db(1)}, new: vpa(set, recreate)},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			said, err := newServer(t, settings{}, tc.present...).create(t, tc.new)
			if err != nil {
				t.Errorf("advice refuses: %v", err)
			}
			if got := strings.Join(said, "\n"); (tc.want == "") != (got == "") || !strings.Contains(got, tc.want) {
				t.Errorf("warning is %q, want %q", got, tc.want)
			}
		})
	}
}

// With failure policy Ignore an expression that fails to compile admits everything in
// silence, so failures count as refusals here.
func TestExpressionsNeverFail(t *testing.T) {
	strict := settings{edit: func(p *admissionv1.ValidatingAdmissionPolicy) {
		fail := admissionv1.Fail
		p.Spec.FailurePolicy = &fail
	}}
	elsewhere := newServer(t, strict, hpa(set), vpa("apps/v1 Deployment other", ""), &appsv1.StatefulSet{ObjectMeta: in("prod", "db")})
	conflict := newServer(t, strict, hpa(web), vpa(web, ""))
	for name, o := range map[string]runtime.Object{
		"HPA": hpa(web), "HPA of autoscaling/v1": oldHPA(web), "HPA on a set": hpa(set),
		"VPA": vpa(web, recreate), "VPA without mode": vpa(web, ""),
	} {
		said, err := elsewhere.create(t, o)
		if err != nil && !strings.Contains(err.Error(), "already has") {
			t.Errorf("%s, created: %v", name, err)
		}
		if warned := strings.Join(said, "\n"); strings.Contains(warned, "resulted in error") {
			t.Errorf("%s, created: %s", name, warned)
		}
		if _, err := conflict.update(t, o, o); err != nil {
			t.Errorf("%s, updated: %v", name, err)
		}
	}
}

// recommend-only/ patches the first variable by its position.
func TestRecommendOnlyComesFirst(t *testing.T) {
	for _, file := range []string{"vpa-not-with-hpa.yaml", "hpa-not-with-vpa.yaml"} {
		p := documents(t, file)[0].(*admissionv1.ValidatingAdmissionPolicy)
		if v := p.Spec.Variables[0]; v.Name != "recommendOnly" || v.Expression != "false" {
			t.Errorf("%s: first variable is %+v", file, v)
		}
	}
}

// A policy that refuses must never stand in the way when it cannot be evaluated, and
// must be bound to every param of the request's namespace.
func TestManifests(t *testing.T) {
	for _, o := range policies(t, nil, false) {
		switch o := o.(type) {
		case *admissionv1.ValidatingAdmissionPolicy:
			if o.Spec.FailurePolicy == nil || *o.Spec.FailurePolicy != admissionv1.Ignore {
				t.Errorf("policy %s does not ignore failures", o.Name)
			}
		case *admissionv1.ValidatingAdmissionPolicyBinding:
			r := o.Spec.ParamRef
			if r != nil && (r.Namespace != "" || r.Selector == nil || *r.ParameterNotFoundAction != admissionv1.AllowAction) {
				t.Errorf("binding %s reads params by %+v", o.Name, r)
			}
		}
	}
}
