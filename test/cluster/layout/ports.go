// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package layout

// Ports are where the components of a cluster listen.
type Ports struct {
	Etcd, EtcdPeer                  int
	APIServer, ControllerManager    int
	Scheduler, Kwok                 int
	MetricsServer, MetricsAdapter   int
	BerthScheduler, BerthAutoscaler int
}

// All is each of them, to be chosen.
func (p *Ports) All() []*int {
	return []*int{
		&p.Etcd, &p.EtcdPeer, &p.APIServer, &p.ControllerManager, &p.Scheduler, &p.Kwok,
		&p.MetricsServer, &p.MetricsAdapter, &p.BerthScheduler, &p.BerthAutoscaler,
	}
}
