// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	"k8s.io/utils/ptr"

	"github.com/berth-dev/berth/autoscaler/vertical"
	"github.com/berth-dev/berth/autoscaler/vertical/resize"
	"github.com/berth-dev/berth/plugins/statefulset"
)

// sizedDB is a set of five of which the named ordinals have a pod.
func sizedDB(present ...int) Resizable {
	set := &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "db", UID: "set"},
		Spec: appsv1.StatefulSetSpec{
			Replicas: ptr.To[int32](5), MinReadySeconds: 7,
			Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "db", Resources: corev1.ResourceRequirements{
				Requests: amounts("1", "1Gi"), Limits: amounts("2", "2Gi"),
			}}, {Name: "log"}}}},
		},
		Status: appsv1.StatefulSetStatus{UpdateRevision: "db-2"},
	}
	r := Resizable{
		VPA: &vpav1.VerticalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "db", UID: "vpa"},
			Spec: vpav1.VerticalPodAutoscalerSpec{TargetRef: &autoscalingv1.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "db"}}},
		Set: set, SlotOf: statefulset.SlotOf, Node: func(string) *corev1.Node { return nil },
	}
	for _, ordinal := range present {
		r.Pods = append(r.Pods, dbOrdinal(ordinal))
	}
	return r
}

func dbOrdinal(ordinal int) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: "prod", Name: fmt.Sprintf("db-%d", ordinal),
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "db", UID: "set", Controller: ptr.To(true)}},
	}, Spec: corev1.PodSpec{NodeName: "n1"}}
}

func amounts(cpu, memory string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
}

func TestWorkloadOfASet(t *testing.T) {
	usual := resize.Workload{
		Kind: "StatefulSet", Name: "db", Ordered: true, Replicas: 5, Absent: []int{1}, MaxUnavailable: 1,
		MinReady: 7 * time.Second, Revision: "db-2",
	}
	with := func(change func(*resize.Workload)) resize.Workload {
		w := usual
		change(&w)
		return w
	}
	rolling := func(u appsv1.RollingUpdateStatefulSetStrategy) func(*Resizable) {
		return func(r *Resizable) { r.Set.Spec.UpdateStrategy.RollingUpdate = &u }
	}
	for name, tc := range map[string]struct {
		edit func(*Resizable)
		want resize.Workload
	}{
		"as it is":       {func(*Resizable) {}, usual},
		"with partition": {rolling(appsv1.RollingUpdateStatefulSetStrategy{Partition: ptr.To[int32](3)}), with(func(w *resize.Workload) { w.Partition = 3 })},
		"three may be unavailable": {
			rolling(appsv1.RollingUpdateStatefulSetStrategy{MaxUnavailable: ptr.To(intstr.FromInt32(3))}), with(func(w *resize.Workload) { w.MaxUnavailable = 3 }),
		},
		"a half, rounded down": {
			rolling(appsv1.RollingUpdateStatefulSetStrategy{MaxUnavailable: ptr.To(intstr.FromString("50%"))}), with(func(w *resize.Workload) { w.MaxUnavailable = 2 }),
		},
		"a tenth is one": {
			rolling(appsv1.RollingUpdateStatefulSetStrategy{MaxUnavailable: ptr.To(intstr.FromString("10%"))}), usual,
		},
		"updated by hand": {
			func(r *Resizable) {
				r.Set.Spec.UpdateStrategy.Type = appsv1.OnDeleteStatefulSetStrategyType
				rolling(appsv1.RollingUpdateStatefulSetStrategy{Partition: ptr.To[int32](3)})(r)
			}, with(func(w *resize.Workload) { w.OnDelete = true }),
		},
		"ordinals from 2": {
			func(r *Resizable) { r.Set.Spec.Ordinals = &appsv1.StatefulSetOrdinals{Start: 2} },
			with(func(w *resize.Workload) { w.Absent = []int{5, 6} }),
		},
		"a quorum": {func(r *Resizable) { r.Quorum = statefulset.Quorum{Majority: true} }, with(func(w *resize.Workload) { w.Quorum = 3 })},
		"one pod has ended": {
			func(r *Resizable) { r.Pods[0].Status.Phase = corev1.PodFailed }, with(func(w *resize.Workload) { w.Absent = []int{0, 1} }),
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := sizedDB(0, 2, 3, 4)
			tc.edit(&r)
			if diff := cmp.Diff(tc.want, r.Target().Workload); diff != "" {
				t.Errorf("workload (-want +got):\n%s", diff)
			}
		})
	}
}

// What no StatefulSet owns has an order only where a policy finds one.
func TestWorkloadOfAnOperator(t *testing.T) {
	r := sizedDB(0, 3)
	r.Set, r.VPA.Spec.TargetRef.Kind, r.Replicas, r.Quorum = nil, "Database", 3, statefulset.Quorum{Majority: true}
	want := resize.Workload{Kind: "Database", Name: "db", Replicas: 3, Ordered: true, MaxUnavailable: 1, Quorum: 2}
	if diff := cmp.Diff(want, r.Target().Workload); diff != "" {
		t.Errorf("with slots (-want +got):\n%s", diff)
	}
	r.SlotOf = func(*corev1.Pod) (statefulset.Slot, bool) { return statefulset.Slot{}, false }
	if diff := cmp.Diff(resize.Workload{Kind: "Database", Name: "db", Replicas: 3}, r.Target().Workload); diff != "" {
		t.Errorf("without (-want +got):\n%s", diff)
	}
}

func TestWorkloadOfADeployment(t *testing.T) {
	deployment := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Generation: 4},
		Spec:       appsv1.DeploymentSpec{Replicas: ptr.To[int32](3)},
		Status:     appsv1.DeploymentStatus{ObservedGeneration: 4, Replicas: 3, UpdatedReplicas: 3, AvailableReplicas: 3},
	}
	r := sizedDB()
	r.Set, r.Deployment = nil, deployment
	for name, tc := range map[string]struct {
		edit    func(*appsv1.DeploymentStatus)
		rolling bool
	}{
		"complete":             {func(*appsv1.DeploymentStatus) {}, false},
		"not seen yet":         {func(s *appsv1.DeploymentStatus) { s.ObservedGeneration = 3 }, true},
		"one is not updated":   {func(s *appsv1.DeploymentStatus) { s.UpdatedReplicas = 2 }, true},
		"an old one is left":   {func(s *appsv1.DeploymentStatus) { s.Replicas = 4 }, true},
		"one is missing":       {func(s *appsv1.DeploymentStatus) { s.Replicas, s.UpdatedReplicas = 2, 2 }, true},
		"one is not available": {func(s *appsv1.DeploymentStatus) { s.AvailableReplicas = 2 }, false},
	} {
		t.Run(name, func(t *testing.T) {
			r.Deployment = deployment.DeepCopy()
			tc.edit(&r.Deployment.Status)
			want := resize.Workload{Kind: "Deployment", Name: "web", Replicas: 3, Rolling: tc.rolling}
			if diff := cmp.Diff(want, r.Target().Workload); diff != "" {
				t.Errorf("workload (-want +got):\n%s", diff)
			}
		})
	}
}

// advised recommends to every pod, and more memory to ordinal 3.
func advised() vertical.Recommendation {
	all := vertical.Container{RecommendedContainerResources: vpav1.RecommendedContainerResources{
		ContainerName: "db", Target: amounts("500m", "2Gi"), LowerBound: amounts("100m", "1Gi"), UpperBound: amounts("1", "4Gi"),
	}}
	all.Slots = []vertical.Slot{{Slot: "3", Differs: true, Resources: []vertical.SlotResource{
		{Name: corev1.ResourceCPU, Estimate: vertical.Estimate{Target: 500, LowerBound: 100, UpperBound: 1000}},
		{Name: corev1.ResourceMemory, Estimate: vertical.Estimate{Target: 8 << 30, LowerBound: 4 << 30, UpperBound: 16 << 30}},
	}}}
	return vertical.Recommendation{Containers: []vertical.Container{all}}
}

func TestEachSlotHasItsRecommendation(t *testing.T) {
	r := sizedDB(2, 3)
	r.Recommendation = advised()
	got := map[string]string{}
	for _, pod := range r.Target().Pods {
		c := pod.Containers[0]
		got[pod.Object.Name] = fmt.Sprint(c.Container, " ", c.Lower.Memory(), " ", c.Target.Memory(), " ", c.Upper.Memory())
	}
	if diff := cmp.Diff(map[string]string{"db-2": "db 1Gi 2Gi 4Gi", "db-3": "db 4Gi 8Gi 16Gi"}, got); diff != "" {
		t.Errorf("recommendations (-want +got):\n%s", diff)
	}
}

// Pods are created from the template: its ratio of limits is kept, and the namespace's ranges.
func TestSizesForPodsThatAreCreated(t *testing.T) {
	r := sizedDB(2)
	r.Recommendation = advised()
	most := corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("12Gi")}
	r.LimitRanges = []*corev1.LimitRange{{Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{
		Type: corev1.LimitTypeContainer, Max: most, Default: most, DefaultRequest: most, // as the API server completes it
	}}}}}
	want := "v1 vpa\n3 db 500m 6442450944 1000m 12884901888\n* db 500m 2147483648 1000m 4294967296\n"
	if diff := cmp.Diff(want, r.Sizes().String()); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}

// A successor of what runs is given what is asked of it, and so it is re-created.
func TestSizesAreWhatIsAskedOfPodsThatRun(t *testing.T) {
	memory := func(q string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(q)}
	}
	of := func(request, limit string) corev1.ResourceRequirements {
		return corev1.ResourceRequirements{Requests: memory(request), Limits: memory(limit)}
	}
	for name, tc := range map[string]struct {
		template, running corev1.ResourceRequirements
		limits            corev1.LimitRangeItem
		controlled        vpav1.ContainerControlledValues
		recommended, want string
	}{
		"defaults of a LimitRange": {
			corev1.ResourceRequirements{}, of("256Mi", "1Gi"), corev1.LimitRangeItem{Default: memory("1Gi"), DefaultRequest: memory("256Mi")},
			vpav1.ContainerControlledValuesRequestsAndLimits, "512Mi", "v1 vpa\n* db - 536870912 - 2147483648\n",
		},
		"requests only": {
			of("1Gi", "8Gi"), of("1Gi", "8Gi"), corev1.LimitRangeItem{Max: memory("16Gi")},
			vpav1.ContainerControlledValuesRequestsOnly, "4Gi", "v1 vpa\n* db - 4294967296 - -\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := sizedDB()
			r.VPA.Spec.UpdatePolicy = &vpav1.PodUpdatePolicy{MinReplicas: ptr.To[int32](1), UpdateMode: ptr.To(vpav1.UpdateModeRecreate)}
			r.VPA.Spec.ResourcePolicy = &vpav1.PodResourcePolicy{ContainerPolicies: []vpav1.ContainerResourcePolicy{{ContainerName: "*", ControlledValues: &tc.controlled}}}
			r.Set.Spec.Replicas = ptr.To[int32](1)
			r.Set.Spec.Template.Spec.Containers = []corev1.Container{{Name: "db", Resources: tc.template}}
			tc.limits.Type = corev1.LimitTypeContainer
			r.LimitRanges = []*corev1.LimitRange{{Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{tc.limits}}}}
			target := memory(tc.recommended)
			r.Recommendation = vertical.Recommendation{Containers: []vertical.Container{{RecommendedContainerResources: vpav1.RecommendedContainerResources{
				ContainerName: "db", Target: target, LowerBound: target, UpperBound: target,
			}}}}
			pod := dbOrdinal(0)
			old := metav1.NewTime(time.Now().Add(-time.Hour))
			pod.UID, pod.CreationTimestamp = "db-0", old
			pod.Spec.Containers = []corev1.Container{{Name: "db", Resources: tc.running}}
			pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, StartTime: &old, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}
			r.Pods = []*corev1.Pod{pod}

			if diff := cmp.Diff(tc.want, r.Sizes().String()); diff != "" {
				t.Errorf("table (-want +got):\n%s", diff)
			}
			created := resize.Sizes{"db": tc.running}
			for _, s := range r.Sizes().Sizes {
				limits := s.Limits
				if limits == nil {
					limits = tc.running.Limits
				}
				created[s.Container] = corev1.ResourceRequirements{Requests: s.Requests, Limits: limits}
			}
			in := resize.Input{Now: time.Now(), Config: resize.DefaultConfig(), Targets: []resize.Target{r.Target()}}
			for _, q := range resize.Decide(in).Questions {
				in.Answers = append(in.Answers, resize.Answer{Pod: q.Pod.UID, Move: true, Sizes: q.Sizes, Fits: true, Node: "n2", Created: created})
			}
			if got := resize.Decide(in).Pods[0]; got.Step != resize.Evicts {
				t.Errorf("the pod is not re-created: %s %s: %s", got.Class, got.Step, got.Waits)
			}
		})
	}
}

// A slot has a line of its own only where the admission policy would give it to the pods of that slot, and to no others.
func TestSlotsThatTheAdmissionPolicyFinds(t *testing.T) {
	byLabel := func(pod *corev1.Pod) (statefulset.Slot, bool) {
		ordinal, err := strconv.Atoi(pod.Labels["shard"])
		return statefulset.Slot{Ordinal: ordinal}, err == nil
	}
	for name, tc := range map[string]struct {
		pod, shard, index string
		slotOf            func(*corev1.Pod) (statefulset.Slot, bool)
		own               bool
	}{
		"of a set":                    {pod: "db-3", slotOf: statefulset.SlotOf, own: true},
		"of an operator, by name":     {pod: "ring-3", shard: "3", slotOf: byLabel, own: true},
		"of an operator, by index":    {pod: "ring-x7f", shard: "3", index: "3", slotOf: byLabel, own: true},
		"of a label alone":            {pod: "ring-x7f", shard: "3", slotOf: byLabel},
		"of a label, not of a name":   {pod: "ring-1", shard: "3", slotOf: byLabel},
		"of a label, not of an index": {pod: "ring-3", shard: "3", index: "1", slotOf: byLabel},
		"another is taken for it":     {pod: "ring-3", shard: "1", slotOf: byLabel},
	} {
		t.Run(name, func(t *testing.T) {
			r := sizedDB(3)
			r.Recommendation, r.SlotOf = advised(), tc.slotOf
			r.Pods[0].Name, r.Pods[0].Labels = tc.pod, map[string]string{"shard": tc.shard}
			if tc.index != "" {
				r.Pods[0].Labels[appsv1.PodIndexLabel] = tc.index
			}
			if own := strings.Contains(r.Sizes().String(), "\n3 db "); own != tc.own {
				t.Errorf("a line of its own %t, want %t:\n%s", own, tc.own, r.Sizes())
			}
		})
	}
}

func TestWhatMattersOfANode(t *testing.T) {
	node := func(edit func(*corev1.Node)) *corev1.Node {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{"cpu": "pinned"}}, Status: corev1.NodeStatus{Allocatable: amounts("4", "16Gi")}}
		edit(n)
		return n
	}
	usual := resize.Node{Name: "n1", Allocatable: amounts("4", "16Gi"), StaticCPU: true}
	with := func(change func(*resize.Node)) resize.Node {
		n := usual
		change(&n)
		return n
	}
	for name, tc := range map[string]struct {
		node *corev1.Node
		want resize.Node
	}{
		"gone":            {nil, resize.Node{Name: "n1"}},
		"pinned cpu":      {node(func(*corev1.Node) {}), usual},
		"of another pool": {node(func(n *corev1.Node) { n.Labels = nil }), with(func(n *resize.Node) { n.StaticCPU = false })},
		"Windows":         {node(func(n *corev1.Node) { n.Status.NodeInfo.OperatingSystem = "windows" }), with(func(n *resize.Node) { n.Windows = true })},
		"with swap": {
			node(func(n *corev1.Node) { n.Status.NodeInfo.Swap = &corev1.NodeSwapStatus{Capacity: ptr.To[int64](1)} }), with(func(n *resize.Node) { n.Swap = true }),
		},
		"without swap": {node(func(n *corev1.Node) { n.Status.NodeInfo.Swap = &corev1.NodeSwapStatus{Capacity: ptr.To[int64](0)} }), usual},
	} {
		t.Run(name, func(t *testing.T) {
			r := sizedDB(0)
			r.Node, r.StaticCPU = func(string) *corev1.Node { return tc.node }, labels.SelectorFromSet(labels.Set{"cpu": "pinned"})
			if diff := cmp.Diff(tc.want, r.Target().Pods[0].Node); diff != "" {
				t.Errorf("node (-want +got):\n%s", diff)
			}
		})
	}
}
