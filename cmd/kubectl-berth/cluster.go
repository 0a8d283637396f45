// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"time"

	autoscaler "github.com/berth-dev/berth/autoscaler/config"
	"github.com/berth-dev/berth/autoscaler/vpas"
	"github.com/berth-dev/berth/plugins/policies"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime"
	vpaclientset "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/client/clientset/versioned"
	vpaclient "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/client/clientset/versioned/typed/autoscaling.k8s.io/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
)

// defaultTimeout bounds a request: a person waits for the answer.
const defaultTimeout = "30s"

// cluster is what the commands read.
type cluster struct {
	kube      kubernetes.Interface
	policies  policyLister
	vpas      vpaclient.AutoscalingV1Interface
	vpaSet    vpaclientset.Interface
	rest      *rest.Config // nil where plugins have nobody to ask
	refusals  *refusals
	namespace string
	now       func() time.Time

	gauges gauges

	schedulerNamespace, autoscalerNamespace string
	configFile, autoscalerConfigFile        string
}

// connector makes the clients, for the namespace that the flags or the
// kubeconfig name.
type connector func() (*cluster, error)

// options are the flags that the commands share.
type options struct {
	kubeconfig *genericclioptions.ConfigFlags
	output     string

	schedulerNamespace, autoscalerNamespace string
	configFile, autoscalerConfigFile        string
}

func newOptions() *options {
	flags := genericclioptions.NewConfigFlags(true)
	flags.Timeout = ptr.To(defaultTimeout)
	flags.CacheDir = nil // what little is discovered is as new as the answer
	return &options{kubeconfig: flags}
}

// add gives a command the flags.
func (o *options) add(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&o.output, "output", "o", formatTable, "How to print: table, yaml or json.")
	cmd.Flags().StringVar(&o.configFile, "config", "", "The scheduler's KubeSchedulerConfiguration file. Without it, the ConfigMap is read that the Deployment berth-scheduler mounts.")
	cmd.Flags().StringVar(&o.schedulerNamespace, "scheduler-namespace", "berth-system", "The namespace of the Deployment berth-scheduler.")
	complete(cmd, "output", cobra.FixedCompletions([]string{formatTable, formatYAML, formatJSON}, cobra.ShellCompDirectiveNoFileComp))
}

// addScaling gives a command the flags that HPAs and VPAs need besides.
func (o *options) addScaling(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.autoscalerConfigFile, "autoscaler-config", "", "The autoscaler's AutoscalerConfiguration file. Without it, the ConfigMap is read that the Deployment berth-autoscaler mounts.")
	cmd.Flags().StringVar(&o.autoscalerNamespace, "autoscaler-namespace", autoscaler.Namespace, "The namespace of the Deployment berth-autoscaler.")
}

// connect makes the clients.
func (o *options) connect() (*cluster, error) {
	config, err := o.kubeconfig.ToRESTConfig()
	if err != nil {
		return nil, err
	}
	namespace, _, err := o.kubeconfig.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return nil, fmt.Errorf("finding the namespace: %w", err)
	}
	config.QPS = -1 // the API server looks after itself, and a person waits
	policies, err := policies.NewClient(config)
	if err != nil {
		return nil, err
	}
	gauges, err := newGauges(config)
	if err != nil {
		return nil, err
	}
	refused := &refusals{}
	config.Wrap(refused.watch)
	vpas, err := vpas.NewForConfig(config, func(vpas.Ignored) {})
	if err != nil {
		return nil, err
	}
	config.AcceptContentTypes, config.ContentType = runtime.ContentTypeProtobuf+","+runtime.ContentTypeJSON, runtime.ContentTypeProtobuf
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return &cluster{
		kube: kube, policies: policies, vpas: vpas.AutoscalingV1(), vpaSet: vpas, rest: config, refusals: refused, namespace: namespace, now: time.Now, gauges: gauges,
		schedulerNamespace: o.schedulerNamespace, autoscalerNamespace: o.autoscalerNamespace,
		configFile: o.configFile, autoscalerConfigFile: o.autoscalerConfigFile,
	}, nil
}
