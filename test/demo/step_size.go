// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	"k8s.io/utils/ptr"

	"github.com/berth-dev/berth/test/demo/story"
	"github.com/berth-dev/berth/test/fixture"
)

// moreMemory is what db needs from step 4 on.
const dbMemory, moreMemory = "2Gi", "3Gi"

// size: db needs more memory, and gets it from the highest ordinal to the lowest.
func (d *demo) size() story.Step {
	return story.Step{
		Title: "db needs more memory: 2Gi→3Gi",
		Expected: "a VPA on db, which has no HPA, is accepted, and leaves its pods as they are;\n" +
			"when 3Gi is the least that it allows, ordinals 4 to 0 are resized in place, one after the other, each\n" +
			"when the kubelet has acknowledged the last; no container restarts",
		Play: func(ctx context.Context, p *story.Progress) (story.Happening, error) {
			if _, err := d.createVPA(ctx, d.app.dbSizer()); err != nil {
				return story.Happening{}, fmt.Errorf("the VPA on db: %w", err)
			}
			if err := d.until(ctx, p, "a recommendation for db", func(ctx context.Context) (string, bool, error) {
				vpa, err := d.VPA.AutoscalingV1().VerticalPodAutoscalers(d.namespace).Get(ctx, db, metav1.GetOptions{})
				return "no recommendation yet", err == nil && vpa.Status.Recommendation != nil, err
			}); err != nil {
				return story.Happening{}, err
			}
			before, begin := d.dbPods(), time.Now()
			if err := d.allowLeast(ctx, moreMemory); err != nil {
				return story.Happening{}, err
			}
			if err := d.until(ctx, p, "5 ordinals of 3Gi", func(context.Context) (string, bool, error) {
				state, sized := sizesOf(d.dbPods(), moreMemory)
				return state, sized == atFirst, nil
			}); err != nil {
				return story.Happening{}, err
			}
			after := d.journal.since(begin, podSized, d.namespace+"/"+db+"-")
			notes, err := resized(before, d.dbPods(), after)
			return story.Happening{Notes: notes, Table: whenSized(begin, after)}, err
		},
	}
}

// dbSizer sizes db's memory alone: the story has no place for another cpu.
func (a app) dbSizer() *vpav1.VerticalPodAutoscaler {
	vpa := fixture.VPA(db, fixture.Target("StatefulSet", db))
	vpa.Spec.UpdatePolicy = &vpav1.PodUpdatePolicy{UpdateMode: ptr.To(vpav1.UpdateModeInPlaceOrRecreate)}
	vpa.Spec.ResourcePolicy = &vpav1.PodResourcePolicy{ContainerPolicies: []vpav1.ContainerResourcePolicy{{
		ContainerName:       vpav1.DefaultContainerResourcePolicy,
		ControlledResources: &[]corev1.ResourceName{corev1.ResourceMemory},
		MinAllowed:          corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(dbMemory)},
	}}}
	return vpa
}

func (d *demo) allowLeast(ctx context.Context, memory string) error {
	patch := fmt.Sprintf(`[{"op":"replace","path":"/spec/resourcePolicy/containerPolicies/0/minAllowed/memory","value":%q}]`, memory)
	_, err := d.VPA.AutoscalingV1().VerticalPodAutoscalers(d.namespace).Patch(ctx, db, types.JSONPatchType, []byte(patch), metav1.PatchOptions{})
	return err
}

// dbPods are the pods of db, the highest ordinal first.
func (d *demo) dbPods() []*corev1.Pod {
	pods, _ := d.pods.Pods(d.namespace).List(selecting(db)) // an informer's store does not fail
	slices.SortFunc(pods, func(a, b *corev1.Pod) int { return strings.Compare(b.Name, a.Name) })
	return pods
}

// sizesOf counts the pods that ask for so much memory and have it.
func sizesOf(pods []*corev1.Pod, memory string) (state string, sized int) {
	var all []string
	for _, pod := range pods {
		has := memoryOf(pod)
		all = append(all, pod.Name+" "+has)
		if has == memory && pod.Spec.Containers[0].Resources.Requests.Memory().String() == memory {
			sized++
		}
	}
	return strings.Join(all, "  "), sized
}

// memoryOf is the memory request that the kubelet has acknowledged.
func memoryOf(pod *corev1.Pod) string {
	if len(pod.Status.ContainerStatuses) == 0 || pod.Status.ContainerStatuses[0].Resources == nil {
		return "-"
	}
	return pod.Status.ContainerStatuses[0].Resources.Requests.Memory().String()
}

// resized fails where a pod is another one, a container has restarted, or the order was not from the highest to the lowest.
func resized(before, after []*corev1.Pod, when []entry) (notes []string, err error) {
	var order []string
	for _, e := range when {
		order = append(order, path.Base(e.name))
	}
	want := make([]string, 0, len(before))
	for _, pod := range before {
		want = append(want, pod.Name)
	}
	if !slices.Equal(order, want) {
		return nil, &story.Unexpected{Expected: fmt.Sprintf("resized in the order %v", want), Actual: fmt.Sprint(order)}
	}
	for i, pod := range after {
		if i >= len(before) || pod.UID != before[i].UID || pod.Status.ContainerStatuses[0].RestartCount != before[i].Status.ContainerStatuses[0].RestartCount {
			return nil, &story.Unexpected{Expected: "the same pods, and no container restarted", Actual: pod.Name + " was re-created or restarted"}
		}
	}
	return []string{"the pods are the same, and no container restarted"}, nil
}

func whenSized(begin time.Time, sized []entry) [][]string {
	table := [][]string{{"pod", "has 3Gi after"}}
	for _, e := range sized {
		table = append(table, []string{path.Base(e.name), seconds(e.at.Sub(begin))})
	}
	return table
}
