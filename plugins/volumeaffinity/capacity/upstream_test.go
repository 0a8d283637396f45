// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !race

// Upstream's packages take minutes to build for the race detector, which has
// nothing to find here.

package capacity

import (
	"fmt"
	"math/rand"
	"testing"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/feature"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/volumebinding"
)

// upstream asks the binder of the VolumeBinding plugin.
type upstream struct {
	binder     volumebinding.SchedulerVolumeBinder
	capacities interface {
		Replace([]any, string) error
	}
}

const sizes = 12

// newUpstream knows a claim of each size for each class. Its informers are
// filled by hand and never started.
func newUpstream(t *testing.T) upstream {
	t.Helper()
	factory := informers.NewSharedInformerFactory(fake.NewClientset(), 0)
	core, storage := factory.Core().V1(), factory.Storage().V1()
	binder, err := volumebinding.NewVolumeBinder(klog.Background(), nil, feature.Features{}, core.Pods(), core.Nodes(),
		storage.CSINodes(), core.PersistentVolumeClaims(), core.PersistentVolumes(), storage.StorageClasses(),
		volumebinding.CapacityCheck{CSIDriverInformer: storage.CSIDrivers(), CSIStorageCapacityInformer: storage.CSIStorageCapacities()}, 0)
	if err != nil {
		t.Fatal(err)
	}
	add := func(store interface{ Add(any) error }, o any) {
		if err := store.Add(o); err != nil {
			t.Fatal(err)
		}
	}
	add(storage.CSIDrivers().Informer().GetStore(), &storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: "driver"},
		Spec: storagev1.CSIDriverSpec{StorageCapacity: ptr(true)}})
	for _, class := range []string{"fast", "slow"} {
		add(storage.StorageClasses().Informer().GetStore(), &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: class},
			Provisioner: "driver", VolumeBindingMode: ptr(storagev1.VolumeBindingWaitForFirstConsumer)})
		for bytes := range sizes {
			add(core.PersistentVolumeClaims().Informer().GetStore(), &v1.PersistentVolumeClaim{
				ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: fmt.Sprint(class, bytes)},
				Spec: v1.PersistentVolumeClaimSpec{StorageClassName: &class, Resources: v1.VolumeResourceRequirements{
					Requests: v1.ResourceList{v1.ResourceStorage: *resource.NewQuantity(int64(bytes), resource.BinarySI)}}},
			})
		}
	}
	return upstream{binder, storage.CSIStorageCapacities().Informer().GetIndexer()}
}

func (u upstream) refuses(t *testing.T, pod *v1.Pod, node map[string]string) bool {
	t.Helper()
	claims, err := u.binder.GetPodVolumeClaims(klog.Background(), pod)
	if err != nil {
		t.Fatal(err)
	}
	_, reasons, err := u.binder.FindPodVolumes(klog.Background(), pod, claims, &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: node}})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range reasons {
		if r != volumebinding.ErrReasonNotEnoughSpace {
			t.Fatalf("upstream refuses for %q, which the test does not mean", r)
		}
	}
	return len(reasons) > 0
}

// TestUpstream compares with upstream's binder: a single claim is judged the
// same, several are never judged more leniently.
func TestUpstream(t *testing.T) {
	u := newUpstream(t)
	verdicts := map[string]int{}
	for seed := range int64(5000) {
		rng := rand.New(rand.NewSource(seed))
		l := NewLedger()
		var all []any
		for i := range rng.Intn(5) {
			p := randomPool(rng, fmt.Sprint(i))
			if rng.Intn(4) == 0 && p.Capacity != nil { // rounded up when read
				p.Capacity.Sub(resource.MustParse("500m"))
			}
			all = append(all, p)
			l.SetCapacity(p)
		}
		if err := u.capacities.Replace(all, ""); err != nil {
			t.Fatal(err)
		}
		node := randomNode(rng)
		pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "pod"}}
		var claims []Claim
		for range 1 + rng.Intn(2) {
			class, bytes := []string{"fast", "fast", "fast", "slow"}[rng.Intn(4)], rng.Intn(sizes)
			c := of(class, claim(fmt.Sprint(class, bytes), int64(bytes)))
			claims = append(claims, c)
			pod.Spec.Volumes = append(pod.Spec.Volumes, v1.Volume{VolumeSource: v1.VolumeSource{
				PersistentVolumeClaim: &v1.PersistentVolumeClaimVolumeSource{ClaimName: c.Name}}})
		}
		theirs, ours := u.refuses(t, pod, node), l.Ask(claims).Refuses(node) != ""
		if len(claims) == 1 && theirs != ours || theirs && !ours {
			t.Errorf("seed %d: claims %v: refused by upstream %v, by the ledger %v", seed, claims, theirs, ours)
		}
		verdicts[fmt.Sprint(len(claims), theirs, ours)]++
	}
	for _, kind := range []string{"1 false false", "1 true true", "2 false false", "2 false true", "2 true true"} {
		if verdicts[kind] < 50 {
			t.Errorf("Too few of %q among %v", kind, verdicts)
		}
	}
}
