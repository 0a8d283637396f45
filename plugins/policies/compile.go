// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package policies

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
	"github.com/berth-dev/berth/plugins/statefulset"
)

// Compile makes a placement ready to be applied, after its defaults are filled
// in; the placement itself stays as it is. The name is that of the
// PlacementPolicy, empty for the default of a profile. Errors name fields
// below path. A placement with errors gives no policy.
func Compile(name string, placement *v1alpha1.Placement, path *field.Path) (*statefulset.Policy, field.ErrorList) {
	p := placement.DeepCopy()
	p.Default()
	if errs := p.Validate(path); len(errs) > 0 {
		return nil, errs
	}
	policy := &statefulset.Policy{
		Name:          name,
		Spread:        compileSpread(p.Spread),
		SeparateNodes: separation(p.SeparateNodes),
		Home:          compileHome(p.Home),
		Quorum:        compileQuorum(p.Quorum),
	}
	if p.Start != nil {
		policy.Start = statefulset.Start{
			Ordered:    p.Start.Order == v1alpha1.StartOrdered,
			UntilReady: p.Start.Until == v1alpha1.UntilReady,
		}
	}
	for i := range p.Rules {
		rule, err := compileRule(&p.Rules[i], path.Child("rules").Index(i))
		if err != nil {
			return nil, field.ErrorList{err}
		}
		policy.Rules = append(policy.Rules, rule)
	}
	return policy, nil
}

func compileSpread(s *v1alpha1.Spread) *statefulset.Spread {
	if s == nil {
		return nil
	}
	spread := &statefulset.Spread{
		TopologyKey:  s.TopologyKey,
		Domains:      slices.Sorted(slices.Values(s.Domains)),
		BlockSize:    number(s.BlockSize),
		Preferred:    s.Enforcement == v1alpha1.Preferred,
		ShardSize:    number(s.ShardSize),
		MaxPerDomain: number(s.MaxPerDomain),
	}
	if s.OnDomainLoss != nil {
		spread.LossAfter = s.OnDomainLoss.After.Duration
	}
	return spread
}

func number(n *int32) int {
	if n == nil {
		return 0
	}
	return int(*n)
}

func separation(s v1alpha1.Separation) statefulset.Separation {
	switch s {
	case v1alpha1.SeparateRequired:
		return statefulset.NeedOwnNode
	case v1alpha1.SeparatePreferred:
		return statefulset.PreferOwnNode
	default:
		return statefulset.MayShareNode
	}
}

// compileHome returns what is kept for slots that are away. Without a section
// of its own that is what an empty section says.
func compileHome(h *v1alpha1.Home) statefulset.HomePolicy {
	if h == nil {
		return statefulset.HomePolicy{HoldFor: v1alpha1.DefaultHoldFor}
	}
	home := statefulset.HomePolicy{HoldFor: h.HoldFor.Duration}
	switch h.ReturnToNode {
	case v1alpha1.ReturnRequired:
		home.Return = statefulset.ReturnRequired
	case v1alpha1.ReturnNone:
		home.Return = statefulset.ReturnNowhere
	}
	if h.ReleaseLostVolumes != nil {
		home.ReleaseLostAfter = h.ReleaseLostVolumes.After.Duration
	}
	return home
}

func compileQuorum(q *intstr.IntOrString) statefulset.Quorum {
	switch {
	case q == nil:
		return statefulset.Quorum{}
	case q.Type == intstr.Int:
		return statefulset.Quorum{Slots: q.IntValue()}
	default:
		return statefulset.Quorum{Majority: q.StrVal == v1alpha1.QuorumMajority}
	}
}

func compileRule(r *v1alpha1.Rule, path *field.Path) (statefulset.Rule, *field.Error) {
	ordinals, err := statefulset.ParseOrdinals(r.Ordinals)
	if err != nil {
		return statefulset.Rule{}, field.Invalid(path.Child("ordinals"), r.Ordinals, err.Error())
	}
	selector := coreSelector(r.NodeSelectorTerms)
	nodes, err := nodeaffinity.NewNodeSelector(selector)
	if err != nil {
		return statefulset.Rule{}, field.Invalid(path.Child("nodeSelectorTerms"), ruleText(r.NodeSelectorTerms), err.Error())
	}
	return statefulset.Rule{
		Ordinals: ordinals,
		Selects:  nodes.Match,
		Values:   func(key string) []string { return namedValues(selector.NodeSelectorTerms, key) },
		Text:     ruleText(r.NodeSelectorTerms),
	}, nil
}

// coreSelector is what upstream's matching takes.
func coreSelector(terms []v1alpha1.NodeSelectorTerm) *corev1.NodeSelector {
	selector := &corev1.NodeSelector{NodeSelectorTerms: make([]corev1.NodeSelectorTerm, len(terms))}
	for i, term := range terms {
		to := &selector.NodeSelectorTerms[i]
		for _, r := range term.MatchExpressions {
			to.MatchExpressions = append(to.MatchExpressions, corev1.NodeSelectorRequirement(r))
		}
		for _, r := range term.MatchFields {
			to.MatchFields = append(to.MatchFields, corev1.NodeSelectorRequirement(r))
		}
	}
	return selector
}

// namedValues lists, sorted, the values of a label that terms name by In. It is
// nil if a term leaves the label open: then the terms name no domains.
func namedValues(terms []corev1.NodeSelectorTerm, key string) []string {
	union := []string{}
	for _, term := range terms {
		var within []string
		named := false
		for _, r := range term.MatchExpressions {
			if r.Key != key || r.Operator != corev1.NodeSelectorOpIn {
				continue
			}
			if !named {
				within, named = slices.Clone(r.Values), true
				continue
			}
			within = slices.DeleteFunc(within, func(v string) bool { return !slices.Contains(r.Values, v) })
		}
		if !named {
			return nil
		}
		union = append(union, within...)
	}
	slices.Sort(union)
	return slices.Compact(union)
}

// ruleText is the selection as people read it: terms are joined by "or", the
// requirements of a term by "and".
func ruleText(terms []v1alpha1.NodeSelectorTerm) string {
	texts := make([]string, len(terms))
	for i, term := range terms {
		var parts []string
		for _, r := range term.MatchExpressions {
			parts = append(parts, requirementText(corev1.NodeSelectorRequirement(r)))
		}
		for _, r := range term.MatchFields {
			parts = append(parts, requirementText(corev1.NodeSelectorRequirement(r)))
		}
		texts[i] = strings.Join(parts, " and ")
	}
	return strings.Join(texts, " or ")
}

func requirementText(r corev1.NodeSelectorRequirement) string {
	if len(r.Values) == 0 {
		return fmt.Sprintf("%s %s", r.Key, r.Operator)
	}
	return fmt.Sprintf("%s %s (%s)", r.Key, r.Operator, strings.Join(r.Values, ", "))
}
