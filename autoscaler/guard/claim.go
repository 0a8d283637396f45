// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// UID identifies one life of an object: a name that is deleted and made again is new.
type UID = types.UID

// Kind is the kind of an autoscaler.
type Kind string

// The two kinds that are guarded.
const (
	HPA Kind = "HorizontalPodAutoscaler"
	VPA Kind = "VerticalPodAutoscaler"
)

// Key names an autoscaler.
type Key struct {
	Kind      Kind
	Namespace string
	Name      string
}

// Target is what an autoscaler scales, in the namespace of the autoscaler.
type Target struct {
	// APIVersion as written. Versions are ignored, and a missing one stands for any
	// group: VPA finds well-known kinds without it.
	APIVersion string
	Kind       string
	Name       string
}

// Autoscaler is one HPA or VPA.
type Autoscaler struct {
	Key
	UID     UID
	Created time.Time
	Target  Target
	// Owner is the topmost scalable owner of the target, the zero value if it has
	// none. An HPA on a ReplicaSet and a VPA on its Deployment meet there.
	Owner Target
	// Selects are the top owners of the pods that the target's scale selects, for a target of a
	// kind of which no more is known. An HPA on an operator's object and a VPA on a set meet
	// there, though neither owns the other.
	Selects []Target
	// Maker is the object that makes this autoscaler, and would make it again, like KEDA's
	// ScaledObject; the zero value where people do.
	Maker Target
	// RecommendOnly is true for a VPA with update mode Off.
	RecommendOnly bool
	// Recommender of a VPA; empty means upstream's own.
	Recommender string
	// Acting is the evidence in the object's status that somebody acts on it: a last
	// scale time or an active scaling condition; a recommendation.
	Acting bool
	// Recorded is the standing that an earlier process left in the object's condition
	// (see StandingOf). History has precedence.
	Recorded Standing
}

// site is where claims can meet. Groups are compared apart from it, because a missing
// one matches any.
type site struct{ namespace, kind, name string }

// stake is a claim at one of its places.
type stake struct {
	*claim
	at Target
}

// claim is an autoscaler's right to its target in this decision.
type claim struct {
	Autoscaler
	strength  strength
	bystander bool

	refused bool
	// others are the claims in conflict with this one, and of the other fate.
	others []*claim
	// met is the place where it met the first of them.
	met Target
}

// strength of a claim by what is known of the past.
type strength int

const (
	fresh strength = iota
	acting
	holding
)

func newClaim(a Autoscaler, in Input) *claim {
	return &claim{
		Autoscaler: a,
		strength:   pastStrength(a, in.History),
		bystander:  a.RecommendOnly && in.Options.AllowRecommendOnly,
	}
}

func pastStrength(a Autoscaler, history History) strength {
	standing := a.Recorded
	if r, ok := history[a.UID]; ok {
		if !same(r.Target, a.Target) {
			// Its status still speaks of the target that it had.
			return fresh
		}
		standing = r.Standing
	}
	switch {
	case standing == Holds:
		return holding
	case standing == Unknown && a.Acting:
		return acting
	default:
		return fresh
	}
}

// places are where the claim can meet others.
func (c *claim) places() []Target {
	top := c.Target
	if c.Owner != (Target{}) {
		top = c.Owner
	}
	return append([]Target{top}, c.Selects...)
}

func (c *claim) site(place Target) site {
	return site{namespace: c.Namespace, kind: place.Kind, name: place.Name}
}

// face notes a claim of the other fate.
func (c *claim) face(other *claim, place Target) {
	if len(c.others) == 0 {
		c.met = place
	}
	c.others = append(c.others, other)
}

func (c *claim) record() Record {
	r := Record{Target: c.Target}
	switch {
	case c.refused:
		r.Standing = Refused
	case c.bystander:
		r.Standing = Bystander
	case len(c.others) > 0 || c.strength > fresh:
		r.Standing = Holds
	}
	return r
}

func same(a, b Target) bool {
	return a.Kind == b.Kind && a.Name == b.Name && sameGroup(a, b)
}

func sameGroup(a, b Target) bool {
	return a.APIVersion == "" || b.APIVersion == "" || group(a) == group(b)
}

func group(t Target) string {
	g, _, found := strings.Cut(t.APIVersion, "/")
	if !found {
		return ""
	}
	return g
}
