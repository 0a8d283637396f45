// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// countingLock counts the records that reach the API server.
type countingLock struct {
	resourcelock.Interface
	updates int
}

func (l *countingLock) Update(context.Context, resourcelock.LeaderElectionRecord) error {
	l.updates++
	return nil
}

func TestTheLeaseIsKeptWhileItsHolderLeads(t *testing.T) {
	renewal, release := resourcelock.LeaderElectionRecord{HolderIdentity: "me"}, resourcelock.LeaderElectionRecord{}
	for name, tc := range map[string]struct {
		leading bool
		record  resourcelock.LeaderElectionRecord
		want    bool
	}{
		"renewed while leading":   {leading: true, record: renewal, want: true},
		"given back too early":    {leading: true, record: release, want: false},
		"given back once stopped": {leading: false, record: release, want: true},
	} {
		t.Run(name, func(t *testing.T) {
			var leading atomic.Bool
			leading.Store(tc.leading)
			api := &countingLock{}
			err := (&keptLock{Interface: api, leading: &leading}).Update(t.Context(), tc.record)
			if written := api.updates == 1; written != tc.want || (err == nil) != tc.want {
				t.Errorf("written %t, error %v; want written %t", written, err, tc.want)
			}
		})
	}
}

func TestPulse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pulse{limit: time.Minute}
		time.Sleep(time.Hour)
		if err := p.Check(nil); err != nil {
			t.Errorf("one that does not lead is healthy: %v", err)
		}
		p.beat()
		time.Sleep(time.Minute)
		if err := p.Check(nil); err != nil {
			t.Errorf("within the limit: %v", err)
		}
		time.Sleep(time.Second)
		if p.Check(nil) == nil {
			t.Error("a loop that hangs is healthy")
		}
	})
}
