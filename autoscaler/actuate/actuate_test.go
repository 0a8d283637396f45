// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package actuate

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/client-go/kubernetes/fake"
	scalefake "k8s.io/client-go/scale/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/kubernetes/pkg/apis/autoscaling"
	_ "k8s.io/kubernetes/pkg/apis/autoscaling/install" // into the scheme that the strategy reads
	"k8s.io/kubernetes/pkg/registry/autoscaling/horizontalpodautoscaler"

	"github.com/berth-dev/berth/autoscaler/config"
)

var deployments = schema.GroupResource{Group: "apps", Resource: "deployments"}

// target serves one scale and counts what is written to it.
type target struct {
	replicas  int32
	version   string // none that a write names but this one is right
	conflicts int
	reads     int
	written   []int32
}

func (s *target) client() *scalefake.FakeScaleClient {
	client := &scalefake.FakeScaleClient{}
	client.AddReactor("get", "deployments", func(clienttesting.Action) (bool, runtime.Object, error) {
		s.reads++
		return true, &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "prod"}, Spec: autoscalingv1.ScaleSpec{Replicas: s.replicas}}, nil
	})
	client.AddReactor("update", "deployments", func(action clienttesting.Action) (bool, runtime.Object, error) {
		scale := action.(clienttesting.UpdateAction).GetObject().(*autoscalingv1.Scale)
		if s.conflicts > 0 || scale.ResourceVersion != "" && scale.ResourceVersion != s.version {
			s.conflicts = max(s.conflicts-1, 0)
			return true, nil, apierrors.NewConflict(deployments, "web", nil)
		}
		s.written = append(s.written, scale.Spec.Replicas)
		return true, scale, nil
	})
	return client
}

func TestScale(t *testing.T) {
	for name, tc := range map[string]struct {
		target  target
		version string
		want    []int32
		reads   int
		wantErr string
	}{
		"as decided":              {target: target{replicas: 3, version: "7"}, version: "7", want: []int32{9}},
		"of no known version":     {target: target{replicas: 3, version: "7"}, want: []int32{9}, reads: 1},
		"a status has moved":      {target: target{replicas: 3, version: "8"}, version: "7", want: []int32{9}, reads: 1},
		"a conflict is no change": {target: target{replicas: 3, version: "7", conflicts: 3}, version: "7", want: []int32{9}, reads: 3},
		"changed meanwhile":       {target: target{replicas: 4, version: "8"}, version: "7", reads: 1, wantErr: `deployments.apps "web" asks for 4 replicas, not for the 3`},
	} {
		t.Run(name, func(t *testing.T) {
			w := New(nil, nil, nil, nil, tc.target.client(), nil)
			err := w.Scale(t.Context(), "prod", "web", deployments, tc.version, 3, 9)
			if (err != nil) != (tc.wantErr != "") || err != nil && !strings.Contains(err.Error(), tc.wantErr) {
				t.Fatalf("error %v, want %q", err, tc.wantErr)
			}
			if len(tc.target.written) != len(tc.want) || len(tc.want) > 0 && tc.target.written[0] != tc.want[0] {
				t.Errorf("written %v, want %v", tc.target.written, tc.want)
			}
			if tc.target.reads != tc.reads {
				t.Errorf("read %d times, want %d", tc.target.reads, tc.reads)
			}
		})
	}
}

func TestHPAStatusIsWrittenOnlyWhereItChanged(t *testing.T) {
	for name, tc := range map[string]struct {
		desired int32
		events  string
		written bool
		want    map[string]string
	}{
		"nothing":            {events: "+1@2", want: map[string]string{config.ScaleEvents: "+1@2", "own": "x"}},
		"the status":         {desired: 9, events: "+1@2", written: true, want: map[string]string{config.ScaleEvents: "+1@2", "own": "x"}},
		"the events":         {events: "+1@2 -3@4", written: true, want: map[string]string{config.ScaleEvents: "+1@2 -3@4", "own": "x"}},
		"no events any more": {written: true, want: map[string]string{"own": "x"}},
	} {
		t.Run(name, func(t *testing.T) {
			hpa := &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "prod", ResourceVersion: "7",
				Annotations: map[string]string{config.ScaleEvents: "+1@2", "own": "x"}}}
			before := hpa.DeepCopy()
			client := fake.NewClientset(hpa.DeepCopy())
			w := New(client.AutoscalingV2(), nil, nil, nil, nil, nil)
			if err := w.HPAStatus(t.Context(), hpa, autoscalingv2.HorizontalPodAutoscalerStatus{DesiredReplicas: tc.desired}, tc.events); err != nil {
				t.Fatal(err)
			}
			if written := len(client.Actions()) == 1; written != tc.written {
				t.Errorf("written: %t, want %t: %v", written, tc.written, client.Actions())
			}
			for _, action := range client.Actions() {
				if version := action.(clienttesting.UpdateAction).GetObject().(metav1.Object).GetResourceVersion(); action.GetSubresource() != "status" || version != "7" {
					t.Errorf("written %q of version %q, want the status, upon the version that was seen", action.GetSubresource(), version)
				}
			}
			if diff := cmp.Diff(before, hpa); diff != "" {
				t.Errorf("the informer's object was changed (-before +after):\n%s", diff)
			}
			got, err := client.AutoscalingV2().HorizontalPodAutoscalers("prod").Get(t.Context(), "web", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got.Annotations); diff != "" || got.Status.DesiredReplicas != tc.desired {
				t.Errorf("%d desired, annotations (-want +got):\n%s", got.Status.DesiredReplicas, diff)
			}
		})
	}
}

func TestHPAStatusOutlivesAnEdit(t *testing.T) {
	for name, tc := range map[string]struct {
		edit        func(*autoscalingv2.HorizontalPodAutoscaler)
		wantRefused bool
	}{
		"of a label":    {edit: func(hpa *autoscalingv2.HorizontalPodAutoscaler) { hpa.Labels = map[string]string{"team": "a"} }},
		"of the spec":   {edit: func(hpa *autoscalingv2.HorizontalPodAutoscaler) { hpa.Spec.MaxReplicas = 7 }},
		"of the status": {edit: func(hpa *autoscalingv2.HorizontalPodAutoscaler) { hpa.Status.DesiredReplicas = 4 }, wantRefused: true},
		"of the scale events": {edit: func(hpa *autoscalingv2.HorizontalPodAutoscaler) {
			hpa.Annotations = map[string]string{config.ScaleEvents: "1 +2@3"}
		}, wantRefused: true},
		"into another of them": {edit: func(hpa *autoscalingv2.HorizontalPodAutoscaler) { hpa.UID = "2" }, wantRefused: true},
	} {
		t.Run(name, func(t *testing.T) {
			seen := &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "prod", UID: "1"}}
			current := seen.DeepCopy()
			current.ResourceVersion = "8"
			tc.edit(current)
			client, writes := fake.NewClientset(current), 0
			client.PrependReactor("update", "horizontalpodautoscalers", func(action clienttesting.Action) (bool, runtime.Object, error) {
				writes++
				sent := action.(clienttesting.UpdateAction).GetObject().(*autoscalingv2.HorizontalPodAutoscaler)
				if sent.ResourceVersion != "8" {
					return true, nil, apierrors.NewConflict(schema.GroupResource{Resource: "horizontalpodautoscalers"}, "web", nil)
				}
				return false, nil, nil
			})
			w := New(client.AutoscalingV2(), nil, nil, nil, nil, nil)
			err := w.HPAStatus(t.Context(), seen, autoscalingv2.HorizontalPodAutoscalerStatus{DesiredReplicas: 9}, "1 +5@6")
			if apierrors.IsConflict(err) != tc.wantRefused || err != nil && !tc.wantRefused {
				t.Fatalf("error %v, want a conflict: %t", err, tc.wantRefused)
			}
			if want := map[bool]int{false: 2, true: 1}[tc.wantRefused]; writes != want {
				t.Errorf("written %d times, want %d", writes, want)
			}
			got, err := client.AutoscalingV2().HorizontalPodAutoscalers("prod").Get(t.Context(), "web", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if !tc.wantRefused {
				current.Annotations, current.Status.DesiredReplicas = map[string]string{config.ScaleEvents: "1 +5@6"}, 9
			}
			if diff := cmp.Diff(current, got); diff != "" {
				t.Errorf("HPA (-want +got):\n%s", diff)
			}
		})
	}
}

// What the API server does with an HPA that is sent to its status subresource: the annotations are taken, the spec is not.
func TestTheStatusSubresourceOfHPAsTakesAnnotations(t *testing.T) {
	old := &autoscaling.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "web", UID: "1", ResourceVersion: "7"},
		Spec:       autoscaling.HorizontalPodAutoscalerSpec{MaxReplicas: 5},
	}
	sent := old.DeepCopy()
	sent.Spec.MaxReplicas = 6
	sent.Status.DesiredReplicas = 3
	sent.Annotations = map[string]string{config.ScaleEvents: "+1@2"}
	ctx := request.WithNamespace(t.Context(), "prod")
	if err := rest.BeforeUpdate(horizontalpodautoscaler.StatusStrategy, ctx, sent, old); err != nil {
		t.Fatal(err)
	}
	if sent.Annotations[config.ScaleEvents] != "+1@2" || sent.Status.DesiredReplicas != 3 || sent.Spec.MaxReplicas != 5 {
		t.Errorf("stored %+v", sent)
	}
}
