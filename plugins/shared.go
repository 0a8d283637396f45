// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"context"
	"fmt"
	"sync"

	"github.com/berth-dev/berth/plugins/statefulset"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
)

// Shared is what the plugins of one scheduler, or of one simulation, know
// together. Plugins are built once per profile; what they share is built once
// per informer factory, when the first plugin asks for it, and hears of
// changes through event handlers on that factory for as long as it runs.
//
// A simulation has a Shared of its own over its own factory, gives its
// framework a pod activator (one that does nothing), and undoes what it tried
// by Checkpoint.
type Shared struct {
	mu    sync.Mutex
	slots map[informers.SharedInformerFactory]*slots
}

// NewShared returns the state for one Registry. It reads nothing until the
// first plugin is built.
func NewShared() *Shared {
	return &Shared{slots: map[informers.SharedInformerFactory]*slots{}}
}

// Checkpoint remembers the slots that are reserved and the pods that wait, and
// returns a function that puts this back.
func (s *Shared) Checkpoint() (restore func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var restores []func()
	for _, known := range s.slots {
		restores = append(restores, known.planner.Checkpoint())
	}
	return func() {
		for _, restore := range restores {
			restore()
		}
	}
}

// forHandle returns the slots behind a framework's informers.
func (s *Shared) forHandle(ctx context.Context, handle fwk.Handle) (*slots, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	factory := handle.SharedInformerFactory()
	if known, ok := s.slots[factory]; ok {
		return known, nil
	}
	known := &slots{
		planner: statefulset.NewPlanner(newListers(factory), rules(ctx)),
		wake:    handle.Activate,
		logger:  klog.LoggerWithName(klog.FromContext(ctx), "slots"),
	}
	if err := known.watch(factory); err != nil {
		return nil, fmt.Errorf("watching what places slots: %w", err)
	}
	s.slots[factory] = known
	return known, nil
}

// slots is the planner together with the means to wake pods.
type slots struct {
	planner *statefulset.Planner
	wake    func(klog.Logger, map[string]*v1.Pod)
	logger  klog.Logger
}

// Place and the following make slots what OrdinalPlacement asks for.
func (s *slots) Place(slot statefulset.Slot, pod *v1.Pod, spread statefulset.Spread) (statefulset.Placement, error) {
	return s.planner.Place(slot, pod, spread)
}

func (s *slots) Waiting(slot statefulset.Slot, uid types.UID) (string, bool) {
	return s.planner.Waiting(slot, uid)
}

func (s *slots) Reserve(slot statefulset.Slot, uid types.UID, node *v1.Node) {
	s.planner.Reserve(slot, uid, node)
}

func (s *slots) Unreserve(slot statefulset.Slot, uid types.UID) {
	s.activate(s.planner.Unreserve(slot, uid))
}

// activate wakes pods whose place became another one.
func (s *slots) activate(pods []*v1.Pod) {
	if len(pods) == 0 {
		return
	}
	byName := make(map[string]*v1.Pod, len(pods))
	for _, pod := range pods {
		s.logger.V(4).Info("The planned domain of a waiting pod is another one now", "pod", klog.KObj(pod))
		byName[pod.Namespace+"/"+pod.Name] = pod
	}
	s.wake(s.logger, byName)
}
