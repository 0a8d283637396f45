// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/berth-dev/berth/plugins"
	"github.com/berth-dev/berth/plugins/policies"
	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/component-helpers/auth/rbac/validation"
	"k8s.io/kubernetes/pkg/scheduler/apis/config"
	configscheme "k8s.io/kubernetes/pkg/scheduler/apis/config/scheme"
	configvalidation "k8s.io/kubernetes/pkg/scheduler/apis/config/validation"
	"k8s.io/kubernetes/pkg/scheduler/backend/cache"
	schedulerplugins "k8s.io/kubernetes/pkg/scheduler/framework/plugins"
	schedulerruntime "k8s.io/kubernetes/pkg/scheduler/framework/runtime"
	"k8s.io/kubernetes/pkg/scheduler/metrics"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac/bootstrappolicy"
)

const manifests = "../../manifests/scheduler"

// decode reads the manifest documents of a file, and refuses fields that the
// API does not know.
func decode(t *testing.T, path string, decoder runtime.Decoder) []runtime.Object {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(manifests, path))
	if err != nil {
		t.Fatal(err)
	}
	var objects []runtime.Object
	for _, document := range bytes.Split(content, []byte("\n---\n")) {
		obj, _, err := decoder.Decode(document, nil, nil)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		objects = append(objects, obj)
	}
	return objects
}

func TestConfigBuildsItsProfile(t *testing.T) {
	cfg := decode(t, "config.yaml", configscheme.Codecs.UniversalDecoder())[0].(*config.KubeSchedulerConfiguration)
	if err := configvalidation.ValidateKubeSchedulerConfiguration(cfg); err != nil {
		t.Errorf("config.yaml is not valid: %v", err)
	}

	metrics.Register() // the framework counts its plugins
	registry := schedulerplugins.NewInTreeRegistry()
	if err := registry.Merge(plugins.Registry(plugins.NewShared(policies.NewBook()))); err != nil {
		t.Fatal(err)
	}
	client := fake.NewClientset()
	framework, err := schedulerruntime.NewFramework(t.Context(), registry, &cfg.Profiles[0],
		schedulerruntime.WithClientSet(client),
		schedulerruntime.WithInformerFactory(informers.NewSharedInformerFactory(client, 0)),
		schedulerruntime.WithSnapshotSharedLister(cache.NewEmptySnapshot()))
	if err != nil {
		t.Fatal(err)
	}
	enabled := framework.ListPlugins()
	if got := enabled.PreFilter.Enabled[len(enabled.PreFilter.Enabled)-1].Name; got != "VolumeAffinity" {
		t.Errorf("last in PreFilter is %s, want VolumeAffinity", got)
	}
	first := []string{enabled.Filter.Enabled[0].Name, enabled.Filter.Enabled[1].Name}
	if diff := cmp.Diff([]string{"VolumeAffinity", "OrdinalPlacement"}, first); diff != "" {
		t.Errorf("first in Filter (-want +got):\n%s", diff)
	}
	var after []string
	for _, p := range enabled.PostFilter.Enabled {
		after = append(after, p.Name)
	}
	if after[0] != "OrdinalPlacement" || !slices.Contains(after, "QuorumGuard") || slices.Contains(after, "DefaultPreemption") {
		t.Errorf("PostFilter is %v, want OrdinalPlacement first, and QuorumGuard in place of DefaultPreemption", after)
	}
	weights := map[string]int32{}
	rest := int32(0)
	for _, p := range enabled.Score.Enabled {
		if weights[p.Name] = p.Weight; p.Name != "OrdinalPlacement" && p.Name != "SlotHold" {
			rest += p.Weight
		}
	}
	if weights["OrdinalPlacement"] <= rest || weights["SlotHold"] <= rest {
		t.Errorf("weights are %v: together, others decide against OrdinalPlacement or SlotHold", weights)
	}
	if reserve := enabled.Reserve.Enabled; !slices.ContainsFunc(reserve, func(p config.Plugin) bool { return p.Name == "OrdinalPlacement" }) {
		t.Errorf("OrdinalPlacement is not in Reserve: %v", reserve)
	}
}

func TestManifestsDecodeStrictly(t *testing.T) {
	strict := serializer.NewCodecFactory(clientscheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	err := filepath.WalkDir(manifests, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || entry.Name() == "kustomization.yaml" || entry.Name() == "config.yaml" {
			return err
		}
		decode(t, strings.TrimPrefix(path, manifests), strict)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A scheduler that may do less than upstream's fails at run time, in the
// feature that somebody has just turned on.
func TestRoleCoversUpstreams(t *testing.T) {
	strict := serializer.NewCodecFactory(clientscheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	ours := decode(t, "rbac/clusterrole.yaml", strict)[0].(*rbacv1.ClusterRole).Rules
	elsewhere := func(rule rbacv1.PolicyRule) bool { // the lock is in role.yaml; group extensions has no replicasets any more
		return slices.Contains(rule.APIGroups, "coordination.k8s.io") || slices.Contains(rule.APIGroups, "extensions")
	}
	for _, role := range bootstrappolicy.ClusterRoles() {
		if role.Name != "system:kube-scheduler" && role.Name != "system:volume-scheduler" {
			continue
		}
		_, missing := validation.Covers(ours, slices.DeleteFunc(slices.Clone(role.Rules), elsewhere))
		for _, rule := range missing {
			t.Errorf("%s may also %v", role.Name, rule)
		}
	}
}
