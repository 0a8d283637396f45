// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	vpafake "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/client/clientset/versioned/fake"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	componentmetrics "k8s.io/component-base/metrics"

	"github.com/berth-dev/berth/autoscaler/actuate"
	"github.com/berth-dev/berth/autoscaler/cloud/kwok"
	"github.com/berth-dev/berth/autoscaler/config"
	"github.com/berth-dev/berth/autoscaler/metrics"
	"github.com/berth-dev/berth/autoscaler/nodes/drain"
	"github.com/berth-dev/berth/autoscaler/observe"
	"github.com/berth-dev/berth/autoscaler/simulator"
	"github.com/berth-dev/berth/autoscaler/vertical/resize"
	"github.com/berth-dev/berth/plugins"
	"github.com/berth-dev/berth/plugins/policies"
	"github.com/berth-dev/berth/plugins/slothold"
)

// stormConfig is the autoscaler's configuration.
func stormConfig() []byte {
	return fmt.Appendf(nil, "apiVersion: config.berth.dev/v1alpha1\nkind: AutoscalerConfiguration\nnodes: {utilizationThreshold: %g}", *stormThreshold)
}

// newStorm builds the cluster and starts the autoscaler in it.
func newStorm(ctx context.Context, t *testing.T) *storm {
	s := &storm{stormCluster: newStormCluster(t, stormWorkloads(*stormNodes, *stormSets))}
	s.size = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("8"), corev1.ResourceMemory: resource.MustParse("32Gi"), corev1.ResourcePods: resource.MustParse("110")}
	groups := s.addNodes()
	book := policies.NewBook()
	server := newPolicyServer(book, nil)
	for _, set := range s.sets {
		if policy := set.policy(); policy != nil {
			server.put(policy)
		}
	}
	book.MarkReady(nil)
	factory := informers.NewSharedInformerFactory(s.kube, 0)
	s.nodes = factory.Core().V1().Nodes().Lister()
	simulated, heard := s.simulator(ctx, factory, book)
	scheduler, heardToo := s.simulator(ctx, factory, book)
	s.scheduler = scheduler

	c, err := config.Parse(stormConfig())
	if err != nil {
		t.Fatal(err)
	}
	vpas := vpafake.NewSimpleClientset()
	watched := observe.NewVPAs(vpaServed{}, vpas, func() { s.conductor.Wake() })
	reader, err := observe.New(factory, s.kube.CoreV1(), watched, s.scales(), (*customTargets)(nil).mapper())
	if err != nil {
		t.Fatal(err)
	}
	apis := newAdapter()
	s.conductor = New(c, Parts{
		Nodes:     &NodeParts{Provider: kwok.New(s.kube.CoreV1().Nodes(), s.nodes, groups)},
		Simulate:  s.timed(simulated),
		Reader:    reader,
		Metrics:   metrics.NewReader(s, c.MetricsTimeout.Duration),
		Queries:   metrics.NewAsker(apis, externalAPI{apis}, 8, c.MetricsTimeout.Duration),
		Writer:    actuate.New(s.kube.AutoscalingV2(), vpas.AutoscalingV1(), server, s.kube.CoreV1(), s.scales(), s.journal),
		Telemetry: actuate.NewTelemetry(componentmetrics.NewKubeRegistry().MustRegister),
		Policies:  book,
	}, func() {})
	book.Subscribe(func(policies.Change) { s.conductor.Wake() })
	if err := observe.Wake(factory, resize.RecordAnnotation, drain.Marked, s.conductor.Wake); err != nil {
		t.Fatal(err)
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	cache.WaitForCacheSync(ctx.Done(), heard, heardToo)
	go watched.Run(ctx)
	return s
}

// stormWorkloads are so many sets, with ten pods for each node.
func stormWorkloads(nodes, sets int) []*stormSet {
	var all []*stormSet
	rounds := max(1, sets/len(stormKinds()))
	for round := range rounds {
		rest := 10 * nodes / rounds
		for i, kind := range slices.Backward(stormKinds()) {
			replicas := max(3, kind.share*10*nodes/(600*rounds)/3*3)
			if kind.separate {
				replicas = min(replicas, nodes/4/3*3)
			}
			if i == 0 {
				replicas = rest
			}
			rest -= replicas
			all = append(all, newStormSet(kind, round, replicas))
		}
	}
	return all
}

// addNodes makes the nodes that are there in the beginning, and returns their groups.
func (s *storm) addNodes() []kwok.Group {
	total := *stormNodes
	batch := total * 12 / 100
	s.floors = map[string]int{"batch": max(2, total/25)}
	groups := []kwok.Group{{
		Name: "batch", Min: s.floors["batch"], Max: total, Capacity: s.size,
		Labels: map[string]string{"pool": "batch", corev1.LabelTopologyZone: "a"}, Taints: []corev1.Taint{{Key: "batch", Effect: corev1.TaintEffectNoSchedule}},
	}}
	for _, zone := range stormZones() {
		s.floors[zone] = max(1, total/100)
		groups = append(groups, kwok.Group{Name: zone, Min: s.floors[zone], Max: total, Capacity: s.size, Labels: map[string]string{corev1.LabelTopologyZone: zone}})
	}
	byZone := map[string][]string{}
	for i := range total {
		group := groups[1+i%3]
		if i < batch {
			group = groups[0]
		}
		name := fmt.Sprintf("%s-%03d", group.Name, i)
		byZone[group.Name] = append(byZone[group.Name], name+".local")
		node := &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), Labels: maps.Clone(group.Labels), CreationTimestamp: metav1.NewTime(time.Now().Add(-time.Hour))},
			Spec:       corev1.NodeSpec{ProviderID: "kwok://" + name, Taints: group.Taints},
			Status:     corev1.NodeStatus{Capacity: s.size, Allocatable: s.size, Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}},
		}
		node.Labels[corev1.LabelHostname], node.Labels[kwok.GroupLabel] = name+".local", group.Name
		s.must(s.kube.Tracker().Add(node))
	}
	taken := map[string]int{}
	for _, set := range s.sets {
		for ordinal := range set.wanted {
			if set.local {
				zone := set.zone(ordinal)
				set.homes = append(set.homes, byZone[zone][taken[zone]%len(byZone[zone])])
				taken[zone]++
			}
			if set.zonal || set.local {
				claim, volume := set.claim(ordinal)
				s.must(s.kube.Tracker().Add(volume))
				s.must(s.kube.Tracker().Add(claim))
			}
		}
	}
	return groups
}

// simulator is what berth-autoscaler makes of the scheduler's configuration that is shipped.
func (s *storm) simulator(ctx context.Context, factory informers.SharedInformerFactory, book *policies.Book) (*simulator.Simulator, cache.InformerSynced) {
	data, err := os.ReadFile("../manifests/autoscaler/scheduler.yaml")
	if err != nil {
		s.t.Fatal(err)
	}
	profiles, err := simulator.ParseConfiguration(data)
	if err != nil {
		s.t.Fatal(err)
	}
	shared := plugins.NewSimulated(book)
	sim, err := simulator.New(ctx, simulator.Options{
		Overlay:       simulator.NewOverlay(factory),
		Configuration: profiles,
		Registry:      plugins.Registry(shared),
		Checkpoint:    shared.Checkpoint,
		Keepers:       []string{slothold.Name},
		Orderly:       plugins.Orderly(),
		Standing:      func(pod *corev1.Pod) simulator.Standing { return simulator.Standing(shared.Standing(pod)) },
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return sim, shared.HasSynced
}
