// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// PlacementPolicy says where the ordinals of a stateful application belong,
// in which order they start, and what is kept for one that is away.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=pp
// +kubebuilder:printcolumn:name=Target,type=string,JSONPath=`.spec.targetRef.name`
// +kubebuilder:printcolumn:name=Selector,type=string,priority=1,JSONPath=`.spec.selector`
// +kubebuilder:printcolumn:name=Spread,type=string,JSONPath=`.spec.spread.topologyKey`
// +kubebuilder:printcolumn:name=Accepted,type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name=Conflicted,type=string,JSONPath=`.status.conditions[?(@.type=="Conflicted")].status`
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`
type PlacementPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   PlacementPolicySpec   `json:"spec"`
	Status PlacementPolicyStatus `json:"status,omitempty"`
}

// PlacementPolicyList is a list of policies.
//
// +kubebuilder:object:root=true
type PlacementPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []PlacementPolicy `json:"items"`
}

// PlacementPolicySpec says whom a policy is for, by one of TargetRef and
// Selector, and what it asks for. Of several policies for one set the oldest
// counts.
//
// +kubebuilder:validation:XValidation:rule="has(self.targetRef) != has(self.selector)",message="exactly one of targetRef and selector is needed"
// +kubebuilder:validation:XValidation:rule="!has(self.ordinal) || has(self.selector)",message="ordinal goes with selector only: a StatefulSet named by targetRef numbers its pods itself",fieldPath=.ordinal
type PlacementPolicySpec struct {
	// TargetRef names a StatefulSet in the namespace of the policy.
	TargetRef *TargetRef `json:"targetRef,omitempty"`
	// Selector selects StatefulSets of the namespace by the labels of their pod
	// template. With Ordinal it also selects pods that no StatefulSet owns, and
	// claims, by their own labels: these pods are one set, named like the policy.
	//
	// +kubebuilder:validation:XValidation:rule="(has(self.matchLabels) && size(self.matchLabels) > 0) || (has(self.matchExpressions) && size(self.matchExpressions) > 0)",message="selector is empty; it would select every set of the namespace, so name at least one label"
	// +kubebuilder:validation:XValidation:rule="!has(self.matchExpressions) || self.matchExpressions.all(e, e.operator in ['In', 'NotIn', 'Exists', 'DoesNotExist'])",message="the operator of a label is one of In, NotIn, Exists, DoesNotExist",fieldPath=.matchExpressions
	// +kubebuilder:validation:XValidation:rule="!has(self.matchExpressions) || self.matchExpressions.all(e, (e.operator in ['In', 'NotIn']) == (has(e.values) && size(e.values) > 0))",message="operators In and NotIn need values, Exists and DoesNotExist take none",fieldPath=.matchExpressions
	Selector *metav1.LabelSelector `json:"selector,omitempty"`
	// Ordinal says where a pod that no StatefulSet owns, and a claim of it,
	// carries its ordinal. Only with Selector.
	Ordinal *OrdinalSource `json:"ordinal,omitempty"`

	Placement `json:",inline"`
}

// TargetRef names a StatefulSet.
type TargetRef struct {
	// APIVersion is apps/v1.
	//
	// +kubebuilder:validation:Enum=apps/v1
	APIVersion string `json:"apiVersion"`
	// Kind is StatefulSet.
	//
	// +kubebuilder:validation:Enum=StatefulSet
	Kind string `json:"kind"`
	// Name is that of the StatefulSet.
	//
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="must be the name of a StatefulSet: lower case letters, digits, - and ."
	Name string `json:"name"`
}

// OrdinalSource is one of Label and NamePattern.
//
// +kubebuilder:validation:XValidation:rule="has(self.label) != has(self.namePattern)",message="exactly one of label and namePattern is needed"
type OrdinalSource struct {
	// Label is the key of the label whose value is the ordinal.
	//
	// +kubebuilder:validation:MaxLength=317
	// +kubebuilder:validation:XValidation:rule="!format.qualifiedName().validate(self).hasValue()",message="must be a label key, like example.com/index"
	Label string `json:"label,omitempty"`
	// NamePattern is a regular expression (RE2) for the whole name of a pod or
	// a claim, with one group, which is the ordinal.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="size([''.matches(self), ''.matches('^(?:' + self + ')$')]) == 2",message="must be a regular expression in the syntax of RE2, like db-([0-9]+)"
	// +kubebuilder:validation:XValidation:rule=`self.findAll(r'\\Q.*?(\\E|$)|\\.|\[\^?\]?(\[:\^?[a-z]+:\]|[^\]\\]|\\.)*\]|\(\?P?<|\(\?|\(').filter(t, t in ['(', '(?<', '(?P<']).size() == 1`,message="must have exactly one group, which is the ordinal, like db-([0-9]+); (?:...) groups without being one"
	NamePattern string `json:"namePattern,omitempty"`
}

// Placement is what a policy asks for. The zero Placement asks for nothing.
type Placement struct {
	// Spread distributes the ordinals over domains.
	Spread *Spread `json:"spread,omitempty"`
	// SeparateNodes keeps the slots of a set on different nodes. Defaults to None.
	//
	// +kubebuilder:default=None
	SeparateNodes Separation `json:"separateNodes,omitempty"`
	// Rules select nodes for some ordinals. The first rule that names an
	// ordinal counts for it.
	//
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Rules []Rule `json:"rules,omitempty"`
	// Start is the order in which slots come up that were never bound before.
	Start *Start `json:"start,omitempty"`
	// Home is what is kept for a slot that is away.
	Home *Home `json:"home,omitempty"`
	// Quorum is how many slots of the set preemption leaves alone: None,
	// Majority, or a number. Defaults to None.
	//
	// +kubebuilder:default=None
	// +kubebuilder:validation:XValidation:rule="type(self) == string ? self in ['None', 'Majority'] : (self >= 0 && self <= 1000000)",message="must be None, Majority, or a number from 0 to 1000000"
	Quorum *intstr.IntOrString `json:"quorum,omitempty"`
}

// Spread distributes the ordinals of a set over the values of a node label.
//
// +kubebuilder:validation:XValidation:rule="(self.arrangement == 'Contiguous') == has(self.blockSize)",message="blockSize is needed with arrangement Contiguous, and goes with it only",fieldPath=.blockSize
// +kubebuilder:validation:XValidation:rule="!has(self.shardSize) || self.arrangement == 'Interleaved'",message="shardSize goes with arrangement Interleaved only",fieldPath=.shardSize
// +kubebuilder:validation:XValidation:rule="!has(self.blockSize) || !has(self.maxPerDomain) || self.blockSize <= self.maxPerDomain",messageExpression="'%d is above maxPerDomain, which is %d'.format([self.blockSize, self.maxPerDomain])",message="blockSize must not be above maxPerDomain",fieldPath=.blockSize
type Spread struct {
	// TopologyKey is the node label whose values are the domains. Defaults to
	// topology.kubernetes.io/zone.
	//
	// +kubebuilder:default=topology.kubernetes.io/zone
	// +kubebuilder:validation:MaxLength=317
	// +kubebuilder:validation:XValidation:rule="!format.qualifiedName().validate(self).hasValue()",message="must be the key of a node label, like topology.kubernetes.io/zone"
	TopologyKey string `json:"topologyKey,omitempty"`
	// Domains limits the spread to these values. Without it the domains are
	// those of the existing nodes that the pod may use.
	//
	// +listType=set
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:XValidation:rule="!format.labelValue().validate(self).hasValue()",message="must be a label value: letters, digits, -, _ and ., a letter or digit first and last"
	Domains []string `json:"domains,omitempty"`
	// Arrangement defaults to Interleaved.
	//
	// +kubebuilder:default=Interleaved
	Arrangement Arrangement `json:"arrangement,omitempty"`
	// BlockSize is how many ordinals in a row share a domain. Only with
	// Contiguous, and needed there.
	//
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	BlockSize *int32 `json:"blockSize,omitempty"`
	// Enforcement defaults to Required.
	//
	// +kubebuilder:default=Required
	Enforcement Enforcement `json:"enforcement,omitempty"`
	// ShardSize makes ordinals 0 to ShardSize-1, the next as many, and so on,
	// shards: two members of a shard never share a domain. Only with
	// Interleaved.
	//
	// +kubebuilder:validation:Minimum=2
	// +kubebuilder:validation:Maximum=1000000
	ShardSize *int32 `json:"shardSize,omitempty"`
	// MaxPerDomain is how many slots of the set a domain takes at most.
	//
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	MaxPerDomain *int32 `json:"maxPerDomain,omitempty"`
	// OnDomainLoss lets slots without volumes leave a domain that is lost.
	OnDomainLoss *DomainLoss `json:"onDomainLoss,omitempty"`
}

// DomainLoss says when a domain is lost.
type DomainLoss struct {
	// After is how long a domain has no ready node before it leaves the plan.
	//
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[-+]?(0|(([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)$`
	// +kubebuilder:validation:XValidation:rule="duration(self) > duration('0s')",message="must be a time above 0, like 5m"
	After metav1.Duration `json:"after"`
}

// Rule selects nodes for some ordinals.
type Rule struct {
	// Ordinals are numbers and ranges: "0", "0-2,5", "3-" (3 and above).
	//
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="self.matches('^(0|[1-9][0-9]{0,8})(-(0|[1-9][0-9]{0,8})?)?(,(0|[1-9][0-9]{0,8})(-(0|[1-9][0-9]{0,8})?)?)*$')",message="must be numbers and ranges like 0, 0-2,5 or 3-"
	// +kubebuilder:validation:XValidation:rule="self.findAll('[0-9]+-[0-9]+').all(r, int(r.split('-')[0]) <= int(r.split('-')[1]))",message="a range has its lower number first, like 0-2"
	Ordinals string `json:"ordinals"`
	// NodeSelectorTerms select the nodes; one of them must match, as in a
	// pod's required node affinity.
	//
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	NodeSelectorTerms []NodeSelectorTerm `json:"nodeSelectorTerms"`
}

// Start is the order in which slots come up that were never bound before.
type Start struct {
	// Order defaults to Parallel.
	//
	// +kubebuilder:default=Parallel
	Order StartOrder `json:"order,omitempty"`
	// Until is what an ordinal waits for with order Ordered: that every lower
	// slot of the set, or of the shard, is Scheduled or Ready. Defaults to
	// Scheduled.
	//
	// +kubebuilder:default=Scheduled
	Until StartUntil `json:"until,omitempty"`
}

// Home is what is kept for a slot that is away.
type Home struct {
	// ReturnToNode says how much a slot wants its previous node. Defaults to
	// Preferred.
	//
	// +kubebuilder:default=Preferred
	ReturnToNode NodeReturn `json:"returnToNode,omitempty"`
	// HoldFor is how long the room of an absent slot is kept that could run
	// elsewhere; 0s keeps none. Defaults to 10m.
	//
	// +kubebuilder:default="10m"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[-+]?(0|(([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('0s')",message="must be a time, like 10m; 0s keeps nothing"
	HoldFor *metav1.Duration `json:"holdFor,omitempty"`
	// ReleaseLostVolumes gives up the claim of a local volume whose node object
	// is gone.
	ReleaseLostVolumes *VolumeLoss `json:"releaseLostVolumes,omitempty"`
}

// VolumeLoss says when a local volume is given up.
type VolumeLoss struct {
	// After is how long the volume's node object is gone by then.
	//
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[-+]?(0|(([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)$`
	// +kubebuilder:validation:XValidation:rule="duration(self) > duration('0s')",message="must be a time above 0, like 5m"
	After metav1.Duration `json:"after"`
}

// Arrangement is how ordinals follow each other over the domains.
//
// +kubebuilder:validation:Enum=Interleaved;Contiguous
type Arrangement string

// Interleaved puts ordinals into domains in turn, so that any prefix of the
// set is balanced: 0→a 1→b 2→c 3→a. Contiguous keeps BlockSize ordinals in a
// row together: 0→a 1→a 2→b 3→b.
const (
	Interleaved Arrangement = "Interleaved"
	Contiguous  Arrangement = "Contiguous"
)

// Enforcement is what happens when the planned domain has no room.
//
// +kubebuilder:validation:Enum=Required;Preferred
type Enforcement string

// Required lets a slot wait for its planned domain. Preferred takes the next
// best one that shards, caps and rules allow.
const (
	Required  Enforcement = "Required"
	Preferred Enforcement = "Preferred"
)

// Separation says whether slots of one set may share a node.
//
// +kubebuilder:validation:Enum=Required;Preferred;None
type Separation string

// The separations: never, rather not, and no matter.
const (
	SeparateRequired  Separation = "Required"
	SeparatePreferred Separation = "Preferred"
	SeparateNone      Separation = "None"
)

// StartOrder is how slots come up.
//
// +kubebuilder:validation:Enum=Parallel;Ordered
type StartOrder string

// Parallel starts all at once, Ordered one after the other.
const (
	StartParallel StartOrder = "Parallel"
	StartOrdered  StartOrder = "Ordered"
)

// StartUntil is what the next slot waits for.
//
// +kubebuilder:validation:Enum=Scheduled;Ready
type StartUntil string

// What a lower slot has to be before the next one starts.
const (
	UntilScheduled StartUntil = "Scheduled"
	UntilReady     StartUntil = "Ready"
)

// NodeReturn says how much a slot wants its previous node.
//
// +kubebuilder:validation:Enum=Required;Preferred;None
type NodeReturn string

// The returns: only there, there if it has room, and wherever.
const (
	ReturnRequired  NodeReturn = "Required"
	ReturnPreferred NodeReturn = "Preferred"
	ReturnNone      NodeReturn = "None"
)

// The words for a quorum that is not a number.
const (
	QuorumNone     = "None"
	QuorumMajority = "Majority"
)

// PlacementPolicyStatus is what became of a policy.
type PlacementPolicyStatus struct {
	// ObservedGeneration is the generation that the conditions are about.
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Conditions are Accepted and Conflicted.
	//
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// The conditions of a policy, and their reasons.
const (
	// Accepted is true when the policy is valid and placed by; false with
	// ReasonInvalid.
	Accepted = "Accepted"
	// Conflicted is true when an older policy is for the same set; the message
	// names both.
	Conflicted = "Conflicted"

	ReasonValid       = "Valid"
	ReasonInvalid     = "Invalid"
	ReasonOlderPolicy = "OlderPolicy"
	ReasonNoConflict  = "NoConflict"
)
