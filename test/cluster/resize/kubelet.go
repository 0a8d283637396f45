// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package resize

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/kubelet/allocation"
	"k8s.io/kubernetes/pkg/kubelet/config"
	"k8s.io/kubernetes/pkg/kubelet/events"
	"k8s.io/kubernetes/pkg/kubelet/lifecycle"
	"k8s.io/kubernetes/pkg/kubelet/status"
	schedulerframework "k8s.io/kubernetes/pkg/scheduler/framework"

	"github.com/berth-dev/berth/test/cluster/layout"
)

// kubelet is that of one node: what it has allocated, what it says of it, and what its
// containers have.
type kubelet struct {
	node       *corev1.Node
	pods       []*corev1.Pod // on the node, as they were last seen, without those that have ended
	rooms      allocation.Manager
	conditions status.Manager
	recorder   record.EventRecorderLogger
	running    map[types.UID]*running
}

// running is what a kubelet knows of a pod beside what it has allocated to it.
type running struct {
	// actual are the sizes that the containers have, by name.
	actual map[string]corev1.ResourceRequirements
	// restarts are the last ones, by container: a status may show them later, and is older then.
	restarts map[string]restart
}

func newKubelet(logger klog.Logger, node string, broadcaster record.EventBroadcaster) *kubelet {
	k := &kubelet{
		conditions: status.NewManager(nil, nil, nil, nil), // it writes nothing: no client, no Start
		recorder:   broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "kubelet", Host: node}),
		running:    map[types.UID]*running{},
	}
	k.rooms = allocation.NewInMemoryManager(
		k.conditions,
		func(*corev1.Pod) {}, // all pods are looked at anyway
		func() []*corev1.Pod { return k.pods },
		k.pod,
		config.NewSourcesReady(func(sets.Set[string]) bool { return true }),
		k.recorder,
	)
	k.rooms.AddPodAdmitHandlers(lifecycle.PodAdmitHandlers{
		allocation.NewPodResizesAdmitHandler(policies{kubelet: k}, runtime{kubelet: k}, k.rooms, logger),
		lifecycle.NewPredicateAdmitHandler(
			func(context.Context, bool) (*corev1.Node, error) { return k.node, nil },
			lifecycle.NewAdmissionFailureHandlerStub(), // nobody is preempted for a critical pod
			func(*schedulerframework.NodeInfo, *lifecycle.PodAdmitAttributes) error { return nil },
		),
	})
	return k
}

func (k *kubelet) pod(uid types.UID) (*corev1.Pod, bool) {
	for _, pod := range k.pods {
		if pod.UID == uid {
			return pod, true
		}
	}
	return nil, false
}

// look allocates what there is room for, and changes the containers of what is allocated.
// It returns when to look again; zero if nothing takes time.
func (k *kubelet) look(logger klog.Logger, node *corev1.Node, pods []*corev1.Pod) time.Duration {
	k.node, k.pods = node, pods
	k.remember()
	for _, pod := range pods {
		k.ask(pod)
	}
	k.rooms.RetryPendingResizes("observed")
	again := time.Duration(0)
	for _, pod := range pods {
		if wait := k.actuate(logger, pod); wait > 0 && (again == 0 || wait < again) {
			again = wait
		}
	}
	return again
}

// remember learns from the statuses of pods that are new here what there was before,
// and forgets those that are gone.
func (k *kubelet) remember() {
	for uid := range k.running {
		if _, ok := k.pod(uid); !ok {
			k.rooms.RemovePod(uid)
			k.conditions.ClearPodResizePendingCondition(uid)
			k.conditions.ClearPodResizeInProgressCondition(uid)
			delete(k.running, uid)
		}
	}
	for _, pod := range k.pods {
		if k.running[pod.UID] != nil {
			continue
		}
		k.running[pod.UID] = &running{actual: actualSizes(pod), restarts: map[string]restart{}}
		// Only a checkpoint on a disk can fail.
		_ = k.rooms.SetAllocatedResources(lastAllocated(pod))
		k.conditions.BackfillPodResizeConditions([]*corev1.Pod{pod})
	}
}

// ask queues a pod whose spec asks for other sizes than are allocated. One that does not
// (any more) waits for nothing. What is infeasible is asked again, as by a kubelet that
// was restarted with other policies.
func (k *kubelet) ask(pod *corev1.Pod) {
	if _, differs := k.rooms.UpdatePodFromAllocation(pod); differs {
		k.rooms.PushPendingResize(pod.UID)
	} else {
		k.conditions.ClearPodResizePendingCondition(pod.UID)
	}
}

// actuate gives containers the sizes that are allocated to them, when it is time.
func (k *kubelet) actuate(logger klog.Logger, pod *corev1.Pod) (wait time.Duration) {
	r := k.running[pod.UID]
	allocated, _ := k.rooms.UpdatePodFromAllocation(pod)
	changes := changesOf(allocated, r.actual)
	if pod.Status.Phase != corev1.PodRunning {
		changes = nil // it starts with what is allocated
		r.actual = sizesOf(allocated)
	}
	if len(changes) > 0 {
		k.conditions.SetPodResizeInProgressCondition(pod.UID, "", "", pod.Generation)
		if pod.Annotations[layout.AnnotationResize] == layout.ResizeHangs {
			return 0
		}
		if wait := time.Until(k.progress(pod.UID).LastTransitionTime.Add(delay(pod))); wait > 0 {
			return wait
		}
		if why := obstacle(pod, changes); why != "" {
			if generation, changed := k.conditions.SetPodResizeInProgressCondition(pod.UID, corev1.PodReasonError, why, pod.Generation); changed {
				k.recorder.WithLogger(logger).Eventf(pod, corev1.EventTypeWarning, events.ResizeError, "%s", events.PodResizeErrorMsg(logger, allocated, generation, why))
			}
			return 0
		}
		r.carryOut(pod, changes)
	}
	if generation, cleared := k.conditions.ClearPodResizeInProgressCondition(pod.UID); cleared {
		k.recorder.WithLogger(logger).Eventf(pod, corev1.EventTypeNormal, events.ResizeCompleted, "%s", events.PodResizeCompletedMsg(logger, allocated, generation))
	}
	return 0
}

// progress is the condition of a resize that has been allocated.
func (k *kubelet) progress(uid types.UID) *corev1.PodCondition {
	for _, c := range k.conditions.GetPodResizeConditions(uid) {
		if c.Type == corev1.PodResizeInProgress {
			return c
		}
	}
	return &corev1.PodCondition{}
}
