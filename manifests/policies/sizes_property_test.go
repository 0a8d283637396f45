// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package policies_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/berth-dev/berth/autoscaler/vertical/sizes"
)

// The policy gives what the table says, whatever is done to its text.
func TestPodSizesFollowTheTable(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 36))
	var present []runtime.Object
	var texts []string
	var spaces []string
	for range 150 {
		o := sizer(set)
		text := randomTable(r, string(o.UID))
		if r.IntN(4) > 0 {
			text = damaged(r, text)
		}
		o.Annotations[sizes.Annotation] = text
		present = append(present, room(ordinal(0), o)...)
		texts, spaces = append(texts, text), append(spaces, o.Namespace)
	}
	s := newServer(t, settings{strict: true}, present...)
	sized := 0
	for i, text := range texts {
		table, ok := sizes.Parse(text)
		if !ok || table.VPA != sizer(set).UID {
			table = sizes.Table{}
		}
		for slot := range 4 {
			pod := randomPod(r, slot)
			pod.Namespace = spaces[i]
			want := expected(pod, table, fmt.Sprint(slot))
			if diff := cmp.Diff(want, s.sized(t, pod)); diff != "" {
				t.Fatalf("slot %d of\n%s\ncontainers (-want +got):\n%s", slot, text, diff)
			}
			if !slices.Equal(want, expected(pod, sizes.Table{}, "")) {
				sized++
			}
		}
	}
	if sized < 150 {
		t.Errorf("%d of 600 pods were sized: nothing is tested", sized)
	}
}

// expected is the rule of the policy once more.
func expected(pod *corev1.Pod, table sizes.Table, slot string) []string {
	var out []string
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		c = *c.DeepCopy()
		runs := c.RestartPolicy != nil || !slices.ContainsFunc(pod.Spec.InitContainers, func(i corev1.Container) bool { return i.Name == c.Name })
		if size, ok := table.Of(slot, c.Name); ok && runs {
			for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
				resize(&c.Resources, size, name)
			}
		}
		out = append(out, written(c))
	}
	return out
}

func resize(have *corev1.ResourceRequirements, size sizes.Size, name corev1.ResourceName) {
	request, ok := size.Requests[name]
	if !ok {
		return
	}
	if limit, limited := have.Limits[name]; limited {
		if to, ok := size.Limits[name]; ok {
			limit = to
		}
		if request.Cmp(limit) > 0 {
			return
		}
		have.Limits[name] = limit
	}
	if have.Requests == nil {
		have.Requests = corev1.ResourceList{}
	}
	have.Requests[name] = request
}

func randomTable(r *rand.Rand, uid string) string {
	text := "v1 " + uid + "\n"
	word := func(unit string) string {
		if r.IntN(4) == 0 {
			return "-"
		}
		return fmt.Sprint(1+r.IntN(9999)) + unit
	}
	for range r.IntN(12) {
		slot := []string{"*", "0", "1", "2", "3", "31"}[r.IntN(6)]
		text += fmt.Sprintf("%s %s %s %s %s %s\n", slot, []string{"db", "log", "init"}[r.IntN(3)], word("m"), word(""), word("m"), word(""))
	}
	return text
}

// damaged is a text with a few characters of others in it.
func damaged(r *rand.Rand, text string) string {
	out := []byte(text)
	for range 1 + r.IntN(4) {
		out[r.IntN(len(out))] = " \n-*0149mdblogeE.Ki"[r.IntN(19)]
	}
	return string(out)
}

func randomPod(r *rand.Rand, slot int) *corev1.Pod {
	always := corev1.ContainerRestartPolicyAlways
	pod := ordinal(slot)
	random := func(name string) corev1.Container {
		list := func(most int64) corev1.ResourceList {
			out := corev1.ResourceList{}
			if r.IntN(3) > 0 {
				out[corev1.ResourceCPU] = *resource.NewMilliQuantity(1+r.Int64N(most), resource.DecimalSI)
			}
			if r.IntN(3) > 0 {
				out[corev1.ResourceMemory] = *resource.NewQuantity(1+r.Int64N(most), resource.DecimalSI)
			}
			return out
		}
		c := corev1.Container{Name: name}
		if r.IntN(3) > 0 {
			c.Resources.Requests = list(100)
		}
		if r.IntN(3) > 0 {
			c.Resources.Limits = list(9999)
		}
		return c
	}
	pod.Spec.Containers = []corev1.Container{random("db"), random("log")}
	if r.IntN(2) == 0 {
		init := random("init")
		if r.IntN(2) == 0 {
			init.RestartPolicy = &always
		}
		pod.Spec.InitContainers = []corev1.Container{init}
	}
	r.Shuffle(2, func(i, j int) {
		pod.Spec.Containers[i], pod.Spec.Containers[j] = pod.Spec.Containers[j], pod.Spec.Containers[i]
	})
	return pod
}
