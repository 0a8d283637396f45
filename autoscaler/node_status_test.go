// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clienttesting "k8s.io/client-go/testing"

	"github.com/berth-dev/berth/autoscaler/config"
	"github.com/berth-dev/berth/autoscaler/nodes/status"
	"github.com/berth-dev/berth/autoscaler/observe"
)

// nodeStatus reads what is said of node groups.
func (s *stage) nodeStatus() (status.Status, status.Templates) {
	s.t.Helper()
	object, err := s.kube.CoreV1().ConfigMaps(config.Namespace).Get(s.t.Context(), config.StatusName, metav1.GetOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	said, templates, err := status.Parse(object.Data)
	if err != nil {
		s.t.Fatal(err)
	}
	return said, templates
}

// statusWrites counts the writes of the status so far.
func (s *stage) statusWrites() (n int) {
	for _, action := range s.kube.Actions() {
		if action.Matches("update", "configmaps") {
			n++
		}
	}
	return n
}

// wrote counts the writes so far, but for those that tell that somebody leads.
func (s *stage) wrote() (n int) {
	for _, action := range s.kube.Actions() {
		if !slices.Contains([]string{"get", "list", "watch"}, action.GetVerb()) {
			n++
		}
	}
	return n - s.statusWrites()
}

func TestNodeGroupsAreToldOf(t *testing.T) {
	scene{hpas: hpaList{webHPA("web", "web")}}.perform(t, func(s *stage) {
		s.pass(20 * time.Second)
		said, templates := s.nodeStatus()
		if said.AutoscalerStatus != status.Running || said.Berth.State != "acts" || len(said.NodeGroups) != 1 || said.NodeGroups[0].Health.MaxSize != 5 {
			t.Errorf("said %+v, want that Berth runs, acts and has the group pool", said)
		}
		if len(templates.Groups) != 1 || templates.Groups[0].Labels["pool"] != "a" || templates.Groups[0].Allocatable.Cpu().String() != "4" {
			t.Errorf("templates %+v, want that of pool", templates)
		}
		s.set(func() { s.usage, s.slow = 1500, true })
		s.pass(30 * time.Second)
		said, _ = s.nodeStatus()
		if up := said.NodeGroups[0].Berth.LastScaleUp; up == nil || up.From != 0 || up.To == 0 {
			t.Errorf("last growth %+v, want one from 0", up)
		}
		if said.Berth.Forecast == 0 {
			t.Error("no pod is about to come, and nodes came for some")
		}
		if events := s.said("ScaledUpGroup"); len(events) != 1 || !strings.Contains(events[0], "node group pool grows from 0 to ") {
			t.Errorf("events %q, want one that says from where to where", events)
		}
		// Nothing changes any more: what is written is the sign of life.
		s.pass(5 * time.Minute)
		before := s.statusWrites()
		s.pass(10 * time.Minute)
		if wrote := s.statusWrites() - before; wrote < 8 || wrote > 12 {
			t.Errorf("%d writes in 10 minutes without a change, want one a minute", wrote)
		}
		said, _ = s.nodeStatus()
		if age := time.Since(said.Written()); age > 2*statusHeartbeat {
			t.Errorf("the status is %s old", age)
		}
	})
}

func TestFailuresOfNodeGroupsAreToldOf(t *testing.T) {
	begin := func(s *stage) {
		s.kube.PrependReactor("create", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, errors.New("no machines")
		})
	}
	scene{hpas: hpaList{webHPA("web", "web")}, begin: begin}.perform(t, func(s *stage) {
		s.set(func() { s.usage, s.slow = 1500, true })
		s.pass(time.Minute)
		said, _ := s.nodeStatus()
		pool := said.NodeGroups[0]
		if pool.ScaleUp.Status != status.Backoff || !strings.Contains(pool.Berth.Obstacle, "no machines") || pool.Berth.RetryAt == nil {
			t.Errorf("group %+v, want that it failed, why, and when it is tried again", pool)
		}
		if events := s.said("FailedToScaleUpGroup"); len(events) != 1 || !strings.Contains(events[0], "no machines") || !strings.Contains(events[0], "from 0 to") {
			t.Errorf("events %q, want one with the reason", events)
		}
	})
}

// A group that the provider leaves out, and one that cannot be read, are told of once, and for as long as that lasts.
func TestUnreadGroupsAreToldOf(t *testing.T) {
	var f *faultyCloud
	begin := faulty(&f, func(f *faultyCloud) {
		f.problems = map[string]error{"c": errors.New("there is no MachineDeployment of this name")}
		f.fault = func(_ context.Context, call, group string) error {
			if call == "TargetSize" && group == "a" {
				return errors.New("no answer")
			}
			return nil
		}
	})
	scene{hpas: hpaList{webHPA("web", "web")}, begin: begin}.perform(t, func(s *stage) {
		defer close(f.over)
		s.pass(time.Minute)
		want := []status.Unread{
			{Group: "a", Reason: "target size: no answer"},
			{Group: "c", Reason: "there is no MachineDeployment of this name"},
		}
		said, _ := s.nodeStatus()
		if diff := cmp.Diff(want, said.Berth.Unread); diff != "" {
			t.Errorf("unread groups (-want +got):\n%s", diff)
		}
		if len(said.NodeGroups) != 1 || said.NodeGroups[0].Name != "b" {
			t.Errorf("groups %+v, want b alone", said.NodeGroups)
		}
		events := s.said("NodeGroupUnread")
		slices.Sort(events)
		told := []string{
			"Warning NodeGroupUnread node group a is left alone: target size: no answer",
			"Warning NodeGroupUnread node group c is left alone: there is no MachineDeployment of this name",
		}
		if diff := cmp.Diff(told, events); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
		f.mu.Lock()
		f.fault, f.problems = nil, nil
		f.mu.Unlock()
		s.pass(time.Minute)
		if said, _ := s.nodeStatus(); len(said.Berth.Unread) != 0 || len(said.NodeGroups) != 2 {
			t.Errorf("unread groups %+v of %d, want none of 2", said.Berth.Unread, len(said.NodeGroups))
		}
	})
}

// What keeps Berth from acting is an event once, not once in a tick.
func TestStandingBackIsToldOf(t *testing.T) {
	renew := func(s *stage) { s.renewLease("anywhere", observe.ClusterAutoscalerLease) }
	scene{hpas: hpaList{webHPA("web", "web")}, begin: renew}.perform(t, func(s *stage) {
		s.set(func() { s.usage, s.slow = 1500, true })
		for range 24 {
			renew(s)
			s.pass(5 * time.Second)
		}
		said, _ := s.nodeStatus()
		if said.Berth.State != "stands_back" || !strings.Contains(said.Berth.Reason, "anywhere/cluster-autoscaler") || said.NodeGroups[0].Berth.Planned == nil {
			t.Errorf("said %+v, want that Berth stands back, why, and what it would do", said.Berth)
		}
		if events := s.said("ClusterAutoscaler"); len(events) != 1 || !strings.HasPrefix(events[0], "Warning ") {
			t.Errorf("events %q, want one", events)
		}
		s.pass(80 * time.Second)
		if events := s.said("NodeScalingResumed"); len(events) != 1 {
			t.Errorf("events %q, want one", events)
		}
	})
}

func TestUnhealthyClustersAreToldOf(t *testing.T) {
	var dead []runtime.Object
	for _, name := range []string{"d1", "d2", "d3", "d4", "d5"} {
		dead = append(dead, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	scene{objects: dead}.perform(t, func(s *stage) {
		s.pass(time.Minute)
		if events := s.said("ClusterUnhealthy"); len(events) != 1 || !strings.Contains(events[0], "5 of 6 nodes are unready") {
			t.Errorf("events %q, want one with the numbers", events)
		}
		if said, _ := s.nodeStatus(); said.ClusterWide.Health.Status != status.Unhealthy {
			t.Errorf("health %s, want %s", said.ClusterWide.Health.Status, status.Unhealthy)
		}
	})
}

// A status that cannot be written, or that somebody else writes, keeps no node from coming.
func TestAStatusThatCannotBeWritten(t *testing.T) {
	group := schema.GroupResource{Resource: "configmaps"}
	for name, refuse := range map[string]struct {
		verb string
		err  error
	}{
		"no right to read":  {"get", apierrors.NewForbidden(group, config.StatusName, nil)},
		"no right to make":  {"create", apierrors.NewForbidden(group, config.StatusName, nil)},
		"no right to write": {"update", apierrors.NewForbidden(group, config.StatusName, nil)},
		"always a conflict": {"update", apierrors.NewConflict(group, config.StatusName, errors.New("changed"))},
	} {
		t.Run(name, func(t *testing.T) {
			begin := func(s *stage) {
				s.kube.PrependReactor(refuse.verb, "configmaps", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, refuse.err })
			}
			scene{hpas: hpaList{webHPA("web", "web")}, begin: begin}.perform(t, func(s *stage) {
				s.set(func() { s.usage, s.slow = 1500, true })
				s.pass(3 * time.Minute)
				if s.asked() == 0 {
					t.Error("no node was asked for")
				}
			})
		})
	}
}

// The next leader goes on where the one before has ended, whoever has written in between.
func TestStatusOfTheLeaderBefore(t *testing.T) {
	then := metav1.NewTime(time.Date(1999, 12, 31, 0, 0, 0, 0, time.UTC))
	healthy := status.Condition{Status: status.Healthy, LastTransitionTime: then}
	data, err := status.Render(status.Status{ClusterWide: status.ClusterWide{Health: status.ClusterHealth{Condition: healthy}}, NodeGroups: []status.NodeGroup{{Name: "gone"}}}, status.Templates{})
	if err != nil {
		t.Fatal(err)
	}
	before := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: config.Namespace, Name: config.StatusName, UID: "status"}, Data: data}
	scene{objects: []runtime.Object{before}}.perform(t, func(s *stage) {
		s.pass(40 * time.Second)
		said, _ := s.nodeStatus()
		if diff := cmp.Diff(then.UTC(), said.ClusterWide.Health.LastTransitionTime.UTC()); diff != "" {
			t.Errorf("healthy since (-want +got):\n%s", diff)
		}
		if len(said.NodeGroups) != 1 || said.NodeGroups[0].Name != "pool" {
			t.Errorf("groups %+v, want only that which there is", said.NodeGroups)
		}
	})
}
