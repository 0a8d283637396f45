// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-dev/berth/test/cluster/layout"
	"github.com/berth-dev/berth/test/cluster/lifecycle"
)

const description = `berth-cluster runs whole Kubernetes clusters on this machine: etcd, the API
server, the controller manager, the default scheduler, metrics-server,
custom and external metrics, storage that binds, attaches and detaches, and
simulated nodes and pods.

Clusters are told apart by --name and live in .cluster/ of the checkout. The
kubeconfig of the user is left alone.

Exit codes: 0 done, 1 failed, 2 wrong command line, 3 no such cluster or component.`

func newCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:           "berth-cluster",
		Short:         "Runs whole Kubernetes clusters on this machine",
		Long:          description,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          usage(cobra.NoArgs),
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	name := cmd.PersistentFlags().String("name", layout.DefaultOptions().Name, "name of the cluster")
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	cmd.AddCommand(
		upCommand(name),
		downCommand(name),
		listCommand(),
		componentCommand(name, "start", "Start a component that is not running", lifecycle.Start),
		componentCommand(name, "stop", "Ask a component to stop, and wait until it has", lifecycle.Stop),
		componentCommand(name, "kill", "End a component as a crash does", lifecycle.Kill),
		restartCommand(name),
	)
	return cmd
}

// usage makes a complaint about arguments one about the command line.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageError{err}
		}
		return nil
	}
}

func upCommand(name *string) *cobra.Command {
	request := lifecycle.Request{Options: layout.DefaultOptions()}
	vpa := true
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start a cluster and print the line that makes kubectl use it",
		Args:  usage(cobra.NoArgs),
	}
	fs := cmd.Flags()
	fs.IntVar(&request.Nodes, "nodes", request.Nodes, "number of nodes from the start")
	fs.IntVar(&request.Zones, "zones", request.Zones, "number of zones they are in")
	fs.StringVar(&request.NodeCPU, "node-cpu", request.NodeCPU, "cpu of each node")
	fs.StringVar(&request.NodeMemory, "node-memory", request.NodeMemory, "memory of each node")
	fs.StringVar(&request.NodePods, "node-pods", request.NodePods, "number of pods each node takes")
	fs.DurationVar(&request.NodeBoot, "node-boot", request.NodeBoot, "time until a node that is made later is ready")
	fs.DurationVar(&request.NodeGrace, "node-grace", request.NodeGrace, "time until a node whose kubelet is dead is seen to be")
	fs.DurationVar(&request.PodReady, "pod-ready", request.PodReady, "time until a running pod is ready")
	fs.DurationVar(&request.PodStop, "pod-stop", request.PodStop, "time until a deleted pod is gone, bounded by its grace period")
	fs.IntVar(&request.AttachLimit, "attach-limit", request.AttachLimit, "number of zonal volumes each node takes")
	fs.DurationVar(&request.AttachDelay, "attach-delay", request.AttachDelay, "time the storage takes to attach or detach a volume")
	fs.BoolVar(&request.MetricsAdapter, "metrics-adapter", request.MetricsAdapter, "serve custom and external metrics, as annotations and ConfigMaps give them")
	fs.BoolVar(&request.HPAController, "hpa-controller", request.HPAController, "leave kube-controller-manager's own HPA controller on")
	fs.BoolVar(&request.Berth, "berth", request.Berth, "start berth-scheduler and berth-autoscaler")
	fs.BoolVar(&vpa, "vpa", vpa, "install the CRD of the VerticalPodAutoscaler")
	fs.StringArrayVar(&request.Apply, "apply", nil, "manifest file or kustomize folder to apply; repeatable (default: Berth's RBAC and policies)")
	fs.StringVar(&request.SchedulerConfig, "scheduler-config", "", "KubeSchedulerConfiguration of berth-scheduler (default manifests/scheduler/config.yaml)")
	fs.StringVar(&request.AutoscalerConfig, "autoscaler-config", "", "template of berth-autoscaler's configuration (default: one node group per zone)")

	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		home, err := lifecycle.FindHome()
		if err != nil {
			return err
		}
		request.Name = *name
		if err := request.Validate(); err != nil {
			return usageError{err}
		}
		request.Apply = manifests(home, request, vpa)
		if request.SchedulerConfig == "" {
			request.SchedulerConfig = filepath.Join(home.Root, "manifests/scheduler/config.yaml")
		}
		begin := time.Now()
		say := func(format string, args ...any) {
			fmt.Fprintf(cmd.ErrOrStderr(), "%5.1fs  %s\n", time.Since(begin).Seconds(), fmt.Sprintf(format, args...))
		}
		if err := lifecycle.Up(cmd.Context(), home, request, say); err != nil {
			return fmt.Errorf("cluster %s: %w", *name, err)
		}
		fmt.Fprintf(cmd.OutOrStdout(), "export KUBECONFIG=%s\n", home.Place(*name).Kubeconfig())
		fmt.Fprintf(cmd.ErrOrStderr(), "cluster %s ready in %.1fs\n", *name, time.Since(begin).Seconds())
		return nil
	}
	return cmd
}

// manifests are those to apply: the CRD first, as others may need it.
func manifests(home lifecycle.Home, request lifecycle.Request, vpa bool) []string {
	var paths []string
	if vpa {
		paths = append(paths, filepath.Join(home.ClusterBin, "vpa-crd.yaml"))
	}
	if len(request.Apply) > 0 || !request.Berth {
		return append(paths, request.Apply...)
	}
	for _, folder := range []string{"manifests/crd", "manifests/scheduler/rbac", "manifests/autoscaler/rbac", "manifests/autoscaler/kwok", "manifests/policies"} {
		paths = append(paths, filepath.Join(home.Root, folder))
	}
	return paths
}

func downCommand(name *string) *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Stop a cluster and remove every trace of it",
		Args:  usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			home, err := lifecycle.FindHome()
			if err != nil {
				return err
			}
			if err := lifecycle.Down(cmd.Context(), home, *name); err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "cluster %s is down\n", *name)
			return nil
		},
	}
}

// action does something to one component.
type action func(ctx context.Context, p layout.Place, component string) error

func componentCommand(name *string, verb, short string, do action) *cobra.Command {
	return &cobra.Command{
		Use:   verb + " COMPONENT",
		Short: short,
		Args:  usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			home, err := lifecycle.FindHome()
			if err != nil {
				return err
			}
			return do(cmd.Context(), home.Place(*name), args[0])
		},
	}
}

func restartCommand(name *string) *cobra.Command {
	return &cobra.Command{
		Use:   "restart COMPONENT [-- --FLAG=VALUE...]",
		Short: "Stop a component and start it again, with other values for its flags if any are given",
		Example: `  berth-cluster restart berth-scheduler
  berth-cluster restart kube-controller-manager -- --controllers='*'`,
		Args: usage(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			home, err := lifecycle.FindHome()
			if err != nil {
				return err
			}
			return lifecycle.Restart(cmd.Context(), home.Place(*name), args[0], args[1:])
		},
	}
}

func listCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the clusters of this checkout, or the one of --name, and their components",
		Args:  usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			home, err := lifecycle.FindHome()
			if err != nil {
				return err
			}
			names, err := home.Names()
			if err != nil {
				return err
			}
			if name := cmd.Flags().Lookup("name"); name.Changed {
				names = slices.DeleteFunc(names, func(n string) bool { return n != name.Value.String() })
			}
			table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
			fmt.Fprintln(table, "CLUSTER\tCOMPONENT\tPROCESS\tLOG")
			for _, name := range names {
				components, err := lifecycle.Components(home.Place(name))
				if err != nil {
					return err
				}
				for _, c := range components {
					process := "stopped"
					if pid := lifecycle.PID(c); pid != 0 {
						process = fmt.Sprint(pid)
					}
					fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", name, c.Name, process, lifecycle.LogFile(c))
				}
			}
			return table.Flush()
		},
	}
}
