// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"cmp"
	"fmt"
	"slices"

	v1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/backend/cache"
	"k8s.io/kubernetes/pkg/scheduler/framework"
)

// snapshot is what the plugins see of nodes and the pods on them. Frameworks
// keep a pointer to it, so a session fills it anew instead of replacing it.
// It is not safe for writing while a plugin reads.
type snapshot struct {
	// nodes are the present nodes by name, then the added ones as they came.
	nodes   []fwk.NodeInfo
	present int
	byName  map[string]*framework.NodeInfo

	affinity, antiAffinity []fwk.NodeInfo
	claims                 map[string]int // number of pods on nodes that use the claim
}

var (
	_ fwk.SharedLister      = &snapshot{}
	_ fwk.NodeInfoLister    = &snapshot{}
	_ fwk.StorageInfoLister = &snapshot{}
)

// reset makes the snapshot that of the given nodes and the pods bound to them.
func (s *snapshot) reset(nodes []*v1.Node, pods []*v1.Pod) error {
	*s = snapshot{byName: make(map[string]*framework.NodeInfo, len(nodes)), claims: map[string]int{}}
	bound := slices.DeleteFunc(slices.Clone(pods), func(pod *v1.Pod) bool { return pod.Spec.NodeName == "" || finished(pod) })
	infos, err := cache.NewSnapshot(bound, nodes).NodeInfos().List()
	if err != nil {
		return err
	}
	for _, info := range infos {
		if concrete, ok := info.(*framework.NodeInfo); ok && info.Node() != nil {
			s.byName[info.Node().Name] = concrete
			s.nodes = append(s.nodes, info)
		}
	}
	slices.SortFunc(s.nodes, func(a, b fwk.NodeInfo) int { return cmp.Compare(a.Node().Name, b.Node().Name) })
	s.present = len(s.nodes)
	for _, pod := range bound {
		s.count(pod, 1)
	}
	s.index()
	return nil
}

// finished pods hold nothing, as in the scheduler's cache.
func finished(pod *v1.Pod) bool {
	return pod.Status.Phase == v1.PodSucceeded || pod.Status.Phase == v1.PodFailed
}

func (s *snapshot) index() {
	s.affinity, s.antiAffinity = nil, nil
	for _, info := range s.nodes {
		if len(info.GetPodsWithAffinity()) > 0 {
			s.affinity = append(s.affinity, info)
		}
		if len(info.GetPodsWithRequiredAntiAffinity()) > 0 {
			s.antiAffinity = append(s.antiAffinity, info)
		}
	}
}

func (s *snapshot) count(pod *v1.Pod, by int) {
	for _, volume := range pod.Spec.Volumes {
		if volume.PersistentVolumeClaim != nil {
			key := pod.Namespace + "/" + volume.PersistentVolumeClaim.ClaimName
			if s.claims[key] += by; s.claims[key] == 0 {
				delete(s.claims, key)
			}
		}
	}
}

// addPod puts a pod on the node that it names and returns how to undo it.
func (s *snapshot) addPod(logger klog.Logger, pod *v1.Pod) (undo func(), err error) {
	info, ok := s.byName[pod.Spec.NodeName]
	if !ok {
		return nil, fmt.Errorf("no node %s in the snapshot", pod.Spec.NodeName)
	}
	podInfo, err := framework.NewPodInfo(pod)
	if err != nil {
		return nil, fmt.Errorf("pod %s: %w", klog.KObj(pod), err)
	}
	reindex := func() {
		if pod.Spec.Affinity != nil {
			s.index()
		}
	}
	info.AddPodInfo(podInfo)
	s.count(pod, 1)
	reindex()
	return func() {
		if err := info.RemovePod(logger, pod); err != nil {
			logger.Error(err, "A simulated pod could not be taken back", "pod", klog.KObj(pod))
		}
		s.count(pod, -1)
		reindex()
	}, nil
}

// removePod takes a pod from its node and returns how to undo it. Of a pod whose node is gone before it, nothing but
// its claims is there.
func (s *snapshot) removePod(logger klog.Logger, pod *v1.Pod) (undo func(), err error) {
	info, ok := s.byName[pod.Spec.NodeName]
	if !ok {
		s.count(pod, -1)
		return func() { s.count(pod, 1) }, nil
	}
	i := slices.IndexFunc(info.GetPods(), func(p fwk.PodInfo) bool { return p.GetPod().UID == pod.UID })
	if i < 0 {
		return nil, fmt.Errorf("pod %s is not on node %s in the snapshot", klog.KObj(pod), pod.Spec.NodeName)
	}
	there := info.GetPods()[i]
	if err := info.RemovePod(logger, there.GetPod()); err != nil {
		return nil, err
	}
	s.count(there.GetPod(), -1)
	reindex := func() {
		if there.GetPod().Spec.Affinity != nil {
			s.index()
		}
	}
	reindex()
	return func() {
		info.AddPodInfo(there)
		s.count(there.GetPod(), 1)
		reindex()
	}, nil
}

// addNode adds a node after all others, or moves a known one there in a new
// state with its pods, and returns how to undo it.
func (s *snapshot) addNode(node *v1.Node) (undo func()) {
	before := *s
	former := s.byName[node.Name]
	info := framework.NewNodeInfo()
	if former != nil {
		info = former.SnapshotConcrete()
		s.nodes = slices.DeleteFunc(slices.Clone(s.nodes), func(n fwk.NodeInfo) bool { return n == fwk.NodeInfo(former) })
		if slices.Contains(before.nodes[:before.present], fwk.NodeInfo(former)) {
			s.present--
		}
	}
	info.SetNode(node)
	s.nodes = append(slices.Clip(s.nodes), info)
	s.byName[node.Name] = info
	s.index()
	return func() {
		s.nodes, s.present = before.nodes, before.present
		if former != nil {
			s.byName[node.Name] = former
		} else {
			delete(s.byName, node.Name)
		}
		s.index()
	}
}

func (s *snapshot) NodeInfos() fwk.NodeInfoLister           { return s }
func (s *snapshot) StorageInfos() fwk.StorageInfoLister     { return s }
func (s *snapshot) PodGroupStates() fwk.PodGroupStateLister { return podGroups{} }

func (s *snapshot) List() ([]fwk.NodeInfo, error)                     { return s.nodes, nil }
func (s *snapshot) HavePodsWithAffinityList() ([]fwk.NodeInfo, error) { return s.affinity, nil }
func (s *snapshot) HavePodsWithRequiredAntiAffinityList() ([]fwk.NodeInfo, error) {
	return s.antiAffinity, nil
}
func (s *snapshot) IsPVCUsedByPods(key string) bool { return s.claims[key] > 0 }

// Get returns the node of that name.
func (s *snapshot) Get(name string) (fwk.NodeInfo, error) {
	if info, ok := s.byName[name]; ok {
		return info, nil
	}
	return nil, fmt.Errorf("no node %s in the snapshot", name)
}

// podGroups has none: they come with a feature gate that is off.
type podGroups struct{}

func (podGroups) PodGroupStates() fwk.PodGroupStateLister { return podGroups{} }

func (podGroups) Get(namespace, name string) (fwk.PodGroupState, error) {
	return nil, fmt.Errorf("pod group %s/%s is not simulated", namespace, name)
}
