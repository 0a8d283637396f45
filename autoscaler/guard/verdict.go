// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"fmt"
	"strings"
)

// Reason is why an autoscaler is or is not acted on, fit for conditions and events.
type Reason string

const (
	// NoConflict: nobody else wants the target.
	NoConflict Reason = ""
	// HoldsTarget: others want the target too, and this one works.
	HoldsTarget Reason = "HoldsTarget"
	// TargetHasHPA: an HPA works on the target of this VPA.
	TargetHasHPA Reason = "TargetHasHPA"
	// TargetHasVPA: a VPA works on the target of this HPA, or another one on the
	// target of this VPA.
	TargetHasVPA Reason = "TargetHasVPA"
)

// StandingOf reads the standing back from the reason in an object's condition, so that
// a new process goes on where the last one stopped.
func StandingOf(r Reason) Standing {
	switch r {
	case HoldsTarget:
		return Holds
	case TargetHasHPA, TargetHasVPA:
		return Refused
	default:
		return Unknown
	}
}

// Verdict is the answer for one autoscaler.
type Verdict struct {
	// Allowed tells whether the autoscaler may be acted on.
	Allowed bool
	Reason  Reason
	// Others are the autoscalers in conflict, strongest first: those that work if this
	// one is refused, those refused for its sake if it works.
	Others []Key
	// Message names the others and what to do; empty without a conflict.
	Message string
}

func (c *claim) verdict(opts Options) Verdict {
	switch {
	case c.refused:
		v := Verdict{Reason: TargetHasVPA, Others: keys(c.others), Message: c.refusal(opts)}
		if c.others[0].Kind == HPA {
			v.Reason = TargetHasHPA
		}
		return v
	case len(c.others) > 0:
		return Verdict{Allowed: true, Reason: HoldsTarget, Others: keys(c.others), Message: fmt.Sprintf(
			"target %s is also wanted by %s, not acted on while this %s works: delete one of them or change its target",
			c.place(), c.titles(), c.Kind) + c.makers()}
	default:
		return Verdict{Allowed: true}
	}
}

func (c *claim) refusal(opts Options) string {
	advice := "HPA suits stateless workloads, VPA stateful ones"
	if c.others[0].Kind == c.Kind {
		advice = "one VPA sizes a workload"
	}
	m := fmt.Sprintf("target %s already has %s; this %s is not acted on until one of them is deleted or changes its target: %s",
		c.place(), c.titles(), c.Kind, advice) + c.makers()
	if c.Kind == VPA && c.Recommender != opts.Recommender {
		m += fmt.Sprintf("; recommender %q is not Berth's and may still act on it", c.recommender())
	}
	return m
}

// place names the target as the autoscaler writes it, and where it meets the others if that is
// somewhere else.
func (c *claim) place() string {
	switch {
	case same(c.met, c.Target):
		return c.Target.String()
	case same(c.met, c.Owner):
		return c.Target.String() + " (owned by " + c.met.String() + ")"
	default:
		return c.Target.String() + " (which selects pods of " + c.met.String() + ")"
	}
}

// makers names who would make an autoscaler again that is deleted.
func (c *claim) makers() string {
	text := ""
	for _, one := range append([]*claim{c}, c.others...) {
		if one.Maker != (Target{}) {
			text += fmt.Sprintf("; %s is made by %s %q: delete or change that", one.title(), one.Maker.Kind, one.Maker.Name)
		}
	}
	return text
}

// recommender of a VPA that names none is upstream's, which is called default.
func (c *claim) recommender() string {
	if c.Recommender == "" {
		return "default"
	}
	return c.Recommender
}

// String is the target as people write it, like Deployment/web.
func (t Target) String() string { return t.Kind + "/" + t.Name }

func (c *claim) title() string { return fmt.Sprintf("%s %q", c.Kind, c.Name) }

// titles names the others, with their targets where those are others.
func (c *claim) titles() string {
	names := make([]string, len(c.others))
	for i, other := range c.others {
		names[i] = other.title()
		if !same(other.Target, c.Target) {
			names[i] += " on " + other.Target.String()
		}
	}
	return strings.Join(names, " and ")
}

func keys(claims []*claim) []Key {
	out := make([]Key, len(claims))
	for i, c := range claims {
		out[i] = c.Key
	}
	return out
}
