// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package forecast

import (
	"fmt"
	"slices"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
)

// Meter measures what one kind of object costs a ResourceQuota. Kubernetes' own
// evaluators, in k8s.io/kubernetes/pkg/quota/v1/evaluator/core, are meters.
type Meter interface {
	// Matches tells whether the quota is about such an object, scopes included.
	Matches(quota *v1.ResourceQuota, object runtime.Object) (bool, error)
	// MatchingResources are those of the names that are measured.
	MatchingResources(names []v1.ResourceName) []v1.ResourceName
	// Constraints is an error where the object does not say what has to be measured.
	Constraints(required []v1.ResourceName, object runtime.Object) error
	Usage(object runtime.Object) (v1.ResourceList, error)
}

// Meters are those of pods and of claims. Without them quotas are not looked at.
type Meters struct{ Pods, Claims Meter }

// quotas are the ResourceQuotas with what future pods take of them.
type quotas struct {
	meters Meters
	// of are those of each namespace, by name.
	of map[string][]*quota
}

type quota struct {
	*v1.ResourceQuota
	used v1.ResourceList
}

func newQuotas(all []*v1.ResourceQuota, meters Meters) *quotas {
	q := &quotas{meters: meters, of: map[string][]*quota{}}
	if meters.Pods == nil || meters.Claims == nil {
		return q
	}
	for _, one := range all {
		q.of[one.Namespace] = append(q.of[one.Namespace], &quota{one, one.Status.Used.DeepCopy()})
	}
	for _, of := range q.of {
		slices.SortFunc(of, func(a, b *quota) int {
			if a.Name < b.Name {
				return -1
			}
			return 1
		})
	}
	return q
}

// bill is what one object takes of one quota.
type bill struct {
	of   *quota
	uses v1.ResourceList
}

// charge takes a pod and its claims from all quotas that are about them; or it
// takes nothing and says which has no room, and why.
func (q *quotas) charge(pod *v1.Pod, claims []*v1.PersistentVolumeClaim) string {
	of := q.of[pod.Namespace]
	if len(of) == 0 {
		return ""
	}
	bills, why := meter(of, q.meters.Pods, pod, nil)
	for _, claim := range claims {
		if why == "" {
			bills, why = meter(of, q.meters.Claims, claim, bills)
		}
	}
	if why != "" {
		return why
	}
	for _, b := range bills {
		b.of.used = sum(b.of.used, b.uses)
	}
	return ""
}

// meter adds the bills of an object to those before it.
func meter(of []*quota, by Meter, object runtime.Object, bills []bill) ([]bill, string) {
	for _, q := range of {
		matches, err := by.Matches(q.ResourceQuota, object)
		if err != nil {
			return nil, fmt.Sprintf("ResourceQuota %s: %v", q.Name, err)
		}
		if !matches {
			continue
		}
		var hard []v1.ResourceName
		for name := range q.Status.Hard {
			hard = append(hard, name)
		}
		slices.Sort(hard)
		required := by.MatchingResources(hard)
		if err := by.Constraints(required, object); err != nil {
			return nil, fmt.Sprintf("ResourceQuota %s: %v", q.Name, err)
		}
		usage, err := by.Usage(object)
		if err != nil {
			return nil, fmt.Sprintf("ResourceQuota %s: %v", q.Name, err)
		}
		uses := v1.ResourceList{}
		for _, name := range hard {
			if amount, ok := usage[name]; ok && !amount.IsZero() {
				uses[name] = amount
			}
		}
		if why := q.lacks(hard, uses, bills); why != "" {
			return nil, why
		}
		bills = append(bills, bill{q, uses})
	}
	return bills, ""
}

// lacks says what the quota has too little of.
func (q *quota) lacks(names []v1.ResourceName, uses v1.ResourceList, bills []bill) string {
	used := q.used
	for _, b := range bills {
		if b.of == q {
			used = sum(used, b.uses)
		}
	}
	for _, name := range names {
		amount, ok := uses[name]
		if !ok {
			continue
		}
		limit, is := q.Status.Hard[name], used[name]
		if after := plus(is, amount); after.Cmp(limit) > 0 {
			return fmt.Sprintf("ResourceQuota %s has no room for the next one: %s %s of %s are used, with those that come first, and it takes %s",
				q.Name, name, is.String(), limit.String(), amount.String())
		}
	}
	return ""
}

func sum(a, b v1.ResourceList) v1.ResourceList {
	total := a.DeepCopy()
	if total == nil {
		total = v1.ResourceList{}
	}
	for name, amount := range b {
		total[name] = plus(total[name], amount)
	}
	return total
}

func plus(a, b resource.Quantity) resource.Quantity {
	total := a.DeepCopy()
	total.Add(b)
	return total
}
