// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/autoscaler/vertical/sizes"
	"github.com/berth-dev/berth/test/fixture"
)

// vpaExplained is what these tests read of the JSON of explain vpa.
type vpaExplained struct {
	Recommender, UpdateMode string
	BerthActs               struct{ Status, Reason string }
	AsOf                    *metav1.Time
	Containers              []struct {
		Name      string
		History   *historyExplained
		Resources []struct {
			Name                                           corev1.ResourceName
			Target, LowerBound, UpperBound, UncappedTarget resource.Quantity
			CappedBy                                       string
		}
	}
	Slots []slotExplained
	Sizes string
	Pods  []struct {
		Pod        string
		Ordinal    int
		Containers []struct{ Requests corev1.ResourceList }
		Class      string
		Step       string
		Waits      string
	}
	Notes []string
}

type historyExplained struct {
	Samples    int
	Last       metav1.Time
	Confidence float64
}

type slotExplained struct {
	Slot, Container string
	History         historyExplained
	Differs         bool
	Resources       []struct {
		Name        corev1.ResourceName
		Target, Set resource.Quantity
		Own         *resource.Quantity
		Weight      float64
		CappedBy    string
		Created     *struct{ Request resource.Quantity }
	}
}

// explainVPA asks kubectl-berth about a VPA.
func (s scene) explainVPA(ctx context.Context, name string) (vpaExplained, error) {
	var got vpaExplained
	out, said, err := s.berth(ctx, "explain", "vpa/"+name, "-o", "json")
	if err != nil {
		return got, fmt.Errorf("kubectl berth explain vpa/%s: %w: %s", name, err, said)
	}
	return got, json.Unmarshal([]byte(out), &got)
}

// awaitExplained waits until what is explained of the VPA db is as wanted. What is seen
// with it is the VPA of the same moment, and the checkpoints.
func (s scene) awaitExplained(ctx context.Context, t *testing.T, what string, is func(vpaExplained, *vpav1.VerticalPodAutoscaler, []vpav1.VerticalPodAutoscalerCheckpoint) string) vpaExplained {
	t.Helper()
	var got vpaExplained
	s.until(ctx, t, what, func(ctx context.Context) (string, bool, error) {
		before, err := s.VPA.AutoscalingV1().VerticalPodAutoscalers(s.Namespace).Get(ctx, "db", metav1.GetOptions{})
		if err != nil {
			return "", false, err
		}
		if got, err = s.explainVPA(ctx, "db"); err != nil {
			return "", false, err
		}
		saved, err := s.VPA.AutoscalingV1().VerticalPodAutoscalerCheckpoints(s.Namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return "", false, err
		}
		after, err := s.VPA.AutoscalingV1().VerticalPodAutoscalers(s.Namespace).Get(ctx, "db", metav1.GetOptions{})
		if err != nil {
			return "", false, err
		}
		if before.ResourceVersion != after.ResourceVersion {
			return "the VPA changed meanwhile", false, nil
		}
		missing := is(got, after, saved.Items)
		return missing, missing == "", nil
	})
	return got
}

// TestExplainVPA: what is explained of a VPA is what it says, what its checkpoints say, and
// what its pods are.
func TestExplainVPA(t *testing.T) {
	t.Parallel()
	db := fixture.Workload{Name: "db", Replicas: 3, CPU: "100m", Memory: "64Mi", Parallel: true}
	// What each ordinal uses. The last one is a hot shard.
	uses := []string{"256Mi", "256Mi", "1Gi"}
	vpa := fixture.VPA("db", fixture.Target("StatefulSet", "db"))
	initial := vpav1.UpdateModeInitial // the pods stay what they are while the test looks
	vpa.Spec.UpdatePolicy = &vpav1.PodUpdatePolicy{UpdateMode: &initial}
	vpa.Spec.ResourcePolicy = &vpav1.PodResourcePolicy{ContainerPolicies: []vpav1.ContainerResourcePolicy{{
		ContainerName: "app", MaxAllowed: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("150m")}}}}
	testenv.Test(t, features.New("kubectl berth explain vpa/db").
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, db.Service(), db.StatefulSet())
			s.awaitSet(ctx, t, db.Name, 3)
			for i, memory := range uses {
				s.kubectl(ctx, t, "annotate", "--namespace", s.Namespace, "pod", fmt.Sprintf("db-%d", i), "kwok.x-k8s.io/usage-cpu=300m", "kwok.x-k8s.io/usage-memory="+memory)
			}
			if err := s.createVPA(ctx, vpa); err != nil {
				t.Fatal(err)
			}
		})).
		Assess("tells the recommendation of the status, and what caps it", step(func(ctx context.Context, t *testing.T, s scene) {
			s.awaitExplained(ctx, t, "the numbers of the status", func(got vpaExplained, vpa *vpav1.VerticalPodAutoscaler, _ []vpav1.VerticalPodAutoscalerCheckpoint) string {
				return saysStatus(got, vpa)
			})
		})).
		Assess("tells what the checkpoints hold", step(func(ctx context.Context, t *testing.T, s scene) {
			s.awaitExplained(ctx, t, "the numbers of the checkpoints", func(got vpaExplained, _ *vpav1.VerticalPodAutoscaler, saved []vpav1.VerticalPodAutoscalerCheckpoint) string {
				return saysSaved(got, saved)
			})
		})).
		Assess("tells what a pod gets when it is created", step(func(ctx context.Context, t *testing.T, s scene) {
			s.awaitExplained(ctx, t, "the sizes of the annotation", func(got vpaExplained, vpa *vpav1.VerticalPodAutoscaler, _ []vpav1.VerticalPodAutoscalerCheckpoint) string {
				return saysSizes(got, vpa)
			})
		})).
		Assess("tells from the highest ordinal to the lowest why a pod is left as it is", step(func(ctx context.Context, t *testing.T, s scene) {
			s.awaitExplained(ctx, t, "three pods that are left alone", func(got vpaExplained, _ *vpav1.VerticalPodAutoscaler, _ []vpav1.VerticalPodAutoscalerCheckpoint) string {
				for i, pod := range got.Pods {
					memory := pod.Containers[0].Requests[corev1.ResourceMemory]
					if pod.Ordinal != 2-i || memory.Cmp(resource.MustParse("64Mi")) != 0 || pod.Step != "Waits" || !strings.Contains(pod.Waits, "update mode Initial") {
						return fmt.Sprintf("%+v", pod)
					}
				}
				return missing(len(got.Pods) == 3, "pods", got.Pods)
			})
			s.says(ctx, t, []string{"explain", "vpa/db"}, "Berth acts:", "update mode Initial", "maxAllowed", "db-2")
		})).
		Assess("tells that the pods have their size in the end", step(func(ctx context.Context, t *testing.T, s scene) {
			s.kubectl(ctx, t, "patch", "--namespace", s.Namespace, "vpa", "db", "--type=merge", "--patch", `{"spec":{"updatePolicy":{"updateMode":"InPlace"}}}`)
			begin := time.Now()
			s.awaitExplained(ctx, t, "three pods that are done", func(got vpaExplained, _ *vpav1.VerticalPodAutoscaler, _ []vpav1.VerticalPodAutoscalerCheckpoint) string {
				for _, pod := range got.Pods {
					if memory := pod.Containers[0].Requests[corev1.ResourceMemory]; pod.Step != "Nothing" || memory.Cmp(resource.MustParse("64Mi")) <= 0 {
						return fmt.Sprintf("%+v", pod)
					}
				}
				return missing(len(got.Pods) == 3 && got.BerthActs.Status == "True", "pods that Berth sizes", got)
			})
			t.Logf("three pods were said to be done %s after the update mode was InPlace", time.Since(begin).Round(100*time.Millisecond))
			s.says(ctx, t, []string{"explain", "vpa/db"}, "Berth acts:   yes", "db-0", "db-1", "db-2")
		})).
		Feature())
}

func missing(ok bool, what string, got any) string {
	if ok {
		return ""
	}
	return fmt.Sprintf("%s: %+v", what, got)
}

// saysStatus says what differs from the VPA's status.
func saysStatus(got vpaExplained, vpa *vpav1.VerticalPodAutoscaler) string {
	if vpa.Status.Recommendation == nil || len(got.Containers) == 0 {
		return "nothing is recommended"
	}
	want := vpa.Status.Recommendation.ContainerRecommendations
	is := make([]vpav1.RecommendedContainerResources, len(got.Containers))
	for i, c := range got.Containers {
		is[i] = vpav1.RecommendedContainerResources{ContainerName: c.Name, Target: corev1.ResourceList{}, LowerBound: corev1.ResourceList{},
			UpperBound: corev1.ResourceList{}, UncappedTarget: corev1.ResourceList{}}
		for _, r := range c.Resources {
			is[i].Target[r.Name], is[i].LowerBound[r.Name], is[i].UpperBound[r.Name], is[i].UncappedTarget[r.Name] = r.Target, r.LowerBound, r.UpperBound, r.UncappedTarget
		}
	}
	if diff := cmp.Diff(want, is); diff != "" {
		return "(-want +got)\n" + diff
	}
	if cpu := got.Containers[0].Resources[0]; cpu.CappedBy != "maxAllowed" {
		return fmt.Sprintf("cpu of %s, uncapped %s, is capped by %q", cpu.Target.String(), cpu.UncappedTarget.String(), cpu.CappedBy)
	}
	return ""
}

// saysSaved says what differs from the checkpoints, one of the container and one of each slot.
func saysSaved(got vpaExplained, saved []vpav1.VerticalPodAutoscalerCheckpoint) string {
	if len(saved) != 4 || got.AsOf == nil || len(got.Slots) != 3 {
		return fmt.Sprintf("%d checkpoints, as of %v, %d slots; %v", len(saved), got.AsOf, len(got.Slots), got.Notes)
	}
	newest := slices.MaxFunc(saved, func(a, b vpav1.VerticalPodAutoscalerCheckpoint) int {
		return a.Status.LastUpdateTime.Compare(b.Status.LastUpdateTime.Time)
	}).Status.LastUpdateTime
	if !got.AsOf.Equal(&newest) {
		return "checkpoints were written meanwhile"
	}
	want, is := map[string]int{}, map[string]int{"": got.Containers[0].History.Samples}
	for _, c := range saved {
		want[c.Labels["berth.dev/slot"]] = c.Status.TotalSamplesCount
	}
	for _, slot := range got.Slots {
		is[slot.Slot] = slot.History.Samples
	}
	if diff := cmp.Diff(want, is, cmpopts.EquateEmpty()); diff != "" {
		return "samples (-want +got)\n" + diff
	}
	for _, slot := range got.Slots {
		for _, r := range slot.Resources {
			if r.Own == nil {
				continue // the memory peak of today is in no checkpoint
			}
			between := float64(r.Set.MilliValue()) + r.Weight*float64(r.Own.MilliValue()-r.Set.MilliValue())
			if r.CappedBy == "" && math.Abs(between-float64(r.Target.MilliValue())) > 1000 {
				return fmt.Sprintf("%s of slot %s is %s, not between %s and %s by %f", r.Name, slot.Slot, r.Target.String(), r.Own.String(), r.Set.String(), r.Weight)
			}
		}
	}
	return ""
}

// saysSizes says what differs from the annotation.
func saysSizes(got vpaExplained, vpa *vpav1.VerticalPodAutoscaler) string {
	table, ok := sizes.Parse(vpa.Annotations[sizes.Annotation])
	if !ok || got.Sizes != "Written" {
		return fmt.Sprintf("sizes are %s, and the annotation is %q", got.Sizes, vpa.Annotations[sizes.Annotation])
	}
	for slot := range 3 {
		i := slices.IndexFunc(got.Slots, func(s slotExplained) bool { return s.Slot == strconv.Itoa(slot) })
		if i < 0 {
			return fmt.Sprintf("no slot %d", slot)
		}
		size, _ := table.Of(strconv.Itoa(slot), "app")
		for _, r := range got.Slots[i].Resources {
			want, has := size.Requests[r.Name]
			if !has || r.Created == nil || want.Cmp(r.Created.Request) != 0 {
				return fmt.Sprintf("%s of slot %d is %+v, want %s", r.Name, slot, r.Created, want.String())
			}
		}
	}
	return ""
}
