// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package policies_test

import (
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// raw is a VPA as it is written, with quantities that nobody parses.
func raw(spec map[string]any) *unstructured.Unstructured {
	spec["targetRef"] = map[string]any{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db"}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "autoscaling.k8s.io/v1", "kind": "VerticalPodAutoscaler", "spec": spec,
		"metadata": map[string]any{"namespace": "prod", "name": "sizes"},
	}}
}

func policyOf(field string, value any) *unstructured.Unstructured {
	return raw(map[string]any{"resourcePolicy": map[string]any{"containerPolicies": []any{
		map[string]any{"containerName": "log", "minAllowed": map[string]any{"cpu": "100m"}},
		map[string]any{"containerName": "db", field: value},
	}}})
}

func TestQuantities(t *testing.T) {
	const rule = ": a quantity has at most 30 characters, and an exponent of one or two digits"
	amount := func(name string, q any) map[string]any { return map[string]any{name: q} }
	boost := func(q any) map[string]any {
		return map[string]any{"cpu": map[string]any{"type": "Quantity", "quantity": q}}
	}
	bad := policyOf("minAllowed", amount("cpu", "1e-2147483647"))
	labelled := bad.DeepCopy()
	labelled.SetLabels(map[string]string{"team": "a"})
	for name, tc := range map[string]struct {
		old, new *unstructured.Unstructured
		refused  string
	}{
		"no policy":            {new: raw(map[string]any{})},
		"usual":                {new: policyOf("minAllowed", map[string]any{"cpu": "500m", "memory": "1.5Gi"})},
		"numbers":              {new: policyOf("maxAllowed", map[string]any{"cpu": int64(2), "memory": int64(1 << 40)})},
		"an exponent":          {new: policyOf("maxAllowed", amount("memory", "12e9"))},
		"two digits":           {new: policyOf("maxAllowed", amount("memory", "1E-99"))},
		"exa":                  {new: policyOf("maxAllowed", amount("memory", "100E"))},
		"exbi":                 {new: policyOf("maxAllowed", amount("memory", "123Ei"))},
		"a minimum":            {new: bad, refused: "container db: minAllowed.cpu is 1e-2147483647" + rule},
		"a maximum":            {new: policyOf("maxAllowed", amount("memory", "1E+100")), refused: "container db: maxAllowed.memory is 1E+100" + rule},
		"three digits":         {new: policyOf("minAllowed", amount("cpu", "1e001")), refused: "container db: minAllowed.cpu is 1e001" + rule},
		"a fraction":           {new: policyOf("minAllowed", amount("cpu", "1e1.5")), refused: "container db: minAllowed.cpu is 1e1.5" + rule},
		"half a digit":         {new: policyOf("minAllowed", amount("cpu", "1e-.5")), refused: "container db: minAllowed.cpu is 1e-.5" + rule},
		"thirty characters":    {new: policyOf("minAllowed", amount("cpu", strings.Repeat("1", 30)))},
		"more":                 {new: policyOf("minAllowed", amount("cpu", strings.Repeat("1", 1<<20))), refused: "container db: minAllowed.cpu is " + strings.Repeat("1", 30) + "..." + rule},
		"a ratio":              {new: policyOf("oomBumpUpRatio", "1e-999"), refused: "container db: oomBumpUpRatio is 1e-999" + rule},
		"a usual ratio":        {new: policyOf("oomBumpUpRatio", "1.5")},
		"a bump":               {new: policyOf("oomMinBumpUp", "1e-999"), refused: "container db: oomMinBumpUp is 1e-999" + rule},
		"a boost":              {new: raw(map[string]any{"startupBoost": boost("1e999")}), refused: "startupBoost.cpu.quantity is 1e999" + rule},
		"a container's boost":  {new: policyOf("startupBoost", boost("1e999")), refused: "container db: startupBoost.cpu.quantity is 1e999" + rule},
		"a usual boost":        {new: policyOf("startupBoost", boost("1"))},
		"another boost":        {new: policyOf("startupBoost", map[string]any{"cpu": map[string]any{"type": "Factor", "factor": int64(2)}})},
		"one comes":            {old: policyOf("minAllowed", amount("cpu", "1")), new: bad, refused: "container db: minAllowed.cpu is 1e-2147483647" + rule},
		"an older one goes":    {old: bad, new: policyOf("minAllowed", amount("cpu", "1"))},
		"an older one, marked": {old: bad, new: labelled},
	} {
		t.Run(name, func(t *testing.T) {
			// An error would let pass what is to be refused.
			s := newServer(t, settings{edit: func(p *admissionv1.ValidatingAdmissionPolicy) {
				fail := admissionv1.Fail
				p.Spec.FailurePolicy = &fail
			}})
			write := func() ([]string, error) { return s.create(t, tc.new) }
			if tc.old != nil {
				write = func() ([]string, error) { return s.update(t, tc.old, tc.new) }
			}
			switch _, err := write(); {
			case tc.refused == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tc.refused != "" && (err == nil || !strings.Contains(err.Error(), tc.refused)):
				t.Errorf("%v, want a refusal that says %q", err, tc.refused)
			}
		})
	}
}
