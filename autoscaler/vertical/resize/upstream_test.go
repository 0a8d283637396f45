// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package resize_test

import (
	"errors"
	"fmt"
	"math/rand"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	"k8s.io/autoscaler/vertical-pod-autoscaler/pkg/updater/priority"
	upstream "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/utils/vpa"
	podutil "k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/apis/core"
	corev1 "k8s.io/kubernetes/pkg/apis/core/v1"
	"k8s.io/kubernetes/pkg/apis/core/v1/helper/qos"
	"k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/plugin/pkg/admission/limitranger"
	"k8s.io/utils/ptr"

	"github.com/berth-dev/berth/autoscaler/vertical/resize"
)

// ranges is a LimitRange as upstream wants it served.
type ranges struct{ container, pod *v1.LimitRangeItem }

func (r ranges) GetContainerLimitRangeItem(string) (*v1.LimitRangeItem, error) {
	return r.container, nil
}
func (r ranges) GetPodLimitRangeItem(string) (*v1.LimitRangeItem, error) { return r.pod, nil }

func milli(n int) resource.Quantity { return *resource.NewMilliQuantity(int64(n), resource.DecimalSI) }
func mebi(n int) resource.Quantity {
	return *resource.NewQuantity(int64(n)<<20, resource.BinarySI)
}

// anyList is some cpu and memory, with holes if wanted.
func anyList(r *rand.Rand, holes bool) v1.ResourceList {
	out := v1.ResourceList{v1.ResourceCPU: milli(1 + r.Intn(4000)), v1.ResourceMemory: mebi(1 + r.Intn(4000))}
	if holes {
		for _, name := range []v1.ResourceName{v1.ResourceCPU, v1.ResourceMemory} {
			if r.Intn(5) == 0 {
				delete(out, name)
			}
		}
	}
	return out
}

// scale multiplies a list by percent.
func scale(in v1.ResourceList, percent int) v1.ResourceList {
	out := v1.ResourceList{}
	for name, q := range in {
		if name == v1.ResourceCPU {
			out[name] = *resource.NewMilliQuantity(q.MilliValue()*int64(percent)/100, q.Format)
		} else {
			out[name] = *resource.NewQuantity(q.Value()*int64(percent)/100, q.Format)
		}
	}
	return out
}

// anyPod has two containers of any size, and any policy about restarts.
func anyPod(r *rand.Rand) *v1.Pod {
	p := pod("db", 0, anyList(r, true), nil)
	p.Spec.Containers = append(p.Spec.Containers, *p.Spec.Containers[0].DeepCopy())
	p.Spec.Containers[1].Name = "aide"
	guaranteed := r.Intn(4) == 0
	for i := range p.Spec.Containers {
		c := &p.Spec.Containers[i]
		c.Resources.Requests = anyList(r, !guaranteed)
		switch {
		case guaranteed:
			c.Resources.Limits = c.Resources.Requests.DeepCopy()
		case r.Intn(2) == 0:
			c.Resources.Limits = scale(c.Resources.Requests, 100+r.Intn(200))
		case r.Intn(4) == 0:
			c.Resources.Requests = nil
		}
		if r.Intn(4) == 0 {
			c.ResizePolicy = []v1.ContainerResizePolicy{{ResourceName: v1.ResourceMemory, RestartPolicy: v1.RestartContainer}}
		}
	}
	acknowledge(p)
	if r.Intn(4) == 0 {
		p.Status.StartTime = ptr.To(metav1.NewTime(noon.Add(-time.Duration(r.Intn(13)) * time.Hour)))
	}
	if r.Intn(5) == 0 {
		ended := noon.Add(-time.Duration(r.Intn(20)) * time.Minute)
		p.Status.ContainerStatuses[0].LastTerminationState.Terminated = &v1.ContainerStateTerminated{Reason: "OOMKilled",
			FinishedAt: metav1.NewTime(ended), StartedAt: metav1.NewTime(ended.Add(-time.Duration(r.Intn(20)) * time.Minute))}
	}
	p.Status.QOSClass = qos.ComputePodQOS(p)
	return p
}

// anyTarget recommends something for some containers of one pod.
func anyTarget(r *rand.Rand, mode vpav1.UpdateMode, p *v1.Pod) resize.Target {
	var recs []resize.Recommendation
	for _, c := range p.Spec.Containers {
		if r.Intn(5) == 0 {
			continue
		}
		target := anyList(r, true)
		if len(c.Resources.Requests) > 0 && r.Intn(2) == 0 {
			target = scale(c.Resources.Requests, 90+r.Intn(25))
		}
		recs = append(recs, resize.Recommendation{Container: c.Name, Target: target,
			Lower: scale(target, 50+r.Intn(51)), Upper: scale(target, 100+r.Intn(100))})
	}
	return set(mode, recs, p)
}

// vpaOf is the target as upstream sees it.
func vpaOf(t resize.Target) *vpav1.VerticalPodAutoscaler {
	vpa := &vpav1.VerticalPodAutoscaler{}
	vpa.Spec.UpdatePolicy, vpa.Spec.ResourcePolicy = t.Update, t.Resources
	vpa.Status.Recommendation = &vpav1.RecommendedPodResources{}
	for _, rec := range t.Pods[0].Containers {
		vpa.Status.Recommendation.ContainerRecommendations = append(vpa.Status.Recommendation.ContainerRecommendations,
			vpav1.RecommendedContainerResources{ContainerName: rec.Container, Target: rec.Target.DeepCopy(), LowerBound: rec.Lower.DeepCopy(), UpperBound: rec.Upper.DeepCopy()})
	}
	return vpa
}

// On any pod, upstream's updater wants a change exactly where ours does, and its
// eviction requirements let the same ones go.
func TestUpdaterAgrees(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	wanted, held := 0, 0
	for i := range 2000 {
		p := anyPod(r)
		target := anyTarget(r, recreate, p)
		for range r.Intn(3) {
			target.Update.EvictionRequirements = append(target.Update.EvictionRequirements, &vpav1.EvictionRequirement{
				Resources:         [][]v1.ResourceName{{v1.ResourceCPU}, {v1.ResourceMemory}, {v1.ResourceCPU, v1.ResourceMemory}}[r.Intn(3)],
				ChangeRequirement: []vpav1.EvictionChangeRequirement{vpav1.TargetHigherThanRequests, vpav1.TargetLowerThanRequests}[r.Intn(2)]})
		}
		vpa := vpaOf(target)
		cfg := resize.DefaultConfig()
		calc := priority.NewUpdatePriorityCalculator(vpa, priority.UpdateConfig{MinChangePriority: cfg.UpdateThreshold,
			PodLifetimeUpdateThreshold: cfg.Lifetime, EvictAfterOOMThreshold: cfg.QuickOOM}, upstream.NewCappingRecommendationProcessor(ranges{}), priority.NewProcessor())
		calc.AddPod(p, noon, nil)
		want := len(calc.GetSortedPods(priority.NewDefaultPodEvictionAdmission())) > 0
		admission := priority.NewScalingDirectionPodEvictionAdmission()
		admission.LoopInit(nil, map[*vpav1.VerticalPodAutoscaler][]*v1.Pod{vpa: {p}})
		may := len(calc.GetSortedPods(admission)) > 0

		out := answered(t, resize.Input{Targets: []resize.Target{target}}, yes)
		got := out.Pods[0]
		if (got.Class != resize.None) != want {
			t.Fatalf("%d: upstream wants a change: %t, ours is %s: %s", i, want, got.Class, got.Reason)
		}
		if !want || got.Class == resize.Impossible {
			continue
		}
		wanted++
		if kept := strings.Contains(got.Waits, "evictionRequirements"); kept == may {
			t.Fatalf("%d: upstream evicts: %t, ours waits for %q", i, may, got.Waits)
		} else if kept {
			held++
		}
	}
	if wanted < 500 || held < 100 {
		t.Errorf("only %d changes were wanted and %d held: the test shows little", wanted, held)
	}
}

// With any policy and LimitRange for containers, requests and limits are upstream's.
func TestCappingAgrees(t *testing.T) {
	r := rand.New(rand.NewSource(2))
	capped := 0
	for i := range 2000 {
		p := anyPod(r)
		target := anyTarget(r, inPlace, p)
		for j := range target.Pods[0].Containers {
			rec := &target.Pods[0].Containers[j]
			rec.Lower, rec.Upper = rec.Target, rec.Target
		}
		policy := vpav1.ContainerResourcePolicy{ContainerName: "*"}
		served := ranges{}
		switch r.Intn(3) {
		case 0:
			policy.ControlledValues = ptr.To(vpav1.ContainerControlledValuesRequestsOnly)
		case 1:
			served.container = &v1.LimitRangeItem{Type: v1.LimitTypeContainer, Min: anyList(r, true), Max: scale(anyList(r, true), 200)}
			target.LimitRanges = []*v1.LimitRange{{Spec: v1.LimitRangeSpec{Limits: []v1.LimitRangeItem{*served.container.DeepCopy()}}}}
		}
		if r.Intn(2) == 0 {
			policy.MinAllowed, policy.MaxAllowed = anyList(r, true), anyList(r, true)
		}
		target.Resources = &vpav1.PodResourcePolicy{ContainerPolicies: []vpav1.ContainerResourcePolicy{policy}}
		want, _, err := upstream.NewCappingRecommendationProcessor(served).Apply(vpaOf(target), p)
		if err != nil {
			t.Fatal(err)
		}
		got := answered(t, resize.Input{Targets: []resize.Target{target}}, yes).Pods[0]
		for _, rec := range want.ContainerRecommendations {
			if err := agree(p, rec, got, policy.ControlledValues != nil); err != nil {
				t.Fatalf("%d: %v", i, err)
			}
			for _, asked := range target.Pods[0].Containers {
				if asked.Container == rec.ContainerName && !equal(asked.Target, rec.Target) {
					capped++
				}
			}
		}
	}
	if capped < 500 {
		t.Errorf("only %d were capped: the test shows little", capped)
	}
}

// agree compares what one container would get.
func agree(p *v1.Pod, want vpav1.RecommendedContainerResources, got resize.Explanation, fixed bool) error {
	for _, c := range p.Spec.Containers {
		if c.Name != want.ContainerName {
			continue
		}
		size, changes := got.To[c.Name]
		if !changes {
			size = c.Resources
		}
		limits, _ := upstream.GetProportionalLimit(c.Resources.Limits, c.Resources.Requests, want.Target, nil)
		for name, q := range want.Target {
			if mine := size.Requests[name]; mine.Cmp(q) != 0 {
				return fmt.Errorf("%s of %s: request %s, upstream's is %s", name, c.Name, mine.String(), q.String())
			}
			if limit, ok := limits[name]; ok && !fixed {
				if mine := size.Limits[name]; mine.Cmp(limit) != 0 {
					return fmt.Errorf("%s of %s: limit %s, upstream's is %s", name, c.Name, mine.String(), limit.String())
				}
			}
		}
	}
	return nil
}

// What a LimitRange makes Impossible is what the LimitRanger plugin refuses, and nothing else.
func TestLimitRangerAgrees(t *testing.T) {
	r := rand.New(rand.NewSource(5))
	refused, passed := 0, 0
	for i := range 3000 {
		p := anyPod(r)
		target := anyTarget(r, recreate, p)
		if target.LimitRanges = anyRanges(r); r.Intn(2) == 0 {
			requestsOnly(&target)
		}
		got := answered(t, resize.Input{Targets: []resize.Target{target}}, yes).Pods[0]
		if got.Class == resize.None || got.Class == resize.Impossible && !strings.Contains(got.Reason, "LimitRange") {
			continue
		}
		become := p.DeepCopy()
		write(become, got.To)
		var want error
		for _, one := range target.LimitRanges {
			want = errors.Join(want, limitranger.PodValidateLimitFunc(one, internal(t, become)))
		}
		if (got.Class == resize.Impossible) != (want != nil) {
			t.Fatalf("%d: %s: %s; the plugin says %v", i, got.Class, got.Reason, want)
		}
		if want != nil {
			refused++
		} else if len(target.LimitRanges) > 0 {
			passed++
		}
	}
	if refused < 100 || passed < 100 {
		t.Errorf("only %d were refused and %d passed: the test shows little", refused, passed)
	}
}

// What is classed as in place passes the API server's validation, and what is not for
// its QoS class does not.
func TestValidationAgrees(t *testing.T) {
	r := rand.New(rand.NewSource(3))
	passed, refused := 0, 0
	for i := range 2000 {
		p := anyPod(r)
		target := anyTarget(r, inPlace, p)
		if r.Intn(3) == 0 {
			target.Resources = &vpav1.PodResourcePolicy{ContainerPolicies: []vpav1.ContainerResourcePolicy{{ContainerName: "*",
				ControlledValues: ptr.To(vpav1.ContainerControlledValuesRequestsOnly)}}}
		}
		out := answered(t, resize.Input{Targets: []resize.Target{target}}, yes)
		got := out.Pods[0]
		become := p.DeepCopy()
		for j := range become.Spec.Containers {
			if size, ok := got.To[become.Spec.Containers[j].Name]; ok {
				become.Spec.Containers[j].Resources = size
			}
		}
		errs := validate(t, p, become)
		switch {
		case got.Step == resize.Patches:
			if passed++; len(errs) > 0 {
				t.Fatalf("%d: %s is %s (%s), and validation says %v", i, got.Pod, got.Class, got.Reason, errs)
			}
			if errs := validate(t, become, revertOf(t, become, out.Actions[0])); len(errs) > 0 {
				t.Fatalf("%d: taken back, validation says %v", i, errs)
			}
		case got.Class == resize.Impossible && strings.Contains(got.Reason, "QoS class"):
			if refused++; len(errs) == 0 {
				t.Fatalf("%d: %s, and validation has nothing against it", i, got.Reason)
			}
		}
	}
	if passed < 300 || refused < 50 {
		t.Errorf("only %d passed and %d were refused: the test shows little", passed, refused)
	}
}

// revertOf carries an action out and lets the kubelet call it Infeasible.
func revertOf(t *testing.T, become *v1.Pod, a resize.Action) *v1.Pod {
	t.Helper()
	p := become.DeepCopy()
	p.Generation++
	p.Annotations = map[string]string{resize.RecordAnnotation: a.Record}
	setCondition(p, v1.PodResizePending, v1.PodReasonInfeasible, noon)
	out := answered(t, resize.Input{Targets: []resize.Target{set(inPlace, nil, p)}}, yes)
	if len(out.Actions) != 1 || out.Actions[0].Kind != resize.Revert {
		t.Fatalf("no revert: %v", summary(out))
	}
	write(p, out.Actions[0].Sizes)
	p.Generation, p.Annotations, p.Status = become.Generation, nil, become.Status
	return p
}

// validate is what the API server says to a resize.
func validate(t *testing.T, from, to *v1.Pod) []error {
	t.Helper()
	newPod, oldPod := internal(t, to), internal(t, from)
	opts := podutil.GetValidationOptionsFromPodSpecAndMeta(&newPod.Spec, &oldPod.Spec, &newPod.ObjectMeta, &oldPod.ObjectMeta)
	opts.ResourceIsPod = true
	var errs []error
	for _, err := range validation.ValidatePodResize(newPod, oldPod, opts) {
		errs = append(errs, err)
	}
	return errs
}

// internal is the pod as the API server holds it, with defaults.
func internal(t *testing.T, p *v1.Pod) *core.Pod {
	t.Helper()
	p = p.DeepCopy()
	p.ResourceVersion = "1"
	corev1.SetObjectDefaults_Pod(p)
	out := &core.Pod{}
	if err := corev1.Convert_v1_Pod_To_core_Pod(p, out, nil); err != nil {
		t.Fatal(err)
	}
	return out
}
