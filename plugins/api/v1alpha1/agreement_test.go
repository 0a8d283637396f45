// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"encoding/json"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
)

// example is a policy of testdata. The first line of an invalid one names the
// field and says words that the refusal has.
type example struct {
	yaml         []byte
	field, words string
}

func examples(t *testing.T, folder string) map[string]example {
	t.Helper()
	files, err := filepath.Glob("testdata/" + folder + "/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples in %s: %v", folder, err)
	}
	found := map[string]example{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		first, _, _ := strings.Cut(string(data), "\n")
		name, words, _ := strings.Cut(strings.TrimPrefix(first, "# "), ":")
		found[filepath.Base(file)] = example{yaml: data, field: name, words: strings.TrimSpace(words)}
	}
	return found
}

func object(t *testing.T, text []byte) map[string]any {
	t.Helper()
	var out map[string]any
	// The API server reads whole numbers as such, not as floats.
	if err := yaml.Unmarshal(text, &out, func(d *json.Decoder) *json.Decoder { d.UseNumber(); return d }); err != nil {
		t.Fatal(err)
	}
	out, ok := plain(out).(map[string]any)
	if !ok {
		t.Fatalf("no object:\n%s", text)
	}
	return out
}

func plain(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for key := range v {
			v[key] = plain(v[key])
		}
	case []any:
		for i := range v {
			v[i] = plain(v[i])
		}
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
	}
	return value
}

// judgedInGo is what the Go code says of a policy. What can not be decoded is
// refused too.
func judgedInGo(text []byte) (*v1alpha1.PlacementPolicy, field.ErrorList, error) {
	var policy v1alpha1.PlacementPolicy
	if err := yaml.UnmarshalStrict(text, &policy); err != nil {
		return nil, nil, err
	}
	policy.Spec.Default()
	return &policy, policy.Spec.Validate(field.NewPath("spec")), nil
}

func TestInvalidExamples(t *testing.T) {
	server := newServer(t)
	for name, example := range examples(t, "invalid") {
		t.Run(name, func(t *testing.T) {
			refused := false
			errs := server.judge(t, object(t, example.yaml))
			for _, err := range errs {
				refused = refused || err.Field == example.field && strings.Contains(err.Error(), example.words)
			}
			if !refused {
				t.Errorf("the schema says\n%v\nand nothing of %s: %s", errs.ToAggregate(), example.field, example.words)
			}
			_, errs, err := judgedInGo(example.yaml)
			refused = err != nil
			for _, err := range errs {
				refused = refused || strings.HasPrefix(err.Field, example.field)
			}
			if !refused {
				t.Errorf("Validate says\n%v\nand nothing of %s", errs.ToAggregate(), example.field)
			}
		})
	}
}

func TestValidExamples(t *testing.T) {
	server := newServer(t)
	for name, example := range examples(t, "valid") {
		t.Run(name, func(t *testing.T) {
			served := object(t, example.yaml)
			if errs := server.judge(t, served); len(errs) > 0 {
				t.Errorf("the schema says %v", errs.ToAggregate())
			}
			policy, errs, err := judgedInGo(example.yaml)
			if err != nil || len(errs) > 0 {
				t.Fatalf("Validate says %v, decoding %v", errs.ToAggregate(), err)
			}
			data, err := yaml.Marshal(served)
			if err != nil {
				t.Fatal(err)
			}
			var defaulted v1alpha1.PlacementPolicy
			if err := yaml.UnmarshalStrict(data, &defaulted); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(defaulted.Spec, policy.Spec); diff != "" {
				t.Errorf("defaults (-schema +Default):\n%s", diff)
			}
		})
	}
}

// TestSchemaAndGoAgree draws policies with a field or two that may be wrong.
func TestSchemaAndGoAgree(t *testing.T) {
	server := newServer(t)
	accepted := 0
	const draws = 1000
	for seed := range uint64(draws) {
		data, err := yaml.Marshal(map[string]any{
			"apiVersion": "berth.dev/v1alpha1", "kind": "PlacementPolicy", "metadata": map[string]any{"name": "db"},
			"spec": drawn{rand.New(rand.NewPCG(seed, 3))}.spec(),
		})
		if err != nil {
			t.Fatal(err)
		}
		_, inGo, undecodable := judgedInGo(data)
		bySchema := server.judge(t, object(t, data))
		if good := undecodable == nil && len(inGo) == 0; good != (len(bySchema) == 0) {
			t.Fatalf("seed %d:\n%s\nthe schema says: %v\nValidate says: %v, decoding: %v", seed, data, bySchema.ToAggregate(), inGo.ToAggregate(), undecodable)
		} else if good {
			accepted++
		}
	}
	if accepted < draws/10 || accepted > draws*9/10 {
		t.Errorf("%d of %d were accepted: that compares nothing", accepted, draws)
	}
}

// drawn makes random specs.
type drawn struct{ *rand.Rand }

// one of the good values mostly, and of the doubtful ones at times.
func (d drawn) one(good []any, doubtful ...any) any {
	if len(doubtful) > 0 && d.IntN(25) == 0 {
		return doubtful[d.IntN(len(doubtful))]
	}
	return good[d.IntN(len(good))]
}

// some of the fields.
func (d drawn) some(fields map[string]func() any) map[string]any {
	out := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if d.IntN(3) > 0 {
			out[name] = fields[name]()
		}
	}
	return out
}

func (d drawn) spec() map[string]any {
	spec := d.some(map[string]func() any{
		"spread": d.spread,
		"start": func() any {
			return d.some(map[string]func() any{
				"order": func() any { return d.one([]any{"Parallel", "Ordered"}, "parallel") },
				"until": func() any { return d.one([]any{"Ready", "Scheduled"}, "Bound") },
			})
		},
		"home": func() any {
			return d.some(map[string]func() any{
				"returnToNode":       func() any { return d.one([]any{"Required", "None"}, "none") },
				"holdFor":            func() any { return d.duration("0s", "0") },
				"releaseLostVolumes": func() any { return map[string]any{"after": d.duration()} },
			})
		},
		"separateNodes": func() any { return d.one([]any{"Required", "Preferred", "None"}, "Never") },
		"quorum":        func() any { return d.one([]any{"Majority", "None", 0, 3}, -1, "3", "", 1000001, 1.5, true) },
		"rules": func() any {
			rules := []any{}
			for range d.IntN(3) {
				rules = append(rules, map[string]any{"ordinals": d.ordinals(), "nodeSelectorTerms": d.terms()})
			}
			return rules
		},
	})
	d.aim(spec)
	return spec
}

func (d drawn) aim(spec map[string]any) {
	target := map[string]any{
		"apiVersion": d.one([]any{"apps/v1"}, "apps/v1beta2"), "kind": d.one([]any{"StatefulSet"}, "Deployment"),
		"name": d.one([]any{"db", "db.2"}, "", "-db", "Db", strings.Repeat("a", 254)),
	}
	selector := map[string]any{"matchLabels": map[string]any{"app": "db"}, "matchExpressions": d.one([]any{[]any{}},
		[]any{map[string]any{"key": "a", "operator": "Exists", "values": []any{}}}, []any{map[string]any{"key": "a", "operator": "Gt", "values": []any{"1"}}},
		[]any{map[string]any{"key": "a", "operator": "In"}})}
	if d.IntN(2) == 0 {
		spec["targetRef"] = target
	} else {
		spec["selector"] = selector
		if d.IntN(2) == 0 {
			spec["ordinal"] = d.ordinal()
		}
	}
	switch d.IntN(100) {
	case 0:
		spec["targetRef"] = target
	case 1:
		delete(spec, "selector")
	case 2:
		spec["selector"] = map[string]any{}
	}
}

func (d drawn) ordinal() any {
	if d.IntN(3) == 0 {
		return d.one([]any{map[string]any{"label": "example.com/index"}, map[string]any{"label": "Index_1"}},
			map[string]any{"label": "/index"}, map[string]any{"label": "a/b/c"}, map[string]any{},
			map[string]any{"label": "index", "namePattern": "db-([0-9]+)"}, map[string]any{"label": strings.Repeat("a", 64)})
	}
	return map[string]any{"namePattern": d.one(
		[]any{`db-([0-9]+)`, `(?:data-)?db-(\d+)`, `db-(?P<n>\d+)`, `db-(?<n>\d+)`, `[(]-(\d+)\)`, `[^)(]-([0-9])`, `[]()]*(\d)`, `(?i)db-(\d+)`, `[[:alpha:]]+-(\d+)`, `[[:^digit:](]+(\d+)`, `\Q((\E(\d+)`, `\(\\(\d)`},
		`db`, `(db)-(\d+)`, `db-(\d+`, `db)(`, `a)(b`, `\d+)`, `(?:\d+)`, `[(\d)]`, `((\d+))`, `\Q(\d+)`, `\Q(\d+)\E`, `(?P<a>x)(?P<b>y)`, `db-(\d+)(?i`, `*(\d)`, `(?=a)(\d)`, `\`)}
}

func (d drawn) spread() any {
	number := func(low int) func() any {
		return func() any { return d.one([]any{low, low + 1, low + 2, 1000000}, low-1, -1, 1000001, 3000000000) }
	}
	spread := d.some(map[string]func() any{
		"topologyKey": func() any {
			return d.one([]any{"rack", "example.com/row"}, "a b", "example.com/", "Example.com/row", strings.Repeat("a", 64), "a/"+strings.Repeat("b", 63))
		},
		"domains": func() any {
			return d.one([]any{[]any{"a", "b"}, []any{"z_1"}, []any{}}, []any{"a", "a"}, []any{"-a"}, []any{""}, []any{strings.Repeat("a", 64)})
		},
		"enforcement":  func() any { return d.one([]any{"Required", "Preferred"}, "None") },
		"maxPerDomain": number(1),
		"onDomainLoss": func() any { return map[string]any{"after": d.duration()} },
	})
	// A draw without regard for what goes together would hardly ever be valid.
	contiguous := d.IntN(2) == 0
	if contiguous {
		spread["arrangement"] = "Contiguous"
	}
	if contiguous != (d.IntN(20) == 0) {
		spread["blockSize"] = number(1)()
	}
	if d.IntN(2) == 0 && contiguous == (d.IntN(20) == 0) {
		spread["shardSize"] = number(2)()
	}
	return spread
}

func (d drawn) duration(more ...any) any {
	return d.one(append([]any{"5m", "1h30m", "1.5s", "100ms"}, more...), "0s", "-5m", "5", "5 m", "", "1d", strings.Repeat("1", 30)+"h", "2562048h", "µs", "1e3s", "+5m", ".5m")
}

func (d drawn) ordinals() any {
	return d.one([]any{"0", "0-2,5", "3-", "7,1-1", "999999999", "0-"}, "", ",", "01", "-1", "1-0", "2-10,10-2", "1--2", "1-2-3", "a", "1000000000",
		"10-9,99999999999999999999-1", " 1", "1,", "1-0-", strings.Repeat("1,", 128)+"1", "4-04")
}

func (d drawn) terms() any {
	terms := []any{}
	for range 1 + d.IntN(2) {
		terms = append(terms, d.term())
	}
	return d.one([]any{terms}, []any{}, []any{map[string]any{}}, []any{map[string]any{"matchExpressions": []any{}, "matchFields": []any{}}})
}

func (d drawn) term() any {
	term := map[string]any{"matchExpressions": []any{map[string]any{
		"key":      d.one([]any{"a", "example.com/a-b", "A.b_c"}, "a b", "", "/a", "a/", "x/y/z", "-a", strings.Repeat("a", 64), strings.Repeat("a", 254)+"/b", "A.com/b"),
		"operator": d.one([]any{"In", "NotIn"}, "Exists", "is", ""),
		"values":   d.one([]any{[]any{"b"}, []any{"b", "c.d"}, []any{"7"}}, []any{}, []any{""}, []any{"b c"}, []any{strings.Repeat("b", 64)}, []any{"-b"}),
	}}}
	other := d.one([]any{
		map[string]any{"key": "a", "operator": "Exists"}, map[string]any{"key": "a", "operator": "Exists", "values": []any{}},
		map[string]any{"key": "a", "operator": "Gt", "values": []any{"07"}}, map[string]any{"key": "a", "operator": "Lt", "values": []any{"123456789012345678"}},
	}, map[string]any{"key": "a", "operator": "Gt"}, map[string]any{"key": "a", "operator": "Lt", "values": []any{"-1"}}, map[string]any{"key": "a", "operator": "Lt", "values": []any{"1", "2"}},
		map[string]any{"key": "a", "operator": "Gt", "values": []any{"1.5"}}, map[string]any{"key": "a", "operator": "DoesNotExist", "values": []any{"1"}})
	if list, ok := term["matchExpressions"].([]any); ok && d.IntN(2) == 0 {
		term["matchExpressions"] = append(list, other)
	}
	if d.IntN(2) == 0 {
		term["matchFields"] = []any{map[string]any{
			"key": d.one([]any{"metadata.name"}, "spec.unschedulable"), "operator": d.one([]any{"In", "NotIn"}, "Exists"),
			"values": d.one([]any{[]any{"node-1.example.com"}}, []any{}, []any{"a", "b"}, []any{""}, []any{strings.Repeat("n", 254)}),
		}}
	}
	return term
}
