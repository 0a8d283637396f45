// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	toolswatch "k8s.io/client-go/tools/watch"

	"github.com/berth-dev/berth/test/fixture"
)

// patience bounds every wait. At 20 requests a second a thousand HPAs need minutes.
const patience = 15 * time.Minute

// bench is what all turns share.
type bench struct {
	cluster *fixture.Cluster
	scene   *scene
	source  *source
}

// run is what a turn has measured.
type run struct {
	subject string
	// half and whole are the times from new metrics to half of the scales and all of them written; work is
	// whole without the time until the first look at the metrics.
	half, whole, work time.Duration
	cost              cost
}

func (r run) String() string {
	return fmt.Sprintf("half of the scales written after %.1f s and all after %.1f s, %.1f s of it from the first look at the metrics; CPU %.2f s, of the control plane %.2f s, %d requests",
		r.half.Seconds(), r.whole.Seconds(), r.work.Seconds(), r.cost.cpu.Seconds(), r.cost.plane.Seconds(), r.cost.requests)
}

func prepare(ctx context.Context, cluster *fixture.Cluster, o options) (*bench, error) {
	if err := silence(ctx, cluster); err != nil {
		return nil, err
	}
	objects := &scene{kube: cluster.Kube, hpas: o.hpas, pods: o.pods}
	b := &bench{cluster: cluster, scene: objects, source: newSource(objects.measured())}
	// In this order, or somebody may have taken the place of metrics-server.
	if err := b.source.serve(ctx, cluster); err != nil {
		return nil, err
	}
	return b, objects.build(ctx)
}

// turn lets the subject evaluate all HPAs while their usage is on target, and
// doubles it a phase after one of its passes has begun.
func (b *bench) turn(ctx context.Context, s subject, phase time.Duration) (r run, err error) {
	b.source.set(calm)
	if err := b.scene.reset(ctx); err != nil {
		return r, err
	}
	if err := s.start(ctx, b.cluster); err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, b.cluster.Stop(context.WithoutCancel(ctx), s.component)) }()
	alive := func() error { _, err := cpuOf(b.cluster, s.component); return err }
	if err := b.scene.settled(ctx, alive); err != nil {
		return r, err
	}
	_, pass := b.source.read()
	select {
	case <-time.After(untilPhase(time.Since(pass), phase)):
	case <-ctx.Done():
		return r, ctx.Err()
	}

	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	before, err := b.costs(ctx, s)
	if err != nil {
		return r, err
	}
	scales, err := b.scene.watch(ctx)
	if err != nil {
		return r, err
	}
	defer scales.Stop()
	begin := b.source.set(busy)
	half, end, err := b.scene.written(ctx, scales)
	if err != nil {
		return r, err
	}
	requests, look := b.source.read()
	after, err := b.costs(ctx, s)
	if err != nil {
		return r, err
	}
	r = run{subject: s.name, half: half.Sub(begin), whole: end.Sub(begin), work: end.Sub(look), cost: after.minus(before)}
	r.cost.requests += requests // those that the API server hands on it does not count
	return r, nil
}

// untilPhase is the time to the next moment that is a phase after the beginning of a sync period.
func untilPhase(sinceFirst, phase time.Duration) time.Duration {
	return (phase - sinceFirst%syncPeriod + syncPeriod) % syncPeriod
}

// watch sees every Deployment that changes from now on.
func (s *scene) watch(ctx context.Context) (watch.Interface, error) {
	deployments := s.kube.AppsV1().Deployments("")
	now, err := deployments.List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return nil, err
	}
	return toolswatch.NewRetryWatcherWithContext(ctx, now.ResourceVersion, &cache.ListWatch{
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			return deployments.Watch(ctx, options)
		},
	})
}

// written waits until every Deployment asks for twice its pods, and returns when half of them did, and the last one.
func (s *scene) written(ctx context.Context, changes watch.Interface) (half, all time.Time, err error) {
	done := map[string]bool{}
	for len(done) < s.hpas {
		select {
		case event := <-changes.ResultChan():
			all = time.Now()
			d, ok := event.Object.(*appsv1.Deployment)
			if !ok {
				return half, all, fmt.Errorf("the watch of Deployments says %s: %v", event.Type, event.Object)
			}
			if replicas := int(*d.Spec.Replicas); replicas != 2*s.pods {
				return half, all, fmt.Errorf("%s/%s asks for %d replicas, want %d", d.Namespace, d.Name, replicas, 2*s.pods)
			}
			done[d.Name] = true
			if len(done) == (s.hpas+1)/2 {
				half = all
			}
		case <-ctx.Done():
			return half, all, fmt.Errorf("%d of %d scales written: %w", len(done), s.hpas, ctx.Err())
		}
	}
	return half, all, nil
}
