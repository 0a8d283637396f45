// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	scheduler "k8s.io/kubernetes/pkg/scheduler/apis/config"

	"github.com/berth-dev/berth/autoscaler/config"
	"github.com/berth-dev/berth/autoscaler/simulator"
)

// files are what the configuration names. They are read before the election: whoever waits to lead with
// a file that is wrong would end when it is needed most.
type files struct {
	// profiles are what the simulation runs; nil is no simulation.
	profiles *scheduler.KubeSchedulerConfiguration
	// management is where Cluster API is; nil is the cluster whose pods are served.
	management *rest.Config
}

func readFiles(n *config.Nodes) (*files, error) {
	f, path := &files{}, field.NewPath("nodes")
	var errs field.ErrorList
	if name := n.SchedulerConfigFile; name != "" {
		data, err := os.ReadFile(name)
		if err == nil {
			f.profiles, err = simulator.ParseConfiguration(data)
		}
		errs = append(errs, wrong(path.Child("schedulerConfigFile"), name, err)...)
	}
	if name := n.ClusterAPI.Kubeconfig; name != "" {
		var err error
		f.management, err = clientcmd.BuildConfigFromFlags("", name)
		errs = append(errs, wrong(path.Child("clusterAPI", "kubeconfig"), name, err)...)
	}
	errs = append(errs, checkCertificates(path.Child("externalGRPC"), &n.ExternalGRPC)...)
	if err := errs.ToAggregate(); err != nil {
		return nil, fmt.Errorf("reading the files that the configuration names: %w", err)
	}
	return f, nil
}

// checkCertificates reads the files as the provider does: it reads them again, since they are renewed.
func checkCertificates(path *field.Path, e *config.ExternalGRPCProvider) field.ErrorList {
	var errs field.ErrorList
	if e.CAFile != "" {
		authorities, err := os.ReadFile(e.CAFile)
		if err == nil && !x509.NewCertPool().AppendCertsFromPEM(authorities) {
			err = errors.New("has no PEM certificate")
		}
		errs = append(errs, wrong(path.Child("caFile"), e.CAFile, err)...)
	}
	if e.CertFile == "" || e.KeyFile == "" {
		return errs
	}
	certificate, certErr := os.ReadFile(e.CertFile)
	key, keyErr := os.ReadFile(e.KeyFile)
	if certErr == nil && keyErr == nil {
		if _, err := tls.X509KeyPair(certificate, key); err != nil {
			certErr = fmt.Errorf("with keyFile %s: %w", e.KeyFile, err)
		}
	}
	return append(append(errs, wrong(path.Child("certFile"), e.CertFile, certErr)...), wrong(path.Child("keyFile"), e.KeyFile, keyErr)...)
}

func wrong(path *field.Path, name string, err error) field.ErrorList {
	if err == nil {
		return nil
	}
	return field.ErrorList{field.Invalid(path, name, err.Error())}
}
