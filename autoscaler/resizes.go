// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	"k8s.io/klog/v2"

	"github.com/berth-dev/berth/autoscaler/config"
	"github.com/berth-dev/berth/autoscaler/metrics"
	"github.com/berth-dev/berth/autoscaler/vertical"
	"github.com/berth-dev/berth/autoscaler/vertical/resize"
	"github.com/berth-dev/berth/plugins/statefulset"
)

// resizeHistory is what one decision about sizes leaves for the next.
type resizeHistory struct {
	engine  resize.History
	refused []resize.Refused
	// written are the pods that were written to, with their versions of before the last write.
	written map[types.UID][]string
	// told is what was said last of each pod, and summaries of each VPA.
	told      map[types.UID]string
	summaries map[resize.Key]summary
	// stands is what was answered while there was no time for all questions, and turns when each pod was last asked about.
	stands []resize.Answer
	turns  turns
}

// resizables are the VPAs that size pods, with their workloads. Known tells that the PlacementPolicies are, which say what a
// quorum is.
func (c *Conductor) resizables(ctx context.Context, all []*sized, known bool) []Resizable {
	hold := c.holdSizes(ctx, known)
	var resizables []Resizable
	for _, s := range all {
		if !s.read || s.err != nil {
			continue
		}
		// Without advice nothing is changed, but what does not come through is taken back.
		advised, known := c.history.advised[s.key()]
		if !known {
			advised.Reason = vertical.NoUsage
		}
		resizables = append(resizables, c.resizable(s, advised.Recommendation, hold))
	}
	return resizables
}

// decideSizes decides which pods get their size next, and carries it out.
func (c *Conductor) decideSizes(ctx context.Context, all []Resizable) {
	h := &c.history.resizing
	in := resize.Input{Now: c.now(), Config: ResizeConfig(c.config.Vertical), History: h.engine, Refused: h.refused}
	pods, vpas := map[types.UID]*corev1.Pod{}, map[resize.Key]*vpav1.VerticalPodAutoscaler{}
	for _, r := range all {
		target := r.Target()
		in.Targets, vpas[target.Key] = append(in.Targets, target), r.VPA
		for _, pod := range r.Pods {
			pods[pod.UID] = pod
		}
	}
	if h.behind(pods) || c.history.drains.unseen(c.reader.Pods()) {
		return // what was done last is not seen yet
	}
	in.Budgets = c.budgetsOf(in.Targets)
	d := c.askSizes(ctx, in, pods)
	h.engine, h.refused = d.History, nil
	c.history.rooms = d.Rooms
	for _, action := range d.Actions {
		c.resizePod(ctx, vpas[action.Target], action)
	}
	d.Pods = slices.DeleteFunc(d.Pods, func(e resize.Explanation) bool {
		_, advised := c.history.advised[vertical.Key(e.Target)]
		return !advised // nothing is known that could be told
	})
	c.tellSizes(ctx, vpas, pods, d)
}

// behind tells that the informers do not show yet what was written in the last tick: a decision upon what they show
// would be made twice. A pod that they do not show any more is gone.
func (h *resizeHistory) behind(seen map[types.UID]*corev1.Pod) bool {
	for uid, past := range h.written {
		if now, ok := seen[uid]; !ok || !slices.Contains(past, now.ResourceVersion) {
			delete(h.written, uid)
		}
	}
	return len(h.written) > 0
}

// holdSizes says why no pod is touched for its size; empty if nothing holds it.
func (c *Conductor) holdSizes(ctx context.Context, known bool) string {
	if why := c.upstreamUpdater(ctx); why != "" {
		return why
	}
	if !known {
		return "the PlacementPolicies are not known"
	}
	return ""
}

// ResizeConfig is what the resize engine takes of the configuration.
func ResizeConfig(v config.Vertical) resize.Config {
	out := resize.DefaultConfig()
	out.Settle = v.MinPodAge.Duration
	out.Deferred, out.InProgress = v.DeferredTimeout.Duration, v.ResizeTimeout.Duration
	out.BackOff = v.ResizeBackoff.Duration
	out.MaxBackOff = max(out.MaxBackOff, out.BackOff)
	return out
}

// resizable is a VPA and its workload as the engine's input is made of.
func (c *Conductor) resizable(s *sized, advised vertical.Recommendation, hold string) Resizable {
	r := Resizable{
		VPA: s.vpa, Recommendation: advised, Set: s.set, Deployment: s.deployment, Replicas: s.replicas, Pods: s.pods,
		LimitRanges: c.reader.LimitRanges(s.vpa.Namespace), SlotOf: c.slotOf, Node: c.reader.Node, Usage: c.memoryOf,
		StaticCPU: selectorOf(c.config.Vertical.StaticCPUNodes), StaticMemory: selectorOf(c.config.Vertical.StaticMemoryNodes),
		Hold: hold,
	}
	if policy := c.policyOf(s); policy != nil {
		r.Quorum = policy.Quorum
	}
	return r
}

// policyOf is the PlacementPolicy of a workload, or nil.
func (c *Conductor) policyOf(s *sized) *statefulset.Policy {
	if s.set != nil {
		return c.policies.OfSet(s.set)
	}
	for _, pod := range s.pods {
		if slot, ok := c.slotOf(pod); ok {
			return c.policies.OfSelected(slot.Set)
		}
	}
	return nil
}

func (c *Conductor) slotOf(pod *corev1.Pod) (statefulset.Slot, bool) {
	if slot, ok := statefulset.SlotOf(pod); ok {
		return slot, true
	}
	return c.policies.SlotOf(pod)
}

// memoryOf is what the containers of a pod use, nil where the metrics are older than two periods.
func (c *Conductor) memoryOf(pod *corev1.Pod) map[string]resize.Bytes {
	if c.now().Sub(c.history.usage.at) > 2*c.config.SyncPeriod.Duration {
		return nil
	}
	usage, ok := c.history.usage.Pod(pod.Namespace, pod.Name)
	if !ok {
		return nil
	}
	return MemoryOf(pod, usage)
}

// MemoryOf is what the containers of a pod use, nil where another pod of its name was measured.
func MemoryOf(pod *corev1.Pod, usage metrics.PodUsage) map[string]resize.Bytes {
	if usage.Timestamp.Before(pod.CreationTimestamp.Time) {
		return nil
	}
	used := map[string]resize.Bytes{}
	for _, container := range usage.Containers {
		if memory, ok := container.Usage[corev1.ResourceMemory]; ok {
			used[container.Name] = resize.Bytes(memory.Value())
		}
	}
	return used
}

// selectorOf is a selector of the configuration, which has been validated.
func selectorOf(selector *metav1.LabelSelector) labels.Selector {
	parsed, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		return labels.Nothing()
	}
	return parsed
}

// budgetsOf are the PodDisruptionBudgets of the targets' namespaces, with all the pods that they cover.
func (c *Conductor) budgetsOf(targets []resize.Target) []resize.Budget {
	var all []resize.Budget
	done := map[string]bool{}
	for _, t := range targets {
		if done[t.Namespace] {
			continue
		}
		done[t.Namespace] = true
		for _, budget := range c.reader.Budgets(t.Namespace) {
			all = append(all, resize.Budget{Object: budget, Pods: c.coveredBy(budget)})
		}
	}
	return all
}

func (c *Conductor) coveredBy(budget *policyv1.PodDisruptionBudget) []*corev1.Pod {
	selector, err := metav1.LabelSelectorAsSelector(budget.Spec.Selector)
	if err != nil {
		return nil // the engine asks no more of it than the API server
	}
	return c.reader.PodsOf(budget.Namespace, selector)
}

// resizePod carries one action out. What the API server refuses is told to the engine; what fails otherwise is
// decided anew.
func (c *Conductor) resizePod(ctx context.Context, vpa *vpav1.VerticalPodAutoscaler, action resize.Action) {
	bounded, cancel := context.WithTimeout(ctx, callDeadline)
	defer cancel()
	var err error
	past := []string{action.Pod.ResourceVersion}
	if action.Kind == resize.Evict {
		err = c.writer.EvictPod(bounded, action.Pod)
	} else {
		var noted string
		noted, err = c.writer.ResizePod(bounded, action.Pod, resize.RecordAnnotation, action.Record, action.Sizes)
		past = append(past, noted)
	}
	c.telemetry.Resized(string(action.Kind), string(action.Class), err)
	logger := klog.FromContext(ctx).WithValues("pod", klog.KObj(action.Pod), "vpa", klog.KObj(vpa), "action", action.Kind, "class", action.Class)
	h := &c.history.resizing
	switch {
	case err == nil:
		logger.V(2).Info("Pod sized", "node", action.Node, "reason", action.Reason)
		if h.written == nil {
			h.written = map[types.UID][]string{}
		}
		h.written[action.Pod.UID] = past
		if action.Kind == resize.Evict {
			c.history.drains.evicted[action.Pod.UID] = true
		}
	case apierrors.IsConflict(err), apierrors.IsNotFound(err), apierrors.IsTooManyRequests(err):
		logger.V(2).Info("Pod not sized yet", "reason", err.Error())
	case refusedWrite(err):
		logger.Error(err, "Sizing a pod is refused", "reason", action.Reason)
		h.refused = append(h.refused, resize.Refused{Pod: action.Pod.UID, Kind: action.Kind, Message: err.Error()})
	default:
		logger.Error(err, "Sizing a pod")
	}
	c.tellSized(vpa, action, err)
}

// usageHistory is what the resource metrics API said last, and when.
type usageHistory struct {
	metrics.Snapshot
	at time.Time
}
