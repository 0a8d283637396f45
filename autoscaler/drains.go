// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"github.com/berth-dev/berth/autoscaler/actuate"
	"github.com/berth-dev/berth/autoscaler/cloud"
	"github.com/berth-dev/berth/autoscaler/config"
	"github.com/berth-dev/berth/autoscaler/nodes"
	"github.com/berth-dev/berth/autoscaler/nodes/drain"
	"github.com/berth-dev/berth/autoscaler/nodes/status"
)

// drainHistory is what is remembered of nodes on their way out. Nothing of it has to be: the taint of a node tells
// that it is to go, and since when.
type drainHistory struct {
	progress map[types.UID]drain.Progress
	// failed is why a node could not be deleted, deleted since when the provider says that it was.
	failed  map[types.UID]string
	deleted map[types.UID]time.Time
	// written are nodes as the API server returned them, until the informer shows that.
	written map[types.UID]writtenNode
	// evicted are pods whose eviction the informer may not show yet.
	evicted map[types.UID]bool
	// left are the pods that were evicted from each node and may still be without another one.
	left map[types.UID][]*corev1.Pod
	// blind is since when nothing is known of the node groups; zero while something is. silent is it for nodes whose own
	// group does not answer.
	blind  time.Time
	silent map[types.UID]time.Time
	timer  *time.Timer
	// said is what the last steps were.
	said []status.Drain
}

type writtenNode struct {
	past string // the version that the informer showed then
	node *corev1.Node
}

func newDrainHistory() drainHistory {
	return drainHistory{
		progress: map[types.UID]drain.Progress{}, failed: map[types.UID]string{}, deleted: map[types.UID]time.Time{},
		written: map[types.UID]writtenNode{}, evicted: map[types.UID]bool{}, silent: map[types.UID]time.Time{}, left: map[types.UID][]*corev1.Pod{},
	}
}

// forget drops what is about nodes and pods that are gone, and what the informers show by now.
func (h *drainHistory) forget(present []*corev1.Node, pods []*corev1.Pod) {
	there := make(map[types.UID]*corev1.Node, len(present))
	for _, node := range present {
		there[node.UID] = node
	}
	for uid, w := range h.written {
		if now := there[uid]; now == nil || now.ResourceVersion != w.past || drain.Marked(now) == drain.Marked(w.node) {
			delete(h.written, uid)
		}
	}
	maps.DeleteFunc(h.progress, func(uid types.UID, _ drain.Progress) bool { return there[uid] == nil })
	maps.DeleteFunc(h.failed, func(uid types.UID, _ string) bool { return there[uid] == nil })
	maps.DeleteFunc(h.left, func(uid types.UID, _ []*corev1.Pod) bool { return there[uid] == nil })
	maps.DeleteFunc(h.silent, func(uid types.UID, _ time.Time) bool { return there[uid] == nil })
	maps.DeleteFunc(h.deleted, func(uid types.UID, _ time.Time) bool { return there[uid] == nil })
	h.unseen(pods)
}

// asked tells that the provider has said that the node was deleted.
func (h *drainHistory) asked(node types.UID) bool {
	_, asked := h.deleted[node]
	return asked
}

// doubt forgets what a provider said of nodes that are there a long time after it: they are deleted again, or stay.
func (h *drainHistory) doubt(now time.Time, after time.Duration) {
	for uid, at := range h.deleted {
		if now.Sub(at) > after {
			delete(h.deleted, uid)
			h.failed[uid] = fmt.Sprintf("it is still there %s after its provider said that it was deleted", now.Sub(at).Round(time.Second))
		}
	}
}

// unseen tells whether there are evictions that the informer does not show yet.
func (h *drainHistory) unseen(pods []*corev1.Pod) bool {
	if len(h.evicted) == 0 {
		return false
	}
	unseen := map[types.UID]bool{}
	for _, pod := range pods {
		if h.evicted[pod.UID] && pod.DeletionTimestamp == nil {
			unseen[pod.UID] = true
		}
	}
	h.evicted = unseen
	return len(unseen) > 0
}

// nodesAsWritten are the nodes with the taints that were written last, pods without those that were evicted last:
// what the informers do not show yet is not decided a second time.
func (h *drainHistory) nodesAsWritten(present []*corev1.Node) []*corev1.Node {
	if len(h.written) == 0 {
		return present
	}
	seen := slices.Clone(present)
	for i, node := range seen {
		if w, ok := h.written[node.UID]; ok {
			seen[i] = w.node
		}
	}
	return seen
}

// podsAsWritten are the pods, those as being deleted that were evicted.
func (h *drainHistory) podsAsWritten(pods []*corev1.Pod, now time.Time) []*corev1.Pod {
	if len(h.evicted) == 0 {
		return pods
	}
	seen := slices.Clone(pods)
	for i, pod := range seen {
		if h.evicted[pod.UID] && pod.DeletionTimestamp == nil {
			leaving := pod.DeepCopy()
			leaving.DeletionTimestamp = &metav1.Time{Time: now}
			seen[i] = leaving
		}
	}
	return seen
}

// stepDrains takes every node on its way out one step further.
func (c *Conductor) stepDrains(ctx context.Context, in *nodes.Input, groups map[string]cloud.NodeGroup) {
	h, hold := &c.history.drains, c.history.rivals.hold
	h.said = nil
	if hold.reason == observing || hold.reason == clusterAutoscalerUnknown {
		return // what another one may do goes on, what Berth does waits
	}
	judge := c.judge(*in)
	stopped, with := nodes.Stopped(*in), c.homes()
	draining := 0
	next := time.Time{}
	var deeds []deed
	inOrder := slices.SortedFunc(slices.Values(in.Nodes), func(a, b nodes.Node) int { return cmp.Compare(a.Object.Name, b.Object.Name) })
	for _, n := range inOrder {
		_, unseen := h.written[n.Object.UID]
		if !drain.Marked(n.Object) || h.asked(n.Object.UID) {
			continue
		}
		draining++
		if unseen || c.history.nodes.deeds.deleting(n.Object.UID) {
			continue // everybody who reads as we do has to see the taint first; what is being deleted cannot stay
		}
		if c.silent(n) {
			h.said = append(h.said, drainOf(n, drain.Step{Kind: drain.Waiting, Reason: "its node group does not answer"}, h.progress[n.Object.UID]))
			continue
		}
		at := drain.Node{Object: n.Object, Pods: n.Pods, Failed: h.failed[n.Object.UID], Homeless: c.homeless(n.Object, with), Progress: h.progress[n.Object.UID]}
		switch {
		case hold.reason != "":
			at.Wanted = hold.message
		case stopped != "":
			// Its room may be what the pods of lost nodes need.
			at.Wanted = "node decisions are stopped: " + stopped
		case n.Group == "":
			at.Wanted = "it is of no node group"
		}
		step, progress := judge.Next(at)
		h.progress[n.Object.UID] = progress
		deeds = append(deeds, c.stepDrain(ctx, n, groups[n.Group], step)...)
		h.said = append(h.said, drainOf(n, step, progress))
		if !step.Until.IsZero() && (next.IsZero() || step.Until.Before(next)) {
			next = step.Until
		}
	}
	c.telemetry.Draining(draining)
	c.wakeAt(next)
	c.carryOut(ctx, deeds)
	c.history.nodes.deeds.mark(in.Groups, in.Now)
	for _, n := range inOrder {
		if n.Draining && h.asked(n.Object.UID) {
			forgetNode(in, n)
		}
	}
	in.History = c.history.nodes.engine
}

// forgetNode leaves out of this tick what was deleted in it: the node neither comes back nor counts for its group.
func forgetNode(in *nodes.Input, n nodes.Node) {
	in.Nodes[slices.IndexFunc(in.Nodes, func(o nodes.Node) bool { return o.Object.UID == n.Object.UID })].Draining = false
	if i := slices.IndexFunc(in.Groups, func(g nodes.Group) bool { return g.Name == n.Group }); i >= 0 {
		in.Groups[i].Target--
	}
}

// stepDrain does what is next with a node, and returns what its provider has to do.
func (c *Conductor) stepDrain(ctx context.Context, n nodes.Node, group cloud.NodeGroup, step drain.Step) []deed {
	logger := klog.FromContext(ctx).WithValues("node", n.Object.Name, "group", n.Group)
	logger.V(4).Info("A node on its way out", "step", step.Kind, "reason", step.Reason)
	switch step.Kind {
	case drain.Evicting:
		for _, pod := range step.Pods {
			c.drainPod(ctx, n.Object, pod)
		}
	case drain.Deleting:
		if !c.boundMeanwhile(ctx, n) {
			return []deed{c.deletingNode(ctx, n.Group, group, n.Object, step.Reason)}
		}
	case drain.Undoing:
		c.undoDrain(ctx, n.Object, step.Reason)
	case drain.Waiting, drain.Tainting:
	}
	return nil
}

// drainPod asks for a pod to go elsewhere. Where it is refused, the next step asks again.
func (c *Conductor) drainPod(ctx context.Context, node *corev1.Node, pod *corev1.Pod) {
	bounded, cancel := context.WithTimeout(ctx, callDeadline)
	defer cancel()
	err := c.writer.DrainPod(bounded, pod, c.config.Nodes.MaxGracefulTermination.Duration)
	logger := klog.FromContext(ctx).WithValues("node", node.Name, "pod", klog.KObj(pod))
	switch {
	case err == nil:
		logger.V(2).Info("Pod evicted from a node that goes")
		c.history.drains.evicted[pod.UID] = true
		c.history.drains.left[node.UID] = append(c.history.drains.left[node.UID], pod)
		c.writer.Event(pod, actuate.Event{Type: corev1.EventTypeNormal, Reason: "ScaleDown", Message: "deleting pod for node scale down"})
	case apierrors.IsTooManyRequests(err), apierrors.IsNotFound(err), apierrors.IsConflict(err):
		logger.V(2).Info("Pod not evicted yet", "reason", err.Error())
	default:
		logger.Error(err, "Evicting a pod from a node that goes")
	}
}

// mark makes a node one on its way out, unless something has changed since that was decided.
func (c *Conductor) mark(ctx context.Context, in nodes.Input, removal nodes.Removal) {
	i := slices.IndexFunc(in.Nodes, func(n nodes.Node) bool { return n.Object.UID == removal.UID })
	if i < 0 || c.boundMeanwhile(ctx, in.Nodes[i]) {
		return
	}
	n := in.Nodes[i]
	logger := klog.FromContext(ctx).WithValues("node", n.Object.Name, "group", n.Group)
	if step, _ := c.judge(in).Next(drain.Node{Object: n.Object, Pods: n.Pods}); step.Kind != drain.Tainting {
		logger.Info("A node that was to go is kept", "reason", step.Reason)
		return
	}
	if err := c.taint(ctx, n.Object, append(slices.Clone(n.Object.Spec.Taints), drain.Mark(c.now()))); err != nil {
		if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
			logger.V(2).Info("Node not tainted yet", "reason", err.Error())
		} else {
			logger.Error(err, "Tainting a node that goes")
		}
		return
	}
	c.writer.Event(n.Object, actuate.Event{Type: corev1.EventTypeNormal, Reason: "ScaleDown", Message: "node goes: " + removal.Reason + movesOf(removal)})
}

// movesOf says where pods go, as far as an event has room for it.
func movesOf(removal nodes.Removal) string {
	const most = 5
	var moves []string
	for _, move := range removal.Moves[:min(most, len(removal.Moves))] {
		moves = append(moves, fmt.Sprintf("%s to %s", move.Pod, cmp.Or(move.To, "wherever there is room")))
	}
	if more := len(removal.Moves) - most; more > 0 {
		moves = append(moves, fmt.Sprintf("and %d more", more))
	}
	if len(moves) == 0 {
		return ""
	}
	return ": " + strings.Join(moves, ", ")
}

// callBack leaves a node that the engine wants back.
func (c *Conductor) callBack(ctx context.Context, in nodes.Input, recall nodes.Recall) {
	i := slices.IndexFunc(in.Nodes, func(n nodes.Node) bool { return n.Object.UID == recall.UID })
	if i < 0 || !drain.Marked(in.Nodes[i].Object) {
		return
	}
	if c.history.nodes.deeds.deleting(recall.UID) || !c.undoDrain(ctx, in.Nodes[i].Object, recall.Reason) {
		// Its group may have been asked for fewer nodes than it needs without this one.
		c.history.nodes.engine = c.history.nodes.engine.NotAsked(in.Nodes[i].Group)
	}
}

// undoDrain leaves a node that was on its way out, and says why. It tells whether that came to anything.
func (c *Conductor) undoDrain(ctx context.Context, node *corev1.Node, reason string) bool {
	logger := klog.FromContext(ctx).WithValues("node", node.Name)
	taints := slices.DeleteFunc(slices.Clone(node.Spec.Taints), func(t corev1.Taint) bool {
		return t.Key == drain.Taint && strings.HasPrefix(t.Value, drain.Ours)
	})
	if err := c.taint(ctx, node, taints); err != nil {
		logger.Error(err, "Taking the taint off a node that stays after all")
		return false
	}
	logger.V(2).Info("Node stays after all", "reason", reason)
	c.telemetry.Undone()
	c.writer.Event(node, actuate.Event{Type: corev1.EventTypeWarning, Reason: "ScaleDownFailed", Message: "node stays: " + reason})
	delete(c.history.drains.progress, node.UID)
	delete(c.history.drains.failed, node.UID)
	delete(c.history.drains.left, node.UID)
	c.history.nodes.engine = c.history.nodes.engine.Undone(node.UID, reason, c.now())
	return true
}

func (c *Conductor) taint(ctx context.Context, node *corev1.Node, taints []corev1.Taint) error {
	bounded, cancel := context.WithTimeout(ctx, callDeadline)
	defer cancel()
	written, err := c.writer.TaintNode(bounded, node, taints)
	if err == nil {
		c.history.drains.written[node.UID] = writtenNode{past: node.ResourceVersion, node: written}
	}
	return err
}

// blindDrains leaves all nodes on their way out when nothing has been known of the node groups for so long that none of
// them would have been waited for.
func (c *Conductor) blindDrains(ctx context.Context, present []*corev1.Node, why error) {
	h := &c.history.drains
	if h.blind.IsZero() {
		h.blind = c.now()
	}
	if c.config.Nodes.Mode == config.Observe || c.now().Sub(h.blind) < c.config.Nodes.MaxPodEvictionTime.Duration {
		return
	}
	for _, node := range present {
		if drain.Marked(node) && node.DeletionTimestamp == nil && !h.asked(node.UID) && !c.history.nodes.deeds.deleting(node.UID) {
			c.undoDrain(ctx, node, "nothing is known of the node groups: "+why.Error())
		}
	}
}

// wakeAt asks for a tick at a time, unless that is zero.
func (c *Conductor) wakeAt(at time.Time) {
	h := &c.history.drains
	if h.timer != nil {
		h.timer.Stop()
	}
	if !at.IsZero() {
		h.timer = time.AfterFunc(max(0, at.Sub(c.now())), c.Wake)
	}
}
