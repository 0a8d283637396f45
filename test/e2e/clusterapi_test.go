// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
	discoverycache "k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/scale"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/autoscaler/cloud"
	"github.com/berth-dev/berth/autoscaler/cloud/cloudtest"
	"github.com/berth-dev/berth/autoscaler/cloud/clusterapi"
	"github.com/berth-dev/berth/test/fixture"
)

// TestClusterAPI runs the conformance suite of providers against the CRDs of
// Cluster API, with the rights that the manifests give.
func TestClusterAPI(t *testing.T) {
	t.Parallel()
	testenv.Test(t, features.New("the provider clusterapi").
		Assess("keeps its promises", step(func(ctx context.Context, t *testing.T, s scene) {
			s.ownOnly(t, "it installs the CRDs of Cluster API")
			cluster := ownCluster(ctx, t, fixture.Options{
				Name: "e2e-clusterapi", Nodes: 1, Zones: 1, BerthOff: true, VPAOff: true,
				Apply: []string{filepath.Join(root, "manifests/autoscaler/rbac"), filepath.Join(root, "manifests/autoscaler/clusterapi")},
			})
			clusterAPIConformance(t, cluster)
		})).
		Feature())
}

func clusterAPIConformance(t *testing.T, cluster *fixture.Cluster) {
	for _, api := range []struct {
		version string
		kinds   []string
	}{
		{"v1beta2", []string{"MachineDeployment", "MachineSet", "MachinePool"}},
		{"v1beta1", []string{"MachineDeployment"}}, // what differs is how Machines are read
	} {
		installClusterAPI(t, cluster, api.version)
		for _, kind := range api.kinds {
			t.Run(api.version+"/"+kind, func(t *testing.T) {
				cloudtest.Run(t, func(t *testing.T) cloudtest.Fixture { return newPlayed(t, cluster, api.version, kind).fixture(t) })
			})
		}
		for name, deed := range clusterAPIDeeds {
			t.Run(api.version+"/"+name, func(t *testing.T) { deed(t, newPlayed(t, cluster, api.version, "MachineDeployment")) })
		}
	}
}

// installClusterAPI serves one version of the API, in place of another.
func installClusterAPI(t *testing.T, cluster *fixture.Cluster, version string) {
	t.Helper()
	client, err := apiextensions.NewForConfig(cluster.REST)
	if err != nil {
		t.Fatal(err)
	}
	crds := client.ApiextensionsV1().CustomResourceDefinitions()
	data, err := os.ReadFile(filepath.Join(bin(), "cluster", "cluster-api-crds.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var kinds []schema.GroupKind
	for documents := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096); ; {
		var crd apiextensionsv1.CustomResourceDefinition
		if err := documents.Decode(&crd); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		kinds = append(kinds, schema.GroupKind{Group: crd.Spec.Group, Kind: crd.Spec.Names.Kind})
		if err := crds.Delete(t.Context(), crd.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			t.Fatal(err)
		}
		for i := range crd.Spec.Versions {
			v := &crd.Spec.Versions[i]
			v.Served, v.Storage = v.Name == version, v.Name == version
		}
		err := fixture.Until(t.Context(), "the CRD "+crd.Name, patience, func(ctx context.Context) (string, bool, error) {
			made, err := crds.Create(ctx, &crd, metav1.CreateOptions{})
			if apierrors.IsAlreadyExists(err) {
				if made, err = crds.Get(ctx, crd.Name, metav1.GetOptions{}); err != nil || made.DeletionTimestamp != nil {
					return "the former goes", false, nil
				}
			}
			if err != nil {
				return "", false, err
			}
			for _, c := range made.Status.Conditions {
				if c.Type == apiextensionsv1.Established {
					return "", c.Status == apiextensionsv1.ConditionTrue, nil
				}
			}
			return "not established", false, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	// Who asks for a kind before the API server tells of its new version goes by the former one for good.
	err = fixture.Until(t.Context(), "all kinds of version "+version, patience, func(context.Context) (string, bool, error) {
		known, err := restmapper.GetAPIGroupResources(cluster.Kube.Discovery())
		if err != nil {
			return "", false, err
		}
		mapper := restmapper.NewDiscoveryRESTMapper(known)
		for _, kind := range kinds {
			if mapping, err := mapper.RESTMapping(kind); err != nil || mapping.Resource.Version != version {
				return fmt.Sprintf("%s: %+v", kind, mapping), false, err
			}
		}
		return "", true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// played is a provider and who plays Cluster API for it.
type played struct {
	*machinePlayer
	cluster  *fixture.Cluster
	groups   []clusterapi.Group
	provider *clusterapi.Provider
}

// newPlayed has the groups a and b in a namespace of its own.
func newPlayed(t *testing.T, cluster *fixture.Cluster, version, kind string) *played {
	t.Helper()
	namespace, err := cluster.Kube.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "capi-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	client, err := dynamic.NewForConfig(cluster.REST)
	if err != nil {
		t.Fatal(err)
	}
	p := &played{cluster: cluster, machinePlayer: &machinePlayer{client: client, kube: cluster.Kube, version: version, namespace: namespace.Name, kind: kind}}
	t.Cleanup(func() {
		for _, node := range p.nodes(context.Background(), t) {
			if err := cluster.Kube.CoreV1().Nodes().Delete(context.Background(), node.Name, metav1.DeleteOptions{}); err != nil {
				t.Error(err)
			}
		}
	})
	for _, name := range []string{"b", "a"} {
		p.groups = append(p.groups, clusterapi.Group{Name: kind + "/" + namespace.Name + "/" + name})
		err := fixture.Until(t.Context(), "group "+name, patience, func(ctx context.Context) (string, bool, error) {
			_, err := p.resource(kind).Create(ctx, p.group(name), metav1.CreateOptions{})
			return fmt.Sprint(err), err == nil, nil // a CRD is served a moment after it is established
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	p.provider = startClusterAPI(t, cluster, p.groups)
	return p
}

// startClusterAPI returns a provider that knows its groups.
func startClusterAPI(t *testing.T, cluster *fixture.Cluster, groups []clusterapi.Group) *clusterapi.Provider {
	t.Helper()
	provider := newClusterAPI(t, cluster, groups)
	refreshed(t, provider)
	return provider
}

func refreshed(t *testing.T, provider *clusterapi.Provider) {
	t.Helper()
	err := fixture.Until(t.Context(), "the provider to know its groups", patience, func(ctx context.Context) (string, bool, error) {
		err := provider.Refresh(ctx)
		return fmt.Sprint(err), err == nil, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// newClusterAPI runs a provider as the ServiceAccount of the manifests.
func newClusterAPI(t *testing.T, cluster *fixture.Cluster, groups []clusterapi.Group) *clusterapi.Provider {
	t.Helper()
	config := rest.CopyConfig(cluster.REST)
	config.Impersonate.UserName = "system:serviceaccount:berth-system:berth-autoscaler"
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(discoverycache.NewMemCacheClient(kube.Discovery()))
	scales, err := scale.NewForConfig(config, mapper, dynamic.LegacyAPIPathResolverFunc, scale.NewDiscoveryScaleKindResolver(kube.Discovery()))
	if err != nil {
		t.Fatal(err)
	}
	provider, err := clusterapi.New(clusterapi.Options{Client: client, Scales: scales, Mapper: mapper, Cluster: "this cluster", Nodes: kube.CoreV1().Nodes(), Groups: groups})
	if err != nil {
		t.Fatal(err)
	}
	go provider.Run(t.Context())
	return provider
}

func (p *played) fixture(t *testing.T) cloudtest.Fixture {
	return cloudtest.Fixture{
		Provider: p.provider,
		Settle:   func() { p.settle(t) },
		Nodes:    func() []*corev1.Node { return p.nodes(t.Context(), t) },
		Withhold: func() { p.withheld = true },
		Fail:     func(code, message string) { p.failed = &[2]string{code, message} },
	}
}

// settle plays, and waits until the provider has seen all of it.
func (p *played) settle(t *testing.T) {
	t.Helper()
	p.play(t.Context(), t)
	want, err := p.resource("Machine").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	nodes := p.nodes(t.Context(), t)
	err = fixture.Until(t.Context(), "the provider to see it", patience, func(ctx context.Context) (string, bool, error) {
		running, all := map[string]bool{}, 0
		groups, err := p.provider.Groups(ctx)
		if err != nil {
			return "", false, err
		}
		for _, g := range groups {
			instances, err := g.Instances(ctx)
			if err != nil {
				return "", false, err
			}
			all += len(instances)
			for _, i := range instances {
				if i.State == cloud.InstanceRunning {
					running[i.ProviderID] = true
				}
			}
		}
		ready := map[string]bool{}
		for _, node := range nodes {
			if _, ours := p.provider.GroupOf(node); ours {
				ready[node.Spec.ProviderID] = true
			}
		}
		diff := cmp.Diff(ready, running)
		return fmt.Sprintf("%d instances of %d\n%s", all, len(want.Items), diff), all == len(want.Items) && len(ready) == len(nodes) && diff == "", nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
