// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

func (r *Rule) validate(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	ordinals := path.Child("ordinals")
	if len(r.Ordinals) > maxOrdinals {
		errs = append(errs, field.TooLong(ordinals, r.Ordinals, maxOrdinals))
	} else if msg := validateOrdinals(r.Ordinals); msg != "" {
		errs = append(errs, field.Invalid(ordinals, r.Ordinals, msg))
	}
	terms := path.Child("nodeSelectorTerms")
	if len(r.NodeSelectorTerms) == 0 {
		errs = append(errs, field.Required(terms, "at least one term is needed; without one the rule selects no node"))
	}
	errs = append(errs, atMost(terms, len(r.NodeSelectorTerms), maxTerms)...)
	for i := range r.NodeSelectorTerms {
		errs = append(errs, r.NodeSelectorTerms[i].validate(terms.Index(i))...)
	}
	return errs
}

// validateOrdinals returns what is wrong with numbers and ranges, or nothing.
func validateOrdinals(text string) string {
	for part := range strings.SplitSeq(text, ",") {
		first, last, isRange := strings.Cut(part, "-")
		from, ok := parseOrdinal(first)
		to := from
		if ok && isRange && last != "" {
			to, ok = parseOrdinal(last)
		}
		switch {
		case !ok:
			return "must be numbers and ranges like 0, 0-2,5 or 3-"
		case to < from:
			return "a range has its lower number first, like 0-2"
		}
	}
	return ""
}

// parseOrdinal reads a number without sign and leading zeros, of at most nine
// digits so that it fits everywhere.
func parseOrdinal(text string) (int, bool) {
	if text == "" || len(text) > 9 || text[0] == '0' && len(text) > 1 || strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(text)
	return n, err == nil
}
