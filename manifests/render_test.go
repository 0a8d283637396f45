// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package manifests_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	autoscaler "github.com/berth-dev/berth/autoscaler/config"
	"github.com/berth-dev/berth/autoscaler/observe"
	"github.com/berth-dev/berth/autoscaler/simulator"
)

// installed is what `kubectl apply -k` makes of a folder, as far as its parts
// name each other.
type installed struct {
	configs     map[string]*v1.ConfigMap
	roles       []*rbacv1.Role
	deployments []*appsv1.Deployment
}

func render(t *testing.T, folder string) installed {
	t.Helper()
	rendered, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
	if err != nil {
		t.Fatalf("%s: %v", folder, err)
	}
	all := installed{configs: map[string]*v1.ConfigMap{}}
	for _, resource := range rendered.Resources() {
		object, err := resource.Map()
		if err != nil {
			t.Fatal(err)
		}
		gvk := schema.FromAPIVersionAndKind(resource.GetApiVersion(), resource.GetKind())
		into := func(typed any) {
			if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object, typed, true); err != nil {
				t.Fatalf("%s: %s %s: %v", folder, gvk.Kind, resource.GetName(), err)
			}
		}
		switch gvk.GroupKind() {
		case v1.SchemeGroupVersion.WithKind("ConfigMap").GroupKind():
			config := &v1.ConfigMap{}
			into(config)
			all.configs[config.Name] = config
		case rbacv1.SchemeGroupVersion.WithKind("Role").GroupKind():
			role := &rbacv1.Role{}
			into(role)
			all.roles = append(all.roles, role)
		case appsv1.SchemeGroupVersion.WithKind("Deployment").GroupKind():
			deployment := &appsv1.Deployment{}
			into(deployment)
			all.deployments = append(all.deployments, deployment)
		}
	}
	return all
}

// Every folder renders, every configuration that is mounted is there, and the
// lease that it names may be taken: kustomize gives names to what it generates,
// wherever it believes to see them.
func TestWhatIsInstalledMayLead(t *testing.T) {
	folders, err := filepath.Glob("*/kustomization.yaml")
	if err != nil {
		t.Fatal(err)
	}
	deeper, err := filepath.Glob("*/*/kustomization.yaml")
	if err != nil {
		t.Fatal(err)
	}
	elections := 0
	for _, file := range append(folders, deeper...) {
		folder := filepath.Dir(file)
		t.Run(folder, func(t *testing.T) {
			all := render(t, folder)
			for _, deployment := range all.deployments {
				for _, volume := range deployment.Spec.Template.Spec.Volumes {
					if volume.ConfigMap != nil && all.configs[volume.ConfigMap.Name] == nil {
						t.Errorf("Deployment %s mounts ConfigMap %s, which is not there", deployment.Name, volume.ConfigMap.Name)
					}
				}
			}
			for name, config := range all.configs {
				election := electionOf(t, config.Data["config.yaml"])
				elections++
				if lacks := all.lacks(election); lacks != "" {
					t.Errorf("ConfigMap %s: %s", name, lacks)
				}
			}
		})
	}
	if elections < 3 {
		t.Errorf("%d configurations were found, want those of both programs and that of the overlay", elections)
	}
}

// Whatever file a configuration names is mounted, for reading only, where it says.
func TestFilesOfConfigurationsAreMounted(t *testing.T) {
	for _, folder := range []string{"autoscaler", "overlays/externalgrpc", "overlays/clusterapi-management"} {
		t.Run(folder, func(t *testing.T) {
			all := render(t, folder)
			if len(all.deployments) != 1 || len(all.configs) != 1 {
				t.Fatalf("%d deployments and %d configurations, want one of each", len(all.deployments), len(all.configs))
			}
			pod := all.deployments[0].Spec.Template.Spec
			for _, config := range all.configs {
				parsed, err := autoscaler.Parse([]byte(config.Data["config.yaml"]))
				if err != nil {
					t.Fatal(err)
				}
				n := parsed.Nodes
				for _, file := range []string{n.SchedulerConfigFile, n.ClusterAPI.Kubeconfig, n.ExternalGRPC.CAFile, n.ExternalGRPC.CertFile, n.ExternalGRPC.KeyFile} {
					if volume := mounted(pod, file); file != "" && (volume == nil || volume.Secret == nil && config.Data[filepath.Base(file)] == "") {
						t.Errorf("%s is not mounted: %v", file, volume)
					}
				}
			}
		})
	}
}

// mounted returns the volume that a file is in, if it can not be written.
func mounted(pod v1.PodSpec, file string) *v1.Volume {
	for _, mount := range pod.Containers[0].VolumeMounts {
		if i := slices.IndexFunc(pod.Volumes, func(v v1.Volume) bool { return v.Name == mount.Name }); mount.MountPath == filepath.Dir(file) && mount.ReadOnly && i >= 0 {
			return &pod.Volumes[i]
		}
	}
	return nil
}

// electionOf returns the lease that a configuration of either program names.
func electionOf(t *testing.T, text string) types.NamespacedName {
	t.Helper()
	if strings.Contains(text, "kind: "+autoscaler.Kind) {
		parsed, err := autoscaler.Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return types.NamespacedName{Namespace: parsed.LeaderElection.ResourceNamespace, Name: parsed.LeaderElection.ResourceName}
	}
	parsed, err := simulator.ParseConfiguration([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return types.NamespacedName{Namespace: parsed.LeaderElection.ResourceNamespace, Name: parsed.LeaderElection.ResourceName}
}

// lacks returns which right to the lease of an election there is not.
func (i installed) lacks(election types.NamespacedName) string {
	for _, verb := range []string{"get", "update"} {
		if !slices.ContainsFunc(i.roles, func(role *rbacv1.Role) bool {
			return role.Namespace == election.Namespace && slices.ContainsFunc(role.Rules, func(rule rbacv1.PolicyRule) bool {
				return slices.Contains(rule.Resources, "leases") && slices.Contains(rule.Verbs, verb) && slices.Contains(rule.ResourceNames, election.Name)
			})
		}) {
			return "nobody may " + verb + " lease " + election.String()
		}
	}
	return ""
}

// The autoscaler may read the Lease of another namespace, wherever the rest is installed.
func TestTheAutoscalerSeesUpstreamsUpdater(t *testing.T) {
	for _, folder := range []string{"autoscaler", "autoscaler/rbac"} {
		if !slices.ContainsFunc(render(t, folder).roles, func(role *rbacv1.Role) bool {
			return role.Namespace == observe.AdmissionLeaseNamespace && slices.ContainsFunc(role.Rules, func(rule rbacv1.PolicyRule) bool {
				return slices.Equal(rule.Resources, []string{"leases"}) && slices.Equal(rule.Verbs, []string{"get"}) && slices.Equal(rule.ResourceNames, []string{observe.AdmissionLease})
			})
		}) {
			t.Errorf("%s: nobody may get lease %s/%s, and nothing else there", folder, observe.AdmissionLeaseNamespace, observe.AdmissionLease)
		}
	}
}
