// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestRefused(t *testing.T) {
	vpas := schema.GroupResource{Group: "autoscaling.k8s.io", Resource: "verticalpodautoscalers"}
	forbidden := func(why string) error { return apierrors.NewForbidden(vpas, web, errors.New(why)) }
	for name, tc := range map[string]struct {
		err     error
		message string
		wrong   string
	}{
		"refused for the HPA":   {err: forbidden(`target has HorizontalPodAutoscaler "web"`), message: `HorizontalPodAutoscaler "web"`},
		"accepted":              {wrong: "accepted"},
		"refused for a quota":   {err: forbidden("exceeded quota"), wrong: "exceeded quota"},
		"no such kind":          {err: apierrors.NewNotFound(vpas, web), wrong: "not found"},
		"the server is not up":  {err: errors.New("connection refused"), wrong: "connection refused"},
		"not a refusal of that": {err: apierrors.NewConflict(vpas, web, errors.New(`HorizontalPodAutoscaler "web"`)), wrong: "Operation cannot be fulfilled"},
	} {
		t.Run(name, func(t *testing.T) {
			message, err := refused(tc.err)
			if (err != nil) != (tc.wrong != "") || err != nil && !strings.Contains(err.Error(), tc.wrong) {
				t.Errorf("error %v, want %q", err, tc.wrong)
			}
			if !strings.Contains(message, tc.message) {
				t.Errorf("message %q does not contain %q", message, tc.message)
			}
		})
	}
}
