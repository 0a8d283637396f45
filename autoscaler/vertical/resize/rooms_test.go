// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package resize_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/berth-dev/berth/autoscaler/vertical/resize"
)

// Nodes that were added for all of a set are kept until it is the turn of each.
func TestRoomsAreKept(t *testing.T) {
	none := func(q resize.Question) resize.Answer { return resize.Answer{Reason: "node-a lacks 1 cpu"} }
	coming := func(q resize.Question) resize.Answer {
		if !q.Move {
			return none(q)
		}
		return resize.Answer{Fits: true, Coming: true, Node: "new-" + q.Pod.Name, Created: q.Sizes}
	}
	lost := func(q resize.Question) resize.Answer {
		return resize.Answer{Unknown: true, Reason: "the simulation took too long"}
	}
	two := list("2", "2Gi")
	// starting is db-2 as it comes back.
	starting := func(all []*v1.Pod) {
		write(all[2], resize.Sizes{"db": {Requests: two}})
		acknowledge(all[2])
		all[2].CreationTimestamp = metav1.NewTime(noon)
		setReady(all[2], false)
	}
	for name, tc := range map[string]struct {
		setup func(*resize.Input, []*v1.Pod)
		ans   func(resize.Question) resize.Answer
		want  map[string]string
	}{
		"while another one is gone": {
			setup: func(in *resize.Input, _ []*v1.Pod) {
				in.Targets[0].Pods, in.Targets[0].Workload.Absent = in.Targets[0].Pods[:2], []int{2}
			},
			want: map[string]string{"db-1": "2", "db-0": "2"},
		},
		"while it starts":          {setup: func(_ *resize.Input, all []*v1.Pod) { starting(all) }, want: map[string]string{"db-1": "2", "db-0": "2"}},
		"while there is no answer": {ans: lost, want: map[string]string{"db-2": "2", "db-1": "2", "db-0": "2"}},
		"for a size that is smaller by now": {
			setup: func(in *resize.Input, all []*v1.Pod) {
				starting(all)
				for i := range 2 {
					in.Targets[0].Pods[i].Containers = advice("1500m", "2Gi")
				}
			},
			want: map[string]string{"db-1": "1500m", "db-0": "1500m"},
		},
		"not for one that is larger": {
			setup: func(in *resize.Input, all []*v1.Pod) {
				starting(all)
				in.Targets[0].Pods[0].Containers = advice("3", "2Gi")
			},
			want: map[string]string{"db-1": "2"},
		},
		"not for one that has its size": {
			setup: func(_ *resize.Input, all []*v1.Pod) {
				starting(all)
				write(all[1], resize.Sizes{"db": {Requests: two}})
				acknowledge(all[1])
			},
			want: map[string]string{"db-0": "2"},
		},
		"not below a partition": {
			setup: func(in *resize.Input, all []*v1.Pod) { starting(all); in.Targets[0].Workload.Partition = 1 },
			want:  map[string]string{"db-1": "2"},
		},
		"not without a size":       {ans: none, want: map[string]string{}},
		"not under another master": {setup: func(in *resize.Input, _ []*v1.Pod) { in.Targets[0].Hold = "held" }, want: map[string]string{}},
		"not where no pod is re-created any more": {
			setup: func(in *resize.Input, all []*v1.Pod) {
				starting(all)
				in.Targets[0].Update.UpdateMode = ptr.To(inPlace)
			},
			want: map[string]string{},
		},
		"not for a pod that goes": {
			setup: func(_ *resize.Input, all []*v1.Pod) {
				starting(all)
				all[1].DeletionTimestamp = &metav1.Time{Time: noon}
			},
			want: map[string]string{"db-0": "2"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			all := pods(3, list("1", "1Gi"), nil)
			in := resize.Input{Targets: []resize.Target{set(orRecreate, advice("2", "2Gi"), all...)}}
			out := answered(t, in, coming)
			if len(out.Rooms) != 3 {
				t.Fatalf("%d nodes are asked for", len(out.Rooms))
			}
			if tc.setup != nil {
				tc.setup(&in, all)
			}
			if tc.ans == nil {
				tc.ans = coming
			}
			// It lasts, as long as there is a reason for it.
			for i := range 3 {
				in.History, in.Now = out.History, noon.Add(time.Duration(i)*time.Minute)
				out = answered(t, in, tc.ans)
				got := map[string]string{}
				for _, room := range out.Rooms {
					size := room.Sizes["db"].Requests
					got[room.Pod.Name] = size.Cpu().String()
				}
				if diff := cmp.Diff(tc.want, got); diff != "" {
					t.Errorf("look %d: rooms (-want +got):\n%s", i, diff)
				}
			}
		})
	}
}
