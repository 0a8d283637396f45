// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"math/rand"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/autoscaler/simulator"
	"github.com/berth-dev/berth/plugins/api/v1alpha1"
	"github.com/berth-dev/berth/plugins/policies"
	"github.com/berth-dev/berth/test/fixture"
)

const (
	// questions are as many as the test asks, and enough as it needs to have asked
	// when its time is over.
	questions, enough = 30, 12
	askingTime        = 40 * time.Second
)

// TestSimulationAgrees: the simulation is asked where a pod could go, the pod is
// made, and the scheduler takes one of these nodes, or none if there is none.
func TestSimulationAgrees(t *testing.T) {
	t.Parallel()
	const g ground = "agrees"
	sets := map[string]fixture.Workload{}
	for name, class := range map[string]string{"zonal": "zonal", "local": "local", "apart": "zonal"} {
		sets[name] = g.on(fixture.Workload{Name: name, CPU: "700m", Parallel: true, Claims: []fixture.Claim{{Name: "data", Class: class}}})
	}
	spot := g.node("c2", "zone-c", nil)
	spot.Spec.Taints = append(spot.Spec.Taints, corev1.Taint{Key: "spot", Effect: corev1.TaintEffectNoSchedule})
	testenv.Test(t, features.New("the simulation and the scheduler agree").
		Setup(g.lay(t, g.node("a1", "zone-a", nil), g.node("a2", "zone-a", nil), g.node("b1", "zone-b", nil), g.node("c1", "zone-c", nil), spot)).
		Assess("about random pods, slots that are new and slots that come back", step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, fixture.Policy("apart", "apart", v1alpha1.Placement{SeparateNodes: v1alpha1.SeparateRequired}))
			for _, w := range sets {
				s.create(ctx, t, w.Service(), w.StatefulSet())
			}
			q := &inquiry{scene: s, ground: g, sets: sets, Rand: rand.New(rand.NewSource(1)), simulation: s.simulate(ctx, t)}
			begin, asked, placed := time.Now(), 0, 0
			for ; asked < questions && (asked < enough || time.Since(begin) < askingTime); asked++ {
				if q.next(ctx, t) {
					placed++
				}
				if t.Failed() {
					return
				}
			}
			t.Logf("acceptance: %d questions in %s, %d pods placed, %d of them where the simulation would have", asked, time.Since(begin).Round(time.Second), placed, q.same)
			if placed == 0 || placed == asked {
				t.Errorf("%d of %d pods were placed, want some and not all", placed, asked)
			}
		})).
		Feature())
}

// simulation is a simulator over the informers of the cluster.
type simulation struct {
	*simulator.Simulator
	informers.SharedInformerFactory
}

func (s scene) simulate(ctx context.Context, t *testing.T) simulation {
	t.Helper()
	data, err := os.ReadFile("../../manifests/scheduler/config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	configuration, err := simulator.ParseConfiguration(data)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	t.Cleanup(cancel)
	book, factory := policies.NewBook(), informers.NewSharedInformerFactory(s.Kube, 0)
	go func() { _ = policies.Watch(ctx, s.REST, book) }()
	sim, synced, err := simulator.NewWithPlugins(ctx, factory, configuration, book, s.REST)
	if err != nil {
		t.Fatal(err)
	}
	factory.StartWithContext(ctx)
	s.until(ctx, t, "the informers of the simulation", func(context.Context) (string, bool, error) {
		known, why := book.Known()
		return why, known && synced(), nil
	})
	return simulation{sim, factory}
}

// inquiry asks one question after the other.
type inquiry struct {
	scene
	ground
	*rand.Rand
	simulation simulation
	sets       map[string]fixture.Workload
	serial     int
	same       int // answers that were the scheduler's choice
}

// next asks about one pod, makes it, and compares. It tells whether the pod got a node.
func (q *inquiry) next(ctx context.Context, t *testing.T) bool {
	t.Helper()
	switch names := []string{"apart", "local", "zonal"}; q.Intn(3) {
	case 0:
		return q.slot(ctx, t, names[q.Intn(3)])
	case 1:
		if placed, asked := q.comeback(ctx, t, names[q.Intn(3)]); asked {
			return placed
		}
	}
	pod := q.pod()
	fits, would := q.ask(ctx, t, nil, pod)
	q.create(ctx, t, pod)
	node := q.outcome(ctx, t, pod.Name, "", fits)
	q.compare(t, pod.Name, fits, would, node)
	if node == "" || q.Intn(3) == 0 { // one that waits would take what others leave
		q.remove(ctx, t, pod.Name)
	}
	return node != ""
}

// pod is one that nobody owns, with one wish or another.
func (q *inquiry) pod() *corev1.Pod {
	q.serial++
	kind := fmt.Sprintf("web-%d", q.Intn(6))
	w := q.on(fixture.Workload{Name: kind, CPU: []string{"300m", "1", "2", "3"}[q.Intn(4)]})
	pod := w.Pod(fmt.Sprintf("%s-%d", kind, q.serial))
	pod.Namespace = q.Namespace
	like := &metav1.LabelSelector{MatchLabels: map[string]string{fixture.AppLabel: kind}}
	terms := []corev1.PodAffinityTerm{{LabelSelector: like, TopologyKey: corev1.LabelTopologyZone}}
	switch kind {
	case "web-0":
		pod.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{
			MaxSkew: 1, TopologyKey: corev1.LabelTopologyZone, WhenUnsatisfiable: corev1.DoNotSchedule, LabelSelector: like,
		}}
	case "web-1":
		pod.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: terms}}
	case "web-2":
		pod.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: terms}}
	case "web-3":
		pod.Spec.Tolerations = append(pod.Spec.Tolerations, corev1.Toleration{Key: "spot", Operator: corev1.TolerationOpExists})
	case "web-4":
		pod.Spec.NodeSelector[corev1.LabelTopologyZone] = "zone-b"
	}
	return pod
}

// slot has a set grow by one, and shrink again where that one gets no node.
func (q *inquiry) slot(ctx context.Context, t *testing.T, name string) bool {
	t.Helper()
	set, err := q.Kube.AppsV1().StatefulSets(q.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	grown := set.DeepCopy()
	grown.Spec.Replicas = ptr.To(*set.Spec.Replicas + 1)
	pod, claim := slotOf(set, int(*set.Spec.Replicas))
	fits, would := q.ask(ctx, t, []runtime.Object{grown, claim}, pod)
	q.scale(ctx, t, "StatefulSet", name, *grown.Spec.Replicas)
	node := q.outcome(ctx, t, pod.Name, "", fits)
	q.compare(t, pod.Name, fits, would, node)
	if node != "" {
		return true
	}
	q.scale(ctx, t, "StatefulSet", name, *set.Spec.Replicas)
	q.gone(ctx, t, pod.Name)
	if err := q.Kube.CoreV1().PersistentVolumeClaims(q.Namespace).Delete(ctx, claim.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	q.until(ctx, t, "the end of "+claim.Name, func(context.Context) (string, bool, error) {
		_, err := q.simulation.Core().V1().PersistentVolumeClaims().Lister().PersistentVolumeClaims(q.Namespace).Get(claim.Name)
		return fmt.Sprint(err), apierrors.IsNotFound(err), nil
	})
	return false
}

// comeback deletes a slot's pod, for which its room is kept. It tells whether there was one.
func (q *inquiry) comeback(ctx context.Context, t *testing.T, name string) (placed, asked bool) {
	t.Helper()
	set, err := q.Kube.AppsV1().StatefulSets(q.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if *set.Spec.Replicas == 0 {
		return false, false
	}
	pod, _ := slotOf(set, q.Intn(int(*set.Spec.Replicas)))
	before, err := q.Kube.CoreV1().Pods(q.Namespace).Get(ctx, pod.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	fits, would := q.ask(ctx, t, nil, pod, before)
	q.deletePod(ctx, t, pod.Name)
	node := q.outcome(ctx, t, pod.Name, before.UID, fits)
	q.compare(t, pod.Name+", which comes back", fits, would, node)
	return node != "", true
}

// slotOf is what the controller makes for an ordinal.
func slotOf(set *appsv1.StatefulSet, ordinal int) (*corev1.Pod, *corev1.PersistentVolumeClaim) {
	template := set.Spec.Template.DeepCopy()
	pod := &corev1.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec}
	pod.Namespace, pod.Name = set.Namespace, fmt.Sprintf("%s-%d", set.Name, ordinal)
	pod.Labels[appsv1.PodIndexLabel], pod.Labels[appsv1.StatefulSetPodNameLabel] = fmt.Sprint(ordinal), pod.Name
	pod.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(set, appsv1.SchemeGroupVersion.WithKind("StatefulSet"))}
	claim := set.Spec.VolumeClaimTemplates[0].DeepCopy()
	volume := claim.Name
	claim.Namespace, claim.Name = set.Namespace, volume+"-"+pod.Name
	pod.Spec.Volumes = []corev1.Volume{{Name: volume, VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim.Name},
	}}}
	return pod, claim
}

// ask returns the nodes that the simulation finds fit for a pod, once some
// objects are there and some pods are gone, and the one that it would take.
func (q *inquiry) ask(ctx context.Context, t *testing.T, objects []runtime.Object, pod *corev1.Pod, gone ...*corev1.Pod) (fits []string, would string) {
	t.Helper()
	nodes, err := q.simulation.Core().V1().Nodes().Lister().List(labels.Everything())
	if err != nil {
		t.Fatal(err)
	}
	pods, err := q.simulation.Core().V1().Pods().Lister().List(labels.Everything())
	if err != nil {
		t.Fatal(err)
	}
	session, err := q.simulation.Begin(ctx, nodes, pods)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	for _, object := range objects {
		if err := session.AddObject(object); err != nil {
			t.Fatal(err)
		}
	}
	for _, pod := range gone {
		if err := session.RemovePod(pod); err != nil {
			t.Fatal(err)
		}
	}
	place := func(among ...string) string {
		session.Fork()
		defer session.Revert()
		node, _, err := session.Place(pod, among...)
		if err != nil {
			t.Fatal(err)
		}
		return node
	}
	for _, node := range nodes {
		if place(node.Name) != "" {
			fits = append(fits, node.Name)
		}
	}
	slices.Sort(fits)
	return fits, place()
}

// outcome waits until the scheduler has judged a pod, another one than the
// given, and the simulation's informers know what came of it. Where nodes are fit
// a pod that waits is not judged yet: the scheduler may hear of it before it hears of its claim or of a node.
func (q *inquiry) outcome(ctx context.Context, t *testing.T, name string, other types.UID, fits []string) (node string) {
	t.Helper()
	q.until(ctx, t, "a verdict on "+name, func(context.Context) (string, bool, error) {
		pod, err := q.simulation.Core().V1().Pods().Lister().Pods(q.Namespace).Get(name)
		if err != nil || pod.UID == other {
			return "no such pod", false, nil
		}
		node = pod.Spec.NodeName
		for _, volume := range pod.Spec.Volumes {
			if volume.PersistentVolumeClaim == nil || node == "" {
				continue
			}
			claim, err := q.simulation.Core().V1().PersistentVolumeClaims().Lister().PersistentVolumeClaims(q.Namespace).Get(volume.PersistentVolumeClaim.ClaimName)
			if err != nil || claim.Status.Phase != corev1.ClaimBound {
				return "its claim is not bound", false, nil
			}
			if _, err := q.simulation.Core().V1().PersistentVolumes().Lister().Get(claim.Spec.VolumeName); err != nil {
				return "its volume is not known", false, nil
			}
		}
		unschedulable := slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable
		})
		return fmt.Sprintf("the simulation finds %q fit; node %q, conditions %v", fits, node, pod.Status.Conditions), node != "" || unschedulable && len(fits) == 0, nil
	})
	return node
}

func (q *inquiry) compare(t *testing.T, pod string, fits []string, would, node string) {
	t.Helper()
	t.Logf("%s: could go to [%s], would go to %q, went to %q", pod, strings.Join(fits, " "), would, node)
	if len(fits) == 0 && node != "" || len(fits) > 0 && !slices.Contains(fits, node) {
		t.Errorf("%s: the scheduler chose %q, and the simulation finds %q fit", pod, node, fits)
	}
	if would != "" && !slices.Contains(fits, would) || would == "" && len(fits) > 0 {
		t.Errorf("%s: the simulation would choose %q, and finds %q fit", pod, would, fits)
	}
	if node != "" && node == would {
		q.same++
	}
}

func (q *inquiry) remove(ctx context.Context, t *testing.T, pod string) {
	t.Helper()
	q.deletePod(ctx, t, pod)
	q.gone(ctx, t, pod)
}

// gone waits until the simulation's informers know that a pod is gone.
func (q *inquiry) gone(ctx context.Context, t *testing.T, pod string) {
	t.Helper()
	q.until(ctx, t, "the end of "+pod, func(context.Context) (string, bool, error) {
		_, err := q.simulation.Core().V1().Pods().Lister().Pods(q.Namespace).Get(pod)
		return fmt.Sprint(err), apierrors.IsNotFound(err), nil
	})
}
