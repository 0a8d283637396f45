// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package policies

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
)

// Verdict is what became of a policy.
type Verdict struct {
	Namespace, Name string
	Generation      int64
	// Accepted tells that the policy is valid; the message lists every field
	// that is not.
	Accepted                        bool
	AcceptedReason, AcceptedMessage string
	// Conflicted tells that an older policy places a set this one is for; the
	// message names both.
	Conflicted                          bool
	ConflictedReason, ConflictedMessage string

	object *v1alpha1.PlacementPolicy
}

// UID is that of the policy.
func (v Verdict) UID() types.UID { return v.object.UID }

// Verdicts judges every policy, sorted by namespace and name, in view of the
// StatefulSets that exist. Two policies that name the same StatefulSet are in
// conflict even if it does not exist.
func (b *Book) Verdicts(sets []*appsv1.StatefulSet) []Verdict {
	inNamespace := map[string][]*appsv1.StatefulSet{}
	for _, set := range sets {
		inNamespace[set.Namespace] = append(inNamespace[set.Namespace], set)
	}
	var verdicts []Verdict
	b.chapters.Range(func(key, _ any) bool {
		if namespace, ok := key.(string); ok {
			verdicts = append(verdicts, b.chapter(namespace).verdicts(inNamespace[namespace])...)
		}
		return true
	})
	slices.SortFunc(verdicts, func(a, b Verdict) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return verdicts
}

func (c *chapter) verdicts(sets []*appsv1.StatefulSet) []Verdict {
	lost := map[*entry][]loss{}
	note := func(set string, matching []*entry) {
		for _, e := range matching[min(1, len(matching)):] {
			lost[e] = append(lost[e], loss{set: set, to: matching[0]})
		}
	}
	named := map[string][]*entry{}
	for _, e := range c.all {
		if e.policy != nil && e.target != "" {
			named[e.target] = append(named[e.target], e)
		}
	}
	for _, set := range sets {
		delete(named, set.Name)
		var matching []*entry
		for _, e := range c.all {
			if e.governs(set) {
				matching = append(matching, e)
			}
		}
		note(set.Name, matching)
	}
	for set, matching := range named {
		note(set, matching)
	}
	verdicts := make([]Verdict, len(c.all))
	for i, e := range c.all {
		verdicts[i] = e.verdict(lost[e])
	}
	return verdicts
}

// loss is a set that a policy is for and another one places.
type loss struct {
	set string
	to  *entry
}

func (e *entry) verdict(lost []loss) Verdict {
	v := Verdict{
		Namespace: e.object.Namespace, Name: e.object.Name, Generation: e.object.Generation, object: e.object,
		Accepted: true, AcceptedReason: v1alpha1.ReasonValid, AcceptedMessage: "The policy is valid",
		ConflictedReason: v1alpha1.ReasonNoConflict, ConflictedMessage: "No older policy is for the same set",
	}
	if e.policy == nil {
		v.Accepted, v.AcceptedReason = false, v1alpha1.ReasonInvalid
		texts := make([]string, len(e.errs))
		for i, err := range e.errs {
			texts[i] = err.Error()
		}
		v.AcceptedMessage = strings.Join(texts, "; ") + "; the policy has no effect"
	}
	if len(lost) > 0 {
		slices.SortFunc(lost, func(a, b loss) int { return cmp.Compare(a.set, b.set) })
		v.Conflicted, v.ConflictedReason, v.ConflictedMessage = true, v1alpha1.ReasonOlderPolicy, e.conflict(lost)
	}
	return v
}

func (e *entry) conflict(lost []loss) string {
	first := lost[0]
	made := first.to.object.CreationTimestamp.UTC().Format(time.RFC3339)
	why := fmt.Sprintf("older (%s)", made)
	if first.to.object.CreationTimestamp.Equal(&e.object.CreationTimestamp) {
		why = fmt.Sprintf("as old (%s) and comes first by name", made)
	}
	others := ""
	if n := len(lost) - 1; n > 0 {
		others = fmt.Sprintf(", nor on %d more that older policies place", n)
	}
	return fmt.Sprintf("StatefulSet %s is placed by PlacementPolicy %q, which is %s; this one has no effect on it%s",
		first.set, first.to.object.Name, why, others)
}

// Judged returns the policy with the verdict in its status, to be written by
// Client.UpdateStatus, and whether that says anything new. Conditions keep the
// time of their last transition.
func (v Verdict) Judged(now time.Time) (policy *v1alpha1.PlacementPolicy, changed bool) {
	policy = v.object.DeepCopy()
	changed = policy.Status.ObservedGeneration != v.Generation
	policy.Status.ObservedGeneration = v.Generation
	for _, c := range []metav1.Condition{
		{Type: v1alpha1.Accepted, Status: status(v.Accepted), Reason: v.AcceptedReason, Message: bounded(v.AcceptedMessage)},
		{Type: v1alpha1.Conflicted, Status: status(v.Conflicted), Reason: v.ConflictedReason, Message: bounded(v.ConflictedMessage)},
	} {
		c.ObservedGeneration, c.LastTransitionTime = v.Generation, metav1.NewTime(now)
		changed = meta.SetStatusCondition(&policy.Status.Conditions, c) || changed
	}
	return policy, changed
}

func status(b bool) metav1.ConditionStatus {
	if b {
		return metav1.ConditionTrue
	}
	return metav1.ConditionFalse
}

// bounded keeps a message within what the schema of a condition takes.
func bounded(message string) string {
	const most = 32768
	if len(message) <= most {
		return message
	}
	return strings.ToValidUTF8(message[:most-3], "") + "..."
}
