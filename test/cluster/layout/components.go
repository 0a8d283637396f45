// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package layout

import (
	"bytes"
	"fmt"
	"strconv"

	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	kwokconfig "sigs.k8s.io/kwok/pkg/apis/config/v1alpha1"
	"sigs.k8s.io/yaml"
)

// Names of the components that a cluster has beside its control plane.
const (
	MetricsServer   = "metrics-server"
	MetricsAdapter  = "berth-adapter"
	Storage         = "berth-storage"
	BerthScheduler  = "berth-scheduler"
	BerthAutoscaler = "berth-autoscaler"

	// BerthNamespace is where the ServiceAccounts of the Berth components are,
	// each of the component's name.
	BerthNamespace = "berth-system"
)

// MetricsServerComponent scrapes as often as metrics-server can be told to.
func MetricsServerComponent(p Place, port int) kwokconfig.Component {
	return component(p, MetricsServer, p.ClusterBin, append(aggregated(p, port),
		"--kubeconfig="+p.Kubeconfig(),
		"--kubelet-preferred-address-types=InternalIP",
		"--kubelet-use-node-status-port",
		"--kubelet-insecure-tls",
		"--kubelet-request-timeout=5s",
		"--metric-resolution=10s",
	)...)
}

// MetricsAdapterComponent serves the metrics that are no resources.
func MetricsAdapterComponent(p Place, port int) kwokconfig.Component {
	return component(p, MetricsAdapter, p.ClusterBin, append(aggregated(p, port), "--lister-kubeconfig="+p.Kubeconfig())...)
}

// aggregated are the flags of a server whose API the API server offers as its own.
func aggregated(p Place, port int) []string {
	return []string{
		"--authentication-kubeconfig=" + p.Kubeconfig(),
		"--authorization-kubeconfig=" + p.Kubeconfig(),
		"--bind-address=127.0.0.1",
		"--secure-port=" + strconv.Itoa(port),
		"--tls-cert-file=" + p.Dir + "/pki/admin.crt",
		"--tls-private-key-file=" + p.Dir + "/pki/admin.key",
	}
}

// StorageComponent is the storage of the cluster and what kubelets do about it.
func StorageComponent(o Options, p Place) kwokconfig.Component {
	return component(p, Storage, p.ClusterBin,
		"--kubeconfig="+p.Kubeconfig(),
		"--attach-limit="+strconv.Itoa(o.AttachLimit),
		"--attach-delay="+o.AttachDelay.String(),
	)
}

// BerthSchedulerComponent runs as its ServiceAccount, so that the RBAC that is
// shipped is the RBAC that is tested.
func BerthSchedulerComponent(p Place, port int) kwokconfig.Component {
	kubeconfig := p.KubeconfigOf(BerthScheduler)
	return component(p, BerthScheduler, p.BerthBin,
		"--config="+p.ConfigOf(BerthScheduler),
		"--authentication-kubeconfig="+kubeconfig,
		"--authorization-kubeconfig="+kubeconfig,
		"--authorization-always-allow-paths=/healthz,/livez,/readyz,/metrics",
		"--bind-address=127.0.0.1",
		"--secure-port="+strconv.Itoa(port),
		"--v=2",
	)
}

// BerthAutoscalerComponent runs as its ServiceAccount too.
func BerthAutoscalerComponent(p Place) kwokconfig.Component {
	return component(p, BerthAutoscaler, p.BerthBin,
		"--kubeconfig="+p.KubeconfigOf(BerthAutoscaler),
		"--config="+p.ConfigOf(BerthAutoscaler),
		"--v=2",
	)
}

func component(p Place, name, bin string, args ...string) kwokconfig.Component {
	return kwokconfig.Component{Name: name, Binary: bin + "/" + name, WorkDir: p.Dir, Args: args}
}

// ConfigOf is the configuration file of a Berth component, KubeconfigOf its kubeconfig.
func (p Place) ConfigOf(component string) string     { return p.own(component + ".yaml") }
func (p Place) KubeconfigOf(component string) string { return p.own(component + ".kubeconfig") }

// SchedulerConfig makes a KubeSchedulerConfiguration that is meant for a pod fit
// for this cluster. It reads the one that is embedded when given none. There
// is one scheduler and it may be killed at any time: it waits for no lease.
func SchedulerConfig(given []byte, p Place) ([]byte, error) {
	if given == nil {
		var out bytes.Buffer
		if err := render(&out, "templates/berth-scheduler.yaml", nil); err != nil {
			return nil, err
		}
		given = out.Bytes()
	}
	var config map[string]any
	if err := yaml.Unmarshal(given, &config); err != nil {
		return nil, fmt.Errorf("scheduler configuration: %w", err)
	}
	if kind := config["kind"]; kind != "KubeSchedulerConfiguration" {
		return nil, fmt.Errorf("scheduler configuration: kind is %v, want KubeSchedulerConfiguration", kind)
	}
	setField(config, "clientConnection", "kubeconfig", p.KubeconfigOf(BerthScheduler))
	setField(config, "leaderElection", "leaderElect", false)
	return yaml.Marshal(config)
}

func setField(config map[string]any, section, name string, value any) {
	fields, ok := config[section].(map[string]any)
	if !ok {
		fields = map[string]any{}
		config[section] = fields
	}
	fields[name] = value
}

// AutoscalerConfig renders a template for the cluster; given none it takes the
// one that is embedded, templates/berth-autoscaler.yaml.
func AutoscalerConfig(given []byte, o Options, p Place, port int) ([]byte, error) {
	zones := make([]string, o.Zones)
	for i := range zones {
		zones[i] = ZoneName(i)
	}
	var out bytes.Buffer
	values := map[string]any{
		"Port":            port,
		"SchedulerConfig": p.ConfigOf(BerthScheduler),
		"Zones":           zones,
		"NodeCPU":         o.NodeCPU,
		"NodeMemory":      o.NodeMemory,
		"NodePods":        o.NodePods,
	}
	var err error
	if given != nil {
		err = execute(&out, "autoscaler configuration", string(given), values)
	} else {
		err = render(&out, "templates/berth-autoscaler.yaml", values)
	}
	return out.Bytes(), err
}

// Impersonating is the administrator's kubeconfig turned into one that may do
// what a ServiceAccount may do, and nothing else.
func Impersonating(admin *clientcmdapi.Config, namespace, serviceAccount string) *clientcmdapi.Config {
	config := admin.DeepCopy()
	for _, user := range config.AuthInfos {
		user.Impersonate = "system:serviceaccount:" + namespace + ":" + serviceAccount
		user.ImpersonateGroups = []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"}
	}
	return config
}
