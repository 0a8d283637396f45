// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package clusterapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"
	"k8s.io/klog/v2"

	"github.com/berth-dev/berth/autoscaler/cloud"
)

func (g *nodeGroup) Increase(ctx context.Context, n int) error {
	if n <= 0 {
		return fmt.Errorf("node group %s: cannot grow by %d", g.Name(), n)
	}
	return g.change(ctx, func(now *now) (plan, error) { return now.grow(n) })
}

// DecreaseTarget takes back Machines that have yet to be made, then marks those behind which there is no machine.
func (g *nodeGroup) DecreaseTarget(ctx context.Context, n int) error {
	if n <= 0 {
		return fmt.Errorf("node group %s: cannot take back %d nodes", g.Name(), n)
	}
	return g.change(ctx, func(now *now) (plan, error) { return now.forgo(n) })
}

func (g *nodeGroup) Delete(ctx context.Context, nodes ...*v1.Node) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	chosen, err := g.machinesOf(ctx, nodes)
	if err != nil || len(chosen) == 0 {
		return err
	}
	return g.change(ctx, func(now *now) (plan, error) { return now.remove(chosen) })
}

// machinesOf returns the UIDs of the Machines of the nodes that are still the same. All are checked before anything is done.
func (g *nodeGroup) machinesOf(ctx context.Context, nodes []*v1.Node) (map[types.UID]bool, error) {
	chosen := map[types.UID]bool{}
	for _, node := range nodes {
		group, m := g.provider.home(node)
		if group != "" && group != g.Name() {
			return nil, &cloud.NotInGroupError{Group: g.Name(), Node: node.Name}
		}
		live, err := g.provider.options.Nodes.Get(ctx, node.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) || err == nil && live.UID != node.UID {
			continue
		}
		switch {
		case err != nil:
			return nil, fmt.Errorf("node group %s: reading node %s: %w", g.Name(), node.Name, err)
		case group == "":
			return nil, &cloud.NotInGroupError{Group: g.Name(), Node: node.Name}
		case m.Unstructured == nil:
			return nil, &UndeletableError{Group: g.Name(), Node: node.Name}
		}
		chosen[m.GetUID()] = true
	}
	return chosen, nil
}

// change decides on what the API server has now, and carries the plan out unless something has changed
// since; then it decides again.
func (g *nodeGroup) change(ctx context.Context, decide func(*now) (plan, error)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	g.changing.Lock()
	defer g.changing.Unlock()
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		now, err := g.look(ctx)
		if err != nil {
			return err
		}
		p, err := decide(now)
		if err != nil {
			return err
		}
		if err := g.mark(ctx, p.unmark, nil); err != nil {
			return err
		}
		value := markValue
		if err := g.mark(ctx, p.mark, &value); err != nil {
			return err
		}
		if p.replicas == now.replicas {
			return nil
		}
		return g.resize(ctx, now, p)
	})
	if apierrors.IsConflict(err) {
		return fmt.Errorf("node group %s: it changes faster than it can be changed: %w", g.Name(), err)
	}
	return err
}

// mark sets or, with nil, removes the mark of Machines as they were seen.
func (g *nodeGroup) mark(ctx context.Context, machines []machine, value *string) error {
	if len(machines) == 0 {
		return nil
	}
	gvr, err := g.provider.resource(machineKind)
	if err != nil {
		return err
	}
	for i, m := range machines {
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
			"uid": m.GetUID(), "resourceVersion": m.GetResourceVersion(), "annotations": map[string]any{deleteAnnotation: value},
		}})
		if err != nil {
			return err
		}
		changed, err := g.provider.options.Client.Resource(gvr).Namespace(g.namespace).Patch(ctx, m.GetName(), types.MergePatchType, patch, metav1.PatchOptions{})
		if apierrors.IsNotFound(err) {
			err = apierrors.NewConflict(gvr.GroupResource(), m.GetName(), errors.New("it is gone"))
		}
		if apierrors.IsConflict(err) {
			return err
		}
		if err != nil {
			return fmt.Errorf("node group %s: marking Machine %s: %w", g.Name(), m.GetName(), err)
		}
		machines[i] = machine{changed}
	}
	return nil
}

// resize writes the size, if the group is still the one that was looked at.
func (g *nodeGroup) resize(ctx context.Context, now *now, p plan) error {
	gvr, err := g.provider.resource(g.kind)
	if err != nil {
		return err
	}
	scale, err := g.provider.options.Scales.Scales(g.namespace).Update(ctx, gvr.GroupResource(), &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{Name: g.name, Namespace: g.namespace, UID: now.object.GetUID(), ResourceVersion: now.object.GetResourceVersion()},
		Spec:       autoscalingv1.ScaleSpec{Replicas: int32(p.replicas)},
	}, metav1.UpdateOptions{})
	if apierrors.IsConflict(err) {
		return err
	}
	if err != nil {
		g.takeBack(ctx, p, err)
		return fmt.Errorf("node group %s: setting its size to %d: %w", g.Name(), p.replicas, err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.written = &written{size: p.replicas, resourceVersion: scale.ResourceVersion}
	if g.leaving == nil {
		g.leaving = map[types.UID]bool{}
	}
	for _, m := range p.chosen() {
		g.leaving[m.GetUID()] = true
	}
	klog.FromContext(ctx).V(2).Info("Set the size of a node group", "nodeGroup", g.Name(), "from", now.replicas, "to", p.replicas, "machinesToDelete", len(p.chosen()))
	return nil
}

// takeBack removes marks where the size was surely not written. Where that is not sure they stay: without
// them another Machine would be taken. The next removal finds and clears what is left.
func (g *nodeGroup) takeBack(ctx context.Context, p plan, cause error) {
	ours := slices.DeleteFunc(p.chosen(), func(m machine) bool { _, ours := m.marked(); return !ours })
	if !refused(cause) || len(ours) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unmarkTimeout)
	defer cancel()
	if err := g.mark(ctx, ours, nil); err != nil {
		klog.FromContext(ctx).Error(err, "Machines stay marked; the next removal of the node group clears them", "nodeGroup", g.Name())
	}
}

// refused tells that a write was surely not carried out.
func refused(err error) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status) && status.Status().Code >= 400 && status.Status().Code < 500
}

// unmarkTimeout bounds taking marks back after a write that was refused.
const unmarkTimeout = 5 * time.Second
