// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package volumeaffinity

// The reasons for which a node or a pod is refused.
const (
	// ErrReasonOutOfReach takes volume, claim and place.
	ErrReasonOutOfReach = "node(s) cannot reach volume %q of claim %q, which is in %s"
	// ErrReasonUnreachable takes volume, claim, place, and what can be done.
	ErrReasonUnreachable = "no node reaches volume %q of claim %q, which is in %s: %s"
	// ErrReasonApart is followed by the volumes and their places.
	ErrReasonApart = "no node reaches all volumes of the pod: "
	// ErrReasonClaimMissing takes the claim.
	ErrReasonClaimMissing = "claim %q does not exist; it must be made before the pod can be placed"
	// ErrReasonEphemeralMissing takes the claim and the volume of the pod.
	ErrReasonEphemeralMissing = "claim %q of ephemeral volume %q is not made yet"
	// ErrReasonClaimForeign takes the claim and the volume of the pod.
	ErrReasonClaimForeign = "claim %q has the name that ephemeral volume %q needs, and was not made for this pod; delete or rename it"
	// ErrReasonClaimGoing takes the claim.
	ErrReasonClaimGoing = "claim %q is being deleted; the pod waits until it is made again"
	// ErrReasonClaimLost takes claim and volume.
	ErrReasonClaimLost = "claim %q has lost its volume %q; restore the volume, or delete the claim so that it gets another"
	// ErrReasonVolumeAwaited takes claim and volume.
	ErrReasonVolumeAwaited = "claim %q asks for volume %q by name, which does not exist yet; make it, or delete the claim so that it gets another"
	// ErrReasonVolumeMissing takes volume and claim.
	ErrReasonVolumeMissing = "volume %q of claim %q does not exist; restore it, or delete the claim so that it gets another"
	// ErrReasonVolumeTaken takes volume, claim and the claim that has it.
	ErrReasonVolumeTaken = "volume %q of claim %q belongs to another claim, %s"
	// ErrReasonSelected takes claim and node.
	ErrReasonSelected = "node(s) other than the one that claim %q is being provisioned for, %q"
	// ErrReasonSelectedGone takes claim and node.
	ErrReasonSelectedGone = "claim %q is being provisioned for node %q, which is gone; its annotation volume.kubernetes.io/selected-node is taken off, so that another node can be chosen"
	// ErrReasonNotHome takes slot and node.
	ErrReasonNotHome = "node(s) other than the one that %s must return to, %q (home.returnToNode is Required)"
	// ErrReasonHomeGone takes slot and node.
	ErrReasonHomeGone = "%s must return to node %q, which is gone (home.returnToNode is Required); bring the node back, or change the policy"
	// ErrReasonComesHome takes the pod's slot and the node.
	ErrReasonComesHome = "node(s) other than %[2]q, where %[1]s was and fits again"
)
