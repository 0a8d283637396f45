// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"context"
	"fmt"
	"strconv"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
	"github.com/berth-dev/berth/plugins/policies"
)

// policyServer is the API server for policies, and the watch that tells the
// book of every change unless it is behind.
type policyServer struct {
	book *policies.Book

	mu       sync.Mutex // the conductor writes several at a time
	stored   map[string]*v1alpha1.PlacementPolicy
	version  int
	behind   bool // the watch tells nothing
	fails    error
	attempts int
	written  []string
}

func newPolicyServer(book *policies.Book, all []*v1alpha1.PlacementPolicy) *policyServer {
	s := &policyServer{book: book, stored: map[string]*v1alpha1.PlacementPolicy{}}
	for _, policy := range all {
		s.put(policy)
	}
	return s
}

func (s *policyServer) put(policy *v1alpha1.PlacementPolicy) {
	s.version++
	policy = policy.DeepCopy()
	policy.ResourceVersion = strconv.Itoa(s.version)
	s.stored[policy.Name] = policy
	s.tell(policy)
}

func (s *policyServer) tell(policy *v1alpha1.PlacementPolicy) {
	if !s.behind {
		s.book.Set(policy)
	}
}

// edit changes the spec as a person would.
func (s *policyServer) edit(name string, change func(*v1alpha1.PlacementPolicySpec)) {
	policy := s.stored[name].DeepCopy()
	change(&policy.Spec)
	policy.Generation++
	s.put(policy)
}

func (s *policyServer) remove(name string) {
	delete(s.stored, name)
	s.book.Delete("prod", name)
}

func (s *policyServer) UpdateStatus(_ context.Context, policy *v1alpha1.PlacementPolicy) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.attempts++
	resource := schema.GroupResource{Group: v1alpha1.SchemeGroupVersion.Group, Resource: v1alpha1.Resource}
	stored := s.stored[policy.Name]
	switch {
	case s.fails != nil:
		return s.fails
	case stored == nil:
		return apierrors.NewNotFound(resource, policy.Name)
	case stored.ResourceVersion != policy.ResourceVersion:
		return apierrors.NewConflict(resource, policy.Name, nil)
	}
	s.written = append(s.written, policy.Name)
	updated := stored.DeepCopy()
	updated.Status = policy.Status
	s.put(updated)
	return nil
}

// says is a condition of a policy in one line, without its time.
func (s *policyServer) says(name, kind string) string {
	c := meta.FindStatusCondition(s.stored[name].Status.Conditions, kind)
	if c == nil {
		return ""
	}
	return fmt.Sprintf("%s %s generation %d", c.Status, c.Reason, c.ObservedGeneration)
}
