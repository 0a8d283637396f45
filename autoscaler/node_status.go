// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/klog/v2"

	"github.com/berth-dev/berth/autoscaler/actuate"
	"github.com/berth-dev/berth/autoscaler/config"
	"github.com/berth-dev/berth/autoscaler/nodes"
	"github.com/berth-dev/berth/autoscaler/nodes/drain"
	"github.com/berth-dev/berth/autoscaler/nodes/status"
)

// statusHeartbeat is how old the status of node groups becomes before it is written again, though nothing has changed:
// its time tells that somebody leads.
const statusHeartbeat = time.Minute

// statusHistory is what one write of the status of node groups leaves for the next.
type statusHistory struct {
	// object is the ConfigMap as it was seen last; nil where it was not.
	object *corev1.ConfigMap
	last   status.Status
	// gist is what was written last, or tried to.
	gist string
	// tried is when it was written, or that was tried; looked when it was looked for in vain.
	tried, looked time.Time
	// errand brings what became of a write that is on its way.
	errand chan func()
	// said is why nodes were left alone when that was told last, blocked that nothing was decided about any, and unread
	// are the groups that nothing was known of.
	said    hold
	blocked bool
	unread  map[string]bool
}

// statusObject is the ConfigMap that events about node groups are on. A new leader takes over what the one before has
// said, and makes the ConfigMap where there is none: an event on an object without a UID is hard to find.
func (c *Conductor) statusObject(ctx context.Context) runtime.Object {
	h, now := &c.history.nodes.status, c.now()
	if h.object == nil && (h.looked.IsZero() || now.Sub(h.looked) >= statusHeartbeat) {
		h.looked = now
		ctx, cancel := context.WithTimeout(ctx, callDeadline)
		defer cancel()
		data, err := status.Render(status.Status{AutoscalerStatus: status.Initializing}, status.Templates{})
		if err == nil {
			h.object, err = c.writer.MakeNodeStatus(ctx, data)
		}
		if err != nil {
			klog.FromContext(ctx).Error(err, "Reading the status of node groups: nothing is said there for a while", "configMap", klog.KRef(config.Namespace, config.StatusName))
			h.object = nil
		} else if last, _, err := status.Parse(h.object.Data); err == nil {
			h.last = last // what cannot be read is written over
		}
	}
	if h.object != nil {
		return h.object
	}
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: config.Namespace, Name: config.StatusName}}
}

// sayNodes writes how the node groups stand after a decision.
func (c *Conductor) sayNodes(ctx context.Context, in nodes.Input, d nodes.Decision, grown []nodes.Add) {
	h := &c.history.nodes.status
	c.tellStopped(ctx, d.Blocked)
	in.History = c.history.nodes.engine
	next := status.Of(status.Input{
		Before: in, Decision: d, Grown: grown, Last: h.last,
		State: string(c.history.rivals.state), Reason: c.history.rivals.hold.message,
		Drains: c.history.drains.said, Unread: c.tellUnread(ctx),
	})
	h.last = next
	c.writeNodeStatus(ctx, next, templatesOf(in))
}

// sayNodesFailed writes why nothing was decided about nodes.
func (c *Conductor) sayNodesFailed(ctx context.Context, reason error) {
	c.statusObject(ctx)
	h := &c.history.nodes.status
	rivals := c.history.rivals
	h.last = status.Failed(h.last, c.now(), reason.Error(), string(rivals.state), rivals.hold.message, func(group string) bool {
		return configuredGroup(c.config.Nodes.Groups, group) != nil
	})
	var templates status.Templates
	if h.object != nil {
		_, templates, _ = status.Parse(h.object.Data) // what cannot be read is written over
	}
	c.writeNodeStatus(ctx, h.last, templates)
}

// writeNodeStatus writes the status beside the loop: once in a sync period at most, and only when it says something
// else than before, or is old.
func (c *Conductor) writeNodeStatus(ctx context.Context, s status.Status, t status.Templates) {
	h, now := &c.history.nodes.status, c.now()
	select {
	case done := <-h.errand:
		h.errand = nil
		done()
	default:
	}
	if h.errand != nil || h.object == nil || !h.tried.IsZero() && now.Sub(h.tried) < c.config.SyncPeriod.Duration-settle {
		return
	}
	gist, err := status.Gist(s, t)
	if err != nil {
		klog.FromContext(ctx).Error(err, "Making the status of node groups")
		return
	}
	if gist == h.gist && now.Sub(h.tried) < statusHeartbeat {
		return
	}
	h.tried, h.gist = now, gist
	was, brought := h.object, make(chan func(), 1) // who does not hear of it any more lets it end
	h.errand = brought
	c.reads.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, errandDeadline)
		defer cancel()
		data, err := status.Render(s, t)
		stored := was
		if err == nil {
			stored, err = c.writer.NodeStatus(ctx, was, data)
		}
		brought <- func() { c.noteNodeStatus(ctx, stored, err) }
	})
}

// noteNodeStatus takes what became of a write. Who else has written the ConfigMap, or deleted it, is no reason not to go on.
func (c *Conductor) noteNodeStatus(ctx context.Context, stored *corev1.ConfigMap, err error) {
	h := &c.history.nodes.status
	if err == nil {
		h.object = stored
		return
	}
	h.gist = ""
	switch {
	case apierrors.IsConflict(err), apierrors.IsNotFound(err):
		h.object, h.looked, h.tried = nil, time.Time{}, time.Time{}
	default:
		klog.FromContext(ctx).Error(err, "Writing the status of node groups", "configMap", klog.KRef(config.Namespace, config.StatusName))
	}
}

// drainOf tells of a node on its way out.
func drainOf(n nodes.Node, step drain.Step, progress drain.Progress) status.Drain {
	d := status.Drain{Node: n.Object.Name, Group: n.Group, Step: string(step.Kind), Reason: step.Reason, Pods: progress.Left}
	if since, err := drain.Since(n.Object); err == nil {
		d.Since = metav1.NewTime(since.UTC())
	}
	return d
}

// templatesOf are what a program needs to simulate the groups.
func templatesOf(in nodes.Input) status.Templates {
	members := map[string][]string{}
	for _, n := range in.Nodes {
		members[n.Group] = append(members[n.Group], n.Object.Name)
	}
	var t status.Templates
	for _, g := range in.Groups {
		slices.Sort(members[g.Name])
		template := status.TemplateOf(g.Name, g.Template)
		template.Drivers, template.Storage, template.Nodes = g.Drivers, g.Storage, members[g.Name]
		t.Groups = append(t.Groups, template)
	}
	slices.SortFunc(t.Groups, func(a, b status.Template) int { return cmp.Compare(a.Name, b.Name) })
	return t
}

// tellGrown says on the status what became of a growth, as Cluster Autoscaler does on its own.
func (c *Conductor) tellGrown(ctx context.Context, add nodes.Add, err error) {
	event := actuate.Event{Type: corev1.EventTypeNormal, Reason: "ScaledUpGroup", Message: growth(add)}
	if err != nil {
		event = actuate.Event{Type: corev1.EventTypeWarning, Reason: "FailedToScaleUpGroup",
			Message: fmt.Sprintf("node group %s could not grow from %d to %d: %v", add.Group, add.Target-add.Count, add.Target, err)}
	}
	c.writer.Event(c.statusObject(ctx), event)
}

// tellForgone says on the status that nodes are not waited for any longer, as Cluster Autoscaler does.
func (c *Conductor) tellForgone(ctx context.Context, forgo nodes.Forgo) {
	c.writer.Event(c.statusObject(ctx), actuate.Event{Type: corev1.EventTypeWarning, Reason: "ScaleUpTimedOut",
		Message: fmt.Sprintf("node group %s: %d nodes are not waited for any longer: %s", forgo.Group, forgo.Count, forgo.Reason)})
}

// tellUnread returns the groups that nothing is known of now, and says on the status when there is another one.
func (c *Conductor) tellUnread(ctx context.Context) (unread []status.Unread) {
	h, seen := &c.history.nodes.status, c.history.nodes.look.taken
	told := map[string]bool{}
	if seen != nil {
		for _, group := range slices.Sorted(maps.Keys(seen.unread)) {
			reason := seen.unread[group].Error()
			unread, told[group] = append(unread, status.Unread{Group: group, Reason: reason}), true
			if !h.unread[group] {
				c.writer.Event(c.statusObject(ctx), actuate.Event{Type: corev1.EventTypeWarning, Reason: "NodeGroupUnread",
					Message: fmt.Sprintf("node group %s is left alone: %s", group, reason)})
			}
		}
	}
	h.unread = told
	return unread
}

// growth says what becomes of a group's target, and why.
func growth(add nodes.Add) string {
	return fmt.Sprintf("node group %s grows from %d to %d: %s", add.Group, add.Target-add.Count, add.Target, add.Reason)
}

// tellStopped says on the status that all nodes are left alone, and that they are not any more.
func (c *Conductor) tellStopped(ctx context.Context, blocked string) {
	h, object := &c.history.nodes.status, c.statusObject(ctx)
	if blocked != "" && !h.blocked {
		c.writer.Event(object, actuate.Event{Type: corev1.EventTypeWarning, Reason: "ClusterUnhealthy", Message: "no node is added or removed: " + blocked})
	}
	h.blocked = blocked != ""
	switch hold := c.history.rivals.hold; {
	case hold.reason == h.said.reason:
	case hold.reason == "":
		c.writer.Event(object, actuate.Event{Type: corev1.EventTypeNormal, Reason: "NodeScalingResumed", Message: "Berth adds and removes nodes again"})
	case hold.reason != observing:
		c.writer.Event(object, actuate.Event{Type: corev1.EventTypeWarning, Reason: hold.reason, Message: hold.message})
	}
	h.said = c.history.rivals.hold
}
