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
	cmd.AddCommand(newPlanCommand(o, connect), newExplainCommand(o, connect), newHoldsCommand(o, connect), newWhatIfCommand(o, connect))
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
		Use:               "explain (pod/NAME | hpa/NAME | vpa/NAME | node-group/NAME | node/NAME)",
		Short:             "Say where a pod belongs, and what is in the way; why an HPA scales; what a VPA sizes; or how a node group stands",
		Long:              explainLong,
		Example:           explainExample,
		ValidArgsFunction: completeTargets(connect, kindPod, kindHPA, kindVPA, kindGroup, kindNode),
		RunE: func(cmd *cobra.Command, args []string) error {
			about, err := parseTarget(args, kindPod, kindHPA, kindVPA, kindGroup, kindNode)
			if err != nil {
				return usage(cmd, err)
			}
			return o.run(cmd, connect, func(c *cluster) (textual, error) {
				switch about.kind {
				case kindHPA:
					return c.explainHPA(cmd.Context(), about.name)
				case kindVPA:
					return c.explainVPA(cmd.Context(), about.name)
				case kindGroup:
					return c.explainGroup(cmd.Context(), about.name)
				case kindNode:
					return c.explainNode(cmd.Context(), about.name)
				default:
					return c.explain(cmd.Context(), about.name)
				}
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
