// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"

	"sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// Parse reads a configuration from YAML or JSON, fills the defaults and
// validates. The error names every field that is wrong.
func Parse(data []byte) (*Autoscaler, error) {
	asJSON, err := yaml.YAMLToJSONStrict(data)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", Kind, err)
	}
	c := &Autoscaler{}
	// This decoder, and not the one of the yaml package, names an unknown field with its whole path.
	strict, err := json.UnmarshalStrict(asJSON, c)
	if err != nil {
		if wrong := misread(asJSON); len(wrong) > 0 {
			err = wrong.ToAggregate()
		}
	}
	if err := errors.Join(append(strict, err)...); err != nil {
		return nil, fmt.Errorf("reading %s: %w", Kind, err)
	}
	c.Default()
	if errs := c.Validate(); len(errs) > 0 {
		return nil, fmt.Errorf("invalid %s: %w", Kind, errs.ToAggregate())
	}
	return c, nil
}
