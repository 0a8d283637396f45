// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	st "k8s.io/kubernetes/pkg/scheduler/testing"
	"k8s.io/utils/ptr"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
)

// world is a random cluster, and what may happen to it.
type world struct {
	*rand.Rand
	objects []runtime.Object
	nodes   []*v1.Node
	running []*v1.Pod
	serial  int
	again   func() *v1.Pod // the next one of what was asked for last
}

func (w *world) zone() string { return string("abc"[w.Intn(3)]) }
func (w *world) cpu() string  { return fmt.Sprintf("%dm", 300+400*w.Intn(6)) }

func newWorld(seed int64) *world {
	w := &world{Rand: rand.New(rand.NewSource(seed))}
	w.objects = []runtime.Object{
		zonal(),
		&storagev1.StorageClass{
			ObjectMeta: metav1.ObjectMeta{Name: "pooled"}, Provisioner: "pooled.example.com",
			VolumeBindingMode: ptr.To(storagev1.VolumeBindingWaitForFirstConsumer),
		},
		&storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: "pooled.example.com"}, Spec: storagev1.CSIDriverSpec{StorageCapacity: ptr.To(true)}},
	}
	for i := range 5 + w.Intn(6) {
		node := nodeIn(w.zone(), fmt.Sprintf("n%d", i))
		if w.Intn(6) == 0 {
			node.Spec.Taints = []v1.Taint{{Key: "dedicated", Effect: v1.TaintEffectNoSchedule}}
		}
		w.nodes, w.objects = append(w.nodes, node), append(w.objects, node)
		if w.Intn(3) == 0 {
			w.objects = append(w.objects, &storagev1.CSINode{
				ObjectMeta: metav1.ObjectMeta{Name: node.Name},
				Spec: storagev1.CSINodeSpec{Drivers: []storagev1.CSINodeDriver{{
					Name: "example.com", NodeID: node.Name, Allocatable: &storagev1.VolumeNodeResources{Count: ptr.To(int32(w.Intn(3)))},
				}}},
			})
		}
		if w.Intn(2) == 0 {
			w.objects = append(w.objects, &storagev1.CSIStorageCapacity{
				ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: node.Name}, StorageClassName: "pooled",
				NodeTopology: &metav1.LabelSelector{MatchLabels: map[string]string{v1.LabelHostname: node.Labels[v1.LabelHostname]}},
				Capacity:     ptr.To(resource.MustParse(fmt.Sprintf("%dGi", 1+w.Intn(4)))),
			})
		}
	}
	for range 3 * len(w.nodes) {
		pod := w.pod()
		pod.Spec.NodeName = w.nodes[w.Intn(len(w.nodes))].Name
		w.running = append(w.running, pod)
	}
	w.sets()
	for _, pod := range w.running {
		w.objects = append(w.objects, pod)
	}
	return w
}

// sets adds three sets, of which some ordinals run, some have been, and some
// are to come.
func (w *world) sets() {
	for i := range 3 {
		set := fmt.Sprintf("db%d", i)
		w.objects = append(w.objects, setOf(set, 6))
		if w.Intn(2) == 0 {
			policy := policyOf(w.placement())
			policy.Name, policy.UID, policy.Spec.TargetRef.Name = set, "", set
			w.objects = append(w.objects, policy)
		}
		for ordinal := range 6 {
			zone := ""
			if w.Intn(2) == 0 {
				zone = w.zone()
			}
			claim := claimOf(set, ordinal, zone)
			if pvc, ok := claim[0].(*v1.PersistentVolumeClaim); ok && i == 2 && zone == "" {
				pvc.Spec.StorageClassName = ptr.To("pooled")
			}
			if w.Intn(8) > 0 {
				w.objects = append(w.objects, claim...)
			}
			if zone == "" || w.Intn(3) > 0 {
				continue
			}
			for _, node := range w.nodes {
				if node.Labels[v1.LabelTopologyZone] != zone {
					continue
				}
				slot := slotOf(set, ordinal, w.cpu())
				slot.Spec.NodeName = node.Name
				if w.Intn(3) == 0 { // its room is kept
					slot.DeletionTimestamp = ptr.To(metav1.NewTime(now))
				}
				w.running = append(w.running, slot)
				break
			}
		}
	}
}

func (w *world) placement() v1alpha1.Placement {
	placement := v1alpha1.Placement{Spread: &v1alpha1.Spread{Domains: []string{"a", "b", "c"}}}
	switch w.Intn(4) {
	case 0:
		placement.Spread.Enforcement = v1alpha1.Preferred
	case 1:
		placement.SeparateNodes = v1alpha1.SeparateRequired
	case 2:
		placement.Spread.ShardSize = ptr.To(int32(2))
	}
	return placement
}

// pod is the next pod of one of ten workloads.
func (w *world) pod() *v1.Pod { return w.podOf(w.Intn(10)) }

func (w *world) podOf(kind int) *v1.Pod {
	w.serial++
	pod := workload("web", kind, w.serial, fmt.Sprintf("%dm", 200+150*kind))
	own := &metav1.LabelSelector{MatchLabels: map[string]string{"app": fmt.Sprintf("web-%d", kind)}}
	other := &metav1.LabelSelector{MatchLabels: map[string]string{"app": fmt.Sprintf("web-%d", (kind+1)%10)}}
	switch kind {
	case 0:
		pod.PodAntiAffinity(v1.LabelHostname, own, st.PodAntiAffinityWithRequiredReq)
	case 1:
		pod.PodAntiAffinity(v1.LabelTopologyZone, other, st.PodAntiAffinityWithRequiredReq)
	case 2:
		pod.PodAffinity(v1.LabelTopologyZone, other, st.PodAffinityWithRequiredReq)
	case 3:
		pod.SpreadConstraint(1, v1.LabelTopologyZone, v1.DoNotSchedule, own, nil, nil, nil, nil)
	case 4:
		pod.HostPort(8080)
	case 5:
		pod.SpreadConstraint(1, v1.LabelHostname, v1.ScheduleAnyway, own, nil, nil, nil, nil)
	case 6:
		pod.Toleration("dedicated")
	case 7:
		pod.NodeSelector(map[string]string{v1.LabelTopologyZone: "b"})
	case 8:
		pod.PodAntiAffinity(v1.LabelTopologyZone, &metav1.LabelSelector{MatchLabels: map[string]string{appsv1.PodIndexLabel: fmt.Sprint(w.Intn(6))}}, st.PodAntiAffinityWithRequiredReq)
	}
	return pod.Obj()
}

// act does one thing to all sessions and returns what each of them said.
func (w *world) act(sessions []*Session) (what string, said []string) {
	each := func(do func(s *Session) string) {
		for _, s := range sessions {
			said = append(said, do(s))
		}
	}
	failure := func(err error) string { return fmt.Sprint(err) }
	nodes := sessions[0].simulator.snapshot.nodes
	switch pick := w.Intn(20); {
	case pick == 0:
		each(func(s *Session) string { s.Fork(); return "" })
		return "fork", said
	case pick == 1 && len(sessions[0].marks) > 1:
		each(func(s *Session) string { s.Revert(); return "" })
		return "revert", said
	case pick == 2:
		w.serial++
		node := nodeIn(w.zone(), fmt.Sprintf("new-%d", w.serial))
		each(func(s *Session) string {
			return failure(s.AddTemplate(node, map[string]int32{"example.com": 1}, map[string]resource.Quantity{"pooled": resource.MustParse("2Gi")}))
		})
		return "add " + node.Name, said
	case pick == 3 && len(nodes) > 3:
		name := nodes[w.Intn(len(nodes))].Node().Name
		each(func(s *Session) string { return failure(s.RemoveNode(name)) })
		return "remove " + name, said
	case pick == 4:
		for _, info := range nodes {
			if pods := info.GetPods(); len(pods) > 0 && w.Intn(4) == 0 {
				pod := pods[w.Intn(len(pods))].GetPod()
				each(func(s *Session) string { return failure(s.RemovePod(pod)) })
				return "remove pod " + pod.Name, said
			}
		}
		return "nothing", said
	case pick == 5:
		claim := claimOf(fmt.Sprintf("db%d", w.Intn(3)), w.Intn(6), "")[0]
		each(func(s *Session) string { return failure(s.AddObject(claim)) })
		return "add a claim", said
	}
	if w.again == nil || w.Intn(3) == 0 {
		kind, set, cpu := w.Intn(10), fmt.Sprintf("db%d", w.Intn(3)), []string{"1", "3"}[w.Intn(2)]
		w.again = func() *v1.Pod { return w.podOf(kind) }
		if w.Intn(2) == 0 {
			w.again = func() *v1.Pod { return slotOf(set, w.Intn(6), cpu) }
		}
	}
	pod := w.again()
	if w.Intn(10) == 0 {
		pod.Status.NominatedNodeName = nodes[w.Intn(len(nodes))].Node().Name
	}
	var among []string
	for range w.Intn(3) {
		if i := w.Intn(2 * len(nodes)); i < len(nodes) && !slices.Contains(among, nodes[i].Node().Name) {
			among = append(among, nodes[i].Node().Name)
		}
	}
	each(func(s *Session) string {
		node, reasons, err := s.Place(pod, among...)
		return fmt.Sprintf("%q %q %v", node, reasons, err)
	})
	return fmt.Sprintf("place %s among %v", pod.Name, among), said
}

// What is remembered of equal pods, and of the company they keep, changes no
// answer: a simulator that asks each pod for itself says the same, word for word.
func TestAnswersAreThoseOfPodsAskedForThemselves(t *testing.T) {
	places, shared := 0, 0
	for seed := range int64(40) {
		w := newWorld(seed)
		var sessions []*Session
		for _, plain := range []bool{false, true} {
			s, _ := simulateBy(t, plain, w.objects...)
			session, err := s.Begin(t.Context(), w.nodes, w.running)
			if err != nil {
				t.Fatal(err)
			}
			sessions = append(sessions, session)
		}
		var story []string
		for range 120 {
			what, said := w.act(sessions)
			story = append(story, what)
			if len(said) < 2 {
				continue
			}
			if diff := cmp.Diff(said[1], said[0]); diff != "" {
				t.Fatalf("seed %d, %s (-for itself +remembered):\n%s\n%s", seed, what, diff, strings.Join(story, "\n"))
			}
			if strings.HasPrefix(what, "place") {
				places++
			}
		}
		for _, r := range sessions[0].memory.records {
			if slices.ContainsFunc(r.refusals, func(is refusal) bool { return is != unknown }) {
				shared++
			}
		}
		for _, s := range sessions {
			s.Close()
		}
	}
	t.Logf("%d pods, %d classes with refusals at the end", places, shared)
}
