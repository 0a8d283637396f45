// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"net"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Validate returns every fault of a defaulted configuration, each with its
// field, its value and what is allowed.
func (c *Autoscaler) Validate() field.ErrorList {
	var errs field.ErrorList
	if c.APIVersion != APIVersion {
		errs = append(errs, field.NotSupported(field.NewPath("apiVersion"), c.APIVersion, []string{APIVersion}))
	}
	if c.Kind != Kind {
		errs = append(errs, field.NotSupported(field.NewPath("kind"), c.Kind, []string{Kind}))
	}
	if _, _, err := net.SplitHostPort(c.BindAddress); err != nil {
		errs = append(errs, field.Invalid(field.NewPath("bindAddress"), c.BindAddress, "must be host:port"))
	}
	errs = append(errs, atLeast(field.NewPath("syncPeriod"), &c.SyncPeriod, time.Second)...)
	errs = append(errs, atLeast(field.NewPath("metricsTimeout"), &c.MetricsTimeout, 100*time.Millisecond)...)
	if c.MetricsTimeout.Duration > c.SyncPeriod.Duration {
		errs = append(errs, field.Invalid(field.NewPath("metricsTimeout"), c.MetricsTimeout.Duration.String(), fmt.Sprintf("must not be longer than syncPeriod (%s): with its period the time of a metrics API is over", c.SyncPeriod.Duration)))
	}
	errs = append(errs, c.Horizontal.validate(field.NewPath("horizontal"))...)
	errs = append(errs, c.Vertical.validate(field.NewPath("vertical"))...)
	return append(errs, c.Nodes.validate(field.NewPath("nodes"))...)
}

func (h *Horizontal) validate(path *field.Path) field.ErrorList {
	errs := validMode(path.Child("mode"), h.Mode)
	if *h.Tolerance < 0 {
		errs = append(errs, field.Invalid(path.Child("tolerance"), *h.Tolerance, "must not be negative"))
	}
	if h.Canary != RequireCanary && h.Canary != NoCanary {
		errs = append(errs, field.NotSupported(path.Child("canary"), h.Canary, []Canary{RequireCanary, NoCanary}))
	}
	errs = append(errs, atLeast(path.Child("canaryPatience"), h.CanaryPatience, time.Second)...)
	errs = append(errs, atLeast(path.Child("downscaleStabilization"), h.DownscaleStabilization, 0)...)
	errs = append(errs, atLeast(path.Child("cpuInitializationPeriod"), h.CPUInitializationPeriod, 0)...)
	return append(errs, atLeast(path.Child("initialReadinessDelay"), h.InitialReadinessDelay, 0)...)
}

func (v *Vertical) validate(path *field.Path) field.ErrorList {
	errs := validMode(path.Child("mode"), v.Mode)
	for _, msg := range validation.IsDNS1123Subdomain(v.RecommenderName) {
		errs = append(errs, field.Invalid(path.Child("recommenderName"), v.RecommenderName, msg))
	}
	errs = append(errs, atLeast(path.Child("recommendPeriod"), v.RecommendPeriod, time.Second)...)
	errs = append(errs, atLeast(path.Child("minPodAge"), v.MinPodAge, 0)...)
	errs = append(errs, atLeast(path.Child("deferredTimeout"), v.DeferredTimeout, time.Second)...)
	errs = append(errs, atLeast(path.Child("resizeTimeout"), v.ResizeTimeout, time.Second)...)
	errs = append(errs, atLeast(path.Child("resizeBackoff"), v.ResizeBackoff, time.Second)...)
	for name, selector := range map[string]*metav1.LabelSelector{"staticCPUNodes": v.StaticCPUNodes, "staticMemoryNodes": v.StaticMemoryNodes} {
		if selector != nil {
			errs = append(errs, metav1validation.ValidateLabelSelector(selector, metav1validation.LabelSelectorValidationOptions{}, path.Child(name))...)
		}
	}
	return errs
}

func validMode(path *field.Path, mode Mode) field.ErrorList {
	if mode == Act || mode == Observe {
		return nil
	}
	return field.ErrorList{field.NotSupported(path, mode, []Mode{Act, Observe})}
}

func atLeast(path *field.Path, value *metav1.Duration, least time.Duration) field.ErrorList {
	if value.Duration >= least {
		return nil
	}
	return field.ErrorList{field.Invalid(path, value.Duration.String(), "must be at least "+least.String())}
}
