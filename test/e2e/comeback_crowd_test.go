// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/berth-dev/berth/test/fixture"
)

// crowd is who comes and goes beside the sets: a Deployment of any size, and pods
// of any size. Now and then they are more than there is room for.
type crowd struct {
	scene
	ground ground

	mu    sync.Mutex
	count int
	pods  []string
}

const (
	mostGuests = 20
	mostPods   = 8
)

func (s scene) newCrowd(ctx context.Context, g ground) (*crowd, error) {
	return &crowd{scene: s, ground: g}, s.Create(ctx, s.Namespace, g.on(fixture.Workload{Name: "guests", CPU: "500m"}).Deployment())
}

// move changes something, and does not wait until it is so.
func (c *crowd) move(ctx context.Context, random *rand.Rand) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch what := random.IntN(12); {
	case what == 0:
		return c.Scale(ctx, c.Namespace, "Deployment", "guests", 3*mostGuests)
	case what <= 4 || (what > 8 && len(c.pods) == 0):
		return c.Scale(ctx, c.Namespace, "Deployment", "guests", int32(random.IntN(mostGuests)))
	case what <= 8 && len(c.pods) < mostPods:
		c.count++
		w := c.ground.on(fixture.Workload{Name: "pod", CPU: fmt.Sprintf("%dm", 100+random.IntN(1400))})
		pod := w.Pod(fmt.Sprintf("pod-%d", c.count))
		c.pods = append(c.pods, pod.Name)
		return c.Create(ctx, c.Namespace, pod)
	default:
		i := random.IntN(len(c.pods))
		name := c.pods[i]
		c.pods = append(c.pods[:i], c.pods[i+1:]...)
		return c.end(ctx, name)
	}
}

// leave has everybody go.
func (c *crowd) leave(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range c.pods {
		if err := c.end(ctx, name); err != nil {
			return err
		}
	}
	c.pods = nil
	return c.Scale(ctx, c.Namespace, "Deployment", "guests", 0)
}

func (c *crowd) end(ctx context.Context, pod string) error {
	err := c.Kube.CoreV1().Pods(c.Namespace).Delete(ctx, pod, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
