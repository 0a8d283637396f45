// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package resize_test

import (
	"errors"
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	corev1 "k8s.io/kubernetes/pkg/apis/core/v1"
	"k8s.io/kubernetes/plugin/pkg/admission/limitranger"
	"k8s.io/utils/ptr"

	"github.com/berth-dev/berth/autoscaler/vertical/resize"
	"github.com/berth-dev/berth/autoscaler/vertical/sizes"
)

func TestCreated(t *testing.T) {
	fixed := &vpav1.PodResourcePolicy{ContainerPolicies: []vpav1.ContainerResourcePolicy{{ContainerName: "*", ControlledValues: ptr.To(vpav1.ContainerControlledValuesRequestsOnly)}}}
	least := &vpav1.PodResourcePolicy{ContainerPolicies: []vpav1.ContainerResourcePolicy{{ContainerName: "*", MinAllowed: list("", "20Gi")}}}
	of := func(requests, limits v1.ResourceList) v1.ResourceRequirements {
		return v1.ResourceRequirements{Requests: requests, Limits: limits}
	}
	for name, tc := range map[string]struct {
		template v1.ResourceRequirements
		recs     []resize.Recommendation
		policy   *vpav1.PodResourcePolicy
		item     v1.LimitRangeItem
		want     string
	}{
		"limits keep the template's ratio":   {of(list("1", "1Gi"), list("2", "4Gi")), advice("500m", "2Gi"), nil, v1.LimitRangeItem{}, "500m/1 2Gi/8Gi"},
		"no limit is added":                  {of(list("1", "1Gi"), nil), advice("500m", "2Gi"), nil, v1.LimitRangeItem{}, "500m/- 2Gi/-"},
		"a limit stands for the request":     {of(nil, list("1", "1Gi")), advice("500m", "2Gi"), nil, v1.LimitRangeItem{}, "500m/500m 2Gi/2Gi"},
		"what is not recommended is left":    {of(list("1", "1Gi"), list("2", "4Gi")), advice("", "2Gi"), nil, v1.LimitRangeItem{}, "-/- 2Gi/8Gi"},
		"defaults of the namespace":          {of(nil, nil), advice("", "512Mi"), nil, v1.LimitRangeItem{Default: list("", "1Gi"), DefaultRequest: list("", "256Mi")}, "-/- 512Mi/2Gi"},
		"a default limit over a request":     {of(list("", "256Mi"), nil), advice("", "512Mi"), nil, v1.LimitRangeItem{Default: list("", "1Gi")}, "-/- 512Mi/2Gi"},
		"a default request under a limit":    {of(nil, list("", "1Gi")), advice("", "512Mi"), nil, v1.LimitRangeItem{DefaultRequest: list("", "256Mi")}, "-/- 512Mi/512Mi"},
		"a default limit alone":              {of(nil, nil), advice("", "512Mi"), nil, v1.LimitRangeItem{Default: list("", "1Gi")}, "-/- 512Mi/512Mi"},
		"requests only":                      {of(list("", "1Gi"), list("", "8Gi")), advice("", "4Gi"), fixed, v1.LimitRangeItem{Max: list("", "16Gi")}, "-/- 4Gi/-"},
		"requests only, up to the limit":     {of(list("", "1Gi"), list("", "2Gi")), advice("", "4Gi"), fixed, v1.LimitRangeItem{Max: list("", "16Gi")}, "-/- 2Gi/-"},
		"requests only, up to the default":   {of(nil, nil), advice("", "4Gi"), fixed, v1.LimitRangeItem{Default: list("", "1Gi"), DefaultRequest: list("", "256Mi")}, "-/- 1Gi/-"},
		"the maximum is of the limit":        {of(list("", "1Gi"), list("", "2Gi")), advice("", "4Gi"), nil, v1.LimitRangeItem{Max: list("", "4Gi")}, "-/- 2Gi/4Gi"},
		"the policy beyond what is accepted": {of(list("", "1Gi"), list("", "2Gi")), advice("", "4Gi"), least, v1.LimitRangeItem{Max: list("", "16Gi")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			template := v1.PodSpec{Containers: []v1.Container{{Name: "db", Resources: tc.template}, {Name: "log"}}}
			before := template.DeepCopy()
			tc.item.Type = v1.LimitTypeContainer
			got := ""
			if size, ok := resize.Created(template, tc.recs, tc.policy, stored(tc.item))["db"]; ok {
				got = short(size, v1.ResourceCPU) + " " + short(size, v1.ResourceMemory)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("size (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(*before, template); diff != "" {
				t.Errorf("the template was changed:\n%s", diff)
			}
		})
	}
}

// short is 1/2: a request and a limit.
func short(size v1.ResourceRequirements, name v1.ResourceName) string {
	word := func(list v1.ResourceList) string {
		if q, ok := list[name]; ok {
			return q.String()
		}
		return "-"
	}
	return word(size.Requests) + "/" + word(size.Limits)
}

// stored is a LimitRange as the API server keeps it.
func stored(item v1.LimitRangeItem) []*v1.LimitRange {
	out := rangeOf(item)
	for _, r := range out {
		corev1.SetObjectDefaults_LimitRange(r)
	}
	return out
}

// made is what becomes of a template before its pod is sized.
func made(t *testing.T, template *v1.Pod, ranges []*v1.LimitRange) *v1.Pod {
	t.Helper()
	pod := internal(t, template)
	for _, r := range ranges {
		if err := limitranger.PodMutateLimitFunc(r, pod); err != nil {
			t.Fatal(err)
		}
	}
	out := template.DeepCopy()
	for i, c := range pod.Spec.Containers {
		into := &out.Spec.Containers[i].Resources
		if err := corev1.Convert_core_ResourceRequirements_To_v1_ResourceRequirements(&c.Resources, into, nil); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// denial is what LimitRanges say to a pod in the end.
func denial(t *testing.T, pod *v1.Pod, ranges []*v1.LimitRange) error {
	t.Helper()
	var err error
	for _, r := range ranges {
		err = errors.Join(err, limitranger.PodValidateLimitFunc(r, internal(t, pod)))
	}
	return err
}

// sized is the pod with what the annotation says, as manifests/policies/pod-sizes.yaml follows it.
func sized(pod *v1.Pod, created resize.Sizes) *v1.Pod {
	var written sizes.Table
	for name, size := range created {
		written.Sizes = append(written.Sizes, sizes.Size{Slot: sizes.AnySlot, Container: name, Requests: size.Requests, Limits: size.Limits})
	}
	written.VPA = "vpa"
	table, _ := sizes.Parse(written.String())
	pod = pod.DeepCopy()
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		size, _ := table.Of("0", c.Name)
		for name, request := range size.Requests {
			limit, limited := c.Resources.Limits[name]
			if to, ok := size.Limits[name]; ok && limited {
				limit = to
			}
			if limited && request.Cmp(limit) > 0 {
				continue
			}
			if limited {
				c.Resources.Limits[name] = limit
			}
			if c.Resources.Requests == nil {
				c.Resources.Requests = v1.ResourceList{}
			}
			c.Resources.Requests[name] = request
		}
	}
	return pod
}

// contradicts tells of a request above its limit, which the API server refuses.
func contradicts(pod *v1.Pod) bool {
	for _, c := range pod.Spec.Containers {
		for name, limit := range c.Resources.Limits {
			if q := c.Resources.Requests[name]; q.Cmp(limit) > 0 {
				return true
			}
		}
	}
	return false
}

// coarse tells of a cpu limit so small that its ratio to the request is not known to one percent.
func coarse(pod *v1.Pod) bool {
	return slices.ContainsFunc(pod.Spec.Containers, func(c v1.Container) bool {
		limit, limited := c.Resources.Limits[v1.ResourceCPU]
		return limited && limit.MilliValue() < 200
	})
}

// anyDefaults are LimitRanges that also say what containers have that say nothing.
func anyDefaults(r *rand.Rand) []*v1.LimitRange {
	out := anyRanges(r)
	for i, one := range out {
		one.Name = fmt.Sprint(i)
		item := &one.Spec.Limits[0]
		if item.Type == v1.LimitTypeContainer && r.Intn(2) == 0 {
			item.Default = scale(anyList(r, true), 150)
			if r.Intn(2) == 0 {
				item.DefaultRequest = scale(item.Default, 20+r.Intn(80))
			}
		}
		corev1.SetObjectDefaults_LimitRange(one)
	}
	return out
}

// whole are the sizes of all containers, as a dry run tells them.
func whole(pod *v1.Pod) resize.Sizes {
	out := resize.Sizes{}
	for _, c := range pod.Spec.Containers {
		out[c.Name] = *c.Resources.DeepCopy()
	}
	return out
}

// A pod that is created from a template gets the size that is asked of one that runs, or it would never be re-created; and no
// LimitRange refuses it.
func TestSuccessorsHaveTheSizeThatIsAskedOfThem(t *testing.T) {
	r := rand.New(rand.NewSource(41))
	evicted, impossible, fitted := 0, 0, 0
	for i := range 4000 {
		template := anyPod(r)
		for j := range template.Spec.Containers {
			if r.Intn(3) == 0 {
				template.Spec.Containers[j].Resources = v1.ResourceRequirements{}
			}
		}
		ranges := anyDefaults(r)
		fresh := made(t, template, ranges)
		if contradicts(fresh) {
			continue
		}
		pod := fresh
		target := anyTarget(r, recreate, pod)
		target.LimitRanges = ranges
		target.Resources = anyPolicy(r)
		if r.Intn(2) == 0 {
			// It has been sized before.
			before := slices.Clone(target.Pods[0].Containers)
			for j := range before {
				before[j].Target = scale(before[j].Target, 50+r.Intn(300))
			}
			if once := sized(fresh, resize.Created(template.Spec, before, target.Resources, ranges)); !coarse(once) {
				pod, target.Pods[0].Object = once, once
			}
		}
		acknowledge(pod)
		target.Update.MinReplicas = ptr.To[int32](1)

		created := resize.Created(template.Spec, target.Pods[0].Containers, target.Resources, ranges)
		next := sized(fresh, created)
		if before, after := denial(t, fresh, ranges), denial(t, next, ranges); after != nil && (before == nil || len(created) > 0) {
			t.Fatalf("%d: the pod is refused: %v", i, after)
		}
		if len(created) > 0 && len(ranges) > 0 {
			fitted++
		}
		got := answered(t, resize.Input{Targets: []resize.Target{target}}, func(resize.Question) resize.Answer {
			return resize.Answer{Fits: true, Node: "node-b", Created: whole(next)}
		}).Pods[0]
		switch {
		case got.Step == resize.Evicts:
			evicted++
		case got.Class == resize.Impossible && strings.Contains(got.Reason, "LimitRange"):
			impossible++
		case strings.Contains(got.Waits, "would not get this size") && !coarse(next):
			t.Fatalf("%d: %s, and is to get %v\ncreated %v\ntemplate %v\nranges %v", i, got.Waits, got.To, whole(next), whole(template), ranges)
		}
	}
	if evicted < 500 || impossible < 100 || fitted < 500 {
		t.Errorf("only %d were evicted, %d impossible, %d within LimitRanges: the test shows little", evicted, impossible, fitted)
	}
}
