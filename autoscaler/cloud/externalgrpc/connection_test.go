// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package externalgrpc

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	v1 "k8s.io/api/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"

	"github.com/berth-dev/berth/autoscaler/cloud"
)

// authority signs certificates.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.cert, a.key = a.sign("ca", &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// sign writes NAME.crt and NAME.key.
func (a *authority) sign(name string, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	a.must(err)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	a.must(err)
	template.SerialNumber, template.Subject.CommonName = serial, name
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	a.must(err)
	a.write(name+".crt", "CERTIFICATE", der)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	a.must(err)
	a.write(name+".key", "PRIVATE KEY", private)
	cert, err := x509.ParseCertificate(der)
	a.must(err)
	return cert, key
}

func (a *authority) write(name, kind string, der []byte) {
	a.must(os.WriteFile(a.file(name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
}

func (a *authority) must(err error) {
	a.t.Helper()
	if err != nil {
		a.t.Fatal(err)
	}
}

func (a *authority) signServer(name string) {
	a.sign(name, &x509.Certificate{DNSNames: []string{"cloud.internal"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
}

func (a *authority) signClient(file, name string) {
	a.sign(file, &x509.Certificate{Subject: pkix.Name{Organization: []string{name}}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
}

// credentials are those of a server that asks for certificates of the authority.
func (a *authority) credentials() grpc.ServerOption {
	pair, err := tls.LoadX509KeyPair(a.file("server.crt"), a.file("server.key"))
	a.must(err)
	clients := x509.NewCertPool()
	clients.AddCert(a.cert)
	return grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12}))
}

func TestTLS(t *testing.T) {
	a, stranger := newAuthority(t), newAuthority(t)
	a.signServer("server")
	a.signClient("client", "berth")
	stranger.signClient("client", "berth")
	good := TLS{CertFile: a.file("client.crt"), KeyFile: a.file("client.key"), CAFile: a.file("ca.crt")}
	tests := map[string]struct {
		change func(*Options)
		want   string
	}{
		"both prove themselves":   {func(*Options) {}, ""},
		"another name":            {func(o *Options) { o.TLS.ServerName = "cloud.internal" }, ""},
		"the wrong name":          {func(o *Options) { o.TLS.ServerName = "other.internal" }, "other.internal"},
		"a stranger for a server": {func(o *Options) { o.TLS.CAFile = stranger.file("ca.crt") }, "unknown authority"},
		"no certificate":          {func(o *Options) { o.TLS.CertFile, o.TLS.KeyFile = "", "" }, "certificate required"},
		"a stranger's certificate": {func(o *Options) {
			o.TLS.CertFile, o.TLS.KeyFile = stranger.file("client.crt"), stranger.file("client.key")
		}, "tls: "},
		"in the clear": {func(o *Options) { o.TLS, o.Insecure = TLS{}, true }, "error reading server preface"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			o := Options{Address: s.serve(a.credentials()), TLS: good, Timeout: 20 * time.Second, Nodes: corelisters.NewNodeLister(s.nodes)}
			tt.change(&o)
			p, err := New(o)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = p.Close() })
			err = p.Refresh(t.Context())
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var failed *CallError
			if !errors.As(err, &failed) || failed.Server != o.Address || status.Code(err) != codes.Unavailable {
				t.Errorf("got %v, want a CallError that the server is unavailable", err)
			}
			if s.counted("Refresh") != 0 {
				t.Error("the server took the call")
			}
		})
	}
}

// A certificate that is renewed is shown on the next connection.
func TestRenewedCertificate(t *testing.T) {
	a := newAuthority(t)
	a.signServer("server")
	a.signClient("client", "first")
	s := newServer(t)
	var shown string
	s.before = func(ctx context.Context, _ string) error {
		from, _ := peer.FromContext(ctx)
		shown = from.AuthInfo.(credentials.TLSInfo).State.PeerCertificates[0].Subject.Organization[0]
		return nil
	}
	o := Options{Address: s.serve(a.credentials()), TLS: TLS{CertFile: a.file("client.crt"), KeyFile: a.file("client.key"), CAFile: a.file("ca.crt")}, Nodes: corelisters.NewNodeLister(s.nodes)}
	credentials, err := o.TLS.credentials(false)
	a.must(err)
	for _, want := range []string{"first", "second"} {
		a.signClient("client", want)
		conn, err := grpc.NewClient(o.Address, grpc.WithTransportCredentials(credentials))
		a.must(err)
		a.must(conn.Invoke(t.Context(), "/clusterautoscaler.cloudprovider.v1.externalgrpc.CloudProvider/Refresh", s.template, s.template))
		a.must(conn.Close())
		if shown != want {
			t.Errorf("the certificate of %q is shown, want %q", shown, want)
		}
	}
}

func TestOptionsThatCannotBe(t *testing.T) {
	a := newAuthority(t)
	a.signClient("client", "berth")
	a.write("empty.crt", "NOTHING", nil)
	n := func(i int) *int { return &i }
	tests := map[string]struct {
		change func(*Options)
		want   string
	}{
		"no address":              {func(o *Options) { o.Address = "" }, "no address"},
		"an address that is none": {func(o *Options) { o.Address = "dns:///%zz" }, `address "dns:///%zz"`},
		"negative time-out":       {func(o *Options) { o.Timeout = -time.Second }, "time-out -1s: want 0 or more"},
		"no nodes":                {func(o *Options) { o.Nodes = nil }, "no lister of nodes"},
		"no security":             {func(o *Options) { o.Insecure = false }, "no CA file is given"},
		"both":                    {func(o *Options) { o.TLS.CAFile = a.file("ca.crt") }, "insecure is set, and TLS files are given"},
		"no CA":                   {func(o *Options) { o.Insecure, o.TLS = false, TLS{CertFile: "c", KeyFile: "k"} }, "no CA file is given"},
		"certificate only":        {func(o *Options) { o.Insecure, o.TLS = false, TLS{CAFile: a.file("ca.crt"), CertFile: "c"} }, `certificate file "c" and key file "": want both or none`},
		"no such CA":              {func(o *Options) { o.Insecure, o.TLS = false, TLS{CAFile: a.file("none")} }, "CA file: open"},
		"CA that is none":         {func(o *Options) { o.Insecure, o.TLS = false, TLS{CAFile: a.file("empty.crt")} }, "has no PEM certificate"},
		"no such certificate": {func(o *Options) {
			o.Insecure, o.TLS = false, TLS{CAFile: a.file("ca.crt"), CertFile: a.file("none"), KeyFile: a.file("client.key")}
		}, "none with key file"},
		"another's key": {func(o *Options) {
			o.Insecure, o.TLS = false, TLS{CAFile: a.file("ca.crt"), CertFile: a.file("client.crt"), KeyFile: a.file("ca.key")}
		}, "does not match"},
		"group without name": {func(o *Options) { o.Groups = []Group{{}} }, "without a name"},
		"group twice":        {func(o *Options) { o.Groups = []Group{{Name: "a"}, {Name: "a"}} }, "node group a is listed twice"},
		"negative minimum":   {func(o *Options) { o.Groups = []Group{{Name: "a", Min: n(-1)}} }, "node group a: minimum -1, want 0 or more"},
		"negative maximum":   {func(o *Options) { o.Groups = []Group{{Name: "a", Max: n(-1)}} }, "node group a: maximum -1, want 0 or more"},
		"limits upside down": {func(o *Options) { o.Groups = []Group{{Name: "a", Min: n(3), Max: n(2)}} }, "node group a: minimum 3 is above maximum 2"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			o := Options{Address: "127.0.0.1:1", Insecure: true, Nodes: corelisters.NewNodeLister(newServer(t).nodes)}
			tt.change(&o)
			if _, err := New(o); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// everyCall makes each call of the contract once.
func everyCall(p *Provider, n *v1.Node) map[string]func(context.Context) error {
	g := p.listed["zone-a"]
	return map[string]func(context.Context) error{
		"Refresh":        p.Refresh,
		"TargetSize":     func(ctx context.Context) error { _, err := g.TargetSize(ctx); return err },
		"Template":       func(ctx context.Context) error { _, err := g.Template(ctx); return err },
		"Options":        func(ctx context.Context) error { _, err := g.Options(ctx, cloud.Options{}); return err },
		"Price":          func(ctx context.Context) error { _, _, err := g.Price(ctx); return err },
		"Instances":      func(ctx context.Context) error { _, err := g.Instances(ctx); return err },
		"Increase":       func(ctx context.Context) error { return g.Increase(ctx, 1) },
		"DecreaseTarget": func(ctx context.Context) error { return g.DecreaseTarget(ctx, 1) },
		"Delete":         func(ctx context.Context) error { return g.Delete(ctx, n) },
	}
}

// No call waits longer than the time-out for a server that hangs, nor than its context.
func TestServerHangs(t *testing.T) {
	s := newServer(t)
	p := s.provider()
	n := s.join("zone-a", "n")
	s.refresh(p)
	s.set(func() {
		s.before = func(ctx context.Context, _ string) error { <-ctx.Done(); return ctx.Err() }
	})
	for name, call := range everyCall(p, n) {
		t.Run(name, func(t *testing.T) {
			p.timeout = 20 * time.Millisecond
			var failed *CallError
			if err := call(t.Context()); !errors.As(err, &failed) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no answer in time, 20ms at most") {
				t.Errorf("got %v, want a CallError after the time-out", err)
			}
			p.timeout = time.Hour
			ended, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			if err := call(ended); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
			}
			ended, cancel = context.WithCancel(t.Context())
			cancel()
			if err := call(ended); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want %v", err, context.Canceled)
			}
		})
	}
}

func TestServerIsDown(t *testing.T) {
	s := newServer(t)
	p := s.provider()
	n := s.join("zone-a", "n")
	s.refresh(p)
	s.must(p.Close())
	p, err := New(Options{Address: "127.0.0.1:1", Insecure: true, Groups: []Group{{Name: "zone-a"}}, Nodes: p.nodes})
	s.must(err)
	if _, err := p.Groups(t.Context()); err == nil {
		t.Error("groups are known before the first refresh")
	}
	for name, call := range everyCall(p, n) {
		var failed *CallError
		if err := call(t.Context()); !errors.As(err, &failed) || failed.Server != "127.0.0.1:1" || status.Code(err) != codes.Unavailable {
			t.Errorf("%s = %v, want a CallError that the server is unavailable", name, err)
		}
	}
}
