// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/berth-dev/berth/autoscaler/cloud"
	"github.com/berth-dev/berth/autoscaler/nodes"
)

// lookDeadline is how long a provider may take to say which groups there are. No tick waits that long.
const lookDeadline = time.Minute

// look is what a provider says of its groups.
type look struct {
	// listed are the groups that there are; those that answered are in groups and by.
	listed map[string]bool
	groups []nodes.Group
	by     map[string]cloud.NodeGroup
	// unread are the groups that nothing is known of, by name, with the reason.
	unread map[string]error
	err    error
}

// lookHistory is what one look leaves for the next.
type lookHistory struct {
	// taken is what this tick goes by; nil before it has looked.
	taken *look
	// underWay is the look that goes on, began when, and settled how many changes were known to be over then.
	underWay *errand[look]
	began    time.Time
	settled  int
	// left is how long this tick may still wait for the provider.
	left time.Duration
	// asking are the groups that are being asked, by whatever look.
	asking *asking
}

// slowError tells that the provider has not answered yet.
type slowError struct{ after time.Duration }

func (e *slowError) Error() string {
	return fmt.Sprintf("the provider has not answered for %s", e.after.Round(time.Second))
}

// look returns what the provider says, the same for a whole tick. What comes after a tick is for the one that it
// wakes, unless a change has ended meanwhile: then it may be of the time before.
func (c *Conductor) look(ctx context.Context, present []*corev1.Node) (look, error) {
	h := &c.history.nodes.look
	if h.taken != nil {
		return *h.taken, h.taken.err
	}
	settled := c.history.nodes.deeds.settled
	var seen look
	over := false
	if h.underWay != nil {
		if seen, over = h.underWay.peek(); over && h.settled != settled {
			h.underWay, over = nil, false
		}
	}
	if h.underWay == nil {
		h.began, h.settled = c.now(), settled
		h.underWay = goOn(c.Wake, func() look { return c.lookAround(ctx, present) })
		seen, over = h.underWay.await(ctx, &h.left)
	}
	if !over {
		return look{}, &slowError{c.now().Sub(h.began)}
	}
	h.taken, h.underWay = &seen, nil
	return seen, seen.err
}

// lookAround asks the provider.
func (c *Conductor) lookAround(ctx context.Context, present []*corev1.Node) (seen look) {
	limited, cancel := context.WithTimeout(ctx, lookDeadline)
	defer cancel()
	if err := c.nodes.Provider.Refresh(limited); err != nil {
		return look{err: fmt.Errorf("refreshing node groups: %w", err)}
	}
	listed, err := c.nodes.Provider.Groups(limited)
	if err != nil {
		return look{err: fmt.Errorf("listing node groups: %w", err)}
	}
	seen.listed = make(map[string]bool, len(listed))
	for _, group := range listed {
		seen.listed[group.Name()] = true
	}
	seen.groups, seen.by, seen.unread = c.observeGroups(ctx, listed, present)
	maps.Copy(seen.unread, c.nodes.Provider.Problems())
	return seen
}

// asking are the groups that are being asked what they are. One that does not come back is not asked a second time.
type asking struct {
	mu     sync.Mutex
	groups map[string]time.Time
}

// begin returns what ends the asking, or since when the group has not come back.
func (a *asking) begin(group string, now time.Time) (end func(), since time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if since, silent := a.groups[group]; silent {
		return nil, since
	}
	a.groups[group] = now
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.groups, group)
	}, now
}
