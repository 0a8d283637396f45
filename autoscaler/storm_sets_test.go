// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
)

// stormKind is what the sets of a storm differ in. A StatefulSet has slots; all others are Deployments.
type stormKind struct {
	name      string
	share     int // of 600 pods
	cpu       int64
	slots     bool
	ordered   bool // OrderedReady, else Parallel
	zonal     bool // volumes that are reached in their zone
	local     bool // volumes that are reached on their node
	quorum    bool // a policy with quorum Majority
	separate  bool // one per node
	even      bool // spread over zones, skew 1
	batch     bool // on the nodes of the group batch
	home      bool // room is kept for slots that are away
	budget    intstr.IntOrString
	available bool // the budget is minAvailable
}

func stormKinds() []stormKind {
	one := intstr.FromInt32(1)
	return []stormKind{
		{name: "web", share: 150, cpu: 400, budget: intstr.FromString("10%")},
		{name: "edge", share: 75, cpu: 1000, separate: true, budget: intstr.FromString("10%")},
		{name: "db", share: 60, cpu: 1000, slots: true, zonal: true, quorum: true, home: true, budget: one},
		{name: "queue", share: 45, cpu: 600, slots: true, ordered: true, budget: one},
		{name: "index", share: 60, cpu: 1000, slots: true, zonal: true, quorum: true, separate: true, budget: one},
		{name: "api", share: 150, cpu: 500, even: true, budget: intstr.FromString("90%"), available: true},
		{name: "batch", share: 48, cpu: 1000, batch: true, budget: intstr.FromString("20%")},
		{name: "cache", share: 12, cpu: 1000, slots: true, local: true, budget: one},
	}
}

// stormSet is a workload of a storm with its HPA, its budget and the controllers that make its pods.
type stormSet struct {
	stormKind
	wanted int
	load   int64 // milli-cpu that all of its pods use together
	pods   map[string]*stormPod
	homes  []string // of local volumes, by ordinal

	objects []runtime.Object // the workload, as it is in the API; a ReplicaSet comes after its Deployment
	pdb     *policyv1.PodDisruptionBudget
}

func newStormSet(kind stormKind, index, replicas int) *stormSet {
	kind.name = fmt.Sprintf("%s%d", kind.name, index)
	s := &stormSet{stormKind: kind, wanted: replicas, load: kind.cpu * int64(replicas) / 2, pods: map[string]*stormPod{}}
	selector := &metav1.LabelSelector{MatchLabels: map[string]string{"app": s.name}}
	s.objects = s.workload(selector)
	s.pdb = &policyv1.PodDisruptionBudget{ObjectMeta: s.meta(""), Spec: policyv1.PodDisruptionBudgetSpec{Selector: selector}}
	if s.available {
		s.pdb.Spec.MinAvailable = &s.budget
	} else {
		s.pdb.Spec.MaxUnavailable = &s.budget
	}
	return s
}

// workload is what the API has of a set.
func (s *stormSet) workload(selector *metav1.LabelSelector) []runtime.Object {
	template, replicas := s.template(), s.wanted
	if s.slots {
		management := appsv1.ParallelPodManagement
		if s.ordered {
			management = appsv1.OrderedReadyPodManagement
		}
		set := &appsv1.StatefulSet{
			ObjectMeta: s.meta(""),
			Spec: appsv1.StatefulSetSpec{
				Replicas: ptr.To(int32(replicas)), Selector: selector, Template: template, PodManagementPolicy: management, ServiceName: s.name,
			},
			Status: appsv1.StatefulSetStatus{Replicas: int32(replicas), CurrentRevision: "1", UpdateRevision: "1"},
		}
		if s.zonal || s.local {
			set.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Name: "data"}, Spec: stormClaimSpec("")}}
		}
		return []runtime.Object{set}
	}
	deployment := &appsv1.Deployment{
		ObjectMeta: s.meta(""),
		Spec:       appsv1.DeploymentSpec{Replicas: ptr.To(int32(replicas)), Selector: selector, Template: template},
		Status:     appsv1.DeploymentStatus{Replicas: int32(replicas)},
	}
	set := &appsv1.ReplicaSet{
		ObjectMeta: s.meta("-1"),
		Spec:       appsv1.ReplicaSetSpec{Replicas: ptr.To(int32(replicas)), Selector: selector, Template: template},
		Status:     appsv1.ReplicaSetStatus{Replicas: int32(replicas)},
	}
	set.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "Deployment", Name: s.name, UID: deployment.UID, Controller: ptr.To(true)}}
	return []runtime.Object{deployment, set}
}

func (s *stormSet) meta(suffix string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: "prod", Name: s.name + suffix, UID: types.UID(s.name + suffix), Labels: map[string]string{"app": s.name}}
}

func (s *stormSet) kind() string {
	if s.slots {
		return "StatefulSet"
	}
	return "Deployment"
}

func (s *stormSet) template() corev1.PodTemplateSpec {
	spec := corev1.PodSpec{
		SchedulerName: "berth-scheduler", TerminationGracePeriodSeconds: ptr.To[int64](10), Priority: ptr.To[int32](0),
		Containers: []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
			corev1.ResourceCPU: *resource.NewMilliQuantity(s.cpu, resource.DecimalSI), corev1.ResourceMemory: resource.MustParse("512Mi")}}}},
	}
	own := &metav1.LabelSelector{MatchLabels: map[string]string{"app": s.name}}
	if s.separate && !s.quorum { // else the policy says it
		spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{
			{LabelSelector: own, TopologyKey: corev1.LabelHostname}}}}
	}
	if s.even {
		spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{
			{MaxSkew: 1, TopologyKey: corev1.LabelTopologyZone, WhenUnsatisfiable: corev1.DoNotSchedule, LabelSelector: own}}
	}
	if s.batch {
		spec.NodeSelector = map[string]string{"pool": "batch"}
		spec.Tolerations = []corev1.Toleration{{Key: "batch", Operator: corev1.TolerationOpExists}}
	}
	return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": s.name}}, Spec: spec}
}

func (s *stormSet) hpa() *autoscalingv2.HorizontalPodAutoscaler {
	hpa := webHPA(s.name, s.name)
	hpa.Spec.ScaleTargetRef.Kind, hpa.Spec.MaxReplicas = s.kind(), 1000
	return hpa
}

func (s *stormSet) policy() *v1alpha1.PlacementPolicy {
	if !s.quorum {
		return nil
	}
	policy := &v1alpha1.PlacementPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: s.name, UID: types.UID("policy-" + s.name)},
		Spec:       v1alpha1.PlacementPolicySpec{TargetRef: &v1alpha1.TargetRef{APIVersion: "apps/v1", Kind: "StatefulSet", Name: s.name}},
	}
	policy.Spec.Quorum = ptr.To(intstr.FromString(v1alpha1.QuorumMajority))
	policy.Spec.Spread = &v1alpha1.Spread{TopologyKey: corev1.LabelTopologyZone, Domains: stormZones(), Arrangement: v1alpha1.Interleaved, Enforcement: v1alpha1.Required}
	policy.Spec.SeparateNodes = v1alpha1.SeparateNone
	if s.home {
		policy.Spec.Home = &v1alpha1.Home{ReturnToNode: v1alpha1.ReturnPreferred, HoldFor: &metav1.Duration{Duration: 10 * time.Minute}}
	}
	if s.separate {
		policy.Spec.SeparateNodes = v1alpha1.SeparateRequired
	}
	return policy
}

func stormZones() []string { return []string{"a", "b", "c"} }

// zone is the one that a slot belongs to: by its volume, or by the plan of its set.
func (s *stormSet) zone(ordinal int) string { return stormZones()[ordinal%3] }

func stormClaimSpec(volume string) corev1.PersistentVolumeClaimSpec {
	return corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, VolumeName: volume, StorageClassName: ptr.To("fast"),
		Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("10Gi")}},
	}
}

// claim returns the claim and the volume of a slot, bound to each other.
func (s *stormSet) claim(ordinal int) (*corev1.PersistentVolumeClaim, *corev1.PersistentVolume) {
	name := fmt.Sprintf("data-%s-%d", s.name, ordinal)
	key, value := corev1.LabelTopologyZone, s.zone(ordinal)
	if s.local {
		key, value = corev1.LabelHostname, s.homes[ordinal]
	}
	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: name, UID: types.UID(name), Annotations: map[string]string{"pv.kubernetes.io/bind-completed": "yes"}},
		Spec:       stormClaimSpec("pv-" + name), Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound},
	}
	volume := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "pv-" + name, UID: types.UID("pv-" + name)},
		Spec: corev1.PersistentVolumeSpec{
			Capacity: claim.Spec.Resources.Requests, AccessModes: claim.Spec.AccessModes, StorageClassName: "fast",
			ClaimRef: &corev1.ObjectReference{Kind: "PersistentVolumeClaim", Namespace: "prod", Name: name, UID: claim.UID},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: key, Operator: corev1.NodeSelectorOpIn, Values: []string{value}}}}}}},
		},
		Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumeBound},
	}
	return claim, volume
}

// pod returns a pod as the controller makes it.
func (s *stormSet) pod(name string, ordinal int) *corev1.Pod {
	template := s.template()
	owner := metav1.OwnerReference{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: s.name + "-1", UID: types.UID(s.name + "-1"), Controller: ptr.To(true)}
	if s.slots {
		owner.Kind, owner.Name, owner.UID = "StatefulSet", s.name, types.UID(s.name)
		template.Labels = map[string]string{"app": s.name, appsv1.StatefulSetPodNameLabel: name, appsv1.PodIndexLabel: strconv.Itoa(ordinal), appsv1.ControllerRevisionHashLabelKey: "1"}
	}
	if s.zonal || s.local {
		template.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data-" + name}}}}
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: name, Labels: template.Labels, OwnerReferences: []metav1.OwnerReference{owner}},
		Spec:       template.Spec,
		Status:     corev1.PodStatus{Phase: corev1.PodPending},
	}
}

// healthy counts the pods that a budget and a quorum count, and what the budget wants of them.
func (s *stormSet) healthy() (healthy, desired int) {
	for _, p := range s.pods {
		if p.healthy() {
			healthy++
		}
	}
	of, _ := intstr.GetScaledValueFromIntOrPercent(&s.budget, s.wanted, true)
	if s.available {
		return healthy, of
	}
	return healthy, max(0, s.wanted-of)
}

// reconcile says which pods the controller makes and which it deletes now.
func (s *stormSet) reconcile() (create []int, remove []*stormPod) {
	if !s.slots {
		return s.reconcileReplicas()
	}
	slots := map[int]*stormPod{}
	top := s.wanted
	for _, p := range s.pods {
		slots[p.ordinal], top = p, max(top, p.ordinal+1)
	}
	for ordinal := range s.wanted {
		p := slots[ordinal]
		if p == nil {
			create = append(create, ordinal)
		}
		if s.ordered && (p == nil || !p.healthy()) {
			return create, nil
		}
	}
	for ordinal := top - 1; ordinal >= s.wanted; ordinal-- {
		p := slots[ordinal]
		if p != nil && p.pod.DeletionTimestamp == nil {
			remove = append(remove, p)
		}
		if s.ordered && p != nil {
			return create, remove
		}
	}
	return create, remove
}

// reconcileReplicas deletes as the controller of ReplicaSets does: who is not ready, then who shares a node.
func (s *stormSet) reconcileReplicas() (create []int, remove []*stormPod) {
	var active []*stormPod
	on := map[string]int{}
	for _, p := range s.pods {
		if p.pod.DeletionTimestamp == nil {
			active = append(active, p)
			on[p.pod.Spec.NodeName]++
		}
	}
	slices.SortFunc(active, func(a, b *stormPod) int {
		return cmp.Or(
			cmp.Compare(boolAsInt(a.healthy()), boolAsInt(b.healthy())),
			cmp.Compare(on[b.pod.Spec.NodeName], on[a.pod.Spec.NodeName]),
			b.born.Compare(a.born),
			cmp.Compare(a.pod.Name, b.pod.Name),
		)
	})
	for range s.wanted - len(active) {
		create = append(create, -1)
	}
	return create, active[:max(0, len(active)-s.wanted)]
}

func boolAsInt(b bool) int {
	if b {
		return 1
	}
	return 0
}
