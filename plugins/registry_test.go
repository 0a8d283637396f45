// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package plugins_test

import (
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	st "k8s.io/kubernetes/pkg/scheduler/testing"
)

func TestBadArgsAreRefusedByName(t *testing.T) {
	tests := map[string]struct{ plugin, args, want string }{
		"unknown field":        {"OrdinalPlacement", `{"defaultPolice": {}}`, `unknown field "defaultPolice"`},
		"unknown nested field": {"OrdinalPlacement", `{"defaultPolicy": {"spread": {"topologykey": "x"}}}`, `unknown field "defaultPolicy.spread.topologykey"`},
		"invalid value":        {"OrdinalPlacement", `{"defaultPolicy": {"spread": {"enforcement": "Maybe"}}}`, `args.defaultPolicy.spread.enforcement: Unsupported value: "Maybe"`},
		"not an object":        {"OrdinalPlacement", `[]`, "must be an object"},
		"twice the same":       {"OrdinalPlacement", `{"defaultPolicy": {}, "defaultPolicy": {}}`, `"defaultPolicy" already set`},
		"no args known":        {"VolumeAffinity", `{"anything": 1}`, `unknown field "anything"`},
		"none known of holds":  {"SlotHold", `{"holdFor": "1m"}`, `unknown field "holdFor"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := buildCluster(t, noPolicies(), map[string]string{tt.plugin: tt.args})
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), tt.plugin) {
				t.Errorf("got %v\nwant an error that names %s and says %s", err, tt.plugin, tt.want)
			}
		})
	}
}

// One plugin that signs nothing would turn batching off for every pod.
func TestPodsAreSigned(t *testing.T) {
	c := newCluster(t, nil)
	sign := func(pod *v1.Pod) string { return string(c.framework.SignPod(t.Context(), pod)) }
	plain := st.MakePod().Namespace("prod").Name("p").Obj()
	if sign(plain) == "" {
		t.Errorf("a plain pod is not signed")
	}
	if got := sign(slotPod("db", 1).Obj()); got != "" {
		t.Errorf("a slot is signed %q, though its verdict depends on its siblings", got)
	}
	if sign(claiming("x")) == sign(claiming("y")) {
		t.Errorf("pods with other claims have the same signature")
	}
}
