// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package clusterapi is a provider of the machines of Cluster API: a group is
// a MachineDeployment, a MachineSet or a MachinePool, and its size is the scale
// subresource of that.
//
// What is read comes from informers; what is written is decided on what the API
// server has at that moment, and only applies if the group has not changed since
// (its resourceVersion). A node is deleted by marking its Machine and making the
// group smaller by one, as Cluster API wants it. It takes marked Machines first;
// so a group is left alone while its numbers do not add up and another Machine
// could be taken instead of the marked one: while it rolls out, while it has
// fewer Machines than it should have, while a removal of somebody else is under
// way.
//
// Both v1beta1 and v1beta2 are read, whichever the API server prefers. Nothing
// of Cluster API is linked.
package clusterapi

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/scale"
	"k8s.io/klog/v2"

	"github.com/berth-dev/berth/autoscaler/cloud"
)

const (
	apiGroup       = "cluster.x-k8s.io"
	deploymentKind = "MachineDeployment"
	setKind        = "MachineSet"
	poolKind       = "MachinePool"
	machineKind    = "Machine"
	clusterKind    = "Cluster"
	// everyName in the place of a name lists all groups of a kind in a namespace that say how large they may be.
	everyName = "*"
	// templateAnnotation tells a template's group: it has no Machine to tell it.
	templateAnnotation = "berth.dev/node-group"
)

// Group is a configured group.
type Group struct {
	// Name is the kind, the namespace and the name of the object, as
	// MachineDeployment/default/workers. With * in the place of the name they
	// are all of that kind and namespace that have the annotation of the maximum.
	Name string
	// Min and Max narrow what the annotations say. One of both has to say the maximum.
	Min, Max *int
}

// Options are what a provider works with.
type Options struct {
	// Client, Scales and Mapper reach the management cluster. A mapper that can be reset is, when a kind is not known.
	Client dynamic.Interface
	Scales scale.ScalesGetter
	Mapper meta.RESTMapper
	// Cluster names the management cluster to people.
	Cluster string
	// Nodes are those of the workload cluster.
	Nodes corev1client.NodeInterface
	// Groups are the only ones that are changed.
	Groups []Group
}

// Provider scales groups of Machines.
type Provider struct {
	options    Options
	configured []listed

	// started is closed once stores is there and never changes again.
	started chan struct{}
	stores  stores

	mu       sync.Mutex
	startErr error
	asked    time.Time // when the mapper was last reset
	groups   map[string]*nodeGroup
	problems map[string]error
}

var _ cloud.Provider = &Provider{}

// listed is a configured group, taken apart.
type listed struct {
	Group
	kind, namespace, name string
}

// New returns a provider of the groups. It knows nothing before Run runs.
func New(o Options) (*Provider, error) {
	p := &Provider{options: o, started: make(chan struct{}), groups: map[string]*nodeGroup{}, problems: map[string]error{}}
	seen := map[string]bool{}
	for _, g := range o.Groups {
		parts := strings.Split(g.Name, "/")
		if len(parts) != 3 || watched[parts[0]] == nil || parts[1] == "" || parts[2] == "" ||
			strings.Contains(parts[1], everyName) || parts[2] != everyName && strings.Contains(parts[2], everyName) {
			return nil, fmt.Errorf("node group %q: want MachineDeployment/NAMESPACE/NAME, MachineSet/NAMESPACE/NAME or MachinePool/NAMESPACE/NAME, with * for NAME only", g.Name)
		}
		if seen[g.Name] {
			return nil, fmt.Errorf("node group %q is listed twice", g.Name)
		}
		seen[g.Name] = true
		p.configured = append(p.configured, listed{Group: g, kind: parts[0], namespace: parts[1], name: parts[2]})
	}
	// Names win over what * stands for.
	slices.SortStableFunc(p.configured, func(a, b listed) int {
		return cmp.Compare(strings.Count(a.name, everyName), strings.Count(b.name, everyName))
	})
	return p, nil
}

func groupName(kind, namespace, name string) string { return kind + "/" + namespace + "/" + name }

// Refresh reads the groups anew. One that cannot be understood is left out, which Problems tells, and the log once.
func (p *Provider) Refresh(ctx context.Context) error {
	if err := p.synced(ctx); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	fresh, problems := map[string]*nodeGroup{}, map[string]error{}
	for _, c := range p.configured {
		for _, name := range p.expand(c) {
			full := groupName(c.kind, c.namespace, name)
			if fresh[full] != nil || problems[full] != nil {
				continue
			}
			g := p.groups[full]
			if g == nil {
				g = &nodeGroup{provider: p, kind: c.kind, namespace: c.namespace, name: name}
			}
			if err := g.refresh(c.Group); err != nil {
				problems[full] = err
				continue
			}
			fresh[full] = g
		}
	}
	for name, err := range problems {
		if before := p.problems[name]; before == nil || before.Error() != err.Error() {
			klog.FromContext(ctx).Error(err, "A node group is left out", "nodeGroup", name)
		}
	}
	p.groups, p.problems = fresh, problems
	return nil
}

// expand returns the names that an entry stands for.
func (p *Provider) expand(c listed) []string {
	if c.name != everyName {
		return []string{c.name}
	}
	var names []string
	for _, object := range p.stores.list(c.kind, c.namespace) {
		_, bounded := object.GetAnnotations()[maxAnnotation]
		if kind, _ := owner(object); bounded && kind != deploymentKind && !isDeleting(object) {
			names = append(names, object.GetName())
		}
	}
	return names
}

// Problems are the groups that there are not, or that cannot be understood.
func (p *Provider) Problems() map[string]error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.problems)
}

// Groups returns the groups that were understood, by name.
func (p *Provider) Groups(context.Context) ([]cloud.NodeGroup, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	groups := make([]cloud.NodeGroup, 0, len(p.groups))
	for _, name := range slices.Sorted(maps.Keys(p.groups)) {
		groups = append(groups, p.groups[name])
	}
	return groups, nil
}

// GroupOf finds the Machine of the node and what owns it.
func (p *Provider) GroupOf(node *v1.Node) (string, bool) {
	name := node.Annotations[templateAnnotation]
	if node.UID != "" || node.Spec.ProviderID != "" {
		name, _ = p.home(node)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return name, p.groups[name] != nil
}

// home returns the name of the node's group, and its Machine. A node of a MachinePool
// whose provider has no Machines for it is known by its providerID alone.
func (p *Provider) home(node *v1.Node) (string, machine) {
	select {
	case <-p.started:
	default:
		return "", machine{}
	}
	if m, ok := p.machineOf(node); ok {
		return p.stores.group(m), m
	}
	if id := node.Spec.ProviderID; id != "" {
		for namespace := range p.stores[poolKind] {
			for _, pool := range p.stores.by(byProviderID, poolKind, namespace, id) {
				return groupName(poolKind, namespace, pool.GetName()), machine{}
			}
		}
	}
	return "", machine{}
}

// machineOf finds the Machine with the providerID of the node. Where one of both has none, the name of the node tells.
func (p *Provider) machineOf(node *v1.Node) (machine, bool) {
	var found machine
	for namespace := range p.stores[machineKind] {
		if id := node.Spec.ProviderID; id != "" {
			for _, u := range p.stores.by(byProviderID, machineKind, namespace, id) {
				if m := (machine{u}); found.Unstructured == nil || found.deleting() && !m.deleting() {
					found = m
				}
			}
		}
	}
	if found.Unstructured != nil {
		return found, true
	}
	for namespace := range p.stores[machineKind] {
		for _, u := range p.stores.by(byNode, machineKind, namespace, node.Name) {
			if m := (machine{u}); m.providerID() == "" || node.Spec.ProviderID == "" {
				return m, true
			}
		}
	}
	return machine{}, false
}

func cmpName(a, b *unstructured.Unstructured) int { return cmp.Compare(a.GetName(), b.GetName()) }
