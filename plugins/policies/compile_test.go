// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package policies

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
	"github.com/berth-dev/berth/plugins/statefulset"
)

func parse[T any](t *testing.T, text string) *T {
	t.Helper()
	var out T
	if err := yaml.UnmarshalStrict([]byte(text), &out); err != nil {
		t.Fatal(err)
	}
	return &out
}

func TestCompile(t *testing.T) {
	for name, tc := range map[string]struct {
		placement string
		want      *statefulset.Policy
	}{
		"nothing": {
			placement: `{}`,
			want:      &statefulset.Policy{Name: "db"},
		},
		"an empty spread is over zones": {
			placement: `{spread: {}}`,
			want:      &statefulset.Policy{Name: "db", Spread: &statefulset.Spread{TopologyKey: "topology.kubernetes.io/zone"}},
		},
		"interleaved": {
			placement: `{spread: {topologyKey: rack, domains: [b, a], enforcement: Preferred, shardSize: 3, maxPerDomain: 4, onDomainLoss: {after: 5m}}}`,
			want: &statefulset.Policy{Name: "db", Spread: &statefulset.Spread{
				TopologyKey: "rack", Domains: []string{"a", "b"}, Preferred: true, ShardSize: 3, MaxPerDomain: 4, LossAfter: 5 * time.Minute,
			}},
		},
		"contiguous": {
			placement: `{spread: {arrangement: Contiguous, blockSize: 2, enforcement: Required}}`,
			want:      &statefulset.Policy{Name: "db", Spread: &statefulset.Spread{TopologyKey: "topology.kubernetes.io/zone", BlockSize: 2}},
		},
		"nodes are to be separate": {
			placement: `{separateNodes: Required}`,
			want:      &statefulset.Policy{Name: "db", SeparateNodes: statefulset.NeedOwnNode},
		},
		"nodes had better be separate": {
			placement: `{separateNodes: Preferred}`,
			want:      &statefulset.Policy{Name: "db", SeparateNodes: statefulset.PreferOwnNode},
		},
		"one after the other": {
			placement: `{start: {order: Ordered, until: Ready}}`,
			want:      &statefulset.Policy{Name: "db", Start: statefulset.Start{Ordered: true, UntilReady: true}},
		},
		"the default of an order": {
			placement: `{start: {order: Ordered}}`,
			want:      &statefulset.Policy{Name: "db", Start: statefulset.Start{Ordered: true}},
		},
		"an empty home": {
			placement: `{home: {}}`,
			want:      &statefulset.Policy{Name: "db", Home: statefulset.HomePolicy{HoldFor: 10 * time.Minute}},
		},
		"a home that holds nothing and must be returned to": {
			placement: `{home: {returnToNode: Required, holdFor: 0s, releaseLostVolumes: {after: 5m}}}`,
			want:      &statefulset.Policy{Name: "db", Home: statefulset.HomePolicy{Return: statefulset.ReturnRequired, ReleaseLostAfter: 5 * time.Minute}},
		},
		"no home": {
			placement: `{home: {returnToNode: None, holdFor: 1m}}`,
			want:      &statefulset.Policy{Name: "db", Home: statefulset.HomePolicy{Return: statefulset.ReturnNowhere, HoldFor: time.Minute}},
		},
		"no quorum": {
			placement: `{quorum: None}`,
			want:      &statefulset.Policy{Name: "db"},
		},
		"a majority": {
			placement: `{quorum: Majority}`,
			want:      &statefulset.Policy{Name: "db", Quorum: statefulset.Quorum{Majority: true}},
		},
		"a number of slots": {
			placement: `{quorum: 2}`,
			want:      &statefulset.Policy{Name: "db", Quorum: statefulset.Quorum{Slots: 2}},
		},
		"rules keep their order": {
			placement: `{rules: [{ordinals: "1-2,0", nodeSelectorTerms: [{matchExpressions: [{key: a, operator: Exists}]}]}, {ordinals: "3-", nodeSelectorTerms: [{matchFields: [{key: metadata.name, operator: In, values: [n-1]}]}]}]}`,
			want: &statefulset.Policy{Name: "db", Rules: []statefulset.Rule{
				{Ordinals: statefulset.Ordinals{{First: 0, Last: 0}, {First: 1, Last: 2}}, Text: "a Exists"},
				{Ordinals: statefulset.Ordinals{{First: 3, Last: 1<<31 - 1}}, Text: "metadata.name In (n-1)"},
			}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			placement := parse[v1alpha1.Placement](t, tc.placement)
			before := placement.DeepCopy()
			got, errs := Compile("db", placement, nil)
			if len(errs) > 0 {
				t.Fatal(errs.ToAggregate())
			}
			if tc.want.Home == (statefulset.HomePolicy{}) {
				tc.want.Home.HoldFor = 10 * time.Minute // what a section that is not there says
			}
			functions := cmpopts.IgnoreFields(statefulset.Rule{}, "Selects", "Values")
			if diff := cmp.Diff(tc.want, got, functions, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("policy (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, placement); diff != "" {
				t.Errorf("the placement was changed (-before +after):\n%s", diff)
			}
		})
	}
}

func TestCompileNamesTheFields(t *testing.T) {
	placement := parse[v1alpha1.Placement](t, `{separateNodes: Sometimes, spread: {domains: [a, "b c"]}}`)
	policy, errs := Compile("db", placement, field.NewPath("defaultPolicy"))
	if policy != nil {
		t.Errorf("an invalid placement became %v", policy)
	}
	var fields []string
	for _, err := range errs {
		fields = append(fields, err.Field)
	}
	if diff := cmp.Diff([]string{"defaultPolicy.separateNodes", "defaultPolicy.spread.domains[1]"}, fields); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
}

func TestRule(t *testing.T) {
	for name, tc := range map[string]struct {
		terms string
		text  string
		// values of the label zone, and a node the rule selects and one it does not
		values []string
		yes    *corev1.Node
		no     *corev1.Node
	}{
		"a label": {
			terms: `[{matchExpressions: [{key: capacity, operator: In, values: [on-demand]}]}]`,
			text:  "capacity In (on-demand)",
			yes:   node("n", "capacity", "on-demand"), no: node("n", "capacity", "spot"),
		},
		"domains by name": {
			terms:  `[{matchExpressions: [{key: zone, operator: In, values: [b, a]}]}]`,
			text:   "zone In (b, a)",
			values: []string{"a", "b"},
			yes:    node("n", "zone", "a"), no: node("n", "zone", "c"),
		},
		"within a term requirements narrow": {
			terms:  `[{matchExpressions: [{key: zone, operator: In, values: [a, b]}, {key: zone, operator: In, values: [b, c]}, {key: gpu, operator: DoesNotExist}]}]`,
			text:   "zone In (a, b) and zone In (b, c) and gpu DoesNotExist",
			values: []string{"b"},
			yes:    node("n", "zone", "b"), no: node("n", "zone", "a"),
		},
		"terms widen": {
			terms:  `[{matchExpressions: [{key: zone, operator: In, values: [b, a]}]}, {matchExpressions: [{key: zone, operator: In, values: [a, c]}]}]`,
			text:   "zone In (b, a) or zone In (a, c)",
			values: []string{"a", "b", "c"},
			yes:    node("n", "zone", "c"), no: node("n", "zone", "d"),
		},
		"a term that leaves the label open": {
			terms: `[{matchExpressions: [{key: zone, operator: In, values: [a]}]}, {matchExpressions: [{key: cores, operator: Gt, values: ["4"]}]}]`,
			text:  "zone In (a) or cores Gt (4)",
			yes:   node("n", "cores", "5"), no: node("n", "cores", "4"),
		},
		"not in a domain names none": {
			terms: `[{matchExpressions: [{key: zone, operator: NotIn, values: [a]}]}]`,
			text:  "zone NotIn (a)",
			yes:   node("n", "zone", "b"), no: node("n", "zone", "a"),
		},
		"nothing is left": {
			terms:  `[{matchExpressions: [{key: zone, operator: In, values: [a]}, {key: zone, operator: In, values: [b]}]}]`,
			text:   "zone In (a) and zone In (b)",
			values: []string{},
			no:     node("n", "zone", "a"),
		},
		"a node": {
			terms: `[{matchFields: [{key: metadata.name, operator: NotIn, values: [n-1]}]}]`,
			text:  "metadata.name NotIn (n-1)",
			yes:   node("n-2"), no: node("n-1"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			placement := parse[v1alpha1.Placement](t, `{rules: [{ordinals: "0", nodeSelectorTerms: `+tc.terms+`}]}`)
			policy, errs := Compile("", placement, nil)
			if len(errs) > 0 {
				t.Fatal(errs.ToAggregate())
			}
			rule := policy.Rules[0]
			if rule.Text != tc.text {
				t.Errorf("text %q, want %q", rule.Text, tc.text)
			}
			if diff := cmp.Diff(tc.values, rule.Values("zone")); diff != "" {
				t.Errorf("values of zone (-want +got):\n%s", diff)
			}
			if tc.yes != nil && !rule.Selects(tc.yes) {
				t.Errorf("does not select %v", tc.yes.Labels)
			}
			if rule.Selects(tc.no) {
				t.Errorf("selects %v", tc.no.Labels)
			}
		})
	}
}

func node(name string, labels ...string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{}}}
	for i := 0; i+1 < len(labels); i += 2 {
		n.Labels[labels[i]] = labels[i+1]
	}
	return n
}
