// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
	"github.com/berth-dev/berth/test/fixture"
)

// planned is what these tests read of the JSON of plan.
type planned struct {
	Ordinals []struct {
		Ordinal             int
		Domain, Node, State string
		Claims              []struct{ Name, Volume string }
	}
}

// domains is the planned domain of each ordinal, in one line.
func (p planned) domains() string {
	var all []string
	for _, o := range p.Ordinals {
		all = append(all, o.Domain)
	}
	return strings.Join(all, " ")
}

// berth runs kubectl-berth in the namespace of the test.
func (s scene) berth(ctx context.Context, args ...string) (stdout, stderr string, err error) {
	var out, said bytes.Buffer
	cmd := exec.CommandContext(ctx, filepath.Join(bin(), "kubectl-berth"), append(args, "--kubeconfig", s.Kubeconfig, "--namespace", s.Namespace)...)
	cmd.Stdout, cmd.Stderr = &out, &said
	err = cmd.Run()
	return out.String(), said.String(), err
}

// says runs kubectl-berth and demands that it succeeds and says all the words.
func (s scene) says(ctx context.Context, t *testing.T, args []string, words ...string) {
	t.Helper()
	out, said, err := s.berth(ctx, args...)
	if err != nil {
		t.Fatalf("kubectl berth %v: %v\n%s", args, err, said)
	}
	t.Logf("kubectl berth %s\n%s", strings.Join(args, " "), out)
	if !containsAll(out, words) {
		t.Errorf("kubectl berth %v does not say %q", args, words)
	}
}

// plan asks kubectl-berth where the ordinals of a set belong.
func (s scene) plan(ctx context.Context, t *testing.T, set string, args ...string) planned {
	t.Helper()
	out, said, err := s.berth(ctx, append([]string{"plan", set, "-o", "json"}, args...)...)
	if err != nil {
		t.Fatalf("kubectl berth plan %s %v: %v\n%s", set, args, err, said)
	}
	var plan planned
	if err := json.Unmarshal([]byte(out), &plan); err != nil {
		t.Fatalf("%v in\n%s", err, out)
	}
	return plan
}

// agree demands that a plan shows what the table shows.
func agree(t *testing.T, set string, plan planned, table fixture.Table) {
	t.Helper()
	type row struct {
		Ordinal                   int
		Domain, Node, Volume, Was string
	}
	var says, is []row
	for _, o := range plan.Ordinals {
		r := row{Ordinal: o.Ordinal, Domain: o.Domain, Node: o.Node, Was: o.State}
		if len(o.Claims) > 0 {
			r.Volume = o.Claims[0].Volume
		}
		says = append(says, r)
	}
	for _, r := range table {
		if r.Node != "" {
			is = append(is, row{r.Ordinal, r.Zone, r.Node, r.Volume, "Ready"})
		}
	}
	if diff := cmp.Diff(is, says); diff != "" {
		t.Errorf("the plan of %s (-is +planned):\n%s", set, diff)
	}
}

// TestPlanCommand: what kubectl berth plan says is what the scheduler does.
func TestPlanCommand(t *testing.T) {
	t.Parallel()
	blocks, shards := over(), over()
	blocks.Spread.Arrangement, blocks.Spread.BlockSize = v1alpha1.Contiguous, new(int32(2))
	shards.Spread.ShardSize = new(int32(3))
	sets := map[string]struct {
		placement v1alpha1.Placement
		claims    []fixture.Claim
	}{
		"odd":    {over("zone-b", "zone-c"), zonalClaim},
		"blocks": {blocks, zonalClaim},
		"shards": {shards, nil},
	}
	// scaled plans each set at another size, scales it, and demands that the plan was right.
	scaled := func(replicas int32) features.Func {
		return step(func(ctx context.Context, t *testing.T, s scene) {
			foretold := map[string]string{}
			for name := range sets {
				foretold[name] = s.plan(ctx, t, "sts/"+name, "--replicas", strconv.Itoa(int(replicas))).domains()
				s.scale(ctx, t, "StatefulSet", name, replicas)
			}
			for name := range sets {
				table := s.awaitPlaces(ctx, t, name, foretold[name])
				agree(t, name, s.plan(ctx, t, "sts/"+name), table)
			}
		})
	}
	testenv.Test(t, features.New("kubectl berth plan").
		Assess("agrees with where the pods are", step(func(ctx context.Context, t *testing.T, s scene) {
			for name, set := range sets {
				s.policy(ctx, t, name, set.placement)
				w := fixture.Workload{Name: name, Replicas: 3, CPU: "50m", Claims: set.claims}
				s.create(ctx, t, w.Service(), w.StatefulSet())
			}
			for name := range sets {
				table := s.awaitSet(ctx, t, name, 3)
				agree(t, name, s.plan(ctx, t, "sts/"+name), table)
			}
			s.editPolicy(ctx, t, "odd", func(spec *v1alpha1.PlacementPolicySpec) { spec.Spread.Domains = nil })
		})).
		Assess("foretells where more will land", scaled(8)).
		Assess("foretells what fewer leave", scaled(4)).
		Assess("says it for people", step(func(ctx context.Context, t *testing.T, s scene) {
			s.says(ctx, t, []string{"plan", "sts/shards"}, "StatefulSet", "shards", "0-2", "zone-a", "Ready")
			// With the configuration that the scheduler really has.
			s.says(ctx, t, []string{"plan", "sts/odd", "--config", filepath.Join(root, "manifests/scheduler/config.yaml")}, "odd", "data-odd-0")
		})).
		Feature())
}

// TestPlanOfOperated: the plan of pods that an operator makes.
func TestPlanOfOperated(t *testing.T) {
	t.Parallel()
	pg := operators()[1]
	testenv.Test(t, features.New("kubectl berth plan pp/pg").
		Assess("agrees with where the pods are, and knows who is away", step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, pg.policy())
			s.awaitPolicy(ctx, t, pg.Name, v1alpha1.Accepted, metav1.ConditionTrue)
			s.create(ctx, t, pg.makeClaim(2), pg.makeClaim(4), pg.makeClaim(6), pg.makePod(6), pg.makePod(2))
			zones := map[int]string{2: "zone-a", 6: "zone-c"}
			s.awaitMembers(ctx, t, pg, zones)
			plan := s.plan(ctx, t, "pp/pg")
			if diff := cmp.Diff("zone-a zone-b zone-c", plan.domains()); diff != "" {
				t.Fatalf("domains (-want +got):\n%s", diff)
			}
			for _, o := range plan.Ordinals {
				if absent := o.State == "Absent"; absent != (o.Ordinal == 4) {
					t.Errorf("ordinal %d is %s", o.Ordinal, o.State)
				}
			}
		})).
		Feature())
}

// TestExplainCommand: what keeps a pod waiting, in the words of a command.
func TestExplainCommand(t *testing.T) {
	t.Parallel()
	db := fixture.Workload{Name: "db", Replicas: 3, CPU: "50m", Parallel: true, Claims: zonalClaim}
	huge := fixture.Workload{Name: "huge", Replicas: 2, CPU: "5", Parallel: true} // a node has 4
	testenv.Test(t, features.New("kubectl berth explain").
		Setup(step(func(ctx context.Context, t *testing.T, s scene) {
			ordered := over("zone-b")
			ordered.Start = &v1alpha1.Start{Order: v1alpha1.StartOrdered}
			s.policy(ctx, t, huge.Name, ordered)
			s.create(ctx, t, huge.Service(), huge.StatefulSet(), db.Service(), db.StatefulSet())
			s.awaitZones(ctx, t, db.Name, 3)
			s.awaitPending(ctx, t, "huge-0", corev1.PodReasonUnschedulable, "zone-b")
			s.awaitPending(ctx, t, "huge-1", corev1.PodReasonSchedulingGated)
		})).
		Assess("names domain and reason of a pod that waits", step(func(ctx context.Context, t *testing.T, s scene) {
			s.says(ctx, t, []string{"explain", "pod/huge-0"}, "zone-b", "Insufficient cpu", `"huge"`)
		})).
		Assess("names what a gated pod waits for", step(func(ctx context.Context, t *testing.T, s scene) {
			s.says(ctx, t, []string{"explain", "huge-1"}, "ordinal 0", "zone-b")
		})).
		Assess("says of a pod that runs why it is where it is", step(func(ctx context.Context, t *testing.T, s scene) {
			s.says(ctx, t, []string{"explain", "pod", "db-2"}, "zone-c", "data-db-2")
		})).
		Assess("says what to do about names that are not there, and fails", step(func(ctx context.Context, t *testing.T, s scene) {
			for name, args := range map[string][]string{
				"a set": {"plan", "sts/bd"}, "a pod": {"explain", "pod/db-7"}, "a policy": {"plan", "pp/gone"}, "a kind": {"plan", "deployment/db"}, "nothing": {"plan"},
			} {
				out, said, err := s.berth(ctx, args...)
				if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 1 || out != "" {
					t.Errorf("%s: %v, standard output %q", name, err, out)
				}
				t.Logf("kubectl berth %s\n%s", strings.Join(args, " "), said)
			}
			if _, said, _ := s.berth(ctx, "plan", "sts/bd"); !containsAll(said, []string{`"bd"`, s.Namespace, "db"}) {
				t.Errorf("the error names neither what was asked for nor what there is: %s", said)
			}
		})).
		Assess("is a plugin of kubectl", step(func(ctx context.Context, t *testing.T, s scene) {
			if !s.Own() {
				t.Skip("kubectl is that of the machine")
			}
			programs, err := filepath.Abs(bin())
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(ctx, filepath.Join(programs, "cluster", "kubectl"), "berth", "plan", "sts/db", "--kubeconfig", s.Kubeconfig, "--namespace", s.Namespace)
			cmd.Env = append(os.Environ(), "PATH="+programs+string(os.PathListSeparator)+os.Getenv("PATH"))
			if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("zone-b")) {
				t.Errorf("%v: %s", err, out)
			}
		})).
		Feature())
}
