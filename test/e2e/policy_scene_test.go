// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
	"github.com/berth-dev/berth/test/fixture"
)

// policy makes the policy of a set, named like the set, and returns once it
// says that it is accepted: what is made afterwards is placed by it.
func (s scene) policy(ctx context.Context, t *testing.T, set string, placement v1alpha1.Placement) {
	t.Helper()
	s.create(ctx, t, fixture.Policy(set, set, placement))
	s.awaitPolicy(ctx, t, set, v1alpha1.Accepted, metav1.ConditionTrue)
}

// editPolicy changes what a policy asks for, and returns once that is accepted.
func (s scene) editPolicy(ctx context.Context, t *testing.T, name string, change func(*v1alpha1.PlacementPolicySpec)) {
	t.Helper()
	if _, err := s.UpdatePolicy(ctx, s.Namespace, name, change); err != nil {
		t.Fatal(err)
	}
	s.awaitPolicy(ctx, t, name, v1alpha1.Accepted, metav1.ConditionTrue)
}

// awaitPolicy waits until a condition of a policy has the status, and all the words.
func (s scene) awaitPolicy(ctx context.Context, t *testing.T, name, condition string, status metav1.ConditionStatus, words ...string) {
	t.Helper()
	what := fmt.Sprintf("condition %s=%s of PlacementPolicy %s with %q", condition, status, name, words)
	s.until(ctx, t, what, s.PolicyCondition(s.Namespace, name, condition, status, words...))
}

// awaitRunning waits until exactly so many ordinals of a set are ready, and
// returns where they are. Others may have no node.
func (s scene) awaitRunning(ctx context.Context, t *testing.T, set string, running int) fixture.Table {
	t.Helper()
	var table fixture.Table
	s.until(ctx, t, fmt.Sprintf("%d ordinals of %s to run", running, set), func(ctx context.Context) (string, bool, error) {
		var err error
		table, err = s.Table(ctx, s.Namespace, set)
		return "\n" + table.String(), table.Running() == running, err
	})
	t.Logf("%s:\n%s", set, table)
	return table
}

// domains is the domain of each of the first n ordinals in one line, "-" for
// one without a node: the value of a label of their nodes, of the zone's if key is empty.
func domains(table fixture.Table, nodes []*corev1.Node, key string, n int) string {
	labels := map[string]string{"": "-"}
	for _, node := range nodes {
		labels[node.Name] = node.Labels[cmp.Or(key, corev1.LabelTopologyZone)]
	}
	found := slices.Repeat([]string{"-"}, n)
	for _, row := range table {
		if row.Ordinal < n {
			found[row.Ordinal] = labels[row.Node]
		}
	}
	return strings.Join(found, " ")
}

// awaitPending waits until a pod is refused, or gated, with all the words in its
// PodScheduled condition, and returns the message.
func (s scene) awaitPending(ctx context.Context, t *testing.T, name, reason string, words ...string) string {
	t.Helper()
	var message string
	s.until(ctx, t, fmt.Sprintf("pod %s to wait with reason %s and %q", name, reason, words), func(ctx context.Context) (string, bool, error) {
		pod, err := s.Kube.CoreV1().Pods(s.Namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return "", false, err
		}
		if pod.Spec.NodeName != "" {
			return "it is on node " + pod.Spec.NodeName, false, nil
		}
		var seen []string
		for _, c := range pod.Status.Conditions {
			message = c.Message
			if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == reason && containsAll(message, words) {
				return "", true, nil
			}
			seen = append(seen, fmt.Sprintf("%s=%s %s: %s", c.Type, c.Status, c.Reason, c.Message))
		}
		return strings.Join(seen, "; "), false, nil
	})
	return message
}
