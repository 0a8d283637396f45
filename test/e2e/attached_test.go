// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/test/fixture"
)

// TestAttachedVolume: a pod that is no slot goes where its volume still is. By
// scores it would go elsewhere, and wait there until its forerunner lets go of the volume.
func TestAttachedVolume(t *testing.T) {
	t.Parallel()
	const g ground = "attached"
	nodes := []*corev1.Node{g.node("1", "zone-a", nil), g.node("2", "zone-a", nil), g.node("3", "zone-b", nil)}
	web := g.on(fixture.Workload{Name: "web", Replicas: 1, CPU: "500m"})
	var was *corev1.Pod
	var before []fixture.Attachment
	volume := ""
	testenv.Test(t, features.New("a volume that is still attached").
		Setup(g.lay(t, nodes...)).
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "data"}, Spec: fixture.ClaimSpec("zonal")})
			deployment := web.Deployment()
			fixture.Mount(&deployment.Spec.Template.Spec, "data")
			s.create(ctx, t, deployment)
			was = s.awaitAnother(ctx, t, web, "")
			volume = s.volumeOf(ctx, t, "data")
			var err error
			if before, err = s.AttachmentsOf(ctx, volume); err != nil || len(before) != 1 || before[0].Node != was.Spec.NodeName {
				t.Fatalf("volume %s of the pod on node %s is attached as %v: %v", volume, was.Spec.NodeName, before, err)
			}
			s.unattractive(ctx, t, g, was.Spec.NodeName)
		})).
		Assess("draws the next pod to its node, and stays there", step(func(ctx context.Context, t *testing.T, s scene) {
			// It takes its time to go, and its ReplicaSet does not wait for it. An hour
			// is as long as the test takes, however slow the machine is. No pod asks for the hour itself:
			// the namespace would then perhaps wait for half of it before it looks again whether they are gone.
			patch := []byte(`{"metadata":{"annotations":{"cluster.berth.dev/stop-seconds":"3600"}}}`)
			pods := s.Kube.CoreV1().Pods(s.Namespace)
			if _, err := pods.Patch(ctx, was.Name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
				t.Fatal(err)
			}
			if err := pods.Delete(ctx, was.Name, *metav1.NewDeleteOptions(3600)); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { s.forceDelete(context.WithoutCancel(ctx), t, was.Name) })
			next := s.awaitAnother(ctx, t, web, was.UID)
			if next.Spec.NodeName != was.Spec.NodeName {
				t.Errorf("pod %s is on node %s, the volume is on node %s", next.Name, next.Spec.NodeName, was.Spec.NodeName)
			}
			after, err := s.AttachmentsOf(ctx, volume)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("attachments (-before +after):\n%s", diff)
			}
		})).
		Feature())
}

// awaitAnother waits for a running pod of a workload that is not the one with the UID.
func (s scene) awaitAnother(ctx context.Context, t *testing.T, w fixture.Workload, not types.UID) *corev1.Pod {
	t.Helper()
	var found *corev1.Pod
	s.until(ctx, t, "another pod of "+w.Name+" to run", func(ctx context.Context) (string, bool, error) {
		pods, err := s.Kube.CoreV1().Pods(s.Namespace).List(ctx, metav1.ListOptions{LabelSelector: w.Selector()})
		if err != nil {
			return "", false, err
		}
		var seen []string
		for i := range pods.Items {
			pod := &pods.Items[i]
			if pod.UID != not && pod.Status.Phase == corev1.PodRunning {
				found = pod
				return "", true, nil
			}
			seen = append(seen, fmt.Sprintf("%s %s on %q", pod.Name, pod.Status.Phase, pod.Spec.NodeName))
		}
		return fmt.Sprint(seen), false, nil
	})
	return found
}

// volumeOf is the name of a claim's volume.
func (s scene) volumeOf(ctx context.Context, t *testing.T, claim string) string {
	t.Helper()
	is, err := s.Kube.CoreV1().PersistentVolumeClaims(s.Namespace).Get(ctx, claim, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return is.Spec.VolumeName
}

// TestDeadHome: a slot whose node is dead goes elsewhere in its zone, and says
// what its volume waits for; what it advises helps.
func TestDeadHome(t *testing.T) {
	t.Parallel()
	const g ground = "dead"
	nodes := []*corev1.Node{g.node("1", "zone-a", nil), g.node("2", "zone-a", nil), g.node("3", "zone-b", nil)}
	db := g.on(fixture.Workload{Name: "db", Replicas: 1, CPU: "500m", Claims: zonalClaim})
	var was fixture.Row
	testenv.Test(t, features.New("the node of a slot is dead").
		Setup(g.lay(t, nodes...)).
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, db.Service(), db.StatefulSet())
			was = s.awaitSet(ctx, t, db.Name, 1)[0]
			s.patchNode(ctx, t, was.Node, `{"metadata":{"annotations":{"cluster.berth.dev/kubelet":"dead"}}}`)
			s.unready(ctx, t, was.Node)
			// Nobody ends its pods before it lives again.
			t.Cleanup(func() {
				s.patchNode(context.WithoutCancel(ctx), t, was.Node, `{"metadata":{"annotations":{"cluster.berth.dev/kubelet":null}}}`)
			})
			s.awaitRefusalOn(ctx, t, was.Node, "untolerated taint")
		})).
		Assess("it goes elsewhere in the zone, and says why, and what it waits for", step(func(ctx context.Context, t *testing.T, s scene) {
			s.forceDelete(ctx, t, "db-0")
			var next fixture.Row
			s.until(ctx, t, "a node for db-0", func(ctx context.Context) (string, bool, error) {
				table, err := s.Table(ctx, s.Namespace, db.Name)
				if err != nil {
					return "", false, err
				}
				next = table[0]
				return "\n" + table.String(), next.Node != "", nil
			})
			if next.Node == was.Node || next.Zone != was.VolumeZone {
				t.Errorf("db-0 is on node %s in %s, its volume is in %s, and node %s is dead", next.Node, next.Zone, was.VolumeZone, was.Node)
			}
			t.Log(s.awaitEvent(ctx, t, "Pod", "db-0", "NotOnLastNode",
				fmt.Sprintf("ordinal 0 of %s/db is on node %q now; on node %q, where it was, it does not fit: node(s) had untolerated taint(s)", s.Namespace, next.Node, was.Node)))
			t.Log(s.awaitEvent(ctx, t, "Pod", "db-0", "VolumeStillAttached",
				fmt.Sprintf("volume %q is still attached to node %q", was.Volume, was.Node), "after 6 minutes", corev1.TaintNodeOutOfService))
		})).
		Assess("the taint that it advises frees the volume", step(func(ctx context.Context, t *testing.T, s scene) {
			s.patchNode(ctx, t, was.Node, `{"spec":{"taints":[{"key":"`+corev1.TaintNodeOutOfService+`","value":"nodeshutdown","effect":"NoExecute"}]}}`)
			s.awaitPod(ctx, t, "db-0", corev1.PodRunning)
		})).
		Feature())
}
