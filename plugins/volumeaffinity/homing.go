// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package volumeaffinity

import (
	"context"
	"fmt"
	"slices"

	v1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
)

// homing notes in the verdict where the pod is to come back to.
func (pl *VolumeAffinity) homing(v *verdict, pod *v1.Pod) {
	v.home = pl.shared.Homes.Home(pod)
	if v.home.Node == "" {
		return
	}
	if v.home.Required {
		v.home.Certain = false // there is nothing to choose
		v.notHome = []string{fmt.Sprintf(ErrReasonNotHome, v.home.Slot, v.home.Node)}
		return
	}
	home, err := pl.handle.SnapshotSharedLister().NodeInfos().Get(v.home.Node)
	switch {
	case err != nil: // gone
		v.home.Certain = false
	case v.home.Node == v.home.Last && v.home.Attached != v.home.Last && pl.occupied(home, pod):
		v.home.Certain = false // the pod that it replaces is still there
	case pod.Spec.SchedulingGroup != nil:
		v.home.Certain = false // some of the nodes may not be for the group
	case len(pl.handle.Extenders()) > 0:
		v.home.Certain = false // they judge after us, and may refuse it
	}
	if v.home.Certain {
		v.awayNow = []string{fmt.Sprintf(ErrReasonComesHome, subject(v.home, pod), v.home.Node)}
	}
}

// subject is the pod for people, as the slot that it fills if it fills one.
func subject(home Home, pod *v1.Pod) string {
	if home.Slot != "" {
		return home.Slot
	}
	return "pod " + pod.Namespace + "/" + pod.Name
}

// occupied tells whether another pod of the same slot is on the node: one that
// is being replaced by this one and not yet gone.
func (pl *VolumeAffinity) occupied(home fwk.NodeInfo, pod *v1.Pod) bool {
	return slices.ContainsFunc(home.GetPods(), func(info fwk.PodInfo) bool {
		other := info.GetPod()
		return other.UID != pod.UID && other.Namespace == pod.Namespace && pl.shared.Homes.Returns(pod, other)
	})
}

// comesHome returns what is said to all other nodes when the pod fits at home,
// nil when it does not. The first node that asks finds out, with the filters
// of the whole profile: a score could not promise the node, since the
// scheduler scores a sample of the nodes only, and PreFilter can not know yet
// which filters have something to say.
func (pl *VolumeAffinity) comesHome(ctx context.Context, state fwk.CycleState, v *verdict, pod *v1.Pod) []string {
	v.try.Do(func() {
		home, err := pl.handle.SnapshotSharedLister().NodeInfos().Get(v.home.Node)
		if err != nil { // it was there in PreFilter
			v.try.status = fwk.AsStatus(err)
			return
		}
		v.try.status = pl.handle.RunFilterPluginsWithNominatedPods(ctx, state, pod, home)
		v.try.done, v.try.fits = true, v.try.status.IsSuccess()
		klog.FromContext(ctx).V(4).Info("Tried the home of a pod", "pod", klog.KObj(pod), "node", v.home.Node, "fits", v.try.fits, "reason", v.try.status.Message())
	})
	if v.try.fits {
		return v.awayNow
	}
	return nil
}
