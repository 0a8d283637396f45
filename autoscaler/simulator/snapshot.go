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
	"k8s.io/kubernetes/pkg/scheduler/framework"
)

// snapshot is what the plugins see of nodes and the pods on them. Frameworks
// keep a pointer to it, so a session fills it anew instead of replacing it.
// It is not safe for writing while a plugin reads.
type snapshot struct {
	// nodes are the present nodes by name, then the added ones as they came; at
	// is where a node is among them.
	nodes   []fwk.NodeInfo
	present int
	at      map[string]int

	affinity, antiAffinity []fwk.NodeInfo
	claims                 map[string]int // number of pods on nodes that use the claim
	singular               int            // number of pods on nodes that keep away from single slots

	company *company
	scratch []int
	// guests are the pods of this session, for the next: most are the same then.
	guests map[*v1.Pod]guest
}

var (
	_ fwk.SharedLister      = &snapshot{}
	_ fwk.NodeInfoLister    = &snapshot{}
	_ fwk.StorageInfoLister = &snapshot{}
)

// reset makes the snapshot that of the given nodes and the pods bound to them.
func (s *snapshot) reset(nodes []*v1.Node, pods []*v1.Pod) {
	before := s.guests
	*s = snapshot{
		nodes: make([]fwk.NodeInfo, 0, len(nodes)), at: make(map[string]int, len(nodes)),
		claims: map[string]int{}, company: newCompany(), guests: make(map[*v1.Pod]guest, len(pods)),
	}
	images := imagesOf(nodes)
	for _, node := range slices.SortedFunc(slices.Values(nodes), func(a, b *v1.Node) int { return cmp.Compare(a.Name, b.Name) }) {
		info := framework.NewNodeInfo()
		info.SetNode(node)
		info.ImageStates = images.on(node)
		s.at[node.Name] = len(s.nodes)
		s.nodes = append(s.nodes, info)
	}
	s.present = len(s.nodes)
	for _, pod := range pods {
		if pod.Spec.NodeName == "" || finished(pod) {
			continue
		}
		s.count(pod, 1)
		info := s.node(pod.Spec.NodeName)
		if info == nil {
			continue
		}
		g, again := before[pod]
		if !again {
			g, _ = newGuest(pod) // affinities that do not parse are none, as in the scheduler's cache
		}
		s.guests[pod] = g
		s.company.joins(g, pod.Spec.NodeName)
		s.singular += singular(g.info)
		info.AddPodInfo(g.info)
	}
	s.index()
}

// finished pods hold nothing, as in the scheduler's cache.
func finished(pod *v1.Pod) bool {
	return pod.Status.Phase == v1.PodSucceeded || pod.Status.Phase == v1.PodFailed
}

// images are the nodes that have each image.
type images map[string]*fwk.ImageStateSummary

func imagesOf(nodes []*v1.Node) images {
	all := images{}
	for _, node := range nodes {
		for _, image := range node.Status.Images {
			for _, name := range image.Names {
				if all[name] == nil {
					all[name] = &fwk.ImageStateSummary{Size: image.SizeBytes}
				}
				all[name].NumNodes++
			}
		}
	}
	return all
}

func (all images) on(node *v1.Node) map[string]*fwk.ImageStateSummary {
	there := map[string]*fwk.ImageStateSummary{}
	for _, image := range node.Status.Images {
		for _, name := range image.Names {
			there[name] = all[name]
		}
	}
	return there
}

// node returns the node of that name, nil for one that is not there.
func (s *snapshot) node(name string) *framework.NodeInfo {
	i, ok := s.at[name]
	if !ok {
		return nil
	}
	info, _ := s.nodes[i].(*framework.NodeInfo)
	return info
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

// change does something to the pods of a node, and keeps the lists of nodes right.
func (s *snapshot) change(info *framework.NodeInfo, do func()) {
	affinity, antiAffinity := len(info.PodsWithAffinity), len(info.PodsWithRequiredAntiAffinity)
	do()
	s.affinity = listed(s.affinity, info, affinity > 0, len(info.PodsWithAffinity) > 0)
	s.antiAffinity = listed(s.antiAffinity, info, antiAffinity > 0, len(info.PodsWithRequiredAntiAffinity) > 0)
}

// listed returns the list with the node if it is in it now.
func listed(list []fwk.NodeInfo, info fwk.NodeInfo, was, is bool) []fwk.NodeInfo {
	switch {
	case is && !was:
		return append(list, info)
	case was && !is:
		i := slices.Index(list, info)
		return slices.Delete(list, i, i+1)
	}
	return list
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
	info := s.node(pod.Spec.NodeName)
	if info == nil {
		return nil, fmt.Errorf("no node %s in the snapshot", pod.Spec.NodeName)
	}
	g, err := newGuest(pod)
	if err != nil {
		return nil, fmt.Errorf("pod %s: %w", klog.KObj(pod), err)
	}
	s.change(info, func() { info.AddPodInfo(g.info) })
	s.count(pod, 1)
	s.company.joins(g, pod.Spec.NodeName)
	s.singular += singular(g.info)
	return func() {
		s.change(info, func() {
			if err := info.RemovePod(logger, pod); err != nil {
				logger.Error(err, "A simulated pod could not be taken back", "pod", klog.KObj(pod))
			}
		})
		s.count(pod, -1)
		s.company.leaves(g, pod.Spec.NodeName)
		s.singular -= singular(g.info)
	}, nil
}

// guest returns what a pod of the snapshot is to its company.
func (s *snapshot) guest(pod *v1.Pod) guest {
	g, known := s.guests[pod]
	if !known {
		g, _ = newGuest(pod)
	}
	return g
}

// removePod takes a pod from its node and returns how to undo it. Of a pod whose node is gone before it, nothing but
// its claims is there.
func (s *snapshot) removePod(logger klog.Logger, pod *v1.Pod) (undo func(), err error) {
	info := s.node(pod.Spec.NodeName)
	if info == nil {
		s.count(pod, -1)
		return func() { s.count(pod, 1) }, nil
	}
	i := slices.IndexFunc(info.GetPods(), func(p fwk.PodInfo) bool { return p.GetPod().UID == pod.UID })
	if i < 0 {
		return nil, fmt.Errorf("pod %s is not on node %s in the snapshot", klog.KObj(pod), pod.Spec.NodeName)
	}
	there := info.GetPods()[i]
	s.change(info, func() { err = info.RemovePod(logger, there.GetPod()) })
	if err != nil {
		return nil, err
	}
	g := s.guest(there.GetPod())
	s.count(there.GetPod(), -1)
	s.company.leaves(g, pod.Spec.NodeName)
	s.singular -= singular(there)
	return func() {
		s.change(info, func() { info.AddPodInfo(there) })
		s.count(there.GetPod(), 1)
		s.company.joins(g, pod.Spec.NodeName)
		s.singular += singular(there)
	}, nil
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
	if i, ok := s.at[name]; ok {
		return s.nodes[i], nil
	}
	return nil, fmt.Errorf("no node %s in the snapshot", name)
}

// podGroups has none: they come with a feature gate that is off.
type podGroups struct{}

func (podGroups) PodGroupStates() fwk.PodGroupStateLister { return podGroups{} }

func (podGroups) Get(namespace, name string) (fwk.PodGroupState, error) {
	return nil, fmt.Errorf("pod group %s/%s is not simulated", namespace, name)
}
