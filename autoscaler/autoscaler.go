// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package autoscaler conducts: observe, decide, guard, act, record. Nothing else.
//
// The rooms below it know nothing of each other. This package turns what one
// says into what the next one asks, and holds the history between two decisions.
//
// Its invariants:
//   - an HPA is evaluated once per sync period, never more often, for the rate
//     rules of autoscaling/v2 count evaluations; other changes re-run the guard
//     and the node decision only;
//   - a metrics API that is slow, stuck or down delays only the HPAs that need it;
//   - a provider of nodes that is slow, stuck or down delays only its own nodes: a tick waits for it for a
//     moment, and what takes longer goes on beside the loop;
//   - scale writes leave before the simulation begins, and the simulation has a deadline;
//   - nothing is decided on VPAs' account, and no HPA acts, before the VPAs are known;
//   - no VPA is recommended for before the history that its checkpoints hold is known;
//   - no scale and no HPA is written while another controller of HPAs is there, or may be;
//   - no node is added or removed, and no claim released, before the
//     PlacementPolicies are known.
package autoscaler

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"github.com/berth-dev/berth/autoscaler/actuate"
	"github.com/berth-dev/berth/autoscaler/config"
	"github.com/berth-dev/berth/autoscaler/guard"
	"github.com/berth-dev/berth/autoscaler/metrics"
	"github.com/berth-dev/berth/autoscaler/observe"
	"github.com/berth-dev/berth/autoscaler/vertical"
	"github.com/berth-dev/berth/autoscaler/vertical/resize"
	"github.com/berth-dev/berth/plugins/policies"
)

// settle is the time between two ticks that events ask for: pods that find
// no node come in crowds, and one decision for all of them beats one for each.
const settle = time.Second

// MetricsReader reads the usage of every pod.
type MetricsReader interface {
	Read(ctx context.Context) (metrics.Snapshot, error)
}

// QueryReader asks the metrics APIs that are asked metric by metric.
type QueryReader interface {
	// Ask asks one API those of the queries that are for it, in their order. What it does not get to is not answered.
	Ask(ctx context.Context, api metrics.API, queries []metrics.Query) map[metrics.Query]metrics.Answer
}

// Parts are what a conductor works with.
type Parts struct {
	Reader    *observe.Reader
	Metrics   MetricsReader
	Queries   QueryReader
	Writer    *actuate.Writer
	Telemetry *actuate.Telemetry
	// Policies is the book that the simulation's plugins read, too.
	Policies *policies.Book
	// Canary is nil where there is none to look at.
	Canary *observe.Canary
	// Checkpoints, Updater and Evictions are nil where nothing is kept, nobody looked for, nobody told of.
	Checkpoints *observe.Checkpoints
	Updater     *observe.Updater
	Evictions   *observe.Evictions
	// Rivals is nil where nobody is looked for who may add or remove nodes.
	Rivals *observe.NodeRivals
	// Simulate is nil where there is no configuration of the scheduler to simulate it by. Node parts need it.
	Simulate Simulate
	// Nodes is nil where nodes are left alone.
	Nodes *NodeParts
}

// Conductor runs the loop. It is used by one goroutine, but for Wake.
type Conductor struct {
	config    *config.Autoscaler
	reader    *observe.Reader
	metrics   MetricsReader
	queries   QueryReader
	writer    *actuate.Writer
	telemetry *actuate.Telemetry
	policies  *policies.Book
	canary    *observe.Canary
	simulate  Simulate
	nodes     *NodeParts

	checkpoints *observe.Checkpoints
	updater     *observe.Updater
	evictions   *observe.Evictions
	rivals      *observe.NodeRivals

	wake    chan struct{}
	beat    func()
	round   *round
	reads   sync.WaitGroup // of metrics that are asked for, and of errands beside the loop
	history history
}

// history is what one tick leaves for the next.
type history struct {
	guard      guard.History
	selections map[types.UID]selection
	told       map[guard.Key]string
	canary     canaryHistory
	horizontal map[types.UID]evaluation
	turns      turns
	reads      struct{ guard, hpas, vpas turns } // of scales
	vertical   vertical.History
	shelf      shelf
	updater    updaterHistory
	// evicted are the pods for which evictions were counted, by their events.
	evicted  map[types.UID]types.UID
	advised  map[vertical.Key]advice
	scales   map[types.UID]*scaleRead // of VPAs, as they were read last
	usage    usageHistory
	resizing resizeHistory
	// rooms are the pods that wait for a node with room for their new size.
	rooms []resize.Room
	// created are the answers to dry-run creates, by what was asked for.
	created map[string]creation
	nodes   nodeHistory
	futures futureHistory
	rivals  rivalHistory
	drains  drainHistory
	volumes volumeHistory
	// unread is what was said last of why the policies are not known.
	unread string
}

func newHistory() history {
	h := history{told: map[guard.Key]string{}, created: map[string]creation{}, horizontal: map[types.UID]evaluation{}, turns: turns{}, evicted: map[types.UID]types.UID{}}
	h.resizing.turns, h.drains = turns{}, newDrainHistory()
	h.nodes.look.left, h.nodes.look.asking = patience, &asking{groups: map[string]time.Time{}}
	h.reads.guard, h.reads.hpas, h.reads.vpas = turns{}, turns{}, turns{}
	return h
}

// New returns a conductor. Beat is called after every tick that decided, so
// that a loop that hangs, or waits without end, is seen.
func New(c *config.Autoscaler, parts Parts, beat func()) *Conductor {
	return &Conductor{
		config:    c,
		reader:    parts.Reader,
		metrics:   parts.Metrics,
		queries:   parts.Queries,
		writer:    parts.Writer,
		telemetry: parts.Telemetry,
		policies:  parts.Policies,
		canary:    parts.Canary,
		simulate:  parts.Simulate,
		nodes:     parts.Nodes,

		checkpoints: parts.Checkpoints,
		updater:     parts.Updater,
		evictions:   parts.Evictions,
		rivals:      parts.Rivals,

		wake:    make(chan struct{}, 1),
		beat:    beat,
		round:   &round{},
		history: newHistory(),
	}
}

// Wake asks for a tick soon, for a change that should not wait a whole period. It never blocks.
func (c *Conductor) Wake() {
	select {
	case c.wake <- struct{}{}:
	default: // a tick is already asked for
	}
}

// Run ticks until the context ends. The first whole tick comes one sync period
// after the start, as upstream's first evaluation does.
func (c *Conductor) Run(ctx context.Context) {
	whole := time.NewTicker(c.config.SyncPeriod.Duration)
	defer whole.Stop()
	defer c.reads.Wait()
	// A nil channel blocks: no events are heard until the last tick has settled.
	var settled <-chan time.Time
	wake := (<-chan struct{})(c.wake)
	for {
		var decided bool
		select {
		case <-ctx.Done():
			c.leaveDeeds(ctx)
			c.leave(ctx)
			return
		case <-whole.C:
			// From the start of this tick, however long it takes: two evaluations
			// are never less than a period apart.
			whole.Reset(c.config.SyncPeriod.Duration)
			decided = c.tick(ctx, true)
		case late := <-c.round.answers:
			c.round.take(late)
			decided = c.tick(ctx, false)
		case <-wake:
			decided = c.tick(ctx, false)
		case <-settled:
			wake, settled = c.wake, nil
			continue
		}
		wake, settled = nil, time.After(settle)
		if decided {
			c.beat()
		}
	}
}

// tick decides once, unless it has to wait for what decisions need. A tick that is not whole leaves
// replicas alone, but for those whose metrics came too late for the last whole one.
func (c *Conductor) tick(ctx context.Context, whole bool) (decided bool) {
	start := c.now()
	c.history.nodes.look.taken, c.history.nodes.look.left = nil, patience
	defer func() { c.telemetry.Ticked(whole, c.now().Sub(start)) }()

	// 1 observe
	vpas, known := c.reader.VPAs()
	if !known {
		klog.FromContext(ctx).Info("Waiting to learn whether there are VerticalPodAutoscalers")
		return false
	}
	hpas := c.reader.HPAs()

	// 2 guard
	c.judgeCanary(ctx, hpas)
	refusals := c.guardTargets(ctx, whole, hpas, vpas)
	c.tell(ctx, hpas, vpas, refusals.Verdicts)

	// 3 decide and write replicas, then requests, where the metrics have come
	scales := c.evaluate(ctx, whole, hpas, len(vpas) > 0, refusals.Verdicts)
	recollected := c.recollect(ctx, vpas)
	snapshot, measured := c.round.measured()
	workloads := c.observeSized(ctx, vpas, refusals.Verdicts, whole || measured)
	if measured {
		c.history.usage = usageHistory{snapshot, c.now()}
		if recollected {
			c.recommendRequests(workloads, snapshot)
		}
	}

	// 4 say on each policy what became of it
	known = c.policiesKnown(ctx)
	if known {
		c.judgePolicies(ctx)
	}

	// 5 decide and write sizes, and say on each VPA what became of it
	resizables := c.resizables(ctx, workloads, known)
	written := c.writeSizes(ctx, vpas, refusals.Verdicts, resizables)
	c.decideSizes(ctx, resizables)
	c.writeVPAs(ctx, written, refusals.Verdicts)

	// 6 give up the claims of volumes whose node is gone, before nodes are found
	// for the pods that they keep waiting
	if known {
		c.releaseVolumes(ctx)
	}

	// 7 decide and write nodes, with the pods that 3 and 5 are about to bring
	if c.nodes != nil && known {
		c.decideNodes(ctx, scales)
	}

	// 8 keep what was learnt, for the next process
	if whole {
		c.keepHistories(ctx, vpas)
	}
	return true
}

func (c *Conductor) now() time.Time { return time.Now() }
