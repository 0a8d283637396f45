// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/berth-dev/berth/test/demo/story"
)

const (
	// settle is the shortest time from the end of one tick of the autoscaler to
	// the beginning of the next: what is asked for sooner is of the same tick.
	settle = time.Second
	// soon is what scheduling and starting a pod may take on a busy machine.
	soon = 5 * time.Second
	// resolution is how often its metrics-server looks.
	resolution = 10 * time.Second
)

// rise: three times the load. The nodes come with the decision, not after the pods.
func (d *demo) rise() story.Step {
	return story.Step{
		Title: "three times the load on web: nodes come with the replicas",
		Expected: "replicas rise from 3 to 9, which settles cpu at 50 %;\n" +
			"nodes are asked for in the tick that decides the replicas, and the pods run one node boot later",
		Play: func(ctx context.Context, p *story.Progress) (story.Happening, error) {
			if err := d.until(ctx, p, "web's autoscaler to know its load", func(context.Context) (string, bool, error) {
				cpu, desired := d.utilization()
				state := fmt.Sprintf("before the load: web's cpu is at %d %%", cpu)
				if cpu == 0 {
					state = "before the load: web has no metrics yet"
				}
				return state, desired == few && near(cpu, everyday), nil
			}); err != nil {
				return story.Happening{}, err
			}
			begin := time.Now()
			// At its aim the load of every day fills 3 replicas; this is three times that.
			d.load.Set(d.app.load(3*few, aim))
			err := d.until(ctx, p, "9 replicas of web run at about 50 % cpu", func(context.Context) (string, bool, error) {
				running, total := d.webPods()
				cpu, desired := d.utilization()
				state := fmt.Sprintf("web: %d wanted, %d of %d run, cpu %d %%; %d nodes added, %d ready",
					desired, running, total, cpu, len(d.added()), count(d.added(), isReady))
				return state, running == many && total == many && desired == many && near(cpu, aim), nil
			})
			rises := d.rises(begin)
			happening := story.Happening{Table: byDecision(rises)}
			if len(rises) > 0 {
				happening.Notes = append(happening.Notes, fmt.Sprintf("replicas were decided %s after the load came (the metrics API is %s behind at most)",
					seconds(rises[0].at.Sub(begin)), resolution))
			}
			happening.Notes = append(happening.Notes, "nodes added by zone: "+d.byZone())
			// A pod that did not exist yet could not be told.
			told, tellErr := d.told(ctx, "TriggeredScaleUp", web)
			happening.Notes = append(happening.Notes, fmt.Sprintf("%d of the %d new pods were there already when their nodes were asked for", told, many-few))
			if err == nil {
				err = tellErr
			}
			if err == nil {
				err = together(rises, told)
			}
			return happening, err
		},
	}
}

// utilization is what web's autoscaler reports: the average cpu in percent of
// requests, and the replicas it wants.
func (d *demo) utilization() (cpu, desired int32) {
	hpa, err := d.hpas.HorizontalPodAutoscalers(d.namespace).Get(web)
	if err != nil {
		return 0, 0
	}
	for _, metric := range hpa.Status.CurrentMetrics {
		if metric.Type == autoscalingv2.ResourceMetricSourceType && metric.Resource != nil && metric.Resource.Current.AverageUtilization != nil {
			cpu = *metric.Resource.Current.AverageUtilization
		}
	}
	return cpu, hpa.Status.DesiredReplicas
}

// near allows for what is lost between two scrapes; the default tolerance of
// autoscaling/v2 is as much.
func near(cpu, aim int32) bool { return 10*cpu >= 9*aim && 10*cpu <= 11*aim }

// rising is one decision about replicas and what it brought, until the next one.
type rising struct {
	at       time.Time
	replicas int32
	// added are the nodes asked for, ready those of them that became ready, and
	// run the pods of web that began to run.
	added, ready, run []entry
}

func (d *demo) rises(begin time.Time) []rising {
	name := d.namespace + "/" + web
	return divide(d.journal.since(begin, scaled, name), d.journal.since(begin, nodeAdded, ""),
		d.journal.since(begin, nodeReady, ""), d.journal.since(begin, podRuns, name))
}

// divide gives each node to the decision before it, and each pod to the
// decision whose node it could run on: the pods of a decision run before the
// ones of the next, as many as it added replicas.
func divide(decisions, added, ready, run []entry) []rising {
	var rises []rising
	for i, decision := range decisions {
		r := rising{at: decision.at, replicas: decision.number}
		for _, node := range added {
			ended := i+1 < len(decisions) && !node.at.Before(decisions[i+1].at)
			if !node.at.Before(decision.at) && !ended {
				r.added = append(r.added, node)
			}
		}
		for _, node := range ready {
			if slices.ContainsFunc(r.added, func(a entry) bool { return a.name == node.name }) {
				r.ready = append(r.ready, node)
			}
		}
		before := int32(few)
		if i > 0 {
			before = decisions[i-1].number
		}
		n := min(max(int(decision.number-before), 0), len(run))
		r.run, run = run[:n], run[n:]
		rises = append(rises, r)
	}
	return rises
}

// told counts the pods of a workload about which the autoscaler said that.
func (d *demo) told(ctx context.Context, reason, workload string) (int, error) {
	events, err := d.Kube.CoreV1().Events(d.namespace).List(ctx, metav1.ListOptions{FieldSelector: "reason=" + reason + ",involvedObject.kind=Pod"})
	if err != nil {
		return 0, err
	}
	told := map[string]bool{}
	for _, event := range events.Items {
		if strings.HasPrefix(event.InvolvedObject.Name, workload+"-") {
			told[event.InvolvedObject.Name] = true
		}
	}
	return len(told), nil
}

// together fails where nodes came after the pods, or pods later than their
// nodes. Told is the number of pods that nodes were asked for and that existed.
func together(rises []rising, told int) error {
	nodes := 0
	for _, r := range rises {
		nodes += len(r.added)
		_, asked := span(r.added)
		_, ready := span(r.ready)
		_, ran := span(r.run)
		switch {
		case len(r.added) == 0:
			continue
		case asked.Sub(r.at) >= settle && told >= many-few:
			return &story.Unexpected{
				Expected: fmt.Sprintf("the nodes for %d replicas asked for in the tick that decided them", r.replicas),
				Actual:   fmt.Sprintf("%s later, when every pod was there and waited", seconds(asked.Sub(r.at))),
			}
		case len(r.ready) < len(r.added) || ran.Before(ready):
			return &story.Unexpected{
				Expected: fmt.Sprintf("the pods of %d replicas run on nodes that are ready", r.replicas),
				Actual:   fmt.Sprintf("they ran when %d of %d nodes were", len(r.ready), len(r.added)),
			}
		case ran.Sub(ready) > soon:
			return &story.Unexpected{
				Expected: fmt.Sprintf("the pods of %d replicas run when their nodes are ready", r.replicas),
				Actual:   fmt.Sprintf("the last one ran %s later", seconds(ran.Sub(ready))),
			}
		}
	}
	if nodes != many-few {
		return &story.Unexpected{Expected: fmt.Sprintf("%d nodes for %d more pods that fill a node each", many-few, many-few), Actual: fmt.Sprintf("%d nodes", nodes)}
	}
	return nil
}

// byDecision is the table of the decisions, in times from each decision.
func byDecision(rises []rising) [][]string {
	rows := [][]string{{"replicas", "nodes asked for", "after", "boot", "last pod runs after"}}
	for _, r := range rises {
		first, last := span(r.added)
		_, ran := span(r.run)
		asked, booted, runs := "-", "-", "-"
		if len(r.added) > 0 {
			asked = seconds(first.Sub(r.at)) + " to " + seconds(last.Sub(r.at))
		}
		if took := boots(r.added, r.ready); len(took) > 0 {
			booted = seconds(took[len(took)-1])
		}
		if len(r.run) > 0 {
			runs = seconds(ran.Sub(r.at))
		}
		rows = append(rows, []string{fmt.Sprint(r.replicas), fmt.Sprint(len(r.added)), asked, booted, runs})
	}
	return rows
}

// byZone says how many nodes the autoscaler has in each zone.
func (d *demo) byZone() string {
	text := ""
	for _, zone := range d.zones {
		n := count(d.added(), func(node *corev1.Node) bool { return node.Labels[corev1.LabelTopologyZone] == zone })
		text += fmt.Sprintf("%s %d  ", zone, n)
	}
	return text[:max(len(text)-2, 0)]
}

func count(nodes []*corev1.Node, is func(*corev1.Node) bool) int {
	n := 0
	for _, node := range nodes {
		if is(node) {
			n++
		}
	}
	return n
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1fs", d.Seconds()) }
