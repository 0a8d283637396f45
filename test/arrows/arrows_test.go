// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package arrows holds the test of who may import whom. The rules are those
// of the design: pure rooms stay pure, rooms do not lean on each other, and
// nothing that belongs to a test cluster gets into a product binary.
package arrows

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const (
	module  = "github.com/berth-dev/berth"
	plugins = module + "/plugins"
	scaler  = module + "/autoscaler"
)

// pkg is what `go list` says of a package.
type pkg struct {
	ImportPath string
	Standard   bool
	Imports    []string
}

// list returns the packages of this repository and everything they need.
func list(t *testing.T, patterns ...string) map[string]pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-e", "-deps", "-json=ImportPath,Standard,Imports"}, patterns...)...)
	cmd.Dir = "../.."
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	found := map[string]pkg{}
	for decoder := json.NewDecoder(stdout); ; {
		var p pkg
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		found[p.ImportPath] = p
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	return found
}

// within tells whether a package is at or below one of the paths.
func within(importPath string, roots ...string) bool {
	return slices.ContainsFunc(roots, func(root string) bool {
		return importPath == root || strings.HasPrefix(importPath, root+"/")
	})
}

// engines lists the rooms that decide and do nothing else.
func engines() []string {
	var rooms []string
	for _, name := range []string{"horizontal", "vertical", "forecast", "nodes", "guard", "volumes", "disruption"} {
		rooms = append(rooms, scaler+"/"+name)
	}
	return rooms
}

// A rule says of one package what is wrong with one of its imports.
type rule func(from, to pkg) string

func rules() map[string]rule {
	return map[string]rule{
		"the shared model needs the standard library, k8s.io/api and k8s.io/apimachinery only": func(from, to pkg) string {
			if within(from.ImportPath, plugins+"/statefulset") && !to.Standard && !within(to.ImportPath, "k8s.io/api", "k8s.io/apimachinery") {
				return "imports more"
			}
			return ""
		},
		"plugins lean on the shared model, the API and the args, never on each other": func(from, to pkg) string {
			shared := []string{plugins + "/statefulset", plugins + "/args", plugins + "/api"}
			if from.ImportPath == plugins || !within(from.ImportPath, plugins) || !within(to.ImportPath, module) {
				return ""
			}
			if room(from.ImportPath) == room(to.ImportPath) || (within(to.ImportPath, shared...) && !within(from.ImportPath, shared...)) {
				return ""
			}
			return "leans on another room"
		},
		"the registry knows the plugins and nothing above them": func(from, to pkg) string {
			if from.ImportPath == plugins && within(to.ImportPath, module) && !within(to.ImportPath, plugins) {
				return "looks up"
			}
			return ""
		},
		"nobody imports a command or a test": func(from, to pkg) string {
			if within(to.ImportPath, module+"/cmd") || (within(to.ImportPath, module+"/test") && !within(from.ImportPath, module+"/test")) {
				return "imports one"
			}
			return ""
		},
		"engines see no client, clock, logger, context, file or network": func(from, to pkg) string {
			if within(from.ImportPath, engines()...) && within(to.ImportPath, "context", "os", "net", "log", "k8s.io/client-go", "k8s.io/metrics/pkg/client",
				"k8s.io/klog", "k8s.io/component-base", "k8s.io/utils/clock", "github.com/go-logr", "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/client", plugins) {
				return "sees one"
			}
			return ""
		},
		"engines never see each other, nor the rooms that read and write": func(from, to pkg) string {
			for _, engine := range engines() {
				// What a budget lets through is one rule of the API server for all of them.
				if within(from.ImportPath, engine) && within(to.ImportPath, module) && !within(to.ImportPath, engine, scaler+"/disruption") {
					return "sees another room"
				}
			}
			return ""
		},
		"of the autoscaler only the simulator knows the plugins; the model and the policies are for all": func(from, to pkg) string {
			if within(from.ImportPath, scaler) && !within(from.ImportPath, scaler+"/simulator") && within(to.ImportPath, plugins) &&
				!within(to.ImportPath, plugins+"/statefulset", plugins+"/api", plugins+"/policies") {
				return "knows them too"
			}
			return ""
		},
	}
}

// room is the folder directly below plugins.
func room(importPath string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(importPath, plugins+"/"), "/")
	return name
}

// broken returns every import that a rule forbids.
func broken(packages map[string]pkg) []string {
	var found []string
	for _, from := range packages {
		if !within(from.ImportPath, module) {
			continue
		}
		for _, name := range from.Imports {
			to, known := packages[name]
			if !known {
				to = pkg{ImportPath: name, Standard: !strings.Contains(name, ".")}
			}
			for text, rule := range rules() {
				if wrong := rule(from, to); wrong != "" {
					found = append(found, text+": "+from.ImportPath+" "+wrong+": "+to.ImportPath)
				}
			}
		}
	}
	slices.Sort(found)
	return found
}

func TestArrows(t *testing.T) {
	for _, wrong := range broken(list(t, "./...")) {
		t.Error(wrong)
	}
}

// The rules themselves: each forbidden arrow is seen, each allowed one is not.
func TestRulesCanFail(t *testing.T) {
	tests := map[string]struct {
		from, to string
		broken   bool
	}{
		"model to api":               {"plugins/statefulset", "k8s.io/api/core/v1", false},
		"model to client":            {"plugins/statefulset", "k8s.io/client-go/listers/core/v1", true},
		"model to apiserver":         {"plugins/statefulset", "k8s.io/apiserver/pkg/util/feature", true},
		"plugin to model":            {"plugins/slothold", "plugins/statefulset", false},
		"plugin to api":              {"plugins/slothold", "plugins/api/v1alpha1", false},
		"plugin to plugin":           {"plugins/slothold", "plugins/volumeaffinity", true},
		"plugin to registry":         {"plugins/slothold", "plugins", true},
		"plugin to autoscaler":       {"plugins/slothold", "autoscaler/guard", true},
		"registry to plugin":         {"plugins", "plugins/slothold", false},
		"registry to autoscaler":     {"plugins", "autoscaler/guard", true},
		"args to model":              {"plugins/args", "plugins/statefulset", true},
		"engine to client":           {"autoscaler/nodes", "k8s.io/client-go/kubernetes", true},
		"engine to logger":           {"autoscaler/nodes", "k8s.io/klog/v2", true},
		"engine to context":          {"autoscaler/nodes", "context", true},
		"engine to network":          {"autoscaler/nodes", "net/http", true},
		"engine to time":             {"autoscaler/nodes", "time", false},
		"engine to engine":           {"autoscaler/nodes", "autoscaler/forecast", true},
		"engine to model":            {"autoscaler/forecast", "plugins/statefulset", true},
		"engine to budgets":          {"autoscaler/nodes", "autoscaler/disruption", false},
		"budgets to engine":          {"autoscaler/disruption", "autoscaler/nodes", true},
		"engine to itself":           {"autoscaler/horizontal", "autoscaler/horizontal/replicas", false},
		"conductor to engine":        {"autoscaler", "autoscaler/nodes", false},
		"conductor to plugin":        {"autoscaler", "plugins/slothold", true},
		"simulator to registry":      {"autoscaler/simulator", "plugins", false},
		"command to anything":        {"cmd/berth-autoscaler", "autoscaler", false},
		"anything to command":        {"autoscaler", "cmd/berth-autoscaler", true},
		"room to fixture":            {"autoscaler/nodes", "test/fixture", true},
		"test to test":               {"test/e2e", "test/fixture", false},
		"name that only looks alike": {"plugins/statefulsets", "k8s.io/client-go/kubernetes", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			from := pkg{ImportPath: path.Join(module, tt.from), Imports: []string{tt.to}}
			if slices.Contains([]string{"plugins", "autoscaler", "cmd", "test"}, strings.Split(tt.to, "/")[0]) {
				from.Imports[0] = path.Join(module, tt.to)
			}
			found := broken(map[string]pkg{from.ImportPath: from})
			if got := len(found) > 0; got != tt.broken {
				t.Errorf("broken: %v, want %t", found, tt.broken)
			}
		})
	}
}

// What runs a test cluster is not linked into what people install.
func TestBinariesLinkNoControlPlane(t *testing.T) {
	for _, found := range list(t, "./cmd/...") {
		if within(found.ImportPath, "go.etcd.io/etcd/server", "sigs.k8s.io/kwok", "sigs.k8s.io/metrics-server",
			"k8s.io/kubernetes/cmd/kube-apiserver", "k8s.io/kubernetes/pkg/controlplane", "k8s.io/kubernetes/pkg/kubelet/server",
			"sigs.k8s.io/controller-runtime/pkg/manager", "testing", "sigs.k8s.io/e2e-framework") {
			t.Errorf("a product binary links %s", found.ImportPath)
		}
	}
}
