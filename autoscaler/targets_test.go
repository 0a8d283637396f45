// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	"k8s.io/client-go/scale"
)

// customTargets are Rings and Loops, whose scales the API server takes its time to tell.
type customTargets struct {
	takes map[string]time.Duration // by resource

	mu   sync.Mutex
	read map[string]int // by resource and name
}

func (c *customTargets) mapper() meta.RESTMapper {
	mapper := meta.NewDefaultRESTMapper([]schema.GroupVersion{{Group: "example.com", Version: "v1"}})
	for _, kind := range []string{"Ring", "Loop"} {
		mapper.Add(schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: kind}, meta.RESTScopeNamespace)
	}
	return mapper
}

func (c *customTargets) beside(builtIn scale.ScalesGetter) scale.ScalesGetter {
	return scalesBeside{ScalesGetter: builtIn, customs: c}
}

func (c *customTargets) get(ctx context.Context, resource, name string) (*autoscalingv1.Scale, error) {
	c.mu.Lock()
	c.read[resource+"/"+name]++
	c.mu.Unlock()
	select {
	case <-time.After(c.takes[resource]):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: autoscalingv1.ScaleSpec{Replicas: 1},
		Status: autoscalingv1.ScaleStatus{Replicas: 1, Selector: "app=" + name}}, nil
}

type scalesBeside struct {
	scale.ScalesGetter
	customs *customTargets
}

func (s scalesBeside) Scales(namespace string) scale.ScaleInterface {
	return scaleBeside{ScaleInterface: s.ScalesGetter.Scales(namespace), customs: s.customs}
}

type scaleBeside struct {
	scale.ScaleInterface
	customs *customTargets
}

func (s scaleBeside) Get(ctx context.Context, resource schema.GroupResource, name string, options metav1.GetOptions) (*autoscalingv1.Scale, error) {
	if resource.Group == "example.com" {
		return s.customs.get(ctx, resource.Resource, name)
	}
	return s.ScaleInterface.Get(ctx, resource, name, options)
}

// hpasOf are so many HPAs of targets of a custom kind.
func hpasOf(kind string, n int) hpaList {
	var hpas hpaList
	for i := range n {
		name := fmt.Sprintf("%s%03d", kind, i)
		hpa := hpaBy(name, name, external("depth"))
		hpa.Spec.ScaleTargetRef.APIVersion, hpa.Spec.ScaleTargetRef.Kind = "example.com/v1", kind
		hpas = append(hpas, hpa)
	}
	return hpas
}

// Of 40 targets that hang 8 are tried in a period: the tick is late by 5 s, whoever has another kind of target is read in each
// period, and who hangs is told so in turn.
func TestAKindWhoseScalesHangHoldsUpNobodyForLong(t *testing.T) {
	customs := &customTargets{takes: map[string]time.Duration{"rings": time.Hour, "loops": 400 * time.Millisecond}, read: map[string]int{}}
	rings, loops := hpasOf("Ring", 40), hpasOf("Loop", 40)
	sc := scene{customs: customs, hpas: append(append(hpaList{webHPA("web", "web")}, rings...), loops...)}
	sc.perform(t, func(s *stage) {
		s.apis.set("depth", 10, 0)
		s.set(func() { s.usage = 1500 })
		s.pass(21 * time.Second)
		if diff := cmp.Diff([]string{"3→6"}, s.writes()); diff != "" {
			t.Errorf("scales 6 s after the first period (-want +got):\n%s", diff)
		}
		told := func() (n int) {
			for _, ring := range rings {
				if able := condition(s.hpa(ring.Name), autoscalingv2.AbleToScale); able.Reason == "FailedGetScale" {
					n++
				}
			}
			return n
		}
		if got := told(); got != workers {
			t.Errorf("%d HPAs are told that their target hangs, want as many as are read at once", got)
		}
		s.pass(4 * 15 * time.Second)
		if got := told(); got != len(rings) {
			t.Errorf("after five periods %d of %d HPAs are told that their target hangs", got, len(rings))
		}
		for _, loop := range loops {
			if got := customs.read["loops/"+loop.Name]; got != 5 {
				t.Errorf("%s was read %d times in five periods", loop.Name, got)
			}
		}
	})
}

// 60 targets of a second each do not fit a tick: none fails, and none waits for longer than two periods more.
func TestScalesThatAreSlowAreReadInTurn(t *testing.T) {
	customs := &customTargets{takes: map[string]time.Duration{"rings": time.Second}, read: map[string]int{}}
	rings := hpasOf("Ring", 60)
	scene{customs: customs, hpas: rings}.perform(t, func(s *stage) {
		s.apis.set("depth", 10, 0)
		s.pass(12*15*time.Second + 6*time.Second)
		for _, ring := range rings {
			if got := customs.read["rings/"+ring.Name]; got < 4 {
				t.Errorf("%s was read %d times in 12 periods", ring.Name, got)
			}
			if able := condition(s.hpa(ring.Name), autoscalingv2.AbleToScale); able.Reason == "FailedGetScale" {
				t.Errorf("%s: AbleToScale is %+v", ring.Name, able)
			}
		}
		if err := s.kube.Tracker().Delete(hpaResource, "prod", rings[0].Name); err != nil {
			t.Fatal(err)
		}
		s.pass(15 * time.Second)
		if _, found := s.conductor.history.reads.hpas[rings[0].UID]; found {
			t.Error("an HPA that is gone has its turn")
		}
	})
}

// VPAs are no more of a tick than HPAs. One whose target there is no time to read keeps what is said of it.
func TestVPAsWhoseTargetsHangHoldUpNobodyForLong(t *testing.T) {
	customs := &customTargets{takes: map[string]time.Duration{"rings": time.Hour}, read: map[string]int{}}
	var vpas []runtime.Object
	for i := range 40 {
		vpa := webVPA(fmt.Sprintf("ring%02d", i), false)
		vpa.Spec.TargetRef = &autoscalingv1.CrossVersionObjectReference{APIVersion: "example.com/v1", Kind: "Ring", Name: vpa.Name}
		vpas = append(vpas, vpa)
	}
	scene{customs: customs, vpas: vpas}.perform(t, func(s *stage) {
		s.pass(21 * time.Second)
		said := func(name string) []vpav1.VerticalPodAutoscalerCondition {
			vpa, err := s.vpa.AutoscalingV1().VerticalPodAutoscalers("prod").Get(t.Context(), name, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			return vpa.Status.Conditions
		}
		if len(said("ring00")) == 0 || len(said("ring39")) != 0 {
			t.Errorf("of the first is said %v, of the last %v; want something of the one that was read, and nothing of the other", said("ring00"), said("ring39"))
		}
		s.pass(4 * 15 * time.Second)
		if got := len(customs.read); got != len(vpas) {
			t.Errorf("%d of %d targets were read in five periods", got, len(vpas))
		}
		if got := s.conductor.history.reads.vpas[types.UID("vpa-ring39")]; got.IsZero() {
			t.Error("the last has had no turn")
		}
	})
}
