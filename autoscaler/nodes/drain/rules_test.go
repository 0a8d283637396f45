// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	st "k8s.io/kubernetes/pkg/scheduler/testing"
	"k8s.io/utils/ptr"

	"github.com/berth-dev/berth/autoscaler/disruption"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// running is a ready pod of a controller, on node n0.
func running(name, kind string) *v1.Pod {
	pod := st.MakePod().Namespace("prod").Name(name).UID(name).Label("app", "web").Node("n0").
		Condition(v1.PodReady, v1.ConditionTrue, "").OwnerReference("owner", metav1.SchemeGroupVersion.WithKind(kind)).Obj()
	pod.OwnerReferences[0].APIVersion, pod.OwnerReferences[0].UID = "apps/v1", "owner"
	return pod
}

func db(quorum int, slots ...*v1.Pod) Set {
	s := Set{Name: "prod/db", Wanted: len(slots), Quorum: quorum}
	for i, pod := range slots {
		s.Slots = append(s.Slots, Slot{Ordinal: i, Pod: pod})
	}
	return s
}

func pdb(name string, allowed, desired int32, pods ...*v1.Pod) disruption.Budget {
	return disruption.Budget{Pods: pods, Object: &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: name},
		Spec:       policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}},
		Status:     policyv1.PodDisruptionBudgetStatus{DisruptionsAllowed: allowed, DesiredHealthy: desired},
	}}
}

func hostname(names ...string) *v1.NodeSelector {
	return &v1.NodeSelector{NodeSelectorTerms: []v1.NodeSelectorTerm{{MatchExpressions: []v1.NodeSelectorRequirement{
		{Key: v1.LabelHostname, Operator: v1.NodeSelectorOpIn, Values: names},
	}}}}
}

func note(key, value string) func(*World, *v1.Pod) {
	return func(_ *World, pod *v1.Pod) { metav1.SetMetaDataAnnotation(&pod.ObjectMeta, key, value) }
}

func unready(pod *v1.Pod) *v1.Pod {
	pod.Status.Conditions = nil
	return pod
}

func deleted(pod *v1.Pod, ago time.Duration) *v1.Pod {
	pod.DeletionTimestamp = ptr.To(metav1.NewTime(noon.Add(-ago)))
	return pod
}

func TestRules(t *testing.T) {
	alone := func(_ *World, pod *v1.Pod) { pod.OwnerReferences = nil }
	disk := func(_ *World, pod *v1.Pod) {
		pod.Spec.Volumes = []v1.Volume{{Name: "scratch", VolumeSource: v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}}}}
	}
	system := func(_ *World, pod *v1.Pod) { pod.Namespace = metav1.NamespaceSystem }
	safely := note(SafeToEvict, "true")
	of := func(changes ...func(*World, *v1.Pod)) func(*World, *v1.Pod) {
		return func(w *World, pod *v1.Pod) {
			for _, change := range changes {
				change(w, pod)
			}
		}
	}
	set := func(change func(*Set, *v1.Pod)) func(*World, *v1.Pod) {
		return func(w *World, pod *v1.Pod) {
			s := db(0, pod, running("db-1", "StatefulSet"), running("db-2", "StatefulSet"))
			change(&s, pod)
			w.Sets = []Set{s}
		}
	}
	for name, tc := range map[string]struct {
		change func(*World, *v1.Pod)
		want   Verdict
	}{
		"nothing is against it":    {change: of(), want: Verdict{Fate: Moves}},
		"mirror":                   {change: note(v1.MirrorPodAnnotationKey, "x"), want: Verdict{Ends, "Mirror", "the kubelet makes it from a file"}},
		"daemon":                   {change: func(_ *World, pod *v1.Pod) { pod.OwnerReferences[0].Kind = "DaemonSet" }, want: Verdict{Ends, "Daemon", "there is one for each node"}},
		"as good as a daemon":      {change: of(alone, note(DaemonPod, "true")), want: Verdict{Ends, "Daemon", "there is one for each node"}},
		"finished":                 {change: func(_ *World, pod *v1.Pod) { pod.Status.Phase = v1.PodFailed }, want: Verdict{Ends, "Finished", "it is over"}},
		"terminating":              {change: func(_ *World, pod *v1.Pod) { deleted(pod, 29*time.Second) }, want: Verdict{Leaves, "Terminating", "it is being deleted"}},
		"terminating for too long": {change: func(_ *World, pod *v1.Pod) { deleted(pod, 30*time.Second) }, want: Verdict{Ends, "Terminating", "it should have ended 30s ago"}},
		"a long grace is cut short": {change: func(_ *World, pod *v1.Pod) {
			deleted(pod, -50*time.Minute).DeletionGracePeriodSeconds = ptr.To[int64](3600)
		}, want: Verdict{Leaves, "Terminating", "it is being deleted"}},
		"and is over then": {change: func(_ *World, pod *v1.Pod) {
			deleted(pod, -49*time.Minute).DeletionGracePeriodSeconds = ptr.To[int64](3600)
		}, want: Verdict{Ends, "Terminating", "it should have ended 1m0s ago"}},
		"not safe":                                {change: note(SafeToEvict, "false"), want: Verdict{Stays, "NotSafeToEvict", "annotation " + SafeToEvict + " is false"}},
		"on completion":                           {change: note(SafeToEvict, "on-completion"), want: Verdict{Waits, "OnCompletion", "annotation " + SafeToEvict + " waits for its completion"}},
		"not replicated":                          {change: alone, want: Verdict{Stays, "NotReplicated", "it has no controller that would re-create it"}},
		"not replicated, but safe":                {change: of(alone, safely), want: Verdict{Fate: Moves}},
		"its controller is gone":                  {change: func(w *World, _ *v1.Pod) { w.Controllers = nil }, want: Verdict{Stays, "ControllerGone", "its ReplicaSet owner is not there to re-create it"}},
		"of a controller that nobody watches":     {change: func(w *World, pod *v1.Pod) { w.Controllers, pod.OwnerReferences[0].APIVersion = nil, "x.io/v1" }, want: Verdict{Fate: Moves}},
		"of few":                                  {change: func(w *World, _ *v1.Pod) { w.Config.MinReplicas = 3 }, want: Verdict{Stays, "MinReplicas", "its ReplicaSet owner wants 2 replicas, and has to want 3"}},
		"of kube-system":                          {change: system, want: Verdict{Stays, "SystemPod", "it is of kube-system, and no PodDisruptionBudget covers it"}},
		"of kube-system, but safe":                {change: of(system, safely), want: Verdict{Fate: Moves}},
		"of kube-system, if that does not matter": {change: of(system, func(w *World, _ *v1.Pod) { w.Config.SkipSystemPods = false }), want: Verdict{Fate: Moves}},
		"of kube-system, with a budget": {change: of(system, func(w *World, pod *v1.Pod) {
			b := pdb("web", 1, 0, pod)
			b.Object.Namespace = metav1.NamespaceSystem
			w.Budgets = []disruption.Budget{b}
		}), want: Verdict{Fate: Moves}},
		"local storage":                          {change: disk, want: Verdict{Stays, "LocalStorage", "its volume scratch is on the disk of the node"}},
		"local storage, but safe":                {change: of(disk, safely), want: Verdict{Fate: Moves}},
		"local storage that may be lost":         {change: of(disk, note(SafeVolumes, "other,scratch")), want: Verdict{Fate: Moves}},
		"local storage, if that does not matter": {change: of(disk, func(w *World, _ *v1.Pod) { w.Config.SkipLocalStorage = false }), want: Verdict{Fate: Moves}},
		"a path of the host": {change: func(_ *World, pod *v1.Pod) {
			pod.Spec.Volumes = []v1.Volume{{Name: "logs", VolumeSource: v1.VolumeSource{HostPath: &v1.HostPathVolumeSource{}}}}
		}, want: Verdict{Stays, "LocalStorage", "its volume logs is on the disk of the node"}},
		"memory": {change: func(_ *World, pod *v1.Pod) {
			pod.Spec.Volumes = []v1.Volume{{Name: "m", VolumeSource: v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{Medium: v1.StorageMediumMemory}}}}
		}, want: Verdict{Fate: Moves}},
		"local volume": {change: func(w *World, _ *v1.Pod) { w.Volumes = map[types.UID][]Volume{"db-0": {{"pv-7", hostname("n0")}}} }, want: Verdict{Stays, "LocalVolume", "its volume pv-7 can be reached from no other node"}},
		"volume that two reach": {change: func(w *World, _ *v1.Pod) {
			w.Volumes = map[types.UID][]Volume{"db-0": {{"pv-7", hostname("n0", "n1")}}}
		}, want: Verdict{Fate: Moves}},
		"volume that is nowhere": {change: func(w *World, _ *v1.Pod) { w.Volumes = map[types.UID][]Volume{"db-0": {{"pv-7", hostname("n9")}}} }, want: Verdict{Stays, "LocalVolume", "its volume pv-7 can be reached from no other node"}},
		"a slot":                 {change: set(func(*Set, *v1.Pod) {}), want: Verdict{Fate: Moves}},
		"a slot is absent":       {change: set(func(s *Set, _ *v1.Pod) { s.Absent = []int{3, 4} }), want: Verdict{Waits, "Turn", "ordinal 4 of prod/db is absent"}},
		"a slot is deleted":      {change: set(func(s *Set, _ *v1.Pod) { deleted(s.Slots[1].Pod, 0) }), want: Verdict{Waits, "Turn", "ordinal 1 of prod/db is being deleted"}},
		"a slot is not ready":    {change: set(func(s *Set, _ *v1.Pod) { unready(s.Slots[2].Pod) }), want: Verdict{Waits, "Turn", "ordinal 2 of prod/db is not ready"}},
		"a slot is not ready for long": {change: set(func(s *Set, _ *v1.Pod) {
			s.MinReady = time.Minute
			s.Slots[2].Pod.Status.Conditions[0].LastTransitionTime = metav1.NewTime(noon.Add(-20 * time.Second))
		}), want: Verdict{Waits, "Turn", "ordinal 2 of prod/db is ready for 20s, and has to be for 1m0s"}},
		"what is down waits for no other": {change: set(func(s *Set, pod *v1.Pod) { s.Absent = []int{3}; unready(s.Slots[2].Pod); unready(pod) }), want: Verdict{Fate: Moves}},
		"but for one that is deleted":     {change: set(func(s *Set, pod *v1.Pod) { deleted(s.Slots[1].Pod, 0); unready(pod) }), want: Verdict{Waits, "Turn", "ordinal 1 of prod/db is being deleted"}},
		"quorum":                          {change: set(func(s *Set, _ *v1.Pod) { s.Quorum = 3 }), want: Verdict{Waits, "Quorum", "3 of 3 slots of prod/db are available, and the quorum is 3"}},
		"above quorum":                    {change: set(func(s *Set, _ *v1.Pod) { s.Quorum = 2 }), want: Verdict{Fate: Moves}},
		"no budget left":                  {change: func(w *World, pod *v1.Pod) { w.Budgets = []disruption.Budget{pdb("web", 0, 1, pod)} }, want: Verdict{Waits, "Budget", "PodDisruptionBudget web: 0 disruptions are allowed, and 1 of 1 pods that it needs are available"}},
		"no budget left, however safe":    {change: of(safely, func(w *World, pod *v1.Pod) { w.Budgets = []disruption.Budget{pdb("web", 0, 1, pod)} }), want: Verdict{Waits, "Budget", "PodDisruptionBudget web: 0 disruptions are allowed, and 1 of 1 pods that it needs are available"}},
		"two budgets": {change: func(w *World, pod *v1.Pod) {
			w.Budgets = []disruption.Budget{pdb("web", 1, 0, pod), pdb("all", 1, 0, pod)}
		}, want: Verdict{Waits, "Budget", "2 PodDisruptionBudgets cover the pod, and such a pod can not be evicted"}},
	} {
		t.Run(name, func(t *testing.T) {
			pod := running("db-0", "ReplicaSet")
			w := World{Now: noon, Config: DefaultConfig(), Controllers: map[types.UID]Controller{"owner": {Replicas: 2}}}
			for _, name := range []string{"n0", "n1"} {
				w.Nodes = append(w.Nodes, st.MakeNode().Name(name).Label(v1.LabelHostname, name).Obj())
			}
			tc.change(&w, pod)
			if diff := cmp.Diff(tc.want, NewJudge(w).Pod(pod)); diff != "" {
				t.Errorf("verdict (-want +got):\n%s", diff)
			}
		})
	}
}

// What moves on one node counts for the others: once for each set and budget.
func TestTake(t *testing.T) {
	pods := []*v1.Pod{running("db-0", "StatefulSet"), running("db-1", "StatefulSet"), running("db-2", "StatefulSet"), running("db-3", "StatefulSet")}
	w := World{
		Now: noon, Config: DefaultConfig(), Controllers: map[types.UID]Controller{"owner": {Replicas: 4}},
		Budgets: []disruption.Budget{pdb("web", 2, 2, pods...)},
	}
	j := NewJudge(w)
	j.Take(pods[0], pods[1])
	if got := j.Pod(pods[2]); got.Fate != Moves {
		t.Errorf("after one of two: %+v", got)
	}
	j.Take(pods[2])
	if got := j.Pod(pods[3]); got.Rule != "Budget" {
		t.Errorf("after two of two: %+v", got)
	}
	w.Sets, w.Budgets = []Set{db(0, pods...)}, nil
	j = NewJudge(w)
	j.Take(pods[2], pods[1])
	if got := j.Pod(pods[3]); got.Reason != "ordinal 2 of prod/db is on its way" {
		t.Errorf("after another slot: %+v", got)
	}
	if got := j.Ordinal(pods[3]); got != 3 {
		t.Errorf("ordinal %d, want 3", got)
	}
}
