// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/storage/volume"
	"k8s.io/klog/v2"

	"github.com/berth-dev/berth/autoscaler/actuate"
	"github.com/berth-dev/berth/autoscaler/config"
	"github.com/berth-dev/berth/autoscaler/observe"
	"github.com/berth-dev/berth/autoscaler/volumes"
	"github.com/berth-dev/berth/plugins/statefulset"
)

const (
	// nodesDeadline bounds the question for all nodes that comes before a release.
	nodesDeadline = 10 * time.Second
	// releasePause is how long nothing is tried after that failed: each try
	// reads every node.
	releasePause = time.Minute
)

// volumeHistory is what one decision about lost volumes leaves for the next.
type volumeHistory struct {
	engine volumes.History
	// told is what people were told last of each claim.
	told map[types.UID]tiding
	// notBefore ends the pause after a failure.
	notBefore time.Time
}

// tiding is of a verdict what people are told again when it changes.
type tiding struct {
	verdict volumes.Verdict
	due     time.Time
	holder  string
}

// seat is a wanted slot whose policy gives lost volumes up.
type seat struct {
	slot   statefulset.Slot
	policy *statefulset.Policy
	// owner is the StatefulSet, or the pod of a set that a policy selects.
	owner runtime.Object
}

// stake is a claim that may be given up, with whom to tell of it.
type stake struct {
	volumes.Claim
	owner runtime.Object
}

// releaseVolumes gives up the claims of local volumes whose node is gone for
// as long as the policy of their set says. As nodes are, they are left alone
// in Observe mode.
func (c *Conductor) releaseVolumes(ctx context.Context) {
	stakes := c.stakes()
	in := volumes.Input{Now: c.now(), Nodes: c.reader.Nodes(), History: c.history.volumes.engine}
	for _, stake := range stakes {
		in.Claims = append(in.Claims, stake.Claim)
	}
	decision := volumes.Decide(in)
	if c.releasesNow(ctx, decision) {
		// What cannot be taken back is decided upon what the API server says now.
		reading, cancel := context.WithTimeout(ctx, nodesDeadline)
		nodes, err := c.reader.NodesNow(reading)
		cancel()
		if err != nil {
			klog.FromContext(ctx).Error(err, "No lost volume is released in this tick")
			c.history.volumes.notBefore = in.Now.Add(releasePause)
		} else {
			in.Nodes = nodes
			decision = volumes.Decide(in)
		}
	}
	c.history.volumes.engine = decision.History
	c.telemetry.LostVolumes(len(decision.Lost))
	c.tellLost(ctx, stakes, decision)
	if c.releasesNow(ctx, decision) {
		c.actVolumes(ctx, stakes, decision)
	}
}

// releasesNow tells whether a decision is to be carried out.
func (c *Conductor) releasesNow(ctx context.Context, d volumes.Decision) bool {
	return ctx.Err() == nil && c.config.Nodes.Mode == config.Act && !c.now().Before(c.history.volumes.notBefore) &&
		slices.ContainsFunc(d.Lost, func(l volumes.Lost) bool { return l.Verdict == volumes.Release })
}

// actVolumes deletes the claims that are to be released. Where that fails, the
// rest of the group is left for the next tick: most often nothing of it is gone yet.
func (c *Conductor) actVolumes(ctx context.Context, stakes map[types.UID]stake, d volumes.Decision) {
	failed := map[int]bool{}
	for _, lost := range d.Lost {
		if lost.Verdict != volumes.Release || failed[lost.Group] {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, callDeadline)
		err := c.writer.ReleaseClaim(ctx, lost.Object)
		cancel()
		failed[lost.Group] = err != nil && !apierrors.IsNotFound(err)
		logger := klog.FromContext(ctx).WithValues("claim", klog.KObj(lost.Object), "volume", lost.Volume.Name, "node", lost.Node)
		switch {
		case apierrors.IsConflict(err), apierrors.IsNotFound(err):
			logger.V(2).Info("A claim changed before it was released", "err", err)
			continue
		case err != nil:
			logger.Error(err, "Releasing the claim of a lost volume")
			c.history.volumes.notBefore = c.now().Add(releasePause)
		default:
			logger.Info("The claim of a lost volume is released", "since", lost.Since, "after", lost.After, "policy", lost.Policy)
			c.tellOfVolume(stakes[lost.Object.UID], "LocalVolumeReleased", lost.Reason)
		}
		c.telemetry.Released(err)
	}
}

// tellLost says of each lost volume, whenever that changes, what will become of its claim.
func (c *Conductor) tellLost(ctx context.Context, stakes map[types.UID]stake, d volumes.Decision) {
	told := make(map[types.UID]tiding, len(d.Lost))
	for _, lost := range d.Lost {
		uid := lost.Object.UID
		told[uid] = tiding{lost.Verdict, lost.Due, lost.Holder}
		last, known := c.history.volumes.told[uid]
		if known && last == told[uid] || lost.Verdict == volumes.Release {
			continue // Release is told once it is done
		}
		klog.FromContext(ctx).V(2).Info("A local volume is lost", "claim", klog.KObj(lost.Object), "node", lost.Node, "reason", lost.Reason, "mode", c.config.Nodes.Mode)
		if c.config.Nodes.Mode == config.Act {
			c.tellOfVolume(stakes[uid], "LocalVolumeLost", lost.Reason)
		}
	}
	for uid := range c.history.volumes.told {
		_, still := told[uid]
		if claim, known := stakes[uid]; known && !still && claim.Object.DeletionTimestamp == nil {
			klog.FromContext(ctx).V(2).Info("A local volume is not lost any more", "claim", klog.KObj(claim.Object))
		}
	}
	c.history.volumes.told = told
}

func (c *Conductor) tellOfVolume(of stake, reason, message string) {
	for _, object := range []runtime.Object{of.Object, of.owner} {
		c.writer.Event(object, actuate.Event{Type: corev1.EventTypeWarning, Reason: reason, Message: message})
	}
}

// stakes are the claims of all slots that are wanted and whose PlacementPolicy
// gives lost volumes up, by UID. The default of a profile does not: it is the
// scheduler's, and nobody gives up data by default.
func (c *Conductor) stakes() map[types.UID]stake {
	found := map[types.UID]stake{}
	for _, set := range c.reader.StatefulSets() {
		policy := c.policies.OfSet(set)
		if !releases(policy) || set.DeletionTimestamp != nil {
			continue
		}
		key := statefulset.SetKey{Namespace: set.Namespace, Name: set.Name}
		templates := statefulset.Templates(set)
		for _, ordinal := range ordinals(set, replicasOf(set.Spec.Replicas, nil, scaled{})) {
			seat := seat{slot: statefulset.Slot{Set: key, Ordinal: ordinal}, policy: policy, owner: set}
			for _, template := range templates {
				c.stake(found, seat, statefulset.ClaimName(template, seat.slot), false)
			}
			for _, volume := range set.Spec.Template.Spec.Volumes {
				// A claim template replaces a volume of its name.
				if volume.PersistentVolumeClaim != nil && !slices.Contains(templates, volume.Name) {
					c.stake(found, seat, volume.PersistentVolumeClaim.ClaimName, true)
				}
			}
		}
	}
	if !c.policies.MakesSlots("") {
		return found
	}
	for _, pod := range c.reader.Pods() {
		slot, ok := c.policies.SlotOf(pod)
		if !ok || pod.DeletionTimestamp != nil {
			continue
		}
		if policy := c.policies.OfSelected(slot.Set); releases(policy) {
			for _, claim := range observe.ClaimsOf(pod) {
				c.stake(found, seat{slot: slot, policy: policy, owner: pod}, claim, false)
			}
		}
	}
	return found
}

func releases(policy *statefulset.Policy) bool {
	return policy != nil && policy.Home.ReleaseLostAfter > 0
}

// stake adds a claim of a slot, if there is one. Of two slots that share it,
// the one that waits longer counts. A fixed one is not of the slot alone.
func (c *Conductor) stake(found map[types.UID]stake, seat seat, name string, fixed bool) {
	claim := c.reader.Claim(seat.slot.Set.Namespace, name)
	if claim == nil || claim.Spec.VolumeName == "" {
		return
	}
	of, known := found[claim.UID]
	if !known {
		of = stake{Claim: c.observed(claim)}
		of.Fixed = true
	}
	of.Fixed = of.Fixed && fixed
	of.Slots = append(of.Slots, seat.slot.String())
	if after := seat.policy.Home.ReleaseLostAfter; after >= of.After {
		of.After, of.Policy, of.owner = after, seat.policy.Name, seat.owner
	}
	found[claim.UID] = of
}

// observed is a claim without whose it is.
func (c *Conductor) observed(claim *corev1.PersistentVolumeClaim) volumes.Claim {
	observed := volumes.Claim{Object: claim, Volume: c.reader.Volume(claim.Spec.VolumeName), Attached: true}
	if observed.Volume != nil && observed.Volume.Spec.CSI != nil {
		observed.Attached = c.reader.Attaches(observed.Volume.Spec.CSI.Driver)
	}
	if note, err := statefulset.ParseNote(claim.Annotations[statefulset.LastNode]); err == nil {
		observed.Nodes = append(observed.Nodes, note.Node)
	}
	if node := claim.Annotations[volume.AnnSelectedNode]; node != "" && !slices.Contains(observed.Nodes, node) {
		observed.Nodes = append(observed.Nodes, node)
	}
	for _, pod := range c.reader.PodsUsing(claim.Namespace, claim.Name) {
		// As pvc-protection has it: also one that has ended, until it is gone.
		if pod.Spec.NodeName != "" {
			observed.User = pod.Namespace + "/" + pod.Name
		}
	}
	return observed
}
