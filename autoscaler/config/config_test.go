// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"strings"
	"testing"
	"time"
)

const minimal = `
apiVersion: config.berth.dev/v1alpha1
kind: AutoscalerConfiguration
`

const group = minimal + `
nodes:
  provider: kwok
  schedulerConfigFile: /etc/berth/scheduler.yaml
  groups:
  - name: zone-a
    min: 0
    max: 10
    template:
      labels: {topology.kubernetes.io/zone: zone-a}
      capacity: {cpu: "4", memory: 16Gi, pods: "110"}
`

func TestParseFillsDefaults(t *testing.T) {
	c, err := Parse([]byte(minimal))
	if err != nil {
		t.Fatal(err)
	}
	if c.SyncPeriod.Duration != 15*time.Second || *c.Horizontal.Tolerance != 0.1 || c.Horizontal.Mode != Act || c.Horizontal.ScaleToZero {
		t.Errorf("defaults are those of kube-controller-manager, got %+v", c)
	}
	if c.MetricsTimeout.Duration != 10*time.Second {
		t.Errorf("metricsTimeout %s, want 10s", c.MetricsTimeout.Duration)
	}
	if c.Horizontal.Canary != RequireCanary || c.Horizontal.CanaryPatience.Duration != 30*time.Second {
		t.Errorf("another controller is looked for by default, got %+v", c.Horizontal)
	}
	if c.Vertical.Mode != Act || c.Vertical.RecommenderName != "berth" {
		t.Errorf("pods get their recommendations by default, got %+v", c.Vertical)
	}
	if c.Nodes.ForecastTimeout.Duration != 10*time.Minute {
		t.Errorf("forecastTimeout %s, want 10m", c.Nodes.ForecastTimeout.Duration)
	}
	if !*c.LeaderElection.LeaderElect || c.LeaderElection.ResourceName != Name || c.LeaderElection.ResourceLock != "leases" {
		t.Errorf("leader election is on by default, got %+v", c.LeaderElection)
	}
}

func TestNodesGoByDefaultAsClusterAutoscalers(t *testing.T) {
	c, err := Parse([]byte(minimal))
	if err != nil {
		t.Fatal(err)
	}
	n := c.Nodes
	if *n.UtilizationThreshold != 0.5 || n.UnneededTime.Duration != 10*time.Minute || n.UnreadyTime.Duration != 20*time.Minute ||
		*n.MaxEmptyRemovals != 10 || *n.MaxDrains != 5 || n.MaxPodEvictionTime.Duration != 2*time.Minute || n.MaxGracefulTermination.Duration != 10*time.Minute ||
		!*n.SkipNodesWithLocalStorage || !*n.SkipNodesWithSystemPods || n.IgnoreDaemonSetsUtilization {
		t.Errorf("got %+v", n)
	}
}

func TestParseKeepsWhatIsGiven(t *testing.T) {
	c, err := Parse([]byte(group + "  unneededTime: 0s\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Nodes.UnneededTime.Duration; got != 0 {
		t.Errorf("unneededTime: 0s was given, got %s", got)
	}
	if got := c.Nodes.Groups[0].Template.Capacity.Cpu().Value(); got != 4 {
		t.Errorf("capacity cpu: got %d, want 4", got)
	}
}

// A short period alone is no fault.
func TestParseShortensTheTimeOfMetricsWithThePeriod(t *testing.T) {
	c, err := Parse([]byte(minimal + "syncPeriod: 3s\n"))
	if err != nil {
		t.Fatal(err)
	}
	if c.MetricsTimeout.Duration != 2*time.Second {
		t.Errorf("metricsTimeout %s, want 2s", c.MetricsTimeout.Duration)
	}
}

// A value such as Off would have to be quoted, or YAML reads a boolean.
func TestParseNoCanary(t *testing.T) {
	c, err := Parse([]byte(minimal + "horizontal: {canary: None}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if c.Horizontal.Canary != NoCanary {
		t.Errorf("canary %q, want %q", c.Horizontal.Canary, NoCanary)
	}
}

func TestParseTakesEveryProvider(t *testing.T) {
	for name, nodes := range map[string]string{
		"clusterapi":   "clusterAPI: {kubeconfig: /etc/berth/management}, groups: [{name: MachineDeployment/prod/*, max: 3}]",
		"externalgrpc": "externalGRPC: {address: 'cloud:8086', caFile: ca, certFile: c, keyFile: k}, groups: [{name: 'any id / at all'}], expanders: [price, least-waste], cores: {max: 100}",
	} {
		t.Run(name, func(t *testing.T) {
			c, err := Parse([]byte(minimal + "nodes: {provider: " + name + ", schedulerConfigFile: s, " + nodes + "}"))
			if err != nil {
				t.Fatal(err)
			}
			if len(c.Nodes.Groups) != 1 || *c.Nodes.ExpendablePriority != -10 || c.Nodes.ExternalGRPC.Timeout.Duration != 5*time.Second {
				t.Errorf("nodes %+v", c.Nodes)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		config string
		want   []string
	}{
		"unknown field":      {minimal + "syncPeriods: 15s", []string{`unknown field "syncPeriods"`}},
		"nested unknown":     {minimal + "horizontal: {tolerrance: 0.1}", []string{`unknown field "horizontal.tolerrance"`}},
		"given twice":        {minimal + "syncPeriod: 1s\nsyncPeriod: 2s", []string{"syncPeriod", "already set"}},
		"another kind":       {"apiVersion: v1\nkind: ConfigMap", []string{"apiVersion", "config.berth.dev/v1alpha1", "kind", "AutoscalerConfiguration"}},
		"sync too fast":      {minimal + "syncPeriod: 10ms", []string{"syncPeriod", "10ms", "at least 1s"}},
		"too slow metrics":   {minimal + "syncPeriod: 10s\nmetricsTimeout: 11s", []string{"metricsTimeout", "11s", "syncPeriod (10s)"}},
		"negative tolerance": {minimal + "horizontal: {tolerance: -1}", []string{"horizontal.tolerance", "-1"}},
		"a gate is a bool":   {minimal + "horizontal: {scaleToZero: 'on'}", []string{"horizontal.scaleToZero", "true or false"}},
		"unknown mode":       {minimal + "horizontal: {mode: act}", []string{"horizontal.mode", `"act"`, "Act", "Observe"}},
		"unknown canary":     {minimal + "horizontal: {canary: false}", []string{"horizontal.canary"}},
		"misspelt canary":    {minimal + "horizontal: {canary: Required}", []string{"horizontal.canary", `"Required"`, "Require", "None"}},
		"no patience":        {minimal + "horizontal: {canaryPatience: 0s}", []string{"horizontal.canaryPatience", "0s", "at least 1s"}},
		"unknown vertical":   {minimal + "vertical: {mode: Recommend}", []string{"vertical.mode", `"Recommend"`, "Act", "Observe"}},
		"unfit recommender":  {minimal + "vertical: {recommenderName: 'a b'}", []string{"vertical.recommenderName", `"a b"`}},
		"unknown provider":   {minimal + "nodes: {provider: aws}", []string{"nodes.provider", `"aws"`, "kwok"}},
		"no scheduler file":  {minimal + "nodes: {provider: kwok}", []string{"nodes.schedulerConfigFile"}},
		"too full":           {minimal + "nodes: {utilizationThreshold: 50}", []string{"nodes.utilizationThreshold", "50", "between 0 and 1"}},
		"no time to evict":   {minimal + "nodes: {maxPodEvictionTime: 0s}", []string{"nodes.maxPodEvictionTime", "0s", "at least 1s"}},
		"negative drains":    {minimal + "nodes: {maxDrains: -1}", []string{"nodes.maxDrains", "-1", "negative"}},
		"negative removals":  {minimal + "nodes: {maxEmptyRemovals: -1}", []string{"nodes.maxEmptyRemovals", "-1", "negative"}},
		"foreseen too short": {minimal + "nodes: {forecastTimeout: -1s}", []string{"nodes.forecastTimeout", "-1s", "at least 0s"}},
		"max below min":      {strings.Replace(group, "min: 0", "min: 11", 1), []string{"nodes.groups[0].max", "10", "min (11)"}},
		"negative max":       {strings.Replace(group, "max: 10", "max: -1", 1), []string{"nodes.groups[0].max", "-1", "min (0)"}},
		"no capacity":        {strings.Replace(group, `cpu: "4", `, "", 1), []string{"nodes.groups[0].template.capacity[cpu]"}},
		"bad zone label":     {strings.Replace(group, ": zone-a}", ": 'zone a'}", 1), []string{"nodes.groups[0].template.labels[topology.kubernetes.io/zone]", "zone a"}},
		"two of one name":    {group + "  - {name: zone-a, min: 0, max: 1, template: {capacity: {cpu: 1, memory: 1, pods: 1}}}\n", []string{"nodes.groups[1].name", "Duplicate"}},
		"no max":             {strings.Replace(group, "    max: 10\n", "", 1), []string{"nodes.groups[0].max"}},
		"unknown expander":   {group + "  expanders: [cheapest]\n", []string{"nodes.expanders[0]", `"cheapest"`, "least-waste", "price"}},
		"expander twice":     {group + "  expanders: [price, random, price]\n", []string{"nodes.expanders[2]", "Duplicate"}},
		"no nodes at all":    {group + "  maxNodesTotal: 0\n", []string{"nodes.maxNodesTotal", "at least 1"}},
		"fewer than least":   {group + "  cores: {min: 9, max: 8}\n", []string{"nodes.cores.max", "8", "min (9)"}},
		"less than least":    {group + "  memory: {min: 9Gi, max: 8Gi}\n", []string{"nodes.memory.max", `"8Gi"`, "min (9Gi)"}},
		"bad startup taint":  {group + "  startupTaints: [a b]\n", []string{"nodes.startupTaints[0]", "a b"}},
		"group of no kind":   {minimal + "nodes: {provider: clusterapi, schedulerConfigFile: s, groups: [{name: pool}]}", []string{"nodes.groups[0].name", `"pool"`, "KIND/NAMESPACE/NAME", "MachinePool"}},
		"star for namespace": {minimal + "nodes: {provider: clusterapi, schedulerConfigFile: s, groups: [{name: MachineDeployment/*/y}]}", []string{"nodes.groups[0].name", `"MachineDeployment/*/y"`, "KIND/NAMESPACE/NAME", "* for all of that namespace"}},
		"star in a name":     {minimal + "nodes: {provider: clusterapi, schedulerConfigFile: s, groups: [{name: MachineDeployment/x/y*}]}", []string{"nodes.groups[0].name", `"MachineDeployment/x/y*"`}},
		"template not asked": {minimal + "nodes: {provider: clusterapi, schedulerConfigFile: s, groups: [{name: MachineSet/a/b, template: {capacity: {}}}]}", []string{"nodes.groups[0].template", "clusterapi"}},
		"another's settings": {group + "  externalGRPC: {address: 'a:1'}\n", []string{"nodes.externalGRPC", "externalgrpc only"}},
		"no address":         {minimal + "nodes: {provider: externalgrpc, schedulerConfigFile: s, externalGRPC: {insecure: true}}", []string{"nodes.externalGRPC.address", "host:port"}},
		"unproven provider":  {minimal + "nodes: {provider: externalgrpc, schedulerConfigFile: s, externalGRPC: {address: 'a:1'}}", []string{"nodes.externalGRPC.caFile", "insecure"}},
		"half a certificate": {minimal + "nodes: {provider: externalgrpc, schedulerConfigFile: s, externalGRPC: {address: 'a:1', caFile: ca, certFile: c}}", []string{"nodes.externalGRPC.certFile", "keyFile"}},
		"secure and not":     {minimal + "nodes: {provider: externalgrpc, schedulerConfigFile: s, externalGRPC: {address: 'a:1', caFile: ca, insecure: true}}", []string{"nodes.externalGRPC.insecure", "caFile"}},
		"not yaml":           {"\t", []string{"reading AutoscalerConfiguration"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(tc.config))
			if err == nil {
				t.Fatal("accepted")
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		})
	}
}

// What is wrong elsewhere is not of interest before the provider is right.
func TestAnUnknownProviderIsOneFault(t *testing.T) {
	_, err := Parse([]byte(strings.Replace(group, "provider: kwok", "provider: aws", 1)))
	if err == nil || strings.Contains(err.Error(), "groups") {
		t.Errorf("error %v, want one of the provider alone", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(minimal)
	f.Add(group)
	f.Add(minimal + "nodes: {unneededTime: 10, groups: {a: {}}}")
	f.Fuzz(func(t *testing.T, data string) {
		if c, err := Parse([]byte(data)); err == nil && len(c.Validate()) > 0 {
			t.Errorf("accepted what it calls invalid: %q", data)
		}
	})
}
