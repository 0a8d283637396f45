// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// class is pods that differ in their names only: asked one after the other,
// with nothing changed between, they get one answer. A slot is a class of its own.
type class struct {
	pods     []candidate // those that still need a place
	forecast bool
	needs    capacity
	demand   amounts
	// plain: nothing but the room of a node, its labels and its taints matters,
	// so that an answer of an empty node stays what it is.
	plain bool
	// fickle: a pod placed elsewhere may make one of these fit where none did before.
	fickle bool
	// perNode is the number of these that a node takes, whatever its room, as
	// measured on a group; 0 is not known to be limited.
	perNode  int
	measured *group
	alone    bool // one to a node, as their spec says
	// promised counts the pods that were reckoned with when nodes were added for others.
	promised int
	answers  map[*group]bool // of empty new nodes, the last
	refused  refusals        // why no group takes the next pod

	affinity nodeaffinity.RequiredNodeAffinity
	volumes  []*nodeaffinity.LazyErrorNodeSelector
	anywhere bool // neither affinity nor volumes

	from int // open nodes before it have nothing for the class
}

// classes groups the candidates, in the order in which they are placed: pods
// that exist before those of the forecast, then by priority, then the largest
// first, then by name with db-2 before db-10.
func (p *planner) classes(found []candidate) []*class {
	volumes := map[string][]*nodeaffinity.LazyErrorNodeSelector{}
	for _, volume := range p.in.Volumes {
		if volume.Affinity != nil {
			volumes[volume.Slot] = append(volumes[volume.Slot], nodeaffinity.NewLazyErrorNodeSelector(volume.Affinity))
		}
	}
	var classes []*class
	known := map[[sha256.Size]byte]*class{}
	for _, c := range found {
		slot := p.slot(c.pod)
		key, alike := keyOf(c)
		if same := known[key]; alike && !slot && same != nil {
			same.pods = append(same.pods, c)
			continue
		}
		added := &class{pods: []candidate{c}, forecast: c.forecast, needs: c.needs, demand: p.demandOf(c.pod),
			answers: map[*group]bool{}, refused: refusals{}}
		added.affinity = nodeaffinity.GetRequiredNodeAffinity(c.pod)
		added.volumes = volumes[c.pod.Namespace+"/"+c.pod.Name]
		affinity := c.pod.Spec.Affinity
		added.anywhere = len(added.volumes) == 0 && len(c.pod.Spec.NodeSelector) == 0 && (affinity == nil || affinity.NodeAffinity == nil)
		added.fickle = slot || fickle(&c.pod.Spec)
		added.plain = !added.fickle && plain(&c.pod.Spec)
		if added.alone = alone(c.pod); added.alone {
			added.perNode = 1
		}
		classes = append(classes, added)
		if alike && !slot {
			known[key] = added
		}
	}
	for _, c := range classes {
		slices.SortFunc(c.pods, byName)
		p.least = p.least.least(c.demand)
	}
	weight := func(c *class) float64 { return c.needs.of(p.largest) }
	slices.SortFunc(classes, func(a, b *class) int {
		return cmp.Or(
			boolCompare(a.forecast, b.forecast),
			cmp.Compare(priority(b.pods[0].pod), priority(a.pods[0].pod)),
			cmp.Compare(weight(b), weight(a)),
			byName(a.pods[0], b.pods[0]),
		)
	})
	return classes
}

func byName(a, b candidate) int {
	return cmp.Or(
		cmp.Compare(a.pod.Namespace, b.pod.Namespace),
		cmp.Compare(len(a.pod.Name), len(b.pod.Name)),
		cmp.Compare(a.pod.Name, b.pod.Name),
	)
}

// slot tells that the pod has a place of its own.
func (p *planner) slot(pod *v1.Pod) bool {
	owner := metav1.GetControllerOfNoCopy(pod)
	_, indexed := pod.Labels["apps.kubernetes.io/pod-index"]
	return indexed || owner != nil && owner.Kind == "StatefulSet" || p.in.Slots[types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}]
}

// keyOf returns what a pod shares with its equals: everything that a plugin may
// look at but its name.
func keyOf(c candidate) (key [sha256.Size]byte, ok bool) {
	shared := struct {
		Forecast            bool
		Namespace           string
		Owner               types.UID
		Labels, Annotations map[string]string
		Spec                *v1.PodSpec
	}{Forecast: c.forecast, Namespace: c.pod.Namespace, Labels: c.pod.Labels, Annotations: c.pod.Annotations, Spec: &c.pod.Spec}
	if owner := metav1.GetControllerOfNoCopy(c.pod); owner != nil {
		shared.Owner = owner.UID
	}
	data, err := json.Marshal(shared)
	if err != nil {
		return key, false
	}
	// Admission gives every pod a token volume with a name of its own.
	const token = "kube-api-access-"
	for _, volume := range c.pod.Spec.Volumes {
		if volume.Projected != nil && strings.HasPrefix(volume.Name, token) {
			data = bytes.ReplaceAll(data, []byte(`"`+volume.Name+`"`), []byte(`"`+token+`"`))
		}
	}
	return sha256.Sum256(data), true
}

// fickle tells that pods placed elsewhere may let the pod fit.
func fickle(spec *v1.PodSpec) bool {
	if spec.Affinity != nil && spec.Affinity.PodAffinity != nil && len(spec.Affinity.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution) > 0 {
		return true
	}
	return slices.ContainsFunc(spec.TopologySpreadConstraints, func(c v1.TopologySpreadConstraint) bool { return c.WhenUnsatisfiable == v1.DoNotSchedule })
}

// alone tells that the pod keeps its equals off its node.
func alone(pod *v1.Pod) bool {
	if pod.Spec.Affinity == nil || pod.Spec.Affinity.PodAntiAffinity == nil {
		return false
	}
	return slices.ContainsFunc(pod.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution, func(term v1.PodAffinityTerm) bool {
		selector, err := metav1.LabelSelectorAsSelector(term.LabelSelector)
		return err == nil && term.TopologyKey == v1.LabelHostname && selector.Matches(labels.Set(pod.Labels))
	})
}

// plain tells that no other pod matters, and no storage.
func plain(spec *v1.PodSpec) bool {
	if spec.Affinity != nil && spec.Affinity.PodAntiAffinity != nil && len(spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution) > 0 {
		return false
	}
	if len(spec.ResourceClaims) > 0 {
		return false
	}
	for _, volume := range spec.Volumes {
		if volume.PersistentVolumeClaim != nil || volume.Ephemeral != nil || volume.CSI != nil {
			return false
		}
	}
	for _, containers := range [][]v1.Container{spec.InitContainers, spec.Containers} {
		for _, container := range containers {
			if slices.ContainsFunc(container.Ports, func(port v1.ContainerPort) bool { return port.HostPort > 0 }) {
				return false
			}
		}
	}
	return true
}

// admits reckons whether labels and taints of a node let the class in.
func (c *class) admits(n *v1.Node) bool {
	if !c.anywhere {
		if ok, err := c.affinity.Match(n); err == nil && !ok {
			return false
		}
		for _, volume := range c.volumes {
			if ok, err := volume.Match(n); err == nil && !ok {
				return false
			}
		}
	}
	return !slices.ContainsFunc(n.Spec.Taints, func(taint v1.Taint) bool {
		return taint.Effect != v1.TaintEffectPreferNoSchedule && !slices.ContainsFunc(c.pods[0].pod.Spec.Tolerations, func(t v1.Toleration) bool {
			return tolerates(t, taint)
		})
	})
}

// tolerates is generous where operators compare figures: the simulator decides.
func tolerates(t v1.Toleration, taint v1.Taint) bool {
	if t.Effect != "" && t.Effect != taint.Effect || t.Key != "" && t.Key != taint.Key {
		return false
	}
	return t.Operator != v1.TolerationOpEqual && t.Operator != "" || t.Value == taint.Value
}
