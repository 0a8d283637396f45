// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Each candidate is asked about every reach: with a thousand slots in a zone there is still one.
func TestReachesOfVolumes(t *testing.T) {
	volumes := []Volume{zoneVolume("prod/db-1", "a"), zoneVolume("prod/db-2", "b"), zoneVolume("prod/db-0", "a"), {Slot: "prod/db-3"}}
	p := newPlanner(Input{Volumes: volumes}, nil)
	for range 2 {
		var got []string
		for _, r := range p.reachesOfVolumes() {
			got = append(got, r.slot)
		}
		if diff := cmp.Diff([]string{"prod/db-0", "prod/db-2"}, got); diff != "" {
			t.Errorf("slots of the reaches (-want +got):\n%s", diff)
		}
	}
}
