// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/autoscaler/vertical/sizes"
	"github.com/berth-dev/berth/test/fixture"
)

// creation is a pod that is created where VPAs have written their sizes.
type creation struct {
	// lines are those of the first VPA; edit changes it before it is created.
	lines []string
	edit  func(*vpav1.VerticalPodAutoscaler)
	// also are the lines of a second VPA of the target, and mark is what it names itself.
	also, mark string
	// deployment: the pod is one of a Deployment, not ordinal 4 of a set.
	deployment bool
	pod        func(*corev1.PodSpec)
	// want is what "db" requests and is limited to, as "1500m/3 4Gi/8Gi".
	want string
	// sidecar is the same of "log".
	sidecar string
}

// What db has by its template, and lines that a VPA may have for it.
const (
	ofTemplate = "1/2 1Gi/2Gi"
	lineOfAny  = "* db 500m 1073741824 1000m 2147483648"
	lineOf4    = "4 db 1500m 4294967296 3000m 8589934592"
)

func creations() map[string]creation {
	always := corev1.ContainerRestartPolicyAlways
	log := corev1.Container{Name: "log", Image: "log"}
	mode := func(mode vpav1.UpdateMode) func(*vpav1.VerticalPodAutoscaler) {
		return func(vpa *vpav1.VerticalPodAutoscaler) {
			vpa.Spec.UpdatePolicy = &vpav1.PodUpdatePolicy{UpdateMode: &mode}
		}
	}
	recommender := func(all ...*vpav1.VerticalPodAutoscalerRecommenderSelector) func(*vpav1.VerticalPodAutoscaler) {
		return func(vpa *vpav1.VerticalPodAutoscaler) { vpa.Spec.Recommenders = all }
	}
	return map[string]creation{
		"sized by its slot":           {lines: []string{lineOf4, lineOfAny}, want: "1500m/3 4Gi/8Gi"},
		"sized as any slot":           {lines: []string{"3 db 7m 7 7m 7", lineOfAny}, want: "500m/1 1Gi/2Gi"},
		"unsized":                     {lines: []string{"3 db 7m 7 7m 7", "* other 7m 7 7m 7"}, want: ofTemplate},
		"no lines":                    {want: ofTemplate},
		"huge exponent":               {lines: []string{"4 db 1e-2147483647 1 - -", lineOfAny}, want: "500m/1 1Gi/2Gi"},
		"huge exponents only":         {lines: []string{"* db 1e2147483647m 1e-2147483647 1e-4000000 1e99"}, want: ofTemplate},
		"no quantities":               {lines: []string{"* db lots more - -", "* db", "", "{\"db\": 1}"}, want: ofTemplate},
		"zero and less":               {lines: []string{"* db 0m 0 0m 0", "* db -1m -1 - -"}, want: ofTemplate},
		"a limit below the request":   {lines: []string{"* db 2000m 4294967296 1000m 4294967296"}, want: "1/2 4Gi/4Gi"},
		"above a limit that is left":  {lines: []string{"* db 4000m 1610612736 - -"}, want: "1/2 1536Mi/2Gi"},
		"a long annotation":           {lines: []string{strings.Repeat("4 db 1m 1 1m\n", 1<<14), lineOfAny}, want: "500m/1 1Gi/2Gi"},
		"a container without limits":  {lines: []string{lineOfAny}, pod: func(p *corev1.PodSpec) { p.Containers[0].Resources.Limits = nil }, want: "500m 1Gi"},
		"a container without any":     {lines: []string{lineOfAny}, pod: func(p *corev1.PodSpec) { p.Containers[0].Resources = corev1.ResourceRequirements{} }, want: "500m 1Gi"},
		"resources of the pod":        {lines: []string{lineOfAny}, pod: podLevel, want: ofTemplate},
		"a sidecar":                   {lines: []string{lineOfAny, "* log 10m 1048576 - -"}, pod: withInit(log, &always), want: "500m/1 1Gi/2Gi", sidecar: "10m 1Mi"},
		"an init container":           {lines: []string{lineOfAny, "* log 10m 1048576 - -"}, pod: withInit(log, nil), want: "500m/1 1Gi/2Gi", sidecar: "- -"},
		"two VPAs, one mark":          {lines: []string{lineOfAny}, also: "* db 7m 7 7m 7", mark: "somebody", want: "500m/1 1Gi/2Gi"},
		"a Deployment's pod":          {lines: []string{lineOfAny}, deployment: true, want: "500m/1 1Gi/2Gi"},
		"mode Off":                    {lines: []string{lineOfAny}, edit: mode(vpav1.UpdateModeOff), want: ofTemplate},
		"mode Initial":                {lines: []string{lineOfAny}, edit: mode(vpav1.UpdateModeInitial), want: "500m/1 1Gi/2Gi"},
		"mode InPlaceOrRecreate":      {lines: []string{lineOfAny}, edit: mode(vpav1.UpdateModeInPlaceOrRecreate), want: "500m/1 1Gi/2Gi"},
		"upstream's recommender":      {lines: []string{lineOfAny}, edit: recommender(), want: ofTemplate},
		"another recommender":         {lines: []string{lineOfAny}, edit: recommender(&vpav1.VerticalPodAutoscalerRecommenderSelector{Name: "other"}), want: ofTemplate},
		"a target of another kind":    {lines: []string{lineOfAny}, edit: func(vpa *vpav1.VerticalPodAutoscaler) { vpa.Spec.TargetRef.Kind = "DaemonSet" }, want: ofTemplate},
		"a target without apiVersion": {lines: []string{lineOfAny}, edit: func(vpa *vpav1.VerticalPodAutoscaler) { vpa.Spec.TargetRef.APIVersion = "" }, want: "500m/1 1Gi/2Gi"},
	}
}

func podLevel(p *corev1.PodSpec) {
	p.Resources = &corev1.ResourceRequirements{Requests: resources("2", "2Gi"), Limits: resources("4", "4Gi")}
}

func withInit(c corev1.Container, restart *corev1.ContainerRestartPolicy) func(*corev1.PodSpec) {
	return func(p *corev1.PodSpec) {
		c.RestartPolicy = restart
		p.InitContainers = append(p.InitContainers, c)
	}
}

func resources(cpu, memory string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
}

// podsAreSized creates a pod for each row. Each has a target of its own.
func podsAreSized() features.Feature {
	table := creations()
	names := slices.Sorted(maps.Keys(table))
	return features.New("the size of a pod").
		Assess("is written on VPAs", step(func(ctx context.Context, t *testing.T, s scene) {
			for i, name := range names {
				c, target := table[name], fmt.Sprintf("target-%d", i)
				kind := "StatefulSet"
				if c.deployment {
					kind = "Deployment"
				}
				vpa := fixture.VPA(target, fixture.Target(kind, target))
				if c.edit != nil {
					c.edit(vpa)
				}
				s.writeSizes(ctx, t, vpa, "", c.lines...)
				if c.also != "" {
					s.writeSizes(ctx, t, fixture.VPA(target+"-also", fixture.Target(kind, target)), c.mark, c.also)
				}
			}
			// The policy knows VPAs from a watch, which delivers in order.
			s.writeSizes(ctx, t, fixture.VPA("last", fixture.Target("StatefulSet", "last")), "", lineOfAny)
			s.awaitSize(ctx, t, "last", "500m/1 1Gi/2Gi")
		})).
		Assess("is what was written, and no pod is stopped", step(func(ctx context.Context, t *testing.T, s scene) {
			longest := time.Duration(0)
			for i, name := range names {
				t.Run(name, func(t *testing.T) {
					c := table[name]
					begin := time.Now()
					pod, err := s.createPod(ctx, podOf(fmt.Sprintf("target-%d", i), c), metav1.CreateOptions{})
					longest = max(longest, time.Since(begin))
					if err != nil {
						t.Fatal(err)
					}
					if diff := cmp.Diff(c.want, amounts(pod.Spec.Containers[0])); diff != "" {
						t.Errorf("size (-want +got):\n%s", diff)
					}
					if c.sidecar != "" && amounts(pod.Spec.InitContainers[0]) != c.sidecar {
						t.Errorf("the sidecar has %q, want %q", amounts(pod.Spec.InitContainers[0]), c.sidecar)
					}
				})
			}
			t.Logf("acceptance: of %d pods the slowest took %s to be created", len(names), longest.Round(time.Millisecond))
		})).
		Feature()
}

// workloadsAreSized deletes pods of real workloads: who makes them again does not know.
func workloadsAreSized() features.Feature {
	set := fixture.Workload{Name: "shards", Replicas: 2, CPU: "1", Scheduler: "nobody", Parallel: true}
	deployment := fixture.Workload{Name: "fronts", Replicas: 1, CPU: "1", Scheduler: "nobody"}
	of := func(ctx context.Context, s scene, w string) ([]string, error) {
		pods, err := s.Kube.CoreV1().Pods(s.Namespace).List(ctx, metav1.ListOptions{LabelSelector: "kind=" + w})
		if err != nil {
			return nil, err
		}
		var have []string
		for _, pod := range pods.Items {
			if pod.DeletionTimestamp == nil {
				have = append(have, pod.Labels["apps.kubernetes.io/pod-index"]+" "+amounts(pod.Spec.Containers[0]))
			}
		}
		slices.Sort(have)
		return have, nil
	}
	await := func(ctx context.Context, t *testing.T, s scene, kind string, want ...string) {
		t.Helper()
		s.until(ctx, t, fmt.Sprintf("pods of the %s with %q", kind, want), func(ctx context.Context) (string, bool, error) {
			have, err := of(ctx, s, kind)
			return fmt.Sprintf("%q", have), slices.Equal(have, want), err
		})
	}
	set.Labels, deployment.Labels = map[string]string{"kind": "set"}, map[string]string{"kind": "deployment"}
	return features.New("pods that are made again").
		Assess("have their template's size at first", step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, set.StatefulSet(), deployment.Deployment())
			await(ctx, t, s, "set", "0 1 -", "1 1 -")
			await(ctx, t, s, "deployment", " 1 -")
		})).
		Assess("have what the VPA says then", step(func(ctx context.Context, t *testing.T, s scene) {
			container := set.StatefulSet().Spec.Template.Spec.Containers[0].Name
			s.writeSizes(ctx, t, fixture.VPA("fronts", fixture.Target("Deployment", "fronts")), "", "* "+container+" 300m 3 - -")
			s.writeSizes(ctx, t, fixture.VPA("shards", fixture.Target("StatefulSet", "shards")), "", "1 "+container+" 200m 2 - -", "* "+container+" 100m 1 - -")
			s.writeSizes(ctx, t, fixture.VPA("last-again", fixture.Target("StatefulSet", "last-again")), "", lineOfAny)
			s.awaitSize(ctx, t, "last-again", "500m/1 1Gi/2Gi")
			now := int64(0)
			if err := s.Kube.CoreV1().Pods(s.Namespace).DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: &now}, metav1.ListOptions{LabelSelector: "kind"}); err != nil {
				t.Fatal(err)
			}
			await(ctx, t, s, "set", "0 100m 1", "1 200m 2")
			await(ctx, t, s, "deployment", " 300m 3")
		})).
		Feature()
}

// writeSizes creates a VPA with these lines under its own mark, or another one.
func (s scene) writeSizes(ctx context.Context, t *testing.T, vpa *vpav1.VerticalPodAutoscaler, mark string, lines ...string) {
	t.Helper()
	vpas := s.VPA.AutoscalingV1().VerticalPodAutoscalers(s.Namespace)
	made, err := vpas.Create(ctx, vpa, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if mark == "" {
		mark = string(made.UID)
	}
	table := "v1 " + mark + "\n" + strings.Join(lines, "\n")
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{sizes.Annotation: table}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := vpas.Patch(ctx, vpa.Name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// awaitSize waits until pods of a set are created with a size.
func (s scene) awaitSize(ctx context.Context, t *testing.T, set, want string) {
	t.Helper()
	s.until(ctx, t, "pods of "+set+" with "+want, func(ctx context.Context) (string, bool, error) {
		pod, err := s.createPod(ctx, podOf(set, creation{}), dryRun)
		if err != nil {
			return err.Error(), false, nil
		}
		return amounts(pod.Spec.Containers[0]), amounts(pod.Spec.Containers[0]) == want, nil
	})
}

// createPod gives up long before a huge number is read.
func (s scene) createPod(ctx context.Context, pod *corev1.Pod, opts metav1.CreateOptions) (*corev1.Pod, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return s.Kube.CoreV1().Pods(s.Namespace).Create(ctx, pod, opts)
}

// podOf is ordinal 4 of a set, or a pod of a Deployment, as their controllers make it.
func podOf(target string, c creation) *corev1.Pod {
	controller := true
	owner := metav1.OwnerReference{APIVersion: "apps/v1", Kind: "StatefulSet", Name: target, UID: "e2e", Controller: &controller}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: target + "-4", Labels: map[string]string{"apps.kubernetes.io/pod-index": "4"}}}
	if c.deployment {
		owner.Kind, owner.Name = "ReplicaSet", target+"-7d9f"
		pod.ObjectMeta = metav1.ObjectMeta{GenerateName: owner.Name + "-", Labels: map[string]string{"pod-template-hash": "7d9f"}}
	}
	pod.OwnerReferences = []metav1.OwnerReference{owner}
	pod.Spec = corev1.PodSpec{SchedulerName: "nobody", Containers: []corev1.Container{{
		Name: "db", Image: "db", Resources: corev1.ResourceRequirements{Requests: resources("1", "1Gi"), Limits: resources("2", "2Gi")},
	}}}
	if c.pod != nil {
		c.pod(&pod.Spec)
	}
	return pod
}

// amounts are requests and limits of cpu and of memory.
func amounts(c corev1.Container) string {
	var words []string
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		word := "-"
		if q, ok := c.Resources.Requests[name]; ok {
			word = short(q)
		}
		if q, ok := c.Resources.Limits[name]; ok {
			word += "/" + short(q)
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

// short is 4Gi for 4294967296.
func short(q resource.Quantity) string {
	return resource.NewMilliQuantity(q.MilliValue(), resource.BinarySI).String()
}
