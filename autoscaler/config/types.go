// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package config is the AutoscalerConfiguration: what the file says, what it
// means where it is silent, and what it may not say; and the names of what the
// autoscaler keeps in the API, which no file changes.
//
// Reading is strict: a field that does not exist is refused by name, and so is
// one that is given twice. Nothing else of Berth reads the file.
package config

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	componentbase "k8s.io/component-base/config/v1alpha1"
)

const (
	// APIVersion and Kind are what a configuration file must declare.
	APIVersion = "config.berth.dev/v1alpha1"
	Kind       = "AutoscalerConfiguration"
)

// Mode tells whether a part of the autoscaler carries its decisions out.
type Mode string

const (
	// Act decides and carries out.
	Act Mode = "Act"
	// Observe decides and explains, and writes nothing but its own metrics.
	Observe Mode = "Observe"
)

// Autoscaler is the configuration of berth-autoscaler.
type Autoscaler struct {
	metav1.TypeMeta `json:",inline"`

	// ClientConnection is how the API server is reached. Defaults to the
	// service account of the pod, 50 queries per second, burst 100. What is
	// read and written for single HPAs does not count among them: requests at the same
	// time are bounded instead, by 8 for each kind of target, 8 for scales and statuses
	// that are written, and 20 for each metrics API.
	ClientConnection componentbase.ClientConnectionConfiguration `json:"clientConnection,omitempty"`
	// LeaderElection defaults to on, with the Lease berth-system/berth-autoscaler.
	LeaderElection componentbase.LeaderElectionConfiguration `json:"leaderElection,omitempty"`
	// BindAddress serves /healthz, /readyz and /metrics over HTTP. Defaults to 0.0.0.0:10270.
	BindAddress string `json:"bindAddress,omitempty"`

	// SyncPeriod is the time between two evaluations of one HPA. Defaults to
	// 15s, as kube-controller-manager's --horizontal-pod-autoscaler-sync-period.
	SyncPeriod metav1.Duration `json:"syncPeriod,omitempty"`
	// MetricsTimeout bounds what a metrics API takes of a sync period to answer.
	// An API that is slower delays the HPAs that need it, and nobody else. With
	// the next period its time is over, so it may not be longer than syncPeriod.
	// Defaults to 10s, and to two thirds of a syncPeriod shorter than 15s.
	MetricsTimeout metav1.Duration `json:"metricsTimeout,omitempty"`

	Horizontal Horizontal `json:"horizontal,omitempty"`
	Vertical   Vertical   `json:"vertical,omitempty"`
	Guard      Guard      `json:"guard,omitempty"`
	Nodes      Nodes      `json:"nodes,omitempty"`
}

// Horizontal configures the replica decisions. The defaults are those of
// kube-controller-manager's --horizontal-pod-autoscaler-* flags.
type Horizontal struct {
	// Mode defaults to Act. With Observe, as beside another HPA controller, nodes are still
	// added for the replicas that are decided, unless nodes.mode is Observe, too.
	Mode Mode `json:"mode,omitempty"`
	// Tolerance is the relative change of usage that is ignored. Defaults to 0.1.
	Tolerance *float64 `json:"tolerance,omitempty"`
	// DownscaleStabilization is the window over which the highest
	// recommendation wins. Defaults to 5m.
	DownscaleStabilization *metav1.Duration `json:"downscaleStabilization,omitempty"`
	// CPUInitializationPeriod is the time after a pod's start in which its cpu
	// samples may be skipped. Defaults to 5m.
	CPUInitializationPeriod *metav1.Duration `json:"cpuInitializationPeriod,omitempty"`
	// InitialReadinessDelay is the time after a pod's start in which a
	// change of readiness counts as the first one. Defaults to 30s.
	InitialReadinessDelay *metav1.Duration `json:"initialReadinessDelay,omitempty"`
	// ScaleToZero lets an HPA with an Object or External metric scale down to
	// zero replicas, and up again. It is kube-controller-manager's feature gate
	// HPAScaleToZero; the API server takes minReplicas: 0 with the same gate
	// only. Defaults to false, as in 1.36.
	ScaleToZero bool `json:"scaleToZero,omitempty"`
	// Canary tells whether another HPA controller is looked for. Defaults to Require.
	// With mode Observe nobody is in anyone's way, and nobody is looked for.
	Canary Canary `json:"canary,omitempty"`
	// CanaryPatience is how long another HPA controller may take to be heard of.
	// It must be two of its sync periods at least. What kube-controller-manager may need
	// for its requests is added: 50ms for each scale, status and metric of all HPAs. A controller that
	// answers late makes Berth more patient, up to 16 times.
	// Defaults to 30s, two of kube-controller-manager's default.
	CanaryPatience *metav1.Duration `json:"canaryPatience,omitempty"`
}

// Canary tells whether it must be known that no other controller scales by HPAs.
type Canary string

const (
	// RequireCanary keeps the HPA berth-system/berth-canary, and writes no scale
	// and no status before it has shown that no other controller is there, nor
	// where it cannot be kept.
	RequireCanary Canary = "Require"
	// NoCanary looks for nobody. It is for clusters where kube-controller-manager is
	// known to run without its HPA controller, now and after every upgrade.
	NoCanary Canary = "None"
)

// Vertical configures the request recommendations, and whether pods get them.
type Vertical struct {
	// Mode defaults to Act. With Observe recommendations are written, and pods and what they are created
	// with are left alone.
	Mode Mode `json:"mode,omitempty"`
	// RecommenderName is the name in spec.recommenders of the VPAs that Berth
	// serves. Defaults to berth.
	RecommenderName string `json:"recommenderName,omitempty"`
	// RecommendPeriod is how long a recommendation stands before the next one is
	// said. Defaults to 1m, as the recommender's --recommender-interval.
	RecommendPeriod *metav1.Duration `json:"recommendPeriod,omitempty"`
	// MinPodAge is the age below which a pod is not re-created for its size.
	// Defaults to 10m.
	MinPodAge *metav1.Duration `json:"minPodAge,omitempty"`
	// DeferredTimeout is how long a resize may be Deferred, or fail with an Error,
	// before it is reverted. Defaults to 1m: it reserves room meanwhile.
	DeferredTimeout *metav1.Duration `json:"deferredTimeout,omitempty"`
	// ResizeTimeout is how long a resize may be in progress before it is reverted. Defaults to 10m.
	ResizeTimeout *metav1.Duration `json:"resizeTimeout,omitempty"`
	// ResizeBackoff is the time until a resize that failed is tried again. It doubles
	// with each failure, up to 12h. Defaults to 10m.
	ResizeBackoff *metav1.Duration `json:"resizeBackoff,omitempty"`
	// StaticCPUNodes and StaticMemoryNodes select the nodes whose kubelet has the static
	// cpu or memory manager policy, which no API tells. A Guaranteed pod on them is not
	// resized in place. They default to no node: the kubelet's refusal is reverted then.
	StaticCPUNodes    *metav1.LabelSelector `json:"staticCPUNodes,omitempty"`
	StaticMemoryNodes *metav1.LabelSelector `json:"staticMemoryNodes,omitempty"`
}

// Guard configures the refusal of two autoscalers on one target.
type Guard struct {
	// AllowRecommendOnly lets a VPA with updateMode Off stand beside an HPA.
	AllowRecommendOnly bool `json:"allowRecommendOnly,omitempty"`
}

// Provider names who creates and deletes nodes.
type Provider string

const (
	// NoProvider leaves nodes alone.
	NoProvider Provider = ""
	// Kwok creates and deletes simulated nodes.
	Kwok Provider = "kwok"
	// ClusterAPI scales MachineDeployments, MachineSets and MachinePools.
	ClusterAPI Provider = "clusterapi"
	// ExternalGRPC asks a provider of Cluster Autoscaler's external gRPC protocol.
	ExternalGRPC Provider = "externalgrpc"
)

// Expander is a way to choose among the groups that can take the pods that wait.
type Expander string

const (
	// LeastWaste prefers the group whose new node is left with the smallest unused share of cpu and memory.
	LeastWaste Expander = "least-waste"
	// MostPods prefers the group whose new node takes most pods.
	MostPods Expander = "most-pods"
	// LeastNodes prefers the group that needs fewest nodes.
	LeastNodes Expander = "least-nodes"
	// Priority prefers the group of the highest priority.
	Priority Expander = "priority"
	// Price prefers the group whose new nodes cost least; one whose price is not known comes last.
	Price Expander = "price"
	// Random takes any.
	Random Expander = "random"
)

// Nodes configures node adds and removals.
type Nodes struct {
	// Mode defaults to Act.
	Mode Mode `json:"mode,omitempty"`
	// Provider is empty (nodes are left alone), kwok, clusterapi or externalgrpc.
	Provider Provider `json:"provider,omitempty"`
	// ClusterAPI is how the provider clusterapi finds its groups.
	ClusterAPI ClusterAPIProvider `json:"clusterAPI,omitempty"`
	// ExternalGRPC is how the provider externalgrpc is reached.
	ExternalGRPC ExternalGRPCProvider `json:"externalGRPC,omitempty"`
	// SchedulerConfigFile is the KubeSchedulerConfiguration of
	// berth-scheduler, whose profiles the simulation runs. Required with a provider.
	// Without it no pod is re-created for its size, and what is held for absent
	// slots is not known where a pod is resized.
	SchedulerConfigFile string `json:"schedulerConfigFile,omitempty"`
	// UtilizationThreshold is the share of a node, of its cpu or its memory, whichever is
	// more, that its pods have to request for it to be left alone. Defaults to 0.5; with 0
	// only empty nodes are removed.
	UtilizationThreshold *float64 `json:"utilizationThreshold,omitempty"`
	// IgnoreDaemonSetsUtilization leaves the pods of DaemonSets, and mirror pods, out of that share. Defaults to false.
	IgnoreDaemonSetsUtilization bool `json:"ignoreDaemonSetsUtilization,omitempty"`
	// UnneededTime is how long a node must have been under that share before it is
	// removed, and UnreadyTime how long one that is not ready. Defaults to 10m and 20m.
	UnneededTime *metav1.Duration `json:"unneededTime,omitempty"`
	UnreadyTime  *metav1.Duration `json:"unreadyTime,omitempty"`
	// MaxEmptyRemovals and MaxDrains are how many nodes are removed at a time: without
	// pods that have to move, and with some. Defaults to 10 and 5.
	MaxEmptyRemovals *int32 `json:"maxEmptyRemovals,omitempty"`
	MaxDrains        *int32 `json:"maxDrains,omitempty"`
	// MaxPodEvictionTime is how long a drain may go on without progress before the node
	// is left after all. Defaults to 2m.
	MaxPodEvictionTime *metav1.Duration `json:"maxPodEvictionTime,omitempty"`
	// MaxGracefulTermination is how long an evicted pod may take to end, where it asks for more. Defaults to 10m.
	MaxGracefulTermination *metav1.Duration `json:"maxGracefulTermination,omitempty"`
	// SkipNodesWithLocalStorage keeps nodes with pods that have an emptyDir on disk or a
	// hostPath, SkipNodesWithSystemPods those with pods of kube-system that no
	// PodDisruptionBudget covers. Both default to true.
	SkipNodesWithLocalStorage *bool `json:"skipNodesWithLocalStorage,omitempty"`
	SkipNodesWithSystemPods   *bool `json:"skipNodesWithSystemPods,omitempty"`
	// DelayAfterAdd is how long after an add no node is removed. Defaults to 10m.
	DelayAfterAdd *metav1.Duration `json:"delayAfterAdd,omitempty"`
	// MaxNodeProvisionTime is how long a node may take from its creation to
	// Ready before another takes its place. Defaults to 15m.
	MaxNodeProvisionTime *metav1.Duration `json:"maxNodeProvisionTime,omitempty"`
	// SimulationTimeout bounds each of the two simulations of one tick, for sizes
	// and for nodes. Defaults to 30s.
	SimulationTimeout *metav1.Duration `json:"simulationTimeout,omitempty"`
	// MaxForecastPods bounds the pods that do not exist yet and are
	// simulated in one tick. Defaults to 1000.
	MaxForecastPods *int32 `json:"maxForecastPods,omitempty"`
	// ForecastTimeout is how long nodes are kept for pods that do not come although no node is in their way:
	// their controller is down, say, or a lower ordinal does not become ready. A set whose pods
	// need longer than this to become ready wants a longer one. Zero is for ever. Defaults to 10m.
	ForecastTimeout *metav1.Duration `json:"forecastTimeout,omitempty"`
	// Expanders choose among the groups that can take the pods that wait: the first
	// one does, each of the others where those before it find groups equal.
	// Defaults to least-waste.
	Expanders []Expander `json:"expanders,omitempty"`
	// BalanceSimilarGroups shares new nodes among groups that are equal but for
	// their zone, as far as their pods may run in each.
	BalanceSimilarGroups bool `json:"balanceSimilarGroups,omitempty"`
	// MaxNodesTotal bounds the nodes of the cluster, also those that Berth does
	// not scale. Defaults to no bound.
	MaxNodesTotal *int32 `json:"maxNodesTotal,omitempty"`
	// Cores and Memory bound what all nodes of the cluster have together: a
	// removal never goes below min, and an add never beyond max. They default to no bound.
	Cores  TotalLimits `json:"cores,omitempty"`
	Memory TotalLimits `json:"memory,omitempty"`
	// ExpendablePriority: pods of a lower priority cause no adds and keep no nodes. Defaults to -10.
	ExpendablePriority *int32 `json:"expendablePriority,omitempty"`
	// StartupTaints are keys of taints that a new node has until it is ready for
	// pods; besides these, keys that begin with startup-taint.cluster-autoscaler.kubernetes.io/.
	StartupTaints []string `json:"startupTaints,omitempty"`
	// Groups are the only groups whose nodes Berth adds or removes.
	Groups []NodeGroup `json:"groups,omitempty"`
}

// TotalLimits bound an amount.
type TotalLimits struct {
	Min *resource.Quantity `json:"min,omitempty"`
	Max *resource.Quantity `json:"max,omitempty"`
}

// ClusterAPIProvider is how Cluster API's objects are reached.
type ClusterAPIProvider struct {
	// Kubeconfig is a file for the management cluster. Defaults to the cluster whose pods are served.
	Kubeconfig string `json:"kubeconfig,omitempty"`
}

// ExternalGRPCProvider is how a provider of the external gRPC protocol is reached.
type ExternalGRPCProvider struct {
	// Address is host:port.
	Address string `json:"address,omitempty"`
	// CertFile and KeyFile are the client's certificate, CAFile the authority
	// that signs the server's, all PEM.
	CertFile string `json:"certFile,omitempty"`
	KeyFile  string `json:"keyFile,omitempty"`
	CAFile   string `json:"caFile,omitempty"`
	// ServerName is the name in the server's certificate where it is not that of the address.
	ServerName string `json:"serverName,omitempty"`
	// Insecure speaks to the provider without TLS. No file may be given then.
	Insecure bool `json:"insecure,omitempty"`
	// Timeout bounds each call. Defaults to 5s.
	Timeout *metav1.Duration `json:"timeout,omitempty"`
}

// NodeGroup is a set of equal nodes that can grow and shrink.
type NodeGroup struct {
	// Name is unique. For kwok it is the value of the label berth.dev/node-group
	// of the nodes, for clusterapi KIND/NAMESPACE/NAME, for externalgrpc the id that the provider gives the group.
	Name string `json:"name"`
	// Min and Max bound the number of nodes. Kwok needs max, and takes a min that is missing for 0; what
	// other providers say of a group is narrowed by them.
	Min *int32 `json:"min,omitempty"`
	Max *int32 `json:"max,omitempty"`
	// Priority is what the expander priority goes by, the highest first. Defaults to 0.
	Priority int32 `json:"priority,omitempty"`
	// PricePerHour of a node is what the expander price goes by, in a currency
	// that is the same for all groups. Defaults to what the provider says.
	PricePerHour *float64 `json:"pricePerHour,omitempty"`
	// Template is what a new node of the group looks like. Kwok needs it, and others tell themselves.
	Template *NodeTemplate `json:"template,omitempty"`
}

// NodeTemplate is what a new node of a group looks like.
type NodeTemplate struct {
	Labels   map[string]string   `json:"labels,omitempty"`
	Taints   []corev1.Taint      `json:"taints,omitempty"`
	Capacity corev1.ResourceList `json:"capacity"`
	// Drivers are the CSI drivers that the node will have, with the number of
	// volumes that each can attach; 0 is no limit.
	Drivers map[string]int32 `json:"drivers,omitempty"`
	// Storage is how much each StorageClass can provision on the node alone,
	// for classes whose volumes are local to it.
	Storage map[string]resource.Quantity `json:"storage,omitempty"`
}
