// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
	"github.com/berth-dev/berth/plugins/policies"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// policyLister reads the PlacementPolicies: none where the kind is not
// installed.
type policyLister interface {
	List(context.Context) ([]*v1alpha1.PlacementPolicy, error)
}

// policyShelf is the policies, by their book, which knows what they do, and as
// they are.
type policyShelf struct {
	book *policies.Book
	all  []*v1alpha1.PlacementPolicy
}

func shelve(ctx context.Context, lister policyLister) (*policyShelf, error) {
	all, err := lister.List(ctx)
	if err != nil {
		return nil, err
	}
	book := policies.NewBook()
	book.Replace(all)
	book.MarkReady(nil)
	return &policyShelf{book: book, all: all}, nil
}

// of returns a policy by name.
func (s *policyShelf) of(namespace, name string) *v1alpha1.PlacementPolicy {
	for _, policy := range s.all {
		if policy.Namespace == namespace && policy.Name == name {
			return policy
		}
	}
	return nil
}

// names lists the policies of a namespace.
func (s *policyShelf) names(namespace string) []string {
	var names []string
	for _, policy := range s.all {
		if policy.Namespace == namespace {
			names = append(names, policy.Name)
		}
	}
	return names
}

// notes says of policies that are for a set why they have no effect on it.
func (s *policyShelf) notes(set *appsv1.StatefulSet) []string {
	var notes []string
	for _, verdict := range s.book.Verdicts([]*appsv1.StatefulSet{set}) {
		if verdict.Namespace != set.Namespace || !isFor(s.of(verdict.Namespace, verdict.Name), set) {
			continue
		}
		switch {
		case !verdict.Accepted:
			notes = append(notes, fmt.Sprintf("PlacementPolicy %q is for this set and invalid: %s", verdict.Name, verdict.AcceptedMessage))
		case verdict.Conflicted:
			notes = append(notes, fmt.Sprintf("PlacementPolicy %q: %s", verdict.Name, verdict.ConflictedMessage))
		}
	}
	return notes
}

// isFor tells whether a policy, valid or not, means a set.
func isFor(policy *v1alpha1.PlacementPolicy, set *appsv1.StatefulSet) bool {
	if ref := policy.Spec.TargetRef; ref != nil && ref.Name == set.Name {
		return true
	}
	selector, err := metav1.LabelSelectorAsSelector(policy.Spec.Selector)
	return err == nil && selector.Matches(labels.Set(set.Spec.Template.Labels))
}
