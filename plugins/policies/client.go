// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package policies

import (
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
)

// pageSize is how many policies a list asks for at once.
const pageSize = "500"

// Client reads PlacementPolicies and writes their statuses.
type Client struct{ rest rest.Interface }

// NewClient returns a client for the API server of a configuration, which it
// copies.
func NewClient(cfg *rest.Config) (*Client, error) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("registering PlacementPolicy: %w", err)
	}
	own := rest.CopyConfig(cfg)
	own.APIPath, own.GroupVersion = "/apis", &v1alpha1.SchemeGroupVersion
	own.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	// Custom resources are served as JSON, whatever the configuration asks for.
	own.ContentType, own.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON
	client, err := rest.RESTClientFor(own)
	if err != nil {
		return nil, fmt.Errorf("making a client for PlacementPolicies: %w", err)
	}
	return &Client{rest: client}, nil
}

// List returns every policy of the cluster; none where the kind is not
// installed.
func (c *Client) List(ctx context.Context) ([]*v1alpha1.PlacementPolicy, error) {
	var all []*v1alpha1.PlacementPolicy
	for token := ""; ; {
		var page v1alpha1.PlacementPolicyList
		err := c.rest.Get().Resource(v1alpha1.Resource).Param("limit", pageSize).Param("continue", token).Do(ctx).Into(&page)
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("listing PlacementPolicies: %w", err)
		}
		for i := range page.Items {
			all = append(all, &page.Items[i])
		}
		if token = page.Continue; token == "" {
			return all, nil
		}
	}
}

// UpdateStatus writes the status of a policy. It fails with a conflict if the
// policy was changed meanwhile.
func (c *Client) UpdateStatus(ctx context.Context, policy *v1alpha1.PlacementPolicy) error {
	err := c.rest.Put().Namespace(policy.Namespace).Resource(v1alpha1.Resource).Name(policy.Name).SubResource("status").
		Body(policy).Do(ctx).Error()
	if err != nil {
		return fmt.Errorf("writing the status of PlacementPolicy %s/%s: %w", policy.Namespace, policy.Name, err)
	}
	return nil
}

// served tells whether the API server has the kind.
func (c *Client) served(ctx context.Context) (bool, error) {
	var known metav1.APIResourceList
	err := c.rest.Get().AbsPath("apis", v1alpha1.SchemeGroupVersion.Group, v1alpha1.SchemeGroupVersion.Version).Do(ctx).Into(&known)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	return slices.ContainsFunc(known.APIResources, func(r metav1.APIResource) bool { return r.Name == v1alpha1.Resource }), err
}
