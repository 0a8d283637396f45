// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package horizontal_test

import (
	"fmt"
	"slices"
	"sync"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	clienttesting "k8s.io/client-go/testing"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"
	"k8s.io/utils/ptr"

	"github.com/berth-dev/berth/autoscaler/horizontal"
)

const namespace = "prod"

var podResource = v1.SchemeGroupVersion.WithResource("pods")

// world is a Deployment web with its pods and their usage, an HPA, and one pod beside them that is none of theirs.
// Both sides of the oracle only read it; stories change it between syncs.
type world struct {
	mu      sync.Mutex // virtual time keeps the two apart; this tells the race detector
	tracker clienttesting.ObjectTracker
	hpa     *autoscalingv2.HorizontalPodAutoscaler

	rivals   []string // other HPAs of the same target
	mayZero  bool     // edits often allow zero replicas
	starved  bool     // new pods do not come: a quota, say
	replicas int32
	selector string
	reported int32  // the replicas that the target reports; below zero: as many as there are pods
	gone     string // why there is no scale
	readOnly string // why the scale cannot be written

	pods        []*berthed
	born        int
	template    int   // which of the pod templates new pods have
	cpu, memory int64 // usage per container: milli-cpu and MiB
	metricsDown string
	measures
}

// berthed is a pod and how the metrics API sees it.
type berthed struct {
	pod     *v1.Pod
	age     int // in syncs
	held    bool
	changed bool

	cpu       int64 // extra milli-cpu
	rate      int64 // extra
	noSample  bool
	noRate    bool
	noCPU     bool
	noneAtAll bool
	staleness time.Duration
}

func newWorld(s story) *world {
	w := &world{replicas: 3, reported: -1, selector: "app=web", cpu: 250, memory: 100, template: int(s.seed) % 3,
		measures: measures{rate: 500, depth: 2000, queue: []int64{1000, 500}}, rivals: s.rivals, mayZero: s.config.ScaleToZero}
	least := int32(1)
	if w.mayZero && s.seed%2 == 0 {
		least = 0
	}
	w.hpa = &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "web"},
		Spec:       specFrom(s.seed, &least, 20),
	}
	return w
}

func (w *world) locked(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

func scaleOf(action clienttesting.Action) *autoscalingv1.Scale {
	return action.(clienttesting.UpdateAction).GetObject().(*autoscalingv1.Scale)
}

func (w *world) statusReplicas() int32 {
	if w.reported >= 0 {
		return w.reported
	}
	return int32(len(w.pods))
}

func (w *world) scale() *autoscalingv1.Scale {
	return &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "web"},
		Spec:       autoscalingv1.ScaleSpec{Replicas: w.replicas},
		Status:     autoscalingv1.ScaleStatus{Replicas: w.statusReplicas(), Selector: w.selector},
	}
}

// input is the world as a conductor hands it to Decide. It holds until the world's next change.
func (w *world) input(hpa *autoscalingv2.HorizontalPodAutoscaler, config horizontal.Config) horizontal.Input {
	in := horizontal.Input{
		Now: time.Now(), HPA: hpa, Config: config, SelectedBy: []string{hpa.Name},
		Scale: horizontal.Scale{
			Absent: w.gone, SpecReplicas: w.replicas, StatusReplicas: w.statusReplicas(), Selector: w.selector,
		},
		Usage:    horizontal.Usage{Absent: w.metricsDown, Pods: map[string]horizontal.PodUsage{}},
		Readings: w.readings(hpa.Spec.Metrics),
	}
	if selector, err := labels.Parse(w.selector); err == nil {
		for _, b := range w.pods {
			if selector.Matches(labels.Set(b.pod.Labels)) {
				in.Pods = append(in.Pods, b.pod)
			}
		}
	}
	if len(in.Pods) > 0 {
		in.SelectedBy = append(in.SelectedBy, w.rivals...)
	}
	for _, sample := range w.samples("") {
		usage := horizontal.PodUsage{Timestamp: sample.Timestamp.Time, Window: sample.Window.Duration}
		for _, c := range sample.Containers {
			usage.Containers = append(usage.Containers, horizontal.ContainerUsage{Name: c.Name, Usage: c.Usage})
		}
		in.Usage.Pods[sample.Name] = usage
	}
	return in
}

// samples is what the metrics API lists now.
func (w *world) samples(selector string) []metricsv1beta1.PodMetrics {
	parsed, err := labels.Parse(selector)
	if err != nil {
		return nil
	}
	items := []metricsv1beta1.PodMetrics{}
	if parsed.Matches(labels.Set{"app": "other"}) {
		items = append(items, w.sample("other-0", w.container("app", 900, false)))
	}
	for _, b := range w.pods {
		if b.noSample || b.age < 2 || !parsed.Matches(labels.Set(b.pod.Labels)) {
			continue
		}
		item := w.sample(b.pod.Name)
		item.Timestamp.Time = item.Timestamp.Add(-b.staleness)
		if !b.noneAtAll {
			item.Containers = append(item.Containers, w.container("app", b.cpu, b.noCPU), w.container("sidecar", 0, false))
		}
		items = append(items, item)
	}
	return items
}

func (w *world) sample(pod string, containers ...metricsv1beta1.ContainerMetrics) metricsv1beta1.PodMetrics {
	return metricsv1beta1.PodMetrics{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: pod},
		Timestamp:  metav1.NewTime(time.Now().Add(-10 * time.Second)), Window: metav1.Duration{Duration: 30 * time.Second},
		Containers: containers,
	}
}

func (w *world) container(name string, extra int64, noCPU bool) metricsv1beta1.ContainerMetrics {
	usage := v1.ResourceList{v1.ResourceMemory: *resource.NewQuantity(w.memory<<20, resource.BinarySI)}
	if !noCPU {
		usage[v1.ResourceCPU] = *resource.NewMilliQuantity(w.cpu+extra, resource.DecimalSI)
	}
	return metricsv1beta1.ContainerMetrics{Name: name, Usage: usage}
}

// settle plays Deployment, scheduler and kubelet for one sync: pods come and go until there are enough, and
// those that nobody holds grow up: pending, running, ready.
func (w *world) settle() {
	now := metav1.Now()
	w.pods = slices.DeleteFunc(w.pods, func(b *berthed) bool {
		if b.pod.DeletionTimestamp == nil || b.held {
			return false
		}
		w.track(w.tracker.Delete(podResource, namespace, b.pod.Name))
		return true
	})
	alive := 0
	for _, b := range w.pods {
		b.age++
		leaving := b.pod.DeletionTimestamp != nil
		if !leaving {
			alive++
		}
		switch {
		case leaving:
		case alive > int(w.replicas):
			b.pod.DeletionTimestamp, b.changed = &now, true
		case b.held:
		case b.age == 1:
			b.pod.Status.Phase, b.pod.Status.StartTime, b.changed = v1.PodRunning, &now, true
			b.setReady(v1.ConditionFalse)
		case b.age == 3:
			b.setReady(v1.ConditionTrue)
		}
		if b.changed {
			b.changed = false
			w.track(w.tracker.Update(podResource, b.pod.DeepCopy(), namespace))
		}
	}
	for ; alive < int(w.replicas) && !w.starved; alive++ {
		b := &berthed{pod: newPod(w.born, w.template)}
		w.born++
		w.pods = append(w.pods, b)
		w.track(w.tracker.Add(b.pod.DeepCopy()))
	}
}

// track drops errors of the tracker that only mean that two operations of a story overlap.
func (*world) track(error) {}

func (b *berthed) setReady(status v1.ConditionStatus) {
	b.changed = true
	b.pod.Status.Conditions = []v1.PodCondition{{Type: v1.PodReady, Status: status, LastTransitionTime: metav1.Now()}}
}

// newPod makes a pod of one of the templates: with all requests, with a sidecar, with requests at the pod level, with
// those of cpu only, with a request of zero, and without any.
func newPod(index, template int) *v1.Pod {
	requests := func(cpu, memory string) v1.ResourceRequirements {
		list := v1.ResourceList{}
		if cpu != "" {
			list[v1.ResourceCPU] = resource.MustParse(cpu)
		}
		if memory != "" {
			list[v1.ResourceMemory] = resource.MustParse(memory)
		}
		return v1.ResourceRequirements{Requests: list}
	}
	pod := &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("web-%d", index), Labels: map[string]string{"app": "web"}},
		Spec: v1.PodSpec{Containers: []v1.Container{
			{Name: "app", Resources: requests("500m", "150Mi")}, {Name: "sidecar", Resources: requests("130m", "50Mi")},
		}},
		Status: v1.PodStatus{Phase: v1.PodPending},
	}
	switch template {
	case 1:
		pod.Spec.Containers = pod.Spec.Containers[:1]
		pod.Spec.InitContainers = []v1.Container{
			{Name: "setup", Resources: requests("2", "2Gi")},
			{Name: "sidecar", Resources: requests("100m", "64Mi"), RestartPolicy: ptr.To(v1.ContainerRestartPolicyAlways)},
		}
	case 2:
		pod.Spec.Resources = ptr.To(requests("900m", ""))
		pod.Spec.Overhead = v1.ResourceList{v1.ResourceCPU: resource.MustParse("50m")}
	case 3:
		pod.Spec.Containers[1].Resources = requests("130m", "")
	case 4:
		pod.Spec.Containers[0].Resources, pod.Spec.Containers[1].Resources = requests("0", "0"), requests("0", "0")
	case 5:
		pod.Spec.Containers[0].Resources = requests("", "")
	}
	return pod
}
