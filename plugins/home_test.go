// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package plugins_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	st "k8s.io/kubernetes/pkg/scheduler/testing"
)

// noted writes on the claim that bound made where its slot was last.
func noted(objects []runtime.Object, node string) []runtime.Object {
	objects[0].(*v1.PersistentVolumeClaim).Annotations["berth.dev/last-node"] = `{"node":"` + node + `","podUID":"old"}`
	return objects
}

func attachedTo(node, pv string) *storagev1.VolumeAttachment {
	return &storagev1.VolumeAttachment{
		ObjectMeta: metav1.ObjectMeta{Name: pv + "-" + node},
		Spec:       storagev1.VolumeAttachmentSpec{NodeName: node, Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: &pv}},
	}
}

func shared(objects []runtime.Object) []runtime.Object {
	objects[1].(*v1.PersistentVolume).Spec.AccessModes = []v1.PersistentVolumeAccessMode{v1.ReadWriteMany}
	return objects
}

func unready(node *v1.Node) *v1.Node {
	node.Status.Conditions = []v1.NodeCondition{{Type: v1.NodeReady, Status: v1.ConditionUnknown}}
	return node
}

func detaching(a *storagev1.VolumeAttachment) *storagev1.VolumeAttachment {
	now := metav1.Now()
	a.DeletionTimestamp, a.Finalizers = &now, []string{"external-attacher/x"}
	return a
}

func TestHome(t *testing.T) {
	five := nodes("a1", "a2", "a3", "b1", "c1")
	ours, theirs := slotPod("db", 0, "data").Obj(), claiming("data")
	zonal := func(node string) []runtime.Object { return noted(bound("data-db-0", zone, "a"), node) }
	tests := map[string]struct {
		objects []runtime.Object
		policy  string
		pod     *v1.Pod
		fits    string
		narrow  bool
		refused string
		reasons map[string]string
	}{
		"the node where it was, among those of its volume's zone": {
			objects: zonal("a2"), pod: ours, fits: "a2",
			reasons: map[string]string{
				"a1": `node(s) other than "a2", where ordinal 0 of prod/db was and fits again`,
				"b1": `node(s) outside the planned domain a`,
			},
		},
		"a node that is gone":                            {objects: zonal("z9"), pod: ours, fits: "a1 a2 a3"},
		"a node where it does not fit any more":          {objects: zonal("b1"), pod: ours, fits: "a1 a2 a3"},
		"a note that can not be read":                    {objects: noted(bound("data-db-0", zone, "a"), `","x`), pod: ours, fits: "a1 a2 a3"},
		"nobody asked for it":                            {objects: zonal("a2"), policy: `{home: {returnToNode: None}}`, pod: ours, fits: "a1 a2 a3"},
		"no other node will do":                          {objects: zonal("a2"), policy: `{home: {returnToNode: Required}}`, pod: ours, fits: "a2", narrow: true},
		"required, and never anywhere":                   {objects: bound("data-db-0", zone, "a"), policy: `{home: {returnToNode: Required}}`, pod: ours, fits: "a1 a2 a3"},
		"a pod that is no slot, and whose claim says so": {objects: noted(bound("data", zone, "a"), "a2"), pod: theirs, fits: "a1 a2 a3"},
		"no other node will do, and it is gone": {
			objects: zonal("z9"), policy: `{home: {returnToNode: Required}}`, pod: ours,
			refused: `ordinal 0 of prod/db must return to node "z9", which is gone (home.returnToNode is Required); bring the node back, or change the policy`,
		},
		"no other node will do, and it is gone with the volume": {
			objects: noted(bound("data-db-0", host, "host-z9"), "z9"), policy: `{home: {returnToNode: Required, releaseLostVolumes: {after: 5m}}}`, pod: ours,
			refused: `no node reaches volume "pv-data-db-0" of claim "data-db-0", which is in kubernetes.io/hostname=host-z9: no node has kubernetes.io/hostname=host-z9, ` +
				`and node "z9", where it was last, is gone; bring that node back, or delete the claim if its data is no longer needed; ` +
				`if it is local, the policy gives it up once the node is gone for 5m0s (home.releaseLostVolumes)`,
		},
		"where the volume is attached":                {objects: objects(bound("data", zone, "a"), attachedTo("a3", "pv-data")), pod: theirs, fits: "a3"},
		"where the volume is attached, and not noted": {objects: objects(zonal("a2"), attachedTo("a3", "pv-data-db-0")), pod: ours, fits: "a3"},
		"as noted, for the volume is being detached":  {objects: objects(zonal("a2"), detaching(attachedTo("a3", "pv-data-db-0"))), pod: ours, fits: "a2"},
		"required as noted, and attached elsewhere": {
			objects: objects(zonal("a2"), attachedTo("a3", "pv-data-db-0")), policy: `{home: {returnToNode: Required}}`, pod: ours, fits: "a2", narrow: true,
		},
		"anywhere, for many may use the volume":     {objects: objects(shared(bound("data", zone, "a")), attachedTo("a3", "pv-data")), pod: theirs, fits: "a1 a2 a3"},
		"where it was, for many may use the volume": {objects: objects(shared(zonal("a2")), attachedTo("a3", "pv-data-db-0")), pod: ours, fits: "a2"},
		"wherever, attached or not": {
			objects: objects(zonal("a2"), attachedTo("a3", "pv-data-db-0")), policy: `{home: {returnToNode: None}}`, pod: ours, fits: "a1 a2 a3",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			all := objects(five, set("db", 3, "data"), tt.objects)
			if tt.policy != "" {
				all = append(all, policy(t, tt.policy))
			}
			got := newCluster(t, nil, all...).try(t, tt.pod)
			if diff := cmp.Diff(tt.refused, got.refused); diff != "" {
				t.Errorf("refused (-want +got):\n%s", diff)
			}
			if got.fits() != tt.fits {
				t.Errorf("fits on %q, want %q", got.fits(), tt.fits)
			}
			if tt.narrow && strings.Join(got.handed, " ") != tt.fits {
				t.Errorf("handed on %v, want %s", got.handed, tt.fits)
			}
			for node, want := range tt.reasons {
				if diff := cmp.Diff(want, got.nodes[node]); diff != "" {
					t.Errorf("reason of %s (-want +got):\n%s", node, diff)
				}
			}
		})
	}
}

// A pod that fits at home and still can not be bound there must not be sent
// there for ever.
func TestHomeThatFails(t *testing.T) {
	pod := slotPod("db", 0, "data").Obj()
	c := newCluster(t, nil, objects(nodes("a1", "a2"), set("db", 3, "data"), noted(bound("data-db-0", zone, "a"), "a2"), pod)...)
	if got := c.try(t, pod).fits(); got != "a2" {
		t.Fatalf("fits on %q, want a2", got)
	}
	state := framework.NewCycleState()
	c.framework.RunPreFilterPlugins(t.Context(), state, pod)
	c.framework.RunReservePluginsUnreserve(t.Context(), state, pod, "a1")
	if got := c.try(t, pod).fits(); got != "a2" {
		t.Errorf("after it failed elsewhere it fits on %q, want a2", got)
	}
	c.framework.RunReservePluginsUnreserve(t.Context(), state, pod, "a2")
	if got := c.try(t, pod).fits(); got != "a1 a2" {
		t.Errorf("after it failed at home it fits on %q, want a1 a2", got)
	}
	if got := c.try(t, pod).fits(); got != "a2" {
		t.Errorf("when it was tried once without its home it fits on %q, want a2", got)
	}
}

// A kubelet that turned the pod away would do so again.
func TestHomeThatTurnsAway(t *testing.T) {
	old := slotPod("db", 0, "data").UID("old").Node("a2").Phase(v1.PodFailed).Obj()
	c := newCluster(t, nil, objects(nodes("a1", "a2"), set("db", 3, "data"), bound("data-db-0", zone, "a"), old)...)
	if got := c.try(t, slotPod("db", 0, "data").Obj()).fits(); got != "a1 a2" {
		t.Errorf("fits on %q, want a1 a2", got)
	}
}

// Where a pod is placed as one of a group, some nodes may not be for the group.
func TestHomeOfAGroup(t *testing.T) {
	c := newCluster(t, nil, objects(nodes("a1", "a2"), set("db", 3, "data"), noted(bound("data-db-0", zone, "a"), "a2"))...)
	pod := slotPod("db", 0, "data").Obj()
	pod.Spec.SchedulingGroup = &v1.PodSchedulingGroup{}
	if got := c.try(t, pod).fits(); got != "a1 a2" {
		t.Errorf("fits on %q, want a1 a2", got)
	}
}

// Where it is only better than others, the score says so.
func TestHomeScores(t *testing.T) {
	c := newCluster(t, nil, objects(nodes("a1", "a2"), set("db", 3, "data"), policy(t, `{home: {returnToNode: None}}`),
		bound("data-db-0", zone, "a"), attachedTo("a2", "pv-data-db-0"))...)
	if diff := cmp.Diff(map[string]int64{"a1": 0, "a2": fwk.MaxScore}, c.scores(t, slotPod("db", 0, "data").Obj())); diff != "" {
		t.Errorf("scores (-want +got):\n%s", diff)
	}
}

// scores are those of VolumeAffinity on all nodes, nil where it has nothing to say.
func (c *cluster) scores(t *testing.T, pod *v1.Pod) map[string]int64 {
	t.Helper()
	state := framework.NewCycleState()
	if _, status, _ := c.framework.RunPreFilterPlugins(t.Context(), state, pod); !status.IsSuccess() {
		t.Fatal(status.Message())
	}
	nodes, err := c.framework.SnapshotSharedLister().NodeInfos().List()
	if err != nil {
		t.Fatal(err)
	}
	if status := c.framework.RunPreScorePlugins(t.Context(), state, pod, nodes); !status.IsSuccess() {
		t.Fatal(status.Message())
	}
	scores, status := c.framework.RunScorePlugins(t.Context(), state, pod, nodes)
	if !status.IsSuccess() {
		t.Fatal(status.Message())
	}
	var by map[string]int64
	for _, node := range scores {
		for _, score := range node.Scores {
			if score.Name == "VolumeAffinity" {
				if by == nil {
					by = map[string]int64{}
				}
				by[node.Name] = score.Score
			}
		}
	}
	return by
}

// Whoever is bound elsewhere than before is told why.
func TestNotHome(t *testing.T) {
	c := newCluster(t, nil, objects(nodes("a1", "a2", "b1"), set("db", 3, "data"), unready(node("a3", "a")),
		noted(bound("data-db-0", zone, "a"), "b1"), attachedTo("a3", "pv-data-db-1"), noted(bound("data-db-1", zone, "b"), "a3"),
		attachedTo("z9", "pv-data-db-2"), noted(bound("data-db-2", zone, "b"), "z9"))...)
	for ordinal, want := range []string{
		`Normal NotOnLastNode ordinal 0 of prod/db is on node "a1" now; on node "b1", where it was, it does not fit: node(s) outside the planned domain a`,
		`Normal NotOnLastNode ordinal 1 of prod/db is on node "b1" now; on node "a3", where it was, it does not fit: node(s) outside the planned domain b|` +
			`Warning VolumeStillAttached volume "pv-data-db-1" is still attached to node "a3", which is not ready: it is detached once the node unmounts it, or after 6 minutes; if the node is shut down for good, taint it with node.kubernetes.io/out-of-service`,
		`Normal NotOnLastNode ordinal 2 of prod/db is on node "b1" now; on node "z9", where it was, nothing can run, since the node is gone|` +
			`Warning VolumeStillAttached volume "pv-data-db-2" is still attached to node "z9", which is gone without having unmounted it: it is detached after 6 minutes`,
	} {
		pod, state := slotPod("db", ordinal, "data").Obj(), framework.NewCycleState()
		if _, status, _ := c.framework.RunPreFilterPlugins(t.Context(), state, pod); !status.IsSuccess() {
			t.Fatal(status.Message())
		}
		to := []string{"a1", "b1", "b1"}[ordinal]
		nodeInfo, err := c.framework.SnapshotSharedLister().NodeInfos().Get(to)
		if err != nil {
			t.Fatal(err)
		}
		if status := c.framework.RunFilterPlugins(t.Context(), state, pod, nodeInfo); !status.IsSuccess() {
			t.Fatal(status.Message())
		}
		c.framework.RunPostBindPlugins(t.Context(), state, pod, to)
		var got []string
		for len(c.events.Events) > 0 {
			got = append(got, <-c.events.Events)
		}
		if diff := cmp.Diff(want, strings.Join(got, "|")); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	}
}

// The nodes that are left out get no reason; PostFilter says what they do not.
func TestWhatStandsInTheWayOfAVolume(t *testing.T) {
	c := newCluster(t, nil, objects(nodes("a1", "a2", "b1"), unready(node("a3", "a")), bound("data", host, "host-a1"), bound("wal", zone, "a"), attachedTo("a3", "pv-wal"))...)
	pod, state := claiming("data", "wal"), framework.NewCycleState()
	if _, status, _ := c.framework.RunPreFilterPlugins(t.Context(), state, pod); !status.IsSuccess() {
		t.Fatal(status.Message())
	}
	refusals := framework.NewDefaultNodeToStatus()
	refusals.Set("a1", fwk.NewStatus(fwk.Unschedulable, "Insufficient cpu"))
	refusals.SetAbsentNodesStatus(fwk.NewStatus(fwk.UnschedulableAndUnresolvable, "out"))
	_, status := c.framework.RunPostFilterPlugins(t.Context(), state, pod, refusals)
	want := `volume "pv-data" of claim "data" is in kubernetes.io/hostname=host-a1; 1 node reaches it: 1 Insufficient cpu; ` +
		`volume "pv-wal" of claim "wal" is in topology.kubernetes.io/zone=a; 3 nodes reach it: 2 out, 1 Insufficient cpu; ` +
		`volume "pv-wal" is still attached to node "a3", which is not ready: it is detached once the node unmounts it, or after 6 minutes; if the node is shut down for good, taint it with node.kubernetes.io/out-of-service`
	if diff := cmp.Diff(want, status.Message()); diff != "" {
		t.Errorf("PostFilter (-want +got):\n%s", diff)
	}
}

// Two pods that fill one slot at a time: the new one may go where it likes
// while the old one is there.
func TestHomeIsOccupied(t *testing.T) {
	old := slotPod("db", 0, "data").UID("old").Node("a2").Obj()
	c := newCluster(t, nil, objects(nodes("a1", "a2"), set("db", 3, "data"), noted(bound("data-db-0", zone, "a"), "a2"), old)...)
	if got := c.try(t, slotPod("db", 0, "data").Obj()).fits(); got != "a1 a2" {
		t.Errorf("fits on %q, want a1 a2", got)
	}
}

func roomOf(class, node, size string) *storagev1.CSIStorageCapacity {
	amount := resource.MustParse(size)
	return &storagev1.CSIStorageCapacity{
		ObjectMeta:       metav1.ObjectMeta{Namespace: "kube-system", Name: class + "-" + node},
		StorageClassName: class,
		NodeTopology:     &metav1.LabelSelector{MatchLabels: map[string]string{host: "host-" + node}},
		Capacity:         &amount,
	}
}

// pooled is a storage class whose driver says how much room there is.
func pooled(class string) []runtime.Object {
	yes, wait := true, storagev1.VolumeBindingWaitForFirstConsumer
	return objects(
		&storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: class}, Provisioner: class + ".example.com", VolumeBindingMode: &wait},
		&storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: class + ".example.com"}, Spec: storagev1.CSIDriverSpec{StorageCapacity: &yes}},
	)
}

func asking(claim, class, size string) *v1.PersistentVolumeClaim {
	pvc := st.MakePersistentVolumeClaim().Namespace("prod").Name(claim).Obj()
	pvc.UID, pvc.Spec.StorageClassName = types.UID(claim), &class
	pvc.Spec.Resources.Requests = v1.ResourceList{v1.ResourceStorage: resource.MustParse(size)}
	return pvc
}

// The claims of a pod are judged together, and pods in flight count.
func TestRoomForAllClaims(t *testing.T) {
	c := newCluster(t, nil, objects(nodes("a1", "b1", "c1"), pooled("fast"),
		roomOf("fast", "a1", "100Gi"), roomOf("fast", "b1", "130Gi"), roomOf("fast", "c1", "20Gi"),
		asking("data", "fast", "60Gi"), asking("wal", "fast", "60Gi"), asking("small", "fast", "15Gi"))...)
	both := claiming("data", "wal")
	got := c.try(t, both)
	if got.fits() != "b1" {
		t.Fatalf("two claims of 60Gi fit on %q, want b1", got.fits())
	}
	if want := "need 120Gi"; !strings.Contains(got.nodes["a1"], want) {
		t.Errorf("reason of a1: %s, want it to contain %q", got.nodes["a1"], want)
	}
	state := framework.NewCycleState()
	c.framework.RunPreFilterPlugins(t.Context(), state, both)
	if status := c.framework.RunReservePluginsReserve(t.Context(), state, both, "b1"); !status.IsSuccess() {
		t.Fatal(status.Message())
	}
	other := st.MakePod().Namespace("prod").Name("q").UID("q").PVC("small").Obj()
	if got := c.try(t, other).fits(); got != "a1 c1" {
		t.Errorf("with 10Gi left on b1, 15Gi fit on %q, want a1 c1", got)
	}
	if diff := cmp.Diff(true, c.scores(t, other)["a1"] > c.scores(t, other)["c1"]); diff != "" {
		t.Errorf("scores are %v, want a1 above c1, which would be left with a useless rest", c.scores(t, other))
	}
	c.framework.RunReservePluginsUnreserve(t.Context(), state, both, "b1")
	if got := c.try(t, other).fits(); got != "a1 b1 c1" {
		t.Errorf("with the room given back, 15Gi fit on %q, want a1 b1 c1", got)
	}
	if woken := next(t, "pod woken", c.activated); woken != "prod/q" {
		t.Errorf("woken: %s, want prod/q, which waited for room", woken)
	}
}

// A volume that waits for a claim may serve without any room: upstream decides.
func TestRoomIsNotAskedWhereVolumesWait(t *testing.T) {
	pv := st.MakePersistentVolume().Name("free").StorageClassName("fast").Obj()
	c := newCluster(t, nil, objects(nodes("a1", "b1"), pooled("fast"), roomOf("fast", "a1", "10Gi"), pv, asking("data", "fast", "60Gi"))...)
	if got := c.try(t, claiming("data")).fits(); got != "a1 b1" {
		t.Errorf("fits on %q, want a1 b1", got)
	}
}
