// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	kwokconfig "sigs.k8s.io/kwok/pkg/apis/config/v1alpha1"

	"github.com/berth-dev/berth/test/cluster/layout"
)

// Request is a cluster that is to be.
type Request struct {
	layout.Options
	// Apply are manifests for it, files or kustomize folders. One that does not
	// exist is told and left out.
	Apply []string
	// SchedulerConfig and AutoscalerConfig are configuration files of the Berth
	// components; an empty one, or one that does not exist, means the embedded one.
	SchedulerConfig, AutoscalerConfig string
}

// up is one cluster on its way.
type up struct {
	Request
	home   Home
	place  layout.Place
	say    Say
	client kubernetes.Interface
	ports  layout.Ports
}

// ErrExists is why a cluster is not made that is there.
var ErrExists = errors.New("exists")

// Say tells a person what goes on.
type Say func(format string, args ...any)

// Up makes a cluster and returns when its nodes are ready and its components serve.
func Up(ctx context.Context, home Home, request Request, say Say) error {
	u := &up{Request: request, home: home, place: home.Place(request.Name), say: say}
	if err := u.check(); err != nil {
		return err
	}
	return startOver(say,
		func() error { return u.start(ctx) },
		func() error { return Down(ctx, home, request.Name) })
}

// start is one attempt at it.
func (u *up) start(ctx context.Context) error {
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"control plane", u.controlPlane},
		{"manifests", u.manifests},
		{"nodes", u.nodes},
		{"metrics and storage", u.services},
		{"Berth", u.berth},
		{"components", func(context.Context) error { return u.ended() }},
	} {
		if err := step.do(ctx); err != nil {
			// What there is of it stays, to be looked at.
			return fmt.Errorf("%s: %w\nlogs are in %s/logs; berth-cluster down --name %s removes them",
				step.what, err, u.place.Dir, u.Name)
		}
	}
	return nil
}

// check refuses what cannot work before anything is made.
func (u *up) check() error {
	if err := u.Validate(); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(u.place.Dir, stateFile)); err == nil {
		return fmt.Errorf("cluster %s %w in %s: take it down first (berth-cluster down --name %s)", u.Name, ErrExists, u.place.Dir, u.Name)
	}
	programs := []string{u.home.ClusterBin + "/kwokctl", u.home.ClusterBin + "/berth-kube"}
	if u.Berth {
		programs = append(programs, u.home.BerthBin+"/"+layout.BerthScheduler, u.home.BerthBin+"/"+layout.BerthAutoscaler)
	}
	for _, program := range programs {
		if _, err := os.Stat(program); err != nil {
			return fmt.Errorf("%s is not built: make build cluster-build (%w)", filepath.Base(program), err)
		}
	}
	return nil
}

// controlPlane has kwokctl make and start everything up to the API.
func (u *up) controlPlane(ctx context.Context) error {
	u.say("starting the control plane")
	unlock, err := lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := u.choosePorts(); err != nil {
		return err
	}
	config, err := layout.ControlPlane(u.Options, u.place, u.ports)
	if err != nil {
		return err
	}
	written := layout.OwnFiles(u.place)
	file := filepath.Join(u.place.Dir, "berth", "kwokctl.yaml")
	written[file] = config
	for name, data := range written {
		if err := write(name, data); err != nil {
			return err
		}
	}
	if err := u.create(ctx, file); err != nil {
		return err
	}
	rest, err := clientcmd.BuildConfigFromFlags("", u.place.Kubeconfig())
	if err != nil {
		return err
	}
	rest.QPS = -1 // a thousand nodes are made in one go
	u.client, err = kubernetes.NewForConfig(rest)
	return err
}

// choosePorts takes free ones for all components.
func (u *up) choosePorts() error {
	all := u.ports.All()
	free, err := freePorts(len(all))
	if err != nil {
		return err
	}
	for i, port := range all {
		*port = free[i]
	}
	return nil
}

// create runs kwokctl until the API is served. kwokctl is patient with a
// component that has ended; a person who waits is not.
func (u *up) create(ctx context.Context, config string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		done <- u.home.kwokctl(ctx, "create", "cluster", "--name", u.Name, "--config", config, "--kubeconfig", "")
	}()
	look, tell := time.NewTicker(pollEvery), time.NewTicker(tellEvery)
	defer look.Stop()
	defer tell.Stop()
	for {
		select {
		case err := <-done:
			return errors.Join(u.ended(), err)
		case <-tell.C:
			u.say("waiting for the API server")
		case <-look.C:
			if err := u.ended(); err != nil {
				cancel()
				return errors.Join(err, <-done)
			}
		}
	}
}

// services starts what needs nodes to work on.
func (u *up) services(ctx context.Context) error {
	components := []kwokconfig.Component{
		layout.MetricsServerComponent(u.place, u.ports.MetricsServer),
		layout.StorageComponent(u.Options, u.place),
	}
	if u.MetricsAdapter {
		components = append(components, layout.MetricsAdapterComponent(u.place, u.ports.MetricsAdapter))
	}
	for _, c := range components {
		if err := u.add(c); err != nil {
			return err
		}
	}
	return u.until(ctx, "storage", u.registeredNodes)
}

// berth starts the Berth components, once what they are allowed to do is known
// to the API server, and waits until they serve.
func (u *up) berth(ctx context.Context) error {
	if !u.Berth {
		return nil
	}
	u.say("starting Berth")
	admin, err := clientcmd.LoadFromFile(u.place.Kubeconfig())
	if err != nil {
		return err
	}
	for _, name := range []string{layout.BerthScheduler, layout.BerthAutoscaler} {
		config, err := clientcmd.Write(*layout.Impersonating(admin, layout.BerthNamespace, name))
		if err != nil {
			return err
		}
		if err := write(u.place.KubeconfigOf(name), config); err != nil {
			return err
		}
	}
	scheduler, err := readOptional(u.SchedulerConfig)
	if err != nil {
		return err
	}
	if scheduler, err = layout.SchedulerConfig(scheduler, u.place); err != nil {
		return err
	}
	autoscaler, err := readOptional(u.AutoscalerConfig)
	if err != nil {
		return err
	}
	if autoscaler, err = layout.AutoscalerConfig(autoscaler, u.Options, u.place, u.ports.BerthAutoscaler); err != nil {
		return err
	}
	return errors.Join(
		write(u.place.ConfigOf(layout.BerthScheduler), scheduler),
		write(u.place.ConfigOf(layout.BerthAutoscaler), autoscaler),
		u.add(layout.BerthSchedulerComponent(u.place, u.ports.BerthScheduler)),
		u.add(layout.BerthAutoscalerComponent(u.place)),
		u.serves(ctx, layout.BerthScheduler, fmt.Sprintf("https://127.0.0.1:%d/healthz", u.ports.BerthScheduler)),
		u.serves(ctx, layout.BerthAutoscaler, fmt.Sprintf("http://127.0.0.1:%d/healthz", u.ports.BerthAutoscaler)),
	)
}

// add records a component and starts it.
func (u *up) add(c kwokconfig.Component) error {
	if err := record(u.place, c); err != nil {
		return err
	}
	return start(c)
}

// readOptional returns nil for a file that is not there.
func readOptional(name string) ([]byte, error) {
	if name == "" {
		return nil, nil
	}
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

func write(name string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o750); err != nil {
		return err
	}
	return os.WriteFile(name, data, 0o600)
}
