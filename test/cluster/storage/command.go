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
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/record"

	"github.com/berth-dev/berth/test/cluster/resize"
)

// options is what the command is told.
type options struct {
	kubeconfig  string
	attachLimit int32
	attachDelay time.Duration
}

// NewCommand returns berth-storage, which serves the storage of one cluster, and does
// the work of its kubelets that kwok leaves out.
func NewCommand() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "berth-storage --kubeconfig FILE",
		Short: "Serves the storage of a test cluster: provisioning, attaching, and what kubelets do beside kwok",
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

	leases := deadLeases(client)

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
		leases:      leases.Coordination().V1().Leases().Lister().Leases(corev1.NamespaceNodeLease),
		attachLimit: o.attachLimit,
		queue:       newQueue(),
	}
	events := record.NewBroadcaster(record.WithContext(ctx))
	defer events.Shutdown()
	events.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: client.CoreV1().Events("")})
	resizers := resize.New(resize.Config{
		Client: client,
		Nodes:  kubelet.nodes,
		PodsOn: kubelet.podsOn,
		Alive:  func(node *corev1.Node) bool { return simulated(node) && !dead(node) },
		Events: events,
		Queue:  newQueue(),
	})
	publisher := &publisher{
		client:     client,
		nodes:      core.Nodes().Informer().GetIndexer(),
		classes:    storage.StorageClasses().Lister(),
		capacities: storage.CSIStorageCapacities().Informer().GetIndexer(),
		pools:      newPools(),
		queue:      newQueue(),
	}
	if err := errors.Join(
		core.Pods().Informer().AddIndexers(cache.Indexers{byNode: podsByNode}),
		core.Nodes().Informer().AddIndexers(cache.Indexers{byPool: nodesByPool}),
		storage.CSIStorageCapacities().Informer().AddIndexers(cache.Indexers{byPool: capacitiesByPool}),
	); err != nil {
		return err
	}
	handled, err := watch([]watched{
		{storage.VolumeAttachments().Informer(), attacher.handler()},
		{core.Pods().Informer(), kubelet.podHandler()},
		{core.Nodes().Informer(), kubelet.nodeHandler()},
		{core.Pods().Informer(), resizers.PodHandler()},
		{core.Nodes().Informer(), resizers.NodeHandler()},
		{leases.Coordination().V1().Leases().Informer(), kubelet.leaseHandler()},
		{core.Nodes().Informer(), publisher.poolHandler(nodesByPool)},
		{core.PersistentVolumes().Informer(), publisher.volumeHandler()},
		{storage.StorageClasses().Informer(), publisher.classHandler()},
		{storage.CSIStorageCapacities().Informer(), publisher.poolHandler(capacitiesByPool)},
	})
	if err != nil {
		return err
	}
	provision := newProvisionController(ctx, &provisioner{
		client:      client,
		attachments: storage.VolumeAttachments().Lister(),
		volumes:     core.PersistentVolumes().Lister(),
		pools:       publisher.pools,
		granted:     publisher.queue.Add,
	})

	factory.Start(ctx.Done())
	leases.Start(ctx.Done())
	for _, synced := range factory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			return errors.New("the caches were not filled before the end")
		}
	}
	// No room is granted before the books are full.
	if !cache.WaitForCacheSync(ctx.Done(), handled...) {
		return errors.New("the handlers were not served before the end")
	}
	var running sync.WaitGroup
	running.Go(func() { work(ctx, attacher.queue, 8, attacher.sync) })
	running.Go(func() { work(ctx, kubelet.queue, 16, kubelet.sync) })
	running.Go(func() { work(ctx, resizers.Queue, 16, resizers.Sync) })
	running.Go(func() { work(ctx, publisher.queue, 4, publisher.sync) })
	running.Go(func() { provision.Run(ctx) })
	running.Wait()
	return nil
}

// watched is an informer and who is told of its objects.
type watched struct {
	informer cache.SharedIndexInformer
	handler  cache.ResourceEventHandler
}

// watch returns what says whether each handler has been told of all objects there were.
func watch(all []watched) ([]cache.InformerSynced, error) {
	told := make([]cache.InformerSynced, 0, len(all))
	for _, w := range all {
		registration, err := w.informer.AddEventHandler(w.handler)
		if err != nil {
			return nil, err
		}
		told = append(told, registration.HasSynced)
	}
	return told, nil
}
