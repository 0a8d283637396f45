// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	st "k8s.io/kubernetes/pkg/scheduler/testing"
)

func TestMark(t *testing.T) {
	taint := Mark(noon)
	if msgs := validation.IsValidLabelValue(taint.Value); len(msgs) > 0 || taint.Effect != v1.TaintEffectNoSchedule {
		t.Errorf("taint %+v: %v", taint, msgs)
	}
	n := st.MakeNode().Name("n0").Taints([]v1.Taint{{Key: "x"}, taint}).Obj()
	if since, err := Since(n); !Marked(n) || err != nil || !since.Equal(noon) {
		t.Errorf("marked %t since %s, error %v, want since %s", Marked(n), since, err, noon)
	}
	for _, value := range []string{"1767268800", "", "berth.dev"} {
		n := st.MakeNode().Name("n0").Taints([]v1.Taint{{Key: Taint, Value: value}}).Obj()
		if _, err := Since(n); Marked(n) || err == nil {
			t.Errorf("a taint with value %q is taken for Berth's", value)
		}
	}
}

// say is a step in one line.
func say(s Step) string {
	var pods []string
	for _, pod := range s.Pods {
		pods = append(pods, pod.Name)
	}
	line := string(s.Kind) + ": " + s.Reason
	if len(pods) > 0 {
		line += " [" + strings.Join(pods, " ") + "]"
	}
	if !s.Until.IsZero() {
		line += fmt.Sprintf(" until %s", s.Until.Sub(noon))
	}
	return line
}

func TestNext(t *testing.T) {
	marked := func(ago time.Duration) *v1.Node {
		return st.MakeNode().Name("n0").Taints([]v1.Taint{Mark(noon.Add(-ago))}).Obj()
	}
	web0, web1 := running("web-0", "ReplicaSet"), running("web-1", "ReplicaSet")
	late := running("late", "ReplicaSet")
	late.Status.Conditions = append(late.Status.Conditions, v1.PodCondition{Type: v1.PodScheduled, Status: v1.ConditionTrue, LastTransitionTime: metav1.NewTime(noon.Add(-10 * time.Second))})
	stuck := Progress{At: noon.Add(-2 * time.Minute), Left: 1, Going: 1}
	for name, tc := range map[string]struct {
		node   Node
		change func(*World)
		want   string
		then   Progress
	}{
		"the taint first":          {node: Node{Object: st.MakeNode().Name("n0").Obj(), Pods: []*v1.Pod{web0}}, want: "Taint: pods are to come here no more"},
		"unless a pod has to stay": {node: Node{Object: st.MakeNode().Name("n0").Obj(), Pods: []*v1.Pod{st.MakePod().Namespace("prod").Name("alone").Obj()}}, want: "Undo: pod prod/alone: it has no controller that would re-create it"},
		"never somebody else's": {
			node: Node{Object: st.MakeNode().Name("n0").Taints([]v1.Taint{{Key: Taint, Value: "1767268800"}}).Obj()},
			want: "Undo: it has a taint ToBeDeletedByClusterAutoscaler that is not Berth's",
		},
		"time for it to be seen": {node: Node{Object: marked(4 * time.Second), Pods: []*v1.Pod{web0}}, want: "Wait: whoever places pods is to see the taint first until 1s"},
		"then everything that may": {
			node: Node{Object: marked(5 * time.Second), Pods: []*v1.Pod{web1, web0}}, want: "Evict: 2 of 2 pods may go now [web-0 web-1] until 2m0s",
			then: Progress{At: noon, Left: 2, Going: 2},
		},
		"a process that remembers nothing goes on": {
			node: Node{Object: marked(time.Hour), Pods: []*v1.Pod{web0}}, want: "Evict: 1 of 1 pods may go now [web-0] until 2m0s",
			then: Progress{At: noon, Left: 1, Going: 1},
		},
		"one slot at a time, from the top": {
			node:   Node{Object: marked(time.Minute), Pods: []*v1.Pod{running("db-0", "StatefulSet"), running("db-1", "StatefulSet")}},
			change: func(w *World) {},
			want:   "Evict: 1 of 2 pods may go now [db-1] until 2m0s", then: Progress{At: noon, Left: 2, Going: 2},
		},
		"what is on its way is waited for": {
			node: Node{Object: marked(time.Minute), Pods: []*v1.Pod{deleted(running("web-0", "ReplicaSet"), -5*time.Minute)}},
			want: "Wait: pod prod/web-0 is being deleted until 5m30s", then: Progress{At: noon, Left: 1},
		},
		"but not for ever": {
			node: Node{Object: marked(time.Minute), Pods: []*v1.Pod{deleted(running("web-0", "ReplicaSet"), time.Minute)}},
			want: "Delete: nothing is left on it that moves", then: Progress{At: noon},
		},
		"an empty node goes": {node: Node{Object: marked(time.Minute)}, want: "Delete: nothing is left on it that moves", then: Progress{At: noon}},
		"its pods may want it back": {
			node: Node{Object: marked(time.Hour), Homeless: "prod/web-0", Progress: Progress{At: noon.Add(-time.Minute)}},
			want: "Wait: pod prod/web-0, which was evicted here, has no node yet and may need this one until 1m0s", then: Progress{At: noon.Add(-time.Minute)},
		},
		"but have to say so": {
			node: Node{Object: marked(time.Hour), Homeless: "prod/web-0", Progress: Progress{At: noon.Add(-2 * time.Minute)}},
			want: "Delete: nothing is left on it that moves", then: Progress{At: noon.Add(-2 * time.Minute)},
		},
		"without progress it is left": {
			node: Node{Object: marked(time.Hour), Pods: []*v1.Pod{web0}, Progress: stuck},
			want: "Undo: 1 pods are left, and none has gone for 2m0s: evictions are refused", then: stuck,
		},
		"progress gives it more time": {
			node: Node{Object: marked(time.Hour), Pods: []*v1.Pod{web0}, Progress: Progress{At: noon.Add(-2 * time.Minute), Left: 2, Going: 2}},
			want: "Evict: 1 of 1 pods may go now [web-0] until 2m0s", then: Progress{At: noon, Left: 1, Going: 1},
		},
		"a pod that came in spite of the taint": {node: Node{Object: marked(time.Minute), Pods: []*v1.Pod{late}}, want: "Undo: pod prod/late came after the taint"},
		"a pod that nobody has seen come with it": {
			node: Node{Object: marked(12 * time.Second), Pods: []*v1.Pod{late}}, want: "Evict: 1 of 1 pods may go now [late] until 2m0s",
			then: Progress{At: noon, Left: 1, Going: 1},
		},
		"wanted again":                {node: Node{Object: marked(time.Minute), Wanted: "pod prod/x fits on no other node"}, want: "Undo: pod prod/x fits on no other node"},
		"kept by people":              {node: Node{Object: st.MakeNode().Name("n0").Annotation(ScaleDownDisabled, "true").Taints([]v1.Taint{Mark(noon)}).Obj()}, want: "Undo: annotation " + ScaleDownDisabled},
		"a time that nobody can read": {node: Node{Object: st.MakeNode().Name("n0").Taints([]v1.Taint{{Key: Taint, Value: "berth.dev_x"}}).Obj()}, want: "Undo: taint ToBeDeletedByClusterAutoscaler=berth.dev_x: no time in its value"},
		"it can not be deleted": {
			node: Node{Object: marked(time.Hour), Failed: "quota", Progress: Progress{At: noon.Add(-2 * time.Minute)}},
			want: "Undo: it could not be deleted for 2m0s: quota", then: Progress{At: noon.Add(-2 * time.Minute)},
		},
		"it is gone already": {
			node: Node{Object: func() *v1.Node { n := marked(time.Hour); n.DeletionTimestamp = &metav1.Time{Time: noon}; return n }()},
			want: "Wait: it is being deleted until 2m0s",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := World{Now: noon, Config: DefaultConfig(), Controllers: map[types.UID]Controller{"owner": {Replicas: 2}}}
			if tc.change != nil {
				w.Sets = []Set{db(1, tc.node.Pods...)}
			}
			step, then := NewJudge(w).Next(tc.node)
			if got := say(step); got != tc.want {
				t.Errorf("step %q, want %q", got, tc.want)
			}
			if diff := cmp.Diff(tc.then, then); diff != "" {
				t.Errorf("progress (-want +got):\n%s", diff)
			}
		})
	}
}
