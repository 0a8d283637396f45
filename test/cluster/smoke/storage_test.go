// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package smoke

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestStorage: each part goes on where the one before it left the cluster.
func TestStorage(t *testing.T) {
	c := up(t, "smoke-storage", "--nodes=6", "--zones=2", "--node-grace=10s")
	// The kubelet is dead while the other parts run: to be seen to be takes its time.
	c.claim(t, "held", "zonal", "1Gi", "")
	c.pod(t, "holder", "node-b-1", "held")
	c.untilReady(t, "holder")
	c.command(t, t.Context(), "kubectl", "cordon", "node-b-1") // the scheduler trusts it for the grace
	c.annotate(t, "node-b-1", "cluster.berth.dev/kubelet", "dead")
	// Who knows of the pod's end only reports that its volume is not in use any more. Once that is dead for them, too, they
	// hold its lease.
	eventually(t, "the lease of node-b-1", func(ctx context.Context) error {
		lease, err := c.kube.CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(ctx, "node-b-1", metav1.GetOptions{})
		if err == nil && *lease.Spec.HolderIdentity != "nobody" {
			err = fmt.Errorf("%s holds it", *lease.Spec.HolderIdentity)
		}
		return err
	})
	c.forceDelete(t, "holder")

	for _, part := range []struct {
		what  string
		check func(t *testing.T, c *cluster)
	}{
		{"a second claim that does not fit fails for ever", secondClaim},
		{"raw devices come from every class", rawDevices},
		{"claims that wait for no pod go to the zones in turn", immediate},
		{"a local volume goes with its claim when its node is gone", goneNode},
		{"a node whose kubelet is dead keeps its volumes", deadNode},
		{"and serves again once it is alive", revivedNode},
	} {
		if !t.Run(part.what, func(t *testing.T) { part.check(t, c) }) {
			return
		}
	}
}

func secondClaim(t *testing.T, c *cluster) {
	c.annotate(t, "node-a-0", "cluster.berth.dev/storage-pool", "100Gi")
	c.free(t, "node-a-0", "100Gi")
	c.claim(t, "first", "pooled", "60Gi", "")
	c.claim(t, "second", "pooled", "60Gi", "")
	// Each claim has room, and together they do not: the scheduler looks at each alone.
	c.pod(t, "greedy", "", "first", "second")
	eventually(t, "the pod that can never run", func(ctx context.Context) error {
		events, err := c.kube.CoreV1().Events("default").List(ctx, metav1.ListOptions{FieldSelector: "reason=ProvisioningFailed"})
		if err != nil {
			return err
		}
		if len(events.Items) == 0 || !strings.Contains(events.Items[0].Message, "node node-a-0 has 40Gi left") {
			return fmt.Errorf("events %v", events.Items)
		}
		phases := map[corev1.PersistentVolumeClaimPhase]int{}
		for _, name := range []string{"first", "second"} {
			claim, err := c.kube.CoreV1().PersistentVolumeClaims("default").Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			phases[claim.Status.Phase]++
			if node := claim.Annotations["volume.kubernetes.io/selected-node"]; claim.Status.Phase == corev1.ClaimPending && node != "" {
				return fmt.Errorf("%s is still to be on %s", name, node)
			}
		}
		pod, err := c.kube.CoreV1().Pods("default").Get(ctx, "greedy", metav1.GetOptions{})
		if err == nil && (phases[corev1.ClaimBound] != 1 || phases[corev1.ClaimPending] != 1 || !unschedulable(pod)) {
			err = fmt.Errorf("claims %v, pod %v", phases, pod.Status.Conditions)
		}
		return err
	})
	c.free(t, "node-a-0", "40Gi")
	c.annotate(t, "node-a-0", "cluster.berth.dev/storage-pool", "120Gi")
	c.untilReady(t, "greedy")
	c.free(t, "node-a-0", "0")
	c.command(t, t.Context(), "kubectl", "delete", "pod/greedy", "pvc/first", "pvc/second", "--wait=false")
	c.free(t, "node-a-0", "120Gi")
}

func rawDevices(t *testing.T, c *cluster) {
	classes := []string{"zonal", "zonal-immediate", "local", "pooled"}
	for _, class := range classes {
		c.claim(t, "raw-"+class, class, "1Gi", corev1.PersistentVolumeBlock)
		c.pod(t, "raw-"+class, "", "raw-"+class)
	}
	for _, class := range classes {
		c.untilReady(t, "raw-"+class)
		if volume := c.volume(t, "raw-"+class); *volume.Spec.VolumeMode != corev1.PersistentVolumeBlock {
			t.Errorf("class %s made a volume of mode %s", class, *volume.Spec.VolumeMode)
		}
	}
}

func immediate(t *testing.T, c *cluster) {
	var zones []string
	for i := range 3 {
		name := fmt.Sprint("data-early-", i)
		c.claim(t, name, "zonal-immediate", "1Gi", "")
		eventually(t, name, func(ctx context.Context) error {
			claim, err := c.kube.CoreV1().PersistentVolumeClaims("default").Get(ctx, name, metav1.GetOptions{})
			if err == nil && claim.Status.Phase != corev1.ClaimBound {
				err = fmt.Errorf("phase %s", claim.Status.Phase)
			}
			return err
		})
		zones = append(zones, c.volume(t, name).Spec.NodeAffinity.Required.NodeSelectorTerms[0].MatchExpressions[0].Values[0])
	}
	if zones[0] == zones[1] || zones[0] != zones[2] {
		t.Errorf("volumes in %v, want two zones in turn", zones)
	}
}

func goneNode(t *testing.T, c *cluster) {
	c.set(t, "queue", "local")
	before := c.where(t, "queue")
	slot := alone(before)
	lost := before[slot].Name
	volume := c.volume(t, "data-"+slot).Name
	c.annotate(t, lost, "cluster.berth.dev/storage-pool", "7Gi")
	eventually(t, "the pool of "+lost, func(ctx context.Context) error {
		if capacity := c.capacities(t)[lost+".local"]; capacity == nil {
			return errors.New("it has no capacity")
		}
		return nil
	})
	c.command(t, t.Context(), "kubectl", "delete", "node/"+lost, "pvc/data-"+slot, "--wait=false")
	c.forceDelete(t, slot)
	eventually(t, "the volume of the node that is gone", func(ctx context.Context) error {
		_, err := c.kube.CoreV1().PersistentVolumes().Get(ctx, volume, metav1.GetOptions{})
		return gone(err)
	})
	if after := c.where(t, "queue")[slot]; after.Name == lost {
		t.Errorf("%s is on %s, which is gone", slot, lost)
	}
	eventually(t, "the end of the pool of "+lost, func(context.Context) error {
		if capacity := c.capacities(t)[lost+".local"]; capacity != nil {
			return fmt.Errorf("the node is gone, and has room for %s", capacity.Capacity)
		}
		return nil
	})
}

// alone is a pod that shares its node with no other of its set. Of three pods
// over two zones, one is alone in its zone.
func alone(nodes map[string]*corev1.Node) string {
	pods := map[string][]string{}
	for pod, node := range nodes {
		pods[node.Name] = append(pods[node.Name], pod)
	}
	for _, on := range pods {
		if len(on) == 1 {
			return on[0]
		}
	}
	return ""
}

func deadNode(t *testing.T, c *cluster) {
	eventually(t, "node-b-1", func(ctx context.Context) error {
		node, err := c.kube.CoreV1().Nodes().Get(ctx, "node-b-1", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if status := readiness(node); status != corev1.ConditionUnknown {
			return fmt.Errorf("ready is %s", status)
		}
		if len(node.Status.VolumesInUse) != 1 || len(node.Status.VolumesAttached) != 1 {
			return fmt.Errorf("in use %v, attached %v", node.Status.VolumesInUse, node.Status.VolumesAttached)
		}
		return nil
	})
	if attached, err := c.attachments(t.Context()); err != nil || attached["node-b-1"] != 1 {
		t.Errorf("attached %v, %v, want the volume where it was", attached, err)
	}
}

func revivedNode(t *testing.T, c *cluster) {
	c.annotate(t, "node-b-1", "cluster.berth.dev/kubelet", "")
	eventually(t, "node-b-1", func(ctx context.Context) error {
		node, err := c.kube.CoreV1().Nodes().Get(ctx, "node-b-1", metav1.GetOptions{})
		if err != nil {
			return err
		}
		attached, err := c.attachments(ctx)
		if status := readiness(node); err == nil && (status != corev1.ConditionTrue || attached["node-b-1"] != 0) {
			err = fmt.Errorf("ready is %s, %d attached", status, attached["node-b-1"])
		}
		return err
	})
}
