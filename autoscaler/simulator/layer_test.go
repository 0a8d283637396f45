// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"
	st "k8s.io/kubernetes/pkg/scheduler/testing"
)

// heard records the events of one handler in words.
type heard struct{ events []string }

func show(object any) string {
	pod := object.(*v1.Pod)
	return fmt.Sprintf("%s on %q", pod.Name, pod.Spec.NodeName)
}

func (h *heard) OnAdd(object any, _ bool) { h.events = append(h.events, "add "+show(object)) }
func (h *heard) OnUpdate(before, object any) {
	h.events = append(h.events, "update "+show(before)+" to "+show(object))
}
func (h *heard) OnDelete(object any) { h.events = append(h.events, "delete "+show(object)) }

func (h *heard) expect(t *testing.T, step string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, h.events); diff != "" {
		t.Errorf("%s (-want +got):\n%s", step, diff)
	}
	h.events = nil
}

// pods is a layer over an informer's store that the test writes, with a
// handler whose live events the test sends.
func pods(t *testing.T) (*layer, *handler, *heard) {
	t.Helper()
	overlay := NewOverlay(informers.NewSharedInformerFactory(fake.NewClientset(), 0))
	l := overlay.Core().V1().Pods().Informer().(*layer)
	h := &heard{}
	if _, err := l.AddEventHandler(h); err != nil {
		t.Fatal(err)
	}
	return l, l.all()[0], h
}

func podOn(name, node string) *v1.Pod {
	return st.MakePod().Namespace("prod").Name(name).UID(name).Node(node).Obj()
}

func TestLayerTellsWhatChanges(t *testing.T) {
	l, live, h := pods(t)
	if err := l.view.Indexer.Add(podOn("a", "")); err != nil {
		t.Fatal(err)
	}
	undoA, err := l.put("prod/a", podOn("a", "n1"))
	if err != nil {
		t.Fatal(err)
	}
	h.expect(t, "cover", `update a on "" to a on "n1"`)
	undoB, err := l.put("prod/b", podOn("b", "n1"))
	if err != nil {
		t.Fatal(err)
	}
	h.expect(t, "create", `add b on "n1"`)

	live.OnUpdate(podOn("a", ""), podOn("a", "live"))
	live.OnAdd(podOn("c", ""), false)
	h.expect(t, "a live event of a covered object waits, others do not", `add c on ""`)

	undoAgain, err := l.put("prod/a", podOn("a", "n2"))
	if err != nil {
		t.Fatal(err)
	}
	h.expect(t, "cover again", `update a on "n1" to a on "n2"`)
	undoAgain()
	h.expect(t, "one undo shows the cover below", `update a on "n2" to a on "n1"`)
	undoB()
	undoA()
	h.expect(t, "undo tells what happened below", `delete b on "n1"`, `update a on "n1" to a on "live"`)
	live.OnDelete(podOn("a", "live"))
	h.expect(t, "afterwards live events pass", `delete a on "live"`)
}

func TestLayerTellsOfADeletionBelow(t *testing.T) {
	l, live, h := pods(t)
	if err := l.view.Indexer.Add(podOn("a", "")); err != nil {
		t.Fatal(err)
	}
	undo, err := l.put("prod/a", podOn("a", "n1"))
	if err != nil {
		t.Fatal(err)
	}
	live.OnDelete(cache.DeletedFinalStateUnknown{Key: "prod/a", Obj: podOn("a", "")})
	undo()
	h.expect(t, "deleted below", `update a on "" to a on "n1"`, `delete a on "n1"`)
}

// What is hidden is gone for those who listen and those who look, until it is
// shown again: as another object of its name, or as it is.
func TestLayerHides(t *testing.T) {
	l, live, h := pods(t)
	if err := l.view.Indexer.Add(podOn("a", "n1")); err != nil {
		t.Fatal(err)
	}
	seen := func(step string, want ...string) {
		t.Helper()
		var got []string
		for _, object := range l.GetIndexer().List() {
			got = append(got, show(object))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step, diff)
		}
		if _, found, err := l.GetIndexer().GetByKey("prod/a"); err != nil || found != (want != nil) {
			t.Errorf("%s: found %t, %v", step, found, err)
		}
	}
	put := func(object any) (undo func()) {
		t.Helper()
		undo, err := l.put("prod/a", object)
		if err != nil {
			t.Fatal(err)
		}
		return undo
	}
	show := put(nil)
	seen("hidden")
	h.expect(t, "hidden", `delete a on "n1"`)
	live.OnUpdate(podOn("a", "n1"), podOn("a", "live"))
	h.expect(t, "a live event of what is hidden waits")
	uncover := put(podOn("a", "n2"))
	seen("another in its place", `a on "n2"`)
	h.expect(t, "another in its place", `add a on "n2"`)
	again := put(nil)
	seen("hidden again")
	again()
	seen("the other one again", `a on "n2"`)
	h.expect(t, "hidden and shown", `delete a on "n2"`, `add a on "n2"`)
	uncover()
	seen("nothing in its place")
	h.expect(t, "nothing in its place", `delete a on "n2"`)
	show()
	seen("shown", `a on "n1"`)
	h.expect(t, "shown", `add a on "live"`)
}

func TestView(t *testing.T) {
	l, _, _ := pods(t)
	byNode := cache.Indexers{"node": func(object any) ([]string, error) { return []string{object.(*v1.Pod).Spec.NodeName}, nil }}
	for _, pod := range []*v1.Pod{podOn("a", "n1"), podOn("b", "n1"), podOn("c", "n2")} {
		if err := l.view.Indexer.Add(pod); err != nil {
			t.Fatal(err)
		}
	}
	undo, err := l.put("prod/b", podOn("b", "n2"))
	if err != nil {
		t.Fatal(err)
	}
	undoNew, err := l.put("prod/d", podOn("d", "n3"))
	if err != nil {
		t.Fatal(err)
	}
	// Added with simulated objects present, and to the live indexer only.
	if err := l.view.AddIndexers(byNode); err != nil {
		t.Fatal(err)
	}
	names := func(objects []any, err error) []string {
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, object := range objects {
			names = append(names, show(object))
		}
		slices.Sort(names)
		return names
	}
	check := func(step string, want map[string][]string) {
		t.Helper()
		got := map[string][]string{
			"all": names(l.GetIndexer().List(), nil),
			"n1":  names(l.GetIndexer().ByIndex("node", "n1")),
			"n2":  names(l.GetIndexer().Index("node", podOn("x", "n2"))),
			"n3":  names(l.GetIndexer().ByIndex("node", "n3")),
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step, diff)
		}
	}
	check("covered", map[string][]string{
		"all": {`a on "n1"`, `b on "n2"`, `c on "n2"`, `d on "n3"`},
		"n1":  {`a on "n1"`}, "n2": {`b on "n2"`, `c on "n2"`}, "n3": {`d on "n3"`},
	})
	if object, ok, err := l.GetIndexer().GetByKey("prod/b"); err != nil || !ok || show(object) != `b on "n2"` {
		t.Errorf("GetByKey = %v, %t, %v; want the simulated pod", object, ok, err)
	}
	if err := l.GetIndexer().Add(podOn("x", "")); err == nil {
		t.Error("the view can be written")
	}
	undoNew()
	undo()
	check("undone", map[string][]string{
		"all": {`a on "n1"`, `b on "n1"`, `c on "n2"`},
		"n1":  {`a on "n1"`, `b on "n1"`}, "n2": {`c on "n2"`}, "n3": nil,
	})
}

// Every group of the factory must read through the overlay: one that does not
// shows plugins a world without the simulation.
func TestOverlayCoversEveryGroup(t *testing.T) {
	overlay := NewOverlay(informers.NewSharedInformerFactory(fake.NewClientset(), 0))
	for name, informer := range map[string]cache.SharedIndexInformer{
		"admissionregistration": overlay.Admissionregistration().V1().ValidatingWebhookConfigurations().Informer(),
		"internal":              overlay.Internal().V1alpha1().StorageVersions().Informer(),
		"apps":                  overlay.Apps().V1().StatefulSets().Informer(),
		"autoscaling":           overlay.Autoscaling().V2().HorizontalPodAutoscalers().Informer(),
		"batch":                 overlay.Batch().V1().Jobs().Informer(),
		"certificates":          overlay.Certificates().V1().CertificateSigningRequests().Informer(),
		"coordination":          overlay.Coordination().V1().Leases().Informer(),
		"core":                  overlay.Core().V1().Nodes().Informer(),
		"discovery":             overlay.Discovery().V1().EndpointSlices().Informer(),
		"events":                overlay.Events().V1().Events().Informer(),
		"extensions":            overlay.Extensions().V1beta1().Ingresses().Informer(),
		"flowcontrol":           overlay.Flowcontrol().V1().FlowSchemas().Informer(),
		"networking":            overlay.Networking().V1().Ingresses().Informer(),
		"node":                  overlay.Node().V1().RuntimeClasses().Informer(),
		"policy":                overlay.Policy().V1().PodDisruptionBudgets().Informer(),
		"rbac":                  overlay.Rbac().V1().Roles().Informer(),
		"resource":              overlay.Resource().V1().ResourceClaims().Informer(),
		"scheduling":            overlay.Scheduling().V1().PriorityClasses().Informer(),
		"storage":               overlay.Storage().V1().StorageClasses().Informer(),
		"storagemigration":      overlay.Storagemigration().V1beta1().StorageVersionMigrations().Informer(),
	} {
		if _, ok := informer.(*layer); !ok {
			t.Errorf("group %s reads past the overlay", name)
		}
	}
	generic, err := overlay.ForResource(v1.SchemeGroupVersion.WithResource("pods"))
	if err != nil || generic.Informer() != overlay.Core().V1().Pods().Informer() {
		t.Errorf("ForResource has another informer than the group (%v)", err)
	}
}
