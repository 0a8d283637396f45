// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

// Package manifests_test reads every manifest as strictly as the API server
// with --validate=strict, and as the programs read their configurations.
package manifests_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/berth-dev/berth/autoscaler/config"
	"github.com/berth-dev/berth/autoscaler/simulator"
)

func TestManifestsDecodeStrictly(t *testing.T) {
	found := 0
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".yaml" || filepath.Base(path) == "kustomization.yaml" {
			return err
		}
		found++
		t.Run(path, func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := decode(data); err != nil {
				t.Error(err)
			}
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found < 10 {
		t.Errorf("found %d manifests: is this their folder?", found)
	}
}

func TestAMisspeltFieldIsRefused(t *testing.T) {
	for name, manifest := range map[string]string{
		"object":     "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: a, namspace: b}\n",
		"autoscaler": "apiVersion: config.berth.dev/v1alpha1\nkind: AutoscalerConfiguration\nsyncPeriods: 15s\n",
		"scheduler":  "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nprofile: []\n",
	} {
		t.Run(name, func(t *testing.T) {
			if err := decode([]byte(manifest)); err == nil || !strings.Contains(err.Error(), "unknown field") {
				t.Errorf("error %v, want one that names the unknown field", err)
			}
		})
	}
}

// decode reads each document of a file as its kind.
func decode(data []byte) error {
	known := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, apiextensionsv1.AddToScheme} {
		if err := add(known); err != nil {
			return err
		}
	}
	objects := serializer.NewCodecFactory(known, serializer.EnableStrict).UniversalDeserializer()
	documents := yaml.NewDocumentDecoder(io.NopCloser(bytes.NewReader(data)))
	buffer := make([]byte, len(data)+1)
	for {
		n, err := documents.Read(buffer)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		document := buffer[:n]
		switch {
		case onlyComments(document): // a header above the first line ---
		case bytes.Contains(document, []byte("kind: "+config.Kind)):
			_, err = config.Parse(document)
		case bytes.Contains(document, []byte("kind: KubeSchedulerConfiguration")):
			_, err = simulator.ParseConfiguration(document)
		default:
			_, _, err = objects.Decode(document, nil, nil)
		}
		if err != nil {
			return err
		}
	}
}

func onlyComments(document []byte) bool {
	for line := range bytes.Lines(document) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' {
			return false
		}
	}
	return true
}
