// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package volumeaffinity

import (
	"fmt"
	"slices"
	"sync"

	"github.com/berth-dev/berth/plugins/volumeaffinity/capacity"
	v1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"
)

// verdict is what the nodes of one cycle are judged by, worked out once.
type verdict struct {
	gathered
	room *capacity.Question // nil if no driver is to be asked
	home Home
	try  try
	// The refusals are made once: a Status keeps the slice it is given.
	outOfReach                  [][]string
	elsewhere, notHome, awayNow []string
}

// try is whether the pod fits at home, which is found out at most once in a
// cycle.
type try struct {
	sync.Once
	done, fits bool
	status     *fwk.Status
}

// Clone returns the verdict itself: whoever simulates with a copy of the state
// asks about the same pod.
func (v *verdict) Clone() fwk.StateData { return v }

func newVerdict(g gathered) *verdict {
	v := &verdict{gathered: g}
	if len(g.bound) > 0 {
		v.outOfReach = make([][]string, len(g.bound))
		for i, b := range g.bound {
			v.outOfReach[i] = []string{fmt.Sprintf(ErrReasonOutOfReach, b.name, b.claim, b.reach.Where())}
		}
	}
	if g.selectedNode != "" {
		v.elsewhere = []string{fmt.Sprintf(ErrReasonSelected, g.selected.Name, g.selectedNode)}
	}
	return v
}

// empty tells that there is nothing to say about the pod.
func (v *verdict) empty() bool {
	return !v.filters() && v.home.Node == "" && v.home.Attached == ""
}

// filters tells whether some nodes may be refused.
func (v *verdict) filters() bool {
	return len(v.bound) > 0 || v.selectedNode != "" || len(v.wanted) > 0 || v.home.Required || (v.home.Certain && v.home.Node != "")
}

// refuses returns what speaks against a node by itself, nil for nothing.
func (v *verdict) refuses(node *v1.Node) []string {
	for i := range v.bound {
		if !v.bound[i].reach.ReachedFrom(node.Labels) {
			return v.outOfReach[i]
		}
	}
	switch {
	case v.selectedNode != "" && node.Name != v.selectedNode:
		return v.elsewhere
	case v.home.Required && node.Name != v.home.Node:
		return v.notHome
	case v.room != nil:
		if reason := v.room.Refuses(node.Labels); reason != "" {
			return []string{reason}
		}
	}
	return nil
}

// classes are those whose room the pod asks for.
func (v *verdict) classes() []string {
	var classes []string
	for _, claim := range v.wanted {
		if !slices.Contains(classes, claim.StorageClass) {
			classes = append(classes, claim.StorageClass)
		}
	}
	return classes
}
