// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"errors"
	"fmt"
	"strconv"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	vpafake "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/client/clientset/versioned/fake"
	clienttesting "k8s.io/client-go/testing"
)

func TestAllCheckpointsComePageByPage(t *testing.T) {
	const total = 2*checkpointPage + 1
	failure := errors.New("the API server is stuck")
	for name, tc := range map[string]struct {
		fails int // the page that does
		want  int
	}{
		"all of them":      {fails: -1, want: total},
		"the first fails":  {fails: 0},
		"a later one does": {fails: checkpointPage},
	} {
		t.Run(name, func(t *testing.T) {
			client := vpafake.NewSimpleClientset()
			client.PrependReactor("list", "verticalpodautoscalercheckpoints", func(action clienttesting.Action) (bool, runtime.Object, error) {
				options := action.(clienttesting.ListActionImpl).ListOptions
				from, _ := strconv.Atoi(options.Continue)
				if from == tc.fails {
					return true, nil, failure
				}
				to := min(total, from+int(options.Limit))
				list := &vpav1.VerticalPodAutoscalerCheckpointList{}
				for i := from; i < to; i++ {
					list.Items = append(list.Items, vpav1.VerticalPodAutoscalerCheckpoint{ObjectMeta: metav1.ObjectMeta{
						Name: fmt.Sprint(i), ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "somebody"}}}})
				}
				if to < total {
					list.Continue = strconv.Itoa(to)
				}
				return true, list, nil
			})
			all, err := NewCheckpoints(client.AutoscalingV1()).All(t.Context(), "")
			if len(all) != tc.want || (err == nil) != (tc.fails < 0) {
				t.Fatalf("%d checkpoints and error %v, want %d", len(all), err, tc.want)
			}
			for i, o := range all {
				if o.Name != fmt.Sprint(i) || o.ManagedFields != nil {
					t.Fatalf("checkpoint %d is %s, with managed fields %v", i, o.Name, o.ManagedFields)
				}
			}
		})
	}
}

func TestACheckpointThatIsGone(t *testing.T) {
	client := vpafake.NewSimpleClientset(&vpav1.VerticalPodAutoscalerCheckpoint{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "db-c"}})
	c := NewCheckpoints(client.AutoscalingV1())
	if o, err := c.Look(t.Context(), "prod", "db-c"); err != nil || o == nil || o.Name != "db-c" {
		t.Errorf("checkpoint %v and error %v", o, err)
	}
	if o, err := c.Look(t.Context(), "prod", "gone"); err != nil || o != nil {
		t.Errorf("checkpoint %v and error %v, want neither", o, err)
	}
	client.PrependReactor("get", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewServiceUnavailable("stuck")
	})
	if _, err := c.Look(t.Context(), "prod", "db-c"); err == nil {
		t.Error("no error, though the API server has not said")
	}
}
