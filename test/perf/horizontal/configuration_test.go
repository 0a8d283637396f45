// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"testing"

	"github.com/berth-dev/berth/autoscaler/config"
)

func TestConfiguration(t *testing.T) {
	data, err := os.ReadFile("autoscaler.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := config.Parse(data); err != nil {
		t.Error(err)
	}
}
