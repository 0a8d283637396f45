// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"

	"github.com/berth-dev/berth/test/cluster/layout"
)

// scene is one node n, and whatever the test puts beside it.
type scene struct {
	client  *fake.Clientset
	kubelet *kubelet
}

func newScene(t *testing.T, objects ...runtime.Object) scene {
	t.Helper()
	client := fake.NewClientset(objects...)
	factory := informers.NewSharedInformerFactory(client, 0)
	core, leases := factory.Core().V1(), deadLeases(client)
	k := &kubelet{
		client:      client,
		nodes:       core.Nodes().Lister(),
		pods:        core.Pods().Informer().GetIndexer(),
		claims:      core.PersistentVolumeClaims().Lister(),
		volumes:     core.PersistentVolumes().Lister(),
		csiNodes:    factory.Storage().V1().CSINodes().Lister(),
		leases:      leases.Coordination().V1().Leases().Lister().Leases(corev1.NamespaceNodeLease),
		attachLimit: 7,
	}
	if err := core.Pods().Informer().AddIndexers(cache.Indexers{byNode: podsByNode}); err != nil {
		t.Fatal(err)
	}
	start(t, factory)
	start(t, leases)
	return scene{client, k}
}

func (s scene) node(t *testing.T) *corev1.Node {
	t.Helper()
	node, err := s.client.CoreV1().Nodes().Get(t.Context(), "n", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return node
}

func (s scene) started(t *testing.T, pod string) bool {
	t.Helper()
	p, err := s.client.CoreV1().Pods("ns").Get(t.Context(), pod, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return started(p)
}

// pod uses one claim of its own name.
func pod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name},
		Spec: corev1.PodSpec{NodeName: "n", Volumes: []corev1.Volume{{
			Name:         "data",
			VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name}},
		}}},
		Status: corev1.PodStatus{Phase: corev1.PodPending},
	}
}

// bound are the claim of that name and its volume.
func bound(name, driver string) []runtime.Object {
	c := claim(name)
	c.Spec.VolumeName = "pvc-" + name
	return []runtime.Object{c, Volume("pvc-"+name, class(driver), c, "place")}
}

const inUse = "kubernetes.io/csi/zonal.berth.test^pvc-"

func TestKubeletRegisters(t *testing.T) {
	n := node("n", "zone-a")
	delete(n.Labels, corev1.LabelHostname)
	s := newScene(t, n)
	if err := s.kubelet.sync(t.Context(), "n"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(layout.NodeAnnotations("n"), s.node(t).Annotations); diff != "" {
		t.Errorf("annotations (-want +got):\n%s", diff)
	}
	if got := s.node(t).Labels[corev1.LabelHostname]; got != layout.HostName("n") {
		t.Errorf("hostname %q, want one as the first nodes have", got)
	}
	csi, err := s.client.StorageV1().CSINodes().Get(t.Context(), "n", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !ownedBy(csi, n) {
		t.Error("the CSINode does not go with its node")
	}
	for _, driver := range csi.Spec.Drivers {
		if limited := driver.Allocatable != nil; limited != (driver.Name == ZonalDriver) || limited && *driver.Allocatable.Count != 7 {
			t.Errorf("%s takes %v volumes", driver.Name, driver.Allocatable)
		}
	}
}

// TestKubeletRegistersPool: a pool may come later than its node, and go before it.
func TestKubeletRegistersPool(t *testing.T) {
	for name, tc := range map[string]struct {
		pool, registered bool
	}{
		"with its node":       {pool: true},
		"later than its node": {pool: true, registered: true},
		"gone before it":      {registered: true},
	} {
		t.Run(name, func(t *testing.T) {
			n := node("n", "zone-a")
			before := n.DeepCopy()
			if tc.pool {
				n.Annotations = map[string]string{layout.AnnotationStoragePool: "100Gi"}
			} else {
				before = withPool(before, "100Gi")
			}
			objects := []runtime.Object{n}
			if tc.registered {
				objects = append(objects, csiNode(before, 5))
			}
			s := newScene(t, objects...)
			if err := s.kubelet.sync(t.Context(), "n"); err != nil {
				t.Fatal(err)
			}
			csi, err := s.client.StorageV1().CSINodes().Get(t.Context(), "n", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			keys := map[string][]string{}
			for _, d := range csi.Spec.Drivers {
				keys[d.Name] = d.TopologyKeys
				if len(objects) > 1 && d.Name == ZonalDriver && *d.Allocatable.Count != 5 {
					t.Errorf("a driver that is registered takes %d volumes, want the 5 it said", *d.Allocatable.Count)
				}
			}
			want := map[string][]string{ZonalDriver: {corev1.LabelTopologyZone}, LocalDriver: {corev1.LabelHostname}}
			if tc.pool {
				want[PooledDriver] = []string{PooledTopologyKey}
			}
			if diff := cmp.Diff(want, keys); diff != "" {
				t.Errorf("topology keys by driver (-want +got):\n%s", diff)
			}
			if label := s.node(t).Labels[PooledTopologyKey]; (label == layout.HostName("n")) != tc.pool {
				t.Errorf("label %s is %q", PooledTopologyKey, label)
			}
		})
	}
}

func TestKubeletRegistersAgain(t *testing.T) {
	n := node("n", "zone-a")
	earlier := csiNode(n, 7)
	earlier.OwnerReferences[0].UID = "of-an-earlier-node"
	s := newScene(t, n, earlier)
	if err := s.kubelet.sync(t.Context(), "n"); err != nil {
		t.Fatal(err)
	}
	csi, err := s.client.StorageV1().CSINodes().Get(t.Context(), "n", metav1.GetOptions{})
	if err != nil || !ownedBy(csi, n) {
		t.Errorf("the CSINode is of the earlier node still: %v, %v", csi, err)
	}
}

func TestKubeletLeavesOthersAlone(t *testing.T) {
	n := node("n", "zone-a")
	delete(n.Labels, "type")
	s := newScene(t, n)
	if err := s.kubelet.sync(t.Context(), "n"); err != nil {
		t.Fatal(err)
	}
	if got := s.node(t).Annotations; len(got) > 0 {
		t.Errorf("a node that is not simulated got %v", got)
	}
}

func TestKubeletStartsPodsBesideTheirVolumes(t *testing.T) {
	n := node("n", "zone-a")
	n.Status.VolumesAttached = []corev1.AttachedVolume{{Name: inUse + "attached"}}
	done := pod("done")
	done.Status.Phase = corev1.PodSucceeded
	objects := []runtime.Object{n, pod("attached"), pod("waiting"), pod("local"), pod("unbound"), pod("lost"), done, claim("unbound")}
	for name, driver := range map[string]string{"attached": ZonalDriver, "waiting": ZonalDriver, "local": LocalDriver, "done": ZonalDriver} {
		objects = append(objects, bound(name, driver)...)
	}
	s := newScene(t, objects...)
	if err := s.kubelet.sync(t.Context(), "n"); err == nil {
		t.Error("pods whose volumes are not known must be looked at again")
	}
	want := []corev1.UniqueVolumeName{inUse + "attached", inUse + "waiting"}
	if diff := cmp.Diff(want, s.node(t).Status.VolumesInUse); diff != "" {
		t.Errorf("volumes in use (-want +got):\n%s", diff)
	}
	got := map[string]bool{}
	for _, name := range []string{"attached", "waiting", "local", "unbound", "lost", "done"} {
		got[name] = s.started(t, name)
	}
	if diff := cmp.Diff(map[string]bool{"attached": true, "waiting": false, "local": true, "unbound": false, "lost": false, "done": false}, got); diff != "" {
		t.Errorf("started (-want +got):\n%s", diff)
	}
}

func TestKubeletOfDeadNodeReportsNothing(t *testing.T) {
	n := node("n", "zone-a")
	n.Status.Conditions[0].Status = corev1.ConditionUnknown
	n.Status.VolumesInUse = []corev1.UniqueVolumeName{inUse + "gone"}
	s := newScene(t, n)
	if err := s.kubelet.sync(t.Context(), "n"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(n.Status.VolumesInUse, s.node(t).Status.VolumesInUse); diff != "" {
		t.Errorf("volumes in use (-want +got):\n%s", diff)
	}
}
