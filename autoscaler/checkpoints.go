// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	"k8s.io/klog/v2"

	"github.com/berth-dev/berth/autoscaler/vertical"
)

// ErrNotLeading is the cause of a context that ends since another process may lead: nothing more is written then.
var ErrNotLeading = errors.New("the leader's Lease is lost")

const (
	// checkpointPeriod is how old the checkpoints of a VPA become before they are written again: a minute, as
	// with upstream's recommender, which writes once in its loop.
	checkpointPeriod = time.Minute
	// checkpointRate is how many are written in a second at most, on average over a sync period: as many as upstream's
	// recommender by its default --kube-api-qps. The period gets longer instead: with 1,000 VPAs of 5 containers each is
	// written every 100 s, and where these are sets of 5, whose slots have checkpoints of their own, every 10 minutes.
	// Of some kilobytes each, that is a quarter of a megabyte a second for etcd, and 750 writes in a sync
	// period. A process that dies loses what it has learnt since, of a history of days.
	checkpointRate = 50
	// errandDeadline bounds what is asked of the API server beside the loop. What was not written comes first the next time.
	errandDeadline = 10 * time.Second
	// leaveDeadline bounds the last writes of a process, while the next one waits for its Lease.
	leaveDeadline = 3 * time.Second
)

// recollect sees to it that what was known before is known again: by the process before, of all VPAs; by another
// recommender, of a VPA that it has handed over. Until it returns true nothing is recommended, or a history of minutes would take
// the place of one of days. VPAs that are handed over wait for themselves (remembers).
//
// Requests go on beside the loop, one errand at a time, which brings what the loop is to do.
func (c *Conductor) recollect(ctx context.Context, vpas []*vpav1.VerticalPodAutoscaler) bool {
	if c.checkpoints == nil {
		return true
	}
	s := &c.history.shelf
	select {
	case done := <-s.errand:
		s.errand = nil
		done()
	default:
	}
	now := c.now()
	if s.read {
		if owed := s.follow(c.ofBerth(vpas), now); len(owed) > 0 && s.errand == nil {
			c.send(ctx, func(ctx context.Context) func() { return c.takeOver(ctx, owed) })
		}
		return true
	}
	if s.errand == nil && (s.unserved.IsZero() || now.Sub(s.unserved) >= checkpointPeriod) {
		c.send(ctx, c.readCheckpoints)
	}
	return !s.unserved.IsZero()
}

// remembers tells whether the history of a VPA is here, as far as there is one.
func (c *Conductor) remembers(vpa *vpav1.VerticalPodAutoscaler) bool {
	s := &c.history.shelf
	if c.checkpoints == nil || !s.read {
		return true // recollect has the say
	}
	_, found := s.turns[keyOf(vpa)]
	return found
}

// ofBerth are the VPAs whose histories are kept.
func (c *Conductor) ofBerth(vpas []*vpav1.VerticalPodAutoscaler) []*vpav1.VerticalPodAutoscaler {
	return slices.DeleteFunc(slices.Clone(vpas), func(vpa *vpav1.VerticalPodAutoscaler) bool { return !c.berths(vpa) })
}

// send does an errand beside the loop.
func (c *Conductor) send(ctx context.Context, errand func(context.Context) (done func())) {
	brought := make(chan func(), 1) // who does not hear of it any more lets it end
	c.history.shelf.errand = brought
	c.reads.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, errandDeadline)
		defer cancel()
		brought <- errand(ctx)
	})
}

// readCheckpoints restores all histories from their checkpoints.
func (c *Conductor) readCheckpoints(ctx context.Context) (done func()) {
	logger, start := klog.FromContext(ctx), c.now()
	objects, err := c.checkpoints.All(ctx, "")
	if apierrors.IsNotFound(err) {
		return func() {
			if c.history.shelf.unserved.IsZero() {
				logger.Info("VerticalPodAutoscalerCheckpoints are not served: what is learnt of VPAs is lost with this process, until their CRD is installed")
			}
			c.history.shelf.unserved = c.now()
		}
	}
	if err != nil {
		return func() {
			logger.Error(err, "Reading the checkpoints of VPAs: nothing is recommended before they are known")
		}
	}
	history := restored(ctx, objects)
	return func() {
		s := &c.history.shelf
		s.hold(objects)
		// Where the kind was not served at first there is a history of this process. One that was stored is longer.
		if s.unserved.IsZero() || len(objects) > 0 {
			c.history.vertical = history
		}
		s.read, s.unserved = true, time.Time{}
		logger.Info("Read the checkpoints of VPAs", "checkpoints", len(objects), "took", c.now().Sub(start))
	}
}

// takeOver reads the checkpoints of VPAs that another recommender has had.
func (c *Conductor) takeOver(ctx context.Context, owed sets.Set[vertical.Key]) (done func()) {
	var found []*vpav1.VerticalPodAutoscalerCheckpoint
	namespaces := sets.New[string]()
	for key := range owed {
		namespaces.Insert(key.Namespace)
	}
	for namespace := range namespaces {
		objects, err := c.checkpoints.All(ctx, namespace)
		if err != nil {
			return func() {
				klog.FromContext(ctx).Error(err, "Reading the checkpoints of VPAs of another recommender: nothing is recommended for them before", "namespace", namespace)
			}
		}
		for _, o := range objects {
			if owed.Has(vertical.Key{Namespace: o.Namespace, Name: o.Spec.VPAObjectName}) {
				found = append(found, o)
			}
		}
	}
	history := restored(ctx, found)
	return func() {
		s := &c.history.shelf
		s.hold(found)
		for key := range owed {
			c.history.vertical = c.history.vertical.Adopt(history, key)
			s.turns[key] = time.Time{}
		}
		klog.FromContext(ctx).Info("Took VPAs over from another recommender", "vpas", len(owed), "checkpoints", len(found))
	}
}

// restored is what checkpoints tell of.
func restored(ctx context.Context, objects []*vpav1.VerticalPodAutoscalerCheckpoint) vertical.History {
	history, refused := vertical.Restore(objects)
	for key, err := range refused {
		klog.FromContext(ctx).Info("A checkpoint of a VPA can not be read, and is left out", "checkpoint", klog.KRef(key.Namespace, key.Name), "reason", err.Error())
	}
	return history
}

// keepHistories sends the checkpoints whose turn it is to the API server, and away what nobody needs.
func (c *Conductor) keepHistories(ctx context.Context, vpas []*vpav1.VerticalPodAutoscaler) {
	if c.evictions != nil {
		maps.DeleteFunc(c.history.evicted, func(event, _ types.UID) bool { return !c.evictions.Told(event) })
	}
	s := &c.history.shelf
	if c.checkpoints == nil || !s.read || s.errand != nil {
		return
	}
	now := c.now()
	// Only what is watched is known to be gone: without a CRD there are no VPAs either.
	if now.Sub(s.swept) >= checkpointPeriod && c.reader.VPAsSynced() {
		s.swept = now
		exist := make(map[vertical.Key]bool, len(vpas))
		for _, vpa := range vpas {
			exist[keyOf(vpa)] = c.berths(vpa)
		}
		if orphans := s.orphans(now, exist, c.perPeriod()); len(orphans) > 0 {
			c.send(ctx, func(ctx context.Context) func() { return c.sweep(ctx, orphans) })
			return
		}
	}
	before := now.Add(c.config.SyncPeriod.Duration/2 - checkpointPeriod)
	if due := s.due(c.history.vertical, now, before, c.share(len(s.turns)), c.perPeriod()); len(due) > 0 {
		c.send(ctx, func(ctx context.Context) func() { return c.writeCheckpoints(ctx, due) })
	}
}

// share is how many VPAs of so many have their turn in one sync period, so that they do not all have it in the same one
// of each minute.
func (c *Conductor) share(vpas int) int {
	return 1 + int(int64(vpas)*int64(c.config.SyncPeriod.Duration)/int64(checkpointPeriod))
}

// perPeriod is how many checkpoints are written in a sync period at most.
func (c *Conductor) perPeriod() int {
	return max(1, int(c.config.SyncPeriod.Seconds()*checkpointRate))
}

// leave writes what was learnt since the checkpoints were written last, those first that have waited longest, while the Lease is
// still held.
func (c *Conductor) leave(ctx context.Context) {
	s := &c.history.shelf
	if s.errand != nil {
		(<-s.errand)() // it ends with the context
		s.errand = nil
	}
	if !s.read || errors.Is(context.Cause(ctx), ErrNotLeading) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveDeadline)
	defer cancel()
	start := c.now()
	for ctx.Err() == nil {
		due := s.due(c.history.vertical, c.now(), start, len(s.turns), 10*checkpointRate)
		if len(due) == 0 {
			return
		}
		c.writeCheckpoints(ctx, due)()
	}
}
