// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/e2e-framework/pkg/features"
	"sigs.k8s.io/yaml"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
)

// TestPolicyRefusal: the API server itself refuses a policy with an invalid
// field, and names the field.
func TestPolicyRefusal(t *testing.T) {
	t.Parallel()
	testenv.Test(t, features.New("the examples of the API").
		Assess("invalid ones are refused, field and reason named", step(func(ctx context.Context, t *testing.T, s scene) {
			for name, text := range examples(t, "invalid") {
				t.Run(name, func(t *testing.T) {
					// The first line: "# spec.quorum: must be None, Majority, or a number".
					first, _, _ := strings.Cut(text, "\n")
					field, words, _ := strings.Cut(strings.TrimPrefix(first, "# "), ":")
					err := s.tryPolicy(ctx, t, text)
					if !apierrors.IsInvalid(err) || !blames(err, field, strings.TrimSpace(words)) {
						t.Errorf("the API server says %v, want %q", err, first)
					}
				})
			}
		})).
		Assess("valid ones are taken", step(func(ctx context.Context, t *testing.T, s scene) {
			for name, text := range examples(t, "valid") {
				t.Run(name, func(t *testing.T) {
					if err := s.tryPolicy(ctx, t, text); err != nil {
						t.Error(err)
					}
				})
			}
		})).
		Assess("what is not said gets its default", step(func(ctx context.Context, t *testing.T, s scene) {
			s.kubectl(ctx, t, "apply", "--namespace", s.Namespace, "-f", filepath.Join(root, examplesDir, "valid/empty-sections.yaml"))
			var list v1alpha1.PlacementPolicyList
			if err := s.Objects.WithNamespace(s.Namespace).List(ctx, &list); err != nil || len(list.Items) != 1 {
				t.Fatalf("%d policies, want 1: %v", len(list.Items), err)
			}
			// The rest is compared where schema and defaults are.
			spec := list.Items[0].Spec
			if spec.SeparateNodes != v1alpha1.SeparateNone || spec.Spread == nil || spec.Spread.TopologyKey != "topology.kubernetes.io/zone" {
				t.Errorf("the spec is %+v", spec)
			}
		})).
		Feature())
}

const examplesDir = "plugins/api/v1alpha1/testdata"

// examples are the policies of a folder, by the names of their files.
func examples(t *testing.T, folder string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, examplesDir, folder, "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples in %s: %v", folder, err)
	}
	texts := map[string]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		texts[filepath.Base(file)] = string(text)
	}
	return texts
}

// tryPolicy asks the API server for a policy as it is written, and stores nothing.
func (s scene) tryPolicy(ctx context.Context, t *testing.T, text string) error {
	t.Helper()
	body, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s.Kube.CoreV1().RESTClient().Post().
		AbsPath("apis", v1alpha1.GroupName, "v1alpha1", "namespaces", s.Namespace, v1alpha1.Resource).
		Param("dryRun", metav1.DryRunAll).Param("fieldValidation", metav1.FieldValidationStrict).
		SetHeader("Content-Type", "application/json").Body(body).Do(ctx).Error()
}

// blames tells whether a refusal names the field, with the words.
func blames(err error, field, words string) bool {
	status, ok := err.(apierrors.APIStatus)
	if !ok || status.Status().Details == nil {
		return false
	}
	for _, cause := range status.Status().Details.Causes {
		if cause.Field == field && strings.Contains(cause.Message, words) {
			return true
		}
	}
	return false
}
