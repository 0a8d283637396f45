// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	kwokconfig "sigs.k8s.io/kwok/pkg/apis/config/v1alpha1"

	"github.com/berth-dev/berth/test/cluster/layout"
)

// etcdTaken is how etcd puts it.
const etcdTaken = `{"level":"fatal","msg":"discovery failed","error":"listen tcp 127.0.0.1:32765: bind: address already in use"}`

// script makes a program of the cluster out of a few lines for the shell.
func script(t *testing.T, bin, name, lines string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+lines), 0o700); err != nil {
		t.Fatal(err)
	}
}

// died leaves what a component leaves that was started and has ended.
func died(t *testing.T, p layout.Place, name, log string) {
	t.Helper()
	c := kwokconfig.Component{Name: name, Binary: "/b/" + name, WorkDir: p.Dir}
	if err := errors.Join(
		record(p, c),
		os.WriteFile(pidFile(c), []byte("-1"), 0o600),
		os.WriteFile(LogFile(c), []byte(log), 0o600),
	); err != nil {
		t.Fatal(err)
	}
}

// TestUpRefusesWhatExists: who asks for a cluster that is there can tell, and leaves it as it is.
func TestUpRefusesWhatExists(t *testing.T) {
	home := Home{Root: t.TempDir()}
	request := Request{Options: layout.DefaultOptions()}
	place := home.Place(request.Name)
	file := filepath.Join(place.Dir, stateFile)
	if err := errors.Join(os.MkdirAll(place.Dir, 0o700), os.WriteFile(file, []byte("kept"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := Up(t.Context(), home, request, func(string, ...any) {}); !errors.Is(err, ErrExists) {
		t.Errorf("got %v, want that it exists", err)
	}
	if kept, err := os.ReadFile(file); err != nil || string(kept) != "kept" {
		t.Errorf("its state is %q (error %v) afterwards, want it as it was", kept, err)
	}
}

// TestManifestsWaitForNamespaces: what goes to a namespace is refused before it is there.
func TestManifestsWaitForNamespaces(t *testing.T) {
	p := newPlace(t)
	applied := filepath.Join(p.Dir, "applied")
	script(t, p.Dir, "kubectl", "cat > "+applied)
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		asked := map[string]int{}
		client.PrependReactor("get", "namespaces", func(action clienttesting.Action) (bool, runtime.Object, error) {
			name := action.(clienttesting.GetAction).GetName()
			if _, err := os.Stat(applied); err == nil {
				t.Errorf("manifests are applied before %s is there", name)
			}
			if asked[name]++; asked[name] < 3 {
				return true, nil, apierrors.NewNotFound(corev1.Resource("namespaces"), name)
			}
			return true, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, nil
		})
		u := &up{home: Home{ClusterBin: p.Dir}, place: p, say: t.Logf, client: client}
		if err := u.manifests(t.Context()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[string]int{"kube-system": 3, "default": 3}, asked); diff != "" {
			t.Errorf("namespaces asked for (-want +got):\n%s", diff)
		}
	})
	if _, err := os.Stat(applied); err != nil {
		t.Errorf("nothing is applied: %v", err)
	}
}

func TestWaitForNamespacesFails(t *testing.T) {
	for name, tc := range map[string]struct {
		answer error
		log    string
		want   string
	}{
		"when it never comes":          {apierrors.NewNotFound(corev1.Resource("namespaces"), "kube-system"), "", "the namespace kube-system not ready within 1m0s: not there yet"},
		"at once when it is forbidden": {apierrors.NewForbidden(corev1.Resource("namespaces"), "kube-system", nil), "", "forbidden"},
		"at once when something ends":  {apierrors.NewNotFound(corev1.Resource("namespaces"), "kube-system"), "oh no", "oh no"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			if tc.log != "" {
				died(t, p, "etcd", tc.log)
			}
			synctest.Test(t, func(t *testing.T) {
				client := fake.NewClientset()
				client.PrependReactor("get", "namespaces", func(clienttesting.Action) (bool, runtime.Object, error) {
					return true, nil, tc.answer
				})
				u := &up{place: p, say: t.Logf, client: client}
				if err := u.namespaces(t.Context()); err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("got %v, want %s", err, tc.want)
				}
			})
		})
	}
}

func TestStartOver(t *testing.T) {
	taken := func(component string) error {
		return fmt.Errorf("control plane: %w", errors.Join(&portTakenError{component, errors.New("in use")}, errors.New("killed")))
	}
	other := errors.New("other")
	line := func(component string, again int) string {
		return fmt.Sprintf("the port of %s was taken meanwhile: starting over with fresh ports (%d of at most 3 times)", component, again)
	}
	for name, tc := range map[string]struct {
		starts []error
		down   error
		want   []string
		err    string
	}{
		"a start that succeeds is the only one": {starts: []error{nil}},
		"so is one that fails otherwise":        {starts: []error{other}, err: "other"},
		"a taken port leads to another start":   {starts: []error{taken("etcd"), nil}, want: []string{line("etcd", 1), "down"}},
		"which may fail otherwise":              {starts: []error{taken("etcd"), other}, want: []string{line("etcd", 1), "down"}, err: "other"},
		"three times at most": {
			starts: []error{taken("etcd"), taken("kwok-controller"), taken("etcd"), taken("kube-scheduler")},
			want:   []string{line("etcd", 1), "down", line("kwok-controller", 2), "down", line("etcd", 3), "down"},
			err:    "control plane: in use\nkilled",
		},
		"not on what cannot be taken down": {starts: []error{taken("etcd")}, down: other, want: []string{line("etcd", 1), "down"}, err: "in use\nother"},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			starts := tc.starts
			err := startOver(
				func(format string, args ...any) { got = append(got, fmt.Sprintf(format, args...)) },
				func() error {
					if len(starts) == 0 {
						t.Fatal("one start too many")
					}
					err := starts[0]
					starts = starts[1:]
					return err
				},
				func() error { got = append(got, "down"); return tc.down })
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("what happened (-want +got):\n%s", diff)
			}
			if said := fmt.Sprint(err); err == nil && tc.err != "" || err != nil && said != tc.err {
				t.Errorf("got %q, want %q", said, tc.err)
			}
			if len(starts) > 0 {
				t.Errorf("%d starts too few", len(starts))
			}
		})
	}
}

func TestEnded(t *testing.T) {
	for name, tc := range map[string]struct {
		died  map[string]string // component to log
		want  string
		taken string
	}{
		"nothing has":                      {},
		"something has":                    {died: map[string]string{"etcd": "oh no\n"}, want: "oh no"},
		"for want of its port":             {died: map[string]string{"etcd": etcdTaken}, want: etcdTaken, taken: "etcd"},
		"said long before its end":         {died: map[string]string{"etcd": etcdTaken + strings.Repeat("\nbye", 99)}, want: "bye", taken: "etcd"},
		"a taken port is told first":       {died: map[string]string{"etcd": "oh no", "kwok-controller": etcdTaken}, want: etcdTaken, taken: "kwok-controller"},
		"a port in use is not a taken one": {died: map[string]string{"etcd": "dial: address in use"}, want: "dial"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			for component, log := range tc.died {
				died(t, p, component, log)
			}
			err := (&up{place: p}).ended()
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			var taken *portTakenError
			if errors.As(err, &taken) != (tc.taken != "") || taken != nil && taken.component != tc.taken {
				t.Errorf("the port taken is of %+v, want of %q", taken, tc.taken)
			}
		})
	}
}

// TestEndedBeforeItsProcessIsKnown: kwokctl makes the file of the process id, then fills it.
func TestEndedBeforeItsProcessIsKnown(t *testing.T) {
	p := newPlace(t)
	died(t, p, "etcd", "")
	if err := os.Truncate(filepath.Join(p.Dir, "pids", "etcd.pid"), 0); err != nil {
		t.Fatal(err)
	}
	if err := (&up{place: p}).ended(); err != nil {
		t.Errorf("a component that is being started has not ended: %v", err)
	}
}

// TestCreateSeesATakenPort: kwokctl waits for minutes for an etcd that is no more.
func TestCreateSeesATakenPort(t *testing.T) {
	for name, then := range map[string]string{"while kwokctl waits": "exec sleep 600\n", "when it is content": ""} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			died(t, p, "etcd", etcdTaken)
			script(t, p.Dir, "kwokctl", then)
			u := &up{home: Home{ClusterBin: p.Dir, Root: p.Dir}, place: p, say: t.Logf}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			var taken *portTakenError
			if err := u.create(ctx, "config"); !errors.As(err, &taken) || ctx.Err() != nil {
				t.Errorf("got %v, want at once that a port is taken", err)
			}
		})
	}
}
