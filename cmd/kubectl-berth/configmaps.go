// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strings"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// mount is the files of one kind that a Deployment mounts from ConfigMaps.
type mount struct {
	namespace, deployment string
	documents             []document
	// unknown says why it is not known what is mounted: then the files are all
	// of the namespace.
	unknown error
}

// document is a file in a ConfigMap.
type document struct {
	origin string
	data   []byte
}

// mountOf reads what a Deployment mounts. Without the Deployment, as where its
// program runs in another way, it reads all ConfigMaps of the namespace.
func (c *cluster) mountOf(ctx context.Context, namespace, deployment, kind string) (mount, error) {
	m := mount{namespace: namespace, deployment: deployment}
	candidates, err := c.mounted(ctx, namespace, deployment)
	if err != nil {
		m.unknown = err
		list, err := c.kube.CoreV1().ConfigMaps(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return m, err
		}
		candidates = list.Items
	}
	for _, candidate := range candidates {
		for _, data := range candidate.Data {
			if strings.Contains(data, kind) {
				origin := fmt.Sprintf("ConfigMap %s/%s", candidate.Namespace, candidate.Name)
				m.documents = append(m.documents, document{origin: origin, data: []byte(data)})
			}
		}
	}
	return m, nil
}

// mounted returns the ConfigMaps that a Deployment mounts.
func (c *cluster) mounted(ctx context.Context, namespace, deployment string) ([]v1.ConfigMap, error) {
	found, err := c.kube.AppsV1().Deployments(namespace).Get(ctx, deployment, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	var all []v1.ConfigMap
	for _, volume := range found.Spec.Template.Spec.Volumes {
		if volume.ConfigMap == nil {
			continue
		}
		one, err := c.kube.CoreV1().ConfigMaps(namespace).Get(ctx, volume.ConfigMap.Name, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		all = append(all, *one)
	}
	return all, nil
}

// pick returns the one of those that were found in the documents that the
// program runs with. What is missing is said in words for "has no".
func pick[T any](m mount, found []T, what string) (T, error) {
	var none T
	switch {
	case len(found) == 1, len(found) > 1 && m.unknown == nil:
		return found[0], nil
	case len(found) > 1:
		return none, fmt.Errorf("%d ConfigMaps in namespace %s carry one, and which of them is mounted is not known: %w", len(found), m.namespace, m.unknown)
	case m.unknown == nil:
		return none, fmt.Errorf("no ConfigMap that Deployment %s/%s mounts has %s", m.namespace, m.deployment, what)
	default:
		return none, fmt.Errorf("no ConfigMap in namespace %s has %s", m.namespace, what)
	}
}
