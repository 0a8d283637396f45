// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package reach

import (
	"slices"
	"strconv"
	"strings"

	v1 "k8s.io/api/core/v1"
)

const (
	anywhere = "any place"
	nowhere  = "no place"
)

// textOf writes an affinity for people. Two affinities have the same text only
// if they are the same but for order and repetition, so that the text serves
// as their name too.
func textOf(required *v1.NodeSelector) string {
	terms := make([]string, 0, len(required.NodeSelectorTerms))
	for _, t := range required.NodeSelectorTerms {
		parts := make([]string, 0, len(t.MatchExpressions)+len(t.MatchFields))
		for _, r := range t.MatchExpressions {
			parts = append(parts, requirementText(r))
		}
		for _, r := range t.MatchFields {
			parts = append(parts, "field "+requirementText(r))
		}
		if len(parts) > 0 {
			slices.Sort(parts)
			terms = append(terms, strings.Join(slices.Compact(parts), " and "))
		}
	}
	if len(terms) == 0 {
		return nowhere
	}
	slices.Sort(terms)
	return strings.Join(slices.Compact(terms), " or ")
}

// requirementText writes a requirement as key=value, key Operator, or
// key Operator (value,value). A repeated value stays: upstream counts the
// values of some operators.
func requirementText(r v1.NodeSelectorRequirement) string {
	values := make([]string, len(r.Values))
	for i, value := range r.Values {
		values[i] = word(value)
	}
	slices.Sort(values)
	list := strings.Join(values, ",")
	switch {
	case r.Operator == v1.NodeSelectorOpIn && len(r.Values) == 1:
		return word(r.Key) + "=" + list
	case len(r.Values) == 0:
		return word(r.Key) + " " + operator(r.Operator)
	}
	return word(r.Key) + " " + operator(r.Operator) + " (" + list + ")"
}

// operator quotes what is none, so that it is not read as an "and" or "or".
func operator(o v1.NodeSelectorOperator) string {
	switch o {
	case v1.NodeSelectorOpIn, v1.NodeSelectorOpNotIn, v1.NodeSelectorOpExists,
		v1.NodeSelectorOpDoesNotExist, v1.NodeSelectorOpGt, v1.NodeSelectorOpLt:
		return string(o)
	}
	return strconv.Quote(string(o))
}

// word quotes what could be taken for something else. No label needs it.
func word(s string) string {
	plain := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-_./", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return strconv.Quote(s)
}
