// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"github.com/berth-dev/berth/autoscaler/cloud"
	"github.com/berth-dev/berth/autoscaler/forecast"
	"github.com/berth-dev/berth/autoscaler/nodes"
	"github.com/berth-dev/berth/autoscaler/nodes/drain"
	"github.com/berth-dev/berth/autoscaler/observe"
	"github.com/berth-dev/berth/plugins/statefulset"
)

// Simulation is the cluster as the scheduler would see it, to try things on.
type Simulation interface {
	nodes.Simulator
	// AddObject shows the plugins an object that does not exist yet.
	AddObject(runtime.Object) error
	// Grow tells whether the node of a pod has room for it with the requests that it has here, and why not. It
	// changes nothing. An error says that there is no answer.
	Grow(*corev1.Pod) (fits bool, reasons []string, err error)
	// Close ends the simulation and takes everything back.
	Close()
}

// Simulate begins a simulation on the given nodes and pods. Its answers end with the context.
type Simulate func(ctx context.Context, nodes []*corev1.Node, pods []*corev1.Pod) (Simulation, error)

// NodeParts are what node decisions work with.
type NodeParts struct {
	Provider cloud.Provider
}

// nodeHistory is what one node decision leaves for the next.
type nodeHistory struct {
	engine nodes.History
	// unhelped is what each pod without help was told last.
	unhelped map[types.UID]string
	blocked  string
	look     lookHistory
	deeds    deedHistory
	status   statusHistory
}

// decideNodes finds places for the pods that wait and for those that the
// decided replicas will bring, and has nodes added and removed.
func (c *Conductor) decideNodes(ctx context.Context, decided []*replicas) {
	c.judgeRivals(ctx)
	simulating, cancel := context.WithTimeout(ctx, c.config.Nodes.SimulationTimeout.Duration)
	defer cancel()
	present, pods := c.reader.Nodes(), c.reader.Pods()
	drains := &c.history.drains
	drains.forget(present, pods)
	c.settleDeeds()
	drains.doubt(c.now(), c.config.Nodes.MaxNodeProvisionTime.Duration)
	present, pods = drains.nodesAsWritten(present), drains.podsAsWritten(pods, c.now())
	in, groups, err := c.observeNodes(ctx, present, pods)
	var slow *slowError
	if errors.As(err, &slow) && slow.after < callDeadline {
		klog.FromContext(ctx).V(2).Info("Nodes are decided on when the provider answers")
		c.blindDrains(ctx, present, err)
		return
	}
	if err != nil {
		klog.FromContext(ctx).Error(err, "Nodes are left alone in this tick")
		c.sayNodesFailed(ctx, err)
		c.blindDrains(ctx, present, err)
		return
	}
	drains.blind = time.Time{}
	c.stepDrains(ctx, &in, groups)
	future := c.foresee(ctx, decided, pods)
	in.Forecast = future.Pods
	decision, err := c.placeNodes(simulating, in, present, pods, future)
	if err != nil {
		klog.FromContext(ctx).Error(err, "Nodes are left alone in this tick")
		c.sayNodesFailed(ctx, err)
		return
	}
	c.actNodes(ctx, in, groups, decision)
}

// placeNodes asks the engine, with the pods that will come and their claims in the simulation. Pods that wait for a
// node with room for their new size are in it as they will be.
func (c *Conductor) placeNodes(ctx context.Context, in nodes.Input, present []*corev1.Node, pods []*corev1.Pod, future forecast.Decision) (nodes.Decision, error) {
	pods = slices.DeleteFunc(slices.Clone(pods), c.expendable)
	simulation, err := c.simulate(ctx, present, pods)
	if err != nil {
		return nodes.Decision{}, err
	}
	defer simulation.Close()
	for _, claim := range future.Claims {
		if err := simulation.AddObject(claim); err != nil {
			return nodes.Decision{}, fmt.Errorf("claim %s/%s of a future pod: %w", claim.Namespace, claim.Name, err)
		}
	}
	in.Reserve, in.Resized, in.Replaced = future.Reserve, c.resized(pods, c.tables()), map[types.UID]bool{}
	var again []*corev1.Pod
	for _, room := range c.rooms(pods) {
		next := recreated(room.Pod, room.Sizes)
		if err := c.replace(simulation, room.Pod, next); err != nil {
			klog.FromContext(ctx).Error(err, "A pod that is to be re-created is planned for beside itself", "pod", klog.KObj(room.Pod))
		} else {
			in.Replaced[room.Pod.UID] = true
		}
		again = append(again, next)
	}
	return c.decideInOrder(in, simulation, future.Pods, again), nil
}

// expendable tells of a pod that takes no room in simulations of nodes: it is preempted.
func (c *Conductor) expendable(pod *corev1.Pod) bool {
	return nodes.Expendable(pod, *c.config.Nodes.ExpendablePriority)
}

// nodeInput is the part of the engine's input that nobody has to be asked for.
func (c *Conductor) nodeInput() nodes.Input {
	n := c.config.Nodes
	in := nodes.Input{Now: c.now(), Config: nodes.Defaults(), History: c.history.nodes.engine}
	in.Config.UnneededTime = n.UnneededTime.Duration
	in.Config.DelayAfterAdd = n.DelayAfterAdd.Duration
	in.Config.MaxNodeProvisionTime = n.MaxNodeProvisionTime.Duration
	in.Config.ExpendablePriority = *n.ExpendablePriority
	in.Config.BalanceSimilarGroups, in.Config.StartupTaints = n.BalanceSimilarGroups, n.StartupTaints
	in.Config.Expanders = make([]nodes.Expander, len(n.Expanders))
	for i, expander := range n.Expanders {
		in.Config.Expanders[i] = nodes.Expander(expander)
	}
	if n.MaxNodesTotal != nil {
		in.Config.MaxNodesTotal = int(*n.MaxNodesTotal)
	}
	in.Config.MinCores, in.Config.MaxCores = amount(n.Cores.Min), amount(n.Cores.Max)
	in.Config.MinMemory, in.Config.MaxMemory = amount(n.Memory.Min), amount(n.Memory.Max)
	in.Seed = uint64(in.Now.UnixNano())
	in.Config.UtilizationThreshold, in.Config.IgnoreDaemonSets = *n.UtilizationThreshold, n.IgnoreDaemonSetsUtilization
	in.Config.UnreadyTime = n.UnreadyTime.Duration
	in.Config.MaxEmptyRemovals, in.Config.MaxDrains = int(*n.MaxEmptyRemovals), int(*n.MaxDrains)
	in.Config.Drain.MaxPodEvictionTime = n.MaxPodEvictionTime.Duration
	in.Config.Drain.MaxGracefulTermination = n.MaxGracefulTermination.Duration
	in.Config.Drain.SkipLocalStorage, in.Config.Drain.SkipSystemPods = *n.SkipNodesWithLocalStorage, *n.SkipNodesWithSystemPods
	return in
}

// observeNodes turns what the provider and the informers say into the engine's input.
func (c *Conductor) observeNodes(ctx context.Context, present []*corev1.Node, pods []*corev1.Pod) (nodes.Input, map[string]cloud.NodeGroup, error) {
	in := c.nodeInput()
	in.Volumes = c.volumes()
	seen, err := c.look(ctx, present)
	if err != nil {
		return in, nil, err
	}
	groups := seen.by
	in.Groups = slices.Clone(seen.groups)
	c.history.nodes.deeds.mark(in.Groups, in.Now)

	onNode := map[string][]*corev1.Pod{}
	for _, pod := range pods {
		if pod.Spec.NodeName != "" {
			onNode[pod.Spec.NodeName] = append(onNode[pod.Spec.NodeName], pod)
		}
	}
	for _, node := range present {
		group, _ := c.nodes.Provider.GroupOf(node)
		if _, owned := observe.OfKarpenter(node); owned || groups[group] == nil {
			group = ""
		}
		in.Nodes = append(in.Nodes, nodes.Node{
			Object: node, Group: group, Pods: onNode[node.Name],
			Draining: drain.Marked(node) && node.DeletionTimestamp == nil && !c.history.drains.asked(node.UID),
		})
	}
	in.World = c.drainWorld(pods)
	in.Pending, in.Slots = c.reader.UnscheduledPods(), map[types.NamespacedName]bool{}
	for _, pod := range in.Pending {
		if _, ok := c.policies.SlotOf(pod); ok {
			in.Slots[types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}] = true
		}
	}
	return in, groups, nil
}

// volumes are the bound volumes of wanted slots, for a zone that holds one must keep a node.
func (c *Conductor) volumes() []nodes.Volume {
	var volumes []nodes.Volume
	for _, set := range c.reader.StatefulSets() {
		key := statefulset.SetKey{Namespace: set.Namespace, Name: set.Name}
		templates := statefulset.Templates(set)
		if len(templates) == 0 {
			continue
		}
		for _, ordinal := range ordinals(set, replicasOf(set.Spec.Replicas, nil, scaled{})) {
			slot := statefulset.Slot{Set: key, Ordinal: ordinal}
			for _, template := range templates {
				claim := c.reader.Claim(set.Namespace, statefulset.ClaimName(template, slot))
				if claim == nil || claim.Spec.VolumeName == "" {
					continue
				}
				volume := c.reader.Volume(claim.Spec.VolumeName)
				if volume == nil || volume.Spec.NodeAffinity == nil {
					continue
				}
				volumes = append(volumes, nodes.Volume{Slot: set.Namespace + "/" + slot.PodName(), Affinity: volume.Spec.NodeAffinity.Required})
			}
		}
	}
	return volumes
}

// actNodes asks the provider for nodes, removes nodes, and says why.
func (c *Conductor) actNodes(ctx context.Context, in nodes.Input, groups map[string]cloud.NodeGroup, d nodes.Decision) {
	logger := klog.FromContext(ctx)
	c.history.nodes.engine = d.History
	if d.Blocked != "" && d.Blocked != c.history.nodes.blocked {
		logger.Info("Node decisions are stopped", "reason", d.Blocked)
	}
	c.history.nodes.blocked = d.Blocked
	if d.Incomplete != "" {
		logger.Info("The simulation did not answer for every pod", "reason", d.Incomplete)
	}
	pending := byName(in.Pending)
	observing := c.history.rivals.hold.reason != ""
	var deeds []deed
	failed := map[string]bool{}
	for _, add := range d.Adds {
		logger.V(2).Info("A node group is to grow", "group", add.Group, "count", add.Count, "target", add.Target, "reason", add.Reason, "observing", observing)
		if observing {
			c.history.nodes.engine = c.history.nodes.engine.NotAsked(add.Group)
			continue
		}
		grow := c.growing(ctx, in, groups[add.Group], add, pending)
		done := grow.done
		grow.done = func(err error) { failed[add.Group] = err != nil; done(err) }
		deeds = append(deeds, grow)
	}
	for _, forgo := range d.Forgo {
		logger.V(2).Info("Nodes are not to be waited for", "group", forgo.Group, "count", forgo.Count, "reason", forgo.Reason, "observing", observing)
		if !observing {
			deeds = append(deeds, c.forgoing(ctx, groups[forgo.Group], forgo))
		}
	}
	for _, removal := range d.Removals {
		logger.V(2).Info("A node is to go", "node", removal.Node, "group", removal.Group, "reason", removal.Reason, "observing", observing)
		switch {
		case observing:
		case removal.Failed:
			deeds = append(deeds, c.removing(ctx, in, groups, removal)...)
		case c.history.nodes.deeds.underWay[removal.Group] == nil:
			c.mark(ctx, in, removal)
		}
	}
	c.carryOut(ctx, deeds)
	grown := slices.DeleteFunc(slices.Clone(d.Adds), func(add nodes.Add) bool { return observing || failed[add.Group] })
	for _, recall := range d.Recalls {
		if !observing {
			c.callBack(ctx, in, recall)
		}
	}
	kept := map[string]int{}
	for _, k := range d.Kept {
		kept[k.Rule]++
		logger.V(4).Info("An under-used node stays", "node", k.Node, "rule", k.Rule, "reason", k.Reason)
	}
	c.telemetry.Unremovable(kept)
	c.tellUnhelped(ctx, pending, d.Unhelped)
	c.sayNodes(ctx, in, d, grown)
}

// removing deletes a node that never became one, once.
func (c *Conductor) removing(ctx context.Context, in nodes.Input, groups map[string]cloud.NodeGroup, removal nodes.Removal) []deed {
	i := slices.IndexFunc(in.Nodes, func(n nodes.Node) bool { return n.Object.UID == removal.UID })
	if i < 0 || c.history.drains.asked(removal.UID) || c.boundMeanwhile(ctx, in.Nodes[i]) {
		return nil
	}
	return []deed{c.deletingNode(ctx, removal.Group, groups[removal.Group], in.Nodes[i].Object, removal.Reason)}
}

// boundMeanwhile tells that a pod was bound to a node since this tick began: providers and simulations take their time.
func (c *Conductor) boundMeanwhile(ctx context.Context, n nodes.Node) bool {
	seen := map[types.UID]bool{}
	for _, pod := range n.Pods {
		seen[pod.UID] = true
	}
	for _, pod := range c.reader.PodsOn(n.Object.Name) {
		if !seen[pod.UID] {
			klog.FromContext(ctx).Info("A node that was to go is kept", "node", n.Object.Name, "reason", "a pod was bound to it meanwhile", "pod", klog.KObj(pod))
			return true
		}
	}
	return false
}

// amount is 0 for no bound.
func amount(q *resource.Quantity) int64 {
	if q == nil {
		return 0
	}
	return q.Value()
}
