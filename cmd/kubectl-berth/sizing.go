// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	"k8s.io/client-go/informers"

	"github.com/berth-dev/berth/autoscaler"
	"github.com/berth-dev/berth/autoscaler/metrics"
	"github.com/berth-dev/berth/autoscaler/observe"
)

// sizing is what exists for a VPA, read once.
type sizing struct {
	vpa *vpav1.VerticalPodAutoscaler
	now time.Time

	checkpoints []*vpav1.VerticalPodAutoscalerCheckpoint
	// unlearnt says why checkpoints can not be read.
	unlearnt string

	reader *observe.Reader
	// view tells slots, by the policies.
	view *view
	autoscaler.Workload
	// used is what the metrics API says of the pods of the namespace; empty where it
	// says nothing.
	used map[string]metrics.PodUsage
	// podless says why pods, or what decides about them, can not be read.
	podless string
}

// readSizing reads what a VPA depends on. Where somebody may not read a part of it, the
// rest is worth having.
func (c *cluster) readSizing(ctx context.Context, vpa *vpav1.VerticalPodAutoscaler, deadline time.Duration) (*sizing, error) {
	s := &sizing{vpa: vpa, now: c.now()}
	var checkpoints listing[*vpav1.VerticalPodAutoscalerCheckpoint]
	err := together(ctx,
		unless(&s.unlearnt, read(&checkpoints, "VerticalPodAutoscalerCheckpoints", c.vpas.VerticalPodAutoscalerCheckpoints(vpa.Namespace).List)),
		unless(&s.podless, func(ctx context.Context) error { return c.readSized(ctx, s, deadline) }),
	)
	of := checkpoints[vpa.Namespace]
	for _, name := range keys(of) {
		if of[name].Spec.VPAObjectName == vpa.Name {
			s.checkpoints = append(s.checkpoints, of[name])
		}
	}
	return s, err
}

// unless returns a read that, where its objects are forbidden or not there, says so
// instead of failing.
func unless(why *string, read func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		err := read(ctx)
		if apierrors.IsForbidden(err) || apierrors.IsNotFound(err) {
			*why = err.Error()
			return nil
		}
		return err
	}
}

// readSized fills the autoscaler's own reader with what it knows of the target's pods.
func (c *cluster) readSized(ctx context.Context, s *sizing, deadline time.Duration) error {
	factory := informers.NewSharedInformerFactory(c.kube, 0)
	reader, err := observe.New(factory, c.kube.CoreV1(), nil, c.gauges.scales, c.gauges.mapper)
	if err != nil {
		return err
	}
	s.view = &view{namespace: s.vpa.Namespace}
	namespace, core, apps := s.vpa.Namespace, factory.Core().V1(), factory.Apps().V1()
	err = together(ctx,
		stock(core.Pods().Informer(), "pods", c.kube.CoreV1().Pods(namespace).List),
		stock(apps.Deployments().Informer(), "Deployments", c.kube.AppsV1().Deployments(namespace).List),
		stock(apps.ReplicaSets().Informer(), "ReplicaSets", c.kube.AppsV1().ReplicaSets(namespace).List),
		stock(apps.StatefulSets().Informer(), "StatefulSets", c.kube.AppsV1().StatefulSets(namespace).List),
		stock(core.LimitRanges().Informer(), "LimitRanges", c.kube.CoreV1().LimitRanges(namespace).List),
		stock(factory.Policy().V1().PodDisruptionBudgets().Informer(), "PodDisruptionBudgets", c.kube.PolicyV1().PodDisruptionBudgets(namespace).List),
		stock(core.Nodes().Informer(), "nodes", c.kube.CoreV1().Nodes().List),
		func(ctx context.Context) (err error) { s.view.policies, err = shelve(ctx, c.policies); return err },
		func(ctx context.Context) error {
			// Without usage a memory limit that is to shrink waits, as for the autoscaler.
			snapshot, _ := metrics.NewReader(c.gauges.samples(namespace), deadline).Read(ctx)
			s.used = snapshot.Namespace(namespace)
			return ctx.Err()
		},
	)
	if err != nil || s.vpa.Spec.TargetRef == nil {
		return err
	}
	ref := autoscaler.TargetOf(s.vpa)
	scale, err := reader.Scale(ctx, namespace, ref)
	if err != nil {
		// Of a kind that nobody knows, too, the rest is worth having.
		s.podless = wrap("reading the target", err).Error()
		return ctx.Err()
	}
	s.reader, s.Workload = reader, autoscaler.WorkloadOf(reader, namespace, ref, scale)
	return nil
}
