// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package smoke

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// adaptedMetrics: what kubectl writes is what the metrics APIs say, at once. The
// set db is there.
func adaptedMetrics(t *testing.T, c *cluster) {
	const (
		custom   = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/default/"
		external = "/apis/external.metrics.k8s.io/v1beta1/namespaces/default/"
		older    = "/apis/custom.metrics.k8s.io/v1beta1/namespaces/default/"
	)
	c.serves(t, custom+"pods/*/queue")
	c.kubectl(t, "annotate", "pod/db-0", "metrics.cluster.berth.dev/queue=3")
	c.kubectl(t, "annotate", "pod/db-2", "metrics.cluster.berth.dev/queue=1500m")
	c.kubectl(t, "annotate", "statefulset/db", "metrics.cluster.berth.dev/queue=5")
	c.kubectl(t, "annotate", "namespace/default", "metrics.cluster.berth.dev/queue=7")
	for region, length := range map[string]string{"east": "11", "west": "13"} {
		c.kubectl(t, "create", "configmap", region, "--from-literal=queue="+length)
		c.kubectl(t, "label", "configmap", region, "cluster.berth.dev/external-metrics=", "region="+region)
	}
	for path, want := range map[string]string{
		custom + "pods/*/queue":                                              "db-0=3 db-2=1500m",
		custom + "pods/*/queue?labelSelector=app=db":                         "db-0=3 db-2=1500m",
		custom + "pods/*/queue?labelSelector=app=web":                        "",
		custom + "pods/db-2/queue":                                           "db-2=1500m",
		older + "pods/*/queue":                                               "db-0=3 db-2=1500m",
		custom + "statefulsets.apps/db/queue":                                "db=5",
		custom + "metrics/queue":                                             "default=7",
		older + "metrics/queue":                                              "default=7",
		external + "queue":                                                   "region:east=11 region:west=13",
		external + "queue?labelSelector=region=west":                         "region:west=13",
		external + "else":                                                    "",
		"/apis/external.metrics.k8s.io/v1beta1/namespaces/kube-system/queue": "",
	} {
		if got, err := c.values(t.Context(), path); err != nil || got != want {
			t.Errorf("%s: got %q (%v), want %q", path, got, err, want)
		}
	}
	for _, path := range []string{custom + "pods/db-1/queue", custom + "pods/gone/queue", custom + "drones.x/*/queue"} {
		if got, err := c.values(t.Context(), path); !apierrors.IsNotFound(err) {
			t.Errorf("%s: got %q (%v), want that it is not found", path, got, err)
		}
	}
	c.component(t, "kill", "berth-adapter")
	if got, err := c.values(t.Context(), external+"queue"); !apierrors.IsServiceUnavailable(err) {
		t.Errorf("a killed adapter: got %q (%v), want that it is unavailable", got, err)
	}
	c.component(t, "start", "berth-adapter")
	c.serves(t, external+"queue")
}

// serves waits until somebody answers.
func (c *cluster) serves(t *testing.T, path string) {
	t.Helper()
	eventually(t, path, func(ctx context.Context) error {
		_, err := c.values(ctx, path)
		return err
	})
}

func (c *cluster) kubectl(t *testing.T, args ...string) {
	t.Helper()
	c.command(t, t.Context(), "kubectl", args...)
}

// values are those of a list of metrics: of which object, or of which labels.
func (c *cluster) values(ctx context.Context, path string) (string, error) {
	path, query, _ := strings.Cut(path, "?")
	request := c.kube.Discovery().RESTClient().Get().AbsPath(path)
	if key, value, ok := strings.Cut(query, "="); ok {
		request = request.Param(key, value)
	}
	data, err := request.Do(ctx).Raw()
	if err != nil {
		return "", err
	}
	var list struct {
		Items []struct {
			DescribedObject struct{ Name string }
			MetricLabels    map[string]string
			Value           string
		}
	}
	if err := json.Unmarshal(data, &list); err != nil {
		return "", err
	}
	var out []string
	for _, item := range list.Items {
		of := item.DescribedObject.Name
		for key, value := range item.MetricLabels {
			of += key + ":" + value
		}
		out = append(out, fmt.Sprintf("%s=%s", of, item.Value))
	}
	return strings.Join(out, " "), nil
}
