// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"context"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	vpaclient "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/client/clientset/versioned"
	vpainformers "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/client/informers/externalversions"
	vpalisters "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/client/listers/autoscaling.k8s.io/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// crdCheckPeriod is the time between two looks for the VPA CRD while it is missing.
const crdCheckPeriod = 5 * time.Second

// VPAs watches VerticalPodAutoscalers once their CRD is served.
type VPAs struct {
	discovery discovery.ServerResourcesInterface
	client    vpaclient.Interface
	onChange  func()

	looked atomic.Bool
	lister atomic.Pointer[vpalisters.VerticalPodAutoscalerLister]
}

// NewVPAs returns a watcher that is idle until Run. OnChange is called after
// each change of a VPA and must not block.
func NewVPAs(d discovery.ServerResourcesInterface, client vpaclient.Interface, onChange func()) *VPAs {
	return &VPAs{discovery: d, client: client, onChange: onChange}
}

// Run looks for the CRD and then watches until the context ends.
func (v *VPAs) Run(ctx context.Context) {
	logger := klog.FromContext(ctx)
	err := wait.PollUntilContextCancel(ctx, crdCheckPeriod, true, func(context.Context) (bool, error) {
		served, err := v.served()
		switch {
		case err != nil:
			logger.Error(err, "Looking for the VerticalPodAutoscaler CRD")
		case !served && !v.looked.Swap(true):
			logger.Info("VerticalPodAutoscalers are not served: going on without them until their CRD is installed")
		}
		return served, nil
	})
	if err != nil {
		return // the context ended
	}

	factory := vpainformers.NewSharedInformerFactory(v.client, 0)
	vpas := factory.Autoscaling().V1().VerticalPodAutoscalers()
	changed := cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { v.onChange() },
		UpdateFunc: func(old, new any) {
			was, ok := old.(*vpav1.VerticalPodAutoscaler)
			is, ok2 := new.(*vpav1.VerticalPodAutoscaler)
			// Recommenders write the status all the time; the generation moves with the spec only.
			if ok && ok2 && was.Generation != is.Generation {
				v.onChange()
			}
		},
		DeleteFunc: func(any) { v.onChange() },
	}
	if _, err := vpas.Informer().AddEventHandler(changed); err != nil {
		logger.Error(err, "Watching VerticalPodAutoscalers")
		return
	}
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), vpas.Informer().HasSynced) {
		return
	}
	lister := vpas.Lister()
	v.lister.Store(&lister)
	v.looked.Store(true)
	logger.Info("Watching VerticalPodAutoscalers")
	v.onChange()
	<-ctx.Done()
	factory.Shutdown()
}

func (v *VPAs) served() (bool, error) {
	_, err := v.discovery.ServerResourcesForGroupVersion(vpav1.SchemeGroupVersion.String())
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

// Known reports whether List tells the truth: the VPAs are read, or there is no CRD for them.
// Before that, a decision that a VPA could forbid must wait.
func (v *VPAs) Known() bool { return v.looked.Load() }

// List returns every VPA, in no order; none while the CRD is missing.
func (v *VPAs) List() []*vpav1.VerticalPodAutoscaler {
	if lister := v.lister.Load(); lister != nil {
		return all((*lister).List)
	}
	return nil
}
