// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"fmt"
	"testing"

	"github.com/berth-dev/berth/autoscaler/config"
	"github.com/berth-dev/berth/autoscaler/nodes"
)

// Each expander of the engine can be configured, by its name.
func TestExpandersAreConfigurable(t *testing.T) {
	for _, expander := range nodes.Expanders() {
		c, err := config.Parse(fmt.Appendf(nil, `
apiVersion: config.berth.dev/v1alpha1
kind: AutoscalerConfiguration
nodes: {provider: externalgrpc, schedulerConfigFile: s, externalGRPC: {address: "cloud:1", insecure: true}, groups: [{name: a}], expanders: [%s]}`, expander))
		if err != nil {
			t.Error(err)
			continue
		}
		if got := (&Conductor{config: c}).nodeInput().Config.Expanders; len(got) != 1 || got[0] != expander {
			t.Errorf("got %v, want %s", got, expander)
		}
	}
}
