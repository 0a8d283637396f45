// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/berth-dev/berth/test/fixture"
)

// restarts deletes the pods of a set in random order, a few at a time, and waits
// until they are back.
type restarts struct {
	scene
	journal *journal
	ground  ground
	crowd   *crowd
	random  *rand.Rand
	set     fixture.Workload
	// cordons tells that nodes are cordoned too, and not just filled. A pod that
	// only its node will do for proves that the scheduler has heard of both.
	cordons bool
}

// run restarts every ordinal once in each round. In each round one finds its node
// full or closed.
func (r *restarts) run(ctx context.Context) error {
	for round := range comebackRounds {
		order, sizes := r.random.Perm(int(r.set.Replicas)), []int{1, 2, 3, 3}
		r.random.Shuffle(len(sizes), func(i, k int) { sizes[i], sizes[k] = sizes[k], sizes[i] })
		obstructed := r.random.IntN(len(sizes))
		for i, size := range sizes {
			var group []string
			for _, ordinal := range order[:size] {
				group = append(group, fmt.Sprintf("%s-%d", r.set.Name, ordinal))
			}
			order = order[size:]
			if err := r.crowd.move(ctx, r.random); err != nil {
				return err
			}
			restart := r.restart
			if i == obstructed {
				restart = r.obstruct
			}
			if err := restart(ctx, group); err != nil {
				return fmt.Errorf("round %d, %v: %w", round, group, err)
			}
		}
	}
	return nil
}

func (r *restarts) restart(ctx context.Context, group []string) error {
	former, err := r.delete(ctx, group)
	if err != nil {
		return err
	}
	return r.await(ctx, former, life.back)
}

// obstruct is restart where the first of the group has no room at home until it
// has been refused, or has gone elsewhere.
func (r *restarts) obstruct(ctx context.Context, group []string) error {
	node := r.journal.home(group[0])
	if r.cordons && r.random.IntN(2) == 0 {
		return r.cordoned(ctx, group, node)
	}
	filler := r.ground.on(fixture.Workload{Name: "filler", CPU: "4"}).Pod("filler-" + r.set.Name)
	filler.Spec.NodeName = node
	if err := r.Create(ctx, r.Namespace, filler); err != nil {
		return err
	}
	former, err := r.delete(ctx, group)
	if err != nil {
		return err
	}
	if err := r.await(ctx, former[:1], life.seen); err != nil {
		return err
	}
	if err := r.Kube.CoreV1().Pods(r.Namespace).Delete(ctx, filler.Name, *metav1.NewDeleteOptions(0)); err != nil {
		return err
	}
	return r.await(ctx, former, life.back)
}

// cordoned is obstruct by closing the node. The scheduler may hear of it late:
// until it has, the pod comes back, and is deleted again.
func (r *restarts) cordoned(ctx context.Context, group []string, node string) error {
	open := r.journal.close(node)
	if err := r.unschedulable(ctx, node, "true"); err != nil {
		return err
	}
	former, err := r.delete(ctx, group)
	if err != nil {
		return err
	}
	for {
		if err := r.await(ctx, former[:1], life.seen); err != nil {
			return err
		}
		first, err := r.journal.now(group[0])
		if err != nil {
			return err
		}
		if first.bound == 0 {
			break
		}
		again, err := r.delete(ctx, group[:1])
		if err != nil {
			return err
		}
		former[0] = again[0]
	}
	if err := r.unschedulable(ctx, node, "null"); err != nil {
		return err
	}
	if err := r.await(ctx, former, life.back); err != nil {
		return err
	}
	open()
	return nil
}

func (r *restarts) unschedulable(ctx context.Context, node, value string) error {
	_, err := r.Kube.CoreV1().Nodes().Patch(ctx, node, types.MergePatchType, []byte(`{"spec":{"unschedulable":`+value+`}}`), metav1.PatchOptions{})
	return err
}

// delete deletes pods and returns what they were.
func (r *restarts) delete(ctx context.Context, group []string) (former []life, err error) {
	for _, name := range group {
		was, err := r.journal.now(name)
		if err != nil {
			return nil, err
		}
		// kwok, which ends pods by their names, may have ended one too many.
		err = r.Kube.CoreV1().Pods(r.Namespace).Delete(ctx, name, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return nil, err
		}
		former = append(former, was)
	}
	return former, nil
}

// back tells that a pod runs, waits that it is said why it does not.
func (l life) back() bool  { return l.ready }
func (l life) waits() bool { return l.refused != 0 && l.bound == 0 }
func (l life) seen() bool  { return l.ready || l.waits() }

// await waits until other pods of these names are as wanted. If one goes on waiting
// that should run, the crowd leaves.
func (r *restarts) await(ctx context.Context, former []life, wanted func(life) bool) error {
	looks := 0
	return fixture.Until(ctx, "the return of "+former[0].name+" and those beside it", patience, func(ctx context.Context) (string, bool, error) {
		for _, was := range former {
			is, err := r.journal.now(was.name)
			if err != nil {
				return "", false, err
			}
			if is.born > was.born && wanted(is) {
				continue
			}
			if is.waits() {
				looks++
			}
			if looks > 5 {
				err = r.crowd.leave(ctx)
			}
			return fmt.Sprintf("%+v", is), false, err
		}
		return "", true, nil
	})
}
