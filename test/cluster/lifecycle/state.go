// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package lifecycle starts and stops a test cluster and its components on this
// machine. kwokctl makes the control plane; what is added to it is recorded in
// kwokctl's own file, so that kwokctl's commands see the whole cluster.
//
// Nothing outside the cluster's folder is written, the user's kubeconfig
// included.
package lifecycle

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	kwokconfig "sigs.k8s.io/kwok/pkg/apis/config/v1alpha1"
	"sigs.k8s.io/yaml"

	"github.com/berth-dev/berth/test/cluster/layout"
)

// ErrNotFound says that there is no cluster, or no component, of that name.
var ErrNotFound = errors.New("not found")

// Home is where the clusters of one checkout live, and what they are run with.
type Home struct {
	// Root is the checkout: its clusters are in Root/.cluster, so that several
	// checkouts live side by side.
	Root string
	// ClusterBin and BerthBin are the folders of the programs.
	ClusterBin, BerthBin string
}

// FindHome tells the checkout from the program's own place, ROOT/bin/cluster.
func FindHome() (Home, error) {
	program, err := os.Executable()
	if err != nil {
		return Home{}, err
	}
	program, err = filepath.EvalSymlinks(program)
	if err != nil {
		return Home{}, err
	}
	clusterBin := filepath.Dir(program)
	berthBin := filepath.Dir(clusterBin)
	return Home{Root: filepath.Dir(berthBin), ClusterBin: clusterBin, BerthBin: berthBin}, nil
}

// Place is the place of the cluster of that name.
func (h Home) Place(name string) layout.Place {
	return layout.Place{Dir: filepath.Join(h.workdir(), "clusters", name), ClusterBin: h.ClusterBin, BerthBin: h.BerthBin}
}

func (h Home) workdir() string { return filepath.Join(h.Root, ".cluster") }

// Names are the clusters there are, running or not.
func (h Home) Names() ([]string, error) {
	files, err := filepath.Glob(filepath.Join(h.workdir(), "clusters", "*", stateFile))
	if err != nil {
		return nil, err
	}
	for i, file := range files {
		files[i] = filepath.Base(filepath.Dir(file))
	}
	return files, nil
}

const stateFile = "kwok.yaml"

// document separates the documents of the state file.
var document = regexp.MustCompile(`(?m)^---\s*$`)

// Components are those recorded for the cluster, in the order of their start.
func Components(p layout.Place) ([]kwokconfig.Component, error) {
	_, config, _, err := readState(p)
	if err != nil {
		return nil, err
	}
	return config.Components, nil
}

// record adds a component to the state file, or replaces the one of its name.
func record(p layout.Place, c kwokconfig.Component) error {
	documents, config, at, err := readState(p)
	if err != nil {
		return err
	}
	same := func(other kwokconfig.Component) bool { return other.Name == c.Name }
	if i := slices.IndexFunc(config.Components, same); i >= 0 {
		config.Components[i] = c
	} else {
		config.Components = append(config.Components, c)
	}
	if documents[at], err = yaml.Marshal(config); err != nil {
		return err
	}
	// A rename leaves no half-written file behind, whenever this process ends.
	file := filepath.Join(p.Dir, stateFile)
	if err := os.WriteFile(file+".new", bytes.Join(documents, []byte("\n---\n")), 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// readState returns the documents of the state file, and the one of kwokctl
// read, with its index.
func readState(p layout.Place) (documents [][]byte, config kwokconfig.KwokctlConfiguration, at int, err error) {
	data, err := os.ReadFile(filepath.Join(p.Dir, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, config, 0, fmt.Errorf("cluster %s: %w", filepath.Base(p.Dir), ErrNotFound)
	}
	if err != nil {
		return nil, config, 0, err
	}
	for _, text := range document.Split(string(data), -1) {
		documents = append(documents, []byte(strings.TrimSpace(text)+"\n"))
	}
	for i, text := range documents {
		if err := yaml.Unmarshal(text, &config); err != nil {
			return nil, config, 0, fmt.Errorf("%s: %w", stateFile, err)
		}
		if config.Kind == kwokconfig.KwokctlConfigurationKind {
			return documents, config, i, nil
		}
		config = kwokconfig.KwokctlConfiguration{}
	}
	return nil, config, 0, fmt.Errorf("%s: no %s in it", stateFile, kwokconfig.KwokctlConfigurationKind)
}

// find returns the recorded component of that name.
func find(p layout.Place, name string) (kwokconfig.Component, error) {
	components, err := Components(p)
	if err != nil {
		return kwokconfig.Component{}, err
	}
	var names []string
	for _, c := range components {
		if c.Name == name {
			return c, nil
		}
		names = append(names, c.Name)
	}
	return kwokconfig.Component{}, fmt.Errorf("component %s: %w; there are %s", name, ErrNotFound, strings.Join(names, ", "))
}
