// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"cmp"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// DefaultHoldFor is how long the room of an absent slot is kept.
const DefaultHoldFor = 10 * time.Minute

// Default fills in what is not said. It does for plugin arguments what the
// schema of the API server does for a PlacementPolicy, and adds no section
// that is not there.
func (p *Placement) Default() {
	p.SeparateNodes = cmp.Or(p.SeparateNodes, SeparateNone)
	if p.Quorum == nil {
		none := intstr.FromString(QuorumNone)
		p.Quorum = &none
	}
	if p.Spread != nil {
		p.Spread.TopologyKey = cmp.Or(p.Spread.TopologyKey, corev1.LabelTopologyZone)
		p.Spread.Arrangement = cmp.Or(p.Spread.Arrangement, Interleaved)
		p.Spread.Enforcement = cmp.Or(p.Spread.Enforcement, Required)
	}
	if p.Start != nil {
		p.Start.Order = cmp.Or(p.Start.Order, StartParallel)
		p.Start.Until = cmp.Or(p.Start.Until, UntilScheduled)
	}
	if p.Home != nil {
		p.Home.ReturnToNode = cmp.Or(p.Home.ReturnToNode, ReturnPreferred)
		if p.Home.HoldFor == nil {
			p.Home.HoldFor = &metav1.Duration{Duration: DefaultHoldFor}
		}
	}
}
