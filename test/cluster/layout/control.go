// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package layout

import (
	"bytes"
	"embed"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"text/template"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/kwok/kustomize/metrics/resource"
	"sigs.k8s.io/kwok/kustomize/metrics/usage"
	kwokconfig "sigs.k8s.io/kwok/pkg/apis/config/v1alpha1"
	"sigs.k8s.io/yaml"
)

//go:embed stages manifests templates
var files embed.FS

// ControlPlane renders the configuration from which kwokctl makes the control
// plane and kwok: everything that must run before there is an API.
func ControlPlane(o Options, p Place, ports Ports) ([]byte, error) {
	config := kwokconfig.KwokctlConfiguration{
		TypeMeta:   metav1.TypeMeta{APIVersion: kwokconfig.GroupVersion.String(), Kind: kwokconfig.KwokctlConfigurationKind},
		ObjectMeta: metav1.ObjectMeta{Name: o.Name},
		Options: kwokconfig.KwokctlConfigurationOptions{
			Runtime:                     "binary",
			KubeVersion:                 KubeVersion,
			BindAddress:                 "127.0.0.1",
			EtcdBinary:                  p.ClusterBin + "/etcd",
			KubeApiserverBinary:         p.ClusterBin + "/kube-apiserver",
			KubeControllerManagerBinary: p.ClusterBin + "/kube-controller-manager",
			KubeSchedulerBinary:         p.ClusterBin + "/kube-scheduler",
			KubectlBinary:               p.ClusterBin + "/kubectl",
			KwokControllerBinary:        p.ClusterBin + "/kwok",
			EtcdPort:                    uint32(ports.Etcd),
			EtcdPeerPort:                uint32(ports.EtcdPeer),
			KubeApiserverPort:           uint32(ports.APIServer),
			KubeControllerManagerPort:   uint32(ports.ControllerManager),
			KubeSchedulerPort:           uint32(ports.Scheduler),
			KwokControllerPort:          uint32(ports.Kwok),
			// Of the grace, a lease takes four fifths, and the check comes ten times.
			KubeControllerManagerNodeMonitorGracePeriodMilliseconds: o.NodeGrace.Milliseconds(),
			KubeControllerManagerNodeMonitorPeriodMilliseconds:      o.NodeGrace.Milliseconds() / 10,
			NodeLeaseDurationSeconds:                                uint(o.NodeGrace / time.Second * 4 / 5),
			HeartbeatFactor:                                         new(1.0), // kwokctl's own multiplies these by five
		},
		ComponentsPatches: []kwokconfig.ComponentPatches{
			patch("kwok-controller", "config", p.own(usageFile), "node-ip", "127.0.0.1"),
			// metrics-server learns who asks, as it does elsewhere, and checks it.
			patch("kube-apiserver",
				"requestheader-client-ca-file", p.Dir+"/pki/ca.crt",
				"requestheader-allowed-names", adminName,
				"requestheader-username-headers", "X-Remote-User",
				"requestheader-group-headers", "X-Remote-Group",
				"requestheader-extra-headers-prefix", "X-Remote-Extra-"),
			// There is one, which would end where an API server that was killed takes longer to come back than a lease is renewed.
			patch("kube-controller-manager", "leader-elect", "false"),
		},
	}
	if !o.HPAController {
		config.ComponentsPatches = append(config.ComponentsPatches,
			patch("kube-controller-manager", "controllers", "*,-horizontal-pod-autoscaler-controller"))
	}
	head, err := yaml.Marshal(config)
	if err != nil {
		return nil, err
	}
	stages, err := Stages(o)
	if err != nil {
		return nil, err
	}
	return append(append(head, "---\n"...), stages...), nil
}

// adminName is the common name in the one certificate that kwokctl makes. The
// API server shows it to metrics-server.
const adminName = "kwok-admin"

// patch adds flags, given as key, value, key, value, to a component of kwokctl's making.
func patch(component string, flags ...string) kwokconfig.ComponentPatches {
	patch := kwokconfig.ComponentPatches{Name: component}
	for flag := range slices.Chunk(flags, 2) {
		patch.ExtraArgs = append(patch.ExtraArgs, kwokconfig.ExtraArgs{Key: flag[0], Value: flag[1]})
	}
	return patch
}

// Stages renders how kwok plays nodes and pods. They replace all of kwok's own.
func Stages(o Options) ([]byte, error) {
	seconds := func(d time.Duration) string { return strconv.Itoa(int(d / time.Second)) }
	values := map[string]string{
		"NodeBoot":     seconds(o.NodeBoot),
		"PodReady":     seconds(o.PodReady),
		"PodStop":      seconds(o.PodStop),
		"NodeCPU":      o.NodeCPU,
		"NodeMemory":   o.NodeMemory,
		"NodePods":     o.NodePods,
		"KubeVersion":  KubeVersion,
		"BootSeconds":  AnnotationBootSeconds,
		"ReadySeconds": AnnotationReadySeconds,
		"StopSeconds":  AnnotationStopSeconds,
	}
	var out bytes.Buffer
	for i, name := range []string{"stages/node.yaml", "stages/pod.yaml"} {
		if i > 0 {
			out.WriteString("---\n")
		}
		if err := render(&out, name, values); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}

const usageFile = "usage.yaml"

// OwnFiles are the files that components read and kwokctl does not make, by
// path: how kwok turns annotations of pods into usage.
func OwnFiles(p Place) map[string][]byte {
	return map[string][]byte{
		p.own(usageFile): []byte(resource.DefaultMetricsResource + "\n---\n" + usage.DefaultUsageFromAnnotation),
	}
}

// Manifests are the objects that a cluster has from the start: storage classes
// and drivers, the metrics APIs, Berth's namespace.
func Manifests(o Options, ports Ports) ([]byte, error) {
	names, err := fs.Glob(files, "manifests/*.yaml")
	if err != nil {
		return nil, err
	}
	values := map[string]any{"MetricsPort": ports.MetricsServer, "AdapterPort": ports.MetricsAdapter, "MetricsAdapter": o.MetricsAdapter}
	var out bytes.Buffer
	for _, name := range names {
		out.WriteString("---\n")
		if err := render(&out, name, values); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}

// render uses brackets for its own values, as the files carry templates of kwok.
func render(out *bytes.Buffer, name string, values any) error {
	text, err := files.ReadFile(name)
	if err != nil {
		return err
	}
	return execute(out, name, string(text), values)
}

func execute(out *bytes.Buffer, name, text string, values any) error {
	parsed, err := template.New(name).Delims("[[", "]]").Option("missingkey=error").Parse(text)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := parsed.Execute(out, values); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
