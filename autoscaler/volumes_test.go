// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/component-base/metrics/testutil"
	"k8s.io/utils/ptr"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
)

// lostScene is db-0 with a local volume in node n9, which is gone, and three
// nodes that are there: n1, and two more.
func lostScene(after time.Duration) scene {
	policy := policyFor("db", "db", 1)
	if after > 0 {
		policy.Spec.Home = &v1alpha1.Home{ReleaseLostVolumes: &v1alpha1.VolumeLoss{After: metav1.Duration{Duration: after}}}
	}
	set := dbSet(1)
	set.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Name: "data"}}}
	claim, pv := localClaim("data-db-0", "n9")
	return scene{
		policies: []*v1alpha1.PlacementPolicy{policy},
		objects:  []runtime.Object{set, claim, pv, plainNode("n2"), plainNode("n3")},
		config:   "nodes: {mode: Act}\n",
	}
}

func plainNode(name string) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), Labels: map[string]string{corev1.LabelHostname: name}}}
}

// localClaim is bound to a volume that a driver made in a node and attaches to none.
func localClaim(name, node string) (*corev1.PersistentVolumeClaim, *corev1.PersistentVolume) {
	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: name, UID: types.UID(name), ResourceVersion: "7",
			Annotations: map[string]string{"berth.dev/last-node": `{"node":"` + node + `","podUID":"old"}`}},
		Spec: corev1.PersistentVolumeClaimSpec{VolumeName: "pv-" + name},
	}
	return claim, &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "pv-" + name},
		Spec: corev1.PersistentVolumeSpec{
			PersistentVolumeSource:        corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: "/disk"}},
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimDelete,
			ClaimRef:                      &corev1.ObjectReference{Namespace: "prod", Name: name, UID: claim.UID},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{node + ".local"}}}}}}},
		},
	}
}

// released are the claims that were deleted so far, and whether each deletion
// was bound to the claim that was decided upon.
func (s *stage) released() (names []string) {
	s.t.Helper()
	for _, action := range s.kube.Actions() {
		deletion, ok := action.(clienttesting.DeleteAction)
		if !ok || action.GetResource().Resource != "persistentvolumeclaims" {
			continue
		}
		names = append(names, deletion.GetName())
		p := deletion.GetDeleteOptions().Preconditions
		if p == nil || p.UID == nil || string(*p.UID) != deletion.GetName() || p.ResourceVersion == nil || *p.ResourceVersion != "7" {
			s.t.Errorf("claim %s is deleted upon %+v, want its UID and resourceVersion", deletion.GetName(), p)
		}
	}
	return names
}

// find returns the first object of a scene of that kind.
func find[T runtime.Object](sc scene) (found T) {
	for _, object := range sc.objects {
		if o, ok := object.(T); ok {
			return o
		}
	}
	return found
}

func TestALostVolumeIsReleasedInTime(t *testing.T) {
	lostScene(5*time.Minute).perform(t, func(s *stage) {
		s.pass(time.Minute)
		lost := s.said("LocalVolumeLost")
		if len(lost) != 2 || lost[0] != lost[1] || !strings.Contains(lost[0], "node n9") || !strings.Contains(lost[0], "2000-01-01T00:05:") {
			t.Errorf("said on the claim and its set: %q", lost)
		}
		if err := testutil.GatherAndCompare(s.figures, strings.NewReader("# HELP berth_lost_volumes [ALPHA] Claims whose local volume was on a node that is gone, of slots whose policy gives lost volumes up.\n"+
			"# TYPE berth_lost_volumes gauge\nberth_lost_volumes 1\n"), "berth_lost_volumes"); err != nil {
			t.Error(err)
		}
		s.pass(4 * time.Minute)
		if got := s.released(); len(got) > 0 {
			t.Fatalf("%v released before its time", got)
		}
		s.pass(30 * time.Second)
		if diff := cmp.Diff([]string{"data-db-0"}, s.released()); diff != "" {
			t.Errorf("released (-want +got):\n%s", diff)
		}
		events := s.said("")
		if len(events) != 2 || !strings.Contains(events[1], "LocalVolumeReleased") || !strings.Contains(events[1], "node n9") {
			t.Errorf("said in the end %q, want LocalVolumeReleased on both and nothing else", events)
		}
		if err := testutil.GatherAndCompare(s.figures, strings.NewReader("# HELP berth_released_volumes_total [ALPHA] Claims deleted because the node of their local volume is gone, by outcome.\n"+
			"# TYPE berth_released_volumes_total counter\nberth_released_volumes_total{outcome=\"success\"} 1\n"), "berth_released_volumes_total"); err != nil {
			t.Error(err)
		}
		s.pass(time.Hour)
		if got := s.released(); len(got) != 1 {
			t.Errorf("released again: %v", got)
		}
	})
}

// Each of these keeps the claim for an hour.
func TestALostVolumeIsKept(t *testing.T) {
	for name, tc := range map[string]struct {
		after  time.Duration
		change func(t *testing.T, sc *scene)
		said   []string // words of the one thing said on both, nil for nothing
	}{
		"nobody asked for a release": {},
		"its policy is not known":    {after: time.Minute, change: func(_ *testing.T, sc *scene) { sc.unread = true }},
		"the policy is invalid": {after: time.Minute, change: func(_ *testing.T, sc *scene) {
			sc.policies[0].Spec.Spread = &v1alpha1.Spread{MaxPerDomain: ptr.To[int32](0)}
		}},
		"nodes are observed only": {after: time.Minute, change: func(_ *testing.T, sc *scene) { sc.config = "nodes: {mode: Observe}\n" }},
		"the node is there by its name alone": {after: time.Minute, change: func(_ *testing.T, sc *scene) {
			sc.objects = append(sc.objects, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n9"}})
		}},
		"the node that was selected is there": {after: time.Minute, change: func(_ *testing.T, sc *scene) {
			find[*corev1.PersistentVolumeClaim](*sc).Annotations["volume.kubernetes.io/selected-node"] = "n2"
		}},
		"the set does not want the slot": {after: time.Minute, change: func(_ *testing.T, sc *scene) { find[*appsv1.StatefulSet](*sc).Spec.Replicas = ptr.To[int32](0) }},
		"the set is on its way out": {after: time.Minute, change: func(_ *testing.T, sc *scene) {
			find[*appsv1.StatefulSet](*sc).DeletionTimestamp = ptr.To(metav1.Unix(1, 0))
			find[*appsv1.StatefulSet](*sc).Finalizers = []string{"orphan"}
		}},
		"the volume is on the network": {after: time.Minute, change: func(_ *testing.T, sc *scene) {
			find[*corev1.PersistentVolume](*sc).Spec.PersistentVolumeSource = corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "unknown"}}
		}},
		"the volume is retained": {after: time.Minute, said: []string{"LocalVolumeLost", "reclaim policy Retain"}, change: func(_ *testing.T, sc *scene) {
			find[*corev1.PersistentVolume](*sc).Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimRetain
		}},
		"too many nodes are gone": {after: time.Minute, said: []string{"LocalVolumeLost", "1 of 2 nodes are gone"}, change: func(_ *testing.T, sc *scene) { sc.objects = sc.objects[:3] }},
	} {
		t.Run(name, func(t *testing.T) {
			sc := lostScene(tc.after)
			if tc.change != nil {
				tc.change(t, &sc)
			}
			sc.perform(t, func(s *stage) {
				s.pass(time.Hour)
				if got := s.released(); len(got) > 0 {
					t.Errorf("%v is released", got)
				}
				events := s.said("LocalVolume")
				if want := 2 * min(1, len(tc.said)); len(events) != want {
					t.Fatalf("said %q, want %d events", events, want)
				}
				for _, event := range events {
					for _, words := range tc.said {
						if !strings.Contains(event, words) {
							t.Errorf("%q does not say %q", event, words)
						}
					}
				}
			})
		})
	}
}

func TestANodeThatComesBackKeepsItsVolume(t *testing.T) {
	lostScene(5*time.Minute).perform(t, func(s *stage) {
		nodes := s.kube.CoreV1().Nodes()
		s.pass(4 * time.Minute)
		if _, err := nodes.Create(t.Context(), plainNode("n9"), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		s.conductor.Wake() // as a node that comes does
		s.pass(2 * time.Second)
		if err := nodes.Delete(t.Context(), "n9", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		s.pass(4*time.Minute + 50*time.Second)
		if got := s.released(); len(got) > 0 {
			t.Fatalf("%v is released: the time of the first loss counts", got)
		}
		s.pass(30 * time.Second)
		if got := s.released(); len(got) != 1 {
			t.Errorf("released %v, want the claim once its whole time is over", got)
		}
	})
}

// The informer has not heard of the node; the API server has.
func TestAReleaseIsDecidedUponWhatTheServerSays(t *testing.T) {
	lostScene(time.Minute).perform(t, func(s *stage) {
		lists := 0
		answer := func() (runtime.Object, error) { return nil, apierrors.NewServiceUnavailable("not now") }
		s.kube.PrependReactor("list", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
			lists++
			list, err := answer()
			return true, list, err
		})
		s.pass(10 * time.Minute)
		if got := s.released(); len(got) > 0 || lists < 5 || lists > 10 {
			t.Errorf("released %v, and asked %d times in ten minutes, want about once a minute", got, lists)
		}
		answer = func() (runtime.Object, error) {
			return &corev1.NodeList{Items: []corev1.Node{*plainNode("n1"), *plainNode("n9"), *plainNode("n2")}}, nil
		}
		s.pass(10 * time.Minute)
		if got := s.released(); len(got) > 0 {
			t.Errorf("released %v, whose node is there", got)
		}
		answer = func() (runtime.Object, error) {
			return &corev1.NodeList{Items: []corev1.Node{*plainNode("n1"), *plainNode("n3"), *plainNode("n2")}}, nil
		}
		s.pass(2 * time.Minute)
		if got := s.released(); len(got) != 1 {
			t.Errorf("released %v, want the claim", got)
		}
	})
}

func TestAReleaseThatFailsIsTriedAgain(t *testing.T) {
	claims := schema.GroupResource{Resource: "persistentvolumeclaims"}
	for name, tc := range map[string]struct {
		err      error
		min, max int // tries in ten minutes
	}{
		"forbidden":         {apierrors.NewForbidden(claims, "data-db-0", nil), 5, 10},
		"changed meanwhile": {apierrors.NewConflict(claims, "data-db-0", nil), 30, 60},
	} {
		t.Run(name, func(t *testing.T) {
			lostScene(time.Minute).perform(t, func(s *stage) {
				failing := true
				s.kube.PrependReactor("delete", "persistentvolumeclaims", func(clienttesting.Action) (bool, runtime.Object, error) {
					return failing, nil, tc.err
				})
				s.pass(10 * time.Minute)
				if got := len(s.released()); got < tc.min || got > tc.max {
					t.Errorf("tried %d times, want %d to %d", got, tc.min, tc.max)
				}
				if got := s.said("LocalVolumeReleased"); len(got) > 0 {
					t.Errorf("said %q, and nothing was released", got)
				}
				failing = false
				s.pass(2 * time.Minute)
				if got := s.said("LocalVolumeReleased"); len(got) != 2 {
					t.Errorf("said %q in the end", got)
				}
			})
		})
	}
}

func TestAClaimInUseIsReleasedOnceItsPodHasLeft(t *testing.T) {
	sc := lostScene(time.Minute)
	pod := dbPod(0)
	pod.Spec.NodeName = "n9"
	pod.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data-db-0"}}}}
	sc.objects = append(sc.objects, pod)
	sc.perform(t, func(s *stage) {
		s.pass(10 * time.Minute)
		if got := s.released(); len(got) > 0 {
			t.Fatalf("released %v, which pod db-0 uses", got)
		}
		if got := s.said("once pod prod/db-0, which uses it, has left its node"); len(got) != 2 {
			t.Errorf("said %q, want it once on both", got)
		}
		pods := s.kube.CoreV1().Pods("prod")
		if err := pods.Delete(t.Context(), "db-0", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		again := pod.DeepCopy()
		again.UID, again.Spec.NodeName, again.Status.Conditions = "again", "", []corev1.PodCondition{notScheduled(corev1.PodReasonUnschedulable)}
		if _, err := pods.Create(t.Context(), again, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		s.conductor.Wake()
		s.pass(2 * time.Second)
		if got := s.released(); len(got) != 1 {
			t.Errorf("released %v, want the claim: its pod waits for a node", got)
		}
	})
}

// member is a pod of the set pg, which the policy selectsPG selects.
func member(name, claim string) *corev1.Pod {
	pod := dbPod(0, notScheduled(corev1.PodReasonUnschedulable))
	pod.ObjectMeta = metav1.ObjectMeta{Namespace: "prod", Name: name, UID: types.UID(name), Labels: map[string]string{"app": "pg", "serial": name[len(name)-1:]}}
	pod.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim}}}}
	return pod
}

func selectsPG() *v1alpha1.PlacementPolicy {
	policy := policyFor("", "pg", 1)
	policy.Spec = v1alpha1.PlacementPolicySpec{
		Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "pg"}},
		Ordinal:  &v1alpha1.OrdinalSource{Label: "serial"},
		Placement: v1alpha1.Placement{
			Home: &v1alpha1.Home{ReleaseLostVolumes: &v1alpha1.VolumeLoss{After: metav1.Duration{Duration: time.Minute}}}},
	}
	return policy
}

func TestOfTwoThatShareAClaimTheMorePatientCounts(t *testing.T) {
	sc := lostScene(time.Hour)
	sc.policies = append(sc.policies, selectsPG())
	sc.objects = append(sc.objects, member("pg-1", "data-db-0"))
	sc.perform(t, func(s *stage) {
		s.pass(59 * time.Minute)
		if got := s.released(); len(got) > 0 {
			t.Errorf("%v released", got)
		}
		s.pass(2 * time.Minute)
		if got := s.released(); len(got) != 1 {
			t.Errorf("released %v, want the claim once", got)
		}
	})
}

// A set of pods that an operator makes: the claims of those that are to stay.
func TestASelectedSetGetsItsVolumesReleased(t *testing.T) {
	leaving := member("pg-3", "three")
	leaving.DeletionTimestamp, leaving.Finalizers = ptr.To(metav1.Unix(1, 0)), []string{"operator"}
	sc := scene{policies: []*v1alpha1.PlacementPolicy{selectsPG()}, objects: []runtime.Object{
		plainNode("n2"), plainNode("n3"), member("pg-1", "one"), member("pg-2", "two"), leaving,
		&storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: "lvm"}, Spec: storagev1.CSIDriverSpec{AttachRequired: ptr.To(false)}},
	}}
	for name, node := range map[string]string{"one": "n9", "two": "n2", "three": "n9", "four": "n9"} {
		claim, pv := localClaim(name, node)
		claim.Labels = map[string]string{"app": "pg", "serial": "1"}
		pv.Spec.PersistentVolumeSource = corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "lvm"}}
		sc.objects = append(sc.objects, claim, pv)
	}
	sc.perform(t, func(s *stage) {
		s.pass(5 * time.Minute)
		if diff := cmp.Diff([]string{"one"}, s.released()); diff != "" {
			t.Errorf("released (-want +got):\n%s", diff)
		}
		if got := s.said("ordinal 1 of prod/pg"); len(got) != 4 {
			t.Errorf("said %q, want the loss and the release on the claim and on its pod", got)
		}
	})
}
