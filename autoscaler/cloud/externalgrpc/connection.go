// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package externalgrpc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/berth-dev/berth/autoscaler/cloud/externalgrpc/protos"
)

const (
	defaultTimeout = 5 * time.Second
	// longestAnswer is enough for some 100,000 machines, and too little to use up the process's memory.
	longestAnswer = 32 << 20
)

// connection is the way to the server.
type connection struct {
	client  protos.CloudProviderClient
	conn    *grpc.ClientConn
	address string
	timeout time.Duration
}

func dial(o Options) (*connection, error) {
	transport, err := o.TLS.credentials(o.Insecure)
	if err != nil {
		return nil, err
	}
	timeout := o.Timeout
	if timeout == 0 {
		timeout = defaultTimeout
	}
	conn, err := grpc.NewClient(o.Address,
		grpc.WithTransportCredentials(transport),
		// Only while a call is open: servers hang up on pings between calls. A peer that vanished without a word is
		// noticed all the same, for the time-out holds for unacknowledged data too.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		// A server that comes back is found within a round, not within the two minutes that are gRPC's own limit.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: time.Second, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 10 * time.Second},
			MinConnectTimeout: timeout,
		}),
		grpc.WithDisableServiceConfig(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(longestAnswer)),
	)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w", o.Address, err)
	}
	return &connection{client: protos.NewCloudProviderClient(conn), conn: conn, address: o.Address, timeout: timeout}, nil
}

// credentials reads the files. Those of the client are read again for each new connection, since they are renewed.
func (t TLS) credentials(plain bool) (credentials.TransportCredentials, error) {
	switch {
	case plain && t != TLS{}:
		return nil, errors.New("insecure is set, and TLS files are given: want one of them")
	case plain:
		return insecure.NewCredentials(), nil
	case t.CAFile == "":
		return nil, errors.New("no CA file is given: want one to check the server by, or insecure")
	case (t.CertFile == "") != (t.KeyFile == ""):
		return nil, fmt.Errorf("certificate file %q and key file %q: want both or none", t.CertFile, t.KeyFile)
	}
	pem, err := os.ReadFile(t.CAFile)
	if err != nil {
		return nil, fmt.Errorf("CA file: %w", err)
	}
	authorities := x509.NewCertPool()
	if !authorities.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("CA file %s has no PEM certificate", t.CAFile)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName, RootCAs: authorities}
	if t.CertFile != "" {
		load := func() (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
			if err != nil {
				return nil, fmt.Errorf("certificate file %s with key file %s: %w", t.CertFile, t.KeyFile, err)
			}
			return &pair, nil
		}
		if _, err := load(); err != nil {
			return nil, err
		}
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	}
	return credentials.NewTLS(config), nil
}

// call asks the server, for no longer than the time-out. Errors are CallErrors.
func call[Q, A any](ctx context.Context, c *connection, name, group string, method func(context.Context, Q, ...grpc.CallOption) (A, error), question Q) (A, error) {
	within := c.timeout
	if deadline, ok := ctx.Deadline(); ok {
		within = min(within, time.Until(deadline).Round(time.Millisecond))
	}
	limited, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	answer, err := method(limited, question)
	switch {
	case err == nil:
		return answer, nil
	// A status hides the error of the context that ended the call. The server
	// knows the deadline too, and may be the first to notice.
	case status.Code(err) == codes.DeadlineExceeded:
		err = fmt.Errorf("no answer in time, %v at most: %w (%w)", within, context.DeadlineExceeded, err)
	case ctx.Err() != nil:
		err = ctx.Err()
	}
	return answer, &CallError{Server: c.address, Call: name, Group: group, Err: err}
}

// untold tells that the server does not have the call.
func untold(err error) bool { return status.Code(err) == codes.Unimplemented }

// turn lets one caller at a time go on. Others wait no longer than their contexts.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

func (t turn) take(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t turn) give() { <-t }
