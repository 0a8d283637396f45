// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/plugins/statefulset"
	"github.com/berth-dev/berth/test/fixture"
)

const (
	// poolAnnotation is how much storage a node of the test cluster has for class pooled.
	poolAnnotation = "cluster.berth.dev/storage-pool"
	// sizeLabel tells nodes with a small pool from the others.
	sizeLabel = "e2e.berth.dev/pool"
)

// pool is a node of the ground with a pool of storage. All are in one zone: it
// is the room that decides.
func (g ground) pool(name, size string) *corev1.Node {
	node := g.node(name, "zone-a", map[string]string{sizeLabel: size})
	node.Annotations[poolAnnotation] = size
	return node
}

// TestJointCapacity: two claims of a pod that each fit on a node and together do not.
func TestJointCapacity(t *testing.T) {
	t.Parallel()
	const g ground = "joint"
	claims := []fixture.Claim{{Name: "data", Class: "pooled", Size: "60Gi"}, {Name: "wal", Class: "pooled", Size: "60Gi"}}
	stock := g.on(fixture.Workload{Name: "stock", Replicas: 1, CPU: "50m", Claims: claims, Scheduler: corev1.DefaultSchedulerName})
	ours := g.on(fixture.Workload{Name: "ours", Replicas: 3, CPU: "50m", Claims: claims, Parallel: true})
	stock.NodeSelector = map[string]string{forLabel: string(g), sizeLabel: "100Gi"} // else luck might save it
	testenv.Test(t, features.New("two claims of 60Gi, and pools of 100Gi").
		Setup(g.lay(t, g.pool("small1", "100Gi"), g.pool("small2", "100Gi"), g.pool("small3", "100Gi"), g.pool("large", "130Gi"))).
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			s.awaitLeft(ctx, t, g, "large=130Gi small1=100Gi small2=100Gi small3=100Gi")
		})).
		Assess("stock takes a node where the second claim can never be provisioned", step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, stock.Service(), stock.StatefulSet())
			s.until(ctx, t, "one claim with a volume, one without, and a pod that waits", func(ctx context.Context) (string, bool, error) {
				return s.stuck(ctx, "stock-0", "did not have enough free storage")
			})
			s.stays(ctx, t, "stock-0 is stuck", 5*time.Second, func(ctx context.Context) (string, bool, error) {
				return s.stuck(ctx, "stock-0")
			})
		})).
		Assess("ours takes the node with room for both", step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, ours.Service(), ours.StatefulSet())
			table := s.awaitRunning(ctx, t, ours.Name, 1)
			i := slices.IndexFunc(table, func(r fixture.Row) bool { return r.Ready })
			if diff := cmp.Diff("joint-large", table[i].Node); diff != "" {
				t.Errorf("node of ours-%d (-want +got):\n%s", table[i].Ordinal, diff)
			}
		})).
		Assess("the others wait without having taken anything, and say why", step(func(ctx context.Context, t *testing.T, s scene) {
			for _, pod := range s.waiting(ctx, t, ours) {
				need := ` left, and claims data-` + pod + ` (60Gi), wal-` + pod + ` (60Gi) need 120Gi`
				t.Log(s.awaitPending(ctx, t, pod, corev1.PodReasonUnschedulable, `class "pooled" has 100Gi`+need, `class "pooled" has 40Gi`+need))
				s.untouched(ctx, t, "data-"+pod, "wal-"+pod)
			}
			s.neverFailed(ctx, t, ours)
		})).
		Assess("one runs when a pool gets larger", step(func(ctx context.Context, t *testing.T, s scene) {
			left, err := s.left(ctx, g)
			if err != nil {
				t.Fatal(err)
			}
			unused := strings.Fields(left)[slices.IndexFunc(strings.Fields(left), func(pool string) bool { return strings.HasSuffix(pool, "=100Gi") })]
			grown := string(g) + "-" + strings.TrimSuffix(unused, "=100Gi")
			s.patchNode(ctx, t, grown, `{"metadata":{"annotations":{"`+poolAnnotation+`":"180Gi"}}}`)
			nodes := nodesOf(s.awaitRunning(ctx, t, ours.Name, 2))
			if !slices.Contains(nodes, grown) {
				t.Errorf("they run on %q, and the pool that got larger is on %s", nodes, grown)
			}
		})).
		Assess("and the last when a node comes with a large pool", step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, g.pool("new", "120Gi"))
			if nodes := nodesOf(s.awaitRunning(ctx, t, ours.Name, 3)); !slices.Contains(nodes, "joint-new") {
				t.Errorf("they run on %q, and the new node is joint-new", nodes)
			}
			s.neverFailed(ctx, t, ours)
		})).
		Feature())
}

// TestCapacityBurst: pods that come at once do not count on the same room.
func TestCapacityBurst(t *testing.T) {
	t.Parallel()
	const g ground = "burst"
	var nodes []*corev1.Node
	for i := range 6 {
		nodes = append(nodes, g.pool(fmt.Sprint(i), "130Gi"))
	}
	queue := g.on(fixture.Workload{Name: "queue", Replicas: 12, CPU: "50m", Parallel: true, Claims: []fixture.Claim{{Name: "data", Class: "pooled", Size: "60Gi"}}})
	late := queue
	late.Name, late.Replicas = "late", 1
	testenv.Test(t, features.New("12 claims of 60Gi at once, and 6 pools of 130Gi").
		Setup(g.lay(t, nodes...)).
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			s.awaitLeft(ctx, t, g, "0=130Gi 1=130Gi 2=130Gi 3=130Gi 4=130Gi 5=130Gi")
		})).
		Assess("all run, two on each node, and none was sent where there was no room", step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, queue.Service(), queue.StatefulSet())
			perNode := map[string]int{}
			for _, row := range s.awaitSet(ctx, t, queue.Name, 12) {
				perNode[row.Node]++
			}
			want := map[string]int{}
			for _, node := range nodes {
				want[node.Name] = 2
			}
			if diff := cmp.Diff(want, perNode); diff != "" {
				t.Errorf("pods by node (-want +got):\n%s", diff)
			}
			s.neverFailed(ctx, t, queue)
		})).
		Assess("one more waits, and says why", step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, late.Service(), late.StatefulSet())
			t.Log(s.awaitPending(ctx, t, "late-0", corev1.PodReasonUnschedulable,
				`node(s) without enough storage: class "pooled" has 10Gi left, and claim data-late-0 needs 60Gi`))
			s.untouched(ctx, t, "data-late-0")
		})).
		Assess("until another gives its room back", step(func(ctx context.Context, t *testing.T, s scene) {
			s.scale(ctx, t, "StatefulSet", queue.Name, 11)
			if err := s.Kube.CoreV1().PersistentVolumeClaims(s.Namespace).Delete(ctx, "data-queue-11", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			s.awaitSet(ctx, t, late.Name, 1)
			s.neverFailed(ctx, t, queue, late)
		})).
		Feature())
}

// awaitLeft waits until the pools of the ground are known to have so much left, by name.
func (s scene) awaitLeft(ctx context.Context, t *testing.T, g ground, want string) {
	t.Helper()
	s.until(ctx, t, "pools with "+want, func(ctx context.Context) (string, bool, error) {
		left, err := s.left(ctx, g)
		return left, left == want, err
	})
}

// left is what is left of the pools of the ground: "name=10Gi name=130Gi".
func (s scene) left(ctx context.Context, g ground) (string, error) {
	list, err := s.Kube.StorageV1().CSIStorageCapacities(metav1.NamespaceSystem).List(ctx, metav1.ListOptions{})
	if err != nil {
		return "", err
	}
	var left []string
	for _, capacity := range list.Items {
		if capacity.StorageClassName != "pooled" || capacity.NodeTopology == nil || capacity.Capacity == nil {
			continue
		}
		for _, place := range capacity.NodeTopology.MatchLabels {
			if name, of := strings.CutPrefix(strings.TrimSuffix(place, ".local"), string(g)+"-"); of {
				left = append(left, name+"="+capacity.Capacity.String())
			}
		}
	}
	slices.Sort(left)
	return strings.Join(left, " "), nil
}

// stuck looks whether one of the two claims of a pod has a volume, the other
// has been tried and has none, and the pod waits with the words.
func (s scene) stuck(ctx context.Context, pod string, words ...string) (string, bool, error) {
	var seen []string
	bound, failed := 0, 0
	for _, claim := range []string{"data-" + pod, "wal-" + pod} {
		pvc, err := s.Kube.CoreV1().PersistentVolumeClaims(s.Namespace).Get(ctx, claim, metav1.GetOptions{})
		if err != nil {
			return "", false, err
		}
		events, err := s.Events(ctx, s.Namespace, "PersistentVolumeClaim", claim)
		if err != nil {
			return "", false, err
		}
		switch {
		case pvc.Spec.VolumeName != "":
			bound++
		case slices.ContainsFunc(events, provisioningFailed):
			failed++
		}
		seen = append(seen, fmt.Sprintf("%s: volume %q, events %v", claim, pvc.Spec.VolumeName, events))
	}
	p, err := s.Kube.CoreV1().Pods(s.Namespace).Get(ctx, pod, metav1.GetOptions{})
	if err != nil {
		return "", false, err
	}
	for _, c := range p.Status.Conditions {
		seen = append(seen, c.Message)
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && containsAll(c.Message, words) {
			return strings.Join(seen, "; "), bound == 1 && failed == 1, nil
		}
	}
	return strings.Join(seen, "; "), false, nil
}

func provisioningFailed(e fixture.Event) bool { return e.Reason == "ProvisioningFailed" }

// waiting are the pods of a workload that have no node.
func (s scene) waiting(ctx context.Context, t *testing.T, w fixture.Workload) (names []string) {
	t.Helper()
	pods, err := s.Kube.CoreV1().Pods(s.Namespace).List(ctx, metav1.ListOptions{LabelSelector: w.Selector()})
	if err != nil {
		t.Fatal(err)
	}
	for _, pod := range pods.Items {
		if pod.Spec.NodeName == "" {
			names = append(names, pod.Name)
		}
	}
	return names
}

// untouched demands that nothing is provisioned for the claims, nor was it tried.
func (s scene) untouched(ctx context.Context, t *testing.T, claims ...string) {
	t.Helper()
	for _, name := range claims {
		claim := s.claim(ctx, t, name)
		if node := claim.Annotations[statefulset.SelectedNode]; claim.Spec.VolumeName != "" || node != "" {
			t.Errorf("claim %s has volume %q and is being provisioned for node %q, want neither", name, claim.Spec.VolumeName, node)
		}
	}
}

func (s scene) claim(ctx context.Context, t *testing.T, name string) *corev1.PersistentVolumeClaim {
	t.Helper()
	claim, err := s.Kube.CoreV1().PersistentVolumeClaims(s.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return claim
}

// neverFailed demands that no claim of the sets was sent where there is no room for it.
func (s scene) neverFailed(ctx context.Context, t *testing.T, sets ...fixture.Workload) {
	t.Helper()
	for _, w := range sets {
		for ordinal := range int(w.Replicas) {
			for _, template := range w.Claims {
				name := fmt.Sprintf("%s-%s-%d", template.Name, w.Name, ordinal)
				events, err := s.Events(ctx, s.Namespace, "PersistentVolumeClaim", name)
				if err != nil {
					t.Fatal(err)
				}
				if i := slices.IndexFunc(events, provisioningFailed); i >= 0 {
					t.Errorf("claim %s: %s", name, events[i])
				}
			}
		}
	}
}
