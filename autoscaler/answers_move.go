// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/klog/v2"

	"github.com/berth-dev/berth/autoscaler/nodes"
	"github.com/berth-dev/berth/autoscaler/vertical/resize"
)

// noSimulation is why no pod is re-created for its size where nothing can be simulated.
const noSimulation = "nodes.schedulerConfigFile is not set, so that nobody knows whether its successor would find a place"

// creation is what came of a dry-run create, and when.
type creation struct {
	pod *corev1.Pod
	why string // there is none
	// late tells that the API server did not say.
	late bool
	at   time.Time
}

// place is where a pod would go.
type place struct {
	node   string
	coming bool
	// reasons are why there is no present node.
	reasons []string
}

// move answers which size a pod would have if it was re-created, and on which node. Without an answer about the
// node there is none about the size: the engine would have to guess.
func (a *answers) move(q resize.Question) resize.Answer {
	answer := resize.Answer{Pod: q.Pod.UID, Move: true, Sizes: q.Sizes}
	if a.simulate == nil {
		answer.Reason = noSimulation
		return answer
	}
	if err := a.begin(); err != nil {
		answer.Unknown, answer.Reason = true, unanswered(err)
		return answer
	}
	created := a.create(q.Pod, false)
	if created.pod == nil {
		answer.Unknown, answer.Reason = created.late, created.why
		return answer
	}
	found, err := a.find(q.Pod, asSuccessor(created.pod, q.Pod))
	if err != nil {
		answer.Unknown, answer.Reason = true, unanswered(err)
		return answer
	}
	if found.node != "" && !found.coming && created.at.Before(a.began) {
		// It may be evicted upon this answer: what it would get now is what counts, and it has its place by that size.
		if again := a.create(q.Pod, true); again.pod == nil || !equality.Semantic.DeepEqual(sizesOf(again.pod), sizesOf(created.pod)) {
			answer.Reason = cmp.Or(again.why, "its successor would get another size than a moment ago")
			return answer
		}
	}
	answer.Created = sizesOf(created.pod)
	answer.Fits, answer.Node, answer.Coming = found.node != "", found.node, found.coming
	answer.Reason = strings.Join(found.reasons, ", ")
	return answer
}

// find returns where the successor of a pod would go, once those have their place that were evicted before, and those
// that wait for one and are as important. It leaves those there.
func (a *answers) find(pod, successor *corev1.Pod) (place, error) {
	waiting, err := a.settleBefore(pod)
	if err != nil {
		return place{}, err
	}
	a.simulation.Fork()
	defer a.simulation.Revert()
	if err := a.replace(a.simulation, pod, successor); err != nil {
		return place{}, err
	}
	node, reasons, err := a.simulation.Place(successor)
	if node != "" || err != nil {
		return place{node: node}, err
	}
	var coming []string
	for _, node := range a.upcoming() {
		if err := a.simulation.AddNode(node); err != nil {
			return place{}, err
		}
		coming = append(coming, node.Name)
	}
	if len(coming) > 0 {
		// No other node had room for those that wait.
		if _, err := a.settle(waiting, coming...); err != nil {
			return place{}, err
		}
		node, _, err = a.simulation.Place(successor)
	}
	return place{node: node, coming: slices.Contains(coming, node), reasons: reasons}, err
}

// settled is the simulation with all those placed that come before the pods of a priority. Of one that waits itself it is
// about that one alone.
type settled struct {
	priority int32
	alone    types.UID

	left []*corev1.Pod // without a place
	err  error
}

// settleBefore places those that come before a pod, and returns who found no place. What it did for a pod as important stays.
func (a *answers) settleBefore(pod *corev1.Pod) (left []*corev1.Pod, err error) {
	s := &settled{priority: corev1helpers.PodPriority(pod)}
	if pod.Spec.NodeName == "" {
		s.alone = pod.UID
	}
	if is := a.settled; is != nil && is.priority == s.priority && is.alone == s.alone {
		return is.left, is.err
	}
	a.unsettle()
	a.simulation.Fork()
	a.settled = s
	var before []*corev1.Pod
	for _, room := range a.returning(a.pods) {
		next := recreated(room.Pod, room.Sizes)
		if err := a.replace(a.simulation, room.Pod, next); err != nil {
			klog.FromContext(a.ctx).Error(err, "A pod that comes back has its place beside itself", "pod", klog.KObj(room.Pod))
		}
		before = append(before, next)
	}
	s.left, s.err = a.settle(append(before, a.waiting(pod)...))
	return s.left, s.err
}

// unsettle takes back what settleBefore did.
func (a *answers) unsettle() {
	if a.settled != nil {
		a.simulation.Revert()
		a.settled = nil
	}
}

// settle places pods on the named nodes, or any where none is named, and returns those that found no place.
func (a *answers) settle(pods []*corev1.Pod, among ...string) (left []*corev1.Pod, err error) {
	for _, pod := range pods {
		node, _, err := a.simulation.Place(pod, among...)
		if err != nil {
			return nil, err
		}
		if node == "" {
			left = append(left, pod)
		}
	}
	return left, nil
}

// waiting are the pods without a node that come before a pod with this priority, in their order. Those that a node
// is promised to have their room there in every simulation.
func (a *answers) waiting(than *corev1.Pod) []*corev1.Pod {
	all := slices.DeleteFunc(a.reader.UnscheduledPods(), func(pod *corev1.Pod) bool {
		promised := pod.Status.NominatedNodeName
		return pod.UID == than.UID || !nodes.Waits(pod, corev1helpers.PodPriority(than)) || promised != "" && a.reader.Node(promised) != nil
	})
	slices.SortFunc(all, func(a, b *corev1.Pod) int {
		return cmp.Or(
			cmp.Compare(corev1helpers.PodPriority(b), corev1helpers.PodPriority(a)),
			a.CreationTimestamp.Compare(b.CreationTimestamp.Time),
			cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name),
		)
	})
	return all
}

// upcoming are the nodes on their way, as they will be.
func (a *answers) upcoming() []*corev1.Node {
	if a.coming == nil {
		found, err := a.awaited(a.tick) // what is asked of a provider may go on when the answers are given
		if err != nil {
			klog.FromContext(a.ctx).Error(err, "Nodes on their way are not known: no pod is promised one")
		}
		a.coming = &found
	}
	return *a.coming
}

// create asks the API server for the pod that would come in the place of one. Pods that wait for a node are asked for
// once in a sync period, however many events there are in it, unless the answer has to be fresh.
func (a *answers) create(pod *corev1.Pod, fresh bool) creation {
	asked, why := a.successorOf(pod)
	if asked == nil {
		return creation{why: why}
	}
	// Pods of a ReplicaSet ask for the same.
	key := asked.Namespace + "/" + asked.Name + "/" + asked.GenerateName
	if known, ok := a.history.created[key]; ok && !fresh {
		return known
	}
	ctx, cancel := context.WithTimeout(a.ctx, callDeadline)
	defer cancel()
	created := creation{at: a.now()}
	var err error
	if created.pod, err = a.writer.DryRunCreate(ctx, asked); err != nil {
		created = creation{at: created.at, why: refusedCreate(err), late: late(err)}
	}
	if !created.late {
		a.history.created[key] = created
	}
	return created
}

// late tells an error that is no answer.
func late(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || apierrors.IsTimeout(err) || apierrors.IsServerTimeout(err) || apierrors.IsTooManyRequests(err)
}

func refusedCreate(err error) string {
	// As an error of its own it has no type, and the quota is named in the message.
	if strings.Contains(err.Error(), "exceeded quota") {
		return "a ResourceQuota has no room for its successor beside it: " + err.Error()
	}
	return "a dry-run create of its successor is refused: " + err.Error()
}

// sizesOf are the requests and limits of a pod's containers.
func sizesOf(pod *corev1.Pod) resize.Sizes {
	sizes := resize.Sizes{}
	for _, c := range pod.Spec.Containers {
		sizes[c.Name] = corev1.ResourceRequirements{Requests: c.Resources.Requests, Limits: c.Resources.Limits}
	}
	return sizes
}
