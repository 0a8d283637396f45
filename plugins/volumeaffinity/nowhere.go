// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package volumeaffinity

import (
	"fmt"
	"slices"
	"strings"

	fwk "k8s.io/kube-scheduler/framework"
)

// nowhere says why no node will do, empty if one may. The index answers first;
// only when it knows of none are the nodes of the cycle asked, which may be
// newer, and in a simulation more.
func (pl *VolumeAffinity) nowhere(v *verdict, nodes []fwk.NodeInfo) string {
	if unreached := pl.unreached(v, nodes); unreached != "" {
		return unreached
	}
	if v.home.Required && !pl.present(v.home.Node) {
		return fmt.Sprintf(ErrReasonHomeGone, v.home.Slot, v.home.Node)
	}
	if v.selectedNode != "" && !pl.present(v.selectedNode) {
		pl.shared.Claims.Misdirected(v.selected)
		return fmt.Sprintf(ErrReasonSelectedGone, v.selected.Name, v.selectedNode)
	}
	return ""
}

// unreached says why no node reaches the volumes, empty if one does.
func (pl *VolumeAffinity) unreached(v *verdict, nodes []fwk.NodeInfo) string {
	if len(v.bound) == 0 {
		return ""
	}
	if joint, known := pl.shared.Reach.Joint(v.volumes()); known && joint.Len() > 0 {
		return ""
	}
	reached := func(node fwk.NodeInfo) bool {
		return !slices.ContainsFunc(v.bound, func(b bound) bool { return !b.reach.ReachedFrom(node.Node().Labels) })
	}
	if slices.ContainsFunc(nodes, reached) {
		return ""
	}
	for _, b := range v.bound {
		if !slices.ContainsFunc(nodes, func(node fwk.NodeInfo) bool { return b.reach.ReachedFrom(node.Node().Labels) }) {
			return fmt.Sprintf(ErrReasonUnreachable, b.name, b.claim, b.reach.Where(), pl.remedy(b, v.home))
		}
	}
	places := make([]string, len(v.bound))
	for i, b := range v.bound {
		places[i] = fmt.Sprintf("%q in %s", b.name, b.reach.Where())
	}
	return ErrReasonApart + strings.Join(places, ", ")
}

func (pl *VolumeAffinity) present(node string) bool {
	_, err := pl.handle.SnapshotSharedLister().NodeInfos().Get(node)
	return err == nil
}

// remedy says what is missing for a volume that no node reaches, and what can
// be done: where its node is gone, where the node has lost its label, and where
// there are no nodes.
func (pl *VolumeAffinity) remedy(b bound, home Home) string {
	last := home.Last
	var missing []string
	for _, gap := range pl.shared.Reach.Missing(b.reach) {
		missing = append(missing, gap.String())
	}
	what := "no node has " + strings.Join(missing, " or ")
	if len(missing) == 0 {
		what = "no node has all of these labels"
	}
	const orDelete = ", or delete the claim if its data is no longer needed"
	switch {
	case last != "" && pl.gone(last):
		text := fmt.Sprintf("%s, and node %q, where it was last, is gone; bring that node back%s", what, last, orDelete)
		if home.LostAfter > 0 {
			text += fmt.Sprintf("; if it is local, the policy gives it up once the node is gone for %s (home.releaseLostVolumes)", home.LostAfter)
		}
		return text
	case last != "":
		return fmt.Sprintf("%s, and node %q, where it was last, is there without the label; label it again%s", what, last, orDelete)
	default:
		return fmt.Sprintf("%s; bring such a node back%s", what, orDelete)
	}
}
