// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package layout

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	kwokconfig "sigs.k8s.io/kwok/pkg/apis/config/v1alpha1"
	"sigs.k8s.io/yaml"
)

var place = Place{Dir: "/c/clusters/x", ClusterBin: "/b/cluster", BerthBin: "/b"}

// documents splits a rendered file, leaving comments out.
func documents(data []byte) []string {
	var out []string
	for text := range strings.SplitSeq(string(data), "\n---\n") {
		if j, err := yaml.YAMLToJSON([]byte(text)); err == nil && string(j) != "null" {
			out = append(out, text)
		}
	}
	return out
}

func TestControlPlane(t *testing.T) {
	noLease := kwokconfig.ExtraArgs{Key: "leader-elect", Value: "false"}
	for name, tc := range map[string]struct {
		hpaController bool
		want          []kwokconfig.ExtraArgs
	}{
		"one HPA controller acts, and it is not the built-in one": {
			want: []kwokconfig.ExtraArgs{noLease, {Key: "controllers", Value: "*,-horizontal-pod-autoscaler-controller"}},
		},
		"unless it is asked for": {hpaController: true, want: []kwokconfig.ExtraArgs{noLease}},
	} {
		t.Run(name, func(t *testing.T) {
			o := DefaultOptions()
			o.HPAController = tc.hpaController
			rendered, err := ControlPlane(o, place, Ports{})
			if err != nil {
				t.Fatal(err)
			}
			var config kwokconfig.KwokctlConfiguration
			if err := yaml.UnmarshalStrict([]byte(documents(rendered)[0]), &config); err != nil {
				t.Fatal(err)
			}
			var got []kwokconfig.ExtraArgs
			for _, patch := range config.ComponentsPatches {
				if patch.Name == "kube-controller-manager" {
					got = append(got, patch.ExtraArgs...)
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("flags of kube-controller-manager (-want +got):\n%s", diff)
			}
		})
	}
}

// TestPorts: a component of kwokctl's making that is told no port takes one that may be another's.
func TestPorts(t *testing.T) {
	var ports Ports
	for i, port := range ports.All() {
		*port = i + 1
	}
	rendered, err := ControlPlane(DefaultOptions(), place, ports)
	if err != nil {
		t.Fatal(err)
	}
	var config kwokconfig.KwokctlConfiguration
	if err := yaml.UnmarshalStrict([]byte(documents(rendered)[0]), &config); err != nil {
		t.Fatal(err)
	}
	o := config.Options
	got := []uint32{o.EtcdPort, o.EtcdPeerPort, o.KubeApiserverPort, o.KubeControllerManagerPort, o.KubeSchedulerPort, o.KwokControllerPort}
	if diff := cmp.Diff([]uint32{1, 2, 3, 4, 5, 6}, got); diff != "" {
		t.Errorf("ports (-want +got):\n%s", diff)
	}
}

// TestNodeGrace: the control plane and the kubelets must not disagree about it.
func TestNodeGrace(t *testing.T) {
	o := DefaultOptions()
	for grace, want := range map[time.Duration][4]int64{
		50 * time.Second: {50000, 5000, 40, 1}, // the defaults of Kubernetes
		5 * time.Second:  {5000, 500, 4, 1},
	} {
		o.NodeGrace = grace
		rendered, err := ControlPlane(o, place, Ports{})
		if err != nil {
			t.Fatal(err)
		}
		var config kwokconfig.KwokctlConfiguration
		if err := yaml.UnmarshalStrict([]byte(documents(rendered)[0]), &config); err != nil {
			t.Fatal(err)
		}
		got := [4]int64{
			config.Options.KubeControllerManagerNodeMonitorGracePeriodMilliseconds,
			config.Options.KubeControllerManagerNodeMonitorPeriodMilliseconds,
			int64(config.Options.NodeLeaseDurationSeconds),
			int64(*config.Options.HeartbeatFactor),
		}
		if got != want {
			t.Errorf("%s: got grace, period, lease and factor %v, want %v", grace, got, want)
		}
	}
}

func TestManifestsAreObjects(t *testing.T) {
	always := []string{"StorageClass/zonal", "StorageClass/local", "StorageClass/pooled", "StorageClass/zonal-immediate", "CSIDriver/pooled.berth.test", "CSIDriver/zonal.berth.test", "CSIDriver/local.berth.test", "Namespace/berth-system", "APIService/v1beta1.metrics.k8s.io"}
	adapted := []string{"Service/berth-adapter", "APIService/v1beta1.custom.metrics.k8s.io", "APIService/v1beta2.custom.metrics.k8s.io", "APIService/v1beta1.external.metrics.k8s.io"}
	for _, adapter := range []bool{true, false} {
		o := DefaultOptions()
		o.MetricsAdapter = adapter
		got := objects(t, o)
		for _, want := range always {
			if !got[want] {
				t.Errorf("adapter %t: no %s among %v", adapter, want, got)
			}
		}
		for _, object := range adapted {
			if got[object] != adapter {
				t.Errorf("adapter %t: %s is there: %t", adapter, object, got[object])
			}
		}
	}
}

// objects are the manifests of a cluster, as KIND/NAME.
func objects(t *testing.T, o Options) map[string]bool {
	t.Helper()
	rendered, err := Manifests(o, Ports{MetricsServer: 12345, MetricsAdapter: 23456})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, text := range documents(rendered) {
		var object unstructured.Unstructured
		if err := yaml.Unmarshal([]byte(text), &object.Object); err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		got[object.GetKind()+"/"+object.GetName()] = true
		if object.GetKind() == "APIService" {
			want := 23456.0
			if object.GetName() == "v1beta1.metrics.k8s.io" {
				want = 12345
			}
			if port, _, _ := unstructured.NestedFieldNoCopy(object.Object, "spec", "service", "port"); port != want {
				t.Errorf("%s is served on port %v, want %v", object.GetName(), port, want)
			}
		}
	}
	return got
}

func TestSchedulerConfig(t *testing.T) {
	for name, tc := range map[string]struct {
		given string
		want  map[string]any
	}{
		"what is given is kept": {
			given: `{apiVersion: v1, kind: KubeSchedulerConfiguration, parallelism: 3, leaderElection: {leaderElect: true, resourceName: x}}`,
			want: map[string]any{
				"apiVersion":       "v1",
				"kind":             "KubeSchedulerConfiguration",
				"parallelism":      float64(3),
				"leaderElection":   map[string]any{"leaderElect": false, "resourceName": "x"},
				"clientConnection": map[string]any{"kubeconfig": "/c/clusters/x/berth/berth-scheduler.kubeconfig"},
			},
		},
		"the embedded one has the profile, with what berth-scheduler demands of it": {
			want: map[string]any{
				"apiVersion": "kubescheduler.config.k8s.io/v1",
				"kind":       "KubeSchedulerConfiguration",
				"profiles": []any{map[string]any{
					"schedulerName": "berth-scheduler",
					"plugins": map[string]any{"multiPoint": map[string]any{
						"enabled":  []any{map[string]any{"name": "QuorumGuard"}, map[string]any{"name": "SlotHold"}},
						"disabled": []any{map[string]any{"name": "DefaultPreemption"}},
					}},
				}},
				"leaderElection":   map[string]any{"leaderElect": false},
				"clientConnection": map[string]any{"kubeconfig": "/c/clusters/x/berth/berth-scheduler.kubeconfig"},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var given []byte
			if tc.given != "" {
				given = []byte(tc.given)
			}
			rendered, err := SchedulerConfig(given, place)
			if err != nil {
				t.Fatal(err)
			}
			var got map[string]any
			if err := yaml.Unmarshal(rendered, &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("configuration (-want +got):\n%s", diff)
			}
		})
	}
	if _, err := SchedulerConfig([]byte("kind: Pod"), place); err == nil || !strings.Contains(err.Error(), "KubeSchedulerConfiguration") {
		t.Errorf("another kind: got %v, want an error that names the kind wanted", err)
	}
}

func TestAutoscalerConfig(t *testing.T) {
	o := DefaultOptions()
	o.Zones, o.NodeCPU = 2, "8"
	rendered, err := AutoscalerConfig(nil, o, place, 4711)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		BindAddress string
		Nodes       struct {
			SchedulerConfigFile string
			Groups              []struct {
				Name     string
				Template struct{ Capacity map[string]string }
			}
		}
	}
	if err := yaml.Unmarshal(rendered, &got); err != nil {
		t.Fatal(err)
	}
	if got.BindAddress != "127.0.0.1:4711" || got.Nodes.SchedulerConfigFile != place.ConfigOf(BerthScheduler) {
		t.Errorf("got address %s and scheduler configuration %s", got.BindAddress, got.Nodes.SchedulerConfigFile)
	}
	var groups []string
	for _, group := range got.Nodes.Groups {
		groups = append(groups, group.Name)
		if group.Template.Capacity["cpu"] != "8" {
			t.Errorf("group %s has %s cpu, want 8", group.Name, group.Template.Capacity["cpu"])
		}
	}
	if diff := cmp.Diff([]string{"zone-a", "zone-b"}, groups); diff != "" {
		t.Errorf("groups (-want +got):\n%s", diff)
	}
	if _, err := AutoscalerConfig([]byte("[[ .Nonsense ]]"), o, place, 1); err == nil {
		t.Error("a template that asks for what there is not is an error")
	}
	if given, err := AutoscalerConfig([]byte("port [[ .Port ]]"), o, place, 1); err != nil || string(given) != "port 1" {
		t.Errorf("a given template: got %q, %v", given, err)
	}
}

func TestImpersonating(t *testing.T) {
	admin := clientcmdapi.NewConfig()
	admin.AuthInfos["admin"] = &clientcmdapi.AuthInfo{ClientKey: "k"}
	got := Impersonating(admin, "berth-system", "berth-scheduler").AuthInfos["admin"]
	if got.ClientKey != "k" || got.Impersonate != "system:serviceaccount:berth-system:berth-scheduler" {
		t.Errorf("got %+v", got)
	}
	want := []string{"system:serviceaccounts", "system:serviceaccounts:berth-system", "system:authenticated"}
	if diff := cmp.Diff(want, got.ImpersonateGroups); diff != "" {
		t.Errorf("groups (-want +got):\n%s", diff)
	}
	if admin.AuthInfos["admin"].Impersonate != "" {
		t.Error("the administrator's own kubeconfig changed")
	}
}
