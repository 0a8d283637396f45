// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"errors"
	"fmt"
	"net/http"
	"slices"

	v1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/kubernetes/pkg/scheduler/apis/config"
	"k8s.io/kubernetes/pkg/scheduler/apis/config/latest"
	"k8s.io/kubernetes/pkg/scheduler/apis/config/scheme"
	"k8s.io/kubernetes/pkg/scheduler/apis/config/validation"
)

// fallbackProfile serves the pods that no configured profile is for.
const fallbackProfile = v1.DefaultSchedulerName

// ParseConfiguration reads a KubeSchedulerConfiguration as the scheduler does:
// strictly, with its defaults, and checked.
func ParseConfiguration(data []byte) (*config.KubeSchedulerConfiguration, error) {
	object, gvk, err := scheme.Codecs.UniversalDecoder().Decode(data, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("scheduler configuration: %w", err)
	}
	configuration, ok := object.(*config.KubeSchedulerConfiguration)
	if !ok {
		return nil, fmt.Errorf("scheduler configuration: %s is not a KubeSchedulerConfiguration", gvk)
	}
	// Conversion to the internal type clears it.
	configuration.APIVersion = gvk.GroupVersion().String()
	if err := validation.ValidateKubeSchedulerConfiguration(configuration); err != nil {
		return nil, fmt.Errorf("scheduler configuration: %w", err)
	}
	return configuration, nil
}

// withFallback adds the in-tree default profile to those that lack it.
func withFallback(profiles []config.KubeSchedulerProfile) ([]config.KubeSchedulerProfile, error) {
	if slices.ContainsFunc(profiles, func(p config.KubeSchedulerProfile) bool { return p.SchedulerName == fallbackProfile }) {
		return profiles, nil
	}
	defaults, err := latest.Default()
	if err != nil {
		return nil, fmt.Errorf("default profile: %w", err)
	}
	return append(slices.Clone(profiles), defaults.Profiles[0]), nil
}

var errNoServer = errors.New("the simulation has no API server to ask")

// readOnly returns a client that reads like the given configuration and
// refuses to write, and its configuration.
func readOnly(from *rest.Config) (kubernetes.Interface, *rest.Config, error) {
	if from == nil {
		from = &rest.Config{Transport: transport(func(*http.Request) (*http.Response, error) { return nil, errNoServer })}
	}
	restConfig := rest.CopyConfig(from)
	restConfig.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return transport(func(request *http.Request) (*http.Response, error) {
			if request.Method != http.MethodGet {
				return nil, fmt.Errorf("the simulation does not write: %s %s", request.Method, request.URL.Path)
			}
			return next.RoundTrip(request)
		})
	})
	client, err := kubernetes.NewForConfig(restConfig)
	if err != nil {
		return nil, nil, fmt.Errorf("client of the simulation: %w", err)
	}
	return client, restConfig, nil
}

type transport func(*http.Request) (*http.Response, error)

func (t transport) RoundTrip(request *http.Request) (*http.Response, error) { return t(request) }
