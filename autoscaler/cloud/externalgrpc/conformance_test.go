// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package externalgrpc

import (
	"testing"

	"github.com/berth-dev/berth/autoscaler/cloud/cloudtest"
	"github.com/berth-dev/berth/autoscaler/cloud/externalgrpc/protos"
)

func TestConformance(t *testing.T) {
	tests := map[string]func(*server){
		"a server that has every call": func(s *server) {
			s.price = 0.25
			s.options = &protos.NodeGroupAutoscalingOptions{ScaleDownUtilizationThreshold: 0.6}
		},
		"a server that says nothing of its machines": func(s *server) { s.silent = true },
		"a server from before 1.35": func(s *server) {
			s.template = &protos.NodeGroupTemplateNodeInfoResponse{NodeInfo: s.template.NodeBytes}
			s.options = &protos.NodeGroupAutoscalingOptions{ScaleDownUnneededTime: oldDuration(1)}
		},
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			cloudtest.Run(t, func(t *testing.T) cloudtest.Fixture {
				s := newServer(t)
				change(s)
				p := s.provider()
				f := cloudtest.Fixture{
					Provider: p,
					Settle:   func() { s.happen(); s.refresh(p) },
					Nodes:    s.list,
					Withhold: func() { s.set(func() { s.withheld = true }) },
				}
				if !s.silent {
					f.Fail = func(code, message string) {
						s.set(func() {
							s.failure = &protos.InstanceErrorInfo{ErrorCode: code, ErrorMessage: message, InstanceErrorClass: 99}
						})
					}
				}
				return f
			})
		})
	}
}
