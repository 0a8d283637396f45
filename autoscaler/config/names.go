// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package config

const (
	// Name is the name of the autoscaler's Lease.
	Name = "berth-autoscaler"
	// Namespace is where the autoscaler keeps its own objects.
	Namespace = "berth-system"
	// CanaryName is the name of the HPA that another HPA controller is known by.
	CanaryName = "berth-canary"
	// StatusName is the name of the ConfigMap that tells of node groups. It is not that of Cluster Autoscaler's, which may be there too.
	StatusName = "berth-autoscaler-status"
)

const (
	// BerthActs is the condition of the canary that tells whether Berth writes scales and statuses of HPAs. It is
	// there, and not on every HPA, because an HPA that has another master is not Berth's to write.
	// The next leader goes by it: whatever clears an answer away takes it back with the same write.
	BerthActs = "BerthActs"
	// Conflicted is the condition of an HPA or VPA that meets another one on its target.
	Conflicted = "Conflicted"
	// SizesApplied is the condition of a VPA that tells whether all pods have a size that may stay.
	SizesApplied = "SizesApplied"
	// StandsBack is the condition of Berth's VPAs while Berth recommends and leaves pods alone; its reason is why.
	StandsBack = "StandsBack"
	// ScaleEvents is the annotation of an HPA that keeps the changes that its rate policies count, for the next process.
	// It is as safe as the spec: who may write the one may write the other.
	ScaleEvents = "berth.dev/scale-events"
)
