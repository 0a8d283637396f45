// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package autoscaler

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	vpafake "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/client/clientset/versioned/fake"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	scalefake "k8s.io/client-go/scale/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/record"
	componentmetrics "k8s.io/component-base/metrics"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"
	"k8s.io/utils/ptr"

	"github.com/berth-dev/berth/autoscaler/actuate"
	"github.com/berth-dev/berth/autoscaler/cloud/kwok"
	"github.com/berth-dev/berth/autoscaler/config"
	"github.com/berth-dev/berth/autoscaler/metrics"
	"github.com/berth-dev/berth/autoscaler/observe"
	"github.com/berth-dev/berth/autoscaler/simulator"
	"github.com/berth-dev/berth/plugins/api/v1alpha1"
	"github.com/berth-dev/berth/plugins/policies"
)

// stage is a cluster in memory with the Deployment web, its HPA, and a conductor at work.
type stage struct {
	t      *testing.T
	kube   *fake.Clientset
	vpa    *vpafake.Clientset
	book   *policies.Book
	server *policyServer
	events *record.FakeRecorder
	apis   *adapter

	conductor *Conductor
	stop      func() // ends the process
	figures   componentmetrics.KubeRegistry
	began     time.Time

	mu       sync.Mutex
	replicas int32
	usage    int64 // milli-cpu per pod
	down     error // what the metrics API answers
	slow     bool  // the controllers make no pods
	reads    []time.Time
	takes    time.Duration // of the metrics API to answer
	during   func()        // called when a simulation has begun
	scaled   []string
	others   []string // scales of other targets than web
}

// scene is what there is on a stage besides web when the play begins.
type scene struct {
	hpas     []*autoscalingv2.HorizontalPodAutoscaler
	vpas     []runtime.Object
	objects  []runtime.Object
	policies []*v1alpha1.PlacementPolicy
	unread   bool   // nobody has read the policies
	config   string // more lines of it
	canary   bool   // another HPA controller is looked for
	keeps    bool   // histories are kept in checkpoints
	updater  bool   // upstream's updater is looked for
	// begin is called before the conductor begins.
	begin   func(*stage)
	customs *customTargets
}

// perform runs play in virtual time, once the conductor's caches are filled.
func perform(t *testing.T, hpas []*autoscalingv2.HorizontalPodAutoscaler, vpas []runtime.Object, play func(*stage)) {
	scene{hpas: hpas, vpas: vpas}.perform(t, play)
}

func (sc scene) perform(t *testing.T, play func(*stage)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := &stage{t: t, stop: cancel, began: time.Now(), replicas: 3, usage: 500, book: policies.NewBook(), figures: componentmetrics.NewKubeRegistry(), events: record.NewFakeRecorder(1000), apis: newAdapter()}
		s.server = newPolicyServer(s.book, sc.policies)
		if !sc.unread {
			s.book.MarkReady(nil)
		}
		template := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}}, Spec: webPod(0).Spec}
		template.Spec.NodeName = ""
		objects := []runtime.Object{
			&appsv1.Deployment{
				ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "web", UID: "deployment"},
				Spec:       appsv1.DeploymentSpec{Replicas: ptr.To(s.replicas), Selector: &metav1.LabelSelector{MatchLabels: template.Labels}, Template: template},
				Status:     appsv1.DeploymentStatus{Replicas: s.replicas},
			},
			&appsv1.ReplicaSet{
				ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "web-1", UID: "replicaset", OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "Deployment", Name: "web", UID: "deployment", Controller: ptr.To(true)}}},
				Spec:       appsv1.ReplicaSetSpec{Template: template},
			},
		}
		for i := range s.replicas {
			objects = append(objects, webPod(i))
		}
		for _, hpa := range sc.hpas {
			objects = append(objects, hpa)
		}
		s.kube = fake.NewClientset(append(objects, sc.objects...)...)
		s.kube.PrependReactor("create", "pods", dryRun)
		s.vpa = vpafake.NewSimpleClientset(sc.vpas...)

		c, err := config.Parse([]byte("apiVersion: config.berth.dev/v1alpha1\nkind: AutoscalerConfiguration\n" + sc.config))
		if err != nil {
			t.Fatal(err)
		}
		factory := informers.NewSharedInformerFactory(s.kube, 0)
		watched := observe.NewVPAs(vpaServed{}, s.vpa, func() { s.conductor.Wake() })
		reader, err := observe.New(factory, s.kube.CoreV1(), watched, sc.customs.beside(s.scales()), sc.customs.mapper())
		if err != nil {
			t.Fatal(err)
		}
		node := func(name string) *corev1.Node {
			size := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("4"), corev1.ResourceMemory: resource.MustParse("16Gi"), corev1.ResourcePods: resource.MustParse("110")}
			return &corev1.Node{
				ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)},
				Status:     corev1.NodeStatus{Capacity: size, Allocatable: size, Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}},
			}
		}
		if err := s.kube.Tracker().Add(node("n1")); err != nil {
			t.Fatal(err)
		}
		profiles, err := simulator.ParseConfiguration([]byte("apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"))
		if err != nil {
			t.Fatal(err)
		}
		sim, err := simulator.New(ctx, simulator.Options{Overlay: simulator.NewOverlay(factory), Configuration: profiles})
		if err != nil {
			t.Fatal(err)
		}
		group := kwok.Group{Name: "pool", Max: 5, Labels: map[string]string{"pool": "a"}, Capacity: node("").Status.Capacity}
		simulate := func(ctx context.Context, nodes []*corev1.Node, pods []*corev1.Pod) (Simulation, error) {
			if s.during != nil {
				s.during()
			}
			return sim.Begin(ctx, nodes, pods)
		}
		nodeParts := &NodeParts{
			Provider: kwok.New(s.kube.CoreV1().Nodes(), factory.Core().V1().Nodes().Lister(), []kwok.Group{group}),
		}
		s.conductor = New(c, Parts{
			Nodes:     nodeParts,
			Simulate:  simulate,
			Reader:    reader,
			Metrics:   metrics.NewReader(s, c.MetricsTimeout.Duration),
			Queries:   metrics.NewAsker(s.apis, externalAPI{s.apis}, 8, c.MetricsTimeout.Duration),
			Writer:    actuate.New(s.kube.AutoscalingV2(), s.vpa.AutoscalingV1(), s.server, s.kube.CoreV1(), s.scales(), s.events),
			Telemetry: actuate.NewTelemetry(s.figures.MustRegister),
			Policies:  s.book,
			Canary:    sc.lookout(s),

			Checkpoints: sc.checkpoints(s),
			Updater:     sc.lookoutForUpdater(s),
			Rivals:      observe.NewNodeRivals(s.kube.CoordinationV1()),
		}, func() {})
		s.book.Subscribe(func(policies.Change) { s.conductor.Wake() })
		if sc.begin != nil {
			sc.begin(s)
		}
		factory.Start(ctx.Done())
		factory.WaitForCacheSync(ctx.Done())
		go watched.Run(ctx)
		go s.conductor.Run(ctx)
		synctest.Wait()
		play(s)
		cancel()
		factory.Shutdown()
		s.apis.calls.Wait()
		s.pass(2 * time.Second) // the scheduler's metrics recorder looks at its context once a second
	})
}

// dryRun answers creates that store nothing, which a tracker knows nothing of.
func dryRun(action clienttesting.Action) (bool, runtime.Object, error) {
	create, ok := action.(clienttesting.CreateActionImpl)
	if !ok || len(create.CreateOptions.DryRun) == 0 {
		return false, nil, nil
	}
	return true, create.GetObject().DeepCopyObject(), nil
}

// List is the metrics API: every pod uses as much as the story says.
func (s *stage) List(ctx context.Context, _ metav1.ListOptions) (*metricsv1beta1.PodMetricsList, error) {
	s.mu.Lock()
	s.reads = append(s.reads, time.Now())
	takes := s.takes
	s.mu.Unlock()
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down != nil {
		return nil, s.down
	}
	list := &metricsv1beta1.PodMetricsList{}
	for i := range s.replicas {
		list.Items = append(list.Items, metricsv1beta1.PodMetrics{
			ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: webPod(i).Name},
			Timestamp:  metav1.Now(), Window: metav1.Duration{Duration: 30 * time.Second},
			Containers: []metricsv1beta1.ContainerMetrics{{Name: "c", Usage: corev1.ResourceList{corev1.ResourceCPU: *resource.NewMilliQuantity(s.usage, resource.DecimalSI)}}},
		})
	}
	return list, nil
}

// scales is the scale subresource of web; its controller follows at once.
func (s *stage) scales() *scalefake.FakeScaleClient {
	client := &scalefake.FakeScaleClient{}
	client.AddReactor("get", "deployments", func(action clienttesting.Action) (bool, runtime.Object, error) {
		if name := action.(clienttesting.GetAction).GetName(); name != "web" {
			deployment, err := s.kube.AppsV1().Deployments("prod").Get(s.t.Context(), name, metav1.GetOptions{})
			if err != nil {
				return true, nil, err
			}
			return true, &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: name}, Spec: autoscalingv1.ScaleSpec{Replicas: *deployment.Spec.Replicas}}, nil
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		return true, &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "web"}, Spec: autoscalingv1.ScaleSpec{Replicas: s.replicas}}, nil
	})
	client.AddReactor("update", "deployments", func(action clienttesting.Action) (bool, runtime.Object, error) {
		scale := action.(clienttesting.UpdateAction).GetObject().(*autoscalingv1.Scale)
		if scale.Name != "web" {
			return true, scale, s.scaleOther(scale)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.scaled = append(s.scaled, fmt.Sprintf("%d→%d", s.replicas, scale.Spec.Replicas))
		deployments := s.kube.AppsV1().Deployments("prod")
		web, err := deployments.Get(s.t.Context(), "web", metav1.GetOptions{})
		if err != nil {
			return true, nil, err
		}
		web.Spec.Replicas, web.Status.Replicas = &scale.Spec.Replicas, scale.Spec.Replicas
		if _, err := deployments.Update(s.t.Context(), web, metav1.UpdateOptions{}); err != nil {
			return true, nil, err
		}
		if s.slow {
			return true, scale, nil
		}
		pods := s.kube.CoreV1().Pods("prod")
		for i := s.replicas; i < scale.Spec.Replicas; i++ {
			if _, err := pods.Create(s.t.Context(), webPod(i), metav1.CreateOptions{}); err != nil {
				return true, nil, err
			}
		}
		for i := scale.Spec.Replicas; i < s.replicas; i++ {
			if err := pods.Delete(s.t.Context(), webPod(i).Name, metav1.DeleteOptions{}); err != nil {
				return true, nil, err
			}
		}
		s.replicas = scale.Spec.Replicas
		return true, scale, nil
	})
	return client
}

// scaleOther scales a target that has no pods, and notes when.
func (s *stage) scaleOther(scale *autoscalingv1.Scale) error {
	deployments := s.kube.AppsV1().Deployments("prod")
	deployment, err := deployments.Get(s.t.Context(), scale.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.others = append(s.others, fmt.Sprintf("%s %d→%d at %s", scale.Name, *deployment.Spec.Replicas, scale.Spec.Replicas, time.Since(s.began).Truncate(time.Second)))
	s.mu.Unlock()
	deployment.Spec.Replicas, deployment.Status.Replicas = &scale.Spec.Replicas, scale.Spec.Replicas
	_, err = deployments.Update(s.t.Context(), deployment, metav1.UpdateOptions{})
	return err
}

// load sets the cpu that all pods use together, as if the traffic was spread over them.
func (s *stage) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// pass lets time go by until everything is idle again.
func (s *stage) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (s *stage) writes() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.scaled
}

func (s *stage) hpa(name string) *autoscalingv2.HorizontalPodAutoscaler {
	s.t.Helper()
	hpa, err := s.kube.AutoscalingV2().HorizontalPodAutoscalers("prod").Get(s.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	return hpa
}

// said returns the events so far that contain a text.
func (s *stage) said(text string) (events []string) {
	for {
		select {
		case event := <-s.events.Events:
			if strings.Contains(event, text) {
				events = append(events, event)
			}
		default:
			return events
		}
	}
}

func webPod(i int32) *corev1.Pod {
	hourAgo := metav1.NewTime(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Add(-time.Hour))
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: fmt.Sprintf("web-%d", i), UID: types.UID(fmt.Sprintf("web-%d", i)), Labels: map[string]string{"app": "web"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web-1", UID: "replicaset", Controller: ptr.To(true)}}},
		Spec: corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}}}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, StartTime: &hourAgo,
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: hourAgo}}},
	}
}

func webHPA(name, targetName string) *autoscalingv2.HorizontalPodAutoscaler {
	return &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: name, UID: types.UID(name)},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: targetName},
			MinReplicas:    ptr.To[int32](1), MaxReplicas: 20,
			Metrics: []autoscalingv2.MetricSpec{{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
				Name: corev1.ResourceCPU, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: ptr.To[int32](50)}}}},
		},
	}
}

func webVPA(name string, acting bool) *vpav1.VerticalPodAutoscaler {
	vpa := &vpav1.VerticalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: name, UID: types.UID("vpa-" + name), CreationTimestamp: metav1.Now()},
		Spec: vpav1.VerticalPodAutoscalerSpec{
			TargetRef:    &autoscalingv1.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "web"},
			Recommenders: []*vpav1.VerticalPodAutoscalerRecommenderSelector{{Name: "berth"}},
		},
	}
	if acting {
		vpa.Status.Recommendation = &vpav1.RecommendedPodResources{}
	}
	return vpa
}

type vpaServed struct {
	discovery.ServerResourcesInterface
}

func (vpaServed) ServerResourcesForGroupVersion(gv string) (*metav1.APIResourceList, error) {
	return &metav1.APIResourceList{GroupVersion: gv}, nil
}

func condition(hpa *autoscalingv2.HorizontalPodAutoscaler, kind autoscalingv2.HorizontalPodAutoscalerConditionType) autoscalingv2.HorizontalPodAutoscalerCondition {
	for _, c := range hpa.Status.Conditions {
		if c.Type == kind {
			return c
		}
	}
	return autoscalingv2.HorizontalPodAutoscalerCondition{}
}

var errDown = apierrors.NewServiceUnavailable("no metrics here")
