// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	vpaclient "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/client/clientset/versioned/typed/autoscaling.k8s.io/v1"
)

// checkpointPage bounds the checkpoints in one answer of the API server, some kilobytes each.
const checkpointPage = 500

// Checkpoints reads the checkpoints of VPAs. There is no informer of them: they are large, are
// written all the time, and are needed once.
type Checkpoints struct {
	client vpaclient.VerticalPodAutoscalerCheckpointsGetter
}

// NewCheckpoints returns a reader of checkpoints.
func NewCheckpoints(client vpaclient.VerticalPodAutoscalerCheckpointsGetter) *Checkpoints {
	return &Checkpoints{client: client}
}

// All asks for every checkpoint of a namespace, or with none of the cluster, page by page. It fails with
// NotFound where the API server does not know the kind.
func (c *Checkpoints) All(ctx context.Context, namespace string) ([]*vpav1.VerticalPodAutoscalerCheckpoint, error) {
	var all []*vpav1.VerticalPodAutoscalerCheckpoint
	options := metav1.ListOptions{Limit: checkpointPage}
	for {
		page, err := c.client.VerticalPodAutoscalerCheckpoints(namespace).List(ctx, options)
		if err != nil {
			return nil, err
		}
		for i := range page.Items {
			o := &page.Items[i]
			o.ManagedFields = nil // one for each bucket
			all = append(all, o)
		}
		if options.Continue = page.Continue; options.Continue == "" {
			return all, nil
		}
	}
}

// Look asks for one checkpoint, nil where there is none.
func (c *Checkpoints) Look(ctx context.Context, namespace, name string) (*vpav1.VerticalPodAutoscalerCheckpoint, error) {
	o, err := c.client.VerticalPodAutoscalerCheckpoints(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return o, nil
}

// Synced tells whether List is of VPAs that are watched. Known alone may mean that there is no CRD for them.
func (v *VPAs) Synced() bool { return v.lister.Load() != nil }

// VPAsSynced tells whether VPAs returns every one that there is, so that what is not there is gone.
func (r *Reader) VPAsSynced() bool { return r.vpas.Synced() }
