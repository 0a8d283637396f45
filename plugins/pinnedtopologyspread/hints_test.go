// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package pinnedtopologyspread

import (
	"testing"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	st "k8s.io/kubernetes/pkg/scheduler/testing"
)

func TestHints(t *testing.T) {
	of := func(objects []runtime.Object) (*v1.PersistentVolumeClaim, *v1.PersistentVolume) {
		return objects[0].(*v1.PersistentVolumeClaim), objects[1].(*v1.PersistentVolume)
	}
	claim, volume := of(bound("data", zone, "a"))
	unbound := claim.DeepCopy()
	unbound.Spec.VolumeName, unbound.Status.Phase = "", v1.ClaimPending
	relabelled := claim.DeepCopy()
	relabelled.Labels = app
	others, othersVolume := of(bound("other", zone, "a"))
	elsewhere := claim.DeepCopy()
	elsewhere.Namespace = "test"
	_, moved := of(bound("data", zone, "b"))
	free := volume.DeepCopy()
	free.Spec.ClaimRef = nil
	same := volume.DeepCopy()
	same.Labels = app
	ephemeral, _ := of(bound("db-0-scratch", zone, "a"))

	pod := member("db-0").PVC("data").Obj()
	pod.Spec.Volumes = append(pod.Spec.Volumes, v1.Volume{Name: "scratch", VolumeSource: v1.VolumeSource{Ephemeral: &v1.EphemeralVolumeSource{}}})
	tests := map[string]struct {
		hint          fwk.QueueingHintFn
		before, after any
		want          fwk.QueueingHint
		wantErr       bool
	}{
		"claim bound":                {isSchedulableAfterClaimChange, unbound, claim, fwk.Queue, false},
		"bound claim added":          {isSchedulableAfterClaimChange, nil, claim, fwk.Queue, false},
		"ephemeral claim bound":      {isSchedulableAfterClaimChange, nil, ephemeral, fwk.Queue, false},
		"claim without a volume":     {isSchedulableAfterClaimChange, nil, unbound, fwk.QueueSkip, false},
		"label of a bound claim":     {isSchedulableAfterClaimChange, claim, relabelled, fwk.QueueSkip, false},
		"claim of another pod":       {isSchedulableAfterClaimChange, nil, others, fwk.QueueSkip, false},
		"claim of another namespace": {isSchedulableAfterClaimChange, nil, elsewhere, fwk.QueueSkip, false},
		"no claim at all":            {isSchedulableAfterClaimChange, nil, st.MakePod().Obj(), fwk.Queue, true},
		"volume known":               {isSchedulableAfterVolumeChange, nil, volume, fwk.Queue, false},
		"volume moved":               {isSchedulableAfterVolumeChange, volume, moved, fwk.Queue, false},
		"volume handed to the claim": {isSchedulableAfterVolumeChange, free, volume, fwk.Queue, false},
		"volume of nobody":           {isSchedulableAfterVolumeChange, nil, free, fwk.QueueSkip, false},
		"label of a volume":          {isSchedulableAfterVolumeChange, volume, same, fwk.QueueSkip, false},
		"volume of another pod":      {isSchedulableAfterVolumeChange, nil, othersVolume, fwk.QueueSkip, false},
		"no volume at all":           {isSchedulableAfterVolumeChange, nil, st.MakePod().Obj(), fwk.Queue, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := tt.hint(klog.FromContext(t.Context()), pod, tt.before, tt.after)
			if got != tt.want || (err != nil) != tt.wantErr {
				t.Errorf("got %v and error %v, want %v and error %v", got, err, tt.want, tt.wantErr)
			}
		})
	}
}
