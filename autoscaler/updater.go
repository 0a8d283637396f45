// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"context"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/klog/v2"

	"github.com/berth-dev/berth/autoscaler/actuate"
	"github.com/berth-dev/berth/autoscaler/config"
	"github.com/berth-dev/berth/autoscaler/guard"
	"github.com/berth-dev/berth/autoscaler/observe"
)

// The reasons of the condition StandsBack, besides observing.
const (
	updaterActive  = "UpstreamUpdaterActive"
	updaterUnknown = "UpstreamUpdaterUnknown"
)

// updaterHistory is what one look at the Lease of upstream's admission controller leaves for the next.
type updaterHistory struct {
	mandate
	leases guard.LeaseHistory
}

// upstreamUpdater is why Berth leaves pods and their sizes alone and writes recommendations only. It is empty if nothing holds
// Berth back. The Lease is looked at once in a sync period, however often this is asked.
func (c *Conductor) upstreamUpdater(ctx context.Context) (why string) {
	c.judgeUpdater(ctx)
	return c.history.updater.hold.message
}

// judgeUpdater looks whether upstream's updater may act.
func (c *Conductor) judgeUpdater(ctx context.Context) {
	h, now := &c.history.updater, c.now()
	if !h.due(now, c.config.SyncPeriod.Duration) {
		return
	}
	state, held := actuate.Acts, hold{}
	switch {
	case c.config.Vertical.Mode == config.Observe:
		state, held = actuate.Observes, hold{observing, "vertical.mode is Observe: Berth recommends, and leaves pods and their sizes alone"}
	case c.updater != nil:
		state, held = c.lookForUpdater(ctx, now)
	}
	c.telemetry.Vertical(state)
	h.found(ctx, now, state, held, "Who sizes the pods of VPAs")
}

func (c *Conductor) lookForUpdater(ctx context.Context, now time.Time) (actuate.State, hold) {
	ctx, cancel := context.WithTimeout(ctx, callDeadline)
	defer cancel()
	lease, err := c.updater.Look(ctx)
	in := guard.LeaseInput{Now: now, Sight: guard.LeaseMissing, History: c.history.updater.leases}
	switch {
	case err != nil:
		in.Sight = guard.LeaseUnseen
	case lease != nil:
		in.Sight, in.Created = guard.LeaseSeen, lease.CreationTimestamp.Time
		if lease.Spec.RenewTime != nil {
			in.Renewed = lease.Spec.RenewTime.Time
		}
	}
	d := guard.JudgeLease(in)
	c.history.updater.leases = d.History
	logger := klog.FromContext(ctx).WithValues("lease", klog.KRef(observe.AdmissionLeaseNamespace, observe.AdmissionLease))
	if err != nil {
		logger.Error(err, "Looking for upstream's updater: unseen for long, no pod is resized", "held", d.Holder != guard.HolderGone)
	}
	logger.V(4).Info("Upstream's updater judged", "acts", d.Holder == guard.HolderGone, "age", d.Age)
	switch d.Holder {
	case guard.HolderActive:
		return actuate.StandsBack, hold{updaterActive, sayActive(lease)}
	case guard.HolderUnknown:
		return actuate.Judges, hold{updaterUnknown, sayUnknown(err)}
	default:
		return actuate.Acts, hold{}
	}
}

// sayActive names the holder and since when, and not the last renewal, which is another one in every look.
func sayActive(lease *coordinationv1.Lease) string {
	holder := "nobody by name"
	if lease.Spec.HolderIdentity != nil && *lease.Spec.HolderIdentity != "" {
		holder = *lease.Spec.HolderIdentity
	}
	return fmt.Sprintf("the Lease %s/%s, of %s since %s, is fresh: upstream's updater may evict and resize the pods of any VPA. Berth recommends, and leaves pods and their sizes alone until nobody has renewed it for %s",
		observe.AdmissionLeaseNamespace, observe.AdmissionLease, holder, lease.CreationTimestamp.UTC().Format(time.RFC3339), guard.LeaseLife)
}

// sayUnknown says why nothing is known.
func sayUnknown(err error) string {
	return fmt.Sprintf("the Lease %s/%s, by which upstream's updater is known, can not be read (%s): Berth recommends, and leaves pods and their sizes alone until it can",
		observe.AdmissionLeaseNamespace, observe.AdmissionLease, wordOf(err))
}

// wordOf names the reason of an error, whose words may be others each time.
func wordOf(err error) string {
	if reason := apierrors.ReasonForError(err); reason != "" {
		return string(reason)
	}
	return "no answer"
}
