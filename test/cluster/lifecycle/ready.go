// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/workqueue"

	"github.com/berth-dev/berth/test/cluster/layout"
)

const (
	// readyTimeout bounds each wait for something to come up.
	readyTimeout = 60 * time.Second
	// tellEvery is how often a wait says that it goes on.
	tellEvery = 2 * time.Second
)

// until polls, and tells a person how far it is.
func (u *up) until(ctx context.Context, what string, done func(context.Context) (state string, ok bool)) error {
	state, told := "", time.Now()
	err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, readyTimeout, true, func(ctx context.Context) (ok bool, err error) {
		state, ok = done(ctx)
		if !ok && time.Since(told) > tellEvery {
			told = time.Now()
			u.say("waiting for %s: %s", what, state)
		}
		return ok, nil
	})
	if err != nil {
		return fmt.Errorf("%s not ready within %s: %s", what, readyTimeout, state)
	}
	return nil
}

// manifests applies what every cluster has, and then what was asked for.
func (u *up) manifests(ctx context.Context) error {
	ports, err := freePorts(3)
	if err != nil {
		return err
	}
	u.metricsPort, u.schedulerPort, u.autoscalerPort = ports[0], ports[1], ports[2]
	own, err := layout.Manifests(u.metricsPort)
	if err != nil {
		return err
	}
	if err := u.kubectlApply(ctx, own, "-f", "-"); err != nil {
		return err
	}
	for _, path := range u.Apply {
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			u.say("not applied, as it does not exist: %s", path)
			continue
		}
		if err != nil {
			return err
		}
		kind := "-f"
		if info.IsDir() {
			kind = "-k"
		}
		u.say("applying %s", u.short(path))
		if err := u.kubectlApply(ctx, nil, kind, path); err != nil {
			return err
		}
	}
	return nil
}

func (u *up) short(path string) string {
	if rel, err := filepath.Rel(u.home.Root, path); err == nil {
		return rel
	}
	return path
}

func (u *up) kubectlApply(ctx context.Context, stdin []byte, args ...string) error {
	args = append([]string{"--kubeconfig", u.place.Kubeconfig(), "apply", "--server-side", "--force-conflicts"}, args...)
	cmd := exec.CommandContext(ctx, u.home.ClusterBin+"/kubectl", args...)
	cmd.Stdin = bytes.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("kubectl apply: %w\n%s", err, out)
	}
	return nil
}

// nodes makes the first nodes and waits until pods can run on them.
func (u *up) nodes(ctx context.Context) error {
	nodes := layout.Nodes(u.Options)
	u.say("making %d nodes in %d zones", len(nodes), u.Zones)
	errs := make([]error, len(nodes))
	workqueue.ParallelizeUntil(ctx, 16, len(nodes), func(i int) {
		_, errs[i] = u.client.CoreV1().Nodes().Create(ctx, nodes[i], metav1.CreateOptions{})
	})
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if err := u.until(ctx, "nodes", func(ctx context.Context) (string, bool) {
		return u.readyNodes(ctx, len(nodes))
	}); err != nil {
		return err
	}
	// Pods are refused in a namespace that has no service account yet.
	return u.until(ctx, "the default service account", func(ctx context.Context) (string, bool) {
		_, err := u.client.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return "not there yet", false
		}
		return fmt.Sprint(err), err == nil
	})
}

func (u *up) readyNodes(ctx context.Context, want int) (string, bool) {
	list, err := u.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return err.Error(), false
	}
	ready := 0
	for _, node := range list.Items {
		for _, condition := range node.Status.Conditions {
			if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue && len(node.Spec.Taints) == 0 {
				ready++
			}
		}
	}
	return fmt.Sprintf("%d of %d ready", ready, want), ready >= want
}

// serves waits until a component answers, and gives up at once when it has died.
func (u *up) serves(ctx context.Context, name, url string) error {
	c, err := find(u.place, name)
	if err != nil {
		return err
	}
	client := &http.Client{
		Timeout: time.Second,
		// The component makes its own certificate, on this machine.
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, //nolint:gosec // loopback only
	}
	dead := false
	err = u.until(ctx, name, func(ctx context.Context) (string, bool) {
		if dead = PID(c) == 0; dead {
			return "it has ended", true
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err.Error(), false
		}
		response, err := client.Do(request)
		if err != nil {
			return err.Error(), false
		}
		response.Body.Close()
		return response.Status, response.StatusCode == http.StatusOK
	})
	if dead {
		err = errors.New(name + " has ended")
	}
	if err != nil {
		return fmt.Errorf("%w; the end of %s:\n%s", err, LogFile(c), tail(LogFile(c)))
	}
	return nil
}

// tail returns the end of a log.
func tail(file string) string {
	const lines = 15
	data, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	all := bytes.Split(bytes.TrimSpace(data), []byte("\n"))
	return string(bytes.Join(all[max(0, len(all)-lines):], []byte("\n")))
}
