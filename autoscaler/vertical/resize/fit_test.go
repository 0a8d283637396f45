// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package resize_test

import (
	"fmt"
	"math/rand"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	"k8s.io/utils/ptr"

	"github.com/berth-dev/berth/autoscaler/vertical/resize"
)

// anyRanges are LimitRanges for containers and pods that may contradict each other.
func anyRanges(r *rand.Rand) []*v1.LimitRange {
	var out []*v1.LimitRange
	for range r.Intn(3) {
		item := v1.LimitRangeItem{Type: []v1.LimitType{v1.LimitTypeContainer, v1.LimitTypePod}[r.Intn(2)]}
		if r.Intn(2) == 0 {
			item.Min = scale(anyList(r, true), 20)
		}
		if r.Intn(2) == 0 {
			item.Max = scale(anyList(r, true), 300)
		}
		if r.Intn(3) == 0 {
			item.MaxLimitRequestRatio = list("2500m", "3")
		}
		out = append(out, rangeOf(item)...)
	}
	return out
}

// anyPolicy is for all containers.
func anyPolicy(r *rand.Rand) *vpav1.PodResourcePolicy {
	policy := vpav1.ContainerResourcePolicy{ContainerName: "*"}
	if r.Intn(2) == 0 {
		policy.ControlledValues = ptr.To(vpav1.ContainerControlledValuesRequestsOnly)
	}
	if r.Intn(3) == 0 {
		policy.MinAllowed, policy.MaxAllowed = anyList(r, true), anyList(r, true)
	}
	return &vpav1.PodResourcePolicy{ContainerPolicies: []vpav1.ContainerResourcePolicy{policy}}
}

// A pod that has got its size wants no other one, whatever bounds it: or it would be
// changed for ever. And what was given in is not changed.
func TestASizeIsFinal(t *testing.T) {
	r := rand.New(rand.NewSource(4))
	patched, again := 0, 0
	for i := range 1500 {
		p := anyPod(r)
		target := anyTarget(r, []vpav1.UpdateMode{inPlace, recreate}[r.Intn(2)], p)
		for j := range target.Pods[0].Containers {
			rec := &target.Pods[0].Containers[j]
			if r.Intn(2) == 0 {
				rec.Lower, rec.Upper = rec.Target.DeepCopy(), rec.Target.DeepCopy()
			}
		}
		target.LimitRanges = anyRanges(r)
		target.Resources = anyPolicy(r)

		before := fmt.Sprintf("%+v %+v", target.Pods[0].Containers, p)
		got := answered(t, resize.Input{Targets: []resize.Target{target}}, yes).Pods[0]
		if diff := cmp.Diff(before, fmt.Sprintf("%+v %+v", target.Pods[0].Containers, p)); diff != "" {
			t.Fatalf("%d: the input was changed:\n%s", i, diff)
		}
		if got.Class == resize.Impossible || got.Class == resize.None {
			continue
		}
		patched++
		write(p, got.To)
		acknowledge(p)
		p.Status.ContainerStatuses[0].LastTerminationState = v1.ContainerState{}
		p.Status.QOSClass = ""
		next := answered(t, resize.Input{Targets: []resize.Target{target}}, yes).Pods[0]
		if next.Class != resize.None {
			again++
			t.Errorf("%d: changes again: %s, after %s", i, next.Reason, got.Reason)
		}
		if again > 5 {
			t.Fatal("and so on")
		}
	}
	if patched < 250 {
		t.Errorf("only %d were changed: the test shows little", patched)
	}
}

func BenchmarkDecide(b *testing.B) {
	in := resize.Input{Now: noon, Config: resize.DefaultConfig()}
	for i := range 1000 {
		all := pods(5, list("1", "1Gi"), list("2", "2Gi"))
		for _, p := range all {
			asked(p, list("1", "1Gi"), 0)
			p.Spec.Containers[0].Resources.Limits = list("2", "2Gi")
			acknowledge(p)
		}
		t := set(orRecreate, advice("1", "1Gi"), all...)
		t.Name = fmt.Sprintf("db-%d", i)
		in.Targets = append(in.Targets, t)
	}
	b.ReportAllocs()
	for b.Loop() {
		if out := resize.Decide(in); len(out.Actions) > 0 {
			b.Fatalf("%+v", out.Actions[0])
		}
	}
}
