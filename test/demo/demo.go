// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	appslisters "k8s.io/client-go/listers/apps/v1"
	autoscalinglisters "k8s.io/client-go/listers/autoscaling/v2"
	corelisters "k8s.io/client-go/listers/core/v1"

	"github.com/berth-dev/berth/test/demo/story"
	"github.com/berth-dev/berth/test/fixture"
)

// groupLabel tells nodes that the autoscaler made.
const groupLabel = "berth.dev/node-group"

// patience is how long a step waits for something that takes seconds when all
// is well: a machine under load is no failure of the story.
const patience = 90 * time.Second

// demo is the application and all that the steps look at.
type demo struct {
	*fixture.Cluster
	namespace string
	app       app
	zones     []string
	load      *fixture.Load
	journal   *journal

	nodes       corelisters.NodeLister
	pods        corelisters.PodLister
	deployments appslisters.DeploymentLister
	hpas        autoscalinglisters.HorizontalPodAutoscalerLister

	stop context.CancelFunc
}

// newDemo starts to follow the cluster and makes the application's namespace.
// The context bounds what it starts.
func newDemo(ctx context.Context, cluster *fixture.Cluster) (_ *demo, err error) {
	watch, stop := context.WithCancel(context.WithoutCancel(ctx))
	factory := informers.NewSharedInformerFactory(cluster.Kube, 0)
	d := &demo{
		Cluster:     cluster,
		journal:     &journal{},
		nodes:       factory.Core().V1().Nodes().Lister(),
		pods:        factory.Core().V1().Pods().Lister(),
		deployments: factory.Apps().V1().Deployments().Lister(),
		hpas:        factory.Autoscaling().V2().HorizontalPodAutoscalers().Lister(),
		stop:        stop,
	}
	defer func() {
		if err != nil {
			stop()
		}
	}()
	if err := d.journal.follow(factory); err != nil {
		return nil, err
	}
	factory.Start(watch.Done())
	for kind, synced := range factory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			return nil, fmt.Errorf("learning the %s of the cluster: %w", kind, context.Cause(ctx))
		}
	}
	if d.zones, d.app, err = fit(d.present()); err != nil {
		return nil, err
	}
	d.namespace, err = cluster.NewNamespace(ctx, "demo", nil)
	return d, err
}

// end stops following the cluster. The application goes with its namespace
// where the cluster is somebody else's.
func (d *demo) end(stay bool) error {
	defer d.stop()
	var err error
	if d.load != nil && !stay {
		err = d.load.Stop()
	}
	if d.Own() || stay {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return errors.Join(err, d.DeleteNamespace(ctx, d.namespace))
}

func (d *demo) steps() []story.Step {
	return []story.Step{d.place(), d.restart(), d.rise(), d.size(), d.refuse(), d.comeBack(), d.fall()}
}

// until waits, with the progress shown. A look that returns story.Unexpected
// ends the wait; any other error may be a server that comes back.
func (d *demo) until(ctx context.Context, p *story.Progress, expected string, look fixture.Look) error {
	last := "nothing yet"
	var wrong *story.Unexpected
	err := fixture.UntilWatched(ctx, expected, patience, p.Show, func(ctx context.Context) (string, bool, error) {
		state, done, err := look(ctx)
		if errors.As(err, &wrong) {
			return state, true, nil
		}
		if last = state; err != nil {
			last = err.Error()
		}
		return state, done, err
	})
	switch {
	case wrong != nil:
		return wrong
	case err != nil && ctx.Err() == nil:
		return &story.Unexpected{Expected: fmt.Sprintf("%s within %s", expected, patience), Actual: last}
	}
	return err
}

// present returns every node, by name.
func (d *demo) present() []*corev1.Node {
	nodes, _ := d.nodes.List(labels.Everything()) // an informer's store does not fail
	slices.SortFunc(nodes, func(a, b *corev1.Node) int { return cmp.Compare(a.Name, b.Name) })
	return nodes
}

// added returns the nodes that the autoscaler made.
func (d *demo) added() []*corev1.Node {
	return slices.DeleteFunc(d.present(), func(n *corev1.Node) bool { return n.Labels[groupLabel] == "" })
}

// everywhere returns the pods of every namespace.
func (d *demo) everywhere() []*corev1.Pod {
	pods, _ := d.pods.List(labels.Everything())
	return pods
}

// podsOn counts the pods on each node, those that are about to end included.
func podsOn(pods []*corev1.Pod) map[string]int {
	count := map[string]int{}
	for _, pod := range pods {
		if pod.Spec.NodeName != "" {
			count[pod.Spec.NodeName]++
		}
	}
	return count
}

func isReady(node *corev1.Node) bool {
	return slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}
