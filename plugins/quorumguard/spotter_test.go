// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package quorumguard

import (
	"testing"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/events"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/preemption"
)

// binding is a framework with one pod that is being bound, as far as upstream
// asks about it to preempt it.
type binding struct {
	fwk.Handle
	client  *fake.Clientset
	factory informers.SharedInformerFactory
	waiting fwk.WaitingPod
	preBind fwk.PodInPreBind
}

func (b *binding) ClientSet() kubernetes.Interface                        { return b.client }
func (b *binding) SharedInformerFactory() informers.SharedInformerFactory { return b.factory }
func (b *binding) EventRecorder() events.EventRecorderLogger              { return events.NewFakeRecorder(10) }
func (b *binding) GetWaitingPod(types.UID) fwk.WaitingPod                 { return b.waiting }
func (b *binding) GetPodInPreBind(types.UID) fwk.PodInPreBind             { return b.preBind }

// ends tells whether the binding of a pod can be ended still.
type ends struct {
	fwk.WaitingPod
	fwk.PodInPreBind
	yes bool
}

func (e ends) Preempt(string, string) bool { return e.yes }
func (e ends) CancelPod(string) bool       { return e.yes }

// A victim that is being bound is deleted if it is too late to end that. It is
// in flight then, though nobody sees it bound: it may get ready before it goes.
func TestVictimsThatAreBeingBound(t *testing.T) {
	tests := map[string]struct {
		handle   binding
		deleted  bool
		inFlight bool
	}{
		"it waits":                           {handle: binding{waiting: ends{yes: true}}},
		"it waits no more":                   {handle: binding{waiting: ends{}}, deleted: true, inFlight: true},
		"its volumes are being bound":        {handle: binding{preBind: ends{yes: true}}},
		"its volumes are bound by now":       {handle: binding{preBind: ends{}}, deleted: true, inFlight: true},
		"the API server is asked to bind it": {deleted: true, inFlight: true},
	}
	for name, tt := range tests {
		for _, order := range []string{"the cycle ends first", "the cycle ends last"} {
			t.Run(name+", "+order, func(t *testing.T) {
				victim := podsOf("db-0")[0]
				victim.Namespace = "prod"
				tt.handle.client = fake.NewClientset(victim)
				tt.handle.factory = informers.NewSharedInformerFactory(tt.handle.client, 0)
				known := &store{pods: map[string]*v1.Pod{"db-0": victim}}
				plugin, err := New(t.Context(), &runtime.Unknown{}, &tt.handle, Shared{Sets: known, Waiters: known, Flights: NewFlights()})
				if err != nil {
					t.Fatal(err)
				}
				pl := plugin.(*QuorumGuard)
				ends := func() { pl.takesOff(victim, func() { pl.shared.Flights.chosen("urgent", victim.UID) }) }

				pl.shared.Flights.begins("urgent")
				if order == "the cycle ends first" {
					ends()
					if !pl.shared.Flights.Has(victim.UID) {
						t.Error("it is not in flight between its choice and its preemption")
					}
				}
				if err := pl.Executor.PreemptPod(t.Context(), candidate{}, urgent{}, victim, Name); err != nil {
					t.Fatal(err)
				}
				if order == "the cycle ends last" {
					ends()
				}
				deleted := false
				for _, action := range tt.handle.client.Actions() {
					deleted = deleted || action.Matches("delete", "pods")
				}
				if inFlight := pl.shared.Flights.Has(victim.UID); deleted != tt.deleted || inFlight != tt.inFlight {
					t.Errorf("deleted %t, in flight %t, want %t and %t", deleted, inFlight, tt.deleted, tt.inFlight)
				}
			})
		}
	}
}

// candidate is a node of which the executor says no more than its name.
type candidate struct{ preemption.Candidate }

func (candidate) Name() string { return "n1" }
