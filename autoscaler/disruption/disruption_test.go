// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package disruption

import (
	"testing"

	v1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	st "k8s.io/kubernetes/pkg/scheduler/testing"
	"k8s.io/utils/ptr"
)

func web(name string) *v1.Pod {
	return st.MakePod().Namespace("prod").Name(name).Label("app", "web").Phase(v1.PodRunning).Condition(v1.PodReady, v1.ConditionTrue, "").Obj()
}

func budget(name string, allowed, desired, current int32, pods ...*v1.Pod) Budget {
	return Budget{Pods: pods, Object: &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: name},
		Spec:       policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}},
		Status:     policyv1.PodDisruptionBudgetStatus{DisruptionsAllowed: allowed, DesiredHealthy: desired, CurrentHealthy: current},
	}}
}

func TestOver(t *testing.T) {
	a, b, down := web("a"), web("b"), web("down")
	down.Status.Conditions = nil
	leaving := web("leaving")
	leaving.DeletionTimestamp = &metav1.Time{}
	stale := budget("web", 2, 0, 2, a, b)
	stale.Object.Generation = 2
	lenient := budget("web", 0, 2, 1, a, b)
	lenient.Object.Spec.UnhealthyPodEvictionPolicy = ptr.To(policyv1.AlwaysAllow)
	for name, tc := range map[string]struct {
		budgets []Budget
		pod     *v1.Pod
		restart bool
		spent   []*v1.Pod
		want    string
	}{
		"no budget":                              {pod: a},
		"room":                                   {budgets: []Budget{budget("web", 1, 1, 2, a, b)}, pod: a},
		"no room":                                {budgets: []Budget{budget("web", 0, 2, 2, a, b)}, pod: a, want: "PodDisruptionBudget web: 0 disruptions are allowed, and 2 of 2 pods that it needs are available"},
		"its status does not know of a deletion": {budgets: []Budget{budget("web", 1, 1, 2, a, leaving)}, pod: a, want: "PodDisruptionBudget web: 1 disruptions are allowed, and 1 of 1 pods that it needs are available"},
		"its status is of another time":          {budgets: []Budget{stale}, pod: a, want: "PodDisruptionBudget web: its status is not up to date"},
		"spent":                                  {budgets: []Budget{budget("web", 1, 1, 2, a, b)}, pod: a, spent: []*v1.Pod{b}, want: "PodDisruptionBudget web: 1 disruptions are allowed, and 1 of 1 pods that it needs are available"},
		"one after another spend one":            {budgets: []Budget{budget("web", 2, 1, 3, a, b, web("c"))}, pod: a, spent: []*v1.Pod{b, web("c")}},
		"two budgets":                            {budgets: []Budget{budget("web", 1, 1, 2, a, b), budget("all", 1, 1, 2, a, b)}, pod: a, want: "2 PodDisruptionBudgets cover the pod, and such a pod can not be evicted"},
		"two budgets and a restart in place":     {budgets: []Budget{budget("web", 1, 1, 2, a, b), budget("all", 1, 1, 2, a, b)}, pod: a, restart: true},
		"unready, and enough are healthy":        {budgets: []Budget{budget("web", 0, 2, 2, a, b, down)}, pod: down},
		"unready, and too few are":               {budgets: []Budget{budget("web", 0, 2, 1, a, down)}, pod: down, want: "PodDisruptionBudget web: 0 disruptions are allowed, and 1 of 2 pods that it needs are available"},
		"unready, and always allowed":            {budgets: []Budget{lenient}, pod: down},
		"an unready one spends nothing":          {budgets: []Budget{budget("web", 1, 1, 2, a, b, down)}, pod: a, spent: []*v1.Pod{down}},
	} {
		t.Run(name, func(t *testing.T) {
			l := NewLedger(tc.budgets, Ready)
			l.Spend(true, tc.spent...)
			if got := l.Over(tc.pod, !tc.restart); got != tc.want {
				t.Errorf("over %q, want %q", got, tc.want)
			}
			if got := l.Covered(tc.pod); got != (len(tc.budgets) > 0) {
				t.Errorf("covered %t with %d budgets", got, len(tc.budgets))
			}
		})
	}
}
