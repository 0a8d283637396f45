// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package kwok

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	corelisters "k8s.io/client-go/listers/core/v1"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"

	"github.com/berth-dev/berth/autoscaler/cloud/cloudtest"
)

func groups() []Group {
	var groups []Group
	for _, zone := range []string{"b", "a"} {
		groups = append(groups, Group{
			Name: "zone-" + zone, Max: 5,
			Labels: map[string]string{v1.LabelTopologyZone: zone},
			Taints: []v1.Taint{{Key: "dedicated", Value: "db", Effect: v1.TaintEffectNoSchedule}},
			Capacity: v1.ResourceList{
				v1.ResourceCPU: resource.MustParse("4"), v1.ResourceMemory: resource.MustParse("8Gi"), v1.ResourcePods: resource.MustParse("110"),
			},
		})
	}
	return groups
}

// server is a fake API server that gives UIDs and keeps preconditions, and an
// informer's store that is brought up to date by hand.
type server struct {
	client *fake.Clientset
	store  cache.Indexer
	t      *testing.T
}

func newServer(t *testing.T) *server {
	s := &server{client: fake.NewClientset(), store: cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{}), t: t}
	created := 0
	s.client.PrependReactor("create", "nodes", func(action clienttesting.Action) (bool, runtime.Object, error) {
		created++
		action.(clienttesting.CreateAction).GetObject().(*v1.Node).UID = types.UID(fmt.Sprintf("uid-%d", created))
		return false, nil, nil
	})
	s.client.PrependReactor("delete", "nodes", func(action clienttesting.Action) (bool, runtime.Object, error) {
		deletion := action.(clienttesting.DeleteActionImpl)
		object, err := s.client.Tracker().Get(schema.GroupVersionResource{Version: "v1", Resource: "nodes"}, "", deletion.Name)
		if err != nil {
			return true, nil, err
		}
		want := deletion.DeleteOptions.Preconditions
		if want == nil || want.UID == nil {
			t.Errorf("node %s is deleted without a precondition", deletion.Name)
		} else if object.(*v1.Node).UID != *want.UID {
			return true, nil, apierrors.NewConflict(schema.GroupResource{Resource: "nodes"}, deletion.Name, errors.New("the UID differs"))
		}
		return false, nil, nil
	})
	return s
}

func (s *server) provider() *Provider {
	return New(s.client.CoreV1().Nodes(), corelisters.NewNodeLister(s.store), groups())
}

func (s *server) nodes() []*v1.Node {
	list, err := s.client.CoreV1().Nodes().List(s.t.Context(), metav1.ListOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	var nodes []*v1.Node
	for i := range list.Items {
		nodes = append(nodes, &list.Items[i])
	}
	return nodes
}

// observe brings the informer up to date.
func (s *server) observe() {
	var objects []any
	for _, n := range s.nodes() {
		objects = append(objects, n)
	}
	if err := s.store.Replace(objects, ""); err != nil {
		s.t.Fatal(err)
	}
}

func TestConformance(t *testing.T) {
	cloudtest.Run(t, func(t *testing.T) cloudtest.Fixture {
		s := newServer(t)
		return cloudtest.Fixture{Provider: s.provider(), Settle: s.observe, Nodes: s.nodes}
	})
}

func TestNode(t *testing.T) {
	s := newServer(t)
	p := s.provider()
	if err := p.groups["zone-a"].Increase(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	got := s.nodes()[0]
	if !strings.HasPrefix(got.Name, "zone-a-") || len(got.Name) != len("zone-a-")+5 {
		t.Errorf("name %q, want zone-a- and five characters", got.Name)
	}
	wantLabels := map[string]string{
		"berth.dev/node-group": "zone-a", "topology.kubernetes.io/zone": "a", "kubernetes.io/hostname": got.Name + ".local",
		"type": "kwok", "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
	}
	if diff := cmp.Diff(wantLabels, got.Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	wantAnnotations := map[string]string{"kwok.x-k8s.io/node": "fake", "volumes.kubernetes.io/controller-managed-attach-detach": "true"}
	if diff := cmp.Diff(wantAnnotations, got.Annotations); diff != "" {
		t.Errorf("annotations (-want +got):\n%s", diff)
	}
	if c := got.Status.Conditions; len(c) != 1 || c[0].Type != v1.NodeReady || c[0].Status != v1.ConditionFalse {
		t.Errorf("conditions %v, want Ready=False: it has yet to boot", c)
	}
}

// A node that someone else deletes before the informer shows it is not
// counted for ever.
func TestRefreshForgetsNodesThatNeverAppear(t *testing.T) {
	s := newServer(t)
	p := s.provider()
	g := p.groups["zone-a"]
	if err := g.Increase(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	lost := s.nodes()[0]
	err := s.client.CoreV1().Nodes().Delete(t.Context(), lost.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(lost.UID))})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if size, err := g.TargetSize(t.Context()); err != nil || size != 1 {
		t.Errorf("target size %d, %v; want 1", size, err)
	}
}

func TestFailures(t *testing.T) {
	s := newServer(t)
	p := s.provider()
	g := p.groups["zone-a"]
	calls := 0
	s.client.PrependReactor("create", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
		if calls++; calls > 1 {
			return true, nil, errors.New("out of stock")
		}
		return false, nil, nil
	})
	err := g.Increase(t.Context(), 3)
	if want := "node group zone-a: 1 of 3 nodes created: out of stock"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if size, err := g.TargetSize(t.Context()); err != nil || size != 1 {
		t.Errorf("target size %d, %v; want 1", size, err)
	}
	s.client.PrependReactor("delete", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("not today")
	})
	if err := g.Delete(t.Context(), s.nodes()[0]); err == nil || !strings.Contains(err.Error(), "not today") {
		t.Errorf("got %v, want the error of the server", err)
	}
	if size, err := g.TargetSize(t.Context()); err != nil || size != 1 {
		t.Errorf("target size %d, %v after a failed deletion; want 1", size, err)
	}
}

// A process that stood still while it grew a group goes no further: somebody else may lead by now.
func TestStoodStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		g := s.provider().groups["zone-a"]
		calls := 0
		s.client.PrependReactor("create", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
			if calls++; calls == 2 {
				time.Sleep(6 * time.Second)
			}
			return false, nil, nil
		})
		err := g.Increase(t.Context(), 4)
		if want := "node group zone-a: 2 of 4 nodes created: one took 6s"; err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
		if created := len(s.nodes()); created != 2 {
			t.Errorf("%d nodes were created, want 2", created)
		}
	})
}

// A name that is taken is not an error.
func TestTakenName(t *testing.T) {
	s := newServer(t)
	taken := 0
	s.client.PrependReactor("create", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
		if taken++; taken < 3 {
			return true, nil, apierrors.NewAlreadyExists(schema.GroupResource{Resource: "nodes"}, "taken")
		}
		return false, nil, nil
	})
	if err := s.provider().groups["zone-a"].Increase(t.Context(), 1); err != nil {
		t.Error(err)
	}
}
