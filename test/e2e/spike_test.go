// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
	"github.com/berth-dev/berth/test/fixture"
)

const (
	// spikeBoot and spikeReady are the times of a node and of a pod until they are ready, on the cluster of the spike.
	spikeBoot, spikeReady = time.Minute, 2 * time.Second
	// calm and spike are the replicas of each workload before and after.
	calm, spike = 3, 10
)

// TestSpike has a cluster of its own, whose nodes take a minute to boot.
func TestSpike(t *testing.T) {
	t.Parallel()
	testenv.Test(t, features.New("a cluster whose nodes boot for a minute").
		Assess("serves a spike after one boot", step(func(ctx context.Context, t *testing.T, s scene) {
			s.ownOnly(t, "its nodes must take a minute to boot")
			cluster := ownCluster(ctx, t, fixture.Options{
				Name: "e2e-spike", Nodes: 3, Zones: 3, NodeBoot: spikeBoot, PodReady: spikeReady, AutoscalerConfig: testdata("spike.yaml"),
			})
			on(ctx, cluster).Test(t, oneBoot())
		})).
		Feature())
}

// oneBoot scales three workloads at once, each with nodes of its own, one for each pod.
func oneBoot() features.Feature {
	on := func(name string, parallel bool) fixture.Workload {
		return ground(name).on(fixture.Workload{Name: name, Replicas: calm, CPU: "3", Parallel: parallel})
	}
	workloads := map[string]fixture.Workload{
		"StatefulSet ordered":  on("ordered", false),
		"StatefulSet parallel": on("parallel", true),
		"Deployment web":       on("web", false),
	}
	kind := func(w fixture.Workload) string {
		if w.Name == "web" {
			return "Deployment"
		}
		return "StatefulSet"
	}
	var came *arrivals
	return features.New("three workloads").
		Setup(step(func(ctx context.Context, t *testing.T, s scene) { came = s.watchArrivals(ctx, t, groupLabel) })).
		Assess("run", step(func(ctx context.Context, t *testing.T, s scene) {
			for _, w := range workloads {
				for i, zone := range []string{"zone-a", "zone-b", "zone-a"} {
					node := ground(w.Name).node(fmt.Sprint(i), zone, nil)
					s.create(ctx, t, node)
					s.awaitReady(ctx, t, node) // pods that wait would have the autoscaler ask for one, which the spike would find
				}
				if kind(w) == "Deployment" {
					s.create(ctx, t, w.Deployment())
					continue
				}
				// In two of the three zones: a node in the third is of no use to a set.
				s.policy(ctx, t, w.Name, v1alpha1.Placement{Spread: &v1alpha1.Spread{Domains: []string{"zone-a", "zone-b"}, Enforcement: v1alpha1.Required}})
				s.create(ctx, t, w.Service(), w.StatefulSet())
			}
			for _, w := range workloads {
				s.until(ctx, t, w.Name, s.readyPods(w, calm))
			}
		})).
		Assess("grow to ten replicas each after one boot", step(func(ctx context.Context, t *testing.T, s scene) {
			begin := time.Now()
			for _, w := range workloads {
				s.scale(ctx, t, kind(w), w.Name, spike)
			}
			took := map[string]time.Duration{}
			err := fixture.Until(ctx, "all replicas", 2*spikeBoot+patience, func(ctx context.Context) (string, bool, error) {
				state := ""
				for name, w := range workloads {
					words, done, err := s.readyPods(w, spike)(ctx)
					if err != nil {
						return "", false, err
					}
					if _, known := took[name]; done && !known {
						took[name] = time.Since(begin)
					}
					state += name + ": " + words + "; "
				}
				return state, len(took) == len(workloads), nil
			})
			if err != nil {
				t.Fatal(err)
			}
			allowed := spikeBoot + (spike-calm)*spikeReady + 10*time.Second
			for name := range workloads {
				t.Logf("acceptance: %s from %d to %d replicas in %s; a boot, %d times a pod's readiness and 10 s are %s", name, calm, spike, took[name].Round(100*time.Millisecond), spike-calm, allowed)
			}
			s.judgeSpike(ctx, t, came, begin)
		})).
		Feature()
}

// readyPods looks whether so many pods of a workload are ready.
func (s scene) readyPods(w fixture.Workload, want int) fixture.Look {
	return func(ctx context.Context) (string, bool, error) {
		pods, err := s.Kube.CoreV1().Pods(s.Namespace).List(ctx, metav1.ListOptions{LabelSelector: w.Selector()})
		if err != nil {
			return "", false, err
		}
		ready := 0
		for i := range pods.Items {
			if available(&pods.Items[i]) {
				ready++
			}
		}
		return fmt.Sprintf("%d of %d ready", ready, want), ready == want && len(pods.Items) == want, nil
	}
}

// judgeSpike demands that the nodes came at once, no more of them than are needed, and each with a pod that needs it.
func (s scene) judgeSpike(ctx context.Context, t *testing.T, came *arrivals, begin time.Time) {
	t.Helper()
	nodes, err := came.since(begin)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("acceptance: %d nodes came, the last one asked for %s after the first, %s after the decisions: %s",
		len(nodes), nodes[len(nodes)-1].came.Sub(nodes[0].came).Round(time.Millisecond), nodes[len(nodes)-1].came.Sub(begin).Round(100*time.Millisecond), perZone(nodes))
	if want := 3 * (spike - calm); len(nodes) != want {
		t.Errorf("%d nodes came, want %d", len(nodes), want)
	}
	if err := atOnce(nodes); err != nil {
		t.Error(err)
	}
	if err := s.allUsed(ctx, nodes); err != nil {
		t.Error(err)
	}
}

// allUsed demands that a pod of the test runs on each of the nodes.
func (s scene) allUsed(ctx context.Context, nodes []arrival) error {
	pods, err := s.Kube.CoreV1().Pods(s.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	used := map[string]bool{}
	for _, pod := range pods.Items {
		used[pod.Spec.NodeName] = true
	}
	idle := ""
	for _, n := range nodes {
		if !used[n.name] {
			idle += fmt.Sprintf("%s in %s; ", n.name, n.zone)
		}
	}
	if idle != "" {
		return fmt.Errorf("nodes came that no pod uses: %s", idle)
	}
	return nil
}
