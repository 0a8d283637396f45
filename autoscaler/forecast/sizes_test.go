// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package forecast

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"
)

// amounts reads "cpu memory", with "-" for what is not said.
func amounts(text string) v1.ResourceList {
	var list v1.ResourceList
	for i, word := range strings.Fields(text) {
		if word == "-" {
			continue
		}
		if list == nil {
			list = v1.ResourceList{}
		}
		list[[]v1.ResourceName{v1.ResourceCPU, v1.ResourceMemory}[i]] = resource.MustParse(word)
	}
	return list
}

func text(list v1.ResourceList) string {
	var words []string
	for _, name := range []v1.ResourceName{v1.ResourceCPU, v1.ResourceMemory} {
		if q, ok := list[name]; ok {
			words = append(words, q.String())
		} else {
			words = append(words, "-")
		}
	}
	return strings.Join(words, " ")
}

// The cases are those of the admission policy's own test.
func TestSizes(t *testing.T) {
	own := Size{Slot: "4", Container: "db", Requests: amounts("2 8Gi"), Limits: amounts("4 8Gi")}
	common := Size{Container: "db", Requests: amounts("500m 1Gi")}
	for name, tc := range map[string]struct {
		sizes            []Size
		requests, limits string
		want             string
	}{
		"its own":                  {[]Size{own, common}, "1 1Gi", "2 2Gi", "2 8Gi/4 8Gi"},
		"that of any":              {[]Size{{Slot: "3", Container: "db", Requests: amounts("9 9Gi")}, common}, "1 2Gi", "", "500m 1Gi/- -"},
		"none":                     {[]Size{{Slot: "3", Container: "db", Requests: amounts("9 9Gi")}}, "1 2Gi", "", "1 2Gi/- -"},
		"another container's":      {[]Size{{Container: "proxy", Requests: amounts("9 9Gi")}}, "1 2Gi", "", "1 2Gi/- -"},
		"a limit is not added":     {[]Size{own}, "1 1Gi", "- 2Gi", "2 8Gi/- 8Gi"},
		"a limit that stays":       {[]Size{common}, "1 2Gi", "1 2Gi", "500m 1Gi/1 2Gi"},
		"a limit that is too low":  {[]Size{common}, "100m 100Mi", "200m 2Gi", "100m 1Gi/200m 2Gi"},
		"one resource":             {[]Size{{Container: "db", Requests: amounts("- 1Gi"), Limits: amounts("- 1Gi")}}, "1 2Gi", "2 2Gi", "1 1Gi/2 1Gi"},
		"a template without sizes": {[]Size{common}, "", "", "500m 1Gi/- -"},
	} {
		t.Run(name, func(t *testing.T) {
			live := pod("db-0", "rev-2")
			live.Spec.Containers[0].Resources = v1.ResourceRequirements{Requests: amounts(tc.requests), Limits: amounts(tc.limits)}
			live.Spec.InitContainers = []v1.Container{{Name: "db"}, {Name: "db", RestartPolicy: ptr.To(v1.ContainerRestartPolicyAlways), Resources: *live.Spec.Containers[0].Resources.DeepCopy()}}
			w := OfSet(set("db"), 5, []*v1.Pod{live}, nil)
			w.Sizes = tc.sizes
			pods := Decide(on(w)).Pods
			got := pods[len(pods)-1]
			for _, c := range []v1.Container{got.Spec.Containers[0], got.Spec.InitContainers[1]} {
				if diff := cmp.Diff(tc.want, text(c.Resources.Requests)+"/"+text(c.Resources.Limits)); diff != "" {
					t.Errorf("%s (-want +got):\n%s", got.Name, diff)
				}
			}
			if once := got.Spec.InitContainers[0].Resources; once.Requests != nil {
				t.Errorf("an init container that ends has %v", once)
			}
			live.Spec.Resources = &v1.ResourceRequirements{Requests: amounts("1 1Gi")}
			pods = Decide(on(w)).Pods
			if diff := cmp.Diff(live.Spec.Containers[0].Resources, pods[len(pods)-1].Spec.Containers[0].Resources); diff != "" {
				t.Errorf("with resources of the pod (-want +got):\n%s", diff)
			}
		})
	}
}

// A pod that was resized is copied where there is no other, with the template's size.
func TestResizedPodsAsSamples(t *testing.T) {
	s := set("db")
	s.Spec.Template.Spec.Containers[0].Resources.Requests = amounts("1 -")
	sized := func(name, size string, marked bool) *v1.Pod {
		p := pod(name, "rev-2")
		p.Spec.Containers[0].Resources.Requests = amounts(size)
		if marked {
			p.Annotations = map[string]string{"resized": "yes"}
		}
		return p
	}
	for name, tc := range map[string]struct {
		pods []*v1.Pod
		want string
	}{
		"one that was not":  {[]*v1.Pod{sized("db-0", "7 7Gi", true), sized("db-1", "1 2Gi", false)}, "1 2Gi"},
		"all of them were":  {[]*v1.Pod{sized("db-0", "7 7Gi", true), sized("db-1", "8 8Gi", true)}, "1 7Gi"},
		"nothing was asked": {[]*v1.Pod{sized("db-0", "- 7Gi", true)}, "- 7Gi"},
	} {
		t.Run(name, func(t *testing.T) {
			in := on(OfSet(s, 3, tc.pods, nil))
			in.ResizeMark = "resized"
			d := Decide(in)
			got := d.Pods[len(d.Pods)-1]
			if diff := cmp.Diff(tc.want, text(got.Spec.Containers[0].Resources.Requests)); diff != "" || got.Annotations["resized"] != "" {
				t.Errorf("size, and annotations %v (-want +got):\n%s", got.Annotations, diff)
			}
		})
	}
}
