// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package vertical

import (
	"fmt"
	"math"
	"math/rand"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
)

// story is a workload that lives for virtual weeks.
type story struct {
	*rand.Rand
	now     time.Time
	pods    []Pod
	names   []string
	born    int
	ordinal bool
	load    func(day float64) float64
	// lastOOM is of each container: a later one is told of later.
	lastOOM   map[containerKey]time.Time
	restarted time.Time
}

func newStory(r *rand.Rand) *story {
	s := &story{Rand: r, now: epoch, names: []string{"main"}, lastOOM: map[containerKey]time.Time{}}
	s.ordinal = s.Intn(3) > 0
	base := math.Exp(s.Float64()*8) * 2
	s.load = [...]func(float64) float64{
		func(float64) float64 { return base },
		func(day float64) float64 { return base * (1.2 + math.Sin(2*math.Pi*day)) },
		func(day float64) float64 { return base * (1 + day) },
		func(float64) float64 {
			if s.Intn(50) == 0 {
				return base * 20
			}
			return base
		},
	}[s.Intn(4)]
	for i := range 1 + s.Intn(3) {
		s.pods = append(s.pods, s.pod(i))
	}
	return s
}

func (s *story) pod(i int) Pod {
	s.born++
	p := Pod{UID: types.UID(fmt.Sprintf("%03d-%d", s.born, i)), Containers: slices.Clone(s.names)}
	if s.ordinal {
		p.Slot = fmt.Sprint(11 - i) // the oldest history is not the first in order
	}
	return p
}

// policy is a random policy, most of them harmless.
func (s *story) policy() *vpav1.PodResourcePolicy {
	off, hour, week := vpav1.ContainerScalingModeOff, int32(3600), int64(7*24)
	ratio, bump := resource.MustParse("1.5"), resource.MustParse("10Mi")
	return [...]*vpav1.PodResourcePolicy{
		nil, nil,
		policies(vpav1.ContainerResourcePolicy{ContainerName: "*", MinAllowed: resources("100m", "1Gi"), MaxAllowed: resources("2", "4Gi")}),
		policies(vpav1.ContainerResourcePolicy{ContainerName: "sidecar", Mode: &off}),
		policies(vpav1.ContainerResourcePolicy{ContainerName: "main", ControlledResources: &[]corev1.ResourceName{corev1.ResourceMemory}},
			vpav1.ContainerResourcePolicy{ContainerName: "*", MaxAllowed: resources("50m", "100Mi")}),
		policies(vpav1.ContainerResourcePolicy{ContainerName: "*", OOMBumpUpRatio: &ratio, OOMMinBumpUp: &bump,
			MemoryAggregationIntervalSeconds: &hour, MemoryAggregationIntervalCount: &week}),
	}[s.Intn(6)]
}

func (s *story) tell(steps int) []step {
	out := make([]step, steps)
	for i := range out {
		out[i] = s.step()
	}
	return out
}

// step lets time pass: gaps and restarts, pods replaced, added and removed, a sidecar that
// comes and goes.
func (s *story) step() step {
	s.now = s.now.Add(time.Minute * time.Duration(1+s.Intn(60)))
	switch s.Intn(150) {
	case 0:
		s.now = s.now.Add(time.Hour * time.Duration(40+s.Intn(40)))
	case 1: // longer than anything is remembered
		s.now = s.now.Add(24 * time.Hour * time.Duration(8+s.Intn(120)))
	}
	out := step{now: s.now}
	if s.Intn(80) == 0 {
		out.restart, s.restarted = true, s.now
	}
	if s.Intn(200) == 0 {
		s.names = [][]string{{"main", "sidecar"}, {"main"}}[len(s.names)-1]
		for i := range s.pods {
			s.pods[i] = s.pod(i)
		}
	}
	if s.Intn(100) == 0 {
		i := s.Intn(len(s.pods))
		s.pods[i] = s.pod(i)
	}
	if s.Intn(100) == 0 && len(s.pods) < 8 {
		s.pods = append(s.pods, s.pod(len(s.pods)))
	}
	if s.Intn(150) == 0 && len(s.pods) > 1 {
		s.pods = s.pods[:len(s.pods)-1]
	}
	out.pods = slices.Clone(s.pods)
	out.samples, out.ooms = s.measure()
	return out
}

// measure tells of usage, now and then late, twice, as nothing or as nonsense, and of OOMs,
// some of them hours late.
func (s *story) measure() (samples []Sample, ooms []OOM) {
	at := s.now
	for _, p := range s.pods {
		for _, name := range p.Containers {
			load := s.load(at.Sub(epoch).Hours()/24) * (0.8 + 0.4*s.Float64())
			last := Sample{Pod: p.UID, Container: name, Time: at, CPU: MilliCPU(load), Memory: Bytes(load * (5 << 20))}
			samples = append(samples, last)
			switch s.Intn(60) {
			case 0:
				last.Time = at.Add(-time.Duration(s.Intn(3*3600)) * time.Second)
				samples = append(samples, last)
			case 1:
				samples = append(samples, last)
			case 2:
				samples[len(samples)-1].CPU, samples[len(samples)-1].Memory = 0, 0
			case 3:
				samples = append(samples, Sample{Pod: p.UID, Container: name, Time: at.Add(-time.Second), CPU: -1, Memory: -1})
			}
			key := containerKey{p.UID, name}
			when := at.Add(-time.Duration(max(0, s.Intn(40)-20)) * time.Hour)
			if s.Intn(200) == 0 && when.After(s.lastOOM[key]) && when.After(s.restarted) {
				s.lastOOM[key] = when
				ooms = append(ooms, OOM{Pod: p.UID, Container: name, Time: when, Request: Bytes(load * (4 << 20))})
			}
		}
	}
	return samples, ooms
}
