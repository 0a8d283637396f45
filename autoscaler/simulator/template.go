// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// AddTemplate adds a node that does not exist yet. What it promises of drivers and storage is not simulated yet: it has
// no limit of volumes, and no storage of its own.
func (s *Session) AddTemplate(node *v1.Node, _ map[string]int32, _ map[string]resource.Quantity) error {
	return s.AddNode(node)
}
