// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package policies_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	"k8s.io/kubernetes/pkg/apis/core"
	corev1defaults "k8s.io/kubernetes/pkg/apis/core/v1"
	"k8s.io/kubernetes/pkg/kubeapiserver/options"
	"k8s.io/kubernetes/plugin/pkg/admission/limitranger"

	engine "github.com/berth-dev/berth/autoscaler/vertical/resize"
	"github.com/berth-dev/berth/autoscaler/vertical/sizes"
)

// sizer is a VPA of Berth's that gives the target's pods these lines.
func sizer(target string, lines ...string) *vpaV1 {
	o := vpa(target, "")
	o.UID = types.UID("uid-of-" + o.Name)
	o.Spec.Recommenders = []*vpav1.VerticalPodAutoscalerRecommenderSelector{{Name: "berth"}}
	o.Annotations = map[string]string{sizes.Annotation: "v1 " + string(o.UID) + "\n" + strings.Join(lines, "\n") + "\n"}
	return o
}

// container is written as "db 1/2 1Gi/2Gi": name, then request and limit of cpu and of
// memory, where "-" is nothing said.
func container(text string) corev1.Container {
	words := strings.Fields(text)
	c := corev1.Container{Name: words[0]}
	for i, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		request, limit, _ := strings.Cut(words[1+i], "/")
		for list, amount := range map[*corev1.ResourceList]string{&c.Resources.Requests: request, &c.Resources.Limits: limit} {
			if amount == "-" || amount == "" {
				continue
			}
			if *list == nil {
				*list = corev1.ResourceList{}
			}
			(*list)[name] = resource.MustParse(amount)
		}
	}
	return c
}

// written is the opposite of container.
func written(c corev1.Container) string {
	out := c.Name
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		request, limit := "-", ""
		if q, ok := c.Resources.Requests[name]; ok {
			request = short(q)
		}
		if q, ok := c.Resources.Limits[name]; ok {
			limit = "/" + short(q)
		}
		out += " " + request + limit
	}
	return out
}

// short is 4Gi for 4294967296.
func short(q resource.Quantity) string {
	return resource.NewMilliQuantity(q.MilliValue(), resource.BinarySI).String()
}

// ownedBy is a pod of an owner like "apps/v1 StatefulSet db".
func ownedBy(owner, name string, containers ...string) *corev1.Pod {
	v, k, n := ref(owner)
	controller := true
	pod := &corev1.Pod{ObjectMeta: in("prod", name)}
	pod.Labels = map[string]string{}
	pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: v, Kind: k, Name: n, UID: "owner", Controller: &controller}}
	for _, c := range containers {
		pod.Spec.Containers = append(pod.Spec.Containers, container(c))
	}
	return pod
}

// ordinal is the pod of a slot of the set db.
func ordinal(i int, containers ...string) *corev1.Pod {
	pod := ownedBy(set, fmt.Sprintf("db-%d", i), containers...)
	pod.Labels["apps.kubernetes.io/pod-index"] = fmt.Sprint(i)
	return pod
}

// replica is a pod of the Deployment web.
func replica(containers ...string) *corev1.Pod {
	pod := ownedBy("apps/v1 ReplicaSet web-7d9f", "", containers...)
	pod.GenerateName = "web-7d9f-"
	pod.Labels["pod-template-hash"] = "7d9f"
	return pod
}

func beside(pod *corev1.Pod, restart corev1.ContainerRestartPolicy, text string) *corev1.Pod {
	c := container(text)
	if restart != "" {
		c.RestartPolicy = &restart
	}
	pod.Spec.InitContainers = append(pod.Spec.InitContainers, c)
	return pod
}

func TestPodSizes(t *testing.T) {
	const common, four = "* db 500m 1073741824 1000m 2147483648", "4 db 1500m 4294967296 3000m 8589934592"
	always := corev1.ContainerRestartPolicyAlways
	tests := map[string]struct {
		vpas []*vpaV1
		pod  *corev1.Pod
		want []string // init containers first
	}{
		"no VPA":                      {pod: ordinal(4, "db 1 1Gi"), want: []string{"db 1 1Gi"}},
		"a slot of its own":           {vpas: []*vpaV1{sizer(set, four, common)}, pod: ordinal(4, "db 1/2 1Gi/2Gi"), want: []string{"db 1500m/3 4Gi/8Gi"}},
		"any other slot":              {vpas: []*vpaV1{sizer(set, four, common)}, pod: ordinal(3, "db 1/2 1Gi/2Gi"), want: []string{"db 500m/1 1Gi/2Gi"}},
		"slot 14 is not slot 4":       {vpas: []*vpaV1{sizer(set, four, common)}, pod: ordinal(14, "db 1 1Gi"), want: []string{"db 500m 1Gi"}},
		"slot known by its name":      {vpas: []*vpaV1{sizer(set, four, common)}, pod: ownedBy(set, "db-4", "db 1 1Gi"), want: []string{"db 1500m 4Gi"}},
		"the first line counts":       {vpas: []*vpaV1{sizer(set, common, four)}, pod: ordinal(4, "db 1 1Gi"), want: []string{"db 500m 1Gi"}},
		"no limit is added":           {vpas: []*vpaV1{sizer(set, common)}, pod: ordinal(4, "db 1 1Gi/1Gi"), want: []string{"db 500m 1Gi/2Gi"}},
		"no requests":                 {vpas: []*vpaV1{sizer(set, common)}, pod: ordinal(4, "db - -"), want: []string{"db 500m 1Gi"}},
		"one resource":                {vpas: []*vpaV1{sizer(set, "* db - 1073741824 - -")}, pod: ordinal(4, "db 1 -"), want: []string{"db 1 1Gi"}},
		"nothing said":                {vpas: []*vpaV1{sizer(set, "* db - - - -")}, pod: ordinal(4, "db 1 -"), want: []string{"db 1 -"}},
		"a limit without a request":   {vpas: []*vpaV1{sizer(set, "* db - - 1m 1")}, pod: ordinal(4, "db 1/2 -"), want: []string{"db 1/2 -"}},
		"limits are left":             {vpas: []*vpaV1{sizer(set, "* db 500m 1073741824 - -")}, pod: ordinal(4, "db 1/2 1/2Gi"), want: []string{"db 500m/2 1Gi/2Gi"}},
		"above a limit that is left":  {vpas: []*vpaV1{sizer(set, "* db 500m 4294967296 - -")}, pod: ordinal(4, "db 1/2 1Gi/2Gi"), want: []string{"db 500m/2 1Gi/2Gi"}},
		"a limit below the request":   {vpas: []*vpaV1{sizer(set, "* db 500m 4294967296 400m 4294967296")}, pod: ordinal(4, "db 1/2 1Gi/2Gi"), want: []string{"db 1/2 4Gi/4Gi"}},
		"two containers":              {vpas: []*vpaV1{sizer(set, common, "* log 10m 1048576 - -")}, pod: ordinal(4, "x 1 1Gi", "log 1 1Gi", "db 1 1Gi"), want: []string{"x 1 1Gi", "log 10m 1Mi", "db 500m 1Gi"}},
		"a sidecar":                   {vpas: []*vpaV1{sizer(set, common, "* log 10m 1048576 - -")}, pod: beside(ordinal(4, "db 1 1Gi"), always, "log - 1Gi"), want: []string{"log 10m 1Mi", "db 500m 1Gi"}},
		"a sidecar behind another":    {vpas: []*vpaV1{sizer(set, "* log 10m 1048576 - -")}, pod: beside(beside(ordinal(4, "db 1 1Gi"), "", "first 1 1Gi"), always, "log 1 -"), want: []string{"first 1 1Gi", "log 10m 1Mi", "db 1 1Gi"}},
		"an init container":           {vpas: []*vpaV1{sizer(set, "* log 10m 1048576 - -")}, pod: beside(ordinal(4, "db 1 1Gi"), "", "log 1 1Gi"), want: []string{"log 1 1Gi", "db 1 1Gi"}},
		"a Deployment's pod":          {vpas: []*vpaV1{sizer(web, common)}, pod: replica("db 1 1Gi"), want: []string{"db 500m 1Gi"}},
		"another Deployment's pod":    {vpas: []*vpaV1{sizer("apps/v1 Deployment web-7d9f", common)}, pod: replica("db 1 1Gi"), want: []string{"db 1 1Gi"}},
		"a prefix of its name":        {vpas: []*vpaV1{sizer("apps/v1 Deployment we", common)}, pod: replica("db 1 1Gi"), want: []string{"db 1 1Gi"}},
		"a ReplicaSet's pod":          {vpas: []*vpaV1{sizer("apps/v1 ReplicaSet web-7d9f", common)}, pod: replica("db 1 1Gi"), want: []string{"db 500m 1Gi"}},
		"an operator's pod":           {vpas: []*vpaV1{sizer("example.com/v1 Cluster pg", four, common)}, pod: ownedBy("example.com/v2 Cluster pg", "pg-4", "db 1 1Gi"), want: []string{"db 1500m 4Gi"}},
		"another set's pod":           {vpas: []*vpaV1{sizer("apps/v1 StatefulSet other", common)}, pod: ordinal(4, "db 1 1Gi"), want: []string{"db 1 1Gi"}},
		"another kind":                {vpas: []*vpaV1{sizer("apps/v1 DaemonSet db", common)}, pod: ordinal(4, "db 1 1Gi"), want: []string{"db 1 1Gi"}},
		"another group":               {vpas: []*vpaV1{sizer("apps.kruise.io/v1 StatefulSet db", common)}, pod: ordinal(4, "db 1 1Gi"), want: []string{"db 1 1Gi"}},
		"another version":             {vpas: []*vpaV1{sizer("apps/v1beta1 StatefulSet db", common)}, pod: ordinal(4, "db 1 1Gi"), want: []string{"db 500m 1Gi"}},
		"any group":                   {vpas: []*vpaV1{sizer(" StatefulSet db", common)}, pod: ordinal(4, "db 1 1Gi"), want: []string{"db 500m 1Gi"}},
		"an owner that does not rule": {vpas: []*vpaV1{sizer(set, common)}, pod: edited(ordinal(4, "db 1 1Gi"), func(p *corev1.Pod) { p.OwnerReferences[0].Controller = nil }), want: []string{"db 1 1Gi"}},
		"no owner":                    {vpas: []*vpaV1{sizer(set, common)}, pod: edited(ordinal(4, "db 1 1Gi"), func(p *corev1.Pod) { p.OwnerReferences = nil }), want: []string{"db 1 1Gi"}},
		"no labels":                   {vpas: []*vpaV1{sizer(set, four)}, pod: edited(ordinal(4, "db 1 1Gi"), func(p *corev1.Pod) { p.Labels = nil }), want: []string{"db 1500m 4Gi"}},
		"a label that is a pattern":   {vpas: []*vpaV1{sizer(set, four, common)}, pod: edited(ordinal(4, "db 1 1Gi"), func(p *corev1.Pod) { p.Labels["apps.kubernetes.io/pod-index"] = `x\E|4|\Q` }), want: []string{"db 500m 1Gi"}},
		"a label of any character":    {vpas: []*vpaV1{sizer(set, four, common)}, pod: edited(ordinal(4, "db 1 1Gi"), func(p *corev1.Pod) { p.Labels["apps.kubernetes.io/pod-index"] = "." }), want: []string{"db 500m 1Gi"}},
		"a label without an end": {vpas: []*vpaV1{sizer(set, four, common)}, pod: edited(ordinal(4, "db 1 1Gi"), func(p *corev1.Pod) {
			p.Labels["apps.kubernetes.io/pod-index"] = strings.Repeat("(4*)*", 1<<18)
		}), want: []string{"db 500m 1Gi"}},
		"neither label nor name": {vpas: []*vpaV1{sizer(set, " db 7m 7 - -", common)}, pod: edited(ordinal(4, "db 1 1Gi"), func(p *corev1.Pod) { p.Labels, p.Name = nil, "" }), want: []string{"db 500m 1Gi"}},
		"resources of the pod": {vpas: []*vpaV1{sizer(set, common)}, pod: edited(ordinal(4, "db 1 1Gi"), func(p *corev1.Pod) {
			p.Spec.Resources = &corev1.ResourceRequirements{Requests: container("x 2 2Gi").Resources.Requests}
		}), want: []string{"db 1 1Gi"}},
		"another's space":        {vpas: []*vpaV1{edited(sizer(set, common), func(o *vpaV1) { o.Namespace = "test" })}, pod: ordinal(4, "db 1 1Gi"), want: []string{"db 1 1Gi"}},
		"mode Off":               {vpas: []*vpaV1{edited(sizer(set, common), func(o *vpaV1) { o.Spec.UpdatePolicy = vpa(set, switchOff).Spec.UpdatePolicy })}, pod: ordinal(4, "db 1 1Gi"), want: []string{"db 1 1Gi"}},
		"mode Initial":           {vpas: []*vpaV1{edited(sizer(set, common), func(o *vpaV1) { o.Spec.UpdatePolicy = vpa(set, initial).Spec.UpdatePolicy })}, pod: ordinal(4, "db 1 1Gi"), want: []string{"db 500m 1Gi"}},
		"upstream's recommender": {vpas: []*vpaV1{edited(sizer(set, common), func(o *vpaV1) { o.Spec.Recommenders = nil })}, pod: ordinal(4, "db 1 1Gi"), want: []string{"db 1 1Gi"}},
		"another's recommender":  {vpas: []*vpaV1{edited(sizer(set, common), func(o *vpaV1) { o.Spec.Recommenders[0].Name = "other" })}, pod: ordinal(4, "db 1 1Gi"), want: []string{"db 1 1Gi"}},
		"a copy of the VPA":      {vpas: []*vpaV1{edited(sizer(set, common), func(o *vpaV1) { o.UID = "another" })}, pod: ordinal(4, "db 1 1Gi"), want: []string{"db 1 1Gi"}},
		"not the winner":         {vpas: []*vpaV1{edited(sizer(set, common), func(o *vpaV1) { o.Annotations = nil })}, pod: ordinal(4, "db 1 1Gi"), want: []string{"db 1 1Gi"}},
		"two VPAs": {vpas: []*vpaV1{
			edited(sizer(set, "* db 7m 7 - -"), func(o *vpaV1) { o.Name, o.UID = "a", "a" }),
			sizer(set, common),
			edited(sizer(set, "* db 9m 9 - -"), func(o *vpaV1) { o.Name, o.Annotations = "z", nil }),
		}, pod: ordinal(4, "db 1 1Gi"), want: []string{"db 500m 1Gi"}},
	}
	var present []runtime.Object
	for _, tc := range tests {
		present = append(present, room(tc.pod, tc.vpas...)...)
	}
	s := newServer(t, settings{strict: true}, present...)
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, s.sized(t, tc.pod)); diff != "" {
				t.Errorf("containers (-want +got):\n%s", diff)
			}
		})
	}
}

// The API server fills in the defaults of a LimitRange before it sizes a pod, and judges by the LimitRange afterwards
// (AllOrderedPlugins in pkg/kubeapiserver/options/plugins.go): a limit that came from there is changed like any other.
func TestPodSizesAfterLimitRanges(t *testing.T) {
	order := slices.Index(options.AllOrderedPlugins, limitranger.PluginName)
	if order < 0 || order > slices.Index(options.AllOrderedPlugins, mutating.PluginName) {
		t.Fatalf("pods are sized before LimitRanges: %v", options.AllOrderedPlugins)
	}
	amount := func(text string) corev1.ResourceList { return container("x " + text).Resources.Requests }
	for name, tc := range map[string]struct {
		item     corev1.LimitRangeItem
		template string
		recs     string
		want     string
	}{
		"default and default request": {corev1.LimitRangeItem{Default: amount("- 1Gi"), DefaultRequest: amount("- 256Mi")}, "db - -", "- 512Mi", "db - 512Mi/2Gi"},
		"default alone":               {corev1.LimitRangeItem{Default: amount("- 1Gi")}, "db - -", "- 512Mi", "db - 512Mi/512Mi"},
		"maximum alone":               {corev1.LimitRangeItem{Max: amount("- 4Gi")}, "db - -", "- 8Gi", "db - 4Gi/4Gi"},
		"a request of its own":        {corev1.LimitRangeItem{Default: amount("2 1Gi")}, "db 500m 256Mi", "1 512Mi", "db 1/4 512Mi/2Gi"},
		"minimum":                     {corev1.LimitRangeItem{Min: amount("- 1Gi")}, "db - -", "- 512Mi", "db - 1Gi"},
	} {
		t.Run(name, func(t *testing.T) {
			tc.item.Type = corev1.LimitTypeContainer
			limits := &corev1.LimitRange{ObjectMeta: in("prod", "limits"), Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{tc.item}}}
			corev1defaults.SetObjectDefaults_LimitRange(limits)
			pod := ordinal(4, tc.template)
			o := sizer(set)
			table := sizes.Table{VPA: o.UID}
			for container, size := range engine.Created(pod.Spec, []engine.Recommendation{{Container: "db", Target: amount(tc.recs)}}, nil, []*corev1.LimitRange{limits}) {
				table.Sizes = append(table.Sizes, sizes.Size{Slot: sizes.AnySlot, Container: container, Requests: size.Requests, Limits: size.Limits})
			}
			o.Annotations[sizes.Annotation] = table.String()
			present := room(pod, o)

			asked := &core.Pod{}
			corev1defaults.SetObjectDefaults_Pod(pod)
			if err := corev1defaults.Convert_v1_Pod_To_core_Pod(pod, asked, nil); err != nil {
				t.Fatal(err)
			}
			if err := limitranger.PodMutateLimitFunc(limits, asked); err != nil {
				t.Fatal(err)
			}
			if err := corev1defaults.Convert_core_Pod_To_v1_Pod(asked, pod, nil); err != nil {
				t.Fatal(err)
			}
			got := newServer(t, settings{strict: true}, present...).sized(t, pod)
			if diff := cmp.Diff([]string{tc.want}, got); diff != "" {
				t.Errorf("containers (-want +got):\n%s", diff)
			}
			asked.Spec.Containers[0].Resources = core.ResourceRequirements{}
			sized := container(got[0])
			if err := corev1defaults.Convert_v1_ResourceRequirements_To_core_ResourceRequirements(&sized.Resources, &asked.Spec.Containers[0].Resources, nil); err != nil {
				t.Fatal(err)
			}
			if err := limitranger.PodValidateLimitFunc(limits, asked); err != nil {
				t.Errorf("the pod is refused: %v", err)
			}
		})
	}
}

// room gives a pod and the VPAs beside it a namespace of their own.
func room(pod *corev1.Pod, vpas ...*vpaV1) []runtime.Object {
	namespace := "of-" + string(uuid.NewUUID())
	out := []runtime.Object{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}}
	for _, o := range vpas {
		if o.Namespace == pod.Namespace {
			o.Namespace = namespace
		}
		out = append(out, o)
	}
	pod.Namespace = namespace
	return out
}

// A line that is none is left out, and never stops a pod.
func TestMalformedSizes(t *testing.T) {
	const good, unsized, sized = "* db 500m 1073741824 - -", "db 1 2Gi", "db 500m 1Gi"
	type row struct{ table, want string }
	rows := map[string]row{
		"empty":                  {"", unsized},
		"no UID":                 {"v1\n" + good, unsized},
		"another's UID":          {"v1 uid\n" + good, unsized},
		"the beginning of a UID": {"v1 uid-of-sizes-2\n" + good, unsized},
		"another version":        {"v2 uid-of-sizes\n" + good, unsized},
		"a UID without an end":   {"v1 uid-of-sizes " + good, unsized},
		"lines alone":            {good, unsized},
		"a head alone":           {"v1 uid-of-sizes", unsized},
	}
	for name, line := range map[string]string{
		"huge exponent": "4 db 1e-2147483647 1 - -", "huge exponent of a limit": "4 db 1m 1 - 1e-4000000",
		"no quantity": "4 db lots 1 - -", "unit of memory": "4 db 1m 1Gi - -", "no unit of cpu": "4 db 1 1 - -",
		"below zero": "4 db -1m 1 - -", "zero": "4 db 1m 0 - -", "no cpu": "4 db 0m 1 - -", "too much cpu": "4 db 10000000000m 1 - -", "too many digits": "4 db 1m 1000000000000000 - -",
		"too few words": "4 db 1m", "too many words": "4 db 1m 1 - - -", "two spaces": "4 db  1m 1 - -",
		"a slot alone": "4", "no words": "", "carriage return": "4 db 1m 1 - -\r", "another container": "4 d.b 1m 1 - -",
		"long": "4 db " + strings.Repeat("1", 1<<17), "many": strings.Repeat("4 db x\n", 1<<14), "digits of other sorts": "4 db ٥m 1 - -",
		"a pattern": "4 .* 1m 1 - -", "a path": "4 /spec/containers/0 1m 1 - -",
	} {
		rows["line: "+name] = row{"v1 uid-of-sizes\n" + line + "\n" + good, sized}
	}
	pods := map[string]*corev1.Pod{}
	var present []runtime.Object
	for name, row := range rows {
		o := sizer(set)
		o.Annotations[sizes.Annotation] = row.table
		pods[name] = ordinal(4, "db 1 2Gi")
		present = append(present, room(pods[name], o)...)
	}
	s := newServer(t, settings{strict: true}, present...)
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff([]string{row.want}, s.sized(t, pods[name])); diff != "" {
				t.Errorf("containers (-want +got):\n%s", diff)
			}
		})
	}
}

// sized is what the containers of a pod have once it is admitted, init containers first.
func (s server) sized(t *testing.T, pod *corev1.Pod) []string {
	t.Helper()
	object := s.untyped(t, pod)
	attributes := admission.NewAttributesRecord(object, nil, corev1.SchemeGroupVersion.WithKind("Pod"), pod.Namespace, pod.Name,
		corev1.SchemeGroupVersion.WithResource("pods"), "", admission.Create, &metav1.CreateOptions{}, false, nil)
	// The schemas are read in the background. Until then no pod is patched.
	if err := wait.PollUntilContextCancel(t.Context(), 10*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		err := s.mutate.Admit(ctx, attributes, admission.NewObjectInterfacesFromScheme(s.scheme))
		if apierrors.IsServiceUnavailable(err) {
			return false, nil
		}
		return true, err
	}); err != nil {
		t.Fatalf("the pod is stopped: %v", err)
	}
	var admitted corev1.Pod
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &admitted); err != nil {
		t.Fatalf("no pod: %v", err)
	}
	var out []string
	for _, c := range append(admitted.Spec.InitContainers, admitted.Spec.Containers...) {
		out = append(out, written(c))
	}
	return out
}
