// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package adapter

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/kubernetes/fake"
	"sigs.k8s.io/custom-metrics-apiserver/pkg/cmd"
)

// newHandler is the library's server, on what the tests have. It lets everybody in.
func newHandler(t *testing.T) http.Handler {
	t.Helper()
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(kubeconfig, []byte(`{"clusters":[{"name":"c","cluster":{"server":"http://127.0.0.1:1"}}],"contexts":[{"name":"c","context":{"cluster":"c"}}],"current-context":"c"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	base := &cmd.AdapterBase{Name: "test", FlagSet: (&cobra.Command{}).Flags(), RemoteKubeConfigFile: kubeconfig}
	base.InstallFlags()
	var err error
	if base.SecureServing.Listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := base.SecureServing.Listener.Close(); err != nil {
			t.Error(err)
		}
	})
	base.SecureServing.ServerCert.CertDirectory = t.TempDir()
	base.Authentication.RemoteKubeConfigFileOptional = true
	base.Authentication.SkipInClusterLookup = true
	base.Authorization.RemoteKubeConfigFileOptional = true
	base.Authorization.AlwaysAllowGroups = []string{user.AllUnauthenticated}
	base.WithCustomMetrics(newCustom(t))
	base.WithExternalMetrics(&external{kube: fake.NewClientset(series("ns", "east", "3"), series("ns", "west", "250m"))})
	server, err := base.Server()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.GenericAPIServer.Destroy)
	return server.GenericAPIServer.Handler
}

// TestPaths: what clients ask for reaches the right metric, through the library.
func TestPaths(t *testing.T) {
	handler := newHandler(t)
	const custom, external = "/apis/custom.metrics.k8s.io/", "/apis/external.metrics.k8s.io/v1beta1/"
	for name, tc := range map[string]struct {
		path string
		code int
		want string
	}{
		"pods":                       {custom + "v1beta2/namespaces/ns/pods/*/queue", 200, "Pod/a queue=3, Pod/b queue=250m"},
		"pods that are selected":     {custom + "v1beta2/namespaces/ns/pods/*/queue?labelSelector=app%3Db", 200, "Pod/b queue=250m"},
		"series that are":            {custom + "v1beta2/namespaces/ns/pods/*/queue?metricLabelSelector=app%3Da", 200, "Pod/a queue=3"},
		"one pod":                    {custom + "v1beta2/namespaces/ns/pods/b/queue", 200, "Pod/b queue=250m"},
		"of a namespace":             {custom + "v1beta2/namespaces/ns/metrics/queue", 200, "Namespace/ns queue=7"},
		"an object of a CRD":         {custom + "v1beta2/namespaces/ns/workers.e2e.berth.dev/crew/queue", 200, "Worker/crew queue=9"},
		"the older version":          {custom + "v1beta1/namespaces/ns/pods/b/queue", 200, "Pod/b queue=250m"},
		"its namespace":              {custom + "v1beta1/namespaces/ns/metrics/queue", 200, "Namespace/ns queue=7"},
		"one that is not there":      {custom + "v1beta2/namespaces/ns/pods/silent/queue", 404, ""},
		"many that are not there":    {custom + "v1beta2/namespaces/ns/pods/*/other", 200, ""},
		"external":                   {external + "namespaces/ns/queue", 200, "map[broker:east] queue=3, map[broker:west] queue=250m"},
		"external that is selected":  {external + "namespaces/ns/queue?labelSelector=broker%3Dwest", 200, "map[broker:west] queue=250m"},
		"external that is not there": {external + "namespaces/ns/other", 200, ""},
	} {
		t.Run(name, func(t *testing.T) {
			response := httptest.NewRecorder()
			handler.ServeHTTP(response, httptest.NewRequest(http.MethodGet, tc.path, nil))
			if response.Code != tc.code {
				t.Fatalf("code %d, want %d: %s", response.Code, tc.code, response.Body)
			}
			if got := said(t, response.Body.Bytes()); got != tc.want {
				t.Errorf("got  %s\nwant %s\nof %s", got, tc.want, response.Body)
			}
		})
	}
}

// said reads a list of either API.
func said(t *testing.T, data []byte) string {
	t.Helper()
	var list struct {
		Items []struct {
			DescribedObject struct{ Kind, Name string }
			MetricLabels    map[string]string
			MetricName      string
			Metric          struct{ Name string }
			Value           string
		}
	}
	if err := json.Unmarshal(data, &list); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
	var out []string
	for _, item := range list.Items {
		of := item.DescribedObject.Kind + "/" + item.DescribedObject.Name
		if item.MetricLabels != nil {
			of = fmt.Sprint(item.MetricLabels)
		}
		out = append(out, fmt.Sprintf("%s %s%s=%s", of, item.Metric.Name, item.MetricName, item.Value))
	}
	return strings.Join(out, ", ")
}
