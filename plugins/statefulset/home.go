// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import (
	"fmt"
	"slices"
)

// Home is where a slot already belongs, and what ties it there. The zero Home
// is a slot that is free to go anywhere.
type Home struct {
	// Domain is set when the slot can be in one domain only.
	Domain string
	// Within is set instead when its volumes reach several domains.
	Within []string
	// Tie is what holds the slot; Claim, Volume and Node name it.
	Tie                 Tie
	Claim, Volume, Node string
}

// Tie is what makes a domain a slot's home, the strongest first.
type Tie int

// The ties in their order: data first, then data about to be made, then the
// pod itself, and last the pod that was there where only its node will do.
const (
	Free Tie = iota
	BoundVolume
	VolumeBeingProvisioned
	RunningPod
	ReservedPod
	LastPod
)

func (h Home) equal(o Home) bool {
	return h.Domain == o.Domain && h.Tie == o.Tie && h.Claim == o.Claim && h.Volume == o.Volume && h.Node == o.Node && slices.Equal(h.Within, o.Within)
}

func (h Home) why() string {
	switch h.Tie {
	case BoundVolume:
		return fmt.Sprintf("volume %q of claim %q is there", h.Volume, h.Claim)
	case VolumeBeingProvisioned:
		return fmt.Sprintf("claim %q is being provisioned for node %q there", h.Claim, h.Node)
	case RunningPod:
		return fmt.Sprintf("its pod is on node %q there", h.Node)
	case ReservedPod:
		return fmt.Sprintf("its pod is being bound to node %q there", h.Node)
	case LastPod:
		return fmt.Sprintf("its last pod was on node %q there, and home.returnToNode is Required", h.Node)
	default:
		return "it is free"
	}
}
