// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/klog/v2"

	"github.com/berth-dev/berth/autoscaler/actuate"
	"github.com/berth-dev/berth/autoscaler/config"
	"github.com/berth-dev/berth/autoscaler/guard"
	"github.com/berth-dev/berth/autoscaler/observe"
)

// The reasons why nodes are planned for and left alone.
const (
	clusterAutoscalerActive  = "ClusterAutoscalerActive"
	clusterAutoscalerUnknown = "ClusterAutoscalerUnknown"
)

// rivalHistory is what one look at the Leases of other autoscalers of nodes leaves for the next.
type rivalHistory struct {
	mandate
	// leases are by namespace; that of no namespace stands for there being none.
	leases map[string]guard.LeaseHistory
}

// judgeRivals looks whether another autoscaler may add or remove nodes, once in a sync period.
func (c *Conductor) judgeRivals(ctx context.Context) {
	h, now := &c.history.rivals, c.now()
	if !h.due(now, c.config.SyncPeriod.Duration) {
		return
	}
	state, held := actuate.Acts, hold{}
	switch {
	case c.config.Nodes.Mode == config.Observe:
		state, held = actuate.Observes, hold{observing, "nodes.mode is Observe: nodes are planned for, and none is added or removed"}
	case c.rivals != nil:
		state, held = c.lookForRivals(ctx, now)
	}
	c.telemetry.Nodes(state)
	h.found(ctx, now, state, held, "Who adds and removes nodes")
}

func (c *Conductor) lookForRivals(ctx context.Context, now time.Time) (actuate.State, hold) {
	ctx, cancel := context.WithTimeout(ctx, callDeadline)
	defer cancel()
	leases, err := c.rivals.Look(ctx)
	if err != nil {
		klog.FromContext(ctx).Error(err, "Looking for a Cluster Autoscaler: unseen for long, nodes are left alone")
	}
	holders, next := judgeLeases(leases, err != nil, c.history.rivals.leases, now)
	c.history.rivals.leases = next
	for _, namespace := range slices.Sorted(maps.Keys(holders)) {
		if holders[namespace] != guard.HolderActive {
			continue
		}
		return actuate.StandsBack, hold{clusterAutoscalerActive, fmt.Sprintf("the Lease %s/%s is fresh: a Cluster Autoscaler may add and remove nodes. Berth plans, and leaves them alone until nobody has renewed it for %s",
			namespace, observe.ClusterAutoscalerLease, guard.LeaseLife)}
	}
	for _, holder := range holders {
		if holder == guard.HolderUnknown {
			return actuate.Judges, hold{clusterAutoscalerUnknown, fmt.Sprintf("the Leases %s, by which a Cluster Autoscaler is known, can not be read (%s): Berth plans, and leaves nodes alone until they can",
				observe.ClusterAutoscalerLease, wordOf(err))}
		}
	}
	return actuate.Acts, hold{}
}

// judgeLeases judges each Lease that is seen, or where none can be, each that was.
func judgeLeases(leases []coordinationv1.Lease, unseen bool, past map[string]guard.LeaseHistory, now time.Time) (map[string]guard.Holder, map[string]guard.LeaseHistory) {
	holders, next := map[string]guard.Holder{}, map[string]guard.LeaseHistory{}
	judge := func(namespace string, in guard.LeaseInput) {
		in.Now, in.History = now, past[namespace]
		d := guard.JudgeLease(in)
		holders[namespace], next[namespace] = d.Holder, d.History
	}
	switch {
	case unseen && len(past) == 0:
		judge("", guard.LeaseInput{Sight: guard.LeaseUnseen})
	case unseen:
		for namespace := range past {
			judge(namespace, guard.LeaseInput{Sight: guard.LeaseUnseen})
		}
	case len(leases) == 0:
		judge("", guard.LeaseInput{Sight: guard.LeaseMissing})
	}
	for i := range leases {
		in := guard.LeaseInput{Sight: guard.LeaseSeen, Created: leases[i].CreationTimestamp.Time}
		if leases[i].Spec.RenewTime != nil {
			in.Renewed = leases[i].Spec.RenewTime.Time
		}
		judge(leases[i].Namespace, in)
	}
	return holders, next
}
