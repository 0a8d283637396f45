// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

func (n *Nodes) validateRemovals(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if share := *n.UtilizationThreshold; !(share >= 0 && share <= 1) {
		errs = append(errs, field.Invalid(path.Child("utilizationThreshold"), share, "must be between 0 and 1"))
	}
	errs = append(errs, atLeast(path.Child("unreadyTime"), n.UnreadyTime, 0)...)
	errs = append(errs, atLeast(path.Child("maxPodEvictionTime"), n.MaxPodEvictionTime, time.Second)...)
	errs = append(errs, atLeast(path.Child("maxGracefulTermination"), n.MaxGracefulTermination, 0)...)
	for name, most := range map[string]int32{"maxEmptyRemovals": *n.MaxEmptyRemovals, "maxDrains": *n.MaxDrains} {
		if most < 0 {
			errs = append(errs, field.Invalid(path.Child(name), most, "must not be negative"))
		}
	}
	return errs
}
