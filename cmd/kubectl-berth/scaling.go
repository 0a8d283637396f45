// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"time"

	"github.com/berth-dev/berth/autoscaler"
	"github.com/berth-dev/berth/autoscaler/config"
	"github.com/berth-dev/berth/autoscaler/guard"
	"github.com/berth-dev/berth/autoscaler/horizontal"
	"github.com/berth-dev/berth/autoscaler/observe"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
)

// workers bounds the requests at a time about scales and metrics.
const workers = 8

// scaling is what exists in a namespace for its HPAs, read once.
type scaling struct {
	hpas   map[string]*autoscalingv2.HorizontalPodAutoscaler
	reader *observe.Reader
	tuning tuning
	now    time.Time

	// canary is nil where there is none, or where it can not be read.
	canary       *autoscalingv2.HorizontalPodAutoscaler
	canaryUnread error
}

// readScaling fills the autoscaler's own reader with one listing of the
// namespace: its informers are not started.
func (c *cluster) readScaling(ctx context.Context) (*scaling, error) {
	factory := informers.NewSharedInformerFactory(c.kube, 0)
	reader, err := observe.New(factory, c.kube.CoreV1(), nil, c.gauges.scales, c.gauges.mapper)
	if err != nil {
		return nil, err
	}
	s := &scaling{hpas: map[string]*autoscalingv2.HorizontalPodAutoscaler{}, reader: reader, now: c.now()}
	core, apps := factory.Core().V1(), factory.Apps().V1()
	err = together(ctx,
		stock(factory.Autoscaling().V2().HorizontalPodAutoscalers().Informer(), "HorizontalPodAutoscalers", c.kube.AutoscalingV2().HorizontalPodAutoscalers(c.namespace).List),
		stock(core.Pods().Informer(), "pods", c.kube.CoreV1().Pods(c.namespace).List),
		stock(apps.Deployments().Informer(), "Deployments", c.kube.AppsV1().Deployments(c.namespace).List),
		stock(apps.ReplicaSets().Informer(), "ReplicaSets", c.kube.AppsV1().ReplicaSets(c.namespace).List),
		stock(apps.StatefulSets().Informer(), "StatefulSets", c.kube.AppsV1().StatefulSets(c.namespace).List),
		func(ctx context.Context) (err error) { s.tuning, err = c.readTuning(ctx); return err },
		func(ctx context.Context) error {
			s.canary, s.canaryUnread = observe.NewCanary(c.kube.AutoscalingV2()).Look(ctx)
			return ctx.Err()
		},
	)
	for _, hpa := range reader.HPAs() {
		s.hpas[hpa.Name] = hpa
	}
	return s, err
}

// stock returns a function that lists objects into the store of an informer.
func stock[L runtime.Object](informer cache.SharedIndexInformer, what string, list func(context.Context, metav1.ListOptions) (L, error)) func(context.Context) error {
	return func(ctx context.Context) error {
		return wrap("listing "+what, visit(ctx, list, func(one metav1.Object) {
			// It fails for what is no object only.
			_ = informer.GetIndexer().Add(one)
		}))
	}
}

// inputFor is what a decision about an HPA depends on, but for metrics, pods and
// other HPAs. The error is why the target's scale can not be read.
//
// Recommendations of the last minutes are in the memory of the leader alone. In
// their place is one that is too old for any window: the decision is then
// the one that metrics call for now, and stabilization is left to be told.
func (s *scaling) inputFor(ctx context.Context, hpa *autoscalingv2.HorizontalPodAutoscaler) (horizontal.Input, error) {
	in := horizontal.Input{Now: s.now, HPA: hpa, Config: autoscaler.EngineConfig(s.tuning.Horizontal), Refused: refusalOf(hpa)}
	// What can not be read is forgotten, as the autoscaler does.
	in.History, _ = autoscaler.Recall(hpa, s.now)
	in.History.Recommendations = []horizontal.Recommendation{{}}
	scale, err := s.reader.Scale(ctx, hpa.Namespace, hpa.Spec.ScaleTargetRef)
	if err != nil {
		in.Scale.Absent = err.Error()
		return in, err
	}
	in.Scale = horizontal.Scale{SpecReplicas: scale.SpecReplicas, StatusReplicas: scale.StatusReplicas, Selector: scale.Selector}
	return in, nil
}

// refusalOf is why an HPA may not act, as the guard has told it: who held the
// target first is known to the leader, and to the HPA by its condition.
func refusalOf(hpa *autoscalingv2.HorizontalPodAutoscaler) string {
	for _, condition := range hpa.Status.Conditions {
		if condition.Type == config.Conflicted && condition.Status == v1.ConditionTrue && guard.StandingOf(guard.Reason(condition.Reason)) == guard.Refused {
			return condition.Message
		}
	}
	return ""
}

// selectorOf is nil where the target selects no pods, or nobody knows which.
func selectorOf(in horizontal.Input) labels.Selector {
	if in.Scale.Absent != "" || in.Scale.Selector == "" {
		return nil
	}
	selector, err := labels.Parse(in.Scale.Selector)
	if err != nil {
		return nil
	}
	return selector
}

// selectedBy returns the HPAs of the namespace that select pods of this one, if
// there are others.
func (s *scaling) selectedBy(ctx context.Context, in horizontal.Input) []string {
	hpas := s.reader.HPAs()
	selecting := make([]observe.Selecting, len(hpas))
	workqueue.ParallelizeUntil(ctx, workers, len(hpas), func(i int) {
		other := in
		if hpas[i].Name != in.HPA.Name {
			// One whose target can not be read is in nobody's way.
			other, _ = s.inputFor(ctx, hpas[i])
		}
		// As for the autoscaler, only those whose metrics are asked can be in each other's way.
		if selector := selectorOf(other); selector != nil && other.Refused == "" && other.Awake() {
			selecting[i] = observe.Selecting{HPA: hpas[i], Selector: selector}
		}
	})
	known := selecting[:0]
	for _, one := range selecting {
		if one.HPA != nil {
			known = append(known, one)
		}
	}
	return s.reader.Overlaps(known)[types.NamespacedName{Namespace: in.HPA.Namespace, Name: in.HPA.Name}]
}
