// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing/synctest"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	scalefake "k8s.io/client-go/scale/fake"
	clienttesting "k8s.io/client-go/testing"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"
)

// evict is the eviction API.
func (c *stormCluster) evict(action clienttesting.Action) (bool, runtime.Object, error) {
	create, ok := action.(clienttesting.CreateActionImpl)
	if !ok || action.GetSubresource() != "eviction" {
		return dryRun(action)
	}
	eviction := create.GetObject().(*policyv1.Eviction)
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.pods[eviction.Name]
	switch {
	case p == nil:
		return true, nil, apierrors.NewNotFound(podsResource().GroupResource(), eviction.Name)
	case eviction.DeleteOptions != nil && eviction.DeleteOptions.Preconditions != nil && *eviction.DeleteOptions.Preconditions.UID != p.pod.UID:
		return true, nil, apierrors.NewConflict(podsResource().GroupResource(), eviction.Name, fmt.Errorf("the UID is %s", p.pod.UID))
	case p.pod.DeletionTimestamp != nil:
		return true, nil, nil
	}
	if p.healthy() {
		if p.set.pdb.Status.DisruptionsAllowed < 1 {
			c.journal.refused++
			return true, nil, apierrors.NewTooManyRequests("the disruption budget "+p.set.name+" needs its pods", 0)
		}
		p.set.pdb = p.set.pdb.DeepCopy()
		p.set.pdb.Status.DisruptionsAllowed--
		c.must(c.kube.Tracker().Update(policyv1.SchemeGroupVersion.WithResource("poddisruptionbudgets"), p.set.pdb, "prod"))
	}
	c.journal.evicted++
	c.end(p)
	c.write(p.pod.Name)
	return true, nil, nil
}

// write shows a pod as it is.
func (c *stormCluster) write(name string) {
	delete(c.dirty, name)
	tracker := c.kube.Tracker()
	p := c.pods[name]
	_, err := tracker.Get(podsResource(), "prod", name)
	switch {
	case p == nil && err == nil:
		c.must(tracker.Delete(podsResource(), "prod", name))
	case p != nil && err == nil:
		c.must(tracker.Update(podsResource(), p.pod, "prod"))
	case p != nil:
		c.must(tracker.Create(podsResource(), p.pod, "prod"))
	}
}

// flush shows all pods as they are, and lets everybody see them.
func (c *stormCluster) flush() {
	for {
		c.mu.Lock()
		names := slices.Sorted(maps.Keys(c.dirty))
		for _, name := range names[:min(stormBurst, len(names))] {
			c.write(name)
		}
		c.mu.Unlock()
		synctest.Wait()
		if len(names) <= stormBurst {
			return
		}
	}
}

// register is the creation of a node: the kubelet comes up later.
func (c *stormCluster) register(action clienttesting.Action) (bool, runtime.Object, error) {
	node := action.(clienttesting.CreateAction).GetObject().(*corev1.Node).DeepCopy()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.made++
	node.UID, node.CreationTimestamp = types.UID(fmt.Sprintf("node-%d", c.made)), metav1.Now()
	node.Spec.Taints = append(node.Spec.Taints, corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule})
	c.boots[node.Name] = time.Now().Add(stormBoot)
	c.journal.came[node.Name] = time.Now()
	return true, node, c.kube.Tracker().Create(nodesResource(), node, "")
}

func (c *stormCluster) deregister(action clienttesting.Action) (bool, runtime.Object, error) {
	name := action.(clienttesting.DeleteAction).GetName()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.pods {
		if p.pod.Spec.NodeName == name {
			c.journal.say("node %s is deleted with pod %s on it", name, p.pod.Name)
		}
	}
	c.journal.left(name)
	return false, nil, nil
}

// scales is the scale subresource of all sets.
func (c *stormCluster) scales() *scalefake.FakeScaleClient {
	client := &scalefake.FakeScaleClient{}
	set := func(name string) *stormSet {
		return c.sets[slices.IndexFunc(c.sets, func(s *stormSet) bool { return s.name == name })]
	}
	client.AddReactor("get", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		s := set(action.(clienttesting.GetAction).GetName())
		return true, &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: s.name}, Spec: autoscalingv1.ScaleSpec{Replicas: int32(s.wanted)}}, nil
	})
	client.AddReactor("update", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
		scale := action.(clienttesting.UpdateAction).GetObject().(*autoscalingv1.Scale)
		c.mu.Lock()
		defer c.mu.Unlock()
		s := set(scale.Name)
		s.wanted = int(scale.Spec.Replicas)
		healthy, _ := s.healthy()
		c.rewrite(s, scale.Spec.Replicas, int32(len(s.pods)), int32(healthy))
		return true, scale, nil
	})
	return client
}

// List is the metrics API: the pods of a set share its load.
func (c *stormCluster) List(context.Context, metav1.ListOptions) (*metricsv1beta1.PodMetricsList, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := &metricsv1beta1.PodMetricsList{}
	for _, s := range c.sets {
		healthy, _ := s.healthy()
		for name, p := range s.pods {
			if !p.healthy() {
				continue
			}
			usage := corev1.ResourceList{corev1.ResourceCPU: *resource.NewMilliQuantity(s.load/int64(healthy), resource.DecimalSI), corev1.ResourceMemory: resource.MustParse("256Mi")}
			list.Items = append(list.Items, metricsv1beta1.PodMetrics{
				ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: name}, Timestamp: metav1.Now(), Window: metav1.Duration{Duration: 30 * time.Second},
				Containers: []metricsv1beta1.ContainerMetrics{{Name: "c", Usage: usage}},
			})
		}
	}
	return list, nil
}
