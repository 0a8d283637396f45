// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	"k8s.io/client-go/dynamic"

	"github.com/berth-dev/berth/test/fixture"
)

// Kinds of operators, of testdata.
var (
	crewResource         = schema.GroupVersionResource{Group: "e2e.berth.dev", Version: "v1", Resource: "crews"}
	scaledObjectResource = schema.GroupVersionResource{Group: "keda.sh", Version: "v1alpha1", Resource: "scaledobjects"}
)

const (
	// rivalCPU is what the pods request, and rivalUsage what they use: an HPA wants more of them, a VPA larger ones.
	rivalCPU, rivalUsage = "100m", "200m"
	scaledObject         = "queue"
)

// workloads makes what rivals want.
func (s scene) workloads(ctx context.Context) error {
	use := map[string]string{"kwok.x-k8s.io/usage-cpu": rivalUsage, "kwok.x-k8s.io/usage-memory": "64Mi"}
	web := fixture.Workload{Name: "web", Replicas: 1, CPU: rivalCPU}.Deployment()
	web.Spec.Template.Annotations = use
	w := fixture.Workload{Name: "db", Replicas: 1, CPU: rivalCPU}
	db := w.StatefulSet()
	db.Spec.Template.Annotations = use
	return s.Create(ctx, s.Namespace, web, w.Service(), db)
}

func (s scene) dynamic(t *testing.T, resource schema.GroupVersionResource) dynamic.NamespaceableResourceInterface {
	t.Helper()
	client, err := dynamic.NewForConfig(s.REST)
	if err != nil {
		t.Fatal(err)
	}
	return client.Resource(resource)
}

func (s scene) custom(resource schema.GroupVersionResource) (dynamic.ResourceInterface, error) {
	client, err := dynamic.NewForConfig(s.REST)
	if err != nil {
		return nil, err
	}
	return client.Resource(resource).Namespace(s.Namespace), nil
}

// makeCrew makes an object of an operator that can be scaled, and says what it selects.
func makeCrew(name, selector string) write {
	return func(ctx context.Context, s scene) error {
		crews, err := s.custom(crewResource)
		if err != nil {
			return err
		}
		crew := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "e2e.berth.dev/v1", "kind": "Crew", "metadata": map[string]any{"name": name}, "spec": map[string]any{"size": int64(1)},
		}}
		if crew, err = crews.Create(ctx, crew, metav1.CreateOptions{}); err != nil {
			return err
		}
		crew.Object["status"] = map[string]any{"size": int64(1), "selector": selector}
		_, err = crews.UpdateStatus(ctx, crew, metav1.UpdateOptions{})
		return err
	}
}

// adopt makes the crew the owner of the set.
func adopt(ctx context.Context, s scene) error {
	crews, err := s.custom(crewResource)
	if err != nil {
		return err
	}
	crew, err := crews.Get(ctx, "crew", metav1.GetOptions{})
	if err != nil {
		return err
	}
	patch, err := replacing("/metadata/ownerReferences", []metav1.OwnerReference{*metav1.NewControllerRef(crew, crewResource.GroupVersion().WithKind("Crew"))})
	if err != nil {
		return err
	}
	_, err = s.Kube.AppsV1().StatefulSets(s.Namespace).Patch(ctx, "db", types.JSONPatchType, patch, metav1.PatchOptions{})
	return err
}

// createKEDA makes a ScaledObject, and the HPA that KEDA makes of it.
func createKEDA(target autoscalingv2.CrossVersionObjectReference) write {
	return func(ctx context.Context, s scene) error {
		objects, err := s.custom(scaledObjectResource)
		if err != nil {
			return err
		}
		made, err := objects.Create(ctx, &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": map[string]any{"name": scaledObject},
		}}, metav1.CreateOptions{})
		if err != nil {
			return err
		}
		hpa := namedHPA(front, target)
		hpa.Labels = map[string]string{"app.kubernetes.io/managed-by": "keda-operator"}
		hpa.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(made, scaledObjectResource.GroupVersion().WithKind("ScaledObject"))}
		_, err = s.Kube.AutoscalingV2().HorizontalPodAutoscalers(s.Namespace).Create(ctx, hpa, metav1.CreateOptions{})
		return err
	}
}

// deleteKEDA deletes the ScaledObject. The garbage collector deletes its HPA.
func deleteKEDA(ctx context.Context, s scene) error {
	objects, err := s.custom(scaledObjectResource)
	if err != nil {
		return err
	}
	return objects.Delete(ctx, scaledObject, metav1.DeleteOptions{})
}

// onReplicaSet writes an autoscaler on the ReplicaSet of web, once there is one.
func onReplicaSet(create func(autoscalingv2.CrossVersionObjectReference) write) write {
	return func(ctx context.Context, s scene) error {
		var name string
		if err := fixture.Until(ctx, "one ReplicaSet", patience, func(ctx context.Context) (string, bool, error) {
			sets, err := s.Kube.AppsV1().ReplicaSets(s.Namespace).List(ctx, metav1.ListOptions{})
			if err != nil || len(sets.Items) != 1 {
				return "another number of them", false, err
			}
			name = sets.Items[0].Name
			return "", true, nil
		}); err != nil {
			return err
		}
		return create(fixture.Target("ReplicaSet", name))(ctx, s)
	}
}

func recreating(target autoscalingv2.CrossVersionObjectReference) write {
	return createVPA(target, vpav1.UpdateModeRecreate)
}

// deleteNamed deletes "HPA/name" or "VPA/name".
func deleteNamed(who string) write {
	return func(ctx context.Context, s scene) error {
		kind, name, _ := strings.Cut(who, "/")
		if kind == "HPA" {
			return s.Kube.AutoscalingV2().HorizontalPodAutoscalers(s.Namespace).Delete(ctx, name, metav1.DeleteOptions{})
		}
		return s.VPA.AutoscalingV1().VerticalPodAutoscalers(s.Namespace).Delete(ctx, name, metav1.DeleteOptions{})
	}
}

// optOut labels the namespace.
func optOut(value string) write {
	return func(ctx context.Context, s scene) error {
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": map[string]string{"berth.dev/allow-hpa-with-vpa": value}}})
		if err != nil {
			return err
		}
		_, err = s.Kube.CoreV1().Namespaces().Patch(ctx, s.Namespace, types.MergePatchType, patch, metav1.PatchOptions{})
		return err
	}
}
