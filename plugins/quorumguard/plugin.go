// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package quorumguard is upstream's DefaultPreemption for clusters whose sets
// have a quorum to lose.
//
// It promises that no preemption of this process leaves a set with fewer
// available slots than its quorum, nor breaks a PodDisruptionBudget that covers
// slots, counting all victims of a node together and those of preemptions that
// are under way; to be upstream's plugin, with its very choice, wherever that
// breaks no promise; and to say which sets were spared when that left no
// victims at all. Pods of system-critical priority take what they need.
//
// What upstream does not export is how victims are picked, one by one, until
// the pod fits. Nothing of it is repeated here: where the choice breaks a
// promise, upstream is asked again with some pods not eligible.
package quorumguard

import (
	"context"
	"fmt"

	"github.com/berth-dev/berth/plugins/statefulset"
	v1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/apis/scheduling"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/defaultpreemption"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/feature"
	"k8s.io/kubernetes/pkg/scheduler/framework/preemption"
)

const (
	// Name of the plugin in the registry and in configurations.
	Name = "QuorumGuard"

	stateKey fwk.StateKey = Name

	// mostTries bounds how often upstream chooses on one node. A node rarely has
	// more than two slots of a set, and one try spares one more of them.
	mostTries = 10

	// ErrReasonQuorum takes the set, how many slots would be left, how many it
	// wants, its quorum and what that needs.
	ErrReasonQuorum = "node(s) where preemption would leave %s with %d of %d slots, and quorum %s needs %d"
	// ErrReasonBudget takes the budget, how many pods would go and how many may.
	ErrReasonBudget = "node(s) where preemption would break PodDisruptionBudget %s: %d pod(s) would go, and %d may"
	// ErrReasonUnknown takes the set and why its policy is not known.
	ErrReasonUnknown = "node(s) where preemption would take slots of %s, whose quorum is not known: %v"
	// ErrReasonSiblings takes the set of the preemptor.
	ErrReasonSiblings = "node(s) where preemption would take other slots of %s, whose room is kept for them"
)

// Sets knows what runs. The plugin declares what it needs of it. What it
// returns is not changed.
type Sets interface {
	// SlotOf returns the slot that a pod fills.
	SlotOf(*v1.Pod) (statefulset.Slot, bool)
	// Quorum returns that of a set whose pods ask for this scheduler. An error
	// says why it is not known yet.
	Quorum(key statefulset.SetKey, schedulerName string) (statefulset.Quorum, error)
	// Members returns the slots that a set wants, each with its pods.
	Members(statefulset.SetKey) map[int][]*v1.Pod
	// Pods returns those of a namespace.
	Pods(namespace string) []*v1.Pod
	// Pod returns a pod as it is now, nil if there is none.
	Pod(namespace, name string) *v1.Pod
	// Budget returns a PodDisruptionBudget as it is now, nil if there is none.
	Budget(namespace, name string) *policyv1.PodDisruptionBudget
}

// Waiters wakes pods that could not preempt for the sake of others.
type Waiters interface {
	// Spare tells whom a pod spares now, nobody if empty. It is woken when there
	// may be room for it.
	Spare(pod *v1.Pod, subjects []Subject)
	// GivenUp tells that victims stay that were going to be deleted.
	GivenUp()
}

// Shared is what the plugin knows together with its siblings in other
// profiles: they preempt in the same cluster.
type Shared struct {
	Sets    Sets
	Waiters Waiters
	Flights *Flights
}

// upstream is embedded, so that whatever is not overridden here is upstream's:
// PreEnqueue and the events of asynchronous preemption, who may preempt, the
// order of candidates.
type upstream = defaultpreemption.DefaultPreemption

// QuorumGuard makes room for pods, and leaves sets their quorum.
type QuorumGuard struct {
	*upstream
	shared Shared
}

var (
	_ fwk.PostFilterPlugin  = &QuorumGuard{}
	_ fwk.PreEnqueuePlugin  = &QuorumGuard{}
	_ fwk.EnqueueExtensions = &QuorumGuard{}
	_ preemption.Interface  = &QuorumGuard{}
)

// New returns the plugin for one profile.
func New(ctx context.Context, obj runtime.Object, handle fwk.Handle, shared Shared) (fwk.Plugin, error) {
	a, err := decode(obj)
	if err != nil {
		return nil, err
	}
	pl := &QuorumGuard{shared: shared}
	handle = &spotter{Handle: handle, flights: shared.Flights}
	if pl.upstream, err = defaultpreemption.New(ctx, a, handle, feature.NewSchedulerFeaturesFromGates(utilfeature.DefaultFeatureGate)); err != nil {
		return nil, fmt.Errorf("building %s: %w", defaultpreemption.Name, err)
	}
	pl.Evaluator = preemption.NewEvaluator(Name, handle, pl, pl.Executor)
	pl.follow(pl.Executor)
	return pl, nil
}

// Name of the plugin.
func (pl *QuorumGuard) Name() string { return Name }

// PostFilter preempts as upstream does, and remembers the victims until they
// are seen to terminate.
func (pl *QuorumGuard) PostFilter(ctx context.Context, state fwk.CycleState, pod *v1.Pod, refusals fwk.NodeToStatusReader) (*fwk.PostFilterResult, *fwk.Status) {
	a := newAttempt(pl.shared, pod)
	state.Write(stateKey, a)
	pl.shared.Flights.begins(pod.UID)
	result, status := pl.upstream.PostFilter(ctx, state, pod, refusals)
	if !status.IsSuccess() {
		pl.shared.Waiters.Spare(pod, a.subjects())
		return result, status
	}
	pl.shared.Waiters.Spare(pod, nil)
	for _, victim := range a.victims[result.NominatedNodeName] {
		pl.takesOff(victim, func() { pl.shared.Flights.chosen(pod.UID, victim.UID) })
	}
	return result, status
}

// SelectVictimsOnNode is asked by upstream about many nodes at once.
func (pl *QuorumGuard) SelectVictimsOnNode(ctx context.Context, state fwk.CycleState, pod *v1.Pod, nodeInfo fwk.NodeInfo,
	pdbs []*policyv1.PodDisruptionBudget) ([]*v1.Pod, int, *fwk.Status) {
	a, err := read(state)
	if err != nil {
		return nil, 0, fwk.AsStatus(err)
	}
	s := search{
		choose: func(spared sets.Set[types.UID]) choice { return pl.choose(ctx, state, pod, nodeInfo, pdbs, spared) },
		judge:  func(victims []*v1.Pod) *breach { return a.judge(victims, pdbs) },
		tries:  mostTries,
	}
	slots, siblings := pl.slotsOn(nodeInfo, pod)
	if len(siblings) > 0 {
		s.choose = pl.besides(siblings, s.choose, pod)
	}
	var found choice
	switch {
	case !slots:
		found.victims, found.violations, found.status = pl.upstream.SelectVictimsOnNode(ctx, state, pod, nodeInfo, pdbs)
	case a.exempt:
		found = s.choose(nil)
	default:
		found = s.run(nil)
	}
	if found.status.IsSuccess() {
		a.chose(nodeInfo.Node().Name, found.victims)
	}
	return found.victims, found.violations, found.status
}

// choose is upstream's choice among the pods that are not spared. Upstream
// takes pods off the node that it is given while it chooses.
func (pl *QuorumGuard) choose(ctx context.Context, state fwk.CycleState, pod *v1.Pod, nodeInfo fwk.NodeInfo,
	pdbs []*policyv1.PodDisruptionBudget, spared sets.Set[types.UID]) (found choice) {
	inner := *pl.upstream
	inner.IsEligiblePod = func(_ fwk.NodeInfo, victim fwk.PodInfo, _ *v1.Pod) bool { return !spared.Has(victim.GetPod().UID) }
	found.victims, found.violations, found.status = inner.SelectVictimsOnNode(ctx, state.Clone(), pod, nodeInfo.Snapshot(), pdbs)
	return found
}

// slotsOn tells whether there are slots on a node, and which of them are of the
// preemptor's own set.
func (pl *QuorumGuard) slotsOn(nodeInfo fwk.NodeInfo, preemptor *v1.Pod) (slots bool, siblings sets.Set[types.UID]) {
	own, fills := pl.shared.Sets.SlotOf(preemptor)
	siblings = sets.New[types.UID]()
	for _, info := range nodeInfo.GetPods() {
		slot, is := pl.shared.Sets.SlotOf(info.GetPod())
		slots = slots || is
		if is && fills && slot.Set == own.Set {
			siblings.Insert(info.GetPod().UID)
		}
	}
	return slots, siblings
}

// besides never chooses siblings: their room is kept for them, whatever the
// priority of the preemptor, which would evict them again and again.
func (pl *QuorumGuard) besides(siblings sets.Set[types.UID], choose func(sets.Set[types.UID]) choice, pod *v1.Pod) func(sets.Set[types.UID]) choice {
	return func(spared sets.Set[types.UID]) choice {
		found := choose(spared.Union(siblings))
		if found.status.IsRejected() && choose(spared).status.IsSuccess() {
			slot, _ := pl.shared.Sets.SlotOf(pod)
			found.status = fwk.NewStatus(fwk.Unschedulable, fmt.Sprintf(ErrReasonSiblings, slot.Set))
		}
		return found
	}
}

// critical tells a preemptor that the cluster itself needs.
func critical(pod *v1.Pod) bool {
	return corev1helpers.PodPriority(pod) >= scheduling.SystemCriticalPriority
}

// follow notes what becomes of the victims, pod by pod. With asynchronous
// preemption that is after the cycle that chose them.
//
// Upstream deletes several at once, and cancels all of them when one fails. A
// cancelled request may have been carried out, and its victim be on its way
// without anybody knowing: so those that have begun are waited for, and no
// more begin.
func (pl *QuorumGuard) follow(executor *preemption.Executor) {
	preempt := executor.PreemptPod
	executor.PreemptPod = func(ctx context.Context, c preemption.Candidate, preemptor preemption.ExecutorPreemptor, victim *v1.Pod, plugin string) error {
		err := ctx.Err()
		if err == nil {
			pl.shared.Flights.asks(preemptor.UID(), victim.UID)
			err = preempt(context.WithoutCancel(ctx), c, preemptor, victim, plugin)
		}
		if err != nil {
			klog.FromContext(ctx).V(2).Info("A preemption failed; the victims that are left stay", "preemptor", klog.KObj(preemptor), "victim", klog.KObj(victim), "err", err)
			pl.shared.Flights.fails(preemptor.UID(), victim.UID)
			pl.shared.Waiters.GivenUp()
			return err
		}
		pl.takesOff(victim, func() { pl.shared.Flights.deleted(preemptor.UID(), victim.UID) })
		return nil
	}
}

// takesOff notes a victim, unless it is seen to terminate by now. It looks
// after it has noted it, for that may be seen in between.
func (pl *QuorumGuard) takesOff(victim *v1.Pod, note func()) {
	note()
	if now := pl.shared.Sets.Pod(victim.Namespace, victim.Name); now == nil || now.UID != victim.UID || now.DeletionTimestamp != nil {
		pl.shared.Flights.Landed(victim.UID)
	}
}

func read(state fwk.CycleState) (*attempt, error) {
	data, err := state.Read(stateKey)
	if err != nil {
		return nil, err
	}
	a, ok := data.(*attempt)
	if !ok {
		return nil, fmt.Errorf("state of %s is a %T", Name, data)
	}
	return a, nil
}
