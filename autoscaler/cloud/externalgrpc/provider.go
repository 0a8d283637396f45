// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package externalgrpc is a provider that asks a server which speaks Cluster
// Autoscaler's external gRPC protocol, so that what was written for that works
// here.
//
// Only listed groups are touched. The target size is the server's, read again
// before it is changed; one caller at a time changes a group. What the server
// says is checked before it is believed: an answer that cannot be is an
// *AnswerError, none at all a *CallError. A group of which nonsense is said is
// left out, and the others go on. Calls that a server need not have are done
// without.
package externalgrpc

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/klog/v2"

	"github.com/berth-dev/berth/autoscaler/cloud"
	"github.com/berth-dev/berth/autoscaler/cloud/externalgrpc/protos"
)

// Options say where the server is and what it is asked for.
type Options struct {
	// Address is host:port, or another target that gRPC understands.
	Address string
	// TLS are the files of an encrypted connection. Without a CAFile, Insecure
	// has to be set: nothing else says who the server is.
	TLS      TLS
	Insecure bool
	// Timeout is how long one call may take; 0 is 5 s.
	Timeout time.Duration
	// Groups are the groups to scale. Others of the server's are left alone.
	Groups []Group
	// Nodes are those of the cluster.
	Nodes corelisters.NodeLister
}

// TLS names PEM files.
type TLS struct {
	// CertFile and KeyFile are the client's, where the server asks for them.
	// They are read again for each new connection.
	CertFile, KeyFile string
	// CAFile has the certificates that the server's is checked by. It is read once.
	CAFile string
	// ServerName is the name in the server's certificate, where it is not the host of the address.
	ServerName string
}

// Group is a listed node group.
type Group struct {
	// Name is the id that the server knows the group by.
	Name string
	// Min and Max narrow the limits that the server gives.
	Min, Max *int
}

// Provider asks the server.
type Provider struct {
	*connection
	listed map[string]*nodeGroup
	nodes  corelisters.NodeLister
	now    func() time.Time
	// refreshing guards what only Refresh uses: one of them at a time.
	refreshing turn

	mu sync.RWMutex
	// groups are the listed ones that can be worked with, nil before the first Refresh.
	groups  map[string]*nodeGroup
	members members
}

var _ cloud.Provider = &Provider{}

// New returns a provider. It connects when it is first asked.
func New(o Options) (*Provider, error) {
	if o.Address == "" {
		return nil, errors.New("no address is given: want host:port of the server")
	}
	if o.Timeout < 0 {
		return nil, fmt.Errorf("time-out %v: want 0 or more", o.Timeout)
	}
	if o.Nodes == nil {
		return nil, errors.New("no lister of nodes is given")
	}
	p := &Provider{listed: map[string]*nodeGroup{}, nodes: o.Nodes, now: time.Now, refreshing: newTurn(), members: members{}}
	for _, g := range o.Groups {
		switch {
		case g.Name == "":
			return nil, errors.New("a node group is listed without a name")
		case p.listed[g.Name] != nil:
			return nil, fmt.Errorf("node group %s is listed twice", g.Name)
		case g.Min != nil && *g.Min < 0:
			return nil, fmt.Errorf("node group %s: minimum %d, want 0 or more", g.Name, *g.Min)
		case g.Max != nil && *g.Max < 0:
			return nil, fmt.Errorf("node group %s: maximum %d, want 0 or more", g.Name, *g.Max)
		case g.Min != nil && g.Max != nil && *g.Min > *g.Max:
			return nil, fmt.Errorf("node group %s: minimum %d is above maximum %d", g.Name, *g.Min, *g.Max)
		}
		p.listed[g.Name] = newNodeGroup(p, g)
	}
	var err error
	p.connection, err = dial(o)
	return p, err
}

// Close ends the connection. The server is not told to clean up, since the
// next leader will ask it.
func (p *Provider) Close() error { return p.conn.Close() }

// Refresh has the server refresh itself, reads the groups and learns whose the
// new nodes are. A listed group that cannot be worked with is left out and
// logged; nodes that there was no answer for are asked about again next time.
func (p *Provider) Refresh(ctx context.Context) error {
	if err := p.refreshing.take(ctx); err != nil {
		return err
	}
	defer p.refreshing.give()
	if _, err := call(ctx, p.connection, "Refresh", "", p.client.Refresh, &protos.RefreshRequest{}); err != nil {
		return err
	}
	answer, err := call(ctx, p.connection, "NodeGroups", "", p.client.NodeGroups, &protos.NodeGroupsRequest{})
	if err != nil {
		return err
	}
	offered := map[string][]*protos.NodeGroup{}
	for _, g := range answer.GetNodeGroups() {
		offered[g.GetId()] = append(offered[g.GetId()], g)
	}
	groups := p.usable(ctx, offered)
	p.mu.Lock()
	p.groups = groups
	p.mu.Unlock()
	return p.resolve(ctx, groups, offered)
}

// usable returns the listed groups that can be worked with, and logs why others cannot.
func (p *Provider) usable(ctx context.Context, offered map[string][]*protos.NodeGroup) map[string]*nodeGroup {
	groups := map[string]*nodeGroup{}
	for _, name := range slices.Sorted(maps.Keys(p.listed)) {
		g := p.listed[name]
		low, high, err := g.narrow(offered)
		before := g.renew(low, high, err)
		if err == nil {
			groups[name] = g
		} else if before == nil || before.Error() != err.Error() {
			klog.FromContext(ctx).Error(err, "A node group is left alone", "nodeGroup", name)
		}
	}
	return groups
}

// Groups returns the listed groups as of the last Refresh, by name.
func (p *Provider) Groups(context.Context) ([]cloud.NodeGroup, error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.groups == nil {
		return nil, fmt.Errorf("provider %s: the groups are not known before the first refresh", p.address)
	}
	groups := make([]cloud.NodeGroup, 0, len(p.groups))
	for _, name := range slices.Sorted(maps.Keys(p.groups)) {
		groups = append(groups, p.groups[name])
	}
	return groups, nil
}

// Problems are the listed groups that the server does not offer, or offers with other limits than can be kept.
func (p *Provider) Problems() map[string]error {
	problems := map[string]error{}
	for name, g := range p.listed {
		if fault := g.faulty(); fault != nil {
			problems[name] = fault
		}
	}
	return problems
}

// GroupOf knows the nodes as of the last Refresh, and templates.
func (p *Provider) GroupOf(node *v1.Node) (string, bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	name := p.members.groupOf(node)
	_, known := p.groups[name]
	return name, known
}
