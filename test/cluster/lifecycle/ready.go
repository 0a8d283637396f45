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
	// pollEvery is how often a wait looks.
	pollEvery = 100 * time.Millisecond
	// tellEvery is how often a wait says that it goes on.
	tellEvery = 2 * time.Second
)

// until polls, and tells a person how far it is. An error of done is final, and
// so is the end of a component.
func (u *up) until(ctx context.Context, what string, done func(context.Context) (state string, ok bool, err error)) error {
	state, told := "", time.Now()
	err := wait.PollUntilContextTimeout(ctx, pollEvery, readyTimeout, true, func(ctx context.Context) (ok bool, err error) {
		if err := u.ended(); err != nil {
			return false, err
		}
		state, ok, err = done(ctx)
		if err == nil && !ok && time.Since(told) > tellEvery {
			told = time.Now()
			u.say("waiting for %s: %s", what, state)
		}
		return ok, err
	})
	if wait.Interrupted(err) {
		return fmt.Errorf("%s not ready within %s: %s", what, readyTimeout, state)
	}
	return err
}

// manifests applies what every cluster has, and then what was asked for.
func (u *up) manifests(ctx context.Context) error {
	if err := u.namespaces(ctx); err != nil {
		return err
	}
	own, err := layout.Manifests(u.Options, u.ports)
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

// namespaces waits for those that manifests go to: the API server makes them a
// while after it begins to serve.
func (u *up) namespaces(ctx context.Context) error {
	for _, name := range []string{metav1.NamespaceSystem, metav1.NamespaceDefault} {
		if err := u.until(ctx, "the namespace "+name, there(func(ctx context.Context) error {
			_, err := u.client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
			return err
		})); err != nil {
			return err
		}
	}
	return nil
}

// there is done once get finds what it looks for.
func there(get func(context.Context) error) func(context.Context) (string, bool, error) {
	return func(ctx context.Context) (string, bool, error) {
		err := get(ctx)
		if apierrors.IsNotFound(err) {
			return "not there yet", false, nil
		}
		return "", err == nil, err
	}
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
	if err := u.until(ctx, "nodes", u.readyNodes); err != nil {
		return err
	}
	// Pods are refused in a namespace that has no service account yet.
	return u.until(ctx, "the default service account", there(func(ctx context.Context) error {
		_, err := u.client.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
		return err
	}))
}

func (u *up) readyNodes(ctx context.Context) (string, bool, error) {
	list, err := u.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return "", false, err
	}
	ready := 0
	for _, node := range list.Items {
		for _, condition := range node.Status.Conditions {
			if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue && len(node.Spec.Taints) == 0 {
				ready++
			}
		}
	}
	return fmt.Sprintf("%d of %d ready", ready, u.Nodes), ready >= u.Nodes, nil
}

// registeredNodes are those that the storage knows.
func (u *up) registeredNodes(ctx context.Context) (string, bool, error) {
	list, err := u.client.StorageV1().CSINodes().List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return "", false, err
	}
	return fmt.Sprintf("registered on %d of %d nodes", len(list.Items), u.Nodes), len(list.Items) >= u.Nodes, nil
}

// serves waits until a component answers.
func (u *up) serves(ctx context.Context, name, url string) error {
	client := &http.Client{
		Timeout: time.Second,
		// The component makes its own certificate, on this machine.
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, //nolint:gosec // loopback only
	}
	return u.until(ctx, name, func(ctx context.Context) (string, bool, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return "", false, err
		}
		response, err := client.Do(request)
		if err != nil {
			return err.Error(), false, nil
		}
		return response.Status, response.StatusCode == http.StatusOK, response.Body.Close()
	})
}
