// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package clusterapi

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/discovery/fake"
	"k8s.io/client-go/restmapper"
	clienttesting "k8s.io/client-go/testing"
)

// countedMapper counts how often the API server has to be asked again.
type countedMapper struct {
	*restmapper.DeferredDiscoveryRESTMapper
	resets int
}

func (m *countedMapper) Reset() {
	m.resets++
	m.DeferredDiscoveryRESTMapper.Reset()
}

// server serves some kind, and those of Cluster API once they are installed.
func server() (mapper *countedMapper, install func(kinds ...string)) {
	server := &fake.FakeDiscovery{Fake: &clienttesting.Fake{Resources: []*metav1.APIResourceList{{GroupVersion: "v1", APIResources: []metav1.APIResource{{Name: "pods", Kind: "Pod", Namespaced: true}}}}}}
	mapper = &countedMapper{DeferredDiscoveryRESTMapper: restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(server))}
	return mapper, func(kinds ...string) {
		list := &metav1.APIResourceList{GroupVersion: apiGroup + "/v1beta2"}
		for _, kind := range kinds {
			list.APIResources = append(list.APIResources, metav1.APIResource{Name: strings.ToLower(kind) + "s", Kind: kind, Namespaced: true})
		}
		server.Resources = append(server.Resources[:1:1], list)
	}
}

// What is installed after Berth began is found by the next look, and nobody waits meanwhile.
func TestAnAPIThatIsInstalledLater(t *testing.T) {
	f := newFakes(t, "v1beta2", groupsYAML)
	synctest.Test(t, func(t *testing.T) {
		mapper, install := server()
		p, err := New(Options{Client: f.client, Scales: f.scales, Mapper: mapper, Cluster: "this cluster", Groups: []Group{{Name: "MachineSet/prod/own"}}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); p.Run(ctx) }()
		defer func() { cancel(); <-done }()

		synctest.Wait()
		began := time.Now()
		err = p.Refresh(ctx)
		if !meta.IsNoMatchError(errors.Unwrap(err)) || !strings.Contains(err.Error(), "in this cluster") || time.Since(began) != 0 {
			t.Errorf("after %s: %v, want at once that the kind is not in this cluster", time.Since(began), err)
		}
		time.Sleep(time.Minute)
		install(setKind, machineKind)
		time.Sleep(startRetry)
		synctest.Wait()
		if err := p.Refresh(ctx); err != nil {
			t.Fatalf("installed %s ago: %v", startRetry, err)
		}
		if groups, err := p.Groups(ctx); err != nil || len(groups) != 1 {
			t.Errorf("%d groups, %v; want the one that is configured", len(groups), err)
		}
	})
}

// A kind that nobody installs costs the API server little, however often it is asked for.
func TestAKindThatIsNotThereIsAskedForNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mapper, install := server()
		p := &Provider{options: Options{Mapper: mapper}}
		for range 100 {
			if _, err := p.mapping(schema.GroupKind{Group: apiGroup, Kind: clusterKind}); !meta.IsNoMatchError(err) {
				t.Fatalf("%v, want that there is no such kind", err)
			}
		}
		if mapper.resets != 1 {
			t.Errorf("asked again %d times, want once", mapper.resets)
		}
		install(clusterKind)
		time.Sleep(askedAgain)
		if _, err := p.mapping(schema.GroupKind{Group: apiGroup, Kind: clusterKind}); err != nil {
			t.Errorf("installed %s ago: %v", askedAgain, err)
		}
	})
}

// An API server that does not answer is waited for no longer than a moment.
func TestAServerThatDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, err := New(Options{Cluster: "this cluster", Groups: []Group{{Name: "MachineSet/prod/own"}}})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := p.Refresh(t.Context()); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "this cluster") {
			t.Errorf("%v, want that this cluster has not been looked at", err)
		}
		if took := time.Since(began); took > firstLook {
			t.Errorf("that took %s, want %s", took, firstLook)
		}
	})
}
