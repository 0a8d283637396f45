// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"context"
	"encoding/json"
	"sync"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
	"github.com/berth-dev/berth/plugins/policies"
	"github.com/berth-dev/berth/plugins/statefulset"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"
)

// The reasons of the events that no scheduling cycle tells.
const (
	reasonGated      = "OrdinalGated"
	reasonInvalid    = "InvalidPolicy"
	reasonConflicted = "ConflictingPolicy"

	reasonHoldLate    = "SlotHoldLate"
	reasonHoldExpired = "SlotHoldExpired"
	reasonHoldTaken   = "SlotHoldTaken"

	action = "Scheduling"
)

// herald tells people what the plugins find outside of a scheduling cycle: on
// a pod that it waits at a gate, by an event and its PodScheduled condition; on
// a policy that it is invalid, or has no effect, by an event. It writes off the
// hot path, each thing once, and only in a process that places pods: the queue
// of one that stands by for its leader sees the same pods.
type herald struct {
	recorder events.EventRecorder
	client   kubernetes.Interface
	source   *source
	book     chan struct{} // has an element when the policies, or their sets, changed

	leading chan struct{}
	once    sync.Once

	mu    sync.Mutex
	told  map[types.UID]notice
	queue workqueue.TypedRateLimitingInterface[types.UID] // nil until somebody runs
}

// notice is what a pod at a gate is told.
type notice struct {
	pod     *v1.Pod
	message string
}

func newHerald(handle fwk.Handle, source *source) *herald {
	return &herald{
		recorder: handle.EventRecorder(),
		client:   handle.ClientSet(),
		source:   source,
		book:     make(chan struct{}, 1),
		leading:  make(chan struct{}),
		told:     map[types.UID]notice{},
	}
}

// leads tells that this process places pods.
func (h *herald) leads() { h.once.Do(func() { close(h.leading) }) }

// gated tells that a pod waits at a gate, if that is new.
func (h *herald) gated(pod *v1.Pod, message string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.told[pod.UID].message == message {
		return
	}
	h.told[pod.UID] = notice{pod: pod, message: message}
	if h.queue != nil {
		h.queue.Add(pod.UID)
	}
}

// open tells that a pod is at no gate, or gone.
func (h *herald) open(pod *v1.Pod) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.told, pod.UID)
}

// tellSet tells the set of a slot, or the policy that selects it, what became of
// its room. The slot's pod is related: without it the recorder would count what
// is told of two slots as one thing, and say the first only.
func (h *herald) tellSet(slot statefulset.Slot, eventType, reason, message string) {
	select {
	case <-h.leading:
	default:
		return
	}
	key, pod := slot.Set, &v1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: slot.Set.Namespace, Name: slot.PodName()}
	about := &v1.ObjectReference{APIVersion: "apps/v1", Kind: "StatefulSet", Namespace: key.Namespace, Name: key.Name}
	if key.Selected {
		about.APIVersion, about.Kind = v1alpha1.SchemeGroupVersion.String(), "PlacementPolicy"
		if names := h.source.podsOf(slot); len(names) > 0 {
			pod.Name = names[0]
		}
	} else if set := h.source.Set(key); set != nil {
		about.UID = set.UID
	}
	h.recorder.Eventf(about, pod, eventType, reason, action, "%s", message)
}

// changed tells that the policies or the sets they are for changed.
func (h *herald) changed() {
	select {
	case h.book <- struct{}{}:
	default: // somebody will look anyway
	}
}

// run tells until the context ends.
func (h *herald) run(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-h.leading:
	}
	queue := h.begin()
	defer queue.ShutDown()
	var background sync.WaitGroup
	background.Go(func() { h.tellPolicies(ctx) })
	background.Go(func() {
		for h.tellPod(ctx, queue) {
		}
	})
	<-ctx.Done()
	queue.ShutDown()
	background.Wait()
}

// begin makes the queue, with those that are at a gate already.
func (h *herald) begin() workqueue.TypedRateLimitingInterface[types.UID] {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.queue = workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[types.UID]())
	for uid := range h.told {
		h.queue.Add(uid)
	}
	return h.queue
}

// tellPod tells the next pod of the queue, and returns whether there may be more.
func (h *herald) tellPod(ctx context.Context, queue workqueue.TypedRateLimitingInterface[types.UID]) bool {
	uid, shutdown := queue.Get()
	if shutdown {
		return false
	}
	defer queue.Done(uid)
	h.mu.Lock()
	notice, gated := h.told[uid]
	h.mu.Unlock()
	if !gated {
		queue.Forget(uid)
		return true
	}
	pod := h.source.Pod(notice.pod.Namespace, notice.pod.Name)
	if pod == nil || pod.UID != uid || pod.Spec.NodeName != "" {
		queue.Forget(uid)
		return true
	}
	if queue.NumRequeues(uid) == 0 {
		h.recorder.Eventf(pod, nil, v1.EventTypeNormal, reasonGated, action, "%s", notice.message)
	}
	switch err := h.condition(ctx, pod, notice.message); {
	case err == nil, apierrors.IsNotFound(err), ctx.Err() != nil:
		queue.Forget(uid)
	case apierrors.IsConflict(err): // look again whether it is still so
		queue.AddRateLimited(uid)
	default:
		klog.FromContext(ctx).Error(err, "Writing why a pod waits", "pod", klog.KObj(pod))
		queue.AddRateLimited(uid)
	}
	return true
}

// condition writes that a pod waits, into this very state of it: into one that
// is bound by now it would say what is not so any more, for ever.
func (h *herald) condition(ctx context.Context, pod *v1.Pod, message string) error {
	status := pod.Status.DeepCopy()
	if !podutil.UpdatePodCondition(status, &v1.PodCondition{
		Type: v1.PodScheduled, Status: v1.ConditionFalse, Reason: v1.PodReasonSchedulingGated, Message: message,
	}) {
		return nil
	}
	_, scheduled := podutil.GetPodCondition(status, v1.PodScheduled)
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": pod.UID, "resourceVersion": pod.ResourceVersion},
		"status":   map[string]any{"conditions": []v1.PodCondition{*scheduled}},
	})
	if err != nil {
		return err
	}
	_, err = h.client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	return err
}

// tellPolicies tells policies that they are invalid or have no effect, each
// message once.
func (h *herald) tellPolicies(ctx context.Context) {
	told := map[types.UID]string{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.book:
		}
		sets, _ := h.source.listers.sets.List(labels.Everything())
		is := map[types.UID]string{}
		for _, verdict := range h.source.book.Verdicts(sets) {
			reason, message := problem(verdict)
			if message == "" {
				continue
			}
			if is[verdict.UID()] = message; told[verdict.UID()] == message {
				continue
			}
			h.recorder.Eventf(&v1.ObjectReference{
				APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "PlacementPolicy",
				Namespace: verdict.Namespace, Name: verdict.Name, UID: verdict.UID(),
			}, nil, v1.EventTypeWarning, reason, action, "%s", message)
		}
		told = is
	}
}

func problem(v policies.Verdict) (reason, message string) {
	switch {
	case !v.Accepted:
		return reasonInvalid, v.AcceptedMessage
	case v.Conflicted:
		return reasonConflicted, v.ConflictedMessage
	}
	return "", ""
}
