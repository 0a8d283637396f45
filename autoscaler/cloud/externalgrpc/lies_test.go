// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package externalgrpc

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/durationpb"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/berth-dev/berth/autoscaler/cloud"
	"github.com/berth-dev/berth/autoscaler/cloud/externalgrpc/protos"
)

// A group of which nonsense is said is left out, the other goes on, and whoever holds the group is told why.
func TestGroupsThatCannotBe(t *testing.T) {
	one, six := 1, 6
	tests := map[string]struct {
		change func(*server)
		group  Group
		want   string
	}{
		"negative minimum": {
			change: func(s *server) { s.groups["zone-a"].min = -1 },
			want:   "node group zone-a: NodeGroups answered minSize -1 and maxSize 5, want 0 or more, and the maximum not below the minimum",
		},
		"minimum above maximum": {
			change: func(s *server) { s.groups["zone-a"].min = 6 },
			want:   "node group zone-a: NodeGroups answered minSize 6 and maxSize 5, want 0 or more, and the maximum not below the minimum",
		},
		"the same id twice": {
			change: func(s *server) { s.also = []*protos.NodeGroup{{Id: "zone-a", MaxSize: 3}} },
			want:   "node group zone-a: NodeGroups answered 2 groups of this id, want one",
		},
		"gone": {
			change: func(s *server) { delete(s.groups, "zone-a") },
			want:   "node group zone-a is listed, and the provider does not have it; it has zone-b",
		},
		"configured minimum above its maximum": {
			change: func(*server) {},
			group:  Group{Min: &six},
			want:   "node group zone-a: NodeGroups answered minSize 0 and maxSize 5, want limits that leave something of the configured ones: 6 to 5 is nothing",
		},
		"configured maximum below its minimum": {
			change: func(s *server) { s.groups["zone-a"].min = 2 },
			group:  Group{Max: &one},
			want:   "node group zone-a: NodeGroups answered minSize 2 and maxSize 5, want limits that leave something of the configured ones: 2 to 1 is nothing",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			tt.group.Name = "zone-a"
			p := s.provider(func(o *Options) { o.Groups[1] = tt.group })
			held := p.listed["zone-a"]
			s.set(func() {
				tt.change(s)
				s.groups["zone-b"].machines = []*protos.Instance{{Id: "fake://n"}}
				s.must(s.nodes.Add(newNode("zone-b", "n", "uid")))
			})
			s.refresh(p)
			groups, err := p.Groups(t.Context())
			if err != nil || len(groups) != 1 || groups[0].Name() != "zone-b" {
				t.Errorf("groups %v, %v; want zone-b alone", groups, err)
			}
			if problems := p.Problems(); len(problems) != 1 || problems["zone-a"] == nil || problems["zone-a"].Error() != tt.want {
				t.Errorf("problems %v, want that of zone-a: %s", problems, tt.want)
			}
			if err := held.Increase(t.Context(), 1); err == nil || err.Error() != tt.want {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
			if group, ok := p.GroupOf(newNode("zone-b", "n", "uid")); !ok || group != "zone-b" {
				t.Errorf("the node of zone-b is of group %q", group)
			}
		})
	}
}

func TestLimitsAreNarrowed(t *testing.T) {
	n := func(i int) *int { return &i }
	tests := map[string]struct {
		group     Group
		low, high int
	}{
		"the server's":       {group: Group{}, low: 2, high: 8},
		"narrower":           {group: Group{Min: n(3), Max: n(5)}, low: 3, high: 5},
		"wider says nothing": {group: Group{Min: n(0), Max: n(9)}, low: 2, high: 8},
		"one node":           {group: Group{Min: n(8)}, low: 8, high: 8},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			s.groups["zone-a"].min, s.groups["zone-a"].max = 2, 8
			tt.group.Name = "zone-a"
			p := s.provider(func(o *Options) { o.Groups = []Group{tt.group} })
			groups, err := p.Groups(t.Context())
			if err != nil || len(groups) != 1 {
				t.Fatalf("groups %v, %v; want the listed one", groups, err)
			}
			if low, high := groups[0].Limits(); low != tt.low || high != tt.high {
				t.Errorf("limits %d to %d, want %d to %d", low, high, tt.low, tt.high)
			}
		})
	}
}

func TestAnswersThatCannotBe(t *testing.T) {
	options := func(o *protos.NodeGroupAutoscalingOptions) func(*server) { return func(s *server) { s.options = o } }
	template := func(change func(*v1.Node)) func(*server) {
		return func(s *server) {
			node := newNode("zone-a", "a", "")
			change(node)
			s.template = &protos.NodeGroupTemplateNodeInfoResponse{NodeBytes: encode(s.t, node)}
		}
	}
	target := func(ctx context.Context, g *nodeGroup) error { _, err := g.TargetSize(ctx); return err }
	price := func(ctx context.Context, g *nodeGroup) error { _, _, err := g.Price(ctx); return err }
	asked := func(ctx context.Context, g *nodeGroup) error { _, err := g.Options(ctx, cloud.Options{}); return err }
	like := func(ctx context.Context, g *nodeGroup) error { _, err := g.Template(ctx); return err }
	tests := map[string]struct {
		change func(*server)
		call   func(context.Context, *nodeGroup) error
		want   string
	}{
		"negative size":             {func(s *server) { s.groups["zone-a"].target = -3 }, target, "NodeGroupTargetSize answered -3, want 0 or more"},
		"growing a negative size":   {func(s *server) { s.groups["zone-a"].target = -3 }, func(ctx context.Context, g *nodeGroup) error { return g.Increase(ctx, 1) }, "NodeGroupTargetSize answered -3, want 0 or more"},
		"forgoing a negative size":  {func(s *server) { s.groups["zone-a"].target = -3 }, func(ctx context.Context, g *nodeGroup) error { return g.DecreaseTarget(ctx, 1) }, "NodeGroupTargetSize answered -3, want 0 or more"},
		"a machine twice":           {func(s *server) { s.groups["zone-a"].machines = []*protos.Instance{{Id: "x"}, {Id: "x"}} }, func(ctx context.Context, g *nodeGroup) error { _, err := g.Instances(ctx); return err }, `NodeGroupNodes answered instance "x" twice, want each once`},
		"negative price":            {func(s *server) { s.price = -0.5 }, price, "PricingNodePrice answered -0.5, want 0 or more"},
		"no number for a price":     {func(s *server) { s.price = math.NaN() }, price, "PricingNodePrice answered NaN, want 0 or more"},
		"infinite price":            {func(s *server) { s.price = math.Inf(1) }, price, "PricingNodePrice answered +Inf, want 0 or more"},
		"threshold above 1":         {options(&protos.NodeGroupAutoscalingOptions{ScaleDownUtilizationThreshold: 50}), asked, "NodeGroupGetOptions answered scaleDownUtilizationThreshold 50, want 0 to 1"},
		"no number for a threshold": {options(&protos.NodeGroupAutoscalingOptions{ScaleDownUtilizationThreshold: math.NaN()}), asked, "NodeGroupGetOptions answered scaleDownUtilizationThreshold NaN, want 0 to 1"},
		"negative time":             {options(&protos.NodeGroupAutoscalingOptions{ScaleDownUnreadyDuration: &durationpb.Duration{Seconds: -60}}), asked, "NodeGroupGetOptions answered scaleDownUnreadyTime -1m0s, want 0 or more"},
		"time that is none":         {options(&protos.NodeGroupAutoscalingOptions{ScaleDownUnneededDuration: &durationpb.Duration{Nanos: 2e9}}), asked, "NodeGroupGetOptions answered scaleDownUnneededTime proto"},
		"old time that is none":     {options(&protos.NodeGroupAutoscalingOptions{MaxNodeProvisionTime: []byte("abc")}), asked, "NodeGroupGetOptions answered maxNodeProvisionTime unexpected EOF, want a duration"},
		"template of no node":       {func(s *server) { s.template = &protos.NodeGroupTemplateNodeInfoResponse{NodeBytes: []byte("a node")} }, like, "NodeGroupTemplateNodeInfo answered 6 bytes that are no node"},
		"price of no node":          {func(s *server) { s.template = &protos.NodeGroupTemplateNodeInfoResponse{NodeBytes: []byte("a node")} }, price, "NodeGroupTemplateNodeInfo answered 6 bytes that are no node"},
		"template without room":     {template(func(n *v1.Node) { n.Status = v1.NodeStatus{} }), like, "NodeGroupTemplateNodeInfo answered a node without resources, want status.allocatable"},
		"template with less":        {template(func(n *v1.Node) { n.Status.Allocatable[v1.ResourceCPU] = resource.MustParse("-1") }), like, "NodeGroupTemplateNodeInfo answered a node with -1 of cpu, want 0 or more"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			p := s.provider()
			s.set(func() { tt.change(s) })
			err := tt.call(t.Context(), p.listed["zone-a"])
			var answer *AnswerError
			if !errors.As(err, &answer) || answer.Group != "zone-a" || !strings.HasPrefix(err.Error(), "node group zone-a: "+tt.want) {
				t.Errorf("got  %v\nwant an AnswerError: %s", err, tt.want)
			}
			if got := s.groups["zone-a"].target; got > 0 {
				t.Errorf("the target is %d", got)
			}
		})
	}
}

func TestMissingGroupError(t *testing.T) {
	tests := map[string]struct {
		offered []string
		want    string
	}{
		"none": {nil, "node group x is listed, and the provider does not have it; it has none"},
		"few":  {[]string{"a", "b"}, "node group x is listed, and the provider does not have it; it has a, b"},
		"many": {strings.Split("abcdefghijkl", ""), "node group x is listed, and the provider does not have it; it has a, b, c, d, e, f, g, h, i, j and 2 more"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := (&MissingGroupError{Group: "x", Offered: tt.offered}).Error(); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}
