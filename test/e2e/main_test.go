// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"sigs.k8s.io/e2e-framework/pkg/env"
	"sigs.k8s.io/e2e-framework/pkg/envconf"

	"github.com/berth-dev/berth/test/fixture"
)

const (
	// patience bounds every wait for something that takes seconds.
	patience = 90 * time.Second
	// nodeBoot is how long a node that the autoscaler makes takes to be ready.
	nodeBoot = 5 * time.Second
	// alike are the lines of a crowd that are shown where a test failed.
	alike = 5
	// parallel tests there may be: they wait for the cluster most of the time.
	parallel = "12"
)

// testenv is where e2e-framework keeps what all tests share.
var testenv env.Environment

// starting is held while a cluster starts: of several at a time on a small machine none
// may be ready before it is given up.
var starting sync.Mutex

// clusterKey and namespaceKey find what the environment has set up.
type (
	clusterKey   struct{}
	namespaceKey struct{}
)

func TestMain(m *testing.M) {
	var err error
	if testenv, err = env.NewFromFlags(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	if err := flag.Set("test.parallel", parallel); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	var cluster *fixture.Cluster
	testenv.Setup(func(ctx context.Context, _ *envconf.Config) (context.Context, error) {
		var err error
		cluster, err = sharedCluster(ctx)
		return context.WithValue(ctx, clusterKey{}, cluster), err
	})
	testenv.BeforeEachTest(prepare)
	code := testenv.Run(m)
	if cluster != nil {
		if err := cluster.Down(code != 0); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
		if code != 0 && cluster.Own() {
			fmt.Fprintln(os.Stderr, "logs of the cluster are in", cluster.Logs)
		}
	}
	os.Exit(code)
}

// sharedCluster is the one of the environment, or one of its own.
func sharedCluster(ctx context.Context) (*fixture.Cluster, error) {
	if kubeconfig := os.Getenv("KUBECONFIG"); kubeconfig != "" {
		return fixture.Attach(kubeconfig)
	}
	begin := time.Now()
	cluster, err := fixture.Start(ctx, fixture.Options{
		Name:             "e2e",
		Bin:              bin(),
		Nodes:            9,
		Zones:            3,
		NodeBoot:         nodeBoot,
		AutoscalerConfig: testdata("autoscaler.yaml"),
	})
	if err == nil {
		fmt.Fprintf(os.Stderr, "acceptance: a cluster of 9 nodes in 3 zones took %s to start\n", time.Since(begin).Round(100*time.Millisecond))
	}
	return cluster, err
}

// ownCluster starts a cluster for one test, which does to it what others could not bear, and takes it down after the test.
func ownCluster(ctx context.Context, t *testing.T, o fixture.Options) *fixture.Cluster {
	t.Helper()
	o.Bin = bin()
	starting.Lock()
	cluster, err := fixture.Start(ctx, o)
	starting.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.Down(t.Failed()); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log("logs of the cluster are in", cluster.Logs)
		}
	})
	return cluster
}

// on is the environment of the tests of a cluster.
func on(ctx context.Context, cluster *fixture.Cluster) env.Environment {
	return testenv.WithContext(context.WithValue(ctx, clusterKey{}, cluster))
}

// bin is the folder of the programs.
func bin() string {
	if dir := os.Getenv("BERTH_BIN"); dir != "" {
		return dir
	}
	return filepath.Join("..", "..", "bin")
}

func testdata(file string) string {
	path, err := filepath.Abs(filepath.Join("testdata", file))
	if err != nil {
		return file
	}
	return path
}

// prepare gives a test its namespace, and sees to its end.
func prepare(ctx context.Context, _ *envconf.Config, t *testing.T) (context.Context, error) {
	cluster, ok := ctx.Value(clusterKey{}).(*fixture.Cluster)
	if !ok {
		return ctx, nil
	}
	namespace, err := cluster.NewNamespace(ctx, "e2e", nil)
	if err != nil {
		return ctx, err
	}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(ctx)
		if t.Failed() {
			explain(ctx, t, cluster, namespace)
		}
		if err := cluster.DeleteNamespace(ctx, namespace); err != nil {
			t.Error(err)
		}
	})
	return context.WithValue(ctx, namespaceKey{}, namespace), nil
}

// explain tells what is in the namespace of a test that failed.
func explain(ctx context.Context, t *testing.T, c *fixture.Cluster, namespace string) {
	for _, args := range [][]string{
		{"get", "statefulsets,deployments,pods,persistentvolumeclaims,horizontalpodautoscalers,placementpolicies", "-o", "wide"},
		{"get", "events", "--sort-by=.lastTimestamp"},
		{"get", "nodes", "-L", "topology.kubernetes.io/zone,berth.dev/node-group"},
	} {
		out, err := c.Kubectl(ctx, append(args, "--namespace", namespace)...)
		t.Logf("kubectl %v: %v\n%s", args, err, fixture.Digest(out, alike))
	}
}
