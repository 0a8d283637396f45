// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package forecast turns replica decisions into the pods that will exist once
// they are carried out.
//
// Decide is a pure function: time and history are values in, the new history
// is a value out. A future pod looks to the scheduler's plugins as the real
// one will: a slot of a set has its ordinal's name, labels, claims and size,
// and all missing ordinals are returned at once, whatever the set's pod
// management policy.
//
// Pods are copies of a live pod of the same revision, with what admission has
// put into it; else of the pod that the API server would create; else they
// are made from the template.
//
// Invariants, each a property test:
//   - a workload never has more pods than are desired of it, existing and
//     future ones together, and with the reserve never more than that allows;
//   - no two names and no two UIDs are the same, and a pod or a claim that
//     exists is never returned;
//   - no ResourceQuota is overdrawn, and the budget is never passed;
//   - each missing pod is either returned or held for a reason;
//   - equal input gives an equal decision, whatever the order of the input.
//
// README.md says whose pods are forecast, and what is not known of them.
package forecast

import (
	"cmp"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Input is everything that a forecast depends on.
type Input struct {
	Now time.Time
	// Budget is the most pods that are returned, those of the reserve included.
	Budget int
	// Timeout is how long pods are foreseen that do not come although nothing
	// is in their way; zero is for ever.
	Timeout   time.Duration
	Workloads []Workload
	// Classes are the StorageClasses, DefaultStorageClass is the one of claims
	// that name none.
	Classes             []*storagev1.StorageClass
	DefaultStorageClass string
	// Quotas bound what may be created, as Meters measure it.
	Quotas []*v1.ResourceQuota
	Meters Meters
	// Unhelped are the pods, future ones too, that no node and no node group
	// could take when they were asked for last, and why.
	Unhelped map[types.NamespacedName]string
	// ResizeMark is the annotation of pods that were resized after they were created.
	ResizeMark string
	History    History
}

// Workload is something that has replicas.
type Workload struct {
	Kind            string
	Namespace, Name string
	// Desired is the number of replicas after this round's decision, Reserve
	// that which decisions to come may bring, if it is more.
	Desired, Reserve int
	// Generation is that of the workload's spec.
	Generation int64
	// Controller will own the pods; nil while it does not exist.
	Controller *metav1.OwnerReference
	// Template is what pods are made from where there is no sample; nil where
	// it is not known.
	Template *v1.PodTemplateSpec
	// RevisionLabel and Revision are carried by pods made from Template. Where
	// pods carry none, those are of it that have its containers and images.
	RevisionLabel, Revision string
	// Pods are the existing pods.
	Pods []*v1.Pod
	// Slots is nil for a workload whose pods are interchangeable.
	Slots *Slots
	// Shaped are the missing pods of an operator's set, which Twin makes. With
	// them Desired, Reserve and Template say nothing.
	Shaped []*v1.Pod
	// Sizes are given to the pods when they are created, the first that fits.
	Sizes []Size
	// Created is what the API server would make of the pod that Unsampled returned.
	Created *v1.Pod
	// Refused says why no pod comes; empty where nothing is known against it.
	Refused string
}

// Key names a workload.
type Key struct{ Kind, Namespace, Name string }

// Key is that of the workload.
func (w Workload) Key() Key { return Key{w.Kind, w.Namespace, w.Name} }

// Slots is what makes the pods of a set different from each other.
type Slots struct {
	// Start is the first ordinal.
	Start int
	// Ordered tells that a slot is filled when all lower ones are ready.
	Ordered bool
	// Service is the name of the governing service.
	Service string
	// Partition is how many of the first slots still get the pod of Before.
	Partition int
	Before    string
	// Selector labels every claim.
	Selector map[string]string
	// Claims are the claim templates, Existing the names of the claims that exist.
	Claims   []v1.PersistentVolumeClaim
	Existing map[string]bool
}

// Decision is what will exist.
type Decision struct {
	Pods []*v1.Pod
	// Reserve are the pods that the next decisions may bring beyond those.
	Reserve []*v1.Pod
	// Claims are those of Pods and Reserve that do not exist yet.
	Claims []*v1.PersistentVolumeClaim
	// Held are the workloads that lack pods which are not returned, and why.
	Held []Held
	// History is the input of the next call.
	History History
}

// Held is a number of missing pods that are not forecast.
type Held struct {
	Kind            string
	Namespace, Name string
	Pods            int
	Reason          string
}

// Decide decides.
func Decide(in Input) Decision {
	workloads := slices.SortedFunc(slices.Values(in.Workloads), func(a, b Workload) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	d := Decision{History: History{Waits: map[Key]Wait{}}}
	lines := make([]*line, len(workloads))
	for i, w := range workloads {
		lines[i] = &line{Workload: w, gap: w.gap(in), classes: classes{in.Classes, in.DefaultStorageClass}, mark: in.ResizeMark}
		lines[i].await(in)
	}
	budget := in.Budget
	quotas := newQuotas(in.Quotas, in.Meters)
	share(lines, quotas, &budget, func(l *line) *queue { return &l.decided })
	share(lines, quotas, &budget, func(l *line) *queue { return &l.reserve })
	for _, l := range lines {
		d.Pods = append(d.Pods, l.decided.pods...)
		d.Reserve = append(d.Reserve, l.reserve.pods...)
		d.Claims = append(d.Claims, l.claims...)
		if held := l.missing - len(l.decided.pods); held > 0 {
			d.Held = append(d.Held, Held{l.Kind, l.Namespace, l.Name, held, l.why(in.Budget)})
		}
		if l.expired || len(l.decided.pods) > 0 {
			d.History.Waits[l.Key()] = l.wait
		}
	}
	return d
}
