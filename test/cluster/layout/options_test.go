// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package layout

import (
	"strings"
	"testing"
	"time"
)

func TestValidate(t *testing.T) {
	if err := DefaultOptions().Validate(); err != nil {
		t.Errorf("the defaults are valid, got %v", err)
	}
	for name, tc := range map[string]struct {
		change func(*Options)
		want   string
	}{
		"a name that is no label":       {func(o *Options) { o.Name = "My_Cluster" }, "name"},
		"a negative number of nodes":    {func(o *Options) { o.Nodes = -1 }, "nodes"},
		"no zone":                       {func(o *Options) { o.Zones = 0 }, "zones"},
		"more zones than letters":       {func(o *Options) { o.Zones = 27 }, "zones"},
		"no quantity":                   {func(o *Options) { o.NodeCPU = "four" }, "node-cpu"},
		"a node without memory":         {func(o *Options) { o.NodeMemory = "0" }, "node-memory"},
		"a node without pods":           {func(o *Options) { o.NodePods = "-1" }, "node-pods"},
		"a boot finer than a second":    {func(o *Options) { o.NodeBoot = 1500 * time.Millisecond }, "node-boot"},
		"a pod ready before it runs":    {func(o *Options) { o.PodReady = -time.Second }, "pod-ready"},
		"a stop finer than a second":    {func(o *Options) { o.PodStop = time.Millisecond }, "pod-stop"},
		"a grace nobody can keep":       {func(o *Options) { o.NodeGrace = 4 * time.Second }, "node-grace"},
		"a grace finer than a second":   {func(o *Options) { o.NodeGrace = 50500 * time.Millisecond }, "node-grace"},
		"nodes that attach nothing":     {func(o *Options) { o.AttachLimit = 0 }, "attach-limit"},
		"volumes attached before asked": {func(o *Options) { o.AttachDelay = -1 }, "attach-delay"},
	} {
		t.Run(name, func(t *testing.T) {
			o := DefaultOptions()
			tc.change(&o)
			if err := o.Validate(); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want an error that names %s", err, tc.want)
			}
		})
	}
}
