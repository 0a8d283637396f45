// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package actuate

// NodesState is what Berth does about the nodes of its groups. It plans for them in any state.
type NodesState string

// The states, of which one is true at any time.
const (
	// NodesAct: nodes are added and removed.
	NodesAct NodesState = "acts"
	// NodesObserve: nodes are left alone, as the configuration says.
	NodesObserve NodesState = "observes"
	// NodesJudge: nodes are left alone while it is not known whether a Cluster Autoscaler is there.
	NodesJudge NodesState = "judges"
	// NodesStandBack: nodes are left alone, since a Cluster Autoscaler may act on them.
	NodesStandBack NodesState = "stands_back"
)

func newNodesState() stateGauge[NodesState] {
	return newStateGauge("nodes_state",
		"What Berth does about nodes, 1 for one of: acts; observes, as configured; judges while it cannot see whether a Cluster Autoscaler is there; stands_back for that one.",
		NodesAct, NodesObserve, NodesJudge, NodesStandBack)
}

// Nodes sets what Berth does about nodes.
func (t *Telemetry) Nodes(state NodesState) { t.nodesState.set(state) }
