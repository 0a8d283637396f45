// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func TestPodsUsing(t *testing.T) {
	pod := func(namespace, name string, volumes ...corev1.VolumeSource) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
		for _, source := range volumes {
			p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: "scratch", VolumeSource: source})
		}
		return p
	}
	claim := func(name string) corev1.VolumeSource {
		return corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name}}
	}
	r := reader(t,
		pod("prod", "db-0", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}, claim("wal-db-0"), claim("data-db-0")),
		pod("prod", "backup", claim("data-db-0")),
		pod("prod", "job", corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}),
		pod("test", "db-0", claim("data-db-0")))
	for name, want := range map[string][]string{"data-db-0": {"backup", "db-0"}, "wal-db-0": {"db-0"}, "job-scratch": {"job"}, "data-db-1": nil} {
		var got []string
		for _, pod := range r.PodsUsing("prod", name) {
			got = append(got, pod.Name)
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("pods using %s (-want +got):\n%s", name, diff)
		}
	}
}

func TestAttaches(t *testing.T) {
	driver := func(name string, attach *bool) *storagev1.CSIDriver {
		return &storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: storagev1.CSIDriverSpec{AttachRequired: attach}}
	}
	r := reader(t, driver("disk", ptr.To(true)), driver("lvm", ptr.To(false)), driver("silent", nil))
	for name, want := range map[string]bool{"disk": true, "lvm": false, "silent": true, "unknown": true} {
		if got := r.Attaches(name); got != want {
			t.Errorf("%s attaches: %t, want %t", name, got, want)
		}
	}
}
