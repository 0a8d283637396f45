// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package policies_test runs the manifests of this folder through the admission plugin
// of the API server itself, with a fake store behind it: expressions, parameters,
// namespaces and failure policy are what a cluster would see.
package policies_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/initializer"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/util/compatibility"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/apiserver/pkg/warning"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	"k8s.io/client-go/discovery"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/openapi"
	"k8s.io/client-go/openapi/openapitest"
	sigsyaml "sigs.k8s.io/yaml"
)

// documents are the objects of one manifest, decoded strictly.
func documents(t *testing.T, file string) []runtime.Object {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out []runtime.Object
	reader := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
	for {
		doc, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		var kind metav1.TypeMeta
		if err := sigsyaml.Unmarshal(doc, &kind); err != nil {
			t.Fatal(err)
		}
		obj, err := clientscheme.Scheme.New(kind.GroupVersionKind())
		if err != nil {
			t.Fatal(err)
		}
		if err := sigsyaml.UnmarshalStrict(doc, obj); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		out = append(out, obj)
	}
}

// policies are the manifests, with what the API server defaults before it stores them.
func policies(t *testing.T, edit func(*admissionv1.ValidatingAdmissionPolicy), strict bool) []runtime.Object {
	t.Helper()
	var out []runtime.Object
	for _, f := range []string{"vpa-not-with-hpa.yaml", "hpa-not-with-vpa.yaml", "advice.yaml", "pod-sizes.yaml", "vpa-quantities.yaml"} {
		for _, o := range documents(t, f) {
			switch p := o.(type) {
			case *admissionv1.ValidatingAdmissionPolicy:
				setDefaults(p.Spec.MatchConstraints)
				if edit != nil {
					edit(p)
				}
			case *admissionv1.MutatingAdmissionPolicy:
				setDefaults(p.Spec.MatchConstraints)
				if strict {
					fail := admissionv1.Fail
					p.Spec.FailurePolicy = &fail
				}
			}
			out = append(out, o)
		}
	}
	return out
}

func setDefaults(match *admissionv1.MatchResources) {
	equivalent := admissionv1.Equivalent
	match.MatchPolicy, match.ObjectSelector = &equivalent, &metav1.LabelSelector{}
	if match.NamespaceSelector == nil {
		match.NamespaceSelector = &metav1.LabelSelector{}
	}
}

// server is the admission chain of an API server.
type server struct {
	mutate *mutating.Plugin
	admit  *validating.Plugin
	scheme *runtime.Scheme
}

// settings of a server.
type settings struct {
	withoutCRD bool
	// strict lets no error in pod-sizes.yaml pass as a pod that has no size.
	strict bool
	edit   func(*admissionv1.ValidatingAdmissionPolicy)
}

// newServer starts a server that holds the policies and the objects present.
func newServer(t *testing.T, set settings, present ...runtime.Object) server {
	t.Helper()
	s := server{scheme: runtime.NewScheme()}
	for _, add := range []func(*runtime.Scheme) error{clientscheme.AddToScheme, vpav1.AddToScheme} {
		if err := add(s.scheme); err != nil {
			t.Fatal(err)
		}
	}
	native := append(policies(t, set.edit, set.strict),
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "prod"}},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "test"}},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
			Name: "both", Labels: map[string]string{"berth.dev/allow-hpa-with-vpa": "true"}}})
	var custom []runtime.Object
	for _, o := range present {
		if _, ok := o.(*vpav1.VerticalPodAutoscaler); ok {
			custom = append(custom, s.untyped(t, o))
		} else {
			native = append(native, o)
		}
	}
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(autoscalingv2.SchemeGroupVersion.WithKind("HorizontalPodAutoscaler"), meta.RESTScopeNamespace)
	mapper.Add(appsv1.SchemeGroupVersion.WithKind("StatefulSet"), meta.RESTScopeNamespace)
	if !set.withoutCRD {
		mapper.Add(vpav1.SchemeGroupVersion.WithKind("VerticalPodAutoscaler"), meta.RESTScopeNamespace)
	}
	var err error
	if s.mutate, err = mutating.NewPlugin(nil); err != nil {
		t.Fatal(err)
	}
	if s.admit, err = validating.NewPlugin(nil); err != nil {
		t.Fatal(err)
	}
	client := described{fake.NewClientset(native...)}
	factory := informers.NewSharedInformerFactory(client, 0)
	with := initializer.New(client, dynamicfake.NewSimpleDynamicClient(s.scheme, custom...), factory, allowAll{},
		utilfeature.DefaultFeatureGate, compatibility.DefaultBuildEffectiveVersion(), t.Context().Done(), mapper)
	for _, plugin := range []interface {
		admission.Interface
		admission.InitializationValidator
	}{s.mutate, s.admit} {
		with.Initialize(plugin)
		if err := plugin.ValidateInitialization(); err != nil {
			t.Fatal(err)
		}
	}
	factory.Start(t.Context().Done())
	factory.WaitForCacheSync(t.Context().Done())
	return s
}

// described is a client that knows the schemas of the API, too: no pod is patched without.
type described struct{ *fake.Clientset }

func (d described) Discovery() discovery.DiscoveryInterface {
	return schemas{d.Clientset.Discovery()}
}

type schemas struct{ discovery.DiscoveryInterface }

func (schemas) OpenAPIV3() openapi.Client { return openapitest.NewEmbeddedFileClient() }

// create and update ask for a write; what comes back is the refusal and the warnings.
func (s server) create(t *testing.T, object runtime.Object) ([]string, error) {
	t.Helper()
	return s.send(t, admission.Create, s.untyped(t, object), nil)
}

func (s server) update(t *testing.T, old, object runtime.Object) ([]string, error) {
	t.Helper()
	return s.send(t, admission.Update, s.untyped(t, object), s.untyped(t, old))
}

func (s server) send(t *testing.T, operation admission.Operation, object *unstructured.Unstructured, old runtime.Object) ([]string, error) {
	t.Helper()
	gvk := object.GroupVersionKind()
	resource := gvk.GroupVersion().WithResource(strings.ToLower(gvk.Kind) + "s")
	heard := &warnings{}
	err := s.admit.Validate(warning.WithWarningRecorder(t.Context(), heard),
		admission.NewAttributesRecord(object, old, gvk, object.GetNamespace(), object.GetName(), resource, "", operation, nil, false, nil),
		admission.NewObjectInterfacesFromScheme(s.scheme))
	return heard.texts, err
}

func (s server) untyped(t *testing.T, o runtime.Object) *unstructured.Unstructured {
	t.Helper()
	kinds, _, err := s.scheme.ObjectKinds(o)
	if err != nil {
		t.Fatal(err)
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{Object: content}
	u.SetGroupVersionKind(kinds[0])
	return u
}

type warnings struct{ texts []string }

func (w *warnings) AddWarning(_, text string) { w.texts = append(w.texts, text) }

type allowAll struct{}

func (allowAll) Authorize(context.Context, authorizer.Attributes) (authorizer.Decision, string, error) {
	return authorizer.DecisionAllow, "", nil
}
