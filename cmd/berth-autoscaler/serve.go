// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/klog/v2"
)

// shutdownGrace is the time open requests have once the process is asked to end.
const shutdownGrace = 5 * time.Second

// serve listens at once, so that a taken port ends the start, and serves
// /healthz, /readyz and /metrics until the context ends.
func serve(ctx context.Context, address string, live, ready []healthz.HealthChecker) (stopped <-chan struct{}, err error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("bindAddress %s: %w", address, err)
	}
	mux := http.NewServeMux()
	healthz.InstallPathHandler(mux, "/healthz", live...)
	healthz.InstallPathHandler(mux, "/livez", live...)
	healthz.InstallPathHandler(mux, "/readyz", ready...)
	mux.Handle("/metrics", legacyregistry.Handler())
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}

	done := make(chan struct{})
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			klog.FromContext(ctx).Error(err, "Serving health and metrics")
		}
	}()
	go func() {
		defer close(done)
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
		defer cancel()
		if err := server.Shutdown(grace); err != nil {
			klog.FromContext(ctx).Error(err, "Stopping to serve health and metrics")
		}
	}()
	return done, nil
}
