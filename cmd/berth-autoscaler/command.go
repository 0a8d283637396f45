// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/component-base/cli/globalflag"
	"k8s.io/component-base/logs"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/component-base/term"
	"k8s.io/component-base/version/verflag"
	"k8s.io/klog/v2"

	"github.com/berth-dev/berth/autoscaler/config"
)

const description = `berth-autoscaler decides, in one loop, the replicas of what HorizontalPodAutoscalers
target, the requests of what VerticalPodAutoscalers target, and the nodes that
both need. It refuses an HPA and a VPA on one target.

It reads metrics.k8s.io, so metrics-server must run, and for HPAs that ask for
them custom.metrics.k8s.io and external.metrics.k8s.io. Of several replicas one
leads and the others wait. While kube-controller-manager's HPA controller is on, every
HPA is left to it; -horizontal-pod-autoscaler-controller among its --controllers switches it off.`

// newCommand returns the command with its flags.
func newCommand() *cobra.Command {
	var configFile, kubeconfig string
	logOptions := logs.NewOptions()

	cmd := &cobra.Command{
		Use:           "berth-autoscaler --config FILE",
		Short:         "Decides replicas, requests and nodes in one loop",
		Long:          description,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			verflag.PrintAndExitIfRequested()
			if err := logsapi.ValidateAndApply(logOptions, nil); err != nil {
				return err
			}
			c, err := load(configFile, kubeconfig)
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			// The second signal ends the process at once.
			context.AfterFunc(ctx, stop)
			return run(klog.NewContext(ctx, klog.Background()), c)
		},
	}

	var sets cliflag.NamedFlagSets
	fs := sets.FlagSet("autoscaler")
	fs.StringVar(&configFile, "config", "", "The AutoscalerConfiguration file. Required.")
	fs.StringVar(&kubeconfig, "kubeconfig", "", "The kubeconfig file. Overrides clientConnection.kubeconfig; without both, the pod's service account is used.")
	logsapi.AddFlags(logOptions, sets.FlagSet("logs"))
	verflag.AddFlags(sets.FlagSet("global"))
	globalflag.AddGlobalFlags(sets.FlagSet("global"), cmd.Name(), logs.SkipLoggingConfigurationFlags())
	for _, set := range sets.FlagSets {
		cmd.Flags().AddFlagSet(set)
	}
	width, _, _ := term.TerminalSize(cmd.OutOrStdout())
	cliflag.SetUsageAndHelpFunc(cmd, sets, width)
	return cmd
}

// load reads the configuration; a kubeconfig flag wins over its field.
func load(configFile, kubeconfig string) (*config.Autoscaler, error) {
	if configFile == "" {
		return nil, errors.New("--config is required: the AutoscalerConfiguration file")
	}
	data, err := os.ReadFile(configFile)
	if err != nil {
		return nil, fmt.Errorf("--config: %w", err)
	}
	c, err := config.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("--config %s: %w", configFile, err)
	}
	if kubeconfig != "" {
		c.ClientConnection.Kubeconfig = kubeconfig
	}
	return c, nil
}
