// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package actuate

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	vpafake "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/client/clientset/versioned/fake"
	clienttesting "k8s.io/client-go/testing"
)

func checkpointOf(labels map[string]string, buckets map[int]uint32) *vpav1.VerticalPodAutoscalerCheckpoint {
	return &vpav1.VerticalPodAutoscalerCheckpoint{
		ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "db-app", ResourceVersion: "7", Labels: labels},
		Spec:       vpav1.VerticalPodAutoscalerCheckpointSpec{VPAObjectName: "db", ContainerName: "app"},
		Status:     vpav1.VerticalPodAutoscalerCheckpointStatus{Version: "v3", CPUHistogram: vpav1.HistogramCheckpoint{BucketWeights: buckets, TotalWeight: 3}},
	}
}

func TestUpdateCheckpoint(t *testing.T) {
	ours := map[string]string{"berth.dev/recommender": "berth", "berth.dev/slot": "3"}
	for name, tc := range map[string]struct {
		labels, want map[string]string
	}{
		"of upstream, without labels": {nil, ours},
		"with labels of others":       {map[string]string{"team": "db"}, map[string]string{"team": "db", "berth.dev/recommender": "berth", "berth.dev/slot": "3"}},
		"with labels of before":       {map[string]string{"berth.dev/recommender": "other", "berth.dev/slot": "3"}, ours},
	} {
		t.Run(name, func(t *testing.T) {
			client := vpafake.NewSimpleClientset(checkpointOf(tc.labels, map[int]uint32{1: 10000, 2: 5}))
			w := New(nil, client.AutoscalingV1(), nil, nil, nil, nil)
			update := checkpointOf(ours, map[int]uint32{2: 10000})
			update.ResourceVersion = "8"
			got, err := w.UpdateCheckpoint(t.Context(), update, len(tc.labels) == 0)
			if err != nil {
				t.Fatal(err)
			}
			want := checkpointOf(tc.want, map[int]uint32{2: 10000})
			want.ResourceVersion = "8" // an API server compares it, and refuses
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("checkpoint (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDeleteCheckpointNamesWhichOne(t *testing.T) {
	o := checkpointOf(nil, nil)
	o.UID = "uid"
	client := vpafake.NewSimpleClientset(o)
	if err := New(nil, client.AutoscalingV1(), nil, nil, nil, nil).DeleteCheckpoint(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	p := client.Actions()[0].(clienttesting.DeleteActionImpl).DeleteOptions.Preconditions
	if p == nil || p.UID == nil || *p.UID != "uid" || p.ResourceVersion == nil || *p.ResourceVersion != "7" {
		t.Errorf("preconditions %+v, want the UID and the resourceVersion that were seen", p)
	}
}
