// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package policies

import (
	"cmp"
	"regexp"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
	"github.com/berth-dev/berth/plugins/statefulset"
)

// entry is one PlacementPolicy, ready to answer. It is never changed.
type entry struct {
	object *v1alpha1.PlacementPolicy
	// policy is nil when the object is invalid, for the reasons in errs.
	policy *statefulset.Policy
	errs   field.ErrorList
	// target is the name of the StatefulSet; else selector selects. An invalid
	// policy has neither.
	target   string
	selector labels.Selector
	ordinal  *ordinalSource
}

// ordinalSource tells where a pod or claim carries its ordinal.
type ordinalSource struct {
	label string
	name  *regexp.Regexp // for whole names, with one group
}

func newEntry(object *v1alpha1.PlacementPolicy) *entry {
	e := &entry{object: object}
	spec, path := object.Spec.DeepCopy(), field.NewPath("spec")
	spec.Default()
	if e.errs = spec.Validate(path); len(e.errs) > 0 {
		return e
	}
	policy, errs := Compile(object.Name, &spec.Placement, path)
	if len(errs) > 0 {
		e.errs = errs
		return e
	}
	if err := e.aim(spec, path); err != nil {
		e.errs = field.ErrorList{err}
		return e
	}
	e.policy = policy
	return e
}

// aim sets whom the policy is for.
func (e *entry) aim(spec *v1alpha1.PlacementPolicySpec, path *field.Path) *field.Error {
	if spec.TargetRef != nil {
		e.target = spec.TargetRef.Name
		return nil
	}
	selector, err := metav1.LabelSelectorAsSelector(spec.Selector)
	if err != nil {
		return field.Invalid(path.Child("selector"), metav1.FormatLabelSelector(spec.Selector), err.Error())
	}
	e.selector = selector
	if spec.Ordinal == nil {
		return nil
	}
	e.ordinal = &ordinalSource{label: spec.Ordinal.Label}
	if pattern := spec.Ordinal.NamePattern; pattern != "" {
		if e.ordinal.name, err = v1alpha1.CompileNamePattern(pattern); err != nil {
			return field.Invalid(path.Child("ordinal", "namePattern"), pattern, err.Error())
		}
	}
	return nil
}

// refreshed is the entry for another state of its object. With the same spec
// and age it gives the same answers, by the same pointers.
func (e *entry) refreshed(object *v1alpha1.PlacementPolicy) (next *entry, changed bool) {
	if e == nil || !e.object.CreationTimestamp.Equal(&object.CreationTimestamp) || !equality.Semantic.DeepEqual(e.object.Spec, object.Spec) {
		return newEntry(object), true
	}
	same := *e
	same.object = object
	return &same, false
}

// governs tells whether the policy is for a set, others aside.
func (e *entry) governs(set *appsv1.StatefulSet) bool {
	if e.selector != nil {
		return e.selector.Matches(labels.Set(set.Spec.Template.Labels))
	}
	return e.target == set.Name
}

// slot is what an object with these labels and this name fills.
func (e *entry) slot(meta *metav1.ObjectMeta) (statefulset.Slot, bool) {
	if !e.selector.Matches(labels.Set(meta.Labels)) {
		return statefulset.Slot{}, false
	}
	ordinal, ok := e.ordinal.of(meta)
	if !ok {
		return statefulset.Slot{}, false
	}
	key := statefulset.SetKey{Namespace: meta.Namespace, Name: e.object.Name, Selected: true}
	return statefulset.Slot{Set: key, Ordinal: ordinal}, true
}

func (o *ordinalSource) of(meta *metav1.ObjectMeta) (int, bool) {
	if o.name == nil {
		return readOrdinal(meta.Labels[o.label])
	}
	groups := o.name.FindStringSubmatch(meta.Name)
	if groups == nil {
		return 0, false
	}
	return readOrdinal(groups[1])
}

// readOrdinal reads digits without sign and leading zeros, so that two names
// never mean one slot.
func readOrdinal(text string) (int, bool) {
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != text {
		return 0, false
	}
	return int(n), true
}

// byAge puts the policy first that counts among several.
func byAge(a, b *entry) int {
	return cmp.Or(a.object.CreationTimestamp.Compare(b.object.CreationTimestamp.Time), cmp.Compare(a.object.Name, b.object.Name))
}
