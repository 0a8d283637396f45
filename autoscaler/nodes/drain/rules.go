// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package drain

import (
	"fmt"
	"slices"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"github.com/berth-dev/berth/autoscaler/disruption"
)

// The annotations are Cluster Autoscaler's.
const (
	// SafeToEvict is "true", "false" or "on-completion".
	SafeToEvict = "cluster-autoscaler.kubernetes.io/safe-to-evict"
	// SafeVolumes names volumes whose content may be lost, with commas between them.
	SafeVolumes = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"
	// DaemonPod is "true" on pods that are to be taken for those of a DaemonSet.
	DaemonPod = "cluster-autoscaler.kubernetes.io/daemonset-pod"
)

// lost is how long after its grace period a pod is taken for gone: PodLongTerminatingExtraThreshold of Cluster Autoscaler.
const lost = 30 * time.Second

// rule says what becomes of a pod, and why, or nothing.
type rule struct {
	name  string
	judge func(*Judge, *v1.Pod) (Fate, string)
}

// rules are asked in this order: who is no obstacle, who is one for good, who is one now.
func rules() []rule {
	return []rule{
		{"Mirror", mirror},
		{"Daemon", daemon},
		{"Finished", finished},
		{"Terminating", terminating},
		{"NotSafeToEvict", notSafe},
		{"OnCompletion", onCompletion},
		{"NotReplicated", notReplicated},
		{"ControllerGone", controllerGone},
		{"MinReplicas", minReplicas},
		{"SystemPod", systemPod},
		{"LocalStorage", localStorage},
		{"LocalVolume", localVolume},
		{"Turn", turn},
		{"Quorum", quorum},
		{"Budget", budget},
	}
}

func mirror(_ *Judge, pod *v1.Pod) (Fate, string) {
	if _, is := pod.Annotations[v1.MirrorPodAnnotationKey]; is {
		return Ends, "the kubelet makes it from a file"
	}
	return "", ""
}

func daemon(_ *Judge, pod *v1.Pod) (Fate, string) {
	owner := metav1.GetControllerOfNoCopy(pod)
	if owner != nil && owner.Kind == "DaemonSet" || pod.Annotations[DaemonPod] == "true" {
		return Ends, "there is one for each node"
	}
	return "", ""
}

func finished(_ *Judge, pod *v1.Pod) (Fate, string) {
	if pod.Status.Phase == v1.PodSucceeded || pod.Status.Phase == v1.PodFailed {
		return Ends, "it is over"
	}
	return "", ""
}

// terminating: a pod that should have ended for some time is held up by its kubelet, and ends with the node.
func terminating(j *Judge, pod *v1.Pod) (Fate, string) {
	if pod.DeletionTimestamp == nil {
		return "", ""
	}
	if end := j.end(pod); !j.world.Now.Before(end) {
		return Ends, fmt.Sprintf("it should have ended %s ago", j.world.Now.Sub(end)+lost)
	}
	return Leaves, "it is being deleted"
}

// end is when a pod that is being deleted is taken for gone.
func (j *Judge) end(pod *v1.Pod) time.Time {
	end := pod.DeletionTimestamp.Time
	if grace := pod.DeletionGracePeriodSeconds; grace != nil {
		end = end.Add(min(0, j.world.Config.MaxGracefulTermination-time.Duration(*grace)*time.Second))
	}
	return end.Add(lost)
}

func notSafe(_ *Judge, pod *v1.Pod) (Fate, string) {
	if pod.Annotations[SafeToEvict] == "false" {
		return Stays, "annotation " + SafeToEvict + " is false"
	}
	return "", ""
}

func onCompletion(_ *Judge, pod *v1.Pod) (Fate, string) {
	if pod.Annotations[SafeToEvict] == "on-completion" {
		return Waits, "annotation " + SafeToEvict + " waits for its completion"
	}
	return "", ""
}

// safe pods are spared the rules about what is lost with a pod, not those about who needs it.
func safe(pod *v1.Pod) bool { return pod.Annotations[SafeToEvict] == "true" }

func notReplicated(_ *Judge, pod *v1.Pod) (Fate, string) {
	if metav1.GetControllerOfNoCopy(pod) == nil && !safe(pod) {
		return Stays, "it has no controller that would re-create it"
	}
	return "", ""
}

func controllerGone(j *Judge, pod *v1.Pod) (Fate, string) {
	owner := metav1.GetControllerOfNoCopy(pod)
	if owner == nil || safe(pod) || !known(owner) {
		return "", ""
	}
	if _, there := j.world.Controllers[owner.UID]; !there {
		return Stays, fmt.Sprintf("its %s %s is not there to re-create it", owner.Kind, owner.Name)
	}
	return "", ""
}

func minReplicas(j *Judge, pod *v1.Pod) (Fate, string) {
	owner := metav1.GetControllerOfNoCopy(pod)
	if owner == nil || owner.Kind != "ReplicaSet" || !known(owner) {
		return "", ""
	}
	if replicas, least := j.world.Controllers[owner.UID].Replicas, j.world.Config.MinReplicas; replicas < least {
		return Stays, fmt.Sprintf("its ReplicaSet %s wants %d replicas, and has to want %d", owner.Name, replicas, least)
	}
	return "", ""
}

// known tells whether Controllers would have the owner.
func known(owner *metav1.OwnerReference) bool {
	return strings.HasPrefix(owner.APIVersion, "apps/") && (owner.Kind == "ReplicaSet" || owner.Kind == "StatefulSet")
}

func systemPod(j *Judge, pod *v1.Pod) (Fate, string) {
	if j.world.Config.SkipSystemPods && pod.Namespace == metav1.NamespaceSystem && !safe(pod) && !j.ledger.Covered(pod) {
		return Stays, "it is of kube-system, and no PodDisruptionBudget covers it"
	}
	return "", ""
}

func localStorage(j *Judge, pod *v1.Pod) (Fate, string) {
	if !j.world.Config.SkipLocalStorage || safe(pod) {
		return "", ""
	}
	spared := strings.Split(pod.Annotations[SafeVolumes], ",")
	for _, volume := range pod.Spec.Volumes {
		local := volume.HostPath != nil || volume.EmptyDir != nil && volume.EmptyDir.Medium != v1.StorageMediumMemory
		if local && !slices.Contains(spared, volume.Name) {
			return Stays, fmt.Sprintf("its volume %s is on the disk of the node", volume.Name)
		}
	}
	return "", ""
}

// localVolume: the reason is the node, whatever else the simulation would find.
func localVolume(j *Judge, pod *v1.Pod) (Fate, string) {
	for _, volume := range j.world.Volumes[pod.UID] {
		if !j.reachedBeside(pod.Spec.NodeName, volume) {
			return Stays, fmt.Sprintf("its volume %s can be reached from no other node", volume.Name)
		}
	}
	return "", ""
}

// reachedBeside tells whether another node than the one reaches a volume.
func (j *Judge) reachedBeside(node string, volume Volume) bool {
	key := reachKey{volume.Name, node}
	reached, known := j.reach[key]
	if known {
		return reached
	}
	selector := nodeaffinity.NewLazyErrorNodeSelector(volume.Affinity)
	reached = slices.ContainsFunc(j.world.Nodes, func(n *v1.Node) bool {
		if n.Name == node {
			return false
		}
		ok, err := selector.Match(n)
		return ok && err == nil
	})
	j.reach[key] = reached
	return reached
}

// turn: one slot of a set is on its way at a time. One that is not ready may be the very one that an absent
// or unready slot waits for, and takes nothing from them.
func turn(j *Judge, pod *v1.Pod) (Fate, string) {
	s := j.sets[pod.UID]
	if s == nil {
		return "", ""
	}
	if s.taken != nil && s.taken.Pod.UID != pod.UID {
		return Waits, fmt.Sprintf("ordinal %d of %s is on its way", s.taken.Ordinal, s.Name)
	}
	for _, other := range s.Slots {
		if other.Pod.UID != pod.UID && other.Pod.DeletionTimestamp != nil {
			return Waits, fmt.Sprintf("ordinal %d of %s is being deleted", other.Ordinal, s.Name)
		}
	}
	if !disruption.Ready(pod) {
		return "", ""
	}
	if len(s.Absent) > 0 {
		return Waits, fmt.Sprintf("ordinal %d of %s is absent", slices.Max(s.Absent), s.Name)
	}
	for _, other := range s.Slots {
		if other.Pod.UID == pod.UID {
			continue
		}
		if !disruption.Ready(other.Pod) {
			return Waits, fmt.Sprintf("ordinal %d of %s is not ready", other.Ordinal, s.Name)
		}
		if been := j.world.Now.Sub(readySince(other.Pod)); been < s.MinReady {
			return Waits, fmt.Sprintf("ordinal %d of %s is ready for %s, and has to be for %s", other.Ordinal, s.Name, been, s.MinReady)
		}
	}
	return "", ""
}

// readySince is when a pod became ready; zero if it is not.
func readySince(pod *v1.Pod) time.Time {
	for _, c := range pod.Status.Conditions {
		if c.Type == v1.PodReady && c.Status == v1.ConditionTrue {
			return c.LastTransitionTime.Time
		}
	}
	return time.Time{}
}

func quorum(j *Judge, pod *v1.Pod) (Fate, string) {
	s := j.sets[pod.UID]
	if s == nil || s.Quorum == 0 || !disruption.Ready(pod) || s.available > s.Quorum {
		return "", ""
	}
	return Waits, fmt.Sprintf("%d of %d slots of %s are available, and the quorum is %d", s.available, s.Wanted, s.Name, s.Quorum)
}

func budget(j *Judge, pod *v1.Pod) (Fate, string) {
	if over := j.ledger.Over(pod, true); over != "" {
		return Waits, over
	}
	return "", ""
}
