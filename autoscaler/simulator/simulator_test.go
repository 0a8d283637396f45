// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	frameworkruntime "k8s.io/kubernetes/pkg/scheduler/framework/runtime"
	st "k8s.io/kubernetes/pkg/scheduler/testing"
)

func (s *Session) expect(t *testing.T, pod *v1.Pod, want string, among ...string) {
	t.Helper()
	got, reasons, err := s.Place(pod, among...)
	if err != nil || got != want {
		t.Errorf("%s is placed on %q (%q, %v), want %q", pod.Name, got, reasons, err, want)
	}
}

func (s *Session) refuse(t *testing.T, pod *v1.Pod, want ...string) {
	t.Helper()
	got, reasons, err := s.Place(pod)
	if err != nil || got != "" {
		t.Errorf("%s is placed on %q (%v), want it refused", pod.Name, got, err)
	}
	if diff := cmp.Diff(want, reasons); diff != "" {
		t.Errorf("reasons for %s (-want +got):\n%s", pod.Name, diff)
	}
}

func TestPlace(t *testing.T) {
	objects := []runtime.Object{
		nodeIn("a", "a1"), nodeIn("a", "a2"), nodeIn("b", "b1"),
		podOf("running", "3").Node("a1").Obj(),
		podOf("done", "4").Node("b1").Phase(v1.PodSucceeded).Obj(),
	}
	s, _ := simulate(t, objects...)
	session := begin(t, s, objects...)
	session.expect(t, podOf("big", "4").Obj(), "a2")
	session.expect(t, podOf("big-2", "4").Obj(), "b1")
	session.refuse(t, podOf("big-3", "4").Obj(), "3 Insufficient cpu")
	session.refuse(t, podOf("elsewhere", "1").NodeSelector(map[string]string{v1.LabelTopologyZone: "c"}).Obj(),
		"3 node(s) didn't match Pod's node affinity/selector")
	session.expect(t, podOf("small", "1").SchedulerName("someone-elses").Obj(), "a1")
	if _, reasons, err := session.Place(podOf("nowhere", "1").Obj(), "no-such-node"); err != nil || !slices.Contains(reasons, "1 node(s) unknown") {
		t.Errorf("among an unknown node: %q, %v", reasons, err)
	}
}

// Added nodes come after present ones and are filled in their order.
func TestAddNode(t *testing.T) {
	present := nodeIn("a", "present")
	agent := &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "agent", UID: "agent"},
		Spec: appsv1.DaemonSetSpec{Template: v1.PodTemplateSpec{
			Spec: st.MakePod().Req(map[v1.ResourceName]string{v1.ResourceCPU: "500m"}).Obj().Spec,
		}},
	}
	s, overlay := simulate(t, present, agent)
	session := begin(t, s, present)
	session.Fork()
	for _, name := range []string{"z-first", "a-second"} {
		if err := session.AddNode(nodeIn("b", name)); err != nil {
			t.Fatal(err)
		}
	}
	session.expect(t, podOf("web-0", "3").Obj(), "present")
	session.expect(t, podOf("web-1", "1").Obj(), "present")
	session.expect(t, podOf("web-2", "3").Obj(), "z-first")
	session.expect(t, podOf("web-3", "1").Obj(), "a-second") // 500m of z-first are the agent's
	session.expect(t, podOf("web-4", "500m").Obj(), "a-second", "a-second")
	session.refuse(t, podOf("web-5", "4").Obj(), "3 Insufficient cpu")
	nodes, err := overlay.Core().V1().Nodes().Lister().List(labels.Everything())
	if err != nil || len(nodes) != 1 {
		t.Errorf("the node informer has %d nodes (%v), want only those that exist", len(nodes), err)
	}
	session.Revert()
	session.expect(t, podOf("web-6", "4").Obj(), "present")
}

// A node on its way is shown as ready, with the pods that it has, to the
// snapshot and to the informers.
func TestAddNodeThatExists(t *testing.T) {
	waiting, busy := nodeIn("a", "a1"), nodeIn("b", "b1")
	waiting.Spec.Taints = []v1.Taint{{Key: v1.TaintNodeNotReady, Effect: v1.TaintEffectNoSchedule}}
	bound, load := podOf("bound", "3").Node("a1").Obj(), podOf("load", "3500m").Node("b1").Obj()
	s, overlay := simulate(t, waiting, busy, bound, load)
	session := begin(t, s, waiting, busy, bound, load)
	session.refuse(t, podOf("web-0", "1").Obj(), "1 Insufficient cpu", "1 node(s) had untolerated taint(s)")
	session.Fork()
	if err := session.AddNode(nodeIn("a", "a1")); err != nil {
		t.Fatal(err)
	}
	session.expect(t, podOf("tiny", "100m").Obj(), "b1") // the present node first, however full
	session.expect(t, podOf("web-1", "1").Obj(), "a1")
	session.refuse(t, podOf("web-2", "1").Obj(), "2 Insufficient cpu")
	if node, err := overlay.Core().V1().Nodes().Lister().Get("a1"); err != nil || len(node.Spec.Taints) != 0 {
		t.Errorf("the informer shows %v (%v), want the node as it will be", node, err)
	}
	session.Revert()
	session.refuse(t, podOf("web-3", "1").Obj(), "1 Insufficient cpu", "1 node(s) had untolerated taint(s)")
}

// Among present nodes the scheduler's scores choose.
func TestScores(t *testing.T) {
	objects := []runtime.Object{nodeIn("a", "a1"), nodeIn("a", "a2"), nodeIn("a", "a3"), podOf("load", "2").Node("a1").Obj(), podOf("load-2", "1").Node("a3").Obj()}
	s, _ := simulate(t, objects...)
	begin(t, s, objects...).expect(t, podOf("web", "1").Obj(), "a2")
}

// ledger is a plugin that counts what it has reserved.
type ledger struct{ reserved map[string]int }

func (l *ledger) Name() string { return "Ledger" }
func (l *ledger) Reserve(_ context.Context, _ fwk.CycleState, pod *v1.Pod, _ string) *fwk.Status {
	if l.reserved[pod.Name]++; pod.Name == "refused" {
		return fwk.NewStatus(fwk.Unschedulable, "node(s) taken at the last moment")
	}
	return nil
}
func (l *ledger) Unreserve(_ context.Context, _ fwk.CycleState, pod *v1.Pod, _ string) {
	l.reserved[pod.Name]--
}

// What plugins reserve is given back by a revert, and what they share is put
// back after that; a refusal at the last moment is a reason like any other.
func TestReserveIsUndone(t *testing.T) {
	l := &ledger{reserved: map[string]int{}}
	configuration, err := ParseConfiguration([]byte(`
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
leaderElection: {leaderElect: false}
profiles: [{schedulerName: berth-scheduler, plugins: {reserve: {enabled: [{name: Ledger}]}}}]
`))
	if err != nil {
		t.Fatal(err)
	}
	forked, restored := 0, []int{}
	factory := informers.NewSharedInformerFactory(fake.NewClientset(), 0)
	s, err := New(t.Context(), Options{
		Overlay: NewOverlay(factory), Configuration: configuration,
		Registry: frameworkruntime.Registry{"Ledger": func(context.Context, runtime.Object, fwk.Handle) (fwk.Plugin, error) { return l, nil }},
		Checkpoint: func() func() {
			forked++
			return func() { restored = append(restored, l.reserved["a"]+l.reserved["b"]) }
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	factory.StartWithContext(t.Context())
	factory.WaitForCacheSyncWithContext(t.Context())
	session, err := s.Begin(t.Context(), []*v1.Node{nodeIn("a", "a1"), nodeIn("a", "a2")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	session.expect(t, podOf("a", "1").Obj(), "a1")
	session.Fork()
	session.expect(t, podOf("b", "1").Obj(), "a2")
	session.refuse(t, podOf("refused", "1").Obj(), "2 node(s) taken at the last moment")
	session.Revert()
	session.Close()
	if diff := cmp.Diff(map[string]int{"a": 0, "b": 0, "refused": 0}, l.reserved); diff != "" {
		t.Errorf("reserved at the end (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]int{1, 0}, restored); diff != "" || forked != 2 {
		t.Errorf("%d checkpoints; reserved when they were restored (-want +got):\n%s", forked, diff)
	}
}

// The room of a pod that waits for the pods it preempted is not given away.
func TestNominatedPods(t *testing.T) {
	node := nodeIn("a", "a1")
	waiting := podOf("waiting", "3").Priority(10).NominatedNodeName("a1").Obj()
	s, _ := simulate(t, node, waiting)
	session := begin(t, s, node, waiting)
	session.refuse(t, podOf("low", "2").Priority(1).Obj(), "1 Insufficient cpu")
	session.expect(t, podOf("high", "2").Priority(11).Obj(), "a1")
}

// A claim that does not exist yet is in the overlay or its pod has no place;
// a bound one decides the zone.
func TestClaims(t *testing.T) {
	set := setOf("db", 4)
	objects := []runtime.Object{nodeIn("a", "a1"), nodeIn("b", "b1"), nodeIn("c", "c1"), zonal(), set}
	objects = append(objects, claimOf("db", 3, "c")...)
	s, _ := simulate(t, objects...)
	session := begin(t, s, objects...)
	session.refuse(t, slotOf("db", 0, "1"), `persistentvolumeclaim "data-db-0" not found`)
	session.Fork()
	for i := range 3 {
		if err := session.AddObject(claimOf("db", i, "")[0]); err != nil {
			t.Fatal(err)
		}
	}
	session.expect(t, slotOf("db", 3, "1"), "c1")
	session.expect(t, slotOf("db", 0, "1"), "a1")
	session.expect(t, slotOf("db", 1, "1"), "b1")
	session.expect(t, slotOf("db", 2, "1"), "c1")
	session.Revert()
	session.refuse(t, slotOf("db", 0, "1"), `persistentvolumeclaim "data-db-0" not found`)
}

// Berth's own plugins decide: every ordinal waits for its planned zone, and
// only a node there helps.
func TestOrdinalsGoToTheirZones(t *testing.T) {
	set := setOf("db", 6)
	objects := []runtime.Object{nodeIn("a", "a1"), nodeIn("b", "b1"), nodeIn("c", "c1"), zonal(), set}
	for i := range 6 {
		objects = append(objects, claimOf("db", i, "")...)
	}
	s, _ := simulate(t, objects...)
	session := begin(t, s, objects...)
	for i, node := range []string{"a1", "b1", "c1"} {
		session.expect(t, slotOf("db", i, "3"), node)
	}
	session.Fork()
	if err := session.AddNode(nodeIn("a", "new-a")); err != nil {
		t.Fatal(err)
	}
	if node, reasons, err := session.Place(slotOf("db", 4, "3")); node != "" || err != nil || !strings.Contains(strings.Join(reasons, "; "), "node(s) outside the planned domain b") {
		t.Errorf("db-4 is placed on %q (%q, %v), want it refused outside zone b", node, reasons, err)
	}
	session.expect(t, slotOf("db", 3, "3"), "new-a")
	if err := session.AddNode(nodeIn("b", "new-b")); err != nil {
		t.Fatal(err)
	}
	session.expect(t, slotOf("db", 4, "3"), "new-b")
	session.Revert()
	if node, _, err := session.Place(slotOf("db", 3, "3")); node != "" || err != nil {
		t.Errorf("db-3 is placed on %q (%v) without the new node", node, err)
	}
}

func TestDeadline(t *testing.T) {
	node := nodeIn("a", "a1")
	s, _ := simulate(t, node)
	ctx, cancel := context.WithCancel(t.Context())
	session, err := s.Begin(ctx, []*v1.Node{node}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	session.expect(t, podOf("web", "1").Obj(), "a1")
	cancel()
	if _, _, err := session.Place(podOf("late", "1").Obj()); !errors.Is(err, context.Canceled) {
		t.Errorf("after the deadline: %v, want %v", err, context.Canceled)
	}
}

// state says all that plugins can see in the snapshot.
func (s *snapshot) state() []string {
	lines := []string{fmt.Sprintf("%d present, claims %v", s.present, s.claims)}
	describe := func(list string, infos []fwk.NodeInfo) {
		for _, info := range infos {
			pods := []string{}
			for _, pod := range info.GetPods() {
				pods = append(pods, pod.GetPod().Name)
			}
			slices.Sort(pods)
			lines = append(lines, fmt.Sprintf("%s %s %v cpu=%d", list, info.Node().Name, pods, info.GetRequested().GetMilliCPU()))
		}
	}
	describe("node", s.nodes)
	describe("affinity", s.affinity)
	describe("antiaffinity", s.antiAffinity)
	return lines
}

// Whatever is done after a fork, a revert takes back; nothing of a session
// outlives it.
func TestRevertRestoresEverything(t *testing.T) {
	objects := append([]runtime.Object{zonal()}, claimOf("shared", 0, "b")...)
	for i := range 4 {
		objects = append(objects, nodeIn(string("abc"[i%3]), fmt.Sprintf("n%d", i)))
	}
	s, overlay := simulate(t, objects...)
	seen := func() []string {
		lines := s.snapshot.state()
		for _, l := range overlay.layers {
			lines = append(lines, l.view.top.ListKeys()...)
		}
		slices.Sort(lines[1:])
		return lines
	}
	session := begin(t, s, objects...)
	before := seen()
	r := rand.New(rand.NewSource(1))
	var act func(depth int)
	serial := 0
	act = func(depth int) {
		at := seen()
		session.Fork()
		for range 6 {
			serial++
			switch r.Intn(5) {
			case 0:
				if err := session.AddNode(nodeIn("b", fmt.Sprintf("n%d", r.Intn(8)))); err != nil {
					t.Fatal(err)
				}
			case 1:
				if err := session.AddObject(claimOf("db", serial, "")[0]); err != nil {
					t.Fatal(err)
				}
			case 2:
				if depth > 0 {
					act(depth - 1)
				}
			default:
				pod := podOf(fmt.Sprintf("pod-%d", serial), "700m").Label("app", "x")
				if r.Intn(3) == 0 {
					pod.PVC("data-shared-0")
				}
				if r.Intn(2) == 0 {
					pod.PodAntiAffinityExists("app", v1.LabelHostname, st.PodAntiAffinityWithPreferredReq)
				}
				if _, _, err := session.Place(pod.Obj()); err != nil {
					t.Fatal(err)
				}
			}
		}
		session.Revert()
		sorted := seen()
		if diff := cmp.Diff(at, sorted); diff != "" {
			t.Fatalf("after a revert (-before +after):\n%s", diff)
		}
	}
	for range 50 {
		act(2)
	}
	if diff := cmp.Diff(before, seen()); diff != "" {
		t.Errorf("at the end (-before +after):\n%s", diff)
	}
}

func TestParseConfigurationIsStrict(t *testing.T) {
	for name, text := range map[string]string{
		"unknown field":     berthProfile(t) + "unknown: true\n",
		"another kind":      "apiVersion: v1\nkind: Pod\n",
		"two equal names":   berthProfile(t) + "- schedulerName: berth-scheduler\n",
		"nothing that is y": ":",
	} {
		if _, err := ParseConfiguration([]byte(text)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestClientRefusesToWrite(t *testing.T) {
	client, _, err := readOnly(&rest.Config{Host: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.CoreV1().Pods("prod").Create(t.Context(), podOf("web", "1").Obj(), metav1.CreateOptions{})
	if err == nil || !strings.Contains(err.Error(), "the simulation does not write: POST /api/v1/namespaces/prod/pods") {
		t.Errorf("create: %v", err)
	}
	_, err = client.CoreV1().Pods("prod").Get(t.Context(), "web", metav1.GetOptions{})
	if err == nil || strings.Contains(err.Error(), "does not write") {
		t.Errorf("get: %v, want it sent", err)
	}
	client, _, err = readOnly(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = client.CoreV1().Pods("prod").Get(t.Context(), "web", metav1.GetOptions{}); !errors.Is(err, errNoServer) {
		t.Errorf("get without a server: %v", err)
	}
}

func TestExtendersAreRefused(t *testing.T) {
	configuration, err := ParseConfiguration([]byte(berthProfile(t) + "extenders: [{urlPrefix: 'http://x', filterVerb: f}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(klog.NewContext(t.Context(), klog.Background()), Options{Configuration: configuration}); err == nil {
		t.Error("no error")
	}
}
