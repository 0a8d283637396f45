// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Command berth-kube is every Kubernetes program of a test cluster, its storage and its metrics adapter, in one file.
// The name it is called by, through a symlink, says which one it is: one link
// takes the time and the room of one program instead of eight.
package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"go.etcd.io/etcd/server/v3/etcdmain"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register" // lets --logging-format=json work, as in the released binaries
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	metricsserver "sigs.k8s.io/metrics-server/cmd/metrics-server/app"

	"github.com/berth-dev/berth/test/cluster/adapter"
	"github.com/berth-dev/berth/test/cluster/storage"
)

func main() {
	programs := programs()
	name := filepath.Base(os.Args[0])
	run, known := programs[name]
	if !known {
		fmt.Fprintf(os.Stderr, "%s is called by the name of a program, through a symlink: %v\n", name, slices.Sorted(maps.Keys(programs)))
		os.Exit(2)
	}
	os.Exit(run())
}

// programs builds no command before it is asked for: their constructors
// register flags, metrics and signal handlers of the process, once each.
func programs() map[string]func() int {
	return map[string]func() int{
		"etcd": func() int {
			etcdmain.Main(os.Args)
			return 0
		},
		"kube-apiserver":          func() int { return cli.Run(apiserver.NewAPIServerCommand()) },
		"kube-controller-manager": func() int { return cli.Run(controllermanager.NewControllerManagerCommand()) },
		"kube-scheduler":          func() int { return cli.Run(scheduler.NewSchedulerCommand()) },
		"metrics-server": func() int {
			return cli.Run(metricsserver.NewMetricsServerCommand(genericapiserver.SetupSignalHandler()))
		},
		"kubectl":       runKubectl,
		"berth-storage": func() int { return cli.Run(storage.NewCommand()) },
		"berth-adapter": func() int { return cli.Run(adapter.NewCommand()) },
	}
}

// runKubectl leaves the printing of errors, and the exit code, to kubectl.
func runKubectl() int {
	if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
		kubectlutil.CheckErr(err)
	}
	return 0
}
