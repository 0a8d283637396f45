// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package horizontal

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// longestPeriod is the longest that the API allows for a policy of spec.behavior.
const longestPeriod = 30 * time.Minute

// Keep returns the scale events that a rate policy may still count, as text: all of a history that a restart must not
// lose. It is empty without events, changes with a rescale or when an event grows too old, and is at most some
// kilobytes, as no more than one event comes from a sync. So it fits an annotation of the HPA, and can be written in the
// same request as the status that tells of the rescale.
//
// That is safe, as a change is kept only after it was made: a policy never counts one that did not happen, which would free
// the other direction. A process that ends between the two writes forgets that one change; upstream forgets all of them.
func (h History) Keep(now time.Time) string {
	var text []string
	keep := func(events []ScaleEvent, sign string) {
		for _, e := range events {
			if e.Time.After(now.Add(-longestPeriod)) {
				text = append(text, fmt.Sprintf("%s%d@%d", sign, e.Change, e.Time.UnixMilli()))
			}
		}
	}
	keep(h.ScaleUps, "+")
	keep(h.ScaleDowns, "-")
	return strings.Join(text, " ")
}

// Recall is the history for the first decision after a restart: the scale events of a text that Keep returned. Recommendations are
// not recalled; without any, Decide seeds them with the current replicas as upstream does.
//
// Another text is an error and recalls nothing: the rate policies then start anew, as they do upstream.
func Recall(kept string, now time.Time) (History, error) {
	var h History
	for _, field := range strings.Fields(kept) {
		event, grown, err := parseEvent(field)
		if err != nil {
			return History{}, err
		}
		if event.Time.After(now) { // written by a clock that is ahead
			event.Time = now
		}
		if grown {
			h.ScaleUps = append(h.ScaleUps, event)
		} else {
			h.ScaleDowns = append(h.ScaleDowns, event)
		}
	}
	return h, nil
}

// parseEvent reads a change with its sign, and when it was in milliseconds of Unix time.
func parseEvent(field string) (event ScaleEvent, grown bool, err error) {
	change, at, found := strings.Cut(field, "@")
	if !found || len(change) < 2 || !slices.Contains([]byte("+-"), change[0]) {
		return event, false, fmt.Errorf("scale event %q: not of the form +2@1767268800000", field)
	}
	n, err := strconv.ParseUint(change[1:], 10, 31)
	if err != nil {
		return event, false, fmt.Errorf("scale event %q: %w", field, err)
	}
	ms, err := strconv.ParseInt(at, 10, 64)
	if err != nil {
		return event, false, fmt.Errorf("scale event %q: %w", field, err)
	}
	return ScaleEvent{Change: int32(n), Time: time.UnixMilli(ms)}, change[0] == '+', nil
}
