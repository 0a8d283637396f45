// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
)

// policiesKnown tells whether every PlacementPolicy has been read, and says
// once why not. Without them the simulation would ask for nodes in zones where
// the scheduler will not put the pods.
func (c *Conductor) policiesKnown(ctx context.Context) bool {
	known, why := c.policies.Known()
	if why != c.history.unread && !known {
		klog.FromContext(ctx).Info("Policies and nodes are left alone", "reason", why)
	}
	c.history.unread = why
	return known
}

// judgePolicies writes what became of each policy where its status does not
// say so yet. That is no action on anybody's pods, so no mode stops it.
func (c *Conductor) judgePolicies(ctx context.Context) {
	var accepted, invalid, conflicted int
	var news []*v1alpha1.PlacementPolicy
	for _, verdict := range c.policies.Verdicts(c.reader.StatefulSets()) {
		switch {
		case !verdict.Accepted:
			invalid++
		case verdict.Conflicted:
			conflicted++
		default:
			accepted++
		}
		if policy, changed := verdict.Judged(c.now()); changed {
			news = append(news, policy)
		}
	}
	c.telemetry.Policies(accepted, invalid, conflicted)
	workqueue.ParallelizeUntil(ctx, workers, len(news), func(i int) { c.writePolicy(ctx, news[i]) })
}

// writePolicy writes the status of a policy. One that was changed or deleted
// meanwhile is judged again in the next tick, by what it says then.
func (c *Conductor) writePolicy(ctx context.Context, judged *v1alpha1.PlacementPolicy) {
	ctx, cancel := context.WithTimeout(ctx, callDeadline)
	defer cancel()
	logger := klog.FromContext(ctx).WithValues("policy", klog.KObj(judged))
	switch err := c.writer.PolicyStatus(ctx, judged); {
	case err == nil:
		logger.V(2).Info("Policy judged", "generation", judged.Generation, "conditions", judged.Status.Conditions)
	case apierrors.IsConflict(err), apierrors.IsNotFound(err):
		logger.V(4).Info("A policy was changed before its status was written", "err", err)
	default:
		logger.Error(err, "Writing the status of a policy")
	}
}
