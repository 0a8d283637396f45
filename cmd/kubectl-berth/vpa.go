// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"

	"github.com/berth-dev/berth/autoscaler/vertical"
)

// upstreams is the name of the recommender of VPAs that name none.
const upstreams = "default"

// explainVPA says what a VPA recommends and why, and what becomes of its pods: what is
// written in it, what its checkpoints tell, and the decision about its pods once more.
func (c *cluster) explainVPA(ctx context.Context, name string) (*vpaReport, error) {
	var vpas listing[*vpav1.VerticalPodAutoscaler]
	var tuned tuning
	err := together(ctx,
		read(&vpas, "VerticalPodAutoscalers", c.vpas.VerticalPodAutoscalers(c.namespace).List),
		func(ctx context.Context) (err error) { tuned, err = c.readTuning(ctx); return err },
	)
	if apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("%s %q not found: the cluster serves no such kind; its CRD is not installed", kindVPA, name)
	}
	if err != nil {
		return nil, err
	}
	vpa := vpas[c.namespace][name]
	if vpa == nil {
		return nil, notFound(string(kindVPA), c.namespace, name, keys(vpas[c.namespace]))
	}
	r := newVPAReport(vpa, tuned)
	r.now = c.now()
	if r.Recommender != tuned.Vertical.RecommenderName {
		return r, nil
	}
	table := r.sized(vpa)
	s, err := c.readSizing(ctx, vpa, tuned.MetricsTimeout.Duration)
	if err != nil {
		return nil, err
	}
	r.resizes(s, r.learnt(s, table), tuned.Vertical)
	return r, nil
}

// newVPAReport tells what is written in the VPA.
func newVPAReport(vpa *vpav1.VerticalPodAutoscaler, tuned tuning) *vpaReport {
	r := &vpaReport{
		Namespace: vpa.Namespace, VPA: vpa.Name, UpdateMode: updateMode(vpa), Recommender: recommenderOf(vpa),
		Configuration: tuned.origin, Status: vpa.Status, BerthActs: tuned.sizes(vpa), Notes: tuned.notes("its defaults"),
	}
	if ref := vpa.Spec.TargetRef; ref != nil {
		r.Target = ref
	}
	if vpa.Status.Recommendation == nil {
		return r
	}
	for _, c := range vpa.Status.Recommendation.ContainerRecommendations {
		one := containerReport{Name: c.ContainerName}
		for _, name := range sized() {
			if _, ok := c.Target[name]; !ok {
				continue
			}
			a := amountReport{Name: name, Target: amountOf(c.Target, name), LowerBound: amountOf(c.LowerBound, name),
				UpperBound: amountOf(c.UpperBound, name), UncappedTarget: amountOf(c.UncappedTarget, name)}
			a.CappedBy = cappedBy(a, policyOf(vpa, c.ContainerName))
			one.Resources = append(one.Resources, a)
		}
		r.Containers = append(r.Containers, one)
	}
	return r
}

func recommenderOf(vpa *vpav1.VerticalPodAutoscaler) string {
	if len(vpa.Spec.Recommenders) == 0 {
		return upstreams
	}
	return vpa.Spec.Recommenders[0].Name
}

func updateMode(vpa *vpav1.VerticalPodAutoscaler) vpav1.UpdateMode {
	if p := vpa.Spec.UpdatePolicy; p != nil && p.UpdateMode != nil && *p.UpdateMode != "" {
		return *p.UpdateMode
	}
	return vpav1.UpdateModeRecreate
}

// policyOf is the policy that names a container, else the one for all, else nil.
func policyOf(vpa *vpav1.VerticalPodAutoscaler, container string) *vpav1.ContainerResourcePolicy {
	if vpa.Spec.ResourcePolicy == nil {
		return nil
	}
	all := vpa.Spec.ResourcePolicy.ContainerPolicies
	for _, name := range []string{container, vpav1.DefaultContainerResourcePolicy} {
		if i := slices.IndexFunc(all, func(p vpav1.ContainerResourcePolicy) bool { return p.ContainerName == name }); i >= 0 {
			return &all[i]
		}
	}
	return nil
}

// cappedBy is what holds a target that is not what the history asks for.
func cappedBy(a amountReport, policy *vpav1.ContainerResourcePolicy) vertical.Cap {
	if a.UncappedTarget == nil || a.Target.Cmp(*a.UncappedTarget) == 0 {
		return ""
	}
	if a.Target.Cmp(*a.UncappedTarget) > 0 {
		return vertical.MinAllowed
	}
	if policy != nil {
		if _, own := policy.MaxAllowed[a.Name]; own {
			return vertical.MaxAllowed
		}
	}
	return vertical.GlobalMaxAllowed
}
