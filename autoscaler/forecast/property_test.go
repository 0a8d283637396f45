// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package forecast

import (
	"fmt"
	"math/rand"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// world is a random input with workloads of all kinds, some of them of one name.
func world(r *rand.Rand) Input {
	in := Input{Budget: r.Intn(25), Now: time.Unix(1000, 0), Timeout: time.Minute, Unhelped: map[types.NamespacedName]string{}, History: History{Waits: map[Key]Wait{}}}
	in.Meters.Pods, in.Meters.Claims = evaluators()
	existing := func(name string) (pods []*v1.Pod) {
		for i := range 12 {
			if r.Intn(3) > 0 {
				continue
			}
			p := pod(fmt.Sprintf("%s-%d", name, i), []string{"rev-1", "rev-2"}[r.Intn(2)])
			p.UID = types.UID(p.Name)
			p.Spec.Containers[0].Resources.Requests = amounts("1 -")
			switch r.Intn(6) {
			case 0:
				broken(p)
			case 1:
				unbound(p)
				in.Unhelped[types.NamespacedName{Namespace: "prod", Name: p.Name}] = "no room"
			case 2:
				p.DeletionTimestamp = &metav1.Time{Time: in.Now}
			}
			pods = append(pods, p)
		}
		return pods
	}
	for i := range r.Intn(6) {
		name, n := fmt.Sprintf("w%d", i/2), r.Intn(12)
		w := []func() Workload{
			func() Workload {
				return OfSet(set(name), n, existing(name), map[string]bool{"data-" + name + "-1": true})
			},
			func() Workload {
				return OfDeployment(&appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: name}}, nil, n, existing(name+"-rs"))
			},
			func() Workload {
				s := replicaSet()
				s.Name = name
				return OfReplicaSet(s, n, existing(name+"-rs"))
			},
			func() Workload { return OfPods("Ring", "prod", name, n, existing(name+"-ring")) },
		}[r.Intn(4)]()
		if slices.ContainsFunc(in.Workloads, func(o Workload) bool { return o.Key() == w.Key() }) {
			continue
		}
		w.Reserve = r.Intn(15)
		if r.Intn(5) == 0 {
			in.History.Waits[w.Key()] = Wait{time.Unix(int64(r.Intn(1000)), 0), w.state()}
		}
		in.Workloads = append(in.Workloads, w)
	}
	for i := range r.Intn(3) {
		in.Quotas = append(in.Quotas, hard(fmt.Sprintf("q%d", i), []string{"pods", "requests.cpu", "persistentvolumeclaims"}[r.Intn(3)], fmt.Sprint(r.Intn(20)), fmt.Sprint(r.Intn(5))))
	}
	return in
}

func TestProperties(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	foreseen, reserved, held := 0, 0, 0
	for range 1000 {
		in := world(r)
		d := Decide(in)
		foreseen, reserved, held = foreseen+len(d.Pods), reserved+len(d.Reserve), held+len(d.Held)
		checkNames(t, in, d)
		checkNumbers(t, in, d)
		checkQuotas(t, in, d)
		slices.Reverse(in.Workloads)
		slices.Reverse(in.Quotas)
		for i := range in.Workloads {
			slices.Reverse(in.Workloads[i].Pods)
		}
		if diff := cmp.Diff(d, Decide(in)); diff != "" {
			t.Fatalf("another order gives another forecast:\n%s", diff)
		}
	}
	if foreseen < 1000 || reserved < 500 || held < 500 {
		t.Errorf("%d pods, %d of the reserve, %d held: the worlds are too small", foreseen, reserved, held)
	}
}

// checkNames: names and UIDs are those of nobody else.
func checkNames(t *testing.T, in Input, d Decision) {
	t.Helper()
	names, uids := map[string]bool{}, map[types.UID]bool{}
	for _, w := range in.Workloads {
		for _, p := range w.Pods {
			names[p.Name], uids[p.UID] = true, true
		}
	}
	for _, p := range slices.Concat(d.Pods, d.Reserve) {
		if names[p.Name] || uids[p.UID] {
			t.Fatalf("%s (%s) is there twice", p.Name, p.UID)
		}
		names[p.Name], uids[p.UID] = true, true
	}
	claims := map[string]bool{}
	for _, w := range in.Workloads {
		for name := range w.existing() {
			claims[name] = true
		}
	}
	for _, c := range d.Claims {
		if claims[c.Name] {
			t.Fatalf("claim %s is there twice", c.Name)
		}
		claims[c.Name] = true
	}
}

func (w Workload) existing() map[string]bool {
	if w.Slots == nil {
		return nil
	}
	return w.Slots.Existing
}

// checkNumbers: nobody gets more than is asked for, and who gets less is told so.
func checkNumbers(t *testing.T, in Input, d Decision) {
	t.Helper()
	if all := len(d.Pods) + len(d.Reserve); all > in.Budget {
		t.Fatalf("%d pods, budget %d", all, in.Budget)
	}
	for _, w := range in.Workloads {
		mine := func(pods []*v1.Pod) (n int) {
			for _, p := range pods {
				future := Workload{Namespace: w.Namespace, Name: w.Name, Kind: w.Kind}
				if _, ok := future.ordinal(p); ok && w.Slots != nil || w.Slots == nil && len(p.Name) > len(w.Name) && p.Name[:len(p.Name)-len(lastPart(p.Name))] == w.Name+"-forecast-"+w.Kind+"-" {
					n++
				}
			}
			return n
		}
		there := alive(w.Pods)
		if w.Slots != nil {
			there = w.Desired - w.Lacking()
		}
		pods, reserve, held := mine(d.Pods), mine(d.Reserve), 0
		for _, h := range d.Held {
			if (Key{h.Kind, h.Namespace, h.Name}) == w.Key() {
				held += h.Pods
				if h.Reason == "" {
					t.Fatalf("%v is held for no reason", h)
				}
			}
		}
		if pods > 0 && there+pods > w.Desired || pods+held != w.Lacking() {
			t.Fatalf("%v: %d there, %d foreseen, %d held of %d", w.Key(), there, pods, held, w.Desired)
		}
		if reserve > 0 && there+pods+reserve > w.Reserve {
			t.Fatalf("%v: %d there, %d foreseen, %d in reserve of %d", w.Key(), there, pods, reserve, w.Reserve)
		}
	}
}

func lastPart(name string) string {
	for i := len(name) - 1; i >= 0; i-- {
		if name[i] == '-' {
			return name[i+1:]
		}
	}
	return name
}

// checkQuotas: what is foreseen fits into what is left.
func checkQuotas(t *testing.T, in Input, d Decision) {
	t.Helper()
	for _, q := range in.Quotas {
		used := q.Status.Used.DeepCopy()
		take := func(name v1.ResourceName, amount string) {
			if _, ok := q.Status.Hard[name]; ok {
				used[name] = plus(used[name], resource.MustParse(amount))
			}
		}
		all := slices.Concat(d.Pods, d.Reserve)
		for _, p := range all {
			take("pods", "1")
			for _, c := range p.Spec.Containers {
				take("requests.cpu", c.Resources.Requests.Cpu().String())
			}
		}
		for range d.Claims {
			take("persistentvolumeclaims", "1")
		}
		for name, limit := range q.Status.Hard {
			before, after := q.Status.Used[name], used[name]
			if after.Cmp(before) > 0 && after.Cmp(limit) > 0 {
				t.Fatalf("quota %s: %s %s of %s", q.Name, name, after.String(), limit.String())
			}
		}
	}
}
