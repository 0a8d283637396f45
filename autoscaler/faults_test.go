// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/berth-dev/berth/autoscaler/cloud"
	"github.com/berth-dev/berth/autoscaler/cloud/kwok"
)

// faultyCloud is a provider of two groups, a and b, with whatever may be wrong with one. A node of it is ready as soon as
// it is there.
type faultyCloud struct {
	stage  *stage
	groups map[string]*faultyGroup
	// fault is what happens to a call before it does anything; nil where nothing does.
	fault func(ctx context.Context, call, group string) error
	// problems are the groups that are left out.
	problems map[string]error

	mu    sync.Mutex
	calls []string
	// over is closed at the end of the story: calls that hang end with it.
	over chan struct{}
	made int
}

type faultyGroup struct {
	name  string
	cloud *faultyCloud
	// target is the size that was asked for, deleted are the UIDs of nodes that are gone, with how often that was asked for.
	target  int
	deleted map[types.UID]int
	forgone int

	// says changes what it says of its size, comes tells how many of n nodes come, and why not more; then is what happens
	// after a change.
	says  func(target int) int
	comes func(n int) (int, error)
	then  func(ctx context.Context) error
	// keeps tells that deleted nodes stay, bare that there is no template.
	keeps, bare bool
	failed      []cloud.Instance
}

// faulty puts a faulty provider on a stage that is about to begin.
func faulty(c **faultyCloud, change func(*faultyCloud)) func(*stage) {
	return func(s *stage) {
		f := &faultyCloud{stage: s, groups: map[string]*faultyGroup{}, over: make(chan struct{})}
		for _, name := range []string{"a", "b"} {
			f.groups[name] = &faultyGroup{name: name, cloud: f, deleted: map[types.UID]int{}}
		}
		if change != nil {
			change(f)
		}
		s.conductor.nodes.Provider = f
		*c = f
	}
}

func (f *faultyCloud) called(ctx context.Context, call, group string) error {
	f.mu.Lock()
	f.calls = append(f.calls, strings.TrimSpace(call+" "+group))
	fault := f.fault
	f.mu.Unlock()
	if fault == nil {
		return nil
	}
	return fault(ctx, call, group)
}

// count is how often something was asked for.
func (f *faultyCloud) count(call string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.calls {
		if c == call {
			n++
		}
	}
	return n
}

// nodes are the names of the nodes of a group that are there.
func (f *faultyCloud) nodes(group string) (names []string) {
	list, err := f.stage.kube.CoreV1().Nodes().List(f.stage.t.Context(), metav1.ListOptions{LabelSelector: kwok.GroupLabel + "=" + group})
	if err != nil {
		f.stage.t.Fatal(err)
	}
	for _, n := range list.Items {
		names = append(names, n.Name)
	}
	return names
}

// takes lets a call take its time, and hears when it is not waited for any more; deaf is one that does not hear.
func takes(d time.Duration) func(context.Context, string, string) error {
	return func(ctx context.Context, _, _ string) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (f *faultyCloud) deaf(ctx context.Context, _, _ string) error {
	<-f.over
	return context.Canceled
}

func (f *faultyCloud) Refresh(ctx context.Context) error { return f.called(ctx, "Refresh", "") }

func (f *faultyCloud) Groups(ctx context.Context) ([]cloud.NodeGroup, error) {
	return []cloud.NodeGroup{f.groups["a"], f.groups["b"]}, f.called(ctx, "Groups", "")
}

func (f *faultyCloud) Problems() map[string]error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.problems)
}

func (f *faultyCloud) GroupOf(node *corev1.Node) (string, bool) {
	name, ok := node.Labels[kwok.GroupLabel]
	return name, ok
}

func (g *faultyGroup) Name() string            { return g.name }
func (g *faultyGroup) Limits() (low, high int) { return 0, 10 }

func (g *faultyGroup) TargetSize(ctx context.Context) (int, error) {
	if err := g.cloud.called(ctx, "TargetSize", g.name); err != nil {
		return 0, err
	}
	g.cloud.mu.Lock()
	defer g.cloud.mu.Unlock()
	if g.says != nil {
		return g.says(g.target), nil
	}
	return g.target, nil
}

func (g *faultyGroup) Template(ctx context.Context) (*cloud.Template, error) {
	if err := g.cloud.called(ctx, "Template", g.name); err != nil || g.bare {
		return nil, err
	}
	return &cloud.Template{Node: g.node("template")}, nil
}

func (g *faultyGroup) node(name string) *corev1.Node {
	n1, err := g.cloud.stage.kube.CoreV1().Nodes().Get(g.cloud.stage.t.Context(), "n1", metav1.GetOptions{})
	if err != nil {
		g.cloud.stage.t.Error(err)
	}
	node := n1.DeepCopy()
	node.ObjectMeta = metav1.ObjectMeta{Name: name, UID: types.UID(name), CreationTimestamp: metav1.Now(), Labels: map[string]string{kwok.GroupLabel: g.name}}
	node.Spec.ProviderID = "faulty://" + name
	return node
}

func (g *faultyGroup) Options(ctx context.Context, defaults cloud.Options) (cloud.Options, error) {
	return defaults, g.cloud.called(ctx, "Options", g.name)
}

func (g *faultyGroup) Price(ctx context.Context) (float64, bool, error) {
	return 0, false, g.cloud.called(ctx, "Price", g.name)
}

func (g *faultyGroup) Instances(ctx context.Context) ([]cloud.Instance, error) {
	return g.failed, g.cloud.called(ctx, "Instances", g.name)
}

func (g *faultyGroup) Increase(ctx context.Context, n int) error {
	if err := g.cloud.called(ctx, "Increase", g.name); err != nil {
		return err
	}
	return g.after(ctx, g.grow(n))
}

func (g *faultyGroup) after(ctx context.Context, err error) error {
	if err != nil || g.then == nil {
		return err
	}
	return g.then(ctx)
}

// grow brings nodes, as far as they come.
func (g *faultyGroup) grow(n int) error {
	g.cloud.mu.Lock()
	defer g.cloud.mu.Unlock()
	come, err := n, error(nil)
	if g.comes != nil {
		come, err = g.comes(n)
	}
	g.target += n
	if err != nil {
		g.target += come - n
	}
	for range come {
		g.cloud.made++
		if err := g.cloud.stage.kube.Tracker().Add(g.node(fmt.Sprintf("%s-%d", g.name, g.cloud.made))); err != nil {
			g.cloud.stage.t.Error(err)
		}
	}
	return err
}

func (g *faultyGroup) DecreaseTarget(ctx context.Context, n int) error {
	if err := g.cloud.called(ctx, "DecreaseTarget", g.name); err != nil {
		return err
	}
	g.cloud.mu.Lock()
	defer g.cloud.mu.Unlock()
	g.target -= n
	g.forgone += n
	return nil
}

func (g *faultyGroup) Delete(ctx context.Context, nodes ...*corev1.Node) error {
	if err := g.cloud.called(ctx, "Delete", g.name); err != nil {
		return err
	}
	return g.after(ctx, g.shrink(nodes...))
}

func (g *faultyGroup) shrink(nodes ...*corev1.Node) error {
	g.cloud.mu.Lock()
	defer g.cloud.mu.Unlock()
	for _, n := range nodes {
		g.deleted[n.UID]++
		if g.keeps || g.deleted[n.UID] > 1 {
			continue
		}
		g.target--
		if err := g.cloud.stage.kube.Tracker().Delete(corev1.SchemeGroupVersion.WithResource("nodes"), "", n.Name); err != nil {
			g.cloud.stage.t.Error(err)
		}
	}
	return nil
}

// want has pods that wait, each of which needs a node of its own.
func (f *faultyCloud) want(n int) {
	for i := range n {
		pod := waitingPod(fmt.Sprintf("job-%d", i), "3", 0)
		pod.Status.Conditions = []corev1.PodCondition{notScheduled(corev1.PodReasonUnschedulable)}
		if err := f.stage.kube.Tracker().Add(pod); err != nil {
			f.stage.t.Fatal(err)
		}
	}
}

// wantNodes checks how many nodes the groups have together.
func (f *faultyCloud) wantNodes(n int) {
	f.stage.t.Helper()
	if got := slices.Concat(f.nodes("a"), f.nodes("b")); len(got) != n {
		f.stage.t.Errorf("nodes %v, want %d", got, n)
	}
}

// wantRhythm checks that metrics were read in their period, whatever the provider did.
func (f *faultyCloud) wantRhythm(from time.Duration) {
	f.stage.t.Helper()
	f.stage.set(func() {
		reads := append(slices.Clone(f.stage.reads), time.Now())
		last := f.stage.began
		for _, at := range reads {
			if gap := at.Sub(last); gap > 17*time.Second && at.Sub(f.stage.began) > from {
				f.stage.t.Errorf("no metrics were read for %s, until %s after the beginning", gap, at.Sub(f.stage.began))
			}
			last = at
		}
	})
}
