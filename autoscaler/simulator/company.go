// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"
)

// company knows on which nodes there are pods with the same labels, and pods
// that keep away from the same others. Two plugins look for that among all pods
// of all nodes, for every pod anew: they are shown those that are of interest.
type company struct {
	alike flocks // by namespace and labels
	shy   flocks // by namespace and terms
}

type flocks map[string]*flock

// flock is pods of one kind.
type flock struct {
	pod   *v1.Pod            // one of them
	terms []fwk.AffinityTerm // what they keep away from
	on    map[string][]fwk.PodInfo
}

// guest is a pod with what it is to its company.
type guest struct {
	info       *framework.PodInfo
	alike, shy string
}

func newCompany() *company { return &company{alike: flocks{}, shy: flocks{}} }

// newGuest returns the pod, with the error of an affinity that does not parse.
func newGuest(pod *v1.Pod) (guest, error) {
	info, err := framework.NewPodInfo(pod)
	g := guest{info: info}
	var kind strings.Builder
	kind.WriteString(pod.Namespace)
	keys := make([]string, 0, len(pod.Labels))
	for key := range pod.Labels {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		kind.WriteString("," + key + "=" + pod.Labels[key])
	}
	g.alike = kind.String()
	if terms := info.GetRequiredAntiAffinityTerms(); len(terms) > 0 {
		data, err := json.Marshal(pod.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution)
		if err != nil {
			return g, fmt.Errorf("pod %s: %w", klog.KObj(pod), err)
		}
		g.shy = pod.Namespace + string(data)
	}
	return g, err
}

// joins notes that a pod is on a node.
func (c *company) joins(g guest, node string) {
	c.alike.add(g.alike, g.info, node)
	if g.shy != "" {
		c.shy.add(g.shy, g.info, node)
	}
}

// leaves notes that it is there no more.
func (c *company) leaves(g guest, node string) {
	c.alike.remove(g.alike, g.info, node)
	if g.shy != "" {
		c.shy.remove(g.shy, g.info, node)
	}
}

func (all flocks) add(kind string, info *framework.PodInfo, node string) {
	f := all[kind]
	if f == nil {
		f = &flock{pod: info.Pod, terms: info.GetRequiredAntiAffinityTerms(), on: map[string][]fwk.PodInfo{}}
		all[kind] = f
	}
	f.on[node] = append(f.on[node], info)
}

// remove knows pods by UID, as nodes do.
func (all flocks) remove(kind string, info *framework.PodInfo, node string) {
	f := all[kind]
	if f == nil {
		return
	}
	if i := slices.IndexFunc(f.on[node], func(p fwk.PodInfo) bool { return p.GetPod().UID == info.Pod.UID }); i >= 0 {
		f.on[node] = slices.Delete(f.on[node], i, i+1)
	}
	if len(f.on[node]) > 0 {
		return
	}
	if delete(f.on, node); len(f.on) == 0 {
		delete(all, kind)
	}
}

// few is a node as if it had these pods only.
type few struct {
	fwk.NodeInfo
	pods []fwk.PodInfo
}

func (n few) GetPods() []fwk.PodInfo                         { return n.pods }
func (n few) GetPodsWithRequiredAntiAffinity() []fwk.PodInfo { return n.pods }

// with returns the nodes with their pods of some flocks only. Without any of
// them a node is left out, unless all are wanted.
func (s *snapshot) with(flocks flocks, which func(*flock) bool, all bool) []fwk.NodeInfo {
	var nodes []few
	place := func(i int) int { // of a node in the list
		if s.scratch[i] == 0 {
			nodes = append(nodes, few{NodeInfo: s.nodes[i]})
			s.scratch[i] = len(nodes)
		}
		return s.scratch[i] - 1
	}
	s.scratch = slices.Grow(s.scratch[:0], len(s.nodes))[:len(s.nodes)]
	clear(s.scratch)
	if all {
		nodes = make([]few, 0, len(s.nodes))
		for i := range s.nodes {
			place(i)
		}
	}
	for _, f := range flocks {
		if !which(f) {
			continue
		}
		for name, pods := range f.on {
			i := place(s.at[name]) // which may move the list
			if nodes[i].pods == nil {
				nodes[i].pods = slices.Clip(pods)
			} else {
				nodes[i].pods = append(nodes[i].pods, pods...)
			}
		}
	}
	list := make([]fwk.NodeInfo, len(nodes))
	for i := range nodes {
		list[i] = &nodes[i]
	}
	return list
}
