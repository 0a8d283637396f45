// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package manifests_test

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/kubernetes/pkg/scheduler/apis/config"

	"github.com/berth-dev/berth/autoscaler/simulator"
	"github.com/berth-dev/berth/plugins/ordinalplacement"
)

// What replaces kube-scheduler places all pods as the scheduler beside it places
// those that ask for it: the names and the lease are others, and sets that did
// not ask for anything have no policy.
func TestReplacementHasTheShippedProfileTwice(t *testing.T) {
	shipped, replacing := configuration(t, "scheduler/config.yaml"), configuration(t, "overlays/replace/config.yaml")
	if len(shipped.Profiles) != 1 {
		t.Fatalf("%d profiles are shipped, want 1", len(shipped.Profiles))
	}
	want := shipped.DeepCopy()
	want.LeaderElection.ResourceNamespace, want.LeaderElection.ResourceName = "kube-system", "kube-scheduler"
	others := shipped.Profiles[0].DeepCopy()
	others.SchedulerName = v1.DefaultSchedulerName
	for i := range others.PluginConfig {
		if others.PluginConfig[i].Name == ordinalplacement.Name {
			others.PluginConfig[i].Args = &runtime.Unknown{Raw: []byte(`{"defaultPolicy":{}}`), ContentType: runtime.ContentTypeJSON}
		}
	}
	want.Profiles = append(want.Profiles, *others)
	if diff := cmp.Diff(want, replacing); diff != "" {
		t.Errorf("overlays/replace/config.yaml (-want +got):\n%s", diff)
	}
}

// What is simulated is what runs.
func TestSimulationHasTheShippedProfile(t *testing.T) {
	if diff := cmp.Diff(configuration(t, "scheduler/config.yaml"), configuration(t, "autoscaler/scheduler.yaml")); diff != "" {
		t.Errorf("autoscaler/scheduler.yaml (-want +got):\n%s", diff)
	}
}

func configuration(t *testing.T, path string) *config.KubeSchedulerConfiguration {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := simulator.ParseConfiguration(data)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return parsed
}
