// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/e2e-framework/klient/k8s"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
	"github.com/berth-dev/berth/test/fixture"
)

// operated is a set whose pods and claims an operator makes itself.
type operated struct {
	fixture.Workload
	source v1alpha1.OrdinalSource
	pod    func(ordinal int) string
	claim  func(ordinal int) string
}

// indexLabel carries the ordinal where the names do not.
const indexLabel = "e2e.berth.dev/index"

// The operators: one labels what it makes, and its pods have names that mean
// nothing; the other has nothing but names, the same for pod and claim.
func operators() []operated {
	w := func(name string) fixture.Workload {
		return fixture.Workload{Name: name, CPU: "50m", Claims: zonalClaim}
	}
	named := func(format string) func(int) string {
		return func(ordinal int) string { return fmt.Sprintf(format, ordinal) }
	}
	kafka := operated{Workload: w("kafka"), source: v1alpha1.OrdinalSource{Label: indexLabel}}
	kafka.pod = func(ordinal int) string { return fmt.Sprintf("kafka-%d", 90-ordinal) }
	kafka.claim = named("disk-of-%d")
	pg := operated{Workload: w("pg"), source: v1alpha1.OrdinalSource{NamePattern: "pg-([0-9]+)"}}
	pg.pod, pg.claim = named("pg-%d"), named("pg-%d")
	return []operated{kafka, pg}
}

func (o operated) labels(ordinal int) map[string]string {
	if o.source.Label == "" {
		return nil
	}
	return map[string]string{o.source.Label: strconv.Itoa(ordinal)}
}

func (o operated) makeClaim(ordinal int) k8s.Object {
	return o.MemberClaim(o.claim(ordinal), o.labels(ordinal))
}

func (o operated) makePod(ordinal int) k8s.Object {
	return o.Member(o.pod(ordinal), o.claim(ordinal), o.labels(ordinal))
}

func (o operated) policy() *v1alpha1.PlacementPolicy {
	policy := fixture.Policy(o.Name, "", over())
	policy.Spec.TargetRef = nil
	policy.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{fixture.AppLabel: o.Name}}
	policy.Spec.Ordinal = &o.source
	return policy
}

// TestOperatorMadePods: pods that no StatefulSet owns are slots too, and their
// claims say which ordinals are wanted.
func TestOperatorMadePods(t *testing.T) {
	t.Parallel()
	each := func(do func(ctx context.Context, t *testing.T, s scene, o operated)) features.Func {
		return step(func(ctx context.Context, t *testing.T, s scene) {
			for _, o := range operators() {
				do(ctx, t, s, o)
			}
		})
	}
	testenv.Test(t, features.New("pods and claims of operators").
		Setup(each(func(ctx context.Context, t *testing.T, s scene, o operated) {
			s.create(ctx, t, o.policy())
			s.awaitPolicy(ctx, t, o.Name, v1alpha1.Accepted, metav1.ConditionTrue)
		})).
		Assess("sparse ordinals are balanced, whatever pod is made first", each(func(ctx context.Context, t *testing.T, s scene, o operated) {
			s.create(ctx, t, o.makeClaim(1), o.makeClaim(3), o.makeClaim(7))
			s.create(ctx, t, o.makePod(7), o.makePod(3), o.makePod(1))
			s.awaitMembers(ctx, t, o, map[int]string{1: "zone-a", 3: "zone-b", 7: "zone-c"})
		})).
		Assess("a pod that is made again returns to the zone of its volume", each(func(ctx context.Context, t *testing.T, s scene, o operated) {
			before := s.volumesOf(ctx, t, o)
			s.deletePod(ctx, t, o.pod(3))
			s.create(ctx, t, o.makePod(3))
			s.awaitMembers(ctx, t, o, map[int]string{1: "zone-a", 3: "zone-b", 7: "zone-c"})
			if diff := cmp.Diff(before, s.volumesOf(ctx, t, o)); diff != "" {
				t.Errorf("volumes (-before +after):\n%s", diff)
			}
		})).
		Assess("an absent sibling counts while its claim exists", each(func(ctx context.Context, t *testing.T, s scene, o operated) {
			s.deletePod(ctx, t, o.pod(7))
			s.create(ctx, t, o.makeClaim(9), o.makePod(9))
			s.awaitMembers(ctx, t, o, map[int]string{1: "zone-a", 3: "zone-b", 9: "zone-a"})
		})).
		Assess("and no longer", each(func(ctx context.Context, t *testing.T, s scene, o operated) {
			s.deleteClaim(ctx, t, o.claim(7))
			s.create(ctx, t, o.makeClaim(11), o.makePod(11))
			s.awaitMembers(ctx, t, o, map[int]string{1: "zone-a", 3: "zone-b", 9: "zone-a", 11: "zone-c"})
		})).
		Feature())
}

// TestOperatorMadePodsInOrder: the order of starting holds for them as well.
func TestOperatorMadePodsInOrder(t *testing.T) {
	t.Parallel()
	o := operators()[0]
	testenv.Test(t, features.New("pods of an operator, made in the wrong order").
		Assess("a higher ordinal waits for one that has but a claim", step(func(ctx context.Context, t *testing.T, s scene) {
			policy := o.policy()
			policy.Spec.Start = &v1alpha1.Start{Order: v1alpha1.StartOrdered}
			s.create(ctx, t, policy)
			s.awaitPolicy(ctx, t, o.Name, v1alpha1.Accepted, metav1.ConditionTrue)
			s.create(ctx, t, o.makeClaim(2), o.makeClaim(5), o.makePod(5))
			t.Log(s.awaitPending(ctx, t, o.pod(5), corev1.PodReasonSchedulingGated, "ordinal 2"))
		})).
		Assess("and comes after it", step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, o.makePod(2))
			s.awaitMembers(ctx, t, o, map[int]string{2: "zone-a", 5: "zone-b"})
		})).
		Feature())
}

// awaitMembers waits until these ordinals run, and no others, and demands that
// each is in its zone. A pod that is gone is made again, as operators do: kwok,
// which ends pods by name, may end the next one with the last.
func (s scene) awaitMembers(ctx context.Context, t *testing.T, o operated, want map[int]string) {
	t.Helper()
	byName := map[string]string{}
	for ordinal, zone := range want {
		byName[o.pod(ordinal)] = zone
	}
	var zones map[string]string
	s.until(ctx, t, fmt.Sprintf("pods %v", slices.Sorted(maps.Keys(byName))), func(ctx context.Context) (string, bool, error) {
		pods, err := s.Kube.CoreV1().Pods(s.Namespace).List(ctx, metav1.ListOptions{LabelSelector: o.Selector()})
		if err != nil {
			return "", false, err
		}
		there := map[string]bool{}
		for _, pod := range pods.Items {
			there[pod.Name] = true
		}
		for ordinal := range want {
			if !there[o.pod(ordinal)] {
				return "pod " + o.pod(ordinal) + " is gone, and made again", false, s.Create(ctx, s.Namespace, o.makePod(ordinal))
			}
		}
		zones = map[string]string{}
		for _, pod := range pods.Items {
			if pod.Status.Phase == corev1.PodRunning && pod.DeletionTimestamp == nil {
				node, err := s.Kube.CoreV1().Nodes().Get(ctx, pod.Spec.NodeName, metav1.GetOptions{})
				if err != nil {
					return "", false, err
				}
				zones[pod.Name] = node.Labels[corev1.LabelTopologyZone]
			}
		}
		return fmt.Sprint(zones), len(pods.Items) == len(want) && len(zones) == len(want), nil
	})
	if diff := cmp.Diff(byName, zones); diff != "" {
		t.Errorf("zones of %s (-want +got):\n%s", o.Name, diff)
	}
}

// volumesOf returns the volume of each claim.
func (s scene) volumesOf(ctx context.Context, t *testing.T, o operated) map[string]string {
	t.Helper()
	claims, err := s.Kube.CoreV1().PersistentVolumeClaims(s.Namespace).List(ctx, metav1.ListOptions{LabelSelector: o.Selector()})
	if err != nil {
		t.Fatal(err)
	}
	volumes := map[string]string{}
	for _, claim := range claims.Items {
		volumes[claim.Name] = claim.Spec.VolumeName
	}
	return volumes
}

// deleteClaim deletes a claim and waits until it is gone.
func (s scene) deleteClaim(ctx context.Context, t *testing.T, name string) {
	t.Helper()
	claims := s.Kube.CoreV1().PersistentVolumeClaims(s.Namespace)
	if err := claims.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	s.until(ctx, t, "the end of claim "+name, func(ctx context.Context) (string, bool, error) {
		_, err := claims.Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return "", true, nil
		}
		return "still there", false, err
	})
}
