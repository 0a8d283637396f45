// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package adapter

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"sigs.k8s.io/custom-metrics-apiserver/pkg/cmd"

	"github.com/berth-dev/berth/test/cluster/layout"
)

// NewCommand returns berth-adapter, which serves the metrics of one cluster.
func NewCommand() *cobra.Command {
	var delay time.Duration
	server := &cmd.AdapterBase{Name: layout.MetricsAdapter}
	command := &cobra.Command{
		Use:   layout.MetricsAdapter + " --lister-kubeconfig FILE",
		Short: "Serves custom and external metrics of a test cluster, as annotations and ConfigMaps give them",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(command.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return run(ctx, server, delay)
		},
	}
	server.FlagSet = command.Flags()
	server.InstallFlags()
	command.Flags().DurationVar(&delay, "delay", 0, "time that each answer takes")
	return command
}

func run(ctx context.Context, server *cmd.AdapterBase, delay time.Duration) error {
	given, err := server.ClientConfig()
	if err != nil {
		return err
	}
	config := rest.CopyConfig(given)
	config.QPS = -1 // a thousand HPAs may ask at once
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	objects, err := metadata.NewForConfig(config)
	if err != nil {
		return err
	}
	known, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return err
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(known))
	server.WithCustomMetrics(&custom{objects: objects, mapper: mapper, delay: delay})
	server.WithExternalMetrics(&external{kube: kube, delay: delay})
	return server.Run(ctx)
}
