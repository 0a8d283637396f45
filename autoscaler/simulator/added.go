// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"
)

// AddNode adds a node that does not exist yet, with the daemon pods that it
// will run, or shows one that does in a new state. The informers of plugins
// never show a node that does not exist: a domain is not there before its
// first node is.
func (s *Session) AddNode(node *v1.Node) error {
	if s.live[node.Name] {
		s.forget()
		if err := s.AddObject(node); err != nil {
			return err
		}
	}
	s.done(s.simulator.snapshot.addNode(node))
	for _, pod := range s.daemons.missing(s.logger, s.simulator.snapshot.node(node.Name)) {
		undo, err := s.simulator.snapshot.addPod(s.logger, pod)
		if err != nil {
			return err
		}
		s.done(undo)
	}
	return nil
}

// templateLabel is on the nodes that Cluster Autoscaler makes up. Drivers whose
// storage is local to nodes tell by it what a new node will have.
const templateLabel = "cluster-autoscaler.kubernetes.io/template-node"

// AddTemplate adds a node as AddNode does, with the CSI drivers that it will
// have, each with the number of volumes that it can attach (0 is no limit), and
// with how much each StorageClass can provision on it alone. Of a node that
// exists, what its drivers say themselves counts, and the rest is as given: they
// may not have registered yet. One that does not exist is named by its labels as
// by its name, whichever node they were copied from.
//
// Storage that several nodes share needs nothing: it is told by labels, which
// the node has.
func (s *Session) AddTemplate(node *v1.Node, drivers map[string]int32, storage map[string]resource.Quantity) error {
	if !s.live[node.Name] {
		node = s.asNew(node)
	}
	if err := s.AddNode(node); err != nil {
		return err
	}
	if err := s.addDrivers(node, drivers); err != nil {
		return err
	}
	return s.addStorage(node, storage)
}

// asNew returns a node that does not exist with the name that it has in all its
// labels: CSI drivers have labels of their own for what is local to a node.
func (s *Session) asNew(node *v1.Node) *v1.Node {
	named := *node
	named.Labels = maps.Clone(node.Labels)
	if named.Labels == nil {
		named.Labels = map[string]string{}
	}
	for key, value := range named.Labels {
		if s.hosts[value] {
			named.Labels[key] = node.Name
		}
	}
	named.Labels[v1.LabelHostname] = node.Name
	return &named
}

func (s *Session) addDrivers(node *v1.Node, drivers map[string]int32) error {
	registered := &storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: node.Name}}
	if known, err := s.simulator.csiNodes.Get(node.Name); err == nil {
		registered = known.DeepCopy()
	}
	there := len(registered.Spec.Drivers)
	for _, name := range slices.Sorted(maps.Keys(drivers)) {
		if slices.ContainsFunc(registered.Spec.Drivers, func(d storagev1.CSINodeDriver) bool { return d.Name == name }) {
			continue
		}
		driver := storagev1.CSINodeDriver{Name: name, NodeID: node.Name}
		if limit := drivers[name]; limit > 0 {
			driver.Allocatable = &storagev1.VolumeNodeResources{Count: ptr.To(limit)}
		}
		registered.Spec.Drivers = append(registered.Spec.Drivers, driver)
	}
	if len(registered.Spec.Drivers) == there {
		return nil
	}
	return s.lay(registered)
}

// addStorage shows a capacity for each class whose driver has not told one for
// the node.
func (s *Session) addStorage(node *v1.Node, storage map[string]resource.Quantity) error {
	hostname, ok := node.Labels[v1.LabelHostname]
	if !ok {
		return nil // nothing tells its storage from that of others
	}
	own, err := s.storageOf(node, storage)
	if err != nil {
		return err
	}
	for _, capacity := range own {
		// No object that exists is called so.
		capacity.ObjectMeta = metav1.ObjectMeta{Namespace: "simulated/" + node.Name, Name: capacity.StorageClassName}
		capacity.NodeTopology = &metav1.LabelSelector{MatchLabels: map[string]string{v1.LabelHostname: hostname}}
		if err := s.lay(&capacity); err != nil {
			return err
		}
	}
	return nil
}

// storageOf returns what a node will have and no driver tells yet: as it is
// given, and of classes that are not, as drivers tell it of new nodes. It is a
// capacity for each node: what one has is not the others'.
func (s *Session) storageOf(node *v1.Node, storage map[string]resource.Quantity) (own []storagev1.CSIStorageCapacity, err error) {
	known := map[string]bool{}
	if s.live[node.Name] {
		capacities, err := s.simulator.capacities.List(labels.Everything())
		if err != nil {
			return nil, fmt.Errorf("listing CSIStorageCapacities: %w", err)
		}
		for _, capacity := range capacities {
			if selects(capacity, node.Labels) {
				known[capacity.StorageClassName] = true
			}
		}
	}
	for _, class := range slices.Sorted(maps.Keys(storage)) {
		if !known[class] {
			known[class] = true
			own = append(own, storagev1.CSIStorageCapacity{StorageClassName: class, Capacity: ptr.To(storage[class])})
		}
	}
	if len(s.ofNew) == 0 {
		return own, nil
	}
	template := maps.Clone(node.Labels)
	template[templateLabel] = "true"
	for _, capacity := range s.ofNew {
		if class := capacity.StorageClassName; !known[class] && selects(capacity, template) {
			known[class] = true
			own = append(own, storagev1.CSIStorageCapacity{StorageClassName: class, Capacity: capacity.Capacity, MaximumVolumeSize: capacity.MaximumVolumeSize})
		}
	}
	return own, nil
}

// toldOfNew returns the capacities that drivers tell of nodes that are made up, by name.
func toldOfNew(capacities []*storagev1.CSIStorageCapacity) (told []*storagev1.CSIStorageCapacity) {
	names := func(r metav1.LabelSelectorRequirement) bool { return r.Key == templateLabel }
	for _, capacity := range capacities {
		if at := capacity.NodeTopology; at != nil && (at.MatchLabels[templateLabel] != "" || slices.ContainsFunc(at.MatchExpressions, names)) {
			told = append(told, capacity)
		}
	}
	slices.SortFunc(told, func(a, b *storagev1.CSIStorageCapacity) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return told
}

func selects(capacity *storagev1.CSIStorageCapacity, node map[string]string) bool {
	selector, err := metav1.LabelSelectorAsSelector(capacity.NodeTopology)
	return err == nil && selector.Matches(labels.Set(node))
}
