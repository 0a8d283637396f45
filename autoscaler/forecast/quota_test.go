// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package forecast

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/resourcequota"
	upstream "k8s.io/apiserver/pkg/quota/v1"
	"k8s.io/kubernetes/pkg/quota/v1/evaluator/core"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
)

func evaluators() (pods, claims upstream.Evaluator) {
	return core.NewPodEvaluator(nil, clock.RealClock{}), core.NewPersistentVolumeClaimEvaluator(nil)
}

// hard is a quota of which so much is used.
func hard(name string, amounts ...string) *v1.ResourceQuota {
	q := &v1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: name}, Status: v1.ResourceQuotaStatus{Hard: v1.ResourceList{}, Used: v1.ResourceList{}}}
	for i := 0; i < len(amounts); i += 3 {
		q.Status.Hard[v1.ResourceName(amounts[i])] = resource.MustParse(amounts[i+1])
		q.Status.Used[v1.ResourceName(amounts[i])] = resource.MustParse(amounts[i+2])
	}
	q.Spec.Hard = q.Status.Hard
	return q
}

func scoped(q *v1.ResourceQuota, scope v1.ResourceQuotaScope) *v1.ResourceQuota {
	q.Spec.Scopes = []v1.ResourceQuotaScope{scope}
	return q
}

func TestQuota(t *testing.T) {
	ofClass := hard("gold", "pods", "1", "1")
	ofClass.Spec.ScopeSelector = &v1.ScopeSelector{MatchExpressions: []v1.ScopedResourceSelectorRequirement{
		{ScopeName: v1.ResourceQuotaScopePriorityClass, Operator: v1.ScopeSelectorOpIn, Values: []string{"gold"}}}}
	another := hard("another", "pods", "0", "0")
	another.Namespace = "test"
	for name, tc := range map[string]struct {
		quotas []*v1.ResourceQuota
		class  string
		pods   int
		held   string
	}{
		"room":                       {[]*v1.ResourceQuota{hard("compute", "requests.cpu", "10", "1")}, "", 4, ""},
		"cpu for two":                {[]*v1.ResourceQuota{hard("compute", "requests.cpu", "3500m", "1")}, "", 2, "ResourceQuota compute has no room for the next one: requests.cpu 3 of 3500m are used, with those that come first, and it takes 1"},
		"a number of pods":           {[]*v1.ResourceQuota{hard("count", "pods", "3", "2")}, "", 1, "ResourceQuota count has no room for the next one: pods 3 of 3 are used, with those that come first, and it takes 1"},
		"storage for three":          {[]*v1.ResourceQuota{hard("disk", "requests.storage", "30Gi", "0")}, "", 3, "ResourceQuota disk has no room for the next one: requests.storage 30Gi of 30Gi are used, with those that come first, and it takes 10Gi"},
		"storage for half a pod":     {[]*v1.ResourceQuota{hard("disk", "requests.storage", "15Gi", "0", "persistentvolumeclaims", "9", "0")}, "two", 0, "ResourceQuota disk has no room for the next one: requests.storage 10Gi of 15Gi are used, with those that come first, and it takes 10Gi"},
		"the tightest of two":        {[]*v1.ResourceQuota{hard("b", "pods", "3", "0"), hard("a", "pods", "2", "0")}, "", 2, "ResourceQuota a has no room for the next one: pods 2 of 2 are used, with those that come first, and it takes 1"},
		"a request that is not made": {[]*v1.ResourceQuota{hard("compute", "limits.cpu", "3", "0")}, "", 0, "ResourceQuota compute: must specify limits.cpu for: db,injected"},
		"of best effort":             {[]*v1.ResourceQuota{scoped(hard("effort", "pods", "0", "0"), v1.ResourceQuotaScopeBestEffort)}, "", 4, ""},
		"of what is not":             {[]*v1.ResourceQuota{scoped(hard("effort", "pods", "1", "0"), v1.ResourceQuotaScopeNotBestEffort)}, "", 1, "ResourceQuota effort has no room for the next one: pods 1 of 1 are used, with those that come first, and it takes 1"},
		"of what has no end":         {[]*v1.ResourceQuota{scoped(hard("jobs", "pods", "0", "0"), v1.ResourceQuotaScopeTerminating)}, "", 4, ""},
		"of a priority class":        {[]*v1.ResourceQuota{ofClass}, "gold", 0, "ResourceQuota gold has no room for the next one: pods 1 of 1 are used, with those that come first, and it takes 1"},
		"of another":                 {[]*v1.ResourceQuota{ofClass}, "silver", 4, ""},
		"of another namespace":       {[]*v1.ResourceQuota{another}, "", 4, ""},
		"overdrawn, of nothing":      {[]*v1.ResourceQuota{hard("gpu", "requests.nvidia.com/gpu", "1", "2")}, "", 4, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s, live := set("db"), pod("db-0", "rev-2")
			s.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests = v1.ResourceList{v1.ResourceStorage: resource.MustParse("10Gi")}
			for i := range live.Spec.Containers {
				live.Spec.Containers[i].Resources.Requests = amounts("500m -")
			}
			if live.Spec.PriorityClassName = tc.class; tc.class == "two" {
				wal := s.Spec.VolumeClaimTemplates[0].DeepCopy()
				wal.Name = "wal"
				s.Spec.VolumeClaimTemplates = append(s.Spec.VolumeClaimTemplates, *wal)
			}
			in := on(OfSet(s, 5, []*v1.Pod{live}, nil))
			in.Quotas = tc.quotas
			in.Meters.Pods, in.Meters.Claims = evaluators()
			d := Decide(in)
			held := ""
			if len(d.Held) > 0 {
				held = d.Held[0].Reason
			}
			if diff := cmp.Diff(tc.held, held); len(d.Pods) != tc.pods || len(d.Claims) != tc.pods || diff != "" {
				t.Errorf("%d pods with %d claims, want %d; held (-want +got):\n%s", len(d.Pods), len(d.Claims), tc.pods, diff)
			}
		})
	}
}

// What the API server admits one by one is foreseen, and nothing else.
func TestQuotasAsTheAPIServer(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 36))
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	refused := 0
	for range 300 {
		var quotas []*v1.ResourceQuota
		for i := range 1 + r.IntN(3) {
			q := hard(fmt.Sprintf("q%d", i))
			for range 1 + r.IntN(3) {
				name := v1.ResourceName(pick("pods", "count/pods", "cpu", "requests.cpu", "limits.memory", "memory", "requests.storage", "persistentvolumeclaims", "late.storageclass.storage.k8s.io/requests.storage"))
				q.Status.Hard[name] = *resource.NewQuantity(int64(r.IntN(12)), resource.DecimalSI)
				q.Status.Used[name] = *resource.NewQuantity(int64(r.IntN(4)), resource.DecimalSI)
			}
			switch r.IntN(4) {
			case 0:
				q.Spec.Scopes = []v1.ResourceQuotaScope{v1.ResourceQuotaScope(pick("BestEffort", "NotBestEffort", "Terminating", "NotTerminating"))}
			case 1:
				q.Spec.ScopeSelector = &v1.ScopeSelector{MatchExpressions: []v1.ScopedResourceSelectorRequirement{
					{ScopeName: v1.ResourceQuotaScopePriorityClass, Operator: v1.ScopeSelectorOpIn, Values: []string{pick("gold", "silver")}}}}
			}
			quotas = append(quotas, q)
		}
		s, live := set("db"), pod("db-0", "rev-2")
		for i := range live.Spec.Containers {
			live.Spec.Containers[i].Resources = v1.ResourceRequirements{Requests: amounts(pick("1 1", "- -", "2 -")), Limits: amounts(pick("2 2", "- -", "- 1"))}
		}
		live.Spec.PriorityClassName = pick("", "gold", "silver")
		s.Spec.VolumeClaimTemplates[0].Spec = v1.PersistentVolumeClaimSpec{
			StorageClassName: ptr.To("late"), Resources: v1.VolumeResourceRequirements{Requests: v1.ResourceList{v1.ResourceStorage: resource.MustParse(pick("1", "3"))}}}
		in := on(OfSet(s, 7, []*v1.Pod{live}, nil))
		in.Quotas = quotas
		pods, claims := evaluators()
		in.Meters = Meters{pods, claims}
		d := Decide(in)

		free := in
		free.Quotas = nil
		left := make([]v1.ResourceQuota, len(quotas))
		for i, q := range quotas {
			left[i] = *q.DeepCopy()
		}
		all, want := Decide(free), 0
		for i, p := range all.Pods {
			after, err := check(left, all.Claims[i], claims)
			if err == nil {
				after, err = check(after, p, pods)
			}
			if err != nil {
				refused++
				break
			}
			left, want = after, want+1
		}
		if len(d.Pods) != want {
			t.Fatalf("%d pods, the API server admits %d: held %+v\n%+v", len(d.Pods), want, d.Held, quotas)
		}
	}
	if refused < 100 {
		t.Errorf("only %d of 300 stories end with a refusal", refused)
	}
}

// check is the API server's own judgement of one create.
func check(quotas []v1.ResourceQuota, object runtime.Object, by upstream.Evaluator) ([]v1.ResourceQuota, error) {
	attributes := admission.NewAttributesRecord(object, nil, v1.SchemeGroupVersion.WithKind("Any"), "prod", "",
		by.GroupResource().WithVersion("v1"), "", admission.Create, &metav1.CreateOptions{}, false, nil)
	return resourcequota.CheckRequest(quotas, attributes, by, nil)
}
