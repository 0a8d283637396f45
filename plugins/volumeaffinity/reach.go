// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package volumeaffinity

import (
	"fmt"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	fwk "k8s.io/kube-scheduler/framework"
)

// narrowLimit is how many nodes are handed on as a set, at most. The scheduler
// never looks for fewer than 100 feasible nodes, so up to there it would visit
// them all anyway. Beyond, making and copying a set of thousands of names for
// every pod costs as much as refusing the nodes that the scheduler really
// visits (BenchmarkCycle), and the nodes left out lose their reason.
const narrowLimit = 100

// volume is a bound volume of the pod and the nodes that reach it.
type volume struct {
	name, claim string
	where       string // for people
	in          []v1.NodeSelectorRequirement
	selector    *nodeaffinity.LazyErrorNodeSelector // for what in can not say
}

// newVolume returns the reach of a volume that has a node affinity. The usual
// one, a single term of In requirements, is judged without allocating; any
// other by upstream's selector, on the labels alone as upstream does.
func newVolume(pv *v1.PersistentVolume, claim string) volume {
	required := pv.Spec.NodeAffinity.Required
	v := volume{name: pv.Name, claim: claim, where: whereOf(required)}
	if len(required.NodeSelectorTerms) == 1 {
		term := required.NodeSelectorTerms[0]
		notIn := func(r v1.NodeSelectorRequirement) bool { return r.Operator != v1.NodeSelectorOpIn }
		if len(term.MatchExpressions) > 0 && len(term.MatchFields) == 0 && !slices.ContainsFunc(term.MatchExpressions, notIn) {
			v.in = term.MatchExpressions
			return v
		}
	}
	v.selector = nodeaffinity.NewLazyErrorNodeSelector(required)
	return v
}

// reachedFrom tells whether a node with these labels reaches the volume.
func (v volume) reachedFrom(labels map[string]string) bool {
	if v.selector != nil {
		matches, err := v.selector.Match(&v1.Node{ObjectMeta: metav1.ObjectMeta{Labels: labels}})
		return err == nil && matches
	}
	for _, r := range v.in {
		if value, has := labels[r.Key]; !has || !slices.Contains(r.Values, value) {
			return false
		}
	}
	return true
}

// reach is the bound volumes of a pod. Its method reads nothing but values.
type reach []volume

// blocking returns the first volume that can not be reached from a node with
// these labels, or -1.
func (r reach) blocking(labels map[string]string) int {
	return slices.IndexFunc(r, func(v volume) bool { return !v.reachedFrom(labels) })
}

// survey is what the nodes of the cluster say about a reach.
type survey struct {
	// none is set when no node reaches all volumes.
	none bool
	// few are the nodes that do, and one that does not, if there are no more
	// than narrowLimit and others are left out; else nil. The odd one is
	// refused by Filter with the reason that the nodes left out do not get.
	few sets.Set[string]
}

// survey looks at the nodes of the snapshot, not at an index of the informer's
// nodes: the snapshot is what the cycle runs on, it holds the nodes of a
// simulation too, and it can not be older than itself. The look stops as soon
// as the set is too large to be handed on.
func (r reach) survey(nodes []fwk.NodeInfo) survey {
	var names []string
	witness := ""
	for _, nodeInfo := range nodes {
		node := nodeInfo.Node()
		if r.blocking(node.Labels) >= 0 {
			if witness == "" {
				witness = node.Name
			}
			continue
		}
		if len(names) == narrowLimit {
			return survey{}
		}
		names = append(names, node.Name)
	}
	if len(names) == 0 {
		return survey{none: true}
	}
	if witness == "" {
		return survey{}
	}
	return survey{few: sets.New(append(names, witness)...)}
}

// unreachable explains why no node reaches all volumes.
func (r reach) unreachable(nodes []fwk.NodeInfo) string {
	for _, v := range r {
		if !slices.ContainsFunc(nodes, func(n fwk.NodeInfo) bool { return v.reachedFrom(n.Node().Labels) }) {
			return fmt.Sprintf(ErrReasonUnreachable, v.name, v.claim, v.where)
		}
	}
	places := make([]string, len(r))
	for i, v := range r {
		places[i] = fmt.Sprintf("%q in %s", v.name, v.where)
	}
	return ErrReasonApart + strings.Join(places, ", ")
}

// whereOf writes a node affinity as people write labels.
func whereOf(required *v1.NodeSelector) string {
	terms := make([]string, 0, len(required.NodeSelectorTerms))
	for _, term := range required.NodeSelectorTerms {
		parts := make([]string, 0, len(term.MatchExpressions))
		for _, r := range term.MatchExpressions {
			switch values := strings.Join(r.Values, ","); {
			case r.Operator == v1.NodeSelectorOpIn && len(r.Values) == 1:
				parts = append(parts, r.Key+"="+values)
			case len(r.Values) == 0:
				parts = append(parts, fmt.Sprintf("%s %s", r.Key, r.Operator))
			default:
				parts = append(parts, fmt.Sprintf("%s %s (%s)", r.Key, r.Operator, values))
			}
		}
		terms = append(terms, strings.Join(parts, " and "))
	}
	return strings.Join(terms, " or ")
}
