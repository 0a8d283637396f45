// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package externalgrpc

import (
	"context"
	"fmt"

	"github.com/berth-dev/berth/autoscaler/cloud"
	"github.com/berth-dev/berth/autoscaler/cloud/externalgrpc/protos"
)

// Instances are the server's. One of which it does not say what it does runs,
// as far as anyone can tell, unless it was deleted here. As in Cluster
// Autoscaler, an error counts while the machine is being created: one that runs
// has become a node, or may.
func (g *nodeGroup) Instances(ctx context.Context) ([]cloud.Instance, error) {
	p := g.provider
	answer, err := call(ctx, p.connection, "NodeGroupNodes", g.Group.Name, p.client.NodeGroupNodes, &protos.NodeGroupNodesRequest{Id: g.Group.Name})
	if err != nil {
		return nil, err
	}
	instances := make([]cloud.Instance, 0, len(answer.GetInstances()))
	seen := make(map[string]bool, len(answer.GetInstances()))
	for _, i := range answer.GetInstances() {
		if i.GetId() != "" && seen[i.GetId()] {
			return nil, &AnswerError{Group: g.Group.Name, Call: "NodeGroupNodes", Got: fmt.Sprintf("instance %q twice", i.GetId()), Want: "each once"}
		}
		seen[i.GetId()] = true
		instance := cloud.Instance{ProviderID: i.GetId(), State: cloud.InstanceRunning}
		switch i.GetStatus().GetInstanceState() {
		case protos.InstanceStatus_instanceCreating:
			instance.State = cloud.InstanceCreating
			instance.Failed = failure(i.GetStatus().GetErrorInfo())
			if instance.Failed != nil && g.deletedHere(i.GetId()) {
				instance.State, instance.Failed = cloud.InstanceDeleting, nil
			}
		case protos.InstanceStatus_instanceDeleting:
			instance.State = cloud.InstanceDeleting
		case protos.InstanceStatus_unspecified:
			if g.deletedHere(i.GetId()) {
				instance.State = cloud.InstanceDeleting
			}
		}
		instances = append(instances, instance)
	}
	return instances, nil
}

// outOfResources is the class of errors that say that there is no such machine to have.
const outOfResources = 1

func failure(e *protos.InstanceErrorInfo) *cloud.InstanceFailure {
	if e.GetErrorCode() == "" {
		return nil
	}
	return &cloud.InstanceFailure{OutOfResources: e.GetInstanceErrorClass() == outOfResources, Code: e.GetErrorCode(), Message: e.GetErrorMessage()}
}
