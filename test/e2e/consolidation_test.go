// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/autoscaler/cloud/kwok"
	draining "github.com/berth-dev/berth/autoscaler/nodes/drain"
	"github.com/berth-dev/berth/plugins/api/v1alpha1"
	"github.com/berth-dev/berth/test/fixture"
)

// TestConsolidation: when load falls, nodes go one after another, nobody is hurt by it, and a leader that dies in the
// middle of it leaves nothing behind.
func TestConsolidation(t *testing.T) {
	t.Parallel()
	testenv.Test(t, features.New("a cluster of 9 nodes with little to do").
		Assess("keeps what it needs", step(func(ctx context.Context, t *testing.T, s scene) {
			s.ownOnly(t, "it starts a cluster to take nodes from")
			cluster := ownCluster(ctx, t, fixture.Options{
				Name: "e2e-drain", Nodes: 9, Zones: 3, PodReady: time.Second, AutoscalerConfig: testdata("consolidation.yaml"),
				Flags: slowEnd,
			})
			on(ctx, cluster).Test(t, consolidation())
		})).
		Feature())
}

func consolidation() features.Feature {
	db := fixture.Workload{Name: "db", Replicas: 3, CPU: "500m", Parallel: true, Claims: zonalClaim}
	kv := fixture.Workload{Name: "kv", Replicas: 5, CPU: "500m", Parallel: true}
	web := fixture.Workload{Name: "web", Replicas: 18, CPU: "1"}
	var j *availability
	var began time.Time
	return features.New("load falls").
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			policy := fixture.Policy("db", "db", over())
			policy.Spec.Quorum = ptr.To(intstr.FromString(v1alpha1.QuorumMajority))
			s.create(ctx, t, policy, db.Service(), db.StatefulSet(), kv.Service(), kv.StatefulSet(), web.Deployment(),
				budgetFor(kv, &policyv1.PodDisruptionBudgetSpec{MaxUnavailable: ptr.To(intstr.FromInt32(1))}),
				budgetFor(web, &policyv1.PodDisruptionBudgetSpec{MinAvailable: ptr.To(intstr.FromInt32(2))}))
			s.awaitSet(ctx, t, db.Name, 3)
			s.awaitSet(ctx, t, kv.Name, 5)
			s.awaitReplicas(ctx, t, web.Name, 18)
			j = s.watchAvailability(ctx, t)
			s.scale(ctx, t, "Deployment", web.Name, 3)
			s.awaitReplicas(ctx, t, web.Name, 3)
			// From now on the nodes are the autoscaler's.
			began = time.Now()
			for _, node := range s.nodes(ctx, t) {
				s.patchNode(ctx, t, node.Name, fmt.Sprintf(`{"metadata":{"labels":{%q:%q}}}`, kwok.GroupLabel, node.Labels[corev1.LabelTopologyZone]))
			}
		})).
		Assess("kill -9 in the middle of a drain", step(func(ctx context.Context, t *testing.T, s scene) {
			t.Cleanup(func() { s.start(context.WithoutCancel(ctx), t, fixture.Autoscaler) })
			s.until(ctx, t, "a pod to be evicted from a node with the taint", func(ctx context.Context) (string, bool, error) {
				events, err := s.Kube.CoreV1().Events(s.Namespace).List(ctx, metav1.ListOptions{FieldSelector: "reason=ScaleDown"})
				return s.marked(ctx, t), err == nil && len(events.Items) > 0 && s.marked(ctx, t) != "", err
			})
			s.kill(ctx, t, fixture.Autoscaler)
			t.Logf("killed, with the taint on %s", s.marked(ctx, t))
			s.start(ctx, t, fixture.Autoscaler)
		})).
		Assess("the nodes go that nobody needs, and none keeps the taint", step(func(ctx context.Context, t *testing.T, s scene) {
			s.until(ctx, t, "at most 5 nodes, none of them with the taint", func(ctx context.Context) (string, bool, error) {
				marked, left := s.marked(ctx, t), s.nodes(ctx, t)
				return fmt.Sprintf("%d nodes, on their way out %q", len(left), marked), marked == "" && len(left) <= 5, nil
			})
			t.Logf("acceptance: %d of 9 nodes are left %s after the load fell (3 zones with volumes need 3)", len(s.nodes(ctx, t)), time.Since(began).Round(time.Second))
			s.awaitSet(ctx, t, db.Name, 3)
			s.awaitSet(ctx, t, kv.Name, 5)
			s.awaitReplicas(ctx, t, web.Name, 3)
			if err := j.judge(map[string]int{"db": 2, "kv": 4, "web": 2}); err != nil {
				t.Error(err)
			}
		})).
		Feature()
}

func budgetFor(w fixture.Workload, spec *policyv1.PodDisruptionBudgetSpec) *policyv1.PodDisruptionBudget {
	spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{fixture.AppLabel: w.Name}}
	return &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: w.Name}, Spec: *spec}
}

func (s scene) nodes(ctx context.Context, t *testing.T) []corev1.Node {
	t.Helper()
	list, err := s.Kube.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// marked are the nodes on their way out.
func (s scene) marked(ctx context.Context, t *testing.T) string {
	t.Helper()
	return markedOf(s.nodes(ctx, t))
}

func markedOf(nodes []corev1.Node) string {
	var names []string
	for _, node := range nodes {
		if draining.Marked(&node) {
			names = append(names, node.Name)
		}
	}
	return strings.Join(names, " ")
}

// availability is how few pods of each workload there were at a time.
type availability struct {
	mu    sync.Mutex
	pods  map[string]map[string]bool // ready or not, by workload and name
	least map[string]int
	wrong error
}

// watchAvailability counts from now on, when all pods are ready.
func (s scene) watchAvailability(ctx context.Context, t *testing.T) *availability {
	t.Helper()
	j := &availability{pods: map[string]map[string]bool{}, least: map[string]int{}}
	ended := func(err error) {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.wrong = errors.Join(j.wrong, err)
	}
	pods := s.Kube.CoreV1().Pods(s.Namespace)
	list, err := pods.List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range list.Items {
		j.hear(&list.Items[i], false, false)
	}
	follow(ctx, t, ended, metav1.ListOptions{}, pods.List, pods.Watch, func(pod *corev1.Pod, gone bool) { j.hear(pod, gone, true) })
	return j
}

func (j *availability) hear(pod *corev1.Pod, gone, count bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	app := pod.Labels[fixture.AppLabel]
	if j.pods[app] == nil {
		j.pods[app] = map[string]bool{}
	}
	ready := !gone && pod.DeletionTimestamp == nil && slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
	j.pods[app][pod.Name] = ready
	up := 0
	for _, ready := range j.pods[app] {
		if ready {
			up++
		}
	}
	if least, known := j.least[app]; count && (!known || up < least) {
		j.least[app] = up
	}
}

// judge says of which workloads there were fewer pods than it has to have, and that no pod of any has moved.
func (j *availability) judge(floors map[string]int) error {
	moved, wrong := j.judgeIfMoved(floors)
	if !moved {
		wrong = errors.Join(wrong, errors.New("no pod has moved"))
	}
	return wrong
}

// judgeIfMoved is judge where there may have been nothing left to move.
func (j *availability) judgeIfMoved(floors map[string]int) (moved bool, wrong error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	wrong = j.wrong
	for app, floor := range floors {
		least, known := j.least[app]
		moved = moved || known
		if known && least < floor {
			wrong = errors.Join(wrong, fmt.Errorf("%d pods of %s were ready at a time, and %d have to be", least, app, floor))
		}
	}
	return moved, wrong
}
