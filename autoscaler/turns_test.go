// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"fmt"
	"strings"
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
)

// crowd is a scene of so many HPAs, each with an external metric of its own name.
func crowd(n int) (scene, []string) {
	var sc scene
	var names []string
	for i := range n {
		name := fmt.Sprintf("j%03d", i)
		sc.objects = append(sc.objects, deployment(name, 1))
		sc.hpas = append(sc.hpas, hpaBy(name, name, external(name)))
		names = append(names, name)
	}
	return sc, names
}

// askedWithin checks when each metric was asked for at first, and how far apart after that.
func (s *stage) askedWithin(names []string, first, apart time.Duration) {
	s.t.Helper()
	for _, name := range names {
		before := s.began
		for i, at := range s.apis.times(name) {
			limit := apart
			if i == 0 {
				limit = first
			}
			if at.Sub(before) > limit {
				s.t.Errorf("%s was asked for at %s, %s after the time before", name, at.Sub(s.began), at.Sub(before))
			}
			before = at
		}
		if at := time.Now(); at.Sub(before) > apart {
			s.t.Errorf("%s was asked for %s ago", name, at.Sub(before))
		}
	}
}

// 120 answers of a second each, of which 40 to 48 fit a period: nobody fails, nobody waits for long.
func TestASlowAPIThatAnswersAllFailsNobody(t *testing.T) {
	sc, names := crowd(120)
	sc.perform(t, func(s *stage) {
		for _, name := range names {
			s.apis.set(name, 10, time.Second)
		}
		for range 20 {
			s.pass(15 * time.Second)
			for _, name := range names {
				if active := condition(s.hpa(name), autoscalingv2.ScalingActive); active.Reason != "ValidMetricFound" && active.Reason != "" {
					t.Errorf("%s: ScalingActive is %+v", name, active)
					return
				}
			}
		}
		s.askedWithin(names, 50*time.Second, 50*time.Second)
		families, err := s.figures.Gather()
		if err != nil {
			t.Fatal(err)
		}
		told := false
		for _, family := range families {
			told = told || family.GetName() == "berth_metric_queries_unasked_total"
		}
		if !told {
			t.Error("no metric tells of those that were not asked")
		}
	})
}

// An HPA is asked for as a whole, or two of its metrics might never be answered in the same period.
func TestAllMetricsOfAnHPAHaveTheirTurnTogether(t *testing.T) {
	sc, names := crowd(60)
	for i, name := range names {
		sc.hpas[i].Spec.Metrics = append(sc.hpas[i].Spec.Metrics, external(name+"-age"))
	}
	sc.perform(t, func(s *stage) {
		for _, name := range names {
			s.apis.set(name, 50, time.Second)
			s.apis.set(name+"-age", 10, time.Second)
		}
		s.pass(70 * time.Second)
		if got := len(s.otherScales()); got < len(names) {
			t.Errorf("%d of %d HPAs were scaled in three periods", got, len(names))
		}
	})
}

// Those who were not asked are told that the API is stuck, and keep their turn: one of them may be served.
func TestAStuckAPIIsToldOfAndPassesByWhomItServes(t *testing.T) {
	sc, names := crowd(60)
	sc.perform(t, func(s *stage) {
		served := names[len(names)-1]
		for _, name := range names {
			s.apis.set(name, 50, 14*time.Second)
		}
		s.apis.set(served, 50, 0)
		s.pass(26 * time.Second)
		for _, name := range names {
			active := condition(s.hpa(name), autoscalingv2.ScalingActive)
			if active.Reason != "FailedGetExternalMetric" || !strings.Contains(active.Message, "deadline exceeded") {
				t.Errorf("%s: ScalingActive is %+v after the first period", name, active)
				return
			}
		}
		s.pass(8 * 15 * time.Second)
		if got := s.otherScales(); len(got) != 1 || !strings.HasPrefix(got[0], served+" 1→4 ") {
			t.Errorf("scaled %v, want %s when its turn came", got, served)
		}
	})
}
