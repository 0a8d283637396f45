// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/berth-dev/berth/autoscaler/cloud"
	"github.com/berth-dev/berth/autoscaler/nodes/drain"
)

// tell plays a story with a faulty provider. Whatever is wrong with it, HPAs go on.
func tell(t *testing.T, change func(*faultyCloud), play func(*faultyCloud)) {
	var f *faultyCloud
	scene{hpas: hpaList{webHPA("web", "web")}, begin: faulty(&f, change)}.perform(t, func(s *stage) {
		defer close(f.over)
		play(f)
		f.wantRhythm(0)
	})
}

// Four pods wait, each for a node, while something is wrong with group a, or with all.
func TestHelpFromAFaultyProvider(t *testing.T) {
	refused := errors.New("refused")
	only := func(group string, fault func(context.Context, string, string) error, calls ...string) func(context.Context, string, string) error {
		return func(ctx context.Context, call, of string) error {
			for _, c := range calls {
				if c == call && (group == "" || group == of) {
					return fault(ctx, call, of)
				}
			}
			return nil
		}
	}
	refuse := func(context.Context, string, string) error { return refused }
	for name, tc := range map[string]struct {
		change func(*faultyCloud)
		// within is how long help may take, nodes how many there are then, most how many there may be 20 minutes later.
		within time.Duration
		nodes  int
		most   int
		// asked is how often group a may be asked to grow until then.
		asked int
	}{
		"nothing is wrong": {within: 20 * time.Second, nodes: 4, asked: 1},
		"20 seconds for each change": {within: time.Minute, nodes: 4, asked: 1, change: func(f *faultyCloud) {
			f.fault = only("", takes(20*time.Second), "Increase", "Delete", "DecreaseTarget")
		}},
		"20 seconds for a to grow": {within: time.Minute, nodes: 4, asked: 1, change: func(f *faultyCloud) {
			f.fault = only("a", takes(20*time.Second), "Increase")
		}},
		"20 seconds to look around": {within: 90 * time.Second, nodes: 4, asked: 1, change: func(f *faultyCloud) {
			f.fault = only("", takes(20*time.Second), "Refresh", "Increase")
		}},
		"a takes 20 seconds for each call": {within: time.Minute, nodes: 4, change: func(f *faultyCloud) {
			f.fault = only("a", takes(20*time.Second), "TargetSize", "Template", "Options", "Price", "Instances", "Increase")
		}},
		"a does not come back from a question": {within: time.Minute, nodes: 4, change: func(f *faultyCloud) {
			f.fault = only("a", f.deaf, "Instances")
		}},
		"a does not come back from growing": {within: 2 * time.Minute, nodes: 4, asked: 1, change: func(f *faultyCloud) {
			f.fault = only("a", f.deaf, "Increase")
		}},
		"a grows and does not come back from it": {within: 2 * time.Minute, nodes: 4, asked: 1, change: func(f *faultyCloud) {
			f.groups["a"].then = func(ctx context.Context) error { return f.deaf(ctx, "", "") }
		}},
		"a grows and says that it timed out": {within: 2 * time.Minute, nodes: 4, asked: 1, change: func(f *faultyCloud) {
			f.groups["a"].then = timedOut
		}},
		"a refuses to grow": {within: time.Minute, nodes: 4, asked: 6, change: func(f *faultyCloud) {
			f.fault = only("a", refuse, "Increase")
		}},
		"a brings one and refuses the others": {within: time.Minute, nodes: 4, asked: 6, change: func(f *faultyCloud) {
			f.groups["a"].comes = func(n int) (int, error) { return 1, refused }
		}},
		"every second refresh, and every second change, fails": {within: 6 * time.Minute, nodes: 4, asked: 6, change: func(f *faultyCloud) {
			f.fault = only("", func(_ context.Context, call, group string) error {
				if f.count(strings.TrimSpace(call+" "+group))%2 == 1 {
					return refused
				}
				return nil
			}, "Refresh", "Increase", "DecreaseTarget", "Delete")
		}},
		"everything fails for 5 minutes": {within: 6 * time.Minute, nodes: 4, asked: 1, change: func(f *faultyCloud) {
			f.fault = func(context.Context, string, string) error {
				if time.Since(f.stage.began) < 5*time.Minute {
					return refused
				}
				return nil
			}
		}},
		"a counts too many": {within: 20 * time.Minute, nodes: 4, asked: 6, change: func(f *faultyCloud) {
			f.groups["a"].says = func(n int) int { return n + 4 }
		}},
		"a counts none": {within: time.Minute, nodes: 4, most: 4, asked: 4, change: func(f *faultyCloud) {
			f.groups["a"].says = func(int) int { return 0 }
		}},
		"a counts differently each time": {within: 2 * time.Minute, nodes: 4, change: func(f *faultyCloud) {
			n := 0
			f.groups["a"].says = func(int) int { n++; return n % 2 }
		}},
		"a counts less than none": {within: time.Minute, nodes: 4, change: func(f *faultyCloud) {
			f.groups["a"].says = func(int) int { return -1 }
		}},
		"a has no template and no error": {within: time.Minute, nodes: 4, change: func(f *faultyCloud) {
			f.groups["a"].bare = true
		}},
		"the nodes of a do not come": {within: 17 * time.Minute, nodes: 4, asked: 3, change: func(f *faultyCloud) {
			f.groups["a"].comes = func(int) (int, error) { return 0, nil }
		}},
		"the machines of a fail": {within: 2 * time.Minute, nodes: 4, asked: 6, change: func(f *faultyCloud) {
			a := f.groups["a"]
			a.comes = func(n int) (int, error) {
				for range n {
					a.failed = append(a.failed, cloud.Instance{State: cloud.InstanceCreating, Failed: &cloud.InstanceFailure{OutOfResources: true, Code: "none"}})
				}
				return 0, nil
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			tell(t, tc.change, func(f *faultyCloud) {
				f.want(4)
				took := time.Duration(0)
				for ; len(f.nodes("a"))+len(f.nodes("b")) < tc.nodes && took < tc.within; took += time.Second {
					f.stage.pass(time.Second)
				}
				f.wantNodes(tc.nodes)
				f.stage.pass(20 * time.Minute)
				t.Logf("helped after %s; a was asked %d times and has %v, b %d times and has %v", took, f.count("Increase a"), f.nodes("a"), f.count("Increase b"), f.nodes("b"))
				f.wantNodes(max(tc.nodes, tc.most))
				if f.made > max(tc.nodes, tc.most) {
					t.Errorf("%d nodes were made for 4 pods", f.made)
				}
				if asked := f.count("Increase a"); asked > tc.asked {
					t.Errorf("a was asked to grow %d times, want %d at most", asked, tc.asked)
				}
				for name, g := range f.groups {
					if owed := g.target - len(f.nodes(name)); owed > 0 {
						t.Errorf("%d nodes of %s are still asked for", owed, name)
					}
				}
			})
		})
	}
}

// A node that nobody needs is to go, and something is wrong with its deletion.
func TestRemovalByAFaultyProvider(t *testing.T) {
	refused := errors.New("refused")
	for name, tc := range map[string]struct {
		change func(*faultyCloud)
		// gone tells that the node goes, asked how often that may be asked for in 30 minutes.
		gone  bool
		asked int
	}{
		"nothing is wrong": {gone: true, asked: 1},
		"20 seconds for each deletion": {gone: true, asked: 1, change: func(f *faultyCloud) {
			f.fault = during("Delete", takes(20*time.Second))
		}},
		"it is refused once": {gone: true, asked: 2, change: func(f *faultyCloud) {
			f.fault = during("Delete", func(context.Context, string, string) error {
				if f.count("Delete a") == 1 {
					return refused
				}
				return nil
			})
		}},
		"it is refused": {asked: 60, change: func(f *faultyCloud) {
			f.fault = during("Delete", func(context.Context, string, string) error { return refused })
		}},
		"it is done, and said to have timed out": {gone: true, asked: 1, change: func(f *faultyCloud) {
			f.groups["a"].then = timedOut
		}},
		"it does not come back":         {asked: 1, change: func(f *faultyCloud) { f.fault = during("Delete", f.deaf) }},
		"it says yes, and nothing goes": {asked: 5, change: func(f *faultyCloud) { f.groups["a"].keeps = true }},
	} {
		t.Run(name, func(t *testing.T) {
			tell(t, tc.change, func(f *faultyCloud) {
				if err := f.stage.kube.Tracker().Add(f.groups["a"].node("a-0")); err != nil {
					t.Fatal(err)
				}
				f.groups["a"].target = 1
				f.stage.pass(30 * time.Minute)
				t.Logf("asked %d times, nodes %v", f.count("Delete a"), f.nodes("a"))
				if gone := len(f.nodes("a")) == 0; gone != tc.gone || f.count("Delete a") > tc.asked {
					t.Errorf("gone %t, deleted %d times; want %t, %d times at most", gone, f.count("Delete a"), tc.gone, tc.asked)
				}
				for uid := range f.groups["a"].deleted {
					if uid != "a-0" {
						t.Errorf("%s was deleted", uid)
					}
				}
				free := tc.gone
				for range 20 {
					free = free || f.marked() == ""
					f.stage.pass(time.Minute)
				}
				if !free {
					t.Errorf("%s keeps the taint", f.marked())
				}
			})
		})
	}
}

// timedOut is what a change says that was made, and took too long.
func timedOut(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// during lets something happen to one call.
func during(call string, fault func(context.Context, string, string) error) func(context.Context, string, string) error {
	return func(ctx context.Context, of, group string) error {
		if of == call {
			return fault(ctx, of, group)
		}
		return nil
	}
}

// marked are the nodes on their way out.
func (f *faultyCloud) marked() string {
	list, err := f.stage.kube.CoreV1().Nodes().List(f.stage.t.Context(), metav1.ListOptions{})
	if err != nil {
		f.stage.t.Fatal(err)
	}
	var names []string
	for i := range list.Items {
		if drain.Marked(&list.Items[i]) {
			names = append(names, list.Items[i].Name)
		}
	}
	return strings.Join(names, " ")
}
