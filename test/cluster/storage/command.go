// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

// options is what the command is told.
type options struct {
	kubeconfig  string
	attachLimit int32
	attachDelay time.Duration
}

// NewCommand returns berth-storage, which serves the storage of one cluster.
func NewCommand() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "berth-storage --kubeconfig FILE",
		Short: "Serves the storage of a test cluster: provisioning, attaching, and what kubelets report of it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return o.run(ctx)
		},
	}
	cmd.Flags().StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig of the cluster")
	cmd.Flags().Int32Var(&o.attachLimit, "attach-limit", 16, "number of zonal volumes each node takes")
	cmd.Flags().DurationVar(&o.attachDelay, "attach-delay", 200*time.Millisecond, "time it takes to attach or detach a volume")
	return cmd
}

func (o options) run(ctx context.Context) error {
	config, err := clientcmd.BuildConfigFromFlags("", o.kubeconfig)
	if err != nil {
		return err
	}
	config.QPS = -1 // one client stands for all kubelets
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	core, storage := factory.Core().V1(), factory.Storage().V1()

	attacher := &attacher{
		client:      client,
		attachments: storage.VolumeAttachments().Lister(),
		delay:       o.attachDelay,
		queue:       newQueue(),
	}
	kubelet := &kubelet{
		client:      client,
		nodes:       core.Nodes().Lister(),
		pods:        core.Pods().Informer().GetIndexer(),
		claims:      core.PersistentVolumeClaims().Lister(),
		volumes:     core.PersistentVolumes().Lister(),
		csiNodes:    storage.CSINodes().Lister(),
		attachLimit: o.attachLimit,
		queue:       newQueue(),
	}
	if err := core.Pods().Informer().AddIndexers(cache.Indexers{byNode: podsByNode}); err != nil {
		return err
	}
	for informer, handler := range map[cache.SharedIndexInformer]cache.ResourceEventHandler{
		storage.VolumeAttachments().Informer(): attacher.handler(),
		core.Pods().Informer():                 kubelet.podHandler(),
		core.Nodes().Informer():                kubelet.nodeHandler(),
	} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return err
		}
	}
	provision := newProvisionController(ctx, &provisioner{client: client, attachments: storage.VolumeAttachments().Lister()})

	factory.Start(ctx.Done())
	for _, synced := range factory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			return errors.New("the caches were not filled before the end")
		}
	}
	var running sync.WaitGroup
	running.Go(func() { work(ctx, attacher.queue, 8, attacher.sync) })
	running.Go(func() { work(ctx, kubelet.queue, 16, kubelet.sync) })
	running.Go(func() { provision.Run(ctx) })
	running.Wait()
	return nil
}
