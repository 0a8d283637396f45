// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package quorumguard

import (
	"fmt"

	"github.com/berth-dev/berth/plugins/args"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	configv1 "k8s.io/kube-scheduler/config/v1"
	"k8s.io/kubernetes/pkg/scheduler/apis/config"
	"k8s.io/kubernetes/pkg/scheduler/apis/config/scheme"
	"k8s.io/kubernetes/pkg/scheduler/apis/config/validation"
)

// decode reads DefaultPreemptionArgs of kubescheduler.config.k8s.io/v1: the
// fields, defaults and validation are upstream's, so that the args of a
// profile can be moved from one plugin to the other as they are.
func decode(obj runtime.Object) (*config.DefaultPreemptionArgs, error) {
	var given configv1.DefaultPreemptionArgs
	if err := args.DecodeStrict(obj, &given); err != nil {
		return nil, err
	}
	scheme.Scheme.Default(&given)
	a := &config.DefaultPreemptionArgs{}
	if err := scheme.Scheme.Convert(&given, a, nil); err != nil {
		return nil, fmt.Errorf("plugin args: %w", err)
	}
	if err := validation.ValidateDefaultPreemptionArgs(field.NewPath("args"), a); err != nil {
		return nil, err
	}
	return a, nil
}
