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

// is tells whether a word spells the kind.
func (k kind) is(word string) bool { return slices.Contains(k.spellings(), strings.ToLower(word)) }

// example is how a name of the kind is written.
func (k kind) example() string { return k.spellings()[0] + "/NAME" }

// names tells whether a word can be a name of the kind. Node groups are called
// what their provider calls them.
func (k kind) names(word string) bool {
	return word != "" && (k == kindGroup || !strings.Contains(word, "/"))
}

// parseTarget reads "sts/db", "sts db" or "db", where the last is of the first
// of the kinds.
func parseTarget(args []string, kinds ...kind) (target, error) {
	var spelled, name string
	switch len(args) {
	case 1:
		var slash bool
		if spelled, name, slash = strings.Cut(args[0], "/"); !slash {
			if !slices.ContainsFunc(kinds, func(k kind) bool { return k.is(spelled) }) {
				spelled, name = kinds[0].spellings()[0], spelled
			}
		}
	case 2:
		spelled, name = args[0], args[1]
	default:
		return target{}, fmt.Errorf("want one name, like %s; got %d words", kinds[0].example(), len(args))
	}
	i := slices.IndexFunc(kinds, func(k kind) bool { return k.is(spelled) })
	switch {
	case i >= 0 && name == "":
		return target{}, fmt.Errorf("the name of the %s is missing; want it like %s", kinds[i], kinds[i].example())
	case i >= 0 && kinds[i].names(name):
		return target{kind: kinds[i], name: name}, nil
	case i >= 0:
		return target{}, fmt.Errorf("%q is no name of a %s; want it like %s", strings.Join(args, " "), kinds[i], kinds[i].example())
	case len(args) == 2 && strings.Contains(args[0], "/"):
		return target{}, fmt.Errorf("%q is no name; want it like %s", strings.Join(args, " "), kinds[0].example())
	}
	known := make([]string, len(kinds))
	for i, kind := range kinds {
		known[i] = fmt.Sprintf("%s (%s)", kind, kind.example())
	}
	return target{}, fmt.Errorf("%q is not what this is for; want %s", spelled, strings.Join(known, " or "))
}
