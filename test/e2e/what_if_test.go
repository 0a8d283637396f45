// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/e2e-framework/pkg/features"

	draining "github.com/berth-dev/berth/autoscaler/nodes/drain"
	"github.com/berth-dev/berth/plugins/api/v1alpha1"
	"github.com/berth-dev/berth/test/fixture"
)

// prospect is what this test reads of the JSON of what-if.
type prospect struct {
	Pods []struct {
		Pod, State, Place, Node, Group, Detail string
		Reasons, Groups                        []string
	}
	Groups  []growth
	Removal []string
}

type growth struct {
	Group    string
	From, To int
}

// String is what counts.
func (p prospect) String() string {
	var texts []string
	for _, pod := range p.Pods {
		texts = append(texts, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", pod.Pod, pod.State, pod.Place, pod.Group)))
	}
	for _, g := range p.own() {
		texts = append(texts, fmt.Sprintf("%s %d→%d", g.Group, g.From, g.To))
	}
	return strings.Join(texts, "; ")
}

// own are the groups of this test: others grow for other tests.
func (p prospect) own() (own []growth) {
	for _, g := range p.Groups {
		if strings.HasPrefix(g.Group, "what-if-") {
			own = append(own, g)
		}
	}
	return own
}

// whatIf asks kubectl-berth what would become of a change, and returns its exit code.
func (s scene) whatIf(ctx context.Context, args ...string) (p prospect, code int, err error) {
	args = append([]string{"what-if"}, args...)
	out, said, err := s.berth(ctx, append(args, "-o", "json", "--config", "../../manifests/scheduler/config.yaml")...)
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 2 {
		code, err = 2, nil
	}
	if err != nil {
		return p, code, fmt.Errorf("kubectl berth %s: %w: %s", strings.Join(args, " "), err, said)
	}
	if err := json.Unmarshal([]byte(out), &p); err != nil {
		return p, code, fmt.Errorf("%w in\n%s", err, out)
	}
	return p, code, nil
}

// awaitProspect waits until the answer is as wanted: the autoscaler tells of its node groups once in a while only.
func (s scene) awaitProspect(ctx context.Context, t *testing.T, want string, wantCode int, args ...string) prospect {
	t.Helper()
	var found prospect
	s.until(ctx, t, fmt.Sprintf("what-if %s: %s", strings.Join(args, " "), want), func(ctx context.Context) (string, bool, error) {
		p, code, err := s.whatIf(ctx, args...)
		found = p
		return fmt.Sprintf("exit code %d: %s", code, p), p.String() == want && code == wantCode, err
	})
	return found
}

// TestWhatIf: what is said of a change is what happens when it is made.
func TestWhatIf(t *testing.T) {
	t.Parallel()
	const g ground = "what-if"
	db := g.on(fixture.Workload{Name: "db", Replicas: 1, CPU: "3", Parallel: true, Claims: zonalClaim})
	testenv.Test(t, features.New("kubectl berth what-if").
		Assess("one slot runs on a node that came for it", step(func(ctx context.Context, t *testing.T, s scene) {
			// The zones are named: there is no node yet by which they would be known.
			s.policy(ctx, t, db.Name, v1alpha1.Placement{Spread: &v1alpha1.Spread{Domains: []string{"zone-a", "zone-b", "zone-c"}}})
			s.create(ctx, t, db.Service(), db.StatefulSet())
			if zones := s.awaitSet(ctx, t, db.Name, 1).Zones(); zones != "zone-a" {
				t.Errorf("db-0 is in %s", zones)
			}
		})).
		Assess("scale: each slot gets a new node in its zone", step(func(ctx context.Context, t *testing.T, s scene) {
			s.awaitProspect(ctx, t, "db-1 ToCome New what-if-zone-b; db-2 ToCome New what-if-zone-c; db-3 ToCome New what-if-zone-a; "+
				"what-if-zone-a 1→2; what-if-zone-b 0→1; what-if-zone-c 0→1", 0, "scale", "sts/db", "4")
		})).
		Assess("scale: what no group has nodes for waits, and the reason is its maximum", step(func(ctx context.Context, t *testing.T, s scene) {
			p, code, err := s.whatIf(ctx, "scale", "sts/db", "7")
			if err != nil {
				t.Fatal(err)
			}
			last := p.Pods[len(p.Pods)-1]
			if code != 2 || last.Pod != "db-6" || last.Place != "" || !strings.Contains(strings.Join(last.Groups, "; "), "maximum size 2 reached") {
				t.Errorf("exit code %d, %+v, want db-6 to wait as the group of its zone is at its maximum", code, last)
			}
		})).
		Assess("scaled: so it is", step(func(ctx context.Context, t *testing.T, s scene) {
			s.scale(ctx, t, "StatefulSet", db.Name, 4)
			if diff := cmp.Diff("zone-a zone-b zone-c zone-a", s.awaitSet(ctx, t, db.Name, 4).Zones()); diff != "" {
				t.Errorf("zones (-want +got):\n%s", diff)
			}
			s.awaitNodes(ctx, t, string(g), 4)
		})).
		Assess("drain: the slot has no other node in its zone", step(func(ctx context.Context, t *testing.T, s scene) {
			table := s.awaitSet(ctx, t, db.Name, 4)
			p := s.awaitDrain(ctx, t, table[1].Node, "db-1 Moves New what-if-zone-b")
			if own := p.own(); len(own) != 1 || own[0].To != 2 || !strings.Contains(strings.Join(p.Removal, "; "), "has no place on a node that is there") {
				t.Errorf("%s; %q, want a second node in zone-b, and that Berth would keep this one", p, p.Removal)
			}
			nodes, err := s.Kube.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: forLabel + "=" + string(g)})
			if err != nil || len(nodes.Items) != 4 {
				t.Errorf("%d nodes (%v), want that nothing was changed", len(nodes.Items), err)
			}
			for _, node := range nodes.Items {
				if node.Spec.Unschedulable || draining.Marked(&node) {
					t.Errorf("node %s is changed: %+v", node.Name, node.Spec)
				}
			}
		})).
		Assess("explain: the group says how it stands", step(func(ctx context.Context, t *testing.T, s scene) {
			table := s.awaitSet(ctx, t, db.Name, 4)
			s.awaitSays(ctx, t, []string{"explain", "node-group/what-if-zone-a"}, "target 2, 0 to 2 nodes", "maximum size 2 reached", table[0].Node, table[3].Node)
			s.awaitSays(ctx, t, []string{"explain", "node/" + table[1].Node}, "what-if-zone-b", "in use")
		})).
		Feature())
}

// awaitDrain waits until the pod of the test is said to go where it is wanted: other pods may come and go.
func (s scene) awaitDrain(ctx context.Context, t *testing.T, node, want string) prospect {
	t.Helper()
	var found prospect
	s.until(ctx, t, fmt.Sprintf("what-if drain of %s: %s", node, want), func(ctx context.Context) (string, bool, error) {
		p, _, err := s.whatIf(ctx, "drain", "node/"+node)
		found = p
		return p.String(), strings.Contains(p.String(), want), err
	})
	return found
}

// awaitSays waits until kubectl-berth says all the words, of what the autoscaler tells once in a while only.
func (s scene) awaitSays(ctx context.Context, t *testing.T, args []string, words ...string) {
	t.Helper()
	s.until(ctx, t, fmt.Sprintf("kubectl berth %s to say %q", strings.Join(args, " "), words), func(ctx context.Context) (string, bool, error) {
		out, said, err := s.berth(ctx, args...)
		return out + said, containsAll(out, words), err
	})
	s.says(ctx, t, args, words...)
}
