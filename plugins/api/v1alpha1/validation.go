// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The bounds of the schema. They keep the cost of its rules bounded, and are
// far above what anybody needs.
const (
	maxRules        = 16
	maxTerms        = 8
	maxRequirements = 16
	maxValues       = 256
	maxNodeName     = 253
	maxOrdinals     = 256
	maxDomains      = 256
	maxNumber       = 1_000_000
	maxNamePattern  = 253
)

// Validate judges a spec after Default. Errors name the field, its value and
// what is allowed; path is where the spec is.
func (s *PlacementPolicySpec) Validate(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if (s.TargetRef == nil) == (s.Selector == nil) {
		errs = append(errs, field.Invalid(path, "", "exactly one of targetRef and selector is needed"))
	}
	if s.TargetRef != nil {
		errs = append(errs, s.TargetRef.validate(path.Child("targetRef"))...)
	}
	if s.Selector != nil {
		errs = append(errs, validateSelector(s.Selector, path.Child("selector"))...)
	}
	if s.Ordinal != nil {
		ordinal := path.Child("ordinal")
		if s.Selector == nil {
			errs = append(errs, field.Forbidden(ordinal, "ordinal goes with selector only: a StatefulSet named by targetRef numbers its pods itself"))
		}
		errs = append(errs, s.Ordinal.validate(ordinal)...)
	}
	return append(errs, s.Placement.Validate(path)...)
}

func (t *TargetRef) validate(path *field.Path) field.ErrorList {
	errs := oneOf(path.Child("apiVersion"), t.APIVersion, "apps/v1")
	errs = append(errs, oneOf(path.Child("kind"), t.Kind, "StatefulSet")...)
	for _, msg := range apivalidation.NameIsDNSSubdomain(t.Name, false) {
		errs = append(errs, field.Invalid(path.Child("name"), t.Name, "must be the name of a StatefulSet: "+msg))
	}
	return errs
}

func validateSelector(selector *metav1.LabelSelector, path *field.Path) field.ErrorList {
	if len(selector.MatchLabels) == 0 && len(selector.MatchExpressions) == 0 {
		return field.ErrorList{field.Invalid(path, "", "selector is empty; it would select every set of the namespace, so name at least one label")}
	}
	return metav1validation.ValidateLabelSelector(selector, metav1validation.LabelSelectorValidationOptions{}, path)
}

func (o *OrdinalSource) validate(path *field.Path) field.ErrorList {
	if (o.Label == "") == (o.NamePattern == "") {
		return field.ErrorList{field.Invalid(path, "", "exactly one of label and namePattern is needed")}
	}
	if o.Label != "" {
		return metav1validation.ValidateLabelName(o.Label, path.Child("label"))
	}
	path = path.Child("namePattern")
	if len(o.NamePattern) > maxNamePattern {
		return field.ErrorList{field.TooLong(path, o.NamePattern, maxNamePattern)}
	}
	if _, err := CompileNamePattern(o.NamePattern); err != nil {
		return field.ErrorList{field.Invalid(path, o.NamePattern, err.Error())}
	}
	return nil
}

// CompileNamePattern makes a regular expression for whole names of a pattern,
// which must have exactly one group. The rule of the schema, which has no such
// count, takes a pattern apart into quoted text, escapes, classes and brackets.
func CompileNamePattern(pattern string) (*regexp.Regexp, error) {
	// A pattern that only compiles inside the brackets, like "a)(b", is a slip.
	if _, err := regexp.Compile(pattern); err != nil {
		return nil, fmt.Errorf("must be a regular expression in the syntax of RE2, like db-([0-9]+): %w", err)
	}
	whole, err := regexp.Compile("^(?:" + pattern + ")$")
	if err != nil {
		return nil, fmt.Errorf("must be a regular expression in the syntax of RE2, like db-([0-9]+): %w", err)
	}
	if whole.NumSubexp() != 1 {
		return nil, fmt.Errorf("must have exactly one group, which is the ordinal, like db-([0-9]+); it has %d ((?:...) groups without being one)", whole.NumSubexp())
	}
	return whole, nil
}

// Validate judges a placement after Default; path is where it is.
func (p *Placement) Validate(path *field.Path) field.ErrorList {
	errs := oneOf(path.Child("separateNodes"), p.SeparateNodes, SeparateRequired, SeparatePreferred, SeparateNone)
	if p.Spread != nil {
		errs = append(errs, p.Spread.validate(path.Child("spread"))...)
	}
	rules := path.Child("rules")
	errs = append(errs, atMost(rules, len(p.Rules), maxRules)...)
	for i := range p.Rules {
		errs = append(errs, p.Rules[i].validate(rules.Index(i))...)
	}
	if p.Start != nil {
		start := path.Child("start")
		errs = append(errs, oneOf(start.Child("order"), p.Start.Order, StartParallel, StartOrdered)...)
		errs = append(errs, oneOf(start.Child("until"), p.Start.Until, UntilScheduled, UntilReady)...)
	}
	if p.Home != nil {
		errs = append(errs, p.Home.validate(path.Child("home"))...)
	}
	return append(errs, validateQuorum(p.Quorum, path.Child("quorum"))...)
}

func (s *Spread) validate(path *field.Path) field.ErrorList {
	errs := metav1validation.ValidateLabelName(s.TopologyKey, path.Child("topologyKey"))
	errs = append(errs, validateDomains(s.Domains, path.Child("domains"))...)
	errs = append(errs, oneOf(path.Child("arrangement"), s.Arrangement, Interleaved, Contiguous)...)
	errs = append(errs, oneOf(path.Child("enforcement"), s.Enforcement, Required, Preferred)...)
	blockSize := path.Child("blockSize")
	errs = append(errs, between(blockSize, s.BlockSize, 1)...)
	errs = append(errs, between(path.Child("shardSize"), s.ShardSize, 2)...)
	errs = append(errs, between(path.Child("maxPerDomain"), s.MaxPerDomain, 1)...)
	switch {
	case (s.Arrangement == Contiguous) != (s.BlockSize != nil):
		errs = append(errs, field.Invalid(blockSize, deref(s.BlockSize), "blockSize is needed with arrangement Contiguous, and goes with it only"))
	case s.BlockSize != nil && s.MaxPerDomain != nil && *s.BlockSize > *s.MaxPerDomain:
		errs = append(errs, field.Invalid(blockSize, *s.BlockSize, fmt.Sprintf("%d is above maxPerDomain, which is %d", *s.BlockSize, *s.MaxPerDomain)))
	}
	if s.ShardSize != nil && s.Arrangement != Interleaved {
		errs = append(errs, field.Invalid(path.Child("shardSize"), *s.ShardSize, "shardSize goes with arrangement Interleaved only"))
	}
	if s.OnDomainLoss != nil {
		errs = append(errs, positive(path.Child("onDomainLoss", "after"), s.OnDomainLoss.After)...)
	}
	return errs
}

func validateDomains(domains []string, path *field.Path) field.ErrorList {
	errs := atMost(path, len(domains), maxDomains)
	seen := map[string]bool{}
	for i, domain := range domains {
		if seen[domain] {
			errs = append(errs, field.Duplicate(path.Index(i), domain))
		}
		seen[domain] = true
		msgs := validation.IsValidLabelValue(domain)
		if domain == "" || len(msgs) > 0 {
			errs = append(errs, field.Invalid(path.Index(i), domain, "must be a label value: "+strings.Join(msgs, "; ")))
		}
	}
	return errs
}

func (h *Home) validate(path *field.Path) field.ErrorList {
	errs := oneOf(path.Child("returnToNode"), h.ReturnToNode, ReturnRequired, ReturnPreferred, ReturnNone)
	if h.HoldFor != nil && h.HoldFor.Duration < 0 {
		errs = append(errs, field.Invalid(path.Child("holdFor"), h.HoldFor.Duration.String(), "must be a time, like 10m; 0s keeps nothing"))
	}
	if h.ReleaseLostVolumes != nil {
		errs = append(errs, positive(path.Child("releaseLostVolumes", "after"), h.ReleaseLostVolumes.After)...)
	}
	return errs
}

func validateQuorum(quorum *intstr.IntOrString, path *field.Path) field.ErrorList {
	const allowed = "must be None, Majority, or a number from 0 to 1000000"
	switch {
	case quorum == nil:
	case quorum.Type == intstr.String && quorum.StrVal != QuorumNone && quorum.StrVal != QuorumMajority:
		return field.ErrorList{field.Invalid(path, quorum.StrVal, allowed)}
	case quorum.Type == intstr.Int && (quorum.IntVal < 0 || quorum.IntVal > maxNumber):
		return field.ErrorList{field.Invalid(path, quorum.IntVal, allowed)}
	}
	return nil
}

func oneOf[T ~string](path *field.Path, value T, allowed ...T) field.ErrorList {
	for _, a := range allowed {
		if value == a {
			return nil
		}
	}
	return field.ErrorList{field.NotSupported(path, value, allowed)}
}

func between(path *field.Path, value *int32, lowest int32) field.ErrorList {
	if value == nil || lowest <= *value && *value <= maxNumber {
		return nil
	}
	return field.ErrorList{field.Invalid(path, *value, "must be a number from "+strconv.Itoa(int(lowest))+" to "+strconv.Itoa(maxNumber))}
}

func atMost(path *field.Path, n, most int) field.ErrorList {
	if n <= most {
		return nil
	}
	return field.ErrorList{field.TooMany(path, n, most)}
}

func positive(path *field.Path, value metav1.Duration) field.ErrorList {
	if value.Duration > 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(path, value.Duration.String(), "must be a time above 0, like 5m")}
}

func deref(value *int32) any {
	if value == nil {
		return ""
	}
	return *value
}
