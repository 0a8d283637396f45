// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"path/filepath"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
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

func newCommand(streams genericiooptions.IOStreams) *cobra.Command {
	cmd := &cobra.Command{
		Use:           "kubectl-berth",
		Short:         "See where the ordinals of stateful applications belong, and why",
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl berth"},
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	cmd.SetIn(streams.In)
	cmd.SetOut(streams.Out)
	cmd.SetErr(streams.ErrOut)
	genericclioptions.NewConfigFlags(true).AddFlags(cmd.PersistentFlags())
	return cmd
}
