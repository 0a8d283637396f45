// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package externalgrpc

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/berth-dev/berth/autoscaler/cloud/externalgrpc/protos"
)

// server is a cloud that speaks the protocol, and the cluster that its machines join.
type server struct {
	protos.UnimplementedCloudProviderServer
	t     testing.TB
	nodes cache.Indexer

	mu       sync.Mutex
	groups   map[string]*serverGroup
	machines int
	withheld bool
	// silent servers say nothing of their machines but the ids.
	silent bool
	// foreign servers know their machines by other ids than their nodes have.
	foreign bool
	failure *protos.InstanceErrorInfo
	calls   map[string]int
	// before runs before each call, without the lock; what it returns is the answer where it is an error.
	before func(ctx context.Context, call string) error
	// lists has more groups than there are.
	also []*protos.NodeGroup
	// told is what NodeGroupGetOptions, NodeGroupTemplateNodeInfo and PricingNodePrice answer.
	options  *protos.NodeGroupAutoscalingOptions
	template *protos.NodeGroupTemplateNodeInfoResponse
	price    float64
	// received is the last question of these.
	priced   *protos.PricingNodePriceRequest
	given    *protos.NodeGroupAutoscalingOptions
	forgone  int32
	deleting *protos.NodeGroupDeleteNodesRequest
}

type serverGroup struct {
	min, max, target int32
	machines         []*protos.Instance
}

func newServer(t testing.TB) *server {
	s := &server{
		t: t, nodes: cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{}),
		groups: map[string]*serverGroup{"zone-a": {max: 5}, "zone-b": {max: 5}}, calls: map[string]int{},
	}
	node := newNode("zone-a", "like-all", "")
	node.UID, node.ResourceVersion = "that-of-a-real-one", "7"
	s.template = &protos.NodeGroupTemplateNodeInfoResponse{NodeBytes: encode(t, node)}
	return s
}

func encode(t testing.TB, node *v1.Node) []byte {
	encoded, err := node.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}

// serve returns the address of the server.
func (s *server) serve(options ...grpc.ServerOption) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	g := grpc.NewServer(append(options, grpc.UnaryInterceptor(s.intercept))...)
	protos.RegisterCloudProviderServer(g, s)
	go func() { _ = g.Serve(listener) }()
	s.t.Cleanup(g.Stop)
	return listener.Addr().String()
}

func (s *server) intercept(ctx context.Context, question any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	name := info.FullMethod[len("/clusterautoscaler.cloudprovider.v1.externalgrpc.CloudProvider/"):]
	s.mu.Lock()
	s.calls[name]++
	before := s.before
	s.mu.Unlock()
	if before != nil {
		if err := before(ctx, name); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return handle(ctx, question)
}

// counted returns how often a call came since it was last asked.
func (s *server) counted(call string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.calls[call]
	s.calls[call] = 0
	return n
}

func (s *server) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// fail lets the calls of these names fail.
func (s *server) fail(code codes.Code, calls ...string) {
	s.set(func() {
		s.before = func(_ context.Context, call string) error {
			if slices.Contains(calls, call) {
				return status.Error(code, "not today")
			}
			return nil
		}
	})
}

// provider returns one that scales both groups, refreshed.
func (s *server) provider(change ...func(*Options)) *Provider {
	s.t.Helper()
	o := Options{
		Address: s.serve(), Insecure: true, Timeout: 20 * time.Second,
		Groups: []Group{{Name: "zone-b"}, {Name: "zone-a"}}, Nodes: corelisters.NewNodeLister(s.nodes),
	}
	for _, c := range change {
		c(&o)
	}
	p, err := New(o)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = p.Close() })
	s.refresh(p)
	return p
}

func (s *server) refresh(p *Provider) {
	s.t.Helper()
	if err := p.Refresh(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
}

// happen lets everything asked for happen.
func (s *server) happen() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, g := range s.groups {
		g.machines = slices.DeleteFunc(g.machines, func(m *protos.Instance) bool {
			if m.GetStatus().GetInstanceState() != protos.InstanceStatus_instanceDeleting {
				return false
			}
			for _, n := range s.list() {
				if n.Spec.ProviderID == m.GetId() {
					s.must(s.nodes.Delete(n))
				}
			}
			return true
		})
		for !s.withheld && len(g.machines) < int(g.target) {
			s.machines++
			node := newNode(name, fmt.Sprintf("%s-%d", name, s.machines), types.UID(fmt.Sprintf("uid-%d", s.machines)))
			m := &protos.Instance{Id: node.Spec.ProviderID, Status: &protos.InstanceStatus{InstanceState: protos.InstanceStatus_instanceRunning, ErrorInfo: &protos.InstanceErrorInfo{}}}
			if s.failure != nil {
				m.Status = &protos.InstanceStatus{InstanceState: protos.InstanceStatus_instanceCreating, ErrorInfo: s.failure}
			} else {
				s.must(s.nodes.Add(node))
			}
			g.machines = append(g.machines, m)
		}
	}
}

func (s *server) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *server) list() []*v1.Node {
	var nodes []*v1.Node
	for _, o := range s.nodes.List() {
		nodes = append(nodes, o.(*v1.Node))
	}
	slices.SortFunc(nodes, func(a, b *v1.Node) int { return strings.Compare(a.Name, b.Name) })
	return nodes
}

func newNode(group, name string, uid types.UID) *v1.Node {
	resources := v1.ResourceList{v1.ResourceCPU: resource.MustParse("4"), v1.ResourceMemory: resource.MustParse("8Gi"), v1.ResourcePods: resource.MustParse("110")}
	return &v1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: uid, Labels: map[string]string{v1.LabelTopologyZone: group, v1.LabelHostname: name}},
		Spec:       v1.NodeSpec{ProviderID: "fake://" + name, Taints: []v1.Taint{{Key: "dedicated", Value: "db", Effect: v1.TaintEffectNoSchedule}}},
		Status:     v1.NodeStatus{Capacity: resources, Allocatable: resources.DeepCopy()},
	}
}

// group returns a group, or the error of a server that does not have it.
func (s *server) group(id string) (*serverGroup, error) {
	if g := s.groups[id]; g != nil {
		return g, nil
	}
	return nil, status.Errorf(codes.NotFound, "no group %q", id)
}

func (s *server) Refresh(context.Context, *protos.RefreshRequest) (*protos.RefreshResponse, error) {
	return &protos.RefreshResponse{}, nil
}

func (s *server) NodeGroups(context.Context, *protos.NodeGroupsRequest) (*protos.NodeGroupsResponse, error) {
	answer := &protos.NodeGroupsResponse{NodeGroups: s.also}
	for id, g := range s.groups {
		answer.NodeGroups = append(answer.NodeGroups, &protos.NodeGroup{Id: id, MinSize: g.min, MaxSize: g.max})
	}
	return answer, nil
}

func (s *server) NodeGroupForNode(_ context.Context, q *protos.NodeGroupForNodeRequest) (*protos.NodeGroupForNodeResponse, error) {
	for id, g := range s.groups {
		for _, m := range g.machines {
			if m.GetId() == q.GetNode().GetProviderID() {
				return &protos.NodeGroupForNodeResponse{NodeGroup: &protos.NodeGroup{Id: id, MinSize: g.min, MaxSize: g.max}}, nil
			}
		}
	}
	return &protos.NodeGroupForNodeResponse{NodeGroup: &protos.NodeGroup{}}, nil
}

func (s *server) NodeGroupTargetSize(_ context.Context, q *protos.NodeGroupTargetSizeRequest) (*protos.NodeGroupTargetSizeResponse, error) {
	g, err := s.group(q.GetId())
	if err != nil {
		return nil, err
	}
	return &protos.NodeGroupTargetSizeResponse{TargetSize: g.target}, nil
}

// NodeGroupIncreaseSize knows no maximum: keeping it is up to the client.
func (s *server) NodeGroupIncreaseSize(_ context.Context, q *protos.NodeGroupIncreaseSizeRequest) (*protos.NodeGroupIncreaseSizeResponse, error) {
	g, err := s.group(q.GetId())
	if err != nil {
		return nil, err
	}
	g.target += q.GetDelta()
	return &protos.NodeGroupIncreaseSizeResponse{}, nil
}

// NodeGroupDeleteNodes takes one from the target size for each node, whatever became of its machine.
func (s *server) NodeGroupDeleteNodes(_ context.Context, q *protos.NodeGroupDeleteNodesRequest) (*protos.NodeGroupDeleteNodesResponse, error) {
	g, err := s.group(q.GetId())
	if err != nil {
		return nil, err
	}
	s.deleting = q
	for _, n := range q.GetNodes() {
		g.target--
		for _, m := range g.machines {
			if m.GetId() == n.GetProviderID() {
				m.Status = &protos.InstanceStatus{InstanceState: protos.InstanceStatus_instanceDeleting}
			}
		}
	}
	return &protos.NodeGroupDeleteNodesResponse{}, nil
}

// NodeGroupDecreaseTargetSize does as it is told: keeping the machines that exist is up to the client.
func (s *server) NodeGroupDecreaseTargetSize(_ context.Context, q *protos.NodeGroupDecreaseTargetSizeRequest) (*protos.NodeGroupDecreaseTargetSizeResponse, error) {
	g, err := s.group(q.GetId())
	if err != nil {
		return nil, err
	}
	s.forgone = q.GetDelta()
	g.target += q.GetDelta()
	return &protos.NodeGroupDecreaseTargetSizeResponse{}, nil
}

func (s *server) NodeGroupNodes(_ context.Context, q *protos.NodeGroupNodesRequest) (*protos.NodeGroupNodesResponse, error) {
	g, err := s.group(q.GetId())
	if err != nil {
		return nil, err
	}
	answer := &protos.NodeGroupNodesResponse{}
	for _, m := range g.machines {
		if s.silent {
			m = &protos.Instance{Id: m.GetId()}
		}
		if s.foreign {
			m = &protos.Instance{Id: "machine-of-" + m.GetId(), Status: m.GetStatus()}
		}
		answer.Instances = append(answer.Instances, m)
	}
	return answer, nil
}

func (s *server) NodeGroupTemplateNodeInfo(_ context.Context, q *protos.NodeGroupTemplateNodeInfoRequest) (*protos.NodeGroupTemplateNodeInfoResponse, error) {
	if _, err := s.group(q.GetId()); err != nil {
		return nil, err
	}
	return s.template, nil
}

func (s *server) NodeGroupGetOptions(_ context.Context, q *protos.NodeGroupAutoscalingOptionsRequest) (*protos.NodeGroupAutoscalingOptionsResponse, error) {
	s.given = q.GetDefaults()
	return &protos.NodeGroupAutoscalingOptionsResponse{NodeGroupAutoscalingOptions: s.options}, nil
}

func (s *server) PricingNodePrice(_ context.Context, q *protos.PricingNodePriceRequest) (*protos.PricingNodePriceResponse, error) {
	s.priced = q
	return &protos.PricingNodePriceResponse{Price: s.price}, nil
}
