// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	componentbase "k8s.io/component-base/config/v1alpha1"
)

// Default fills every field that the file left empty.
func (c *Autoscaler) Default() {
	componentbase.RecommendedDefaultClientConnectionConfiguration(&c.ClientConnection)
	if c.LeaderElection.ResourceName == "" {
		c.LeaderElection.ResourceName = Name
	}
	if c.LeaderElection.ResourceNamespace == "" {
		c.LeaderElection.ResourceNamespace = Namespace
	}
	// The recommended default is a lock on endpoints, which client-go no longer has.
	setString(&c.LeaderElection.ResourceLock, resourcelock.LeasesResourceLock)
	componentbase.RecommendedDefaultLeaderElectionConfiguration(&c.LeaderElection)
	setString(&c.BindAddress, "0.0.0.0:10270")
	if c.SyncPeriod.Duration == 0 {
		c.SyncPeriod.Duration = 15 * time.Second
	}
	if c.MetricsTimeout.Duration == 0 {
		c.MetricsTimeout.Duration = min(10*time.Second, c.SyncPeriod.Duration*2/3)
	}

	setString(&c.Horizontal.Mode, Act)
	setPointer(&c.Horizontal.Tolerance, 0.1)
	setDuration(&c.Horizontal.DownscaleStabilization, 5*time.Minute)
	setDuration(&c.Horizontal.CPUInitializationPeriod, 5*time.Minute)
	setDuration(&c.Horizontal.InitialReadinessDelay, 30*time.Second)
	setString(&c.Horizontal.Canary, RequireCanary)
	setDuration(&c.Horizontal.CanaryPatience, 30*time.Second)

	setString(&c.Vertical.Mode, Act)
	setString(&c.Vertical.RecommenderName, "berth")
	setDuration(&c.Vertical.RecommendPeriod, time.Minute)
	setDuration(&c.Vertical.MinPodAge, 10*time.Minute)
	setDuration(&c.Vertical.DeferredTimeout, time.Minute)
	setDuration(&c.Vertical.ResizeTimeout, 10*time.Minute)
	setDuration(&c.Vertical.ResizeBackoff, 10*time.Minute)

	setString(&c.Nodes.Mode, Act)
	setPointer(&c.Nodes.UtilizationThreshold, 0.5)
	setDuration(&c.Nodes.UnneededTime, 10*time.Minute)
	setDuration(&c.Nodes.UnreadyTime, 20*time.Minute)
	setPointer(&c.Nodes.MaxEmptyRemovals, 10)
	setPointer(&c.Nodes.MaxDrains, 5)
	setDuration(&c.Nodes.MaxPodEvictionTime, 2*time.Minute)
	setDuration(&c.Nodes.MaxGracefulTermination, 10*time.Minute)
	setPointer(&c.Nodes.SkipNodesWithLocalStorage, true)
	setPointer(&c.Nodes.SkipNodesWithSystemPods, true)
	setDuration(&c.Nodes.DelayAfterAdd, 10*time.Minute)
	setDuration(&c.Nodes.MaxNodeProvisionTime, 15*time.Minute)
	setDuration(&c.Nodes.SimulationTimeout, 30*time.Second)
	setPointer(&c.Nodes.MaxForecastPods, 1000)
	setDuration(&c.Nodes.ForecastTimeout, 10*time.Minute)
	setPointer(&c.Nodes.ExpendablePriority, -10)
	setDuration(&c.Nodes.ExternalGRPC.Timeout, 5*time.Second)
	if len(c.Nodes.Expanders) == 0 {
		c.Nodes.Expanders = []Expander{LeastWaste}
	}
}

func setString[S ~string](field *S, value S) {
	if *field == "" {
		*field = value
	}
}

func setPointer[T any](field **T, value T) {
	if *field == nil {
		*field = &value
	}
}

func setDuration(field **metav1.Duration, value time.Duration) {
	setPointer(field, metav1.Duration{Duration: value})
}
