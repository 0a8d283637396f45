// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package vpas

import (
	"encoding/json"
	"fmt"
	"math/rand"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/resource"
	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
)

const forever = "1e-2147483647"

func TestUnreadable(t *testing.T) {
	for text, want := range map[string]bool{
		forever: true, "1e-100": true, "1E+100": true, "1e1.5": true, "1e.5": true, "1e99999999999": true, strings.Repeat("1", 31): true,
		"0." + strings.Repeat("0", 1<<20) + "1Gi": true,
		"1": false, "500m": false, "1.5Gi": false, "1e3": false, "1E": false, "1e-99": false, "12e6": false, "": false, "Auto": false, "e-100": false, strings.Repeat("1", 30): false,
	} {
		if got := unreadable(text); got != want {
			t.Errorf("%.40s: %t, want %t", text, got, want)
		}
	}
}

// Each quantity of the type is looked at, so that an API that gains one does not stop Berth.
func TestEveryQuantityIsLookedAt(t *testing.T) {
	fields := quantities(reflect.TypeFor[vpav1.VerticalPodAutoscaler]())
	if len(fields) < 8 {
		t.Fatalf("only these are known: %v", fields)
	}
	for _, field := range fields {
		var object any = forever
		for _, name := range reverse(strings.Split(field, ".")) {
			if inner, ok := strings.CutSuffix(name, "[0]"); ok {
				name, object = inner, []any{object}
			}
			object = map[string]any{name: object}
		}
		object.(map[string]any)["metadata"] = map[string]any{"namespace": "prod", "name": "db"}
		data, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		var got []Ignored
		out := readable(data, func(i Ignored) { got = append(got, i) })
		if diff := cmp.Diff([]Ignored{{"prod", "db", field, forever}}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", field, diff)
		}
		if strings.Contains(string(out), forever) {
			t.Errorf("%s is left: %s", field, out)
		}
	}
}

// quantities are the paths of all quantities of a type.
func quantities(of reflect.Type) []string {
	var out []string
	under := func(t reflect.Type, path string) {
		for _, rest := range quantities(t) {
			out = append(out, strings.TrimSuffix(path+rest, "."))
		}
	}
	switch {
	case of == reflect.TypeFor[resource.Quantity]():
		return []string{""}
	case of.Kind() == reflect.Pointer:
		under(of.Elem(), "")
	case of.Kind() == reflect.Map:
		under(of.Elem(), ".x")
	case of.Kind() == reflect.Slice:
		under(of.Elem(), "[0]")
	case of.Kind() == reflect.Struct:
		for i := range of.NumField() {
			f := of.Field(i)
			if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
				under(f.Type, "."+name)
			}
		}
	}
	for i := range out {
		if of == reflect.TypeFor[vpav1.VerticalPodAutoscaler]() {
			out[i] = strings.TrimPrefix(out[i], ".")
		}
	}
	return out
}

func reverse(words []string) []string {
	var out []string
	for _, w := range words {
		out = append([]string{w}, out...)
	}
	return out
}

// The pattern of the CRD. What it accepts is decoded once it was made readable, whatever it is.
var accepted = regexp.MustCompile(`^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$`)

func TestWhatTheCRDAcceptsIsDecoded(t *testing.T) {
	r := rand.New(rand.NewSource(3))
	tried, ignored := 0, 0
	for tried < 20000 {
		var b strings.Builder
		for range 1 + r.Intn(10) {
			b.WriteByte("0123456789..eeEE+-KMGinmk"[r.Intn(25)])
		}
		if r.Intn(5) == 0 {
			b.WriteString(strings.Repeat(fmt.Sprint(r.Intn(10)), r.Intn(40)))
		}
		if text := b.String(); accepted.MatchString(text) {
			tried++
			ignored += decodes(t, text)
		}
	}
	if ignored < 1000 || ignored > 19000 {
		t.Errorf("%d of %d were ignored: the test shows little", ignored, tried)
	}
}

func FuzzReadable(f *testing.F) {
	for _, seed := range []string{forever, "1e1.5", "500m", `"`, `\`, "1e-99", "Auto"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		readable([]byte(text), func(Ignored) {})
		readable([]byte(`{"spec":{"resourcePolicy":{"containerPolicies":[{"minAllowed":{"cpu":`+text+`}}]}}}`), func(Ignored) {})
		if accepted.MatchString(text) {
			decodes(t, text)
		}
	})
}

// decodes reads a VPA with this minimum and counts what was ignored of it.
func decodes(t *testing.T, text string) int {
	t.Helper()
	data := []byte(`{"metadata":{"generation":9007199254740993},"spec":{"resourcePolicy":{"containerPolicies":[{"containerName":"1e999","minAllowed":{"cpu":"` + text + `"}}]}}}`)
	n := 0
	var v vpav1.VerticalPodAutoscaler
	if err := json.Unmarshal(readable(data, func(Ignored) { n++ }), &v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	policy := v.Spec.ResourcePolicy.ContainerPolicies[0]
	if _, has := policy.MinAllowed["cpu"]; has == (n > 0) {
		t.Fatalf("%s: %d were ignored, and it is there: %t", text, n, has)
	}
	if policy.ContainerName != "1e999" || v.Generation != 9007199254740993 {
		t.Fatalf("%s: something else was changed: %+v", text, v)
	}
	return n
}
