// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"

	"github.com/berth-dev/berth/autoscaler/config"
)

// tuning is the autoscaler's configuration.
type tuning struct {
	*config.Autoscaler
	// origin says where the configuration was found; unread, instead, why it
	// was not, and that its defaults are taken.
	origin, unread string
}

// readTuning reads the autoscaler's configuration from the file that was
// named, else from the ConfigMap that the autoscaler runs with.
func (c *cluster) readTuning(ctx context.Context) (tuning, error) {
	if c.autoscalerConfigFile != "" {
		data, err := os.ReadFile(c.autoscalerConfigFile)
		if err != nil {
			return tuning{}, fmt.Errorf("--autoscaler-config: %w", err)
		}
		found, err := config.Parse(data)
		if err != nil {
			return tuning{}, fmt.Errorf("--autoscaler-config %s: %w", c.autoscalerConfigFile, err)
		}
		return tuning{Autoscaler: found, origin: "file " + c.autoscalerConfigFile}, nil
	}
	found, err := c.tuned(ctx)
	if err == nil || ctx.Err() != nil {
		return found, err
	}
	assumed := &config.Autoscaler{}
	assumed.Default()
	return tuning{Autoscaler: assumed, unread: err.Error()}, nil
}

// tuned looks for the configuration in the ConfigMaps of the autoscaler.
func (c *cluster) tuned(ctx context.Context) (tuning, error) {
	mounted, err := c.mountOf(ctx, c.autoscalerNamespace, config.Name, config.Kind)
	if err != nil {
		return tuning{}, err
	}
	var found []tuning
	for _, document := range mounted.documents {
		one, err := config.Parse(document.data)
		if err != nil {
			return tuning{}, fmt.Errorf("%s: %w", document.origin, err)
		}
		found = append(found, tuning{Autoscaler: one, origin: document.origin})
	}
	return pick(mounted, found, "an "+config.Kind)
}

// notes says what is taken where the configuration was not found.
func (t tuning) notes(instead string) (notes []string) {
	if t.unread != "" {
		notes = append(notes, fmt.Sprintf("the autoscaler's configuration is not known (%s): %s are taken; name the file by --autoscaler-config", t.unread, instead))
	}
	return notes
}
