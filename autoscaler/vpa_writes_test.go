// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	vpafake "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/client/clientset/versioned/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/ptr"

	"github.com/berth-dev/berth/autoscaler/actuate"
	"github.com/berth-dev/berth/autoscaler/guard"
	"github.com/berth-dev/berth/autoscaler/vertical"
	"github.com/berth-dev/berth/autoscaler/vertical/sizes"
)

// keptVPA returns a conductor that writes to an API server with one VPA, which gives each write a version and refuses those that
// were made upon another one.
func keptVPA(t *testing.T, vpa *vpav1.VerticalPodAutoscaler) (*Conductor, func() *vpav1.VerticalPodAutoscaler) {
	t.Helper()
	kept, version := vpa.DeepCopy(), 1
	kept.ResourceVersion = "1"
	client := vpafake.NewSimpleClientset(kept)
	wrote := func(now *vpav1.VerticalPodAutoscaler) (bool, runtime.Object, error) {
		version++
		kept = now.DeepCopy()
		kept.ResourceVersion = fmt.Sprint(version)
		return true, kept.DeepCopy(), nil
	}
	client.PrependReactor("patch", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
		now := kept.DeepCopy()
		patch := string(action.(clienttesting.PatchAction).GetPatch())
		now.Annotations = map[string]string{sizes.Annotation: patch}
		if strings.Contains(patch, ":null") {
			now.Annotations = nil
		}
		return wrote(now)
	})
	client.PrependReactor("update", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
		now := action.(clienttesting.UpdateAction).GetObject().(*vpav1.VerticalPodAutoscaler)
		if now.ResourceVersion != kept.ResourceVersion {
			return true, nil, apierrors.NewConflict(vpav1.Resource("verticalpodautoscalers"), now.Name, nil)
		}
		return wrote(now)
	})
	a := ask(t)
	a.writer = actuate.New(nil, client.AutoscalingV1(), nil, nil, nil, nil)
	return a.Conductor, func() *vpav1.VerticalPodAutoscaler { return kept }
}

// The table and the status of one tick are written one upon the other.
func TestTheSizesAndTheStatusOfATick(t *testing.T) {
	r := sizedDB(2)
	r.VPA.Spec.Recommenders = []*vpav1.VerticalPodAutoscalerRecommenderSelector{{Name: "berth"}}
	r.VPA.ResourceVersion = "1"
	r.Recommendation = advised()
	c, kept := keptVPA(t, r.VPA)
	verdicts := map[guard.Key]guard.Verdict{vpaKey(r.VPA): {Allowed: true}}
	c.history.advised = map[vertical.Key]advice{keyOf(r.VPA): {Recommendation: r.Recommendation}}
	all := []Resizable{r}
	if c.writeSizes(t.Context(), []*vpav1.VerticalPodAutoscaler{r.VPA}, verdicts, all); kept().Annotations[sizes.Annotation] != "" {
		t.Errorf("sizes %q are written before anything was measured", kept().Annotations[sizes.Annotation])
	}
	c.history.usage.at = time.Now()
	c.writeVPAs(t.Context(), c.writeSizes(t.Context(), []*vpav1.VerticalPodAutoscaler{r.VPA}, verdicts, []Resizable{r}), verdicts)
	if kept().Annotations[sizes.Annotation] == "" || kept().Status.Recommendation == nil {
		t.Errorf("annotations %v and status %+v, want sizes and a recommendation", kept().Annotations, kept().Status)
	}
}

// Who switches every container off gets pods as their template says.
func TestContainersThatAreSwitchedOff(t *testing.T) {
	off := func(names ...string) *vpav1.PodResourcePolicy {
		policy := &vpav1.PodResourcePolicy{}
		for _, name := range names {
			policy.ContainerPolicies = append(policy.ContainerPolicies, vpav1.ContainerResourcePolicy{ContainerName: name, Mode: ptr.To(vpav1.ContainerScalingModeOff)})
		}
		return policy
	}
	for name, tc := range map[string]struct {
		policy   *vpav1.PodResourcePolicy
		measured bool
		hold     string
		cleared  bool
	}{
		"all":                        {policy: off("*"), cleared: true},
		"all, and there was advice":  {policy: off("*"), measured: true, cleared: true},
		"each":                       {policy: off("db", "log"), cleared: true},
		"one of two":                 {policy: off("log")},
		"none, and none is measured": {},
		"all, while Berth is held":   {policy: off("*"), hold: "it only observes"},
	} {
		t.Run(name, func(t *testing.T) {
			r := sizedDB(2)
			r.VPA.Spec.Recommenders = []*vpav1.VerticalPodAutoscalerRecommenderSelector{{Name: "berth"}}
			r.VPA.Annotations = map[string]string{sizes.Annotation: "v1 vpa\n* db 1000m 1073741824 - -\n"}
			r.VPA.Status.Recommendation = &vpav1.RecommendedPodResources{}
			r.VPA.ResourceVersion = "1"
			r.VPA.Spec.ResourcePolicy, r.Hold = tc.policy, tc.hold
			r.Recommendation = vertical.Recommendation{Reason: vertical.NoUsage, Pods: 1}
			if tc.measured {
				r.Recommendation = advised()
			}
			c, kept := keptVPA(t, r.VPA)
			c.writeSizes(t.Context(), []*vpav1.VerticalPodAutoscaler{r.VPA}, map[guard.Key]guard.Verdict{vpaKey(r.VPA): {Allowed: true}}, []Resizable{r})
			if cleared := kept().Annotations[sizes.Annotation] == ""; cleared != tc.cleared {
				t.Errorf("cleared %t, want %t", cleared, tc.cleared)
			}
		})
	}

	status := vpav1.VerticalPodAutoscalerStatus{Recommendation: &vpav1.RecommendedPodResources{}}
	c := &Conductor{}
	c.recommend(&status, off("*"), vertical.Recommendation{Reason: vertical.NothingControlled, Pods: 3})
	got := vpaConditionOf(status, vpav1.RecommendationProvided)
	if status.Recommendation != nil || got.Status != corev1.ConditionFalse || got.Reason != "NothingControlled" || got.Message != "the resource policy switches every container off" {
		t.Errorf("recommendation %v, condition %+v", status.Recommendation, got)
	}
}

// A thousand VPAs do not change in one tick.
func TestPeriodsOfAllVPAsAreSpread(t *testing.T) {
	const tick, period, vpas = 15 * time.Second, time.Minute, 1000
	now := time.Date(2026, 6, 1, 12, 0, 7, 0, time.UTC)
	last := make([]time.Time, vpas)
	for i := range last {
		last[i] = now
	}
	for range 12 {
		now = now.Add(tick)
		changes := 0
		for i := range last {
			if turned(types.UID(fmt.Sprintf("6a0d439e-9f2b-4f7d-b1c5-%012d", i)), last[i], now, period) {
				changes++
				last[i] = now
			}
			if now.Sub(last[i]) >= period {
				t.Errorf("at %s the recommendation of VPA %d is %s old", now, i, now.Sub(last[i]))
			}
		}
		if changes < 200 || changes > 300 {
			t.Errorf("at %s %d of %d change, want about a quarter", now, changes, vpas)
		}
	}
}
