// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/berth-dev/berth/plugins/statefulset"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
)

// The rate of notes, apart from the scheduler's own calls: they must not wait
// behind notes. Scribes many slots write at a time.
const (
	noteQPS   = 20
	noteBurst = 100
	scribes   = 4
)

// scribe writes on claims where the pods of their slots are, so that a slot
// returns there when nobody remembers it who runs. It compares what a claim
// says with what is, off the hot path, and only in a process that places pods.
// A note that can not be written is tried again and fails nothing else.
type scribe struct {
	client  kubernetes.Interface
	source  *source
	planner *statefulset.Planner
	ledger  *statefulset.HoldLedger
	leading <-chan struct{}
	queue   workqueue.TypedRateLimitingInterface[note]
}

// note is something to look at: the note of a slot, or a claim that is being
// provisioned for a node that is gone.
type note struct {
	slot  statefulset.Slot
	claim string // in the slot's namespace
}

func newScribe(handle fwk.Handle, source *source, planner *statefulset.Planner, ledger *statefulset.HoldLedger, leading <-chan struct{}) (*scribe, error) {
	client := handle.ClientSet()
	if config := handle.KubeConfig(); config != nil {
		config = rest.CopyConfig(config)
		config.QPS, config.Burst = noteQPS, noteBurst
		var err error
		if client, err = kubernetes.NewForConfig(config); err != nil {
			return nil, fmt.Errorf("client for notes on claims: %w", err)
		}
	}
	return &scribe{
		client: client, source: source, planner: planner, ledger: ledger, leading: leading,
		queue: workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[note]()),
	}, nil
}

// look tells that the note of a slot may be another one now.
func (w *scribe) look(slot statefulset.Slot) { w.queue.Add(note{slot: slot}) }

// misdirected tells that a claim is being provisioned for a node that is gone.
func (w *scribe) misdirected(claim *v1.PersistentVolumeClaim) {
	w.queue.Add(note{slot: statefulset.Slot{Set: statefulset.SetKey{Namespace: claim.Namespace}}, claim: claim.Name})
}

// run writes until the context ends.
func (w *scribe) run(ctx context.Context) {
	defer w.queue.ShutDown()
	select {
	case <-ctx.Done():
		return
	case <-w.leading:
	}
	var background sync.WaitGroup
	for range scribes {
		background.Go(func() {
			for w.next(ctx) {
			}
		})
	}
	<-ctx.Done()
	w.queue.ShutDown()
	background.Wait()
}

func (w *scribe) next(ctx context.Context) bool {
	what, shutdown := w.queue.Get()
	if shutdown {
		return false
	}
	defer w.queue.Done(what)
	var err error
	if what.claim != "" {
		err = w.redirect(ctx, what.slot.Set.Namespace, what.claim)
	} else {
		err = w.write(ctx, what.slot)
	}
	switch {
	case err == nil, apierrors.IsNotFound(err), ctx.Err() != nil:
		w.queue.Forget(what)
	case apierrors.IsConflict(err): // look again
		w.queue.AddRateLimited(what)
	default:
		klog.FromContext(ctx).Error(err, "Writing on a claim", "slot", what.slot, "claim", what.claim)
		w.queue.AddRateLimited(what)
	}
	return true
}

// write brings the note of a slot up to date. It is on the first claim that is
// bound: the scheduler itself writes on those that are not.
func (w *scribe) write(ctx context.Context, slot statefulset.Slot) error {
	if begun, _ := w.ledger.Begun(); !begun {
		return nil // all slots are looked at then
	}
	_, claims := w.planner.Names(slot)
	var on *v1.PersistentVolumeClaim
	for _, name := range claims {
		if claim := w.source.Claim(slot.Set.Namespace, name); claim != nil && claim.Spec.VolumeName != "" && claim.DeletionTimestamp == nil {
			on = claim
			break
		}
	}
	if on == nil {
		return nil
	}
	was, err := statefulset.ParseNote(on.Annotations[statefulset.LastNode])
	is, any := statefulset.NextNote(was, err == nil, w.ledger.Of(slot))
	if !any || is.String() == on.Annotations[statefulset.LastNode] {
		return nil
	}
	return w.annotate(ctx, on, statefulset.LastNode, is.String())
}

// redirect takes the node off a claim that it is to be provisioned for, as the
// provisioner itself does when it gives a node up: this one is gone.
func (w *scribe) redirect(ctx context.Context, namespace, name string) error {
	claim := w.source.Claim(namespace, name)
	if claim == nil || !beingProvisioned(claim) || w.source.Node(claim.Annotations[statefulset.SelectedNode]) != nil {
		return nil
	}
	klog.FromContext(ctx).V(2).Info("The node that a claim is being provisioned for is gone, another may be chosen",
		"claim", klog.KObj(claim), "node", claim.Annotations[statefulset.SelectedNode])
	return w.annotate(ctx, claim, statefulset.SelectedNode, nil)
}

// annotate writes one annotation, nil to take it off, on this very state of a claim.
func (w *scribe) annotate(ctx context.Context, claim *v1.PersistentVolumeClaim, key string, value any) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": claim.UID, "resourceVersion": claim.ResourceVersion, "annotations": map[string]any{key: value},
	}})
	if err != nil {
		return err
	}
	_, err = w.client.CoreV1().PersistentVolumeClaims(claim.Namespace).Patch(ctx, claim.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}
