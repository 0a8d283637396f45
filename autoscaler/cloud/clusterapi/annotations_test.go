// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package clusterapi

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/berth-dev/berth/autoscaler/cloud"
)

func TestRead(t *testing.T) {
	five := 5
	cases := map[string]struct {
		annotations map[string]string
		want        promise
	}{
		"nothing": {want: promise{}},
		"an empty value is none": {
			annotations: map[string]string{maxAnnotation: "", capacityPrefix + "cpu": " ", capacityPrefix + "labels": "", capacityPrefix + "csi-driver": ""},
		},
		"everything": {
			annotations: map[string]string{
				maxAnnotation: "5", capacityPrefix + "cpu": "16", capacityPrefix + "memory": "128G", capacityPrefix + "ephemeral-disk": "100Gi",
				capacityPrefix + "maxPods": "200", capacityPrefix + "gpu-type": "nvidia.com/gpu", capacityPrefix + "gpu-count": "2",
				capacityPrefix + "labels":     "zone=a, example.com/tier=,",
				capacityPrefix + "taints":     "key1=value1:NoSchedule,key2:NoExecute,key1=value2:NoSchedule",
				capacityPrefix + "csi-driver": "ebs.csi.aws.com=25, efs.csi.aws.com=0,",
			},
			want: promise{
				high: &five,
				capacity: v1.ResourceList{
					v1.ResourceCPU: resource.MustParse("16"), v1.ResourceMemory: resource.MustParse("128G"), v1.ResourceEphemeralStorage: resource.MustParse("100Gi"),
					v1.ResourcePods: resource.MustParse("200"), "nvidia.com/gpu": resource.MustParse("2"),
				},
				labels:  map[string]string{"zone": "a", "example.com/tier": ""},
				taints:  []v1.Taint{{Key: "key1", Value: "value2", Effect: v1.TaintEffectNoSchedule}, {Key: "key2", Effect: v1.TaintEffectNoExecute}},
				drivers: map[string]int32{"ebs.csi.aws.com": 25, "efs.csi.aws.com": 0},
			},
		},
		"a count of a gpu without a kind counts nothing": {annotations: map[string]string{capacityPrefix + "gpu-count": "2"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := read("g", c.annotations)
			if err != nil {
				t.Fatal(err)
			}
			if c.want.capacity == nil {
				c.want.capacity = v1.ResourceList{}
			}
			if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(promise{}, options{})); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestReadRefuses(t *testing.T) {
	for key, values := range map[string][]string{
		minAnnotation: {"-1", "1.5", "many", "99999999999"},
		maxAnnotation: {"-1", "0x10"},
		optionsPrefix + "scaledownutilizationthreshold": {"1.5", "-0.1", "NaN", "half"},
		optionsPrefix + "scaledownunneededtime":         {"10", "-1m", "soon"},
		optionsPrefix + "scaledownunreadytime":          {"1 h"},
		optionsPrefix + "maxnodeprovisiontime":          {"x"},
		capacityPrefix + "cpu":                          {"four", "-1"},
		capacityPrefix + "memory":                       {"8 Gi"},
		capacityPrefix + "ephemeral-disk":               {"1Q"},
		capacityPrefix + "maxPods":                      {"1e3"},
		capacityPrefix + "gpu-count":                    {"-2"},
		capacityPrefix + "gpu-type":                     {"nvidia.com/gpu/2"},
		capacityPrefix + "labels":                       {"a", "=b", "a=b c", "a=b,,c"},
		capacityPrefix + "taints":                       {"a", "a=b", "a=b:Never", "a=b=c:NoSchedule", ":NoSchedule"},
		capacityPrefix + "csi-driver":                   {"a", "a=", "a=-1", "a=1.5", "=3", "a=99999999999"},
	} {
		for _, value := range values {
			t.Run(key+"="+value, func(t *testing.T) {
				_, err := read("MachineSet/x/y", map[string]string{key: value})
				var invalid *InvalidError
				if !errors.As(err, &invalid) || invalid.Value != value || !strings.HasSuffix(invalid.Field, key) || invalid.Want == "" || invalid.Group != "MachineSet/x/y" {
					t.Errorf("%v, want an InvalidError that names all", err)
				}
			})
		}
	}
}

func TestOptionsOver(t *testing.T) {
	defaults := cloud.Options{UtilizationThreshold: 0.5, UnneededTime: time.Minute, UnreadyTime: time.Hour, MaxNodeProvisionTime: time.Second}
	said, err := read("g", map[string]string{
		optionsPrefix + "scaledownutilizationthreshold": "0", optionsPrefix + "scaledownunreadytime": "20m0s",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := cloud.Options{UtilizationThreshold: 0, UnneededTime: time.Minute, UnreadyTime: 20 * time.Minute, MaxNodeProvisionTime: time.Second}
	if got := said.options.over(defaults); got != want {
		t.Errorf("%+v, want %+v: what a group says of itself counts, also 0", got, want)
	}
}

// FuzzAnnotations: what is read is what an API server would take, and written down again it is read as the same.
func FuzzAnnotations(f *testing.F) {
	for _, seed := range []string{"4", "8Gi", "a=b,c=d", "a=b:NoSchedule,c:NoExecute", "ebs.csi.aws.com=25", "10m", "0.5", "nvidia.com/gpu", ",,", "=", "a=b:", "１"} {
		for key := range fuzzed {
			f.Add(key, seed)
		}
	}
	f.Fuzz(func(t *testing.T, key, value string) {
		if fuzzed[key] == "" {
			t.Skip()
		}
		said, err := read("g", map[string]string{fuzzed[key]: value, capacityPrefix + "gpu-type": "example.com/gpu"})
		if err != nil {
			return
		}
		for name, q := range said.capacity {
			if q.Sign() < 0 || len(validation.IsQualifiedName(string(name))) > 0 {
				t.Errorf("capacity %s of %s", q.String(), name)
			}
		}
		var labels []string
		for k, v := range said.labels {
			if len(validation.IsQualifiedName(k))+len(validation.IsValidLabelValue(v)) > 0 {
				t.Errorf("label %q=%q", k, v)
			}
			labels = append(labels, k+"="+v)
		}
		var taints []string
		for _, taint := range said.taints {
			if !validTaint(taint) {
				t.Errorf("taint %v", taint)
			}
			taints = append(taints, taint.ToString())
		}
		for name, limit := range said.drivers {
			if limit < 0 || name == "" {
				t.Errorf("driver %q=%d", name, limit)
			}
		}
		again, err := read("g", map[string]string{capacityPrefix + "labels": strings.Join(labels, ","), capacityPrefix + "taints": strings.Join(taints, ",")})
		if err != nil || len(again.labels) != len(said.labels) || !reflect.DeepEqual(again.taints, said.taints) {
			t.Errorf("%v: %v and %v, read again %v and %v", err, said.labels, said.taints, again.labels, again.taints)
		}
	})
}

var fuzzed = map[string]string{
	"max": maxAnnotation, "threshold": optionsPrefix + "scaledownutilizationthreshold", "time": optionsPrefix + "scaledownunneededtime",
	"cpu": capacityPrefix + "cpu", "pods": capacityPrefix + "maxPods", "gpus": capacityPrefix + "gpu-count", "gpu": capacityPrefix + "gpu-type",
	"labels": capacityPrefix + "labels", "taints": capacityPrefix + "taints", "drivers": capacityPrefix + "csi-driver",
}
