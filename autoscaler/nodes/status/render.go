// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package status

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"
)

// The keys of the ConfigMap.
const (
	// Key holds the Status, in YAML.
	Key = "status"
	// TemplatesKey holds the Templates, in JSON.
	TemplatesKey = "templates"
)

const (
	// mostStatus and mostTemplates bound the values of the two keys, in bytes: an object of the API server has 1 MiB in all.
	mostStatus    = 400 << 10
	mostTemplates = 500 << 10
	// mostListed bounds each list at first, and mostText one reason.
	mostListed = 100
	mostText   = 500
)

// Templates are what a program needs to know of the groups to simulate them.
type Templates struct {
	Groups []Template `json:"groups"`
	// LeftOut is how many groups are not here, and NodesLeftOut how many names of nodes, for want of room.
	LeftOut      int `json:"leftOut,omitempty"`
	NodesLeftOut int `json:"nodesLeftOut,omitempty"`
}

// Template is a new node of a group, as far as schedulers go by it, and the group's nodes.
type Template struct {
	Name        string            `json:"name"`
	Labels      map[string]string `json:"labels,omitempty"`
	Taints      []v1.Taint        `json:"taints,omitempty"`
	Capacity    v1.ResourceList   `json:"capacity,omitempty"`
	Allocatable v1.ResourceList   `json:"allocatable,omitempty"`
	// Drivers are the CSI drivers that the node will have, with the number of volumes that each can attach; 0 is no limit.
	Drivers map[string]int32 `json:"drivers,omitempty"`
	// Storage is how much each StorageClass can provision on the node alone.
	Storage map[string]resource.Quantity `json:"storage,omitempty"`
	// Nodes are the names of the nodes that the group has.
	Nodes []string `json:"nodes,omitempty"`
}

// TemplateOf is the template of a group whose new nodes are like this one.
func TemplateOf(group string, n *v1.Node) Template {
	return Template{Name: group, Labels: n.Labels, Taints: n.Spec.Taints, Capacity: n.Status.Capacity, Allocatable: n.Status.Allocatable}
}

// Node is a new node of the group.
func (t Template) Node() *v1.Node {
	n := &v1.Node{}
	n.Name, n.Labels, n.Spec.Taints = t.Name, t.Labels, t.Taints
	n.Status.Capacity, n.Status.Allocatable = t.Capacity, t.Allocatable
	return n
}

// Render returns the data of the ConfigMap.
func Render(s Status, t Templates) (map[string]string, error) {
	text, err := s.fit(mostStatus)
	if err != nil {
		return nil, fmt.Errorf("status: %w", err)
	}
	templates, err := t.fit(mostTemplates)
	if err != nil {
		return nil, fmt.Errorf("templates: %w", err)
	}
	return map[string]string{Key: text, TemplatesKey: templates}, nil
}

// Parse returns what was rendered. Templates that are not there are none.
func Parse(data map[string]string) (s Status, t Templates, err error) {
	if err := yaml.Unmarshal([]byte(data[Key]), &s); err != nil {
		return s, t, fmt.Errorf("%s: %w", Key, err)
	}
	if text := data[TemplatesKey]; text != "" {
		if err := json.Unmarshal([]byte(text), &t); err != nil {
			return s, t, fmt.Errorf("%s: %w", TemplatesKey, err)
		}
	}
	return s, t, nil
}

// Gist is what a status and templates say, but for the time and for how long something has gone on: who has said as
// much before need not say it again.
func Gist(s Status, t Templates) (string, error) {
	said, err := json.Marshal([]any{s, t})
	if err != nil {
		return "", fmt.Errorf("the gist of a status: %w", err)
	}
	moves := regexp.MustCompile(`"(lastProbeTime|time)":"[^"]*"|\b(\d+h)?(\d+m)?\d+(\.\d+)?(s|ms|µs)\b`)
	return moves.ReplaceAllString(string(said), ""), nil
}

// fit renders the status in at most so many bytes: the lists get shorter, and at last groups are left out.
func (s Status) fit(limit int) (string, error) {
	for listed, groups := mostListed, len(s.NodeGroups); ; {
		cut, last := s.cut(listed, groups), listed == 0 && groups == 0
		// JSON is shorter, and much faster to make: YAML is for what may fit.
		if data, err := json.Marshal(cut); err != nil || len(data) <= limit || last {
			text, err := yaml.Marshal(cut)
			if err != nil || len(text) <= limit || last {
				return string(text), err
			}
		}
		if listed > 0 {
			listed /= 2
		} else {
			groups = groups * 3 / 4
		}
	}
}

// cut returns the status with lists that are bounded.
func (s Status) cut(listed, groups int) Status {
	b := &s.Berth
	s.Message, b.Reason, b.Blocked, b.Incomplete = short(s.Message), short(b.Reason), short(b.Blocked), short(b.Incomplete)
	b.Unhelped = first(b.Unhelped, listed, &b.LeftOut.Unhelped, func(u *Unhelped) {
		u.Nodes, u.Groups = shorts(u.Nodes), shorts(u.Groups)
	})
	b.Kept = first(b.Kept, listed, &b.LeftOut.Kept, func(k *Kept) { k.Reason = short(k.Reason) })
	b.Unneeded = first(b.Unneeded, listed, &b.LeftOut.Unneeded, func(*Unneeded) {})
	b.Draining = first(b.Draining, listed, &b.LeftOut.Draining, func(d *Drain) { d.Reason = short(d.Reason) })
	b.Unread = first(b.Unread, listed, &b.LeftOut.Unread, func(u *Unread) { u.Reason = short(u.Reason) })
	s.NodeGroups = first(s.NodeGroups, groups, &b.LeftOut.NodeGroups, func(g *NodeGroup) {
		g.Berth.Obstacle, g.ScaleUp.BackoffInfo.ErrorMessage = short(g.Berth.Obstacle), short(g.ScaleUp.BackoffInfo.ErrorMessage)
		for _, growth := range []**Growth{&g.Berth.LastScaleUp, &g.Berth.Planned} {
			if *growth != nil {
				shorter := **growth
				shorter.Reason = short(shorter.Reason)
				*growth = &shorter
			}
		}
	})
	return s
}

// first returns a copy of the first items, each changed, and counts the others.
func first[T any](items []T, most int, leftOut *int, change func(*T)) (kept []T) {
	for i := range min(len(items), most) {
		kept = append(kept, items[i])
		change(&kept[i])
	}
	*leftOut += len(items) - len(kept)
	return kept
}

// shorts bounds reasons, of which there may be one for each group.
func shorts(texts []string) []string {
	const most = 10
	var all []string
	for i, text := range texts {
		if i == most {
			return append(all, fmt.Sprintf("and %d more reasons", len(texts)-most))
		}
		all = append(all, short(text))
	}
	return all
}

func short(text string) string {
	if len(text) <= mostText {
		return text
	}
	end := mostText
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return strings.TrimSpace(text[:end]) + " …"
}

// fit renders the templates in at most so many bytes: at first names of nodes are left out, and then groups.
func (t Templates) fit(limit int) (string, error) {
	names := 0
	for _, g := range t.Groups {
		names = max(names, len(g.Nodes))
	}
	for groups := len(t.Groups); ; {
		text, err := json.Marshal(t.cut(names, groups))
		if err != nil {
			return "", err
		}
		if len(text) <= limit || names == 0 && groups == 0 {
			return string(text), nil
		}
		if names > 0 {
			names /= 2
		} else {
			groups = groups * 3 / 4
		}
	}
}

func (t Templates) cut(names, groups int) Templates {
	cut := Templates{LeftOut: t.LeftOut, NodesLeftOut: t.NodesLeftOut}
	cut.Groups = first(t.Groups, groups, &cut.LeftOut, func(g *Template) {
		all := len(g.Nodes)
		g.Nodes = g.Nodes[:min(all, names)]
		cut.NodesLeftOut += all - len(g.Nodes)
	})
	if cut.Groups == nil {
		cut.Groups = []Template{}
	}
	return cut
}
