// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package vpas

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	"k8s.io/client-go/rest"
)

// A VPA that nobody can read is listed, watched and fetched, and says nothing of what can not be read.
func TestOneVPAStopsNobody(t *testing.T) {
	const one = `{"apiVersion":"autoscaling.k8s.io/v1","kind":"VerticalPodAutoscaler","metadata":{"namespace":"prod","name":"db"},` +
		`"spec":{"resourcePolicy":{"containerPolicies":[{"containerName":"db","minAllowed":{"cpu":"` + forever + `","memory":"1Gi"},"maxAllowed":{"cpu":"1e1.5"}}]}}}`
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case r.URL.Path == "/apis/autoscaling.k8s.io/v1/namespaces/prod/verticalpodautoscalers/db":
			_, _ = io.WriteString(w, one)
		case r.URL.Query().Get("watch") != "":
			fmt.Fprintf(w, `{"type":"ADDED","object":%s}`+"\n", one)
		default:
			fmt.Fprintf(w, `{"apiVersion":"autoscaling.k8s.io/v1","kind":"VerticalPodAutoscalerList","metadata":{"resourceVersion":"1"},"items":[%s]}`, one)
		}
	}))
	defer api.Close()
	var told []Ignored
	client, err := NewForConfig(&rest.Config{Host: api.URL}, func(i Ignored) { told = append(told, i) })
	if err != nil {
		t.Fatal(err)
	}
	vpas := client.AutoscalingV1().VerticalPodAutoscalers("prod")
	for name, read := range map[string]func() (*vpav1.VerticalPodAutoscaler, error){
		"get": func() (*vpav1.VerticalPodAutoscaler, error) { return vpas.Get(t.Context(), "db", metav1.GetOptions{}) },
		"list": func() (*vpav1.VerticalPodAutoscaler, error) {
			list, err := vpas.List(t.Context(), metav1.ListOptions{})
			if err != nil || len(list.Items) != 1 {
				return nil, fmt.Errorf("%v, %w", list, err)
			}
			return &list.Items[0], nil
		},
		"watch": func() (*vpav1.VerticalPodAutoscaler, error) {
			w, err := vpas.Watch(t.Context(), metav1.ListOptions{})
			if err != nil {
				return nil, err
			}
			defer w.Stop()
			event := <-w.ResultChan()
			vpa, ok := event.Object.(*vpav1.VerticalPodAutoscaler)
			if !ok {
				return nil, fmt.Errorf("%v", event)
			}
			return vpa, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			told = nil
			vpa, err := read()
			if err != nil {
				t.Fatal(err)
			}
			policy := vpa.Spec.ResourcePolicy.ContainerPolicies[0]
			if _, has := policy.MinAllowed["cpu"]; has || policy.MinAllowed.Memory().String() != "1Gi" || len(policy.MaxAllowed) > 0 {
				t.Errorf("read as %+v", policy)
			}
			fields := map[string]string{}
			for _, i := range told {
				fields[i.Namespace+"/"+i.Name+" "+i.Field] = i.Value
			}
			const at = "prod/db spec.resourcePolicy.containerPolicies[0]."
			if diff := cmp.Diff(map[string]string{at + "minAllowed.cpu": forever, at + "maxAllowed.cpu": "1e1.5"}, fields); diff != "" {
				t.Errorf("told (-want +got):\n%s", diff)
			}
		})
	}
}
