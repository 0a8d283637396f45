// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// completionTime bounds what a shell waits for: a person's next key.
const completionTime = 3 * time.Second

// complete gives a flag its completions.
func complete(cmd *cobra.Command, flag string, f cobra.CompletionFunc) {
	// It fails only for a flag that does not exist or has completions, and then
	// there are none to lose.
	_ = cmd.RegisterFlagCompletionFunc(flag, f)
}

// completeTargets completes "sts/db" and "sts db", and names alone of the first
// kind once they can be told from kinds.
func completeTargets(connect connector, kinds ...kind) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
		spelled, _, slash := strings.Cut(toComplete, "/")
		switch {
		case len(args) == 1 && !strings.Contains(args[0], "/"):
			return completions(cmd, connect, kinds, args[0], "", toComplete)
		case len(args) > 0:
			return nil, cobra.ShellCompDirectiveNoFileComp
		case slash:
			return completions(cmd, connect, kinds, spelled, spelled+"/", toComplete)
		}
		var words []cobra.Completion
		for _, kind := range kinds {
			if word := kind.spellings()[0] + "/"; strings.HasPrefix(word, toComplete) {
				words = append(words, word)
			}
		}
		if len(words) == 0 {
			return completions(cmd, connect, kinds, kinds[0].spellings()[0], "", toComplete)
		}
		return words, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
}

// completions lists the names of a kind, as it is spelled. Where they can not
// be read there are none: a shell is no place for errors.
func completions(cmd *cobra.Command, connect connector, kinds []kind, spelled, prefix, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var words []cobra.Completion
	for _, kind := range kinds {
		if !kind.is(spelled) {
			continue
		}
		for _, name := range names(cmd.Context(), connect, kind) {
			if word := prefix + name; strings.HasPrefix(word, toComplete) {
				words = append(words, word)
			}
		}
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}

// names lists the objects of a kind in the namespace, sorted.
func names(ctx context.Context, connect connector, of kind) []string {
	c, err := connect()
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, completionTime)
	defer cancel()
	var found []string
	note := func(one metav1.Object) { found = append(found, one.GetName()) }
	switch of {
	case kindSet:
		err = visit(ctx, c.kube.AppsV1().StatefulSets(c.namespace).List, note)
	case kindPod:
		err = visit(ctx, c.kube.CoreV1().Pods(c.namespace).List, note)
	case kindHPA:
		err = visit(ctx, c.kube.AutoscalingV2().HorizontalPodAutoscalers(c.namespace).List, note)
	case kindVPA:
		err = visit(ctx, c.vpas.VerticalPodAutoscalers(c.namespace).List, note)
	case kindDeployment:
		err = visit(ctx, c.kube.AppsV1().Deployments(c.namespace).List, note)
	case kindReplicaSet:
		err = visit(ctx, c.kube.AppsV1().ReplicaSets(c.namespace).List, note)
	case kindController:
		err = visit(ctx, c.kube.CoreV1().ReplicationControllers(c.namespace).List, note)
	case kindNode:
		err = visit(ctx, c.kube.CoreV1().Nodes().List, note)
	case kindGroup:
		known, readErr := c.readGroups(ctx)
		err = cmp.Or(readErr, known.unread)
		found = known.names()
	case kindPolicy:
		shelf, shelfErr := shelve(ctx, c.policies)
		if err = shelfErr; err == nil {
			found = shelf.names(c.namespace)
		}
	}
	if err != nil {
		return nil
	}
	slices.Sort(found)
	return found
}

func completeNamespaces(connect connector) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
		c, err := connect()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
		defer cancel()
		var words []cobra.Completion
		err = visit(ctx, c.kube.CoreV1().Namespaces().List, func(one metav1.Object) {
			if strings.HasPrefix(one.GetName(), toComplete) {
				words = append(words, one.GetName())
			}
		})
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		slices.Sort(words)
		return words, cobra.ShellCompDirectiveNoFileComp
	}
}
