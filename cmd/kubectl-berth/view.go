// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/berth-dev/berth/plugins/statefulset"
	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/pager"
)

// view is what exists in one namespace, and in the cluster what its pods depend
// on. It is the planner's source.
type view struct {
	namespace string
	sets      map[string]*appsv1.StatefulSet
	pods      map[string]*v1.Pod
	claims    map[string]*v1.PersistentVolumeClaim
	nodes     map[string]*v1.Node
	volumes   map[string]*v1.PersistentVolume
	classes   map[string]*storagev1.StorageClass
	policies  *policyShelf
	profiles  profiles
	members   map[statefulset.SetKey]map[int]*member
}

// member is what fills a slot of a set that a policy selects.
type member struct {
	pod    string
	claims []string
}

// survey is what exists, read once: of one namespace or of all, and of the
// cluster what pods depend on.
type survey struct {
	sets     listing[*appsv1.StatefulSet]
	pods     listing[*v1.Pod]
	claims   listing[*v1.PersistentVolumeClaim]
	nodes    listing[*v1.Node]
	volumes  listing[*v1.PersistentVolume]
	classes  listing[*storagev1.StorageClass]
	policies *policyShelf
	profiles profiles
	now      time.Time
	// partial says why only one namespace was read where all were to be.
	partial string
}

// listing is objects by namespace, which is empty for those of the cluster, and
// by name.
type listing[P any] map[string]map[string]P

// look reads everything of the namespace at once; the first thing that can not
// be read is the error.
func (c *cluster) look(ctx context.Context) (*view, error) {
	all, err := c.survey(ctx, c.namespace)
	if err != nil {
		return nil, err
	}
	return all.of(c.namespace), nil
}

// survey reads everything of a namespace, or of all.
func (c *cluster) survey(ctx context.Context, namespace string) (*survey, error) {
	s, core := &survey{now: c.now()}, c.kube.CoreV1()
	err := together(ctx,
		read(&s.sets, "StatefulSets", c.kube.AppsV1().StatefulSets(namespace).List),
		read(&s.pods, "pods", core.Pods(namespace).List),
		read(&s.claims, "PersistentVolumeClaims", core.PersistentVolumeClaims(namespace).List),
		read(&s.nodes, "nodes", core.Nodes().List),
		read(&s.volumes, "PersistentVolumes", core.PersistentVolumes().List),
		read(&s.classes, "StorageClasses", c.kube.StorageV1().StorageClasses().List),
		func(ctx context.Context) (err error) { s.policies, err = shelve(ctx, c.policies); return err },
		func(ctx context.Context) (err error) { s.profiles, err = c.readProfiles(ctx); return err },
	)
	return s, err
}

// of returns the view of one namespace.
func (s *survey) of(namespace string) *view {
	const cluster = metav1.NamespaceNone
	v := &view{
		namespace: namespace,
		sets:      s.sets[namespace], pods: s.pods[namespace], claims: s.claims[namespace],
		nodes: s.nodes[cluster], volumes: s.volumes[cluster], classes: s.classes[cluster],
		policies: s.policies, profiles: s.profiles,
	}
	v.enroll()
	return v
}

// together runs the reads at once. They share one deadline, so that a server
// that is gone is waited for once.
func together(ctx context.Context, reads ...func(context.Context) error) error {
	errs := make(chan error, len(reads))
	for _, read := range reads {
		go func() { errs <- read(ctx) }()
	}
	var first error
	for range reads {
		if err := <-errs; first == nil {
			first = err
		}
	}
	return first
}

// read returns a function that lists objects, page by page, and keeps them.
func read[T any, P interface {
	*T
	metav1.Object
}, L runtime.Object](into *listing[P], what string, list func(context.Context, metav1.ListOptions) (L, error)) func(context.Context) error {
	return func(ctx context.Context) error {
		found := listing[P]{}
		err := visit(ctx, list, func(one P) {
			namespace := one.GetNamespace()
			if found[namespace] == nil {
				found[namespace] = map[string]P{}
			}
			found[namespace][one.GetName()] = one
		})
		*into = found
		return wrap("listing "+what, err)
	}
}

func visit[P metav1.Object, L runtime.Object](ctx context.Context, list func(context.Context, metav1.ListOptions) (L, error), do func(P)) error {
	pages := pager.New(func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return list(ctx, options)
	})
	return pages.EachListItem(ctx, metav1.ListOptions{}, func(obj runtime.Object) error {
		if one, ok := obj.(P); ok {
			do(one)
		}
		return nil
	})
}

// enroll finds out who is in the sets that policies select, as the scheduler
// does.
func (v *view) enroll() {
	v.members = map[statefulset.SetKey]map[int]*member{}
	seat := func(slot statefulset.Slot) *member {
		if v.members[slot.Set] == nil {
			v.members[slot.Set] = map[int]*member{}
		}
		if v.members[slot.Set][slot.Ordinal] == nil {
			v.members[slot.Set][slot.Ordinal] = &member{}
		}
		return v.members[slot.Set][slot.Ordinal]
	}
	for name, pod := range v.pods {
		if slot, ok := v.policies.book.SlotOf(pod); ok {
			its := seat(slot)
			its.pod = max(its.pod, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(v.claims)) {
		if len(statefulset.SlotsOfClaim(v.claims[name].Namespace, name, v.templatesOf)) > 0 {
			continue // a StatefulSet's claims carry the labels of its pods, and are its own
		}
		if slot, ok := v.policies.book.SlotOfClaim(v.claims[name]); ok {
			its := seat(slot)
			its.claims = append(its.claims, name)
		}
	}
}

func (v *view) templatesOf(key statefulset.SetKey) []string {
	if set := v.sets[key.Name]; set != nil {
		return statefulset.Templates(set)
	}
	return nil
}

// slotOf returns the slot that a pod fills.
func (v *view) slotOf(pod *v1.Pod) (statefulset.Slot, bool) {
	if slot, ok := statefulset.SlotOf(pod); ok {
		return slot, true
	}
	return v.policies.book.SlotOf(pod)
}

// Set and the following make the view a statefulset.Source.
func (v *view) Set(key statefulset.SetKey) *appsv1.StatefulSet { return v.sets[key.Name] }

// Members returns the ordinals of a set that a policy selects.
func (v *view) Members(key statefulset.SetKey) []int {
	return slices.Sorted(maps.Keys(v.members[key]))
}

// Member returns what fills a slot of such a set.
func (v *view) Member(slot statefulset.Slot) (pod string, claims []string) {
	if its := v.members[slot.Set][slot.Ordinal]; its != nil {
		return its.pod, its.claims
	}
	return "", nil
}

// Policy returns what places a set, as long as Berth's scheduler does.
func (v *view) Policy(key statefulset.SetKey, schedulerName string) (*statefulset.Policy, error) {
	profile, ours := v.profiles.of(schedulerName)
	if !ours {
		return nil, nil
	}
	if key.Selected {
		return v.policies.book.OfSelected(key), nil
	}
	if set := v.Set(key); set != nil {
		if policy := v.policies.book.OfSet(set); policy != nil {
			return policy, nil
		}
	}
	return profile.placement, nil
}

// Claim returns a claim of the view's namespace.
func (v *view) Claim(_, name string) *v1.PersistentVolumeClaim { return v.claims[name] }

// Volume returns a volume.
func (v *view) Volume(name string) *v1.PersistentVolume { return v.volumes[name] }

// Pod returns a pod of the view's namespace.
func (v *view) Pod(_, name string) *v1.Pod { return v.pods[name] }

// Node returns a node.
func (v *view) Node(name string) *v1.Node { return v.nodes[name] }

// Nodes returns all nodes.
func (v *view) Nodes() []*v1.Node { return slices.Collect(maps.Values(v.nodes)) }

// BoundByScheduler tells whether claims of a class wait for their pod.
func (v *view) BoundByScheduler(storageClass string) bool {
	class := v.classes[storageClass]
	return class != nil && class.VolumeBindingMode != nil && *class.VolumeBindingMode == storagev1.VolumeBindingWaitForFirstConsumer
}
