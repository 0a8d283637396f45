// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	autoscaler "github.com/berth-dev/berth/autoscaler/config"
	"github.com/berth-dev/berth/autoscaler/nodes/status"
)

// staleStatus is how old the status of node groups is when its writer must be gone: it is written once a minute at least.
const staleStatus = 3 * time.Minute

// groups is what the autoscaler says of its node groups.
type groups struct {
	status.Status
	templates status.Templates
	origin    string
	// unread says why nothing is known.
	unread error
}

// readGroups reads the status of the node groups.
func (c *cluster) readGroups(ctx context.Context) (groups, error) {
	g := groups{origin: fmt.Sprintf("ConfigMap %s/%s", autoscaler.Namespace, autoscaler.StatusName)}
	object, err := c.kube.CoreV1().ConfigMaps(autoscaler.Namespace).Get(ctx, autoscaler.StatusName, metav1.GetOptions{})
	if err == nil {
		g.Status, g.templates, err = status.Parse(object.Data)
	}
	if ctx.Err() != nil {
		return g, err
	}
	g.unread = wrap("reading "+g.origin, err)
	return g, nil
}

// advice says what to do where the status is not there.
func (g groups) advice() error {
	if apierrors.IsNotFound(g.unread) {
		return fmt.Errorf("there is no %s: berth-autoscaler writes it, while it leads and nodes.provider is set", g.origin)
	}
	return g.unread
}

// notes says how far the status is to be trusted.
func (g groups) notes(now time.Time) (notes []string) {
	if age := now.Sub(g.Written()); age > staleStatus {
		notes = append(notes, fmt.Sprintf("the status is %s old: berth-autoscaler does not run, or cannot write it", ago(age)))
	}
	if g.Message != "" {
		notes = append(notes, "nothing could be decided the last time: "+g.Message)
	}
	if g.Berth.Incomplete != "" {
		notes = append(notes, "not every pod was looked at the last time: "+g.Berth.Incomplete)
	}
	var unread []string
	for _, group := range g.Berth.Unread {
		unread = append(unread, group.Group+": "+group.Reason)
	}
	if few, _ := first(mostNodes, unread); len(few) > 0 {
		notes = append(notes, "node groups that nothing is known of, and that are left alone: "+strings.Join(few, "; "))
	}
	return notes
}

// leftAlone says why nothing is known of a group, empty where it is known or not there.
func (g groups) leftAlone(name string) string {
	for _, group := range g.Berth.Unread {
		if group.Group == name {
			return group.Reason
		}
	}
	return ""
}

// acts says what Berth does about nodes.
func (g groups) acts() string {
	switch {
	case g.Berth.Blocked != "":
		return "leaves all nodes alone: " + g.Berth.Blocked
	case g.Berth.Reason != "":
		return "plans, and leaves all nodes alone: " + g.Berth.Reason
	default:
		return "adds and removes nodes"
	}
}

// template is that of a group, nil where it is not known.
func (g groups) template(name string) *status.Template {
	i := slices.IndexFunc(g.templates.Groups, func(t status.Template) bool { return t.Name == name })
	if i < 0 {
		return nil
	}
	return &g.templates.Groups[i]
}

// groupOf is the group of a node, empty where it has none or that is not known.
func (g groups) groupOf(node string) string {
	for _, t := range g.templates.Groups {
		if slices.Contains(t.Nodes, node) {
			return t.Name
		}
	}
	return ""
}
