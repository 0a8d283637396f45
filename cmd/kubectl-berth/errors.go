// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

const (
	remedyForbidden = "; kubectl berth gets and lists statefulsets, pods, persistentvolumeclaims and events of the namespace, " +
		"and nodes, persistentvolumes, storageclasses and placementpolicies of the cluster; for an HPA, horizontalpodautoscalers, deployments, replicasets, " +
		"statefulsets, pods and the scale of its target; for a VPA, verticalpodautoscalers; for nodes and their groups, pods and nodes of the cluster and the configmap berth-system/berth-autoscaler-status; to try what if, it lists and watches in the whole cluster all that the scheduler's plugins read: ask for the right that is missing"
	remedyUnauthorized = "; log in, or name another --context or --user"
	remedyTimeout      = "; the API server did not answer in time: try again, or allow it more by --request-timeout"
	remedyUnreachable  = "; is the API server up, and the --context the right one?"
)

func wrap(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// advised adds to an error what to do about it.
func advised(err error) error {
	var network *net.OpError
	var timeout interface{ Timeout() bool }
	switch {
	case err == nil, errors.Is(err, context.Canceled):
		return err
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%w%s", err, remedyForbidden)
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("%w%s", err, remedyUnauthorized)
	case apierrors.IsTimeout(err), apierrors.IsServerTimeout(err), errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("%w%s", err, remedyTimeout)
	case errors.As(err, &network):
		return fmt.Errorf("%w%s", err, remedyUnreachable)
	}
	return err
}

// notFound says that there is no such object, and what there is instead.
func notFound(kind, namespace, name string, have []string) error {
	if len(have) == 0 {
		return fmt.Errorf("%s %q not found: namespace %q has none; name another one by -n", kind, name, namespace)
	}
	return fmt.Errorf("%s %q not found in namespace %q, which has %s", kind, name, namespace, strings.Join(nearest(name, have), ", "))
}

// mostNames bounds the names that an error lists.
const mostNames = 5

// nearest returns the names that are most like one, the best first; only those
// that could be it mistyped, if there are any.
func nearest(name string, have []string) []string {
	byDistance := slices.SortedFunc(slices.Values(have), func(a, b string) int {
		return cmp.Or(cmp.Compare(distance(name, a), distance(name, b)), cmp.Compare(a, b))
	})
	most := min(len(byDistance), mostNames)
	like := byDistance[:most]
	if i := slices.IndexFunc(like, func(n string) bool { return distance(name, n) > max(2, len(name)/3) }); i > 0 {
		return like[:i]
	}
	if more := len(byDistance) - most; more > 0 {
		like = append(slices.Clone(like), fmt.Sprintf("and %d more", more))
	}
	return like
}

// distance counts the letters to put in, take out or change to make b of a
// (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, diagonal+1, row[j]+1)
		}
	}
	return row[len(b)]
}

// keys lists the names in a map, sorted.
func keys[T any](of map[string]T) []string { return slices.Sorted(maps.Keys(of)) }
