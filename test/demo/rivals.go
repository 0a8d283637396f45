// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/berth-dev/berth/test/demo/story"
	"github.com/berth-dev/berth/test/fixture"
)

const (
	rival = "rival"

	// spare is the room for pods of db's size that web and db leave on the first
	// nodes, and waiting is how many pods want more of it.
	spare, waiting = 2*zonesNeeded*nodesPerZone - 2*few - atFirst, 20
)

// rivals fit into the room of an ordinal of db exactly. They want a node that no
// node group made, so that none would help them.
func (a app) rivals() *appsv1.Deployment {
	workload := a.db(spare + waiting)
	workload.Name, workload.Claims = rival, nil
	deployment := workload.Deployment()
	deployment.Spec.Template.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchExpressions: []corev1.NodeSelectorRequirement{{Key: groupLabel, Operator: corev1.NodeSelectorOpDoesNotExist}},
		}}},
	}}
	return deployment
}

// crowd makes the rivals, waits until all that found no room were refused, by
// the scheduler and by the autoscaler, and returns where db is.
func (d *demo) crowd(ctx context.Context, p *story.Progress) (fixture.Table, error) {
	if err := d.Create(ctx, d.namespace, d.app.rivals()); err != nil {
		return nil, err
	}
	expected := fmt.Sprintf("%d pod of db's size to take the last room, and %d to wait, without hope for a node", spare, waiting)
	if err := d.until(ctx, p, expected, func(ctx context.Context) (string, bool, error) {
		placed, refused := d.rivals()
		told, err := d.told(ctx, "NotTriggerScaleUp", rival)
		state := fmt.Sprintf("rivals of db: %d have a node, %d wait; %d were told that no new node helps", placed, refused, told)
		// One that was told may have found the last room yet.
		return state, placed == spare && refused == waiting && told >= waiting, err
	}); err != nil {
		return nil, err
	}
	return d.Table(ctx, d.namespace, db)
}

// rivals counts those that have a node, and those that were refused one.
func (d *demo) rivals() (placed, refused int) {
	pods, _ := d.pods.Pods(d.namespace).List(selecting(rival)) // an informer's store does not fail
	for _, pod := range pods {
		switch {
		case pod.Spec.NodeName != "":
			placed++
		case slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodScheduled && c.Reason == corev1.PodReasonUnschedulable
		}):
			refused++
		}
	}
	return placed, refused
}

// disperse takes the rivals away, so that the rest of the story has the room.
func (d *demo) disperse(ctx context.Context, p *story.Progress) error {
	background := metav1.DeletePropagationBackground
	if err := d.Kube.AppsV1().Deployments(d.namespace).Delete(ctx, rival, metav1.DeleteOptions{PropagationPolicy: &background}); err != nil {
		return err
	}
	return d.until(ctx, p, "the rivals of db to be gone", func(context.Context) (string, bool, error) {
		pods, _ := d.pods.Pods(d.namespace).List(selecting(rival))
		return fmt.Sprintf("rivals of db: %d are left", len(pods)), len(pods) == 0, nil
	})
}
