// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/berth-dev/berth/autoscaler/cloud"
	"github.com/berth-dev/berth/autoscaler/cloud/clusterapi"
	"github.com/berth-dev/berth/test/fixture"
)

// clusterAPIDeeds are what only a real API server shows of the provider, beside the suite.
var clusterAPIDeeds = map[string]func(t *testing.T, p *played){
	"two leaders lose and double nothing":      twoLeaders,
	"a mark left behind costs no other node":   markLeftBehind,
	"a paused group is left alone":             pausedGroup,
	"one group that is wrong stops no other":   wrongGroup,
	"what the annotations say is what is told": toldByAnnotations,
}

func (p *played) at(t *testing.T, provider *clusterapi.Provider, i int) cloud.NodeGroup {
	t.Helper()
	groups, err := provider.Groups(t.Context())
	if err != nil || len(groups) <= i {
		t.Fatalf("%d groups, %v", len(groups), err)
	}
	return groups[i]
}

// patch changes the group a as a person would.
func (p *played) patch(t *testing.T, kind, name, patch string) {
	t.Helper()
	if _, err := p.resource(kind).Patch(t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// A leader that was paused and comes back asks at the same time as the new one: each wish counts once, or is refused.
func twoLeaders(t *testing.T, p *played) {
	p.patch(t, p.kind, "a", `{"metadata": {"annotations": {"cluster.x-k8s.io/cluster-api-autoscaler-node-group-max-size": "13"}}}`)
	leaders := []cloud.NodeGroup{p.at(t, p.provider, 0), p.at(t, startClusterAPI(t, p.cluster, p.groups), 0)}
	var calls sync.WaitGroup
	var granted atomic.Int32
	for _, g := range leaders {
		for range 4 {
			calls.Go(func() {
				if g.Increase(t.Context(), 2) == nil {
					granted.Add(2)
				}
			})
		}
	}
	calls.Wait()
	p.settle(t)
	if nodes := p.nodes(t.Context(), t); len(nodes) != int(granted.Load()) || len(nodes) > 13 || len(nodes) < 4 {
		t.Errorf("%d nodes, want the %d that were granted, of at most 13", len(nodes), granted.Load())
	}
}

// A leader that died after it had marked a Machine has not shrunk the group.
func markLeftBehind(t *testing.T, p *played) {
	g := p.at(t, p.provider, 0)
	if err := g.Increase(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	p.settle(t)
	list, err := p.resource("Machine").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p.patch(t, "Machine", list.Items[0].GetName(), `{"metadata": {"annotations": {"cluster.x-k8s.io/delete-machine": "berth.dev/autoscaler"}}}`)
	nodes := p.nodes(t.Context(), t)
	if err := g.Delete(t.Context(), nodes[2]); err != nil {
		t.Fatal(err)
	}
	p.settle(t)
	left := p.nodes(t.Context(), t)
	if len(left) != 2 || left[0].UID != nodes[0].UID || left[1].UID != nodes[1].UID {
		t.Errorf("%d nodes are left, want the first two", len(left))
	}
	p.patch(t, "Machine", list.Items[0].GetName(), `{"metadata": {"annotations": {"cluster.x-k8s.io/delete-machine": "by a person"}}}`)
	var unsettled *clusterapi.UnsettledError
	if err := g.Delete(t.Context(), nodes[1]); !errors.As(err, &unsettled) {
		t.Errorf("%v, want an UnsettledError: Cluster API would take the Machine that a person has marked", err)
	}
	if err := g.Delete(t.Context(), nodes[0]); err != nil {
		t.Errorf("deleting what a person has marked: %v", err)
	}
	p.settle(t)
	if left := p.nodes(t.Context(), t); len(left) != 1 || left[0].UID != nodes[1].UID {
		t.Errorf("%d nodes are left, want the second", len(left))
	}
}

func pausedGroup(t *testing.T, p *played) {
	g := p.at(t, p.provider, 0)
	if err := g.Increase(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	p.settle(t)
	p.patch(t, p.kind, "a", `{"metadata": {"annotations": {"cluster.x-k8s.io/paused": ""}}}`)
	node := p.nodes(t.Context(), t)[0]
	for what, err := range map[string]error{
		"Increase": g.Increase(t.Context(), 1), "Delete": g.Delete(t.Context(), node), "DecreaseTarget": g.DecreaseTarget(t.Context(), 1),
	} {
		var paused *clusterapi.PausedError
		if !errors.As(err, &paused) {
			t.Errorf("%s: %v, want a PausedError", what, err)
		}
	}
	if size, err := g.TargetSize(t.Context()); err != nil || size != 2 {
		t.Errorf("target size %d, %v; want 2", size, err)
	}
}

func wrongGroup(t *testing.T, p *played) {
	await := func(want int) {
		t.Helper()
		err := fixture.Until(t.Context(), fmt.Sprint(want, " groups"), patience, func(ctx context.Context) (string, bool, error) {
			if err := p.provider.Refresh(ctx); err != nil {
				return "", false, err
			}
			groups, err := p.provider.Groups(ctx)
			return fmt.Sprint(p.provider.Problems()), len(groups) == want && len(p.provider.Problems()) == 2-want, err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	p.patch(t, p.kind, "a", `{"metadata": {"annotations": {"capacity.cluster-autoscaler.kubernetes.io/cpu": "four"}}}`)
	await(1)
	if err := p.at(t, p.provider, 0).Increase(t.Context(), 1); err != nil {
		t.Errorf("the other group: %v", err)
	}
	p.patch(t, p.kind, "a", `{"metadata": {"annotations": {"capacity.cluster-autoscaler.kubernetes.io/cpu": "4"}}}`)
	await(2)
}

func toldByAnnotations(t *testing.T, p *played) {
	g := p.at(t, p.provider, 0)
	template, err := g.Template(t.Context())
	if err != nil || template.Drivers["zonal.e2e.berth.dev"] != 7 || template.Node.Status.Allocatable.Memory().String() != "8Gi" || len(template.Node.Spec.Taints) != 1 {
		t.Errorf("template %+v, %v", template, err)
	}
	options, err := g.Options(t.Context(), cloud.Options{})
	if err != nil || options.UnneededTime.String() != "7m0s" {
		t.Errorf("options %+v, %v", options, err)
	}
}
