// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package ordinalplacement

import (
	"fmt"
	"slices"

	"github.com/berth-dev/berth/plugins/statefulset"
	v1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"
)

// verdict is what the policy means to the nodes of one cycle, worked out once.
type verdict struct {
	placement statefulset.Answer
	// key and domains are the node labels the slot may have, the best first;
	// no key where nothing is spread.
	key     string
	domains []string
	// rule is the one for the slot, if there is one.
	rule *statefulset.Rule
	// The refusals are made once: a Status keeps the slice it is given.
	outside, unlabelled, unselected, shared, held []string
}

func (v *verdict) Clone() fwk.StateData { return v }

// newVerdict returns what there is to judge, or nil for nothing.
func newVerdict(answer statefulset.Answer) *verdict {
	policy, slot := answer.Policy, answer.Slot
	v := &verdict{placement: answer}
	if policy == nil {
		return nil
	}
	if answer.Spread() {
		v.key, v.domains = policy.Spread.TopologyKey, append([]string{answer.Domain}, answer.Fallback...)
		v.outside = []string{fmt.Sprintf(ErrReasonOutside, answer.Domain)}
		if len(v.domains) > 1 {
			v.outside = []string{fmt.Sprintf(ErrReasonOutsideAll, v.domains)}
		}
		v.unlabelled = []string{fmt.Sprintf(ErrReasonUnlabelled, v.key)}
	}
	if i := policy.RuleOf(slot.Ordinal); i >= 0 {
		v.rule = &policy.Rules[i]
		v.unselected = []string{fmt.Sprintf(ErrReasonUnselected, i+1, v.rule.Ordinals, v.rule.Text)}
	}
	if policy.SeparateNodes == statefulset.NeedOwnNode {
		v.shared = []string{fmt.Sprintf(ErrReasonShared, slot.Set)}
		v.held = []string{fmt.Sprintf(ErrReasonHeld, slot.Set)}
	}
	if v.key == "" && v.rule == nil && policy.SeparateNodes == statefulset.MayShareNode {
		return nil
	}
	return v
}

// refuses returns what speaks against a node by its labels, nil for nothing.
func (v *verdict) refuses(node *v1.Node) []string {
	if v.key != "" {
		switch domain, labelled := node.Labels[v.key]; {
		case !labelled:
			return v.unlabelled
		case domain != v.domains[0] && !slices.Contains(v.domains[1:], domain):
			return v.outside
		}
	}
	if v.rule != nil && !v.rule.Selects(node) {
		return v.unselected
	}
	return nil
}
