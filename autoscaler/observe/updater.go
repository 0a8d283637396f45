// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"context"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
)

// The Lease that the admission controller of upstream's VPA renews, every ten seconds, whoever its holder is: pkg/utils/status
// of VPA 1.7.3. No flag changes its name.
const (
	AdmissionLease          = "vpa-admission-controller"
	AdmissionLeaseNamespace = metav1.NamespaceSystem
)

// Updater reads the Lease by which upstream's updater knows that it may act.
type Updater struct {
	leases coordinationclient.LeaseInterface
}

// NewUpdater returns a reader of the Lease.
func NewUpdater(leases coordinationclient.LeasesGetter) *Updater {
	return &Updater{leases: leases.Leases(AdmissionLeaseNamespace)}
}

// Look asks the API server for the Lease, nil where there is none. An informer would not know
// that it lags behind, and a Lease that nobody renews looks just like that.
func (u *Updater) Look(ctx context.Context) (*coordinationv1.Lease, error) {
	lease, err := u.leases.Get(ctx, AdmissionLease, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return lease, nil
}
