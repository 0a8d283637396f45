// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berth-dev/berth/autoscaler"
	"github.com/berth-dev/berth/autoscaler/nodes/drain"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// unmet tells that what was asked about would not come out whole. It is an
// answer, with an exit code of its own.
type unmet struct{ text string }

func (u unmet) Error() string { return u.text }

// exitUnmet is the exit code of an answer that some pod would wait.
const exitUnmet = 2

func newWhatIfCommand(o *options, connect connector) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "what-if",
		Short:   "Try on the cluster as it is what a change would do, and change nothing",
		Long:    whatIfLong,
		Example: whatIfExample,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newWhatIfScaleCommand(o, connect), newWhatIfDrainCommand(o, connect))
	return cmd
}

func newWhatIfScaleCommand(o *options, connect connector) *cobra.Command {
	kinds := scalableKinds()
	cmd := &cobra.Command{
		Use:     "scale (sts/NAME | deploy/NAME | rs/NAME | rc/NAME | RESOURCE.GROUP/NAME) REPLICAS",
		Short:   "Where the pods of a workload would go if it were scaled, and which nodes would come for them",
		Long:    whatIfLong,
		Example: whatIfExample,
		ValidArgsFunction: func(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return completeTargets(connect, kinds...)(cmd, args, toComplete)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) < 2 {
				return usage(cmd, errors.New("want a workload and a number of replicas, like sts/db 9"))
			}
			replicas, err := strconv.ParseInt(args[len(args)-1], 10, 32)
			if err != nil || replicas < 0 {
				return usage(cmd, fmt.Errorf("%q is no number of replicas", args[len(args)-1]))
			}
			about, err := parseTarget(args[:len(args)-1], kinds...)
			resource, name, custom := customTarget(args[:len(args)-1])
			if err != nil && !custom {
				return usage(cmd, err)
			}
			return o.try(cmd, connect, func(ctx context.Context, c *cluster, l *lab) (*whatIfReport, error) {
				if err == nil {
					return c.tryScale(ctx, l, about, int(replicas))
				}
				return c.tryScaleCustom(ctx, l, resource, name, int(replicas))
			})
		},
	}
	o.add(cmd)
	o.addScaling(cmd)
	return cmd
}

// tryDrain tries to drain a node.
func (c *cluster) tryDrain(ctx context.Context, l *lab, name string) (*whatIfReport, error) {
	prospect, err := l.outlook.Drain(ctx, name)
	if errors.Is(err, autoscaler.ErrUnknownNode) {
		return nil, noNode(name, keys(l.nodes))
	}
	if err != nil {
		return nil, err
	}
	r := l.report(prospect)
	r.Change = changeReport{Verb: "drain", Kind: kindNode, Name: name}
	var pods []*v1.Pod
	for _, place := range prospect.Pods {
		pods = append(pods, place.Pod)
	}
	node := c.newNodeReport(l.known, l.nodes[name], pods)
	if r.Node = &node; !node.going {
		r.Removal = l.known.removal(name, prospect)
	}
	return r, nil
}

func newWhatIfDrainCommand(o *options, connect connector) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "drain node/NAME",
		Short:             "Where the pods of a node would go if it were drained, and whether Berth would ever remove it",
		Long:              whatIfLong,
		Example:           whatIfExample,
		ValidArgsFunction: completeTargets(connect, kindNode),
		RunE: func(cmd *cobra.Command, args []string) error {
			about, err := parseTarget(args, kindNode)
			if err != nil {
				return usage(cmd, err)
			}
			return o.try(cmd, connect, func(ctx context.Context, c *cluster, l *lab) (*whatIfReport, error) {
				return c.tryDrain(ctx, l, about.name)
			})
		},
	}
	o.add(cmd)
	o.addScaling(cmd)
	return cmd
}

// try opens a lab, asks and prints. The error tells, too, that some pod would wait.
func (o *options) try(cmd *cobra.Command, connect connector, ask func(context.Context, *cluster, *lab) (*whatIfReport, error)) error {
	var report *whatIfReport
	err := o.run(cmd, connect, func(c *cluster) (textual, error) {
		said := newProgress(cmd.ErrOrStderr())
		defer said.end()
		l, err := c.openLab(cmd.Context(), said.stage)
		if l != nil && l.close != nil {
			defer l.close()
		}
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeoutCause(cmd.Context(), simulatingTime, fmt.Errorf("it took longer than %s", simulatingTime))
		defer cancel()
		report, err = ask(ctx, c, l)
		return report, err
	})
	if err == nil && report.unmet() != "" {
		return unmet{report.unmet()}
	}
	return err
}

// scalableKinds are those whose pods are made from a template that everybody knows.
func scalableKinds() []kind {
	return []kind{kindSet, kindDeployment, kindReplicaSet, kindController}
}

// customTarget reads "kafkas.example.com/main" and "kafkas.example.com main".
func customTarget(args []string) (resource schema.GroupResource, name string, ok bool) {
	words := args
	if len(args) == 1 {
		words = strings.Split(args[0], "/")
	}
	if len(words) != 2 || words[1] == "" || strings.Contains(words[1], "/") {
		return resource, "", false
	}
	resource = schema.ParseGroupResource(words[0])
	return resource, words[1], resource.Group != ""
}

// tryScale tries a number of replicas.
func (c *cluster) tryScale(ctx context.Context, l *lab, about target, replicas int) (*whatIfReport, error) {
	ref := autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: string(about.kind), Name: about.name}
	if about.kind == kindController {
		ref.APIVersion = "v1"
	}
	r, err := c.tryScaleOf(ctx, l, ref, replicas)
	if apierrors.IsNotFound(err) {
		return nil, notFound(string(about.kind), c.namespace, about.name, names(ctx, func() (*cluster, error) { return c, nil }, about.kind))
	}
	return r, err
}

// tryScaleCustom tries a number of replicas of any resource that has a scale.
func (c *cluster) tryScaleCustom(ctx context.Context, l *lab, resource schema.GroupResource, name string, replicas int) (*whatIfReport, error) {
	kind, err := c.gauges.mapper.KindFor(resource.WithVersion(""))
	if err != nil {
		return nil, fmt.Errorf("%q is nothing that the API server knows: %w", resource, err)
	}
	return c.tryScaleOf(ctx, l, autoscalingv2.CrossVersionObjectReference{APIVersion: kind.GroupVersion().String(), Kind: kind.Kind, Name: name}, replicas)
}

func (c *cluster) tryScaleOf(ctx context.Context, l *lab, ref autoscalingv2.CrossVersionObjectReference, replicas int) (*whatIfReport, error) {
	prospect, err := l.outlook.Scale(ctx, autoscaler.Scalable{Namespace: c.namespace, Ref: ref}, replicas)
	if err != nil {
		return nil, wrap(fmt.Sprintf("%s/%s", ref.Kind, ref.Name), err)
	}
	r := l.report(prospect)
	r.Change = changeReport{Verb: "scale", Kind: kind(ref.Kind), Namespace: c.namespace, Name: ref.Name, From: &prospect.Replicas, To: &replicas}
	return r, nil
}

// report tells of a prospect.
func (l *lab) report(p autoscaler.Prospect) *whatIfReport {
	r := &whatIfReport{Fewer: p.Fewer, Notes: l.notes}
	if l.known.unread == nil {
		r.BerthActs = l.known.acts()
	}
	for _, place := range p.Pods {
		r.Pods = append(r.Pods, newPlaceReport(place))
	}
	slices.SortStableFunc(r.Pods, func(a, b placeReport) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(len(a.Pod), len(b.Pod)), cmp.Compare(a.Pod, b.Pod)) // db-2 before db-10
	})
	for _, pod := range p.Going {
		r.Going = append(r.Going, pod.Name)
	}
	for _, held := range p.Held {
		r.Held = append(r.Held, heldReport{Pods: held.Pods, Reason: held.Reason})
	}
	for _, add := range p.Decision.Adds {
		r.Groups = append(r.Groups, growthReport{Group: add.Group, From: add.Target - add.Count, To: add.Target, Reason: add.Reason})
	}
	for _, why := range []string{p.Decision.Blocked, p.Decision.Incomplete} {
		if why != "" {
			r.Notes = append(r.Notes, "nothing more was decided: "+why)
		}
	}
	return r
}

func newPlaceReport(p autoscaler.Place) placeReport {
	r := placeReport{Pod: p.Pod.Name, Namespace: p.Pod.Namespace, State: stateToCome, Node: p.Node, Group: p.Group, Reasons: p.Reasons, Groups: p.Groups}
	r.Nth, r.Detail = p.Nth, p.Why
	if p.Exists {
		r.State = statePending
	}
	switch p.Fate {
	case drain.Moves:
		r.State = stateMoves
	case drain.Waits:
		if r.State = stateWaits; p.Later {
			r.State, r.Detail = stateMoves, "later: "+p.Why
		}
	case drain.Stays:
		r.State = stateStays
	case drain.Ends:
		r.State = stateEnds
	case drain.Leaves:
		r.State = stateTerminating
	}
	switch {
	case p.Upcoming:
		r.Place = placeUpcoming
	case p.New:
		r.Place = placeNew
	case p.Node != "":
		r.Place = placePresent
	}
	return r
}
