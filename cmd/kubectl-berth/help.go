// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

const (
	rootLong = `See where the ordinals of stateful applications belong, and why, and what the
autoscaler makes of the metrics of an HPA, of the usage of a VPA's pods, and of nodes.

The answers are those of Berth's scheduler and autoscaler, worked out by the
same code from what exists now. Nothing is written.`

	planLong = `Print where each wanted ordinal of a set belongs, why, and where its pod and
its volumes are.

A set is a StatefulSet (sts/NAME), or the pods of an operator that a
PlacementPolicy selects and finds the ordinal of (pp/NAME).`

	planExample = `  # Where the ordinals of StatefulSet db belong
  kubectl berth plan sts/db

  # Where they would be with 9 replicas
  kubectl berth plan sts/db --replicas 9

  # The pods that an operator makes, and PlacementPolicy kafka selects
  kubectl berth plan pp/kafka -n streaming

  # For programs
  kubectl berth plan sts/db -o json`

	explainLong = `Say where a pod belongs and why, and, while it has no node, what is in the way.

Each node that the plan leaves is judged by the checks that one look at the API
allows: taints, node affinity, the rules of the policy, volumes, other pods of
the set, ports, free resources and room that is kept for others. What the scheduler said last is quoted,
and what node groups do for the pod.

A pod that a StatefulSet wants and has not made yet is explained too.

Of a HorizontalPodAutoscaler (hpa/NAME), print the numbers behind its decision:
what the controller wrote last, and then, from one look at the metrics, the value,
the ratio to the target and the proposal of each metric, what limits them, and
whether Berth acts on HPAs, or leaves them to another controller.
Recommendations of the last minutes, by which replicas are stabilized, are in the
memory of the autoscaler that leads.

Of a VerticalPodAutoscaler (vpa/NAME) of Berth's recommender, print what is
recommended to each container and what caps it, which slots get something else than the
set and why, the size that a pod gets when it is created, and of each pod its size,
how it would be changed, and what it waits for. The history is that of the checkpoints.
Of a VPA of another recommender, print what that one wrote.

Of a node group (node-group/NAME), print how many nodes it has and may have, why it
cannot grow, what its new nodes look like, what becomes of each of its nodes and why, and
the pods that it cannot help; of a node (node/NAME), what becomes of it. Berth's autoscaler
says that in the ConfigMap berth-system/berth-autoscaler-status.`

	explainExample = `  # Why is db-4 pending?
  kubectl berth explain pod/db-4

  # The same
  kubectl berth explain db-4

  # Why does HPA web scale, or not?
  kubectl berth explain hpa/web

  # What does VPA db recommend, and why has db-3 not got it?
  kubectl berth explain vpa/db

  # Why does node group zone-a not grow, and which of its nodes go?
  kubectl berth explain node-group/zone-a

  # A group has the name that its provider gives it
  kubectl berth explain node-group/MachineDeployment/prod/workers-a

  # What becomes of a node?
  kubectl berth explain node/node-7`

	whatIfLong = `Try what a change would do to pods and nodes, and change nothing.

The cluster is read as it is now, and Berth's scheduler and autoscaler are asked in a
simulation: with the scheduler's configuration and plugins, the PlacementPolicies and the
node groups that the ConfigMap berth-system/berth-autoscaler-status tells of. Other pods
that wait, and those that other workloads are about to make, take part. Without that
ConfigMap only nodes that are there are considered.

scale says of each pod that would come on which node it would be, which of them would be
added, or why the pod would wait. drain says of each pod of a node where it would go, or why
it could not leave, and whether Berth would remove the node by itself.

Exit code: 0 if every pod would run, 2 if some would wait or could not leave, 1 for an
error. What changes until the change is made changes the answer.`

	whatIfExample = `  # Which nodes would come for 9 replicas, and in which zones?
  kubectl berth what-if scale sts/db 9

  # The same for a Deployment
  kubectl berth what-if scale deploy/web 30 -n shop

  # The same for a custom resource that has a scale
  kubectl berth what-if scale kafkas.example.com/main 5

  # Could this node go?
  kubectl berth what-if drain node/node-7

  # For programs
  kubectl berth what-if scale sts/db 9 -o json`

	holdsLong = `List the room that is kept for slots whose pods are away.

When the pod of a slot leaves its node and its set still wants the slot, the
scheduler keeps the room for the slot until it is back. It notes that on the
claims of the slot, and the notes are what is listed. Sets without claims have no
notes: room is kept for their slots too, and is not seen from here.

A slot whose volume can be reached from one node only keeps its room there without
expiry, and so does one whose policy says returnToNode: Required. For others it is
home.holdFor of their policy, from when the pod is gone. The note has since when
the pod leaves, so the rest of the time is given as what it is at least and at
most.`

	holdsExample = `  # The room that is kept in the namespace
  kubectl berth holds

  # In all namespaces
  kubectl berth holds -A

  # For the slots of StatefulSet db
  kubectl berth holds sts/db

  # For programs
  kubectl berth holds -o json`
)
