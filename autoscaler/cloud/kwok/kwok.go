// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package kwok is a provider of simulated nodes: a node of a group is a Node
// object that kwok brings to life.
//
// There is no store beside the API server. The target size of a group is its
// nodes that are not being deleted, as the informer has them, corrected by
// what this process created and deleted and the informer has not shown yet.
package kwok

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/klog/v2"

	"github.com/berth-dev/berth/autoscaler/cloud"
)

// stoodStill is longer than it takes to create a node.
const stoodStill = 5 * time.Second

// GroupLabel carries the name of the group on its nodes.
const GroupLabel = "berth.dev/node-group"

// Group is a configured node group.
type Group struct {
	Name     string
	Min, Max int
	// Labels, Taints and Capacity are those of every node of the group.
	Labels   map[string]string
	Taints   []v1.Taint
	Capacity v1.ResourceList
	// Drivers and Storage are those of cloud.Template, PricePerHour is 0 where it is not known.
	Drivers      map[string]int32
	Storage      map[string]resource.Quantity
	PricePerHour float64
}

// Provider creates and deletes Node objects.
type Provider struct {
	client corev1client.NodeInterface
	lister corelisters.NodeLister
	groups map[string]*nodeGroup
}

var _ cloud.Provider = &Provider{}

// New returns a provider of the groups, whose names are unique.
func New(client corev1client.NodeInterface, lister corelisters.NodeLister, groups []Group) *Provider {
	p := &Provider{client: client, lister: lister, groups: map[string]*nodeGroup{}}
	for _, g := range groups {
		p.groups[g.Name] = &nodeGroup{Group: g, provider: p, created: map[string]types.UID{}, deleted: map[types.UID]bool{}}
	}
	return p
}

// Refresh forgets the nodes that the informer has caught up with.
func (p *Provider) Refresh(ctx context.Context) error {
	var errs []error
	for _, g := range p.groups {
		errs = append(errs, g.refresh(ctx))
	}
	return errors.Join(errs...)
}

// Groups returns the configured groups, by name.
func (p *Provider) Groups(context.Context) ([]cloud.NodeGroup, error) {
	groups := make([]cloud.NodeGroup, 0, len(p.groups))
	for _, name := range slices.Sorted(maps.Keys(p.groups)) {
		groups = append(groups, p.groups[name])
	}
	return groups, nil
}

// Problems are none: groups are what the configuration says.
func (p *Provider) Problems() map[string]error { return nil }

// GroupOf reads the label of the node.
func (p *Provider) GroupOf(node *v1.Node) (string, bool) {
	name := node.Labels[GroupLabel]
	_, known := p.groups[name]
	return name, known
}

type nodeGroup struct {
	Group
	provider *Provider

	mu sync.Mutex
	// created holds nodes by name, deleted by UID, until the informer shows
	// what was done to them.
	created map[string]types.UID
	deleted map[types.UID]bool
}

var _ cloud.NodeGroup = &nodeGroup{}

func (g *nodeGroup) Name() string            { return g.Group.Name }
func (g *nodeGroup) Limits() (low, high int) { return g.Min, g.Max }

func (g *nodeGroup) TargetSize(ctx context.Context) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.size()
}

// size is TargetSize under the lock.
func (g *nodeGroup) size() (int, error) {
	nodes, err := g.observed()
	if err != nil {
		return 0, err
	}
	size := 0
	for _, n := range nodes {
		if n.DeletionTimestamp == nil && !g.deleted[n.UID] {
			size++
		}
	}
	for name := range g.created {
		if _, seen := nodes[name]; !seen {
			size++
		}
	}
	return size, nil
}

// observed returns the nodes of the group that the informer has, by name.
func (g *nodeGroup) observed() (map[string]*v1.Node, error) {
	list, err := g.provider.lister.List(labels.SelectorFromSet(labels.Set{GroupLabel: g.Group.Name}))
	if err != nil {
		return nil, fmt.Errorf("listing nodes of group %s: %w", g.Group.Name, err)
	}
	nodes := make(map[string]*v1.Node, len(list))
	for _, n := range list {
		nodes[n.Name] = n
	}
	return nodes, nil
}

// refresh forgets what the informer shows. A node that was created, never
// shown and is gone from the API server was deleted by someone else in between.
func (g *nodeGroup) refresh(ctx context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	nodes, err := g.observed()
	if err != nil {
		return err
	}
	present := map[types.UID]bool{}
	for _, n := range nodes {
		present[n.UID] = true
	}
	maps.DeleteFunc(g.deleted, func(uid types.UID, _ bool) bool { return !present[uid] })
	for name, uid := range g.created {
		if _, seen := nodes[name]; seen {
			delete(g.created, name)
			continue
		}
		n, err := g.provider.client.Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) || err == nil && n.UID != uid {
			delete(g.created, name)
		} else if err != nil {
			return fmt.Errorf("reading node %s of group %s: %w", name, g.Group.Name, err)
		}
	}
	return nil
}

func (g *nodeGroup) Template(context.Context) (*cloud.Template, error) {
	return &cloud.Template{
		Node:    g.newNode(g.Group.Name + "-template"),
		Drivers: maps.Clone(g.Drivers),
		Storage: maps.Clone(g.Storage),
	}, nil
}

func (g *nodeGroup) Options(_ context.Context, defaults cloud.Options) (cloud.Options, error) {
	return defaults, nil
}

func (g *nodeGroup) Price(context.Context) (perHour float64, known bool, err error) {
	return g.PricePerHour, g.PricePerHour > 0, nil
}

// Instances returns the nodes: there is no machine without one.
func (g *nodeGroup) Instances(context.Context) ([]cloud.Instance, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	nodes, err := g.observed()
	if err != nil {
		return nil, err
	}
	instances := make([]cloud.Instance, 0, len(nodes)+len(g.created))
	for _, name := range slices.Sorted(maps.Keys(nodes)) {
		n := nodes[name]
		state := cloud.InstanceRunning
		if n.DeletionTimestamp != nil || g.deleted[n.UID] {
			state = cloud.InstanceDeleting
		}
		instances = append(instances, cloud.Instance{ProviderID: n.Spec.ProviderID, State: state})
	}
	for _, name := range slices.Sorted(maps.Keys(g.created)) {
		if nodes[name] == nil {
			instances = append(instances, cloud.Instance{ProviderID: providerID(name), State: cloud.InstanceCreating})
		}
	}
	return instances, nil
}

// DecreaseTarget finds nothing to take back: a node that was asked for exists.
func (g *nodeGroup) DecreaseTarget(_ context.Context, n int) error {
	return &cloud.NothingToForgoError{Group: g.Group.Name, Asked: n}
}

func (g *nodeGroup) Increase(ctx context.Context, n int) error {
	if n <= 0 {
		return fmt.Errorf("node group %s: cannot grow by %d", g.Group.Name, n)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	size, err := g.size()
	if err != nil {
		return err
	}
	if size+n > g.Max {
		return &cloud.AtMaximumError{Group: g.Group.Name, Size: size, Asked: n, Max: g.Max}
	}
	last := time.Now()
	for i := range n {
		// A process that stood still may have lost the lead, and not have noticed yet.
		if stood := time.Since(last); stood > stoodStill {
			return fmt.Errorf("node group %s: %d of %d nodes created: one took %s", g.Group.Name, i, n, stood.Round(time.Second))
		}
		last = time.Now()
		if err := g.create(ctx); err != nil {
			return fmt.Errorf("node group %s: %d of %d nodes created: %w", g.Group.Name, i, n, err)
		}
	}
	return nil
}

// create creates one node, under another name where the first is taken.
func (g *nodeGroup) create(ctx context.Context) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		booting := g.newNode(g.Group.Name + "-" + rand.String(5))
		// A kubelet registers its node as not ready. Without a condition the node
		// lifecycle controller takes the API server's not-ready taint off at once,
		// and pods are bound to a node that has yet to boot.
		booting.Status.Conditions = []v1.NodeCondition{{
			Type: v1.NodeReady, Status: v1.ConditionFalse, Reason: "KubeletNotReady", Message: "the node boots", LastTransitionTime: metav1.Now(),
		}}
		node, err := g.provider.client.Create(ctx, booting, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			continue
		}
		if err != nil {
			return err
		}
		g.created[node.Name] = node.UID
		klog.FromContext(ctx).V(2).Info("Created node", "node", klog.KObj(node), "nodeGroup", g.Group.Name)
		return nil
	}
}

func (g *nodeGroup) Delete(ctx context.Context, nodes ...*v1.Node) error {
	for _, n := range nodes {
		if name, ok := g.provider.GroupOf(n); !ok || name != g.Group.Name {
			return &cloud.NotInGroupError{Group: g.Group.Name, Node: n.Name}
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	var errs []error
	for _, n := range nodes {
		errs = append(errs, g.delete(ctx, n))
	}
	return errors.Join(errs...)
}

func (g *nodeGroup) delete(ctx context.Context, n *v1.Node) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := g.provider.client.Delete(ctx, n.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(n.UID))})
	// A conflict is another node that took over the name.
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("node group %s: deleting node %s: %w", g.Group.Name, n.Name, err)
	}
	g.deleted[n.UID] = true
	if g.created[n.Name] == n.UID {
		delete(g.created, n.Name)
	}
	klog.FromContext(ctx).V(2).Info("Deleted node", "node", klog.KObj(n), "nodeGroup", g.Group.Name)
	return nil
}

// newNode returns a node of the group. The hostname label differs from the
// name, as it does on many clouds, so that nothing can rely on them being equal.
func (g *nodeGroup) newNode(name string) *v1.Node {
	nodeLabels := map[string]string{
		v1.LabelOSStable:   "linux",
		v1.LabelArchStable: "amd64",
		"type":             "kwok",
	}
	maps.Copy(nodeLabels, g.Labels)
	nodeLabels[GroupLabel] = g.Group.Name
	nodeLabels[v1.LabelHostname] = name + ".local"
	return &v1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name:   name,
			Labels: nodeLabels,
			Annotations: map[string]string{
				"kwok.x-k8s.io/node": "fake",
				"volumes.kubernetes.io/controller-managed-attach-detach": "true",
			},
		},
		Spec:   v1.NodeSpec{ProviderID: providerID(name), Taints: slices.Clone(g.Taints)},
		Status: v1.NodeStatus{Capacity: g.Capacity.DeepCopy(), Allocatable: g.Capacity.DeepCopy()},
	}
}

func providerID(name string) string { return "kwok://" + name }
