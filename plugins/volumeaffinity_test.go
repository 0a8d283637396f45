// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package plugins_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/storage/volume"
	fwk "k8s.io/kube-scheduler/framework"
	st "k8s.io/kubernetes/pkg/scheduler/testing"
)

// claiming is a pod that is no slot, with claims.
func claiming(claims ...string) *v1.Pod {
	w := st.MakePod().Namespace("prod").Name("p").UID("p")
	for _, claim := range claims {
		w.PVC(claim)
	}
	return w.Obj()
}

// affinity replaces the node affinity of the volume that bound made.
func affinity(objects []runtime.Object, terms ...v1.NodeSelectorTerm) []runtime.Object {
	objects[1].(*v1.PersistentVolume).Spec.NodeAffinity = &v1.VolumeNodeAffinity{Required: &v1.NodeSelector{NodeSelectorTerms: terms}}
	return objects
}

// selected is a claim that is being provisioned for a node.
func selected(claim, node string) *v1.PersistentVolumeClaim {
	pvc := st.MakePersistentVolumeClaim().Namespace("prod").Name(claim).Obj()
	pvc.Annotations = map[string]string{"volume.kubernetes.io/selected-node": node}
	return pvc
}

// owned makes the claim that bound made one of a pod's ephemeral volume.
func owned(objects []runtime.Object, pod string) []runtime.Object {
	yes := true
	objects[0].(*v1.PersistentVolumeClaim).OwnerReferences = []metav1.OwnerReference{{Kind: "Pod", Name: pod, UID: types.UID(pod), Controller: &yes}}
	return objects
}

func term(requirements ...v1.NodeSelectorRequirement) v1.NodeSelectorTerm {
	return v1.NodeSelectorTerm{MatchExpressions: requirements}
}

func needs(key string, op v1.NodeSelectorOperator, values ...string) v1.NodeSelectorRequirement {
	return v1.NodeSelectorRequirement{Key: key, Operator: op, Values: values}
}

func TestVolumeAffinity(t *testing.T) {
	four := nodes("a1", "a2", "b1", "c1")
	lost := bound("data", zone, "a")
	lost[0].(*v1.PersistentVolumeClaim).Status.Phase = v1.ClaimLost
	taken := bound("data", zone, "a")
	taken[1].(*v1.PersistentVolume).Spec.ClaimRef = &v1.ObjectReference{Namespace: "prod", Name: "other", UID: "other"}
	intree := bound("data", "failure-domain.beta.kubernetes.io/zone", "a")
	intree[1].(*v1.PersistentVolume).Spec.CSI = nil
	intree[1].(*v1.PersistentVolume).Spec.AWSElasticBlockStore = &v1.AWSElasticBlockStoreVolumeSource{VolumeID: "vol-1"}
	going := bound("data", zone, "a")
	now := metav1.Now()
	going[0].(*v1.PersistentVolumeClaim).DeletionTimestamp = &now
	going[0].(*v1.PersistentVolumeClaim).Finalizers = []string{"kubernetes.io/pvc-protection"}
	named := bound("data", zone, "a")[:1]
	named[0].(*v1.PersistentVolumeClaim).Annotations = nil
	named[0].(*v1.PersistentVolumeClaim).Status.Phase = v1.ClaimPending
	everywhere := bound("data", zone, "a")
	everywhere[1].(*v1.PersistentVolume).Spec.NodeAffinity = nil
	unbound := st.MakePersistentVolumeClaim().Namespace("prod").Name("data").Obj()

	tests := map[string]struct {
		objects []runtime.Object
		pod     *v1.Pod
		fits    string
		narrow  bool // PreFilter hands on these nodes
		refused string
		reasons map[string]string
		skipped bool
	}{
		"zonal": {
			objects: objects(four, bound("data", zone, "a")), pod: claiming("data"), fits: "a1 a2", narrow: true,
			reasons: map[string]string{"c1": `node(s) cannot reach volume "pv-data" of claim "data", which is in topology.kubernetes.io/zone=a`},
		},
		"local, hostname is not the node's name": {
			objects: objects(four, bound("data", host, "host-b1")), pod: claiming("data"), fits: "b1", narrow: true,
			reasons: map[string]string{"a1": `node(s) cannot reach volume "pv-data" of claim "data", which is in kubernetes.io/hostname=host-b1`},
		},
		"two claims, the second is the closer": {
			objects: objects(four, bound("data", zone, "a"), bound("wal", host, "host-a2")), pod: claiming("data", "wal"), fits: "a2", narrow: true,
			reasons: map[string]string{"a1": `node(s) cannot reach volume "pv-wal" of claim "wal", which is in kubernetes.io/hostname=host-a2`},
		},
		"two claims apart": {
			objects: objects(four, bound("data", zone, "a"), bound("wal", zone, "b")), pod: claiming("data", "wal"),
			refused: `no node reaches all volumes of the pod: "pv-data" in topology.kubernetes.io/zone=a, "pv-wal" in topology.kubernetes.io/zone=b`,
		},
		"zone without nodes": {
			objects: objects(four, bound("data", zone, "z")), pod: claiming("data"),
			refused: `no node reaches volume "pv-data" of claim "data", which is in topology.kubernetes.io/zone=z: no node has topology.kubernetes.io/zone=z; bring such a node back, or delete the claim if its data is no longer needed`,
		},
		"several terms": {
			objects: objects(four, affinity(bound("data", zone, "a"), term(needs(zone, v1.NodeSelectorOpIn, "b")), term(needs(host, v1.NodeSelectorOpIn, "host-a2")))),
			pod:     claiming("data"), fits: "a2 b1", narrow: true,
			reasons: map[string]string{"c1": `node(s) cannot reach volume "pv-data" of claim "data", which is in kubernetes.io/hostname=host-a2 or topology.kubernetes.io/zone=b`},
		},
		"another operator": {
			objects: objects(four, affinity(bound("data", zone, "a"), term(needs(zone, v1.NodeSelectorOpNotIn, "a", "b"), needs(host, v1.NodeSelectorOpExists)))),
			pod:     claiming("data"), fits: "c1", narrow: true,
			reasons: map[string]string{"b1": `node(s) cannot reach volume "pv-data" of claim "data", which is in kubernetes.io/hostname Exists and topology.kubernetes.io/zone NotIn (a,b)`},
		},
		"reachable from everywhere": {objects: objects(four, everywhere), pod: claiming("data"), skipped: true, fits: "a1 a2 b1 c1"},
		"every node reaches it":     {objects: objects(four[:2], bound("data", zone, "a")), pod: claiming("data"), fits: "a1 a2"},
		"no claims":                 {objects: four, pod: claiming(), skipped: true, fits: "a1 a2 b1 c1"},
		"not bound yet":             {objects: objects(four, unbound), pod: claiming("data"), skipped: true, fits: "a1 a2 b1 c1"},
		"in-tree volume is VolumeBinding's to translate": {
			objects: objects(four, intree), pod: claiming("data"), skipped: true, fits: "a1 a2 b1 c1",
		},
		"generic ephemeral volume": {
			objects: objects(four, owned(bound("p-scratch", zone, "c"), "p")), fits: "c1", narrow: true,
			pod: st.MakePod().Namespace("prod").Name("p").UID("p").Volume(v1.Volume{Name: "scratch", VolumeSource: v1.VolumeSource{Ephemeral: &v1.EphemeralVolumeSource{}}}).Obj(),
		},
		"generic ephemeral volume whose claim is another's": {
			objects: objects(four, bound("p-scratch", zone, "c")),
			pod:     st.MakePod().Namespace("prod").Name("p").UID("p").Volume(v1.Volume{Name: "scratch", VolumeSource: v1.VolumeSource{Ephemeral: &v1.EphemeralVolumeSource{}}}).Obj(),
			refused: `claim "p-scratch" has the name that ephemeral volume "scratch" needs, and was not made for this pod; delete or rename it`,
		},
		"generic ephemeral volume without its claim": {
			objects: four,
			pod:     st.MakePod().Namespace("prod").Name("p").UID("p").Volume(v1.Volume{Name: "scratch", VolumeSource: v1.VolumeSource{Ephemeral: &v1.EphemeralVolumeSource{}}}).Obj(),
			refused: `claim "p-scratch" of ephemeral volume "scratch" is not made yet`,
		},
		"claim that is being deleted": {
			objects: objects(four, going), pod: claiming("data"),
			refused: `claim "data" is being deleted; the pod waits until it is made again`,
		},
		"claim that names a volume that is to come": {
			objects: objects(four, named), pod: claiming("data"),
			refused: `claim "data" asks for volume "pv-data" by name, which does not exist yet; make it, or delete the claim so that it gets another`,
		},
		"claim that is being provisioned": {
			objects: objects(four, selected("data", "b1")), pod: claiming("data"), fits: "b1", narrow: true,
			reasons: map[string]string{"a1": `node(s) other than the one that claim "data" is being provisioned for, "b1"`},
		},
		"claim that is being provisioned for a node that is gone": {
			objects: objects(four, selected("data", "z1")), pod: claiming("data"),
			refused: `claim "data" is being provisioned for node "z1", which is gone; its annotation volume.kubernetes.io/selected-node is taken off, so that another node can be chosen`,
		},
		"claim of the same name elsewhere": {
			objects: objects(four, st.MakePersistentVolumeClaim().Namespace("other").Name("data").Obj()), pod: claiming("data"),
			refused: `claim "data" does not exist; it must be made before the pod can be placed`,
		},
		"claim lost": {
			objects: objects(four, lost), pod: claiming("data"),
			refused: `claim "data" has lost its volume "pv-data"; restore the volume, or delete the claim so that it gets another`,
		},
		"volume missing": {
			objects: objects(four, bound("data", zone, "a")[:1]), pod: claiming("data"),
			refused: `volume "pv-data" of claim "data" does not exist; restore it, or delete the claim so that it gets another`,
		},
		"volume whose own claim is gone": {
			objects: objects(four, taken), pod: claiming("data"),
			refused: `volume "pv-data" of claim "data" belongs to another claim, prod/other`,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := newCluster(t, nil, tt.objects...).try(t, tt.pod)
			if got.refused != tt.refused {
				t.Errorf("refused with %q\nwant         %q", got.refused, tt.refused)
			}
			if got.fits() != tt.fits {
				t.Errorf("fits on %q, want %q", got.fits(), tt.fits)
			}
			fitting := strings.Fields(got.fits())
			if narrow := got.handed != nil; narrow != tt.narrow {
				t.Errorf("handed on %v, want it narrowed: %t", got.handed, tt.narrow)
			} else if narrow && !slices.Equal(got.handed, fitting) {
				t.Errorf("handed on %v, want %v", got.handed, fitting)
			}
			for node, want := range tt.reasons {
				if diff := cmp.Diff(want, got.nodes[node]); diff != "" {
					t.Errorf("reason of %s (-want +got):\n%s", node, diff)
				}
			}
			if skipped := strings.Contains(got.skipped, "VolumeAffinity"); skipped != tt.skipped {
				t.Errorf("skipped: %t, want %t", skipped, tt.skipped)
			}
		})
	}
}

// The reach must be the one upstream sees, whatever the shape of the affinity.
func TestReachIsUpstreams(t *testing.T) {
	all := objects(nodes("a1", "a2", "b1"), node("x1", ""))
	requirements := []v1.NodeSelectorRequirement{
		needs(zone, v1.NodeSelectorOpIn, "a"), needs(zone, v1.NodeSelectorOpIn, "a", "b"), needs(zone, v1.NodeSelectorOpNotIn, "a"),
		needs(zone, v1.NodeSelectorOpExists), needs(zone, v1.NodeSelectorOpDoesNotExist), needs(host, v1.NodeSelectorOpIn, "host-a1"),
		needs(zone, v1.NodeSelectorOpIn), needs(zone, v1.NodeSelectorOpGt, "1"), needs(zone, "Unheard", "a"),
		needs(zone, v1.NodeSelectorOpIn, ""),
	}
	var shapes [][]v1.NodeSelectorTerm
	for i, one := range requirements {
		shapes = append(shapes, []v1.NodeSelectorTerm{term(one)}, []v1.NodeSelectorTerm{term(one), {}})
		for _, two := range requirements[i:] {
			shapes = append(shapes, []v1.NodeSelectorTerm{term(one, two)}, []v1.NodeSelectorTerm{term(one), term(two)})
		}
	}
	for _, names := range [][]string{{"a1"}, {"a1", "a2"}} { // fields are not matched, but two values are malformed
		both := term(requirements[0])
		both.MatchFields = []v1.NodeSelectorRequirement{needs("metadata.name", v1.NodeSelectorOpIn, names...)}
		shapes = append(shapes, []v1.NodeSelectorTerm{both})
	}
	shapes = append(shapes, nil, []v1.NodeSelectorTerm{{}}, []v1.NodeSelectorTerm{{MatchFields: []v1.NodeSelectorRequirement{needs("metadata.name", v1.NodeSelectorOpIn, "a1")}}})
	for i, shape := range shapes {
		volumes := affinity(bound("data", zone, "a"), shape...)
		got := newCluster(t, nil, objects(all, volumes)...).try(t, claiming("data"))
		var want []string
		for _, obj := range all {
			if node := obj.(*v1.Node); volume.CheckNodeAffinity(volumes[1].(*v1.PersistentVolume), node.Labels) == nil {
				want = append(want, node.Name)
			}
		}
		if diff := cmp.Diff(strings.Join(want, " "), got.fits()); diff != "" {
			t.Errorf("shape %d %v (-want +got):\n%s", i, shape, diff)
		}
	}
}

// Beyond the limit nothing is handed on, and Filter alone decides.
func TestLargeReachIsNotHandedOn(t *testing.T) {
	for _, tt := range []struct {
		reach  int
		handed int
	}{{100, 100}, {101, 0}} {
		var all []runtime.Object
		for i := range tt.reach {
			all = append(all, node(fmt.Sprintf("a%d", i), "a"))
		}
		got := newCluster(t, nil, objects(all, node("b1", "b"), bound("data", zone, "a"))...).try(t, claiming("data"))
		if len(got.handed) != tt.handed {
			t.Errorf("of %d nodes that reach, %d are handed on, want %d", tt.reach, len(got.handed), tt.handed)
		}
		if got.nodes["b1"] == "" {
			t.Errorf("with %d nodes that reach, Filter lets b1 pass", tt.reach)
		}
	}
}

func TestVolumeAffinityHints(t *testing.T) {
	c := newCluster(t, nil, objects(nodes("a1"), bound("data", zone, "b"), bound("wal", host, "host-b1"))...)
	pod := claiming("data", "wal")
	claim, pv := bound("data", zone, "b")[0].(*v1.PersistentVolumeClaim), bound("data", zone, "b")[1].(*v1.PersistentVolume)
	unboundClaim := claim.DeepCopy()
	unboundClaim.Spec.VolumeName, unboundClaim.Status.Phase = "", v1.ClaimPending
	annotated := claim.DeepCopy()
	annotated.Annotations = map[string]string{"x": "y"}
	moved := bound("data", zone, "c")[1].(*v1.PersistentVolume)
	foreign := claim.DeepCopy()
	foreign.Namespace = "other"

	nodeEvents := map[string]struct {
		before, after *v1.Node
		want          fwk.QueueingHint
	}{
		"a node that reaches both":   {nil, node("b1", "b"), fwk.Queue},
		"a node that reaches one":    {nil, node("b2", "b"), fwk.QueueSkip},
		"a node that comes to reach": {node("b1", "a"), node("b1", "b"), fwk.Queue},
		"a node that reached before": {node("b1", "b"), node("b1", "b"), fwk.QueueSkip},
	}
	for name, tt := range nodeEvents {
		if got := hint(t, c, "VolumeAffinity", fwk.Node, fwk.Add, pod, tt.before, tt.after); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
	claimEvents := map[string]struct {
		before, after *v1.PersistentVolumeClaim
		want          fwk.QueueingHint
	}{
		"claim made":            {nil, claim, fwk.Queue},
		"claim bound":           {unboundClaim, claim, fwk.Queue},
		"claim annotated":       {claim, annotated, fwk.QueueSkip},
		"claim in another room": {nil, foreign, fwk.QueueSkip},
	}
	for name, tt := range claimEvents {
		if got := hint(t, c, "VolumeAffinity", fwk.PersistentVolumeClaim, fwk.Add, pod, tt.before, tt.after); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
	volumeEvents := map[string]struct {
		before, after *v1.PersistentVolume
		want          fwk.QueueingHint
	}{
		"volume restored":    {nil, pv, fwk.Queue},
		"volume moved":       {pv, moved, fwk.Queue},
		"volume unchanged":   {pv, pv, fwk.QueueSkip},
		"volume of another":  {nil, bound("other", zone, "b")[1].(*v1.PersistentVolume), fwk.QueueSkip},
		"moved, of somebody": {bound("other", zone, "b")[1].(*v1.PersistentVolume), bound("other", zone, "c")[1].(*v1.PersistentVolume), fwk.QueueSkip},
	}
	for name, tt := range volumeEvents {
		if got := hint(t, c, "VolumeAffinity", fwk.PersistentVolume, fwk.Add, pod, tt.before, tt.after); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

// Whatever could give a new volume room, or spare it the question, is worth
// another look.
func TestVolumeAffinityHintsAboutRoom(t *testing.T) {
	c := newCluster(t, nil, objects(nodes("a1"), pooled("fast"), pooled("slow"), roomOf("fast", "a1", "10Gi"), asking("data", "fast", "60Gi"))...)
	pod := claiming("data")
	yes, no := true, false
	driver := func(name string, asks *bool) *storagev1.CSIDriver {
		return &storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: storagev1.CSIDriverSpec{StorageCapacity: asks}}
	}
	class := func(name string) *storagev1.StorageClass {
		return &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name}}
	}
	taken := st.MakePersistentVolume().Name("taken").StorageClassName("fast").Obj()
	taken.Spec.ClaimRef = &v1.ObjectReference{Namespace: "prod", Name: "other", UID: "other"}
	const plugin = "VolumeAffinity"
	for name, tt := range map[string]struct {
		got, want fwk.QueueingHint
	}{
		"a node gets a label":     {hint(t, c, plugin, fwk.Node, fwk.UpdateNodeLabel, pod, st.MakeNode().Name("b1").Obj(), node("b1", "b")), fwk.Queue},
		"a node stays as it is":   {hint(t, c, plugin, fwk.Node, fwk.UpdateNodeLabel, pod, node("b1", "b"), node("b1", "b")), fwk.QueueSkip},
		"more room":               {hint(t, c, plugin, fwk.CSIStorageCapacity, fwk.Update, pod, roomOf("fast", "a1", "10Gi"), roomOf("fast", "a1", "20Gi")), fwk.Queue},
		"less room":               {hint(t, c, plugin, fwk.CSIStorageCapacity, fwk.Update, pod, roomOf("fast", "a1", "10Gi"), roomOf("fast", "a1", "5Gi")), fwk.QueueSkip},
		"more room of another":    {hint(t, c, plugin, fwk.CSIStorageCapacity, fwk.Update, pod, roomOf("slow", "a1", "10Gi"), roomOf("slow", "a1", "20Gi")), fwk.QueueSkip},
		"a volume to be had":      {hint(t, c, plugin, fwk.PersistentVolume, fwk.Add, pod, nil, st.MakePersistentVolume().Name("free").StorageClassName("fast").Obj()), fwk.Queue},
		"a volume of another":     {hint(t, c, plugin, fwk.PersistentVolume, fwk.Add, pod, nil, st.MakePersistentVolume().Name("free").StorageClassName("slow").Obj()), fwk.QueueSkip},
		"a volume that is taken":  {hint(t, c, plugin, fwk.PersistentVolume, fwk.Add, pod, nil, taken), fwk.QueueSkip},
		"no more asking":          {hint(t, c, plugin, fwk.CSIDriver, fwk.Update, pod, driver("fast.example.com", &yes), driver("fast.example.com", &no)), fwk.Queue},
		"no more asking, another": {hint(t, c, plugin, fwk.CSIDriver, fwk.Update, pod, driver("slow.example.com", &yes), driver("slow.example.com", &no)), fwk.QueueSkip},
		"asking as before":        {hint(t, c, plugin, fwk.CSIDriver, fwk.Update, pod, driver("fast.example.com", &yes), driver("fast.example.com", &yes)), fwk.QueueSkip},
		"its class":               {hint(t, c, plugin, fwk.StorageClass, fwk.Add, pod, nil, class("fast")), fwk.Queue},
		"another class":           {hint(t, c, plugin, fwk.StorageClass, fwk.Add, pod, nil, class("slow")), fwk.QueueSkip},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %v, want %v", name, tt.got, tt.want)
		}
	}
}
