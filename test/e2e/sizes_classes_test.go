// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/autoscaler/config"
	"github.com/berth-dev/berth/test/fixture"
)

const (
	// staticLabel is on nodes of which the autoscaler's configuration says that cpus are pinned there.
	staticLabel = "e2e.berth.dev/static-cpu"
	// pinned has a test cluster's kubelet pin cpus.
	pinned = "cluster.berth.dev/cpu-manager"
)

// hopeless is a set whose pods can not have the size that is recommended.
type hopeless struct {
	node string
	set  func(*appsv1.StatefulSet)
	// change makes the recommendation.
	change func(*vpav1.ContainerResourcePolicy)
	mode   vpav1.UpdateMode
	reason string
	words  []string
}

func hopelessSets() map[string]hopeless {
	container := func(set *appsv1.StatefulSet) *corev1.Container { return &set.Spec.Template.Spec.Containers[0] }
	guaranteed := func(set *appsv1.StatefulSet) {
		container(set).Resources.Limits = container(set).Resources.Requests.DeepCopy()
	}
	grow := func(policy *vpav1.ContainerResourcePolicy) { policy.MinAllowed = resources(largeCPU, largeMemory) }
	return map[string]hopeless{
		"static": {
			node: "static", set: guaranteed, change: grow, mode: vpav1.UpdateModeInPlace,
			reason: "Impossible", words: []string{"static cpu manager policy", "the pod is Guaranteed"},
		},
		"burst": {
			node: "plain", set: guaranteed, mode: vpav1.UpdateModeInPlaceOrRecreate,
			change: func(policy *vpav1.ContainerResourcePolicy) {
				policy.ControlledValues = ptr.To(vpav1.ContainerControlledValuesRequestsOnly)
				policy.MinAllowed, policy.MaxAllowed = resources("50m", "100Mi"), resources("50m", "100Mi")
			},
			reason: "Impossible", words: []string{"would lose its QoS class Guaranteed"},
		},
		"full": {
			node: "plain", mode: vpav1.UpdateModeInPlace,
			set: func(set *appsv1.StatefulSet) {
				container(set).Resources.Limits = resources("200m", "600Mi")
				set.Spec.Template.Annotations["kwok.x-k8s.io/usage-memory"] = "500Mi"
			},
			change: func(policy *vpav1.ContainerResourcePolicy) {
				policy.MinAllowed, policy.MaxAllowed = resources("50m", "100Mi"), resources("50m", "100Mi")
			},
			reason: "Impossible", words: []string{"bytes of memory, and its limit would be"},
		},
		"huge": {
			node: "plain", mode: vpav1.UpdateModeInPlace,
			change: func(policy *vpav1.ContainerResourcePolicy) { policy.MinAllowed = resources("100", largeMemory) },
			reason: "Impossible", words: []string{"has 4 in all"},
		},
		"vast": {
			node: "plain", mode: vpav1.UpdateModeInPlaceOrRecreate,
			change: func(policy *vpav1.ContainerResourcePolicy) { policy.MinAllowed = resources("100", largeMemory) },
			reason: "Waits", words: []string{"no node has room for its successor"},
		},
	}
}

// TestSizesThatCanNotBe: pods that can not have their size are left alone, and say why; nothing is patched or evicted.
func TestSizesThatCanNotBe(t *testing.T) {
	t.Parallel()
	const g = ground("sizes-hopeless")
	table := hopelessSets()
	before := map[string]string{}
	test := features.New("sizes that can not be").
		Setup(g.lay(t, g.node("plain", "zone-a", nil), g.node("static", "zone-b", map[string]string{staticLabel: "true"}))).
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			s.patchNode(ctx, t, g.at("static"), fmt.Sprintf(`{"metadata":{"annotations":{%q:"static"}}}`, pinned))
			for name, row := range table {
				s.sizedSetNamed(ctx, t, g, name, 2, row.mode, func(set *appsv1.StatefulSet) {
					set.Spec.Template.Spec.NodeSelector[corev1.LabelHostname] = g.at(row.node) + ".local"
					set.Spec.VolumeClaimTemplates = nil
					set.Spec.Template.Spec.Containers[0].VolumeMounts = nil
					if row.set != nil {
						row.set(set)
					}
				})
			}
			before = s.sizesOfAll(ctx, t)
		}))
	for name, row := range table {
		test = test.Assess(name, step(func(ctx context.Context, t *testing.T, s scene) {
			if err := s.updateVPA(ctx, name, func(vpa *vpav1.VerticalPodAutoscaler) {
				row.change(&vpa.Spec.ResourcePolicy.ContainerPolicies[0])
			}); err != nil {
				t.Fatal(err)
			}
			message := s.awaitVPACondition(ctx, t, name, config.SizesApplied, corev1.ConditionFalse, row.reason, row.words...)
			t.Logf("acceptance: %s: %s", name, message)
		}))
	}
	testenv.Test(t, test.
		Assess("nothing was done to them", step(func(ctx context.Context, t *testing.T, s scene) {
			for pod, size := range s.sizesOfAll(ctx, t) {
				if size != before[pod] {
					t.Errorf("%s is now %s, was %s", pod, size, before[pod])
				}
			}
		})).
		Feature())
}

// sizesOfAll is which pod of the namespace has which size.
func (s scene) sizesOfAll(ctx context.Context, t *testing.T) map[string]string {
	t.Helper()
	pods, err := s.Kube.CoreV1().Pods(s.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for i := range pods.Items {
		all[pods.Items[i].Name] = string(pods.Items[i].UID) + " " + sizeOf(pods.Items[i].Spec.Containers[0].Resources)
	}
	return all
}

// TestSizesThatAreTakenBack: a resize that does not come through is undone, and the next ordinal has its turn.
func TestSizesThatAreTakenBack(t *testing.T) {
	t.Parallel()
	const g = ground("sizes-stuck")
	var w fixture.Workload
	testenv.Test(t, features.New("a resize that does not come through").
		Setup(g.lay(t, g.zones("zone-a", "zone-b", "zone-c")...)).
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			w = s.sizedSet(ctx, t, g, 3, vpav1.UpdateModeInPlace, func(set *appsv1.StatefulSet) {
				set.Spec.Template.Spec.Containers[0].Resources.Limits = resources(smallCPU, smallMemory)
			})
			// db-2 hangs. On the node of db-1 cpus are pinned, and the configuration does not say so.
			s.kubectl(ctx, t, "annotate", "-n", s.Namespace, "pod", "db-2", "cluster.berth.dev/resize=hang")
			s.patchNode(ctx, t, g.at("zone-b"), fmt.Sprintf(`{"metadata":{"annotations":{%q:"static"}}}`, pinned))
		})).
		Assess("is undone, and the next one has its turn", step(func(ctx context.Context, t *testing.T, s scene) {
			j := s.watchSizes(ctx, t, w.Name, 3)
			s.grow(ctx, t, largeCPU, largeMemory)
			s.awaitEvent(ctx, t, "Pod", "db-2", "ResizeReverted", "in progress")
			s.awaitEvent(ctx, t, "Pod", "db-1", "ResizeReverted", "Infeasible")
			s.awaitSizes(ctx, t, w, "200m 600Mi of 200m 600Mi", "db-0")
			j.catchUp(ctx, t, s)
			t.Logf("acceptance: two resizes are taken back:\n%s", j)
			if asked, want := j.turns("asked for 200m 600Mi"), descending(2, 0); !slices.Equal(asked, want) {
				t.Errorf("order %v, want %v", asked, want)
			}
			for _, pod := range []string{"db-2", "db-1"} {
				if back := j.of("asked for 100m 300Mi"); !slices.Contains(back, pod) {
					t.Errorf("%s was not asked back to its size: %v", pod, back)
				}
			}
			if gone := slices.Concat(j.of("gone"), j.of("restarted")); len(gone) > 0 {
				t.Errorf("disturbed: %s", strings.Join(gone, " "))
			}
			if err := j.err(); err != nil {
				t.Error(err)
			}
		})).
		Feature())
}
