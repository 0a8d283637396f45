// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"github.com/berth-dev/berth/autoscaler/actuate"
	"github.com/berth-dev/berth/autoscaler/cloud"
	"github.com/berth-dev/berth/autoscaler/nodes"
)

const (
	// deedDeadline is how long the changes of one group that were decided together may take. No tick waits that long:
	// they go on beside the loop, the groups beside each other, and the group is left alone until they are over.
	deedDeadline = time.Minute
	// mostPutOff is how often in a row a group is not asked to grow before others have to help.
	mostPutOff = 3
	// deedAge is how old a decision may be when the provider is asked: a process that stood still since may have lost
	// the lead.
	deedAge = 5 * time.Second
)

// errNotAsked tells that the provider was not asked for a change, so that nothing is known to be wrong with its group.
var errNotAsked = errors.New("not asked")

// deed is a change of one group that its provider is asked for. Where it fails, nobody knows whether it was done:
// the group is looked at again before anything follows from it.
type deed struct {
	group string
	// grows is the target that is asked for, 0 for another change; deletes is the node that is to go.
	grows   int
	deletes types.UID
	do      func(context.Context) error
	// done is told what became of it, once, by the loop.
	done func(error)
}

// deedHistory are the changes under way.
type deedHistory struct {
	underWay map[string]*deedsUnderWay // by group
	// settled is the number of changes that were under way and are over.
	settled int
	// puttingOff is how often in a row each group was not asked to grow as decided.
	puttingOff map[string]int
}

type deedsUnderWay struct {
	deeds  []deed
	began  time.Time
	errand *errand[[]error]
	// overdue tells that they were given up, though the provider has not come back.
	overdue bool
}

// carryOut begins changes, and waits for them as long as this tick may. No group has two that began apart.
func (c *Conductor) carryOut(ctx context.Context, deeds []deed) {
	h := &c.history.nodes.deeds
	byGroup, inTime := map[string][]deed{}, 0
	for _, d := range deeds {
		byGroup[d.group] = append(byGroup[d.group], d)
	}
	for _, under := range h.underWay {
		if !under.overdue {
			inTime++
		}
	}
	for _, group := range slices.Sorted(maps.Keys(byGroup)) {
		if h.underWay[group] != nil || inTime >= workers {
			for _, d := range byGroup[group] {
				d.done(fmt.Errorf("it is still at other changes: %w", errNotAsked))
			}
			continue
		}
		inTime++
		if h.underWay == nil {
			h.underWay = map[string]*deedsUnderWay{}
		}
		h.underWay[group] = c.setOut(ctx, byGroup[group])
	}
	for _, group := range slices.Sorted(maps.Keys(byGroup)) {
		if under := h.underWay[group]; under != nil {
			errs, over := under.errand.await(ctx, &c.history.nodes.look.left)
			c.settle(group, errs, over)
		}
	}
}

// setOut does the changes of one group, one after the other.
func (c *Conductor) setOut(ctx context.Context, deeds []deed) *deedsUnderWay {
	began := c.now()
	return &deedsUnderWay{deeds: deeds, began: began, errand: goOn(c.Wake, func() []error {
		limited, cancel := context.WithTimeout(ctx, deedDeadline)
		defer cancel()
		if age := c.now().Sub(began); age > deedAge {
			return slices.Repeat([]error{fmt.Errorf("that was decided %s ago: %w", age.Round(time.Second), errNotAsked)}, len(deeds))
		}
		errs := make([]error, len(deeds))
		for i, d := range deeds {
			errs[i] = d.do(limited)
		}
		return errs
	})}
}

// settleDeeds notes what became of changes since the last tick.
func (c *Conductor) settleDeeds() {
	for _, group := range slices.Sorted(maps.Keys(c.history.nodes.deeds.underWay)) {
		errs, over := c.history.nodes.deeds.underWay[group].errand.peek()
		c.settle(group, errs, over)
	}
}

// settle notes what became of the changes of a group, or gives them up when their time is over.
func (c *Conductor) settle(group string, errs []error, over bool) {
	h := &c.history.nodes.deeds
	under := h.underWay[group]
	if over {
		delete(h.underWay, group)
		h.settled++
	}
	took := c.now().Sub(under.began)
	if under.overdue || !over && took < deedDeadline {
		return
	}
	under.overdue = !over
	for i, d := range under.deeds {
		if over {
			d.done(errs[i])
		} else {
			d.done(fmt.Errorf("the provider has not come back for %s: %w", took.Round(time.Second), context.DeadlineExceeded))
		}
	}
}

// leaveDeeds waits for changes that end with the process, so that whoever leads next finds them done or not. Those of a
// provider that does not listen are left to it.
func (c *Conductor) leaveDeeds(ctx context.Context) {
	left := callDeadline
	for _, under := range c.history.nodes.deeds.underWay {
		if !under.overdue {
			under.errand.await(context.WithoutCancel(ctx), &left)
		}
	}
}

// deleting tells that the provider has been asked to delete the node, and has not said what became of that.
func (h *deedHistory) deleting(node types.UID) bool {
	for _, under := range h.underWay {
		if !under.overdue && slices.ContainsFunc(under.deeds, func(d deed) bool { return d.deletes == node }) {
			return true
		}
	}
	return false
}

// mark tells the engine which groups are being changed. The nodes that one is asked for count as soon as that is under
// way: nobody else has to help the pods that they are for.
func (h *deedHistory) mark(groups []nodes.Group, now time.Time) {
	for i := range groups {
		g, under := &groups[i], h.underWay[groups[i].Name]
		if under == nil {
			continue
		}
		g.Busy = fmt.Sprintf("its provider was asked for a change %s ago, and has not answered", now.Sub(under.began).Round(time.Second))
		for _, d := range under.deeds {
			if !under.overdue {
				g.Target = max(g.Target, d.grows)
			}
		}
	}
}

// growing asks a group for more nodes, unless its target is not any more what that was decided on: somebody else
// may have asked meanwhile.
func (c *Conductor) growing(ctx context.Context, in nodes.Input, group cloud.NodeGroup, add nodes.Add, pending map[types.NamespacedName]*corev1.Pod) deed {
	asked, before := c.history.nodes.engine.Asked[add.Group], add.Target-add.Count
	return deed{group: add.Group, grows: add.Target, do: func(ctx context.Context) error {
		switch target, err := group.TargetSize(ctx); {
		case err != nil:
			return fmt.Errorf("target size: %w: %w", err, errNotAsked)
		case target != before:
			return fmt.Errorf("its target size is %d by now, and was %d: %w", target, before, errNotAsked)
		}
		return group.Increase(ctx, add.Count)
	}, done: func(err error) {
		h := &c.history.nodes
		if h.deeds.putOff(add.Group, err) {
			klog.FromContext(ctx).V(2).Info("Nodes not added yet", "group", add.Group, "count", add.Count, "reason", err.Error())
			h.engine = h.engine.NotAsked(add.Group)
			return
		}
		c.telemetry.NodesAdded(add.Group, add.Count, err)
		c.tellGrown(ctx, add, err)
		if err != nil {
			klog.FromContext(ctx).Error(err, "Adding nodes", "group", add.Group, "count", add.Count)
			h.engine = h.engine.Failed(add.Group, err.Error(), c.now(), in.Config)
			return
		}
		h.engine = h.engine.Grown(add.Group, asked)
		c.tellHelped(pending, add)
	}}
}

// putOff tells whether a growth is decided upon again: its group was not asked, and not too often in a row.
func (h *deedHistory) putOff(group string, err error) bool {
	if !errors.Is(err, errNotAsked) || h.puttingOff[group] >= mostPutOff {
		delete(h.puttingOff, group)
		return false
	}
	if h.puttingOff == nil {
		h.puttingOff = map[string]int{}
	}
	h.puttingOff[group]++
	return true
}

// forgoing takes back the wish for nodes.
func (c *Conductor) forgoing(ctx context.Context, group cloud.NodeGroup, forgo nodes.Forgo) deed {
	return deed{group: forgo.Group, do: func(ctx context.Context) error {
		return group.DecreaseTarget(ctx, forgo.Count)
	}, done: func(err error) {
		switch {
		case errors.Is(err, errNotAsked):
		case err != nil:
			klog.FromContext(ctx).Error(err, "Giving nodes up", "group", forgo.Group, "count", forgo.Count)
		default:
			c.tellForgone(ctx, forgo)
		}
	}}
}

// deletingNode deletes a node. Its provider knows it by UID: to ask again for one that is gone harms nobody.
func (c *Conductor) deletingNode(ctx context.Context, name string, group cloud.NodeGroup, node *corev1.Node, reason string) deed {
	return deed{group: name, deletes: node.UID, do: func(ctx context.Context) error {
		return group.Delete(ctx, node)
	}, done: func(err error) {
		logger := klog.FromContext(ctx).WithValues("node", node.Name, "group", name)
		if errors.Is(err, errNotAsked) {
			logger.V(2).Info("Node not removed yet", "reason", err.Error())
			c.history.drains.failed[node.UID] = err.Error()
			return
		}
		c.telemetry.NodeRemoved(name, err)
		if err != nil {
			logger.Error(err, "Removing a node")
			c.history.drains.failed[node.UID] = err.Error()
			return
		}
		logger.V(2).Info("Node removed", "reason", reason)
		c.history.drains.deleted[node.UID] = c.now()
		c.history.nodes.engine = c.history.nodes.engine.Deleted(name)
		c.writer.Event(node, actuate.Event{Type: corev1.EventTypeNormal, Reason: "ScaleDown", Message: "node is deleted: " + reason})
	}}
}
