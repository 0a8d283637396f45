// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
)

// TestPlanWhateverComesFirst: a slot that lands where it was planned changes
// the plan of no other one, so it does not matter which of them comes first.
func TestPlanWhateverComesFirst(t *testing.T) {
	t.Parallel()
	pg := operators()[1]
	testenv.Test(t, features.New("the highest ordinal first").
		Assess("each lands where the plan had it", step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, pg.policy())
			s.awaitPolicy(ctx, t, pg.Name, v1alpha1.Accepted, metav1.ConditionTrue)
			for ordinal := range 5 {
				s.create(ctx, t, pg.makeClaim(ordinal))
			}
			zones := strings.Fields(s.plan(ctx, t, "pp/"+pg.Name).domains())
			if want := strings.Fields(first(5)); !slices.Equal(zones, want) {
				t.Fatalf("planned are %v, want %v", zones, want)
			}
			there := map[int]string{}
			for ordinal, zone := range slices.Backward(zones) {
				there[ordinal] = zone
				s.create(ctx, t, pg.makePod(ordinal))
				s.awaitMembers(ctx, t, pg, there)
			}
		})).
		Feature())
}
