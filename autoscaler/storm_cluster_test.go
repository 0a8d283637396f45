// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/utils/ptr"

	"github.com/berth-dev/berth/autoscaler/simulator"
)

const (
	stormExit  = 2 * time.Second  // from the eviction to the end of the processes
	stormStart = 5 * time.Second  // from the binding to ready
	stormBoot  = 30 * time.Second // of a node
	// stormBurst is how many objects are written before the informers are waited for: a watch of the fake clientset
	// holds a hundred.
	stormBurst = 50
)

// stormPod is a pod, with what the kubelet knows of it.
type stormPod struct {
	set     *stormSet
	pod     *corev1.Pod
	ordinal int
	born    time.Time
	bound   time.Time
	ends    time.Time
}

func (p *stormPod) healthy() bool {
	return p.pod.Status.Phase == corev1.PodRunning && p.pod.DeletionTimestamp == nil
}

// stormCluster is the API server with all that is in a cluster besides the autoscaler: the controllers of workloads and
// budgets, a scheduler and kubelets. Each second of virtual time they all take a step, in one goroutine.
type stormCluster struct {
	t         *testing.T
	kube      *fake.Clientset
	nodes     corelisters.NodeLister
	scheduler *simulator.Simulator
	journal   *stormJournal

	// mu is held where both the steps and the calls of the autoscaler come.
	mu     sync.Mutex
	sets   []*stormSet
	pods   map[string]*stormPod
	dirty  map[string]bool // pods by name that the API does not show as they are
	boots  map[string]time.Time
	made   int
	looked int // where the scheduler begins to look at nodes
}

func podsResource() schema.GroupVersionResource {
	return corev1.SchemeGroupVersion.WithResource("pods")
}
func nodesResource() schema.GroupVersionResource {
	return corev1.SchemeGroupVersion.WithResource("nodes")
}

func newStormCluster(t *testing.T, sets []*stormSet) *stormCluster {
	c := &stormCluster{t: t, kube: fake.NewSimpleClientset(), sets: sets, pods: map[string]*stormPod{}, dirty: map[string]bool{}, boots: map[string]time.Time{}, journal: newStormJournal()}
	for _, s := range sets {
		for _, object := range append(slices.Clone(s.objects), s.hpa(), s.pdb) {
			c.must(c.kube.Tracker().Add(object))
		}
	}
	c.kube.PrependReactor("create", "pods", c.evict)
	c.kube.PrependReactor("create", "nodes", c.register)
	c.kube.PrependReactor("delete", "nodes", c.deregister)
	return c
}

func (c *stormCluster) must(err error) {
	if err != nil {
		c.t.Error(err)
	}
}

// end deletes a pod: it is gone once its processes have ended.
func (c *stormCluster) end(p *stormPod) {
	p.pod = p.pod.DeepCopy()
	p.pod.DeletionTimestamp = ptr.To(metav1.NewTime(time.Now().Add(10 * time.Second)))
	p.pod.DeletionGracePeriodSeconds = ptr.To[int64](10)
	p.ends = time.Now().Add(stormExit)
	if p.pod.Spec.NodeName == "" {
		p.ends = time.Now()
	}
	c.dirty[p.pod.Name] = true
}

// step is a second of everybody but the autoscaler.
func (c *stormCluster) step() {
	c.mu.Lock()
	now := time.Now()
	c.journal.judge(c.sets)
	for _, p := range slices.Collect(maps.Values(c.pods)) {
		switch {
		case p.pod.DeletionTimestamp != nil && !now.Before(p.ends):
			c.forget(p)
		case !p.bound.IsZero() && p.pod.Status.Phase == corev1.PodPending && p.pod.DeletionTimestamp == nil && !now.Before(p.bound.Add(stormStart)):
			c.run(p, now)
		}
	}
	for _, s := range c.sets {
		create, remove := s.reconcile()
		for _, ordinal := range create {
			c.create(s, ordinal, now)
		}
		for _, p := range remove {
			c.end(p)
		}
	}
	c.boot(now)
	c.mu.Unlock()
	c.flush()
	c.schedule()
	c.flush()
	c.mu.Lock()
	c.follow()
	c.mu.Unlock()
	synctest.Wait()
}

func (c *stormCluster) forget(p *stormPod) {
	delete(c.pods, p.pod.Name)
	delete(p.set.pods, p.pod.Name)
	c.dirty[p.pod.Name] = true
}

func (c *stormCluster) run(p *stormPod, now time.Time) {
	p.pod = p.pod.DeepCopy()
	p.pod.Status.Phase, p.pod.Status.StartTime = corev1.PodRunning, ptr.To(metav1.NewTime(p.bound))
	p.pod.Status.Conditions = append(p.pod.Status.Conditions, corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now)})
	c.dirty[p.pod.Name] = true
	c.journal.ran(p, now)
}

func (c *stormCluster) create(s *stormSet, ordinal int, now time.Time) {
	c.made++
	name := fmt.Sprintf("%s-1-%05d", s.name, c.made)
	if s.slots {
		name = fmt.Sprintf("%s-%d", s.name, ordinal)
		if c.pods[name] != nil {
			return
		}
	}
	p := &stormPod{set: s, ordinal: ordinal, pod: s.pod(name, ordinal), born: now}
	p.pod.UID, p.pod.CreationTimestamp = types.UID(fmt.Sprintf("pod-%d", c.made)), metav1.NewTime(now)
	c.pods[name], s.pods[name], c.dirty[name] = p, p, true
}

// boot makes nodes ready whose kubelet is up.
func (c *stormCluster) boot(now time.Time) {
	for name, at := range c.boots {
		if now.Before(at) {
			continue
		}
		delete(c.boots, name)
		object, err := c.kube.Tracker().Get(nodesResource(), "", name)
		if err != nil {
			continue // it is gone already
		}
		node := object.(*corev1.Node).DeepCopy()
		node.Spec.Taints = slices.DeleteFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeNotReady })
		node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now)}}
		c.must(c.kube.Tracker().Update(nodesResource(), node, ""))
	}
}

// follow is what the controllers write of what they see: statuses of workloads and budgets.
func (c *stormCluster) follow() {
	for _, s := range c.sets {
		healthy, desired := s.healthy()
		was := s.pdb.Status
		is := policyv1.PodDisruptionBudgetStatus{CurrentHealthy: int32(healthy), DesiredHealthy: int32(desired), ExpectedPods: int32(s.wanted), DisruptionsAllowed: int32(max(0, healthy-desired))}
		if was.CurrentHealthy != is.CurrentHealthy || was.DesiredHealthy != is.DesiredHealthy || was.ExpectedPods != is.ExpectedPods || was.DisruptionsAllowed != is.DisruptionsAllowed {
			s.pdb = s.pdb.DeepCopy()
			s.pdb.Status = is
			c.must(c.kube.Tracker().Update(policyv1.SchemeGroupVersion.WithResource("poddisruptionbudgets"), s.pdb, "prod"))
		}
		c.rewrite(s, int32(s.wanted), int32(len(s.pods)), int32(healthy))
	}
}

// rewrite writes what is new of a workload.
func (c *stormCluster) rewrite(s *stormSet, wanted, have, ready int32) {
	for i, object := range s.objects {
		switch o := object.(type) {
		case *appsv1.StatefulSet:
			if *o.Spec.Replicas != wanted || o.Status.Replicas != have || o.Status.ReadyReplicas != ready {
				o = o.DeepCopy()
				o.Spec.Replicas, o.Status.Replicas, o.Status.ReadyReplicas, o.Status.CurrentReplicas = &wanted, have, ready, have
				s.objects[i] = o
				c.must(c.kube.Tracker().Update(appsv1.SchemeGroupVersion.WithResource("statefulsets"), o, "prod"))
			}
		case *appsv1.Deployment:
			if *o.Spec.Replicas != wanted || o.Status.Replicas != have || o.Status.ReadyReplicas != ready {
				o = o.DeepCopy()
				o.Spec.Replicas, o.Status.Replicas, o.Status.ReadyReplicas = &wanted, have, ready
				s.objects[i] = o
				c.must(c.kube.Tracker().Update(appsv1.SchemeGroupVersion.WithResource("deployments"), o, "prod"))
			}
		case *appsv1.ReplicaSet:
			if *o.Spec.Replicas != wanted || o.Status.Replicas != have || o.Status.ReadyReplicas != ready {
				o = o.DeepCopy()
				o.Spec.Replicas, o.Status.Replicas, o.Status.ReadyReplicas = &wanted, have, ready
				s.objects[i] = o
				c.must(c.kube.Tracker().Update(appsv1.SchemeGroupVersion.WithResource("replicasets"), o, "prod"))
			}
		}
	}
}
