// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	vpav1 "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	vpaclient "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/client/clientset/versioned"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/e2e-framework/pkg/features"

	"github.com/berth-dev/berth/test/fixture"
)

// TestAdmission has a cluster of its own, in which nothing of Berth runs: what is refused
// and what is sized there, the API server does by the policies alone.
func TestAdmission(t *testing.T) {
	t.Parallel()
	testenv.Test(t, features.New("a cluster with the policies alone").
		Assess("keeps what they promise", step(func(ctx context.Context, t *testing.T, s scene) {
			s.ownOnly(t, "it starts a cluster without Berth's programs")
			cluster := ownCluster(ctx, t, fixture.Options{Name: "e2e-admission", Nodes: 1, Zones: 1, BerthOff: true})
			on(ctx, cluster).Test(t, pairsAreRefused(), lonersAreWarned(), pairsMayRecommend(), podsAreSized(), workloadsAreSized())
		})).
		Feature())
}

// pairsAreRefused installs the policies beside pairs that are older.
func pairsAreRefused() features.Feature {
	table, web := pairs(), fixture.Target("Deployment", "web")
	places := map[string]scene{}
	return features.New("pairs of HPA and VPA").
		Assess("may stand from before the policies", step(func(ctx context.Context, t *testing.T, s scene) {
			for name, p := range table {
				if p.older {
					places[name] = s.place(ctx, t, name, p)
				}
			}
			s.kubectl(ctx, t, "apply", "--server-side", "-k", filepath.Join(root, "manifests/policies"))
			s.settle(ctx, t, "installed")
		})).
		Assess("stand one by one", step(func(ctx context.Context, t *testing.T, s scene) {
			for name, p := range table {
				if !p.older {
					places[name] = s.place(ctx, t, name, p)
				}
			}
			s.settle(ctx, t, "placed")
		})).
		Assess("end as documented", step(func(ctx context.Context, t *testing.T, s scene) {
			tryAll(ctx, t, table, places)
		})).
		Assess("are taken once the namespace opts out", step(func(ctx context.Context, t *testing.T, _ scene) {
			s := places["VPA beside HPA"]
			s.kubectl(ctx, t, "label", "namespace", s.Namespace, "berth.dev/allow-hpa-with-vpa=true")
			s.awaitConsent(ctx, t, func(ctx context.Context) error { return createVPA(web, "")(ctx, s) })
		})).
		Feature()
}

// lonersAreWarned: one alone is taken, and told where the other kind suits better.
func lonersAreWarned() features.Feature {
	db := fixture.Workload{Name: "warned", CPU: "1", Claims: []fixture.Claim{{Name: "data", Class: "zonal"}}}
	return features.New("an autoscaler on a workload that the other kind suits").
		Assess("a VPA on a Deployment", step(func(ctx context.Context, t *testing.T, s scene) {
			s, heard := s.listening(t)
			if err := createVPA(fixture.Target("Deployment", db.Name), "")(ctx, s); err != nil || !heard.has("Deployment/warned can add replicas") {
				t.Errorf("error %v, warnings %q", err, heard.texts)
			}
		})).
		Assess("an HPA on a set with claims", step(func(ctx context.Context, t *testing.T, s scene) {
			s.create(ctx, t, db.StatefulSet())
			s.until(ctx, t, "a warning", func(ctx context.Context) (string, bool, error) {
				s, heard := s.listening(t)
				_, err := s.Kube.AutoscalingV2().HorizontalPodAutoscalers(s.Namespace).Create(ctx, namedHPA("warned", fixture.Target("StatefulSet", db.Name)), dryRun)
				return fmt.Sprintf("%q", heard.texts), heard.has("StatefulSet/warned has volume claims"), err
			})
		})).
		Feature()
}

// heard are the warnings of an API server.
type heard struct{ texts []string }

func (h *heard) HandleWarningHeader(_ int, _, text string) { h.texts = append(h.texts, text) }

func (h *heard) has(words string) bool {
	return slices.ContainsFunc(h.texts, func(text string) bool { return strings.Contains(text, words) })
}

// listening is the scene with clients that hear warnings.
func (s scene) listening(t *testing.T) (scene, *heard) {
	t.Helper()
	h, cluster := &heard{}, *s.Cluster
	config := rest.CopyConfig(s.REST)
	config.WarningHandler = h
	var err error
	if cluster.Kube, err = kubernetes.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	if cluster.VPA, err = vpaclient.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	return scene{Cluster: &cluster, Namespace: s.Namespace}, h
}

// pairsMayRecommend installs the variant that lets VPAs in mode Off be.
func pairsMayRecommend() features.Feature {
	web := fixture.Target("Deployment", "web")
	table := map[string]pair{
		"VPA Off beside HPA":         {stands: does(createHPA(web)), try: createVPA(web, vpav1.UpdateModeOff)},
		"HPA beside VPA Off":         {stands: does(createVPA(web, vpav1.UpdateModeOff)), try: createHPA(web)},
		"VPA Initial beside HPA":     {stands: does(createHPA(web)), try: createVPA(web, vpav1.UpdateModeInitial), refused: saysHPA()},
		"HPA beside VPA":             {stands: does(createVPA(web, "")), try: createHPA(web), refused: saysVPA()},
		"VPA switched on beside HPA": {stands: does(createHPA(web), createVPA(web, vpav1.UpdateModeOff)), try: switchVPA(vpav1.UpdateModeRecreate), refused: saysHPA()},
	}
	places := map[string]scene{}
	return features.New("pairs with a VPA in mode Off").
		Assess("may stand with the variant", step(func(ctx context.Context, t *testing.T, s scene) {
			// Each policy refuses its probe first. Else that may be taken because what stands is
			// not seen yet, and not by the variant.
			hpa := s.place(ctx, t, "variant", pair{stands: does(createHPA(web))})
			vpa := s.place(ctx, t, "variant", pair{stands: does(createVPA(web, vpav1.UpdateModeOff))})
			besideHPA, besideVPA := hpa.tryVPA(inMode(fixture.VPA(sizer, web), vpav1.UpdateModeOff)), vpa.tryHPA(namedHPA(front, web))
			s.awaitRefusal(ctx, t, besideHPA, saysHPA()...)
			s.awaitRefusal(ctx, t, besideVPA, saysVPA()...)
			s.kubectl(ctx, t, "apply", "--server-side", "-k", recommendOnly(t))
			s.awaitConsent(ctx, t, besideHPA)
			s.awaitConsent(ctx, t, besideVPA)
			for name, p := range table {
				places[name] = s.place(ctx, t, name, p)
			}
			s.settle(ctx, t, "variant")
		})).
		Assess("end as documented", step(func(ctx context.Context, t *testing.T, s scene) {
			tryAll(ctx, t, table, places)
		})).
		Feature()
}

// recommendOnly is a folder as the README of the policies shows it.
func recommendOnly(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	policies, err := filepath.Abs(filepath.Join(root, "manifests/policies"))
	if err != nil {
		t.Fatal(err)
	}
	base, err := filepath.Rel(dir, policies) // kustomize takes no absolute paths
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("resources: [%s]\ncomponents: [%s/recommend-only]\n", base, base)
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// place makes a namespace for a pair, and what stands in it.
func (s scene) place(ctx context.Context, t *testing.T, name string, p pair) scene {
	t.Helper()
	namespace, err := s.NewNamespace(ctx, "pair", p.labels)
	if err != nil {
		t.Fatal(err)
	}
	own := scene{Cluster: s.Cluster, Namespace: namespace}
	for i, stand := range p.stands {
		if err := stand(ctx, own); err != nil {
			t.Fatalf("%s: what stands, number %d: %v", name, i, err)
		}
	}
	return own
}

// settle waits until the policies have seen everything up to now: they know other objects
// from watches, which deliver in order.
func (s scene) settle(ctx context.Context, t *testing.T, name string) {
	t.Helper()
	hpaTarget, vpaTarget := fixture.Target("Deployment", name+"-hpa"), fixture.Target("Deployment", name+"-vpa")
	s.create(ctx, t, namedHPA(name, hpaTarget), fixture.VPA(name, vpaTarget))
	s.awaitRefusal(ctx, t, s.tryVPA(fixture.VPA(name+"-2", hpaTarget)), hpaTarget.Name)
	s.awaitRefusal(ctx, t, s.tryHPA(namedHPA(name+"-2", vpaTarget)), vpaTarget.Name)
}

// tryAll asks for the second of each pair.
func tryAll(ctx context.Context, t *testing.T, table map[string]pair, places map[string]scene) {
	t.Helper()
	for name, p := range table {
		t.Run(name, func(t *testing.T) {
			err := p.try(ctx, places[name])
			if p.refused != nil {
				refused(t, err, p.refused...)
			} else if err != nil {
				t.Errorf("refused: %v", err)
			}
			if p.then != nil {
				if err := p.then(ctx, places[name]); err != nil {
					t.Errorf("afterwards: %v", err)
				}
			}
		})
	}
	t.Logf("%d pairs", len(table))
}
