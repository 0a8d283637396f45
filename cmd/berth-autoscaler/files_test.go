// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/util/cert"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/textlogger"

	"github.com/berth-dev/berth/autoscaler/config"
)

const (
	profiles = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"
	kubectl  = `{apiVersion: v1, kind: Config, current-context: a, contexts: [{name: a, context: {cluster: a, user: a}}], clusters: [{name: a, cluster: {server: "https://a:6443"}}], users: [{name: a, user: {token: t}}]}`
)

func TestFilesAreReadBeforeTheElection(t *testing.T) {
	folder := t.TempDir()
	file := func(name, text string) string {
		name = filepath.Join(folder, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	pem := func(name string) (certificate, key string) {
		c, k, err := cert.GenerateSelfSignedCertKey(name, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		return file(name+".crt", string(c)), file(name+".key", string(k))
	}
	certificate, key := pem("client")
	_, another := pem("other")
	none, text := filepath.Join(folder, "none"), file("text", "hello")
	for name, tc := range map[string]struct {
		nodes config.Nodes
		// want are parts of the error; nothing is that there is none.
		want []string
	}{
		"no file": {},
		"good ones": {nodes: config.Nodes{
			SchedulerConfigFile: file("scheduler", profiles), ClusterAPI: config.ClusterAPIProvider{Kubeconfig: file("kubeconfig", kubectl)},
			ExternalGRPC: config.ExternalGRPCProvider{CAFile: certificate, CertFile: certificate, KeyFile: key},
		}},
		"no profiles":     {config.Nodes{SchedulerConfigFile: none}, []string{"nodes.schedulerConfigFile", none, "no such file"}},
		"other profiles":  {config.Nodes{SchedulerConfigFile: file("misspelt", profiles+"profile: []")}, []string{"nodes.schedulerConfigFile", "misspelt", `unknown field "profile"`}},
		"no kubeconfig":   {config.Nodes{ClusterAPI: config.ClusterAPIProvider{Kubeconfig: none}}, []string{"nodes.clusterAPI.kubeconfig", none, "no such file"}},
		"not one":         {config.Nodes{ClusterAPI: config.ClusterAPIProvider{Kubeconfig: text}}, []string{"nodes.clusterAPI.kubeconfig", text, "cannot unmarshal"}},
		"an empty one":    {config.Nodes{ClusterAPI: config.ClusterAPIProvider{Kubeconfig: file("empty", "")}}, []string{"nodes.clusterAPI.kubeconfig", "empty", "no configuration"}},
		"no authority":    {config.Nodes{ExternalGRPC: config.ExternalGRPCProvider{CAFile: none}}, []string{"nodes.externalGRPC.caFile", none, "no such file"}},
		"not a PEM":       {config.Nodes{ExternalGRPC: config.ExternalGRPCProvider{CAFile: text}}, []string{"nodes.externalGRPC.caFile", text, "no PEM certificate"}},
		"no pair":         {config.Nodes{ExternalGRPC: config.ExternalGRPCProvider{CertFile: none, KeyFile: none}}, []string{"nodes.externalGRPC.certFile", "nodes.externalGRPC.keyFile", none, "no such file"}},
		"another's key":   {config.Nodes{ExternalGRPC: config.ExternalGRPCProvider{CertFile: certificate, KeyFile: another}}, []string{"nodes.externalGRPC.certFile", certificate, another, "does not match"}},
		"all that is bad": {config.Nodes{SchedulerConfigFile: none, ExternalGRPC: config.ExternalGRPCProvider{CAFile: text}}, []string{"nodes.schedulerConfigFile", "nodes.externalGRPC.caFile"}},
	} {
		t.Run(name, func(t *testing.T) {
			files, err := readFiles(&tc.nodes)
			if len(tc.want) == 0 {
				if err != nil {
					t.Fatal(err)
				}
				if (files.profiles != nil) != (tc.nodes.SchedulerConfigFile != "") || (files.management != nil) != (tc.nodes.ClusterAPI.Kubeconfig != "") {
					t.Errorf("read %+v", files)
				}
				return
			}
			if err == nil {
				t.Fatal("accepted")
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		})
	}
}

// Neither an API server nor a Lease is needed to say that a file is wrong.
func TestRunEndsBeforeItWaitsToLead(t *testing.T) {
	c, err := config.Parse([]byte("apiVersion: config.berth.dev/v1alpha1\nkind: AutoscalerConfiguration\nnodes: {provider: clusterapi, schedulerConfigFile: /none}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), c); err == nil || !strings.Contains(err.Error(), "nodes.schedulerConfigFile") {
		t.Errorf("%v, want that the file is not there", err)
	}
}

// A provider without groups is most likely half a configuration.
func TestAProviderWithoutGroupsIsTold(t *testing.T) {
	for name, tc := range map[string]struct {
		nodes config.Nodes
		want  int
	}{
		"nodes are left alone": {},
		"no groups":            {nodes: config.Nodes{Provider: config.ClusterAPI}, want: 1},
		"a group":              {nodes: config.Nodes{Provider: config.ClusterAPI, Groups: []config.NodeGroup{{Name: "a"}}}},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			tellIdle(klog.NewContext(t.Context(), textlogger.NewLogger(textlogger.NewConfig(textlogger.Output(&log)))), &tc.nodes)
			if got := strings.Count(log.String(), "nodes.groups"); got != tc.want {
				t.Errorf("told %d times, want %d: %s", got, tc.want, &log)
			}
		})
	}
}
