// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/component-base/metrics/testutil"

	"github.com/berth-dev/berth/autoscaler/config"
	"github.com/berth-dev/berth/autoscaler/observe"
)

func (sc scene) lookoutForUpdater(s *stage) *observe.Updater {
	if !sc.updater {
		return nil
	}
	return observe.NewUpdater(s.kube.CoordinationV1())
}

// renew is one renewal of the Lease by upstream's admission controller.
func (s *stage) renew() { s.renewLease(observe.AdmissionLeaseNamespace, observe.AdmissionLease) }

// renewLease is one renewal of a Lease.
func (s *stage) renewLease(namespace, name string) {
	s.t.Helper()
	leases := s.kube.CoordinationV1().Leases(namespace)
	lease, err := leases.Get(s.t.Context(), name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		holder := "vpa-admission-1"
		lease = &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.Now()}, Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder}}
		if lease, err = leases.Create(s.t.Context(), lease, metav1.CreateOptions{}); err != nil {
			s.t.Fatal(err)
		}
	}
	now := metav1.NowMicro()
	lease.Spec.RenewTime = &now
	if _, err := leases.Update(s.t.Context(), lease, metav1.UpdateOptions{}); err != nil {
		s.t.Fatal(err)
	}
}

// stands compares the condition StandsBack of web-vpa, none with an empty reason, and the metric.
func (s *stage) stands(reason, state string) vpaCondition {
	s.t.Helper()
	is := vpaConditionOf(s.webVPA().Status, config.StandsBack)
	if is.Reason != reason || reason != "" && is.Status != corev1.ConditionTrue {
		s.t.Errorf("condition %+v, want the reason %q", is, reason)
	}
	var want strings.Builder
	want.WriteString("# HELP berth_vertical_state [ALPHA] What Berth does about the pods of VPAs, 1 for one of: acts; observes, as configured; judges while it cannot see whether upstream's updater is there; stands_back for that one.\n# TYPE berth_vertical_state gauge\n")
	for _, each := range []string{"acts", "judges", "observes", "stands_back"} {
		value := "0"
		if each == state {
			value = "1"
		}
		want.WriteString("berth_vertical_state{state=\"" + each + "\"} " + value + "\n")
	}
	if err := testutil.GatherAndCompare(s.figures, strings.NewReader(want.String()), "berth_vertical_state"); err != nil {
		s.t.Error(err)
	}
	return is
}

func TestUpstreamsUpdaterComesAndGoes(t *testing.T) {
	theirs := webVPA("theirs", false)
	theirs.Spec.Recommenders, theirs.Spec.TargetRef.Name = nil, "gone"
	sc := scene{vpas: []runtime.Object{webVPA("web-vpa", false), theirs}, updater: true}
	sc.perform(t, func(s *stage) {
		s.pass(time.Minute)
		s.stands("", "acts")
		s.renew()
		for range 9 {
			s.pass(10 * time.Second)
			s.renew()
		}
		is := s.stands(updaterActive, "stands_back")
		if !strings.Contains(is.Message, "vpa-admission-1") || !strings.Contains(is.Message, "since 2000-01-01T00:01:00Z") {
			t.Errorf("message %q, want the holder and since when", is.Message)
		}
		if got := s.said("Warning " + updaterActive); len(got) != 1 {
			t.Errorf("events %q, want one, on Berth's VPA", got)
		}
		if got := s.targets(); len(got) != 1 {
			t.Errorf("targets %v: recommendations are written in any case", got)
		}
		written := s.statusesOfVPAs()
		s.pass(20 * time.Second)
		if got := s.statusesOfVPAs() - written; got > 4 {
			t.Errorf("%d statuses in a tick in which only the renewal is another", got)
		}
		s.pass(30 * time.Second)
		s.stands(updaterActive, "stands_back")
		s.pass(30 * time.Second)
		s.stands("", "acts")
		if got := s.said("Normal Acts"); len(got) != 1 {
			t.Errorf("events %q, want one", got)
		}
	})
}

func (s *stage) statusesOfVPAs() (n int) {
	for _, action := range s.vpa.Actions() {
		if action.Matches("update", "verticalpodautoscalers") {
			n++
		}
	}
	return n
}

func TestALeaseThatCanNotBeReadHolds(t *testing.T) {
	var answer error = apierrors.NewForbidden(coordinationv1.Resource("leases"), observe.AdmissionLease, nil)
	refusing := func(s *stage) {
		s.kube.PrependReactor("get", "leases", func(clienttesting.Action) (bool, runtime.Object, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			return answer != nil, nil, answer
		})
	}
	sc := scene{vpas: []runtime.Object{webVPA("web-vpa", false)}, updater: true, begin: refusing}
	sc.perform(t, func(s *stage) {
		s.pass(20 * time.Second)
		if is := s.stands(updaterUnknown, "judges"); !strings.Contains(is.Message, "Forbidden") {
			t.Errorf("message %q, want what the API server says", is.Message)
		}
		s.set(func() { answer = nil })
		s.pass(20 * time.Second)
		s.stands("", "acts")
		s.set(func() { answer = errDown })
		s.pass(45 * time.Second)
		s.stands("", "acts")
		s.pass(30 * time.Second)
		s.stands(updaterUnknown, "judges")
	})
}

func TestObservingSaysSo(t *testing.T) {
	sc := scene{vpas: []runtime.Object{webVPA("web-vpa", false)}, updater: true, config: "vertical: {mode: Observe}\n"}
	sc.perform(t, func(s *stage) {
		s.pass(time.Minute)
		s.stands(observing, "observes")
		if len(s.targets()) != 1 {
			t.Error("nothing is recommended")
		}
		if got := s.said(observing); len(got) != 1 {
			t.Errorf("events %q, want one", got)
		}
		for _, action := range s.kube.Actions() {
			if action.Matches("get", "leases") {
				t.Fatal("nobody is in anyone's way, and somebody is looked for")
			}
		}
	})
}

func TestWhatIsNotFollowedIsSaid(t *testing.T) {
	vpa := webVPA("web-vpa", false)
	vpa.Spec.StartupBoost = &vpav1.StartupBoost{}
	theirs := webVPA("theirs", false)
	theirs.Spec.Recommenders, theirs.Spec.TargetRef.Name, theirs.Spec.StartupBoost = nil, "gone", &vpav1.StartupBoost{}
	perform(t, nil, []runtime.Object{vpa, theirs}, func(s *stage) {
		s.pass(2 * time.Minute)
		is := vpaConditionOf(s.webVPA().Status, vpav1.ConfigUnsupported)
		if is.Status != corev1.ConditionTrue || !strings.Contains(is.Message, "spec.startupBoost is not supported") {
			t.Errorf("condition %+v", is)
		}
		if got := s.said("Warning ConfigUnsupported"); len(got) != 1 {
			t.Errorf("events %q, want one, on Berth's VPA", got)
		}
		mended := s.webVPA().DeepCopy()
		mended.Spec.StartupBoost = nil
		if _, err := s.vpa.AutoscalingV1().VerticalPodAutoscalers("prod").Update(t.Context(), mended, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		s.pass(20 * time.Second)
		if diff := cmp.Diff(vpaCondition{}, vpaConditionOf(s.webVPA().Status, vpav1.ConfigUnsupported)); diff != "" {
			t.Errorf("condition, once all is followed (-want +got):\n%s", diff)
		}
	})
}
