// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package externalgrpc

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/berth-dev/berth/autoscaler/cloud"
	"github.com/berth-dev/berth/autoscaler/cloud/externalgrpc/protos"
)

var someOptions = cloud.Options{UtilizationThreshold: 0.5, UnneededTime: time.Minute, UnreadyTime: 2 * time.Minute, MaxNodeProvisionTime: 3 * time.Minute}

// Calls that a server need not have are done without.
func TestUnimplemented(t *testing.T) {
	s := newServer(t)
	g := s.provider().listed["zone-a"]
	s.fail(codes.Unimplemented, "NodeGroupGetOptions", "PricingNodePrice")
	if got, err := g.Options(t.Context(), someOptions); err != nil || got != someOptions {
		t.Errorf("options %+v, %v; want those given", got, err)
	}
	if price, known, err := g.Price(t.Context()); err != nil || known {
		t.Errorf("price %v, %t, %v; want none", price, known, err)
	}
	s.refresh(g.provider)
	s.fail(codes.Unimplemented, "NodeGroupTemplateNodeInfo")
	var none *cloud.NoTemplateError
	if _, err := g.Template(t.Context()); !errors.As(err, &none) || none.Group != "zone-a" {
		t.Errorf("template: %v, want a NoTemplateError of the group", err)
	}
	if price, known, err := g.Price(t.Context()); err != nil || known {
		t.Errorf("price %v, %t, %v; want none without a template", price, known, err)
	}
	s.set(func() { s.before, s.template = nil, &protos.NodeGroupTemplateNodeInfoResponse{} })
	if _, err := g.Template(t.Context()); !errors.As(err, &none) {
		t.Errorf("empty template: %v, want a NoTemplateError", err)
	}
}

func TestOptions(t *testing.T) {
	tests := map[string]struct {
		told *protos.NodeGroupAutoscalingOptions
		want func(*cloud.Options)
	}{
		"nothing":       {nil, func(*cloud.Options) {}},
		"nothing set":   {&protos.NodeGroupAutoscalingOptions{}, func(*cloud.Options) {}},
		"the threshold": {&protos.NodeGroupAutoscalingOptions{ScaleDownUtilizationThreshold: 0.75}, func(o *cloud.Options) { o.UtilizationThreshold = 0.75 }},
		"times": {
			&protos.NodeGroupAutoscalingOptions{
				ScaleDownUnneededDuration: durationpb.New(time.Second), ScaleDownUnreadyDuration: durationpb.New(2 * time.Second), MaxNodeProvisionDuration: durationpb.New(3 * time.Second),
			},
			func(o *cloud.Options) {
				o.UnneededTime, o.UnreadyTime, o.MaxNodeProvisionTime = time.Second, 2*time.Second, 3*time.Second
			},
		},
		"times of an older server": {
			&protos.NodeGroupAutoscalingOptions{
				ScaleDownUnneededTime: oldDuration(time.Second), ScaleDownUnreadyTime: oldDuration(2 * time.Second), MaxNodeProvisionTime: oldDuration(3 * time.Second),
			},
			func(o *cloud.Options) {
				o.UnneededTime, o.UnreadyTime, o.MaxNodeProvisionTime = time.Second, 2*time.Second, 3*time.Second
			},
		},
		"both, the newer counts": {
			&protos.NodeGroupAutoscalingOptions{ScaleDownUnneededTime: oldDuration(time.Second), ScaleDownUnneededDuration: durationpb.New(time.Hour)},
			func(o *cloud.Options) { o.UnneededTime = time.Hour },
		},
		"at once": {
			&protos.NodeGroupAutoscalingOptions{ScaleDownUnneededDuration: durationpb.New(0), ScaleDownUnreadyTime: []byte{}, MaxNodeProvisionDuration: durationpb.New(0)},
			func(o *cloud.Options) { o.UnneededTime, o.UnreadyTime = 0, 0 },
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			s.options = tt.told
			got, err := s.provider().listed["zone-a"].Options(t.Context(), someOptions)
			want := someOptions
			tt.want(&want)
			if err != nil || got != want {
				t.Errorf("got %+v, %v; want %+v", got, err, want)
			}
			if d := s.given.GetScaleDownUnreadyDuration().AsDuration(); d != someOptions.UnreadyTime {
				t.Errorf("the server is told the default %v, want %v", d, someOptions.UnreadyTime)
			}
			var old metav1.Duration
			if err := old.Unmarshal(s.given.GetMaxNodeProvisionTime()); err != nil || old.Duration != someOptions.MaxNodeProvisionTime {
				t.Errorf("an older server is told the default %v, %v; want %v", old.Duration, err, someOptions.MaxNodeProvisionTime)
			}
		})
	}
}

func TestPrice(t *testing.T) {
	s := newServer(t)
	s.price = 0.125
	p := s.provider()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	p.now = func() time.Time { return now }
	price, known, err := p.listed["zone-a"].Price(t.Context())
	if err != nil || !known || price != 0.125 {
		t.Fatalf("price %v, %t, %v; want 0.125", price, known, err)
	}
	q := s.priced
	if from, until := q.GetStartTimestamp().AsTime(), q.GetEndTimestamp().AsTime(); !from.Equal(now) || !until.Equal(now.Add(time.Hour)) {
		t.Errorf("asked about %v to %v, want the next hour", from, until)
	}
	var from, until metav1.Time
	if err := errors.Join(from.Unmarshal(q.GetStartTime()), until.Unmarshal(q.GetEndTime())); err != nil || !from.Time.Equal(now) || !until.Time.Equal(now.Add(time.Hour)) {
		t.Errorf("an older server is asked about %v to %v, %v; want the next hour", from, until, err)
	}
	want := map[string]string{v1.LabelTopologyZone: "zone-a", v1.LabelHostname: "like-all"}
	if diff := cmp.Diff(want, q.GetNode().GetLabels()); diff != "" || len(q.GetNode().GetAnnotations()) != 0 {
		t.Errorf("node asked about (-want +got):\n%s%v", diff, q.GetNode())
	}
	s.set(func() { s.price = 0 })
	if price, known, err := p.listed["zone-a"].Price(t.Context()); err != nil || known {
		t.Errorf("price %v, %t, %v; a server that leaves it out names no price", price, known, err)
	}
}

func TestTemplate(t *testing.T) {
	s := newServer(t)
	p := s.provider()
	g := p.listed["zone-a"]
	for range 2 {
		got, err := g.Template(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want := newNode("zone-a", "like-all", "")
		want.Annotations = map[string]string{"berth.dev/template-of": "zone-a"}
		if diff := cmp.Diff(&cloud.Template{Node: want}, got); diff != "" {
			t.Errorf("template (-want +got):\n%s", diff)
		}
		got.Node.Labels["changed"] = "by the caller"
	}
	if n := s.counted("NodeGroupTemplateNodeInfo"); n != 1 {
		t.Errorf("asked %d times in a round, want once", n)
	}
	bare := &v1.Node{Status: v1.NodeStatus{Capacity: newNode("", "", "").Status.Capacity}}
	s.set(func() {
		s.template = &protos.NodeGroupTemplateNodeInfoResponse{NodeInfo: []byte("not read"), NodeBytes: encode(t, bare)}
	})
	s.refresh(p)
	got, err := g.Template(t.Context())
	if err != nil || got.Node.Name != "zone-a-template" || got.Node.Status.Allocatable.Cpu().Value() != 4 {
		t.Errorf("template %v, %v; want one with a name, and its capacity for allocatable", got, err)
	}
	// An annotation does not make a real node one of the group.
	real := newNode("zone-a", "real", "uid")
	real.Annotations = got.Node.Annotations
	if group, ok := p.GroupOf(real); ok {
		t.Errorf("a node that says itself whose it is is of group %q", group)
	}
}

func TestInstances(t *testing.T) {
	type state = protos.InstanceStatus_InstanceState
	with := func(s state, e *protos.InstanceErrorInfo) *protos.InstanceStatus {
		return &protos.InstanceStatus{InstanceState: s, ErrorInfo: e}
	}
	stock := &protos.InstanceErrorInfo{ErrorCode: "STOCKOUT", ErrorMessage: "no c7g left", InstanceErrorClass: 1}
	other := &protos.InstanceErrorInfo{ErrorCode: "BOOT", ErrorMessage: "no disk", InstanceErrorClass: 99}
	tests := map[string]struct {
		told *protos.InstanceStatus
		want cloud.Instance
	}{
		"nothing":           {nil, cloud.Instance{State: cloud.InstanceRunning}},
		"runs":              {with(1, &protos.InstanceErrorInfo{}), cloud.Instance{State: cloud.InstanceRunning}},
		"comes":             {with(2, &protos.InstanceErrorInfo{}), cloud.Instance{State: cloud.InstanceCreating}},
		"goes":              {with(3, nil), cloud.Instance{State: cloud.InstanceDeleting}},
		"a newer state":     {with(4, nil), cloud.Instance{State: cloud.InstanceRunning}},
		"cannot be had":     {with(2, stock), cloud.Instance{State: cloud.InstanceCreating, Failed: &cloud.InstanceFailure{OutOfResources: true, Code: "STOCKOUT", Message: "no c7g left"}}},
		"failed":            {with(2, other), cloud.Instance{State: cloud.InstanceCreating, Failed: &cloud.InstanceFailure{Code: "BOOT", Message: "no disk"}}},
		"runs with errors":  {with(1, other), cloud.Instance{State: cloud.InstanceRunning}},
		"class but no code": {with(2, &protos.InstanceErrorInfo{InstanceErrorClass: 1}), cloud.Instance{State: cloud.InstanceCreating}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			s.groups["zone-a"].machines = []*protos.Instance{{Status: tt.told}, {Status: tt.told}, {Id: "known", Status: tt.told}}
			got, err := s.provider().listed["zone-a"].Instances(t.Context())
			known := tt.want
			known.ProviderID = "known"
			if diff := cmp.Diff([]cloud.Instance{tt.want, tt.want, known}, got); err != nil || diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
}

// What is bytes here is a message elsewhere: a server from before 1.35 is
// played by the fields that it sets.
func TestWireOfOlderServers(t *testing.T) {
	node := newNode("zone-a", "like-all", "")
	message := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), encode(t, node))
	var template protos.NodeGroupTemplateNodeInfoResponse
	if err := proto.Unmarshal(message, &template); err != nil {
		t.Fatal(err)
	}
	got, err := templateNode("zone-a", template.GetNodeInfo())
	if err != nil || got.Status.Allocatable.Cpu().Value() != 4 || len(template.GetNodeBytes()) != 0 {
		t.Errorf("node %v, %v", got, err)
	}
	duration := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(time.Minute))
	for number, field := range map[protowire.Number]func(*protos.NodeGroupAutoscalingOptions) []byte{
		3: (*protos.NodeGroupAutoscalingOptions).GetScaleDownUnneededTime,
		4: (*protos.NodeGroupAutoscalingOptions).GetScaleDownUnreadyTime,
		5: (*protos.NodeGroupAutoscalingOptions).GetMaxNodeProvisionTime,
	} {
		var options protos.NodeGroupAutoscalingOptions
		if err := proto.Unmarshal(protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), duration), &options); err != nil {
			t.Fatal(err)
		}
		if got, ok, err := durationOf(nil, field(&options)); err != nil || !ok || got != time.Minute {
			t.Errorf("field %d is %v, %t, %v; want 1m", number, got, ok, err)
		}
	}
}

func FuzzTemplateNode(f *testing.F) {
	for _, n := range []*v1.Node{{}, newNode("zone-a", "a", "uid"), {Status: v1.NodeStatus{Capacity: newNode("", "", "").Status.Capacity}}} {
		encoded, err := n.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(encoded)
		f.Add(encoded[:len(encoded)/2])
	}
	f.Add([]byte("a node"))
	f.Fuzz(func(t *testing.T, encoded []byte) {
		node, err := templateNode("group", encoded)
		if err != nil {
			var answer *AnswerError
			if !errors.As(err, &answer) || answer.Group != "group" {
				t.Fatalf("%v is no AnswerError of the group", err)
			}
			return
		}
		if node.Name == "" || node.UID != "" || node.Labels == nil || len(node.Status.Allocatable) == 0 || node.Annotations[templateOf] != "group" {
			t.Fatalf("template %v", node)
		}
		for name, q := range node.Status.Allocatable {
			if q.Sign() < 0 {
				t.Fatalf("%s is %s", name, q.String())
			}
		}
		if _, err := node.Marshal(); err != nil {
			t.Fatal(err)
		}
	})
}
