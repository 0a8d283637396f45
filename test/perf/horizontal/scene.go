// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/workqueue"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"
)

const (
	// writers is how many objects are made at a time.
	writers = 16
	// perNamespace is how many HPAs share a namespace.
	perNamespace = 10
	container    = "web"
	// request is what every pod asks for in thousandths of a core, and target the percentage of it that it is to use:
	// it does when calm, and uses twice as much when busy.
	request, target = 100, 50
	calm, busy      = request * target / 100, 2 * calm
)

// scene is the objects that everybody works on. No controller plays with them:
// pods run and are ready because their status says so, and none comes or goes.
type scene struct {
	kube       kubernetes.Interface
	hpas, pods int
}

// namespaceOf and nameOf are those of the i-th Deployment and its HPA.
func namespaceOf(i int) string { return fmt.Sprintf("perf-%d", i/perNamespace) }
func nameOf(i int) string      { return fmt.Sprintf("web-%d", i) }

// each does something for the numbers below n, some at a time.
func each(ctx context.Context, n int, do func(i int) error) error {
	errs := make([]error, n)
	workqueue.ParallelizeUntil(ctx, writers, n, func(i int) { errs[i] = do(i) })
	return errors.Join(append(errs, ctx.Err())...)
}

// build makes everything but HPAs.
func (s *scene) build(ctx context.Context) error {
	namespaces := (s.hpas + perNamespace - 1) / perNamespace
	if err := each(ctx, namespaces, func(i int) error {
		name := namespaceOf(i * perNamespace)
		if _, err := s.kube.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			return err
		}
		// No pod is let in without it, and who makes it elsewhere does not run here.
		_, err := s.kube.CoreV1().ServiceAccounts(name).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{})
		return err
	}); err != nil {
		return err
	}
	if err := each(ctx, s.hpas, func(i int) error { return s.deploy(ctx, i) }); err != nil {
		return err
	}
	return each(ctx, s.hpas*s.pods, func(i int) error { return s.run(ctx, i/s.pods, i%s.pods) })
}

func (s *scene) deploy(ctx context.Context, i int) error {
	replicas, selector := int32(s.pods), labelsOf(i)
	deployments := s.kube.AppsV1().Deployments(namespaceOf(i))
	deployment, err := deployments.Create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: nameOf(i), Labels: selector},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: selector},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: selector}, Spec: podSpec()},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	deployment.Status = appsv1.DeploymentStatus{
		ObservedGeneration: deployment.Generation, Replicas: replicas, UpdatedReplicas: replicas, ReadyReplicas: replicas, AvailableReplicas: replicas,
	}
	_, err = deployments.UpdateStatus(ctx, deployment, metav1.UpdateOptions{})
	return err
}

// run makes a pod that has been ready for an hour: longer than any period for
// which a pod's cpu is not believed.
func (s *scene) run(ctx context.Context, i, k int) error {
	pods, since := s.kube.CoreV1().Pods(namespaceOf(i)), metav1.NewTime(time.Now().Add(-time.Hour))
	spec := podSpec()
	spec.NodeName = "elsewhere"
	pod, err := pods.Create(ctx, &corev1.Pod{ObjectMeta: podMeta(i, k), Spec: spec}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	pod.Status.Phase, pod.Status.StartTime = corev1.PodRunning, &since
	for _, condition := range []corev1.PodConditionType{corev1.PodScheduled, corev1.PodInitialized, corev1.ContainersReady, corev1.PodReady} {
		pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{Type: condition, Status: corev1.ConditionTrue, LastTransitionTime: since})
	}
	_, err = pods.UpdateStatus(ctx, pod, metav1.UpdateOptions{})
	return err
}

func labelsOf(i int) map[string]string { return map[string]string{"app": nameOf(i)} }

func podMeta(i, k int) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespaceOf(i), Name: fmt.Sprintf("%s-%d", nameOf(i), k), Labels: labelsOf(i)}
}

func podSpec() corev1.PodSpec {
	return corev1.PodSpec{Containers: []corev1.Container{{
		Name: container, Image: "web",
		Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: *resource.NewMilliQuantity(request, resource.DecimalSI)}},
	}}}
}

// measured are the pods as the metrics API names them.
func (s *scene) measured() []metricsv1beta1.PodMetrics {
	var pods []metricsv1beta1.PodMetrics
	for i := range s.hpas * s.pods {
		pods = append(pods, metricsv1beta1.PodMetrics{ObjectMeta: podMeta(i/s.pods, i%s.pods)})
	}
	return pods
}

// reset gives every Deployment its replicas, and a new HPA that nobody has seen.
func (s *scene) reset(ctx context.Context) error {
	scale := fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, s.pods)
	return each(ctx, s.hpas, func(i int) error {
		namespace := namespaceOf(i)
		if _, err := s.kube.AppsV1().Deployments(namespace).Patch(ctx, nameOf(i), types.MergePatchType, scale, metav1.PatchOptions{}); err != nil {
			return err
		}
		hpas := s.kube.AutoscalingV2().HorizontalPodAutoscalers(namespace)
		if err := hpas.Delete(ctx, nameOf(i), metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
		_, err := hpas.Create(ctx, s.hpa(i), metav1.CreateOptions{})
		return err
	})
}

func (s *scene) hpa(i int) *autoscalingv2.HorizontalPodAutoscaler {
	utilization := int32(target)
	return &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Name: nameOf(i)},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: nameOf(i)},
			MaxReplicas:    int32(4 * s.pods),
			Metrics: []autoscalingv2.MetricSpec{{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
				Name:   corev1.ResourceCPU,
				Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &utilization},
			}}},
		},
	}
}

// settled waits until somebody who is alive has evaluated every HPA.
func (s *scene) settled(ctx context.Context, alive func() error) error {
	active := 0
	err := wait.PollUntilContextTimeout(ctx, time.Second, patience, true, func(ctx context.Context) (bool, error) {
		if err := alive(); err != nil {
			return false, err
		}
		hpas, err := s.kube.AutoscalingV2().HorizontalPodAutoscalers("").List(ctx, metav1.ListOptions{ResourceVersion: "0"})
		if err != nil {
			return false, err
		}
		active = 0
		for _, hpa := range hpas.Items {
			if len(hpa.Status.CurrentMetrics) > 0 {
				active++
			}
		}
		return active == s.hpas, nil
	})
	if err != nil {
		return fmt.Errorf("%d of %d HPAs have been evaluated: %w", active, s.hpas, err)
	}
	return nil
}
