// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"

	"github.com/berth-dev/berth/test/demo/story"
	"github.com/berth-dev/berth/test/fixture"
)

const (
	web = "web"
	db  = "db"

	// few replicas of web carry the load of every day, many three times as much.
	few, many, most = 3, 9, 12
	// aim is the cpu utilization that web's autoscaler aims at, in percent, and
	// everyday that of its load at other times.
	aim, everyday = 50, 40

	// atFirst is the number of db's ordinals until it is scaled.
	atFirst = 5

	zonesNeeded, nodesPerZone = 3, 2
)

// app is the size of the application, fitted to the nodes: a pod of web fills a
// node and two of db do, so that every room is needed and no guess about
// packing decides how the story ends.
type app struct {
	// nodeCPU is that of a node, in milli-cpu.
	nodeCPU int64
}

// errUnfit says what kind of cluster the story needs.
var errUnfit = errors.New("the story needs 2 ready nodes of one size in each of 3 zones, and none that a node group made: make cluster-up NODES=6 ZONES=3 NODE_BOOT=10s")

// fit returns the zones of the nodes, in order, and an application that suits them.
func fit(nodes []*corev1.Node) (zones []string, a app, err error) {
	count := map[string]int{}
	for _, node := range nodes {
		cpu := node.Status.Allocatable.Cpu().MilliValue()
		if a.nodeCPU == 0 {
			a.nodeCPU = cpu
		}
		if cpu == 0 || cpu != a.nodeCPU || !isReady(node) || node.Labels[groupLabel] != "" {
			return nil, app{}, fmt.Errorf("%w; not so: %s", errUnfit, node.Name)
		}
		count[node.Labels[corev1.LabelTopologyZone]]++
	}
	zones = slices.Sorted(maps.Keys(count))
	for _, n := range count {
		if n != nodesPerZone || len(zones) != zonesNeeded {
			return nil, app{}, fmt.Errorf("%w; there are: %v", errUnfit, count)
		}
	}
	if len(zones) == 0 {
		return nil, app{}, errUnfit
	}
	return zones, a, nil
}

func (a app) web() fixture.Workload {
	return fixture.Workload{Name: web, Replicas: few, CPU: milli(a.nodeCPU), Memory: "1Gi"}
}

func (a app) db(replicas int32) fixture.Workload {
	return fixture.Workload{
		Name: db, Replicas: replicas, CPU: milli(a.nodeCPU / 2), Memory: dbMemory,
		Claims: []fixture.Claim{{Name: "data", Class: "zonal"}},
	}
}

// load is the total that makes that many replicas use so many percent of their requests.
func (a app) load(replicas, percent int64) int64 { return replicas * a.nodeCPU * percent / 100 }

// webDeployment keeps the zones level, as people do with what is stateless.
func (a app) webDeployment() *appsv1.Deployment {
	deployment := a.web().Deployment()
	deployment.Spec.Template.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{
		MaxSkew:           1,
		TopologyKey:       corev1.LabelTopologyZone,
		WhenUnsatisfiable: corev1.DoNotSchedule,
		LabelSelector:     deployment.Spec.Selector.DeepCopy(),
	}}
	return deployment
}

// webScaler may triple the replicas at once. Without this autoscaling/v2 would
// let them no more than double, and the story would take two decisions.
func (a app) webScaler() *autoscalingv2.HorizontalPodAutoscaler {
	hpa := fixture.Scaler{
		Name: web, Target: fixture.Target("Deployment", web),
		Min: few, Max: most, CPUPercent: aim, StabilizeDown: stabilize,
	}.HPA()
	hpa.Spec.Behavior.ScaleUp = &autoscalingv2.HPAScalingRules{Policies: []autoscalingv2.HPAScalingPolicy{{
		Type: autoscalingv2.PercentScalingPolicy, Value: 200, PeriodSeconds: 15,
	}}}
	return hpa
}

func milli(cpu int64) string { return fmt.Sprintf("%dm", cpu) }

// begin makes web, with the load of every day, and waits until it runs.
func (d *demo) begin(ctx context.Context, p *story.Progress) error {
	if err := d.Create(ctx, d.namespace, d.app.webDeployment()); err != nil {
		return err
	}
	var err error
	if d.load, err = d.StartLoad(context.WithoutCancel(ctx), d.namespace, d.app.web().Selector(), d.app.load(few, everyday), "64Mi"); err != nil {
		return err
	}
	if err := d.until(ctx, p, "3 replicas of web run", func(context.Context) (string, bool, error) {
		running, total := d.webPods()
		return fmt.Sprintf("web: %d of %d run", running, total), running == few && total == few, nil
	}); err != nil {
		return err
	}
	return d.Create(ctx, d.namespace, d.app.webScaler())
}

// webPods counts the pods of web, those that are about to end included.
func (d *demo) webPods() (running, total int) {
	pods, _ := d.pods.Pods(d.namespace).List(selecting(web)) // an informer's store does not fail
	for _, pod := range pods {
		if pod.Status.Phase == corev1.PodRunning {
			running++
		}
	}
	return running, len(pods)
}

// inZones fails as soon as an ordinal, or a volume, is where it does not belong.
func inZones(table fixture.Table, zones []string) error {
	for _, row := range table {
		home := zones[row.Ordinal%len(zones)]
		if (row.Node != "" && row.Zone != home) || (row.VolumeZone != "" && row.VolumeZone != home) {
			return &story.Unexpected{
				Expected: fmt.Sprintf("ordinal %d and its volume in %s", row.Ordinal, home),
				Actual:   fmt.Sprintf("pod in %q, volume in %q\n%s", row.Zone, row.VolumeZone, strings.TrimSpace(table.String())),
			}
		}
	}
	return nil
}

// settled tells that exactly that many ordinals run, each with its volume.
func settled(table fixture.Table, replicas int) bool {
	pods, volumes := 0, 0
	for _, row := range table {
		if row.Node != "" {
			pods++
		}
		if row.Ready && row.VolumeZone != "" {
			volumes++
		}
	}
	return pods == replicas && volumes == replicas
}

// homes is the volume of each ordinal.
func homes(table fixture.Table) map[int]string {
	volumes := map[int]string{}
	for _, row := range table {
		if row.Volume != "" {
			volumes[row.Ordinal] = row.Volume
		}
	}
	return volumes
}

// where is the table of a set for people.
func where(table fixture.Table) [][]string {
	rows := [][]string{{"ordinal", "zone", "node", "volume zone"}}
	for _, row := range table {
		rows = append(rows, []string{fmt.Sprint(row.Ordinal), orDash(row.Zone), orDash(row.Node), orDash(row.VolumeZone)})
	}
	return rows
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
