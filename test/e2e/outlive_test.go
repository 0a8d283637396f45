// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/test/fixture"
)

// TestNodesOutliveTheirLeader: a leader that stands still and goes on, one that is killed, and an API server that is
// killed, in the middle of adding nodes and of emptying them. The next one finds what there is, and goes on with it.
func TestNodesOutliveTheirLeader(t *testing.T) {
	t.Parallel()
	testenv.Test(t, features.New("two autoscalers").
		Assess("one after the other", step(func(ctx context.Context, t *testing.T, s scene) {
			s.ownOnly(t, "it starts a cluster to kill the API server of")
			cluster := ownCluster(ctx, t, fixture.Options{
				Name: "e2e-lead", Nodes: 2, Zones: 2, NodeBoot: 2 * time.Second, PodReady: time.Second, AutoscalerConfig: testdata("consolidation.yaml"),
				Flags: slowEnd,
			})
			on(ctx, cluster).Test(t, outlive())
		})).
		Feature())
}

// slowEnd has a pod end slowly, so that a test that looks now and then sees a node whose pods have been evicted.
var slowEnd = []string{"--pod-stop=5s"}

func outlive() features.Feature {
	// The two nodes of the beginning have room for 4, each of those that are needed then for 2.
	const needed = 5
	web := fixture.Workload{Name: "web", Replicas: 2, CPU: "1900m"}
	var l *leaders
	var a *arrivals
	return features.New("nodes outlive their leader").
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, web.Deployment(), budgetFor(web, &policyv1.PodDisruptionBudgetSpec{MaxUnavailable: ptr.To(intstr.FromInt32(1))}))
			s.awaitReplicas(ctx, t, web.Name, web.Replicas)
			a = s.watchArrivals(ctx, t, groupLabel)
			l = s.lead(ctx, t)
		})).
		Assess("one that stands still while it adds nodes does no harm when it goes on", step(func(ctx context.Context, t *testing.T, s scene) {
			l.leading(ctx, t, s)
			began := time.Now()
			s.scale(ctx, t, "Deployment", web.Name, 4+2*needed)
			a.awaitFirst(ctx, t, began)
			leader := l.leading(ctx, t, s) // on a busy machine it may be the other one by now
			started := leader.signal(t, syscall.SIGSTOP)
			came, _ := a.since(began)
			t.Logf("the leader stands still after %d of %d nodes", len(came), needed)
			s.awaitReplicas(ctx, t, web.Name, 4+2*needed)
			took := time.Since(began)
			l.taken(ctx, t, s, leader)
			leader.signal(t, syscall.SIGCONT)
			ended := leader.restarted(ctx, t, s, started)
			came, err := a.since(began)
			t.Logf("acceptance: all pods run %s after they were wanted; the old leader ended %s after it went on, and %d nodes came where %d were needed",
				took.Round(time.Second), ended.Round(100*time.Millisecond), len(came), needed)
			if err != nil || len(came) > needed+2 {
				t.Errorf("%d nodes came in two groups (%v), %d were needed, and one more for each group may come", len(came), err, needed)
			}
			s.awaitFewNodes(ctx, t, 2+needed)
		})).
		Assess("one that is killed while it empties nodes is followed by the other", step(func(ctx context.Context, t *testing.T, s scene) {
			j := s.watchAvailability(ctx, t)
			leader := l.leading(ctx, t, s)
			s.leaveOne(ctx, t, web.Name)
			s.awaitEviction(ctx, t, 0)
			leader.signal(t, syscall.SIGKILL)
			t.Logf("killed, with the taint on %s", s.marked(ctx, t))
			s.awaitFewNodes(ctx, t, 5)
			if err := j.judge(map[string]int{"web": 8}); err != nil {
				t.Error(err)
			}
		})).
		Assess("nor does it matter that the API server dies", step(func(ctx context.Context, t *testing.T, s scene) {
			l.leading(ctx, t, s)
			j := s.watchAvailability(ctx, t)
			before := s.evictions(ctx, t)
			s.leaveOne(ctx, t, web.Name)
			s.awaitEviction(ctx, t, before)
			if err := j.judge(map[string]int{"web": 6}); err != nil {
				t.Error(err)
			}
			s.kill(ctx, t, fixture.APIServer)
			s.start(ctx, t, fixture.APIServer)
			s.until(ctx, t, "the API server to answer", func(ctx context.Context) (string, bool, error) {
				_, err := s.Kube.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
				return fmt.Sprint(err), err == nil, nil
			})
			after := s.watchAvailability(ctx, t)
			s.awaitFewNodes(ctx, t, 4)
			s.awaitReplicas(ctx, t, web.Name, 7)
			// The pod of the only node to go was evicted before, and may have moved by the time that the API server was back.
			if _, err := after.judgeIfMoved(map[string]int{"web": 6}); err != nil {
				t.Error(err)
			}
			s.wantDeletedOnce(ctx, t)
		})).
		Feature()
}

// awaitFirst returns as soon as a node has come.
func (a *arrivals) awaitFirst(ctx context.Context, t *testing.T, began time.Time) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := wait.PollUntilContextCancel(ctx, 2*time.Millisecond, true, func(context.Context) (bool, error) {
		came, err := a.since(began)
		return len(came) > 0, err
	}); err != nil {
		t.Fatalf("no node came: %v", err)
	}
}

// awaitFewNodes waits until there are so many nodes at most, none of them on its way out.
func (s scene) awaitFewNodes(ctx context.Context, t *testing.T, most int) {
	t.Helper()
	began, left := time.Now(), 0
	s.until(ctx, t, fmt.Sprintf("at most %d nodes, none of them with the taint", most), func(ctx context.Context) (string, bool, error) {
		list, err := s.Kube.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return err.Error(), false, nil // the API server may be on its way back
		}
		left = len(list.Items)
		marked := markedOf(list.Items)
		return fmt.Sprintf("%d nodes, on their way out %q", left, marked), left <= most && marked == "", nil
	})
	t.Logf("%d nodes are left, %s later", left, time.Since(began).Round(time.Second))
}

// leaveOne takes a pod from each node of a group that has two, once all pods have settled.
func (s scene) leaveOne(ctx context.Context, t *testing.T, deployment string) {
	t.Helper()
	d, err := s.Kube.AppsV1().Deployments(s.Namespace).Get(ctx, deployment, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.awaitReplicas(ctx, t, deployment, *d.Spec.Replicas)
	pods, err := s.Kube.CoreV1().Pods(s.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	replicas := *d.Spec.Replicas
	for _, pod := range pods.Items {
		if pod.DeletionTimestamp != nil {
			continue
		}
		node := pod.Spec.NodeName
		if seen[node] && strings.HasPrefix(node, "zone-") {
			replicas--
			s.kubectl(ctx, t, "annotate", "--namespace", s.Namespace, "pod", pod.Name, "controller.kubernetes.io/pod-deletion-cost=-1")
		}
		seen[node] = true
	}
	s.scale(ctx, t, "Deployment", deployment, replicas)
}

// evictions counts the pods that were evicted from nodes that go.
func (s scene) evictions(ctx context.Context, t *testing.T) int {
	t.Helper()
	events, err := s.Kube.CoreV1().Events(s.Namespace).List(ctx, metav1.ListOptions{FieldSelector: "reason=ScaleDown"})
	if err != nil {
		t.Fatal(err)
	}
	return len(events.Items)
}

// awaitEviction waits until one more pod was evicted, and its node is there still.
func (s scene) awaitEviction(ctx context.Context, t *testing.T, before int) {
	t.Helper()
	s.until(ctx, t, "a pod to be evicted from a node with the taint", func(ctx context.Context) (string, bool, error) {
		events, err := s.Kube.CoreV1().Events(s.Namespace).List(ctx, metav1.ListOptions{FieldSelector: "reason=ScaleDown"})
		if err != nil {
			return "", false, err
		}
		list, err := s.Kube.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return "", false, err
		}
		marked := markedOf(list.Items)
		return marked, len(events.Items) > before && marked != "", nil
	})
}

// wantDeletedOnce checks what autoscalers have said of nodes that they deleted.
func (s scene) wantDeletedOnce(ctx context.Context, t *testing.T) {
	t.Helper()
	events, err := s.Kube.CoreV1().Events(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{FieldSelector: "reason=ScaleDown"})
	if err != nil {
		t.Fatal(err)
	}
	deleted := map[string]int{}
	for _, e := range events.Items {
		if strings.HasPrefix(e.Message, "node is deleted") {
			deleted[e.InvolvedObject.Name] += max(1, int(e.Count))
		}
	}
	for node, times := range deleted {
		if times > 1 {
			t.Errorf("node %s was deleted %d times", node, times)
		}
	}
	t.Logf("acceptance: %d nodes were deleted, each once", len(deleted))
}
