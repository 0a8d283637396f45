// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package statefulset

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Arrangement is how ordinals follow each other over the domains.
type Arrangement string

// Enforcement is what happens when the planned domain has no room.
type Enforcement string

const (
	// Interleaved puts ordinals into domains in turn: 0→a 1→b 2→c 3→a. Any
	// prefix of the ordinals is balanced, so scaling down empties no domain.
	Interleaved Arrangement = "Interleaved"
	// Required lets a slot wait for its planned domain.
	Required Enforcement = "Required"
)

// Policy says how the slots of a set are placed. The zero Policy asks for
// nothing.
type Policy struct {
	// Spread distributes the ordinals over domains.
	Spread *Spread `json:"spread,omitempty"`
}

// Spread distributes the ordinals of a set over the values of a node label.
type Spread struct {
	// TopologyKey is the node label whose values are the domains. Defaults to
	// topology.kubernetes.io/zone.
	TopologyKey string `json:"topologyKey,omitempty"`
	// Domains limits the spread to these values. Without it the domains are
	// those of the existing nodes the pod may use.
	Domains []string `json:"domains,omitempty"`
	// Arrangement defaults to Interleaved.
	Arrangement Arrangement `json:"arrangement,omitempty"`
	// Enforcement defaults to Required.
	Enforcement Enforcement `json:"enforcement,omitempty"`
}

// Default fills in what was left out.
func (p *Policy) Default() {
	if p.Spread != nil {
		p.Spread.Default()
	}
}

// Validate returns what is wrong with a policy that has its defaults.
func (p *Policy) Validate(path *field.Path) field.ErrorList {
	if p.Spread == nil {
		return nil
	}
	return p.Spread.Validate(path.Child("spread"))
}

// Default fills in what was left out.
func (s *Spread) Default() {
	if s.TopologyKey == "" {
		s.TopologyKey = corev1.LabelTopologyZone
	}
	if s.Arrangement == "" {
		s.Arrangement = Interleaved
	}
	if s.Enforcement == "" {
		s.Enforcement = Required
	}
}

// Validate returns what is wrong with a spread that has its defaults.
func (s *Spread) Validate(path *field.Path) field.ErrorList {
	errs := metav1validation.ValidateLabelName(s.TopologyKey, path.Child("topologyKey"))
	seen := sets.New[string]()
	for i, domain := range s.Domains {
		at := path.Child("domains").Index(i)
		if domain == "" {
			errs = append(errs, field.Required(at, fmt.Sprintf("a domain is a value of node label %q", s.TopologyKey)))
		}
		for _, problem := range validation.IsValidLabelValue(domain) {
			errs = append(errs, field.Invalid(at, domain, problem))
		}
		if seen.Has(domain) {
			errs = append(errs, field.Duplicate(at, domain))
		}
		seen.Insert(domain)
	}
	if s.Arrangement != Interleaved {
		errs = append(errs, field.NotSupported(path.Child("arrangement"), s.Arrangement, []Arrangement{Interleaved}))
	}
	if s.Enforcement != Required {
		errs = append(errs, field.NotSupported(path.Child("enforcement"), s.Enforcement, []Enforcement{Required}))
	}
	return errs
}
