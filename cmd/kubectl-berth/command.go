// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// completer is the name under which kubectl looks for the completions of
// `kubectl berth`.
const completer = "kubectl_complete-berth"

// arguments returns those of the command. Called by the name of the completer
// it is asked for completions, as cobra's own shell scripts ask.
func arguments(argv []string) []string {
	if filepath.Base(argv[0]) == completer {
		return append([]string{cobra.ShellCompRequestCmd}, argv[1:]...)
	}
	return argv[1:]
}

const (
	rootLong = `See where the ordinals of stateful applications belong, and why, and what the
autoscaler makes of the metrics of an HPA.

The answers are those of Berth's scheduler and autoscaler, worked out by the
same code from what exists now. Nothing is written.`

	planLong = `Print where each wanted ordinal of a set belongs, why, and where its pod and
its volumes are.

A set is a StatefulSet (sts/NAME), or the pods of an operator that a
PlacementPolicy selects and finds the ordinal of (pp/NAME).`

	planExample = `  # Where the ordinals of StatefulSet db belong
  kubectl berth plan sts/db

  # Where they would be with 9 replicas
  kubectl berth plan sts/db --replicas 9

  # The pods that an operator makes, and PlacementPolicy kafka selects
  kubectl berth plan pp/kafka -n streaming

  # For programs
  kubectl berth plan sts/db -o json`

	explainLong = `Say where a pod belongs and why, and, while it has no node, what is in the way.

Each node that the plan leaves is judged by the checks that one look at the API
allows: taints, node affinity, the rules of the policy, volumes, other pods of
the set, ports, free resources and room that is kept for others. What the scheduler said last is quoted.

A pod that a StatefulSet wants and has not made yet is explained too.

Of a HorizontalPodAutoscaler (hpa/NAME), print the numbers behind its decision:
what the controller wrote last, and then, from one look at the metrics, the value,
the ratio to the target and the proposal of each metric, what limits them, and
whether Berth acts on HPAs, or leaves them to another controller.
Recommendations of the last minutes, by which replicas are stabilized, are in the
memory of the autoscaler that leads.`

	explainExample = `  # Why is db-4 pending?
  kubectl berth explain pod/db-4

  # The same
  kubectl berth explain db-4

  # Why does HPA web scale, or not?
  kubectl berth explain hpa/web`

	holdsLong = `List the room that is kept for slots whose pods are away.

When the pod of a slot leaves its node and its set still wants the slot, the
scheduler keeps the room for the slot until it is back. It notes that on the
claims of the slot, and the notes are what is listed. Sets without claims have no
notes: room is kept for their slots too, and is not seen from here.

A slot whose volume can be reached from one node only keeps its room there without
expiry, and so does one whose policy says returnToNode: Required. For others it is
home.holdFor of their policy, from when the pod is gone. The note has since when
the pod leaves, so the rest of the time is given as what it is at least and at
most.`

	holdsExample = `  # The room that is kept in the namespace
  kubectl berth holds

  # In all namespaces
  kubectl berth holds -A

  # For the slots of StatefulSet db
  kubectl berth holds sts/db

  # For programs
  kubectl berth holds -o json`
)

// newCommand returns `kubectl berth`.
func newCommand(streams genericiooptions.IOStreams) *cobra.Command {
	o := newOptions()
	return newCommandFor(streams, o, o.connect)
}

func newCommandFor(streams genericiooptions.IOStreams, o *options, connect connector) *cobra.Command {
	cmd := &cobra.Command{
		Use:           "kubectl-berth",
		Short:         "See where the ordinals of stateful applications belong, and why",
		Long:          rootLong,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl berth"},
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.SetIn(streams.In)
	cmd.SetOut(streams.Out)
	cmd.SetErr(streams.ErrOut)
	o.kubeconfig.AddFlags(cmd.PersistentFlags())
	complete(cmd, "namespace", completeNamespaces(connect))
	cmd.AddCommand(newPlanCommand(o, connect), newExplainCommand(o, connect), newHoldsCommand(o, connect))
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usage(cmd, err) })
	return cmd
}

func newPlanCommand(o *options, connect connector) *cobra.Command {
	var replicas int32
	cmd := &cobra.Command{
		Use:               "plan (sts/NAME | pp/NAME)",
		Short:             "Print where the ordinals of a set belong",
		Long:              planLong,
		Example:           planExample,
		ValidArgsFunction: completeTargets(connect, kindSet, kindPolicy),
		RunE: func(cmd *cobra.Command, args []string) error {
			about, err := parseTarget(args, kindSet, kindPolicy)
			if err != nil {
				return usage(cmd, err)
			}
			var scaleTo *int
			if cmd.Flags().Changed("replicas") {
				if replicas < 0 {
					return usage(cmd, fmt.Errorf("--replicas %d is below 0", replicas))
				}
				n := int(replicas)
				scaleTo = &n
			}
			return o.run(cmd, connect, func(c *cluster) (textual, error) {
				v, err := c.look(cmd.Context())
				if err != nil {
					return nil, err
				}
				return v.plan(cmd.Context(), about, scaleTo)
			})
		},
	}
	cmd.Flags().Int32Var(&replicas, "replicas", 0, "Plan as if the StatefulSet were scaled to this many replicas.")
	o.add(cmd)
	return cmd
}

func newExplainCommand(o *options, connect connector) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "explain (pod/NAME | hpa/NAME)",
		Short:             "Say where a pod belongs, why, and what is in the way; or why an HPA scales",
		Long:              explainLong,
		Example:           explainExample,
		ValidArgsFunction: completeTargets(connect, kindPod, kindHPA),
		RunE: func(cmd *cobra.Command, args []string) error {
			about, err := parseTarget(args, kindPod, kindHPA)
			if err != nil {
				return usage(cmd, err)
			}
			return o.run(cmd, connect, func(c *cluster) (textual, error) {
				if about.kind == kindHPA {
					return c.explainHPA(cmd.Context(), about.name)
				}
				return c.explain(cmd.Context(), about.name)
			})
		},
	}
	o.add(cmd)
	o.addScaling(cmd)
	return cmd
}

func newHoldsCommand(o *options, connect connector) *cobra.Command {
	var everywhere bool
	cmd := &cobra.Command{
		Use:               "holds [sts/NAME | pp/NAME]",
		Short:             "List the room that is kept for slots whose pods are away",
		Long:              holdsLong,
		Example:           holdsExample,
		ValidArgsFunction: completeTargets(connect, kindSet, kindPolicy),
		RunE: func(cmd *cobra.Command, args []string) error {
			var about *target
			if len(args) > 0 {
				one, err := parseTarget(args, kindSet, kindPolicy)
				if err != nil {
					return usage(cmd, err)
				}
				about = &one
			}
			if about != nil && everywhere {
				return usage(cmd, errors.New("a set is in one namespace: name it with -n, or leave it out with --all-namespaces"))
			}
			return o.run(cmd, connect, func(c *cluster) (textual, error) {
				report, err := c.holds(cmd.Context(), about, everywhere)
				if err == nil && o.output == formatTable && report.none() != "" {
					fmt.Fprintln(cmd.ErrOrStderr(), report.none())
				}
				return report, err
			})
		},
	}
	cmd.Flags().BoolVarP(&everywhere, "all-namespaces", "A", false, "List the room that is kept in all namespaces.")
	o.add(cmd)
	return cmd
}

// run connects, asks and prints.
func (o *options) run(cmd *cobra.Command, connect connector, ask func(*cluster) (textual, error)) error {
	printTo, err := printer(o.output)
	if err != nil {
		return usage(cmd, err)
	}
	c, err := connect()
	if err != nil {
		return err
	}
	report, err := ask(c)
	if err != nil {
		return advised(err)
	}
	return printTo(cmd.OutOrStdout(), report)
}

// usage says where to read how a command is used.
func usage(cmd *cobra.Command, err error) error {
	return fmt.Errorf("%w\nSee '%s --help' for usage", err, cmd.CommandPath())
}
