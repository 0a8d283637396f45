// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package forecast

import (
	"fmt"

	v1 "k8s.io/api/core/v1"
)

// line is a workload whose missing pods wait for their share of what there is.
type line struct {
	Workload
	gap
	classes classes
	mark    string

	claims  []*v1.PersistentVolumeClaim
	wait    Wait
	expired bool
	// full says what has no room for the next pod; nothing more comes then.
	full string
}

// share grants one pod to each workload that still lacks one, in their order,
// until the budget is used up.
func share(lines []*line, quotas *quotas, budget *int, of func(*line) *queue) {
	for granted := true; granted && *budget > 0; {
		granted = false
		for _, l := range lines {
			q := of(l)
			if *budget <= 0 || l.full != "" || len(q.pods) >= len(q.indices) {
				continue
			}
			if l.grant(q, quotas) {
				*budget--
				granted = true
			}
		}
	}
}

// grant makes the next pod with its claims, unless something has no room for them.
func (l *line) grant(q *queue, quotas *quotas) bool {
	pod := l.pod(q.indices[len(q.pods)], l.mark)
	var claims []*v1.PersistentVolumeClaim
	if claims, l.full = l.classes.claim(l.Workload, pod); l.full != "" {
		return false
	}
	if l.full = quotas.charge(pod, claims); l.full != "" {
		return false
	}
	q.pods = append(q.pods, pod)
	l.claims = append(l.claims, l.classes.toCome(pod, claims)...)
	return true
}

// why says why pods are held.
func (l *line) why(budget int) string {
	switch {
	case l.full != "":
		return l.full
	case l.reason != "":
		return l.reason
	}
	return fmt.Sprintf("the budget of %d future pods is used up", budget)
}
