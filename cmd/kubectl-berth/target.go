// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"
)

// kind is what a name on the command line is of.
type kind string

const (
	kindSet        kind = "StatefulSet"
	kindPolicy     kind = "PlacementPolicy"
	kindPod        kind = "Pod"
	kindHPA        kind = "HorizontalPodAutoscaler"
	kindVPA        kind = "VerticalPodAutoscaler"
	kindGroup      kind = "NodeGroup"
	kindDeployment kind = "Deployment"
	kindReplicaSet kind = "ReplicaSet"
	kindController kind = "ReplicationController"
	kindNode       kind = "Node"
)

// spellings are the ways to write a kind, the short one first.
func (k kind) spellings() []string {
	switch k {
	case kindSet:
		return []string{"sts", "statefulset", "statefulsets", "statefulset.apps", "statefulsets.apps"}
	case kindPolicy:
		return []string{"pp", "placementpolicy", "placementpolicies", "placementpolicies.berth.dev"}
	case kindHPA:
		return []string{"hpa", "horizontalpodautoscaler", "horizontalpodautoscalers", "horizontalpodautoscaler.autoscaling", "horizontalpodautoscalers.autoscaling"}
	case kindVPA:
		return []string{"vpa", "verticalpodautoscaler", "verticalpodautoscalers", "verticalpodautoscaler.autoscaling.k8s.io", "verticalpodautoscalers.autoscaling.k8s.io"}
	case kindGroup:
		return []string{"node-group", "nodegroup", "node-groups", "nodegroups", "ng"}
	case kindDeployment:
		return []string{"deploy", "deployment", "deployments", "deployment.apps", "deployments.apps"}
	case kindReplicaSet:
		return []string{"rs", "replicaset", "replicasets", "replicaset.apps", "replicasets.apps"}
	case kindController:
		return []string{"rc", "replicationcontroller", "replicationcontrollers"}
	case kindNode:
		return []string{"node", "nodes", "no"}
	default:
		return []string{"pod", "pods", "po"}
	}
}

// target is what a command is about.
type target struct {
	kind kind
	name string
}

// parseTarget reads "sts/db", "sts db" or "db", where the last is of the first
// of the kinds.
func parseTarget(args []string, kinds ...kind) (target, error) {
	example := fmt.Sprintf("%s/NAME", kinds[0].spellings()[0])
	var spelled, name string
	switch len(args) {
	case 1:
		var slash bool
		if spelled, name, slash = strings.Cut(args[0], "/"); !slash {
			spelled, name = kinds[0].spellings()[0], spelled
		}
	case 2:
		spelled, name = args[0], args[1]
	default:
		return target{}, fmt.Errorf("want one name, like %s; got %d words", example, len(args))
	}
	if name == "" || strings.Contains(name, "/") {
		return target{}, fmt.Errorf("%q is no name; want it like %s", strings.Join(args, " "), example)
	}
	for _, kind := range kinds {
		if slices.Contains(kind.spellings(), strings.ToLower(spelled)) {
			return target{kind: kind, name: name}, nil
		}
	}
	known := make([]string, len(kinds))
	for i, kind := range kinds {
		known[i] = fmt.Sprintf("%s (%s/NAME)", kind, kind.spellings()[0])
	}
	return target{}, fmt.Errorf("%q is not what this is for; want %s", spelled, strings.Join(known, " or "))
}
