// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package clusterapi

import (
	"strconv"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/berth-dev/berth/autoscaler/cloud"
)

// The annotations that Cluster Autoscaler reads, too, so that a group is
// described once for both.
const (
	minAnnotation  = "cluster.x-k8s.io/cluster-api-autoscaler-node-group-min-size"
	maxAnnotation  = "cluster.x-k8s.io/cluster-api-autoscaler-node-group-max-size"
	optionsPrefix  = "cluster.x-k8s.io/autoscaling-options-"
	capacityPrefix = "capacity.cluster-autoscaler.kubernetes.io/"
)

// promise is what the annotations of a group say.
type promise struct {
	// low and high are nil where nothing is said.
	low, high *int
	options   options
	capacity  v1.ResourceList
	labels    map[string]string
	taints    []v1.Taint
	drivers   map[string]int32
}

// options are nil where the group has no limit of its own.
type options struct {
	threshold                    *float64
	unneeded, unready, provision *time.Duration
}

func (o options) over(defaults cloud.Options) cloud.Options {
	or(&defaults.UtilizationThreshold, o.threshold)
	or(&defaults.UnneededTime, o.unneeded)
	or(&defaults.UnreadyTime, o.unready)
	or(&defaults.MaxNodeProvisionTime, o.provision)
	return defaults
}

func or[T any](field *T, own *T) {
	if own != nil {
		*field = *own
	}
}

// parser reads annotations. The first that is wrong is what it tells.
type parser struct {
	group       string
	annotations map[string]string
	err         error
}

// read tells what the annotations of a group promise. An empty value counts as none, as upstream's does.
func read(group string, annotations map[string]string) (promise, error) {
	p := &parser{group: group, annotations: annotations}
	said := promise{
		low:  parse(p, minAnnotation, count),
		high: parse(p, maxAnnotation, count),
		options: options{
			threshold: parse(p, optionsPrefix+"scaledownutilizationthreshold", share),
			unneeded:  parse(p, optionsPrefix+"scaledownunneededtime", duration),
			unready:   parse(p, optionsPrefix+"scaledownunreadytime", duration),
			provision: parse(p, optionsPrefix+"maxnodeprovisiontime", duration),
		},
		capacity: v1.ResourceList{},
	}
	for _, r := range []struct {
		key  string
		name v1.ResourceName
	}{{"cpu", v1.ResourceCPU}, {"memory", v1.ResourceMemory}, {"ephemeral-disk", v1.ResourceEphemeralStorage}} {
		if q := parse(p, capacityPrefix+r.key, quantity); q != nil {
			said.capacity[r.name] = *q
		}
	}
	if n := parse(p, capacityPrefix+"maxPods", count); n != nil {
		said.capacity[v1.ResourcePods] = *resource.NewQuantity(int64(*n), resource.DecimalSI)
	}
	gpus, kind := parse(p, capacityPrefix+"gpu-count", count), parse(p, capacityPrefix+"gpu-type", resourceName)
	if gpus != nil && kind != nil {
		said.capacity[*kind] = *resource.NewQuantity(int64(*gpus), resource.DecimalSI)
	}
	said.labels = deref(parse(p, capacityPrefix+"labels", labelList))
	said.taints = deref(parse(p, capacityPrefix+"taints", taintList))
	said.drivers = deref(parse(p, capacityPrefix+"csi-driver", driverList))
	return said, p.err
}

// parse returns nil where the annotation is not set, or wrong.
func parse[T any](p *parser, key string, how func(string) (T, string)) *T {
	value := strings.TrimSpace(p.annotations[key])
	if value == "" || p.err != nil {
		return nil
	}
	parsed, want := how(value)
	if want != "" {
		p.err = &InvalidError{Group: p.group, Field: "annotation " + key, Value: value, Want: want}
		return nil
	}
	return &parsed
}

func deref[T any](p *T) T {
	var value T
	if p != nil {
		value = *p
	}
	return value
}

// Each of these returns what was read, or what is allowed instead.

func count(s string) (int, string) {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n < 0 {
		return 0, "a whole number from 0"
	}
	return int(n), ""
}

func share(s string) (float64, string) {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || !(f >= 0 && f <= 1) {
		return 0, "a number from 0 to 1"
	}
	return f, ""
}

func duration(s string) (time.Duration, string) {
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, "a duration such as 10m"
	}
	return d, ""
}

func quantity(s string) (resource.Quantity, string) {
	q, err := resource.ParseQuantity(s)
	if err != nil || q.Sign() < 0 {
		return resource.Quantity{}, "a quantity such as 2 or 8Gi"
	}
	return q, ""
}

func resourceName(s string) (v1.ResourceName, string) {
	if len(validation.IsQualifiedName(s)) > 0 {
		return "", "the name of a resource such as nvidia.com/gpu"
	}
	return v1.ResourceName(s), ""
}

func labelList(s string) (map[string]string, string) {
	labels := map[string]string{}
	for item := range items(s) {
		key, value, pair := strings.Cut(item, "=")
		if !pair || len(validation.IsQualifiedName(key)) > 0 || len(validation.IsValidLabelValue(value)) > 0 {
			return nil, "labels such as key1=value1,key2=value2"
		}
		labels[key] = value
	}
	return labels, ""
}

func taintList(s string) ([]v1.Taint, string) {
	var taints []v1.Taint
	for item := range items(s) {
		pair, effect, _ := strings.Cut(item, ":")
		key, value, _ := strings.Cut(pair, "=")
		taint := v1.Taint{Key: key, Value: value, Effect: v1.TaintEffect(effect)}
		if !validTaint(taint) {
			return nil, "taints such as key1=value1:NoSchedule,key2:NoExecute"
		}
		taints = overlay(taints, taint)
	}
	return taints, ""
}

func validTaint(t v1.Taint) bool {
	switch t.Effect {
	case v1.TaintEffectNoSchedule, v1.TaintEffectPreferNoSchedule, v1.TaintEffectNoExecute:
		return len(validation.IsQualifiedName(t.Key)) == 0 && len(validation.IsValidLabelValue(t.Value)) == 0
	}
	return false
}

// overlay adds a taint, in place of one of the same key and effect: a node has one of each.
func overlay(taints []v1.Taint, taint v1.Taint) []v1.Taint {
	for i := range taints {
		if taints[i].MatchTaint(&taint) {
			taints[i] = taint
			return taints
		}
	}
	return append(taints, taint)
}

func driverList(s string) (map[string]int32, string) {
	drivers := map[string]int32{}
	for item := range items(s) {
		name, limit, pair := strings.Cut(item, "=")
		n, err := strconv.ParseInt(strings.TrimSpace(limit), 10, 32)
		if name = strings.TrimSpace(name); !pair || err != nil || n < 0 || len(validation.IsDNS1123Subdomain(strings.ToLower(name))) > 0 {
			return nil, "CSI drivers with the volumes that each attaches (0 is no limit), such as ebs.csi.aws.com=25,efs.csi.aws.com=0"
		}
		drivers[name] = int32(n)
	}
	return drivers, ""
}

// items are the parts of a list between commas; a comma at the end is no part.
func items(s string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for item := range strings.SplitSeq(s, ",") {
			if item = strings.TrimSpace(item); item != "" && !yield(item) {
				return
			}
		}
	}
}
