// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
	"github.com/berth-dev/berth/test/fixture"
)

const (
	comebackRounds = 20
	comebackSeed   = 4
)

// TestComeback restarts the slots of two sets again and again, while others come
// and go and nodes are full or closed now and then. Who has room at home returns
// there, else into the zone of its volume, or waits where only its node will do.
// Nothing ever points to another zone.
func TestComeback(t *testing.T) {
	t.Parallel()
	const g ground = "comeback"
	var nodes []*corev1.Node
	for _, zone := range []string{"a", "b", "c"} {
		for n := range 3 {
			nodes = append(nodes, g.node(fmt.Sprintf("%s%d", zone, n), "comeback-"+zone, nil))
		}
	}
	zonal := g.on(fixture.Workload{Name: "zonal", Replicas: 9, CPU: "500m", Parallel: true, Claims: zonalClaim})
	local := g.on(fixture.Workload{Name: "local", Replicas: 9, CPU: "500m", Parallel: true, Claims: []fixture.Claim{{Name: "data", Class: "local"}}})
	var j *journal
	testenv.Test(t, features.New("slots come back").
		Setup(g.lay(t, nodes...)).
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			j = s.watchAll(ctx, t, nodes)
			s.policy(ctx, t, local.Name, v1alpha1.Placement{
				Spread: &v1alpha1.Spread{}, SeparateNodes: v1alpha1.SeparateRequired,
				Home: &v1alpha1.Home{ReturnToNode: v1alpha1.ReturnPreferred},
			})
			s.create(ctx, t, zonal.Service(), zonal.StatefulSet(), local.Service(), local.StatefulSet())
			s.awaitSet(ctx, t, zonal.Name, 9)
			s.awaitSet(ctx, t, local.Name, 9)
		})).
		Assess("twenty times", step(func(ctx context.Context, t *testing.T, s scene) {
			crowd, err := s.newCrowd(ctx, g)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("seed %d", comebackSeed)
			begin := time.Now()
			ends := make(chan error)
			for i, set := range []fixture.Workload{zonal, local} {
				random := rand.New(rand.NewPCG(comebackSeed, uint64(i)))
				go func() {
					ends <- (&restarts{scene: s, journal: j, ground: g, crowd: crowd, random: random, set: set, cordons: set.Name == local.Name}).run(ctx)
				}()
			}
			if err := errors.Join(<-ends, <-ends); err != nil {
				t.Fatal(err)
			}
			t.Logf("acceptance: each of 18 slots was restarted %d times in %s", comebackRounds, time.Since(begin).Round(time.Second))
		})).
		Assess("each slot with room at home went there, and none towards another zone", step(func(ctx context.Context, t *testing.T, s scene) {
			for _, set := range []fixture.Workload{zonal, local} {
				a := j.account(set, set.Name == local.Name)
				t.Logf("acceptance: %s: %s", set.Name, &a)
				for _, wrong := range a.wrong {
					t.Errorf("%s: %s", set.Name, wrong)
				}
				if a.returns < 9*comebackRounds || 2*a.roomAtHome < a.returns {
					t.Errorf("%s: most of at least %d returns should have had room at home", set.Name, 9*comebackRounds)
				}
				s.namesNoOtherZone(ctx, t, j, set)
			}
			if a := j.account(zonal, false); 2*a.elsewhere < comebackRounds {
				t.Errorf("zonal: %d returns to other nodes prove little", a.elsewhere)
			}
			if a := j.account(local, true); a.waited < comebackRounds {
				t.Errorf("local: %d returns had to wait, there was no room in %d cases", a.waited, comebackRounds)
			}
		})).
		Feature())
}

// namesNoOtherZone demands that no event of a set's pods names a zone, or a node
// of one, where the volume is not.
func (s scene) namesNoOtherZone(ctx context.Context, t *testing.T, j *journal, set fixture.Workload) {
	t.Helper()
	events, err := s.Kube.CoreV1().Events(s.Namespace).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.kind=Pod"})
	if err != nil {
		t.Fatal(err)
	}
	reasons := map[string]int{}
	for _, e := range events.Items {
		if !strings.HasPrefix(e.InvolvedObject.Name, set.Name+"-") {
			continue
		}
		reasons[e.Reason]++
		l, err := j.now(e.InvolvedObject.Name)
		if err != nil {
			t.Fatal(err)
		}
		if other := j.otherZone(e.Message, l.node); other != "" {
			t.Errorf("%s is in %s, an event names %s: %s %s", l.name, j.zone(l.node), other, e.Reason, e.Message)
		}
	}
	t.Logf("events of %s by reason: %v", set.Name, reasons)
}
