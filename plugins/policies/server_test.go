// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package policies

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"

	"github.com/berth-dev/berth/plugins/api/v1alpha1"
)

// server is an API server for one kind, without a network, so that a test can
// run it in virtual time.
type server struct {
	mu        sync.Mutex
	installed bool
	others    bool // the group is served, with other kinds
	refusal   int  // status of every answer, if not 0
	unlisted  int  // status of every list and watch, if not 0
	policies  []*v1alpha1.PlacementPolicy
	version   int
	watchers  []*io.PipeWriter
	written   []*v1alpha1.PlacementPolicy
	requests  []string
	pages     int
}

func (s *server) config() *rest.Config {
	return &rest.Config{Host: "https://test", Transport: s}
}

// change edits the server under its lock.
func (s *server) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *server) add(policy *v1alpha1.PlacementPolicy) {
	s.change(func() {
		s.stamp(policy)
		s.policies = append(s.policies, policy)
		s.send(watch.Added, policy)
	})
}

// put replaces the only policy.
func (s *server) put(policy *v1alpha1.PlacementPolicy) {
	s.change(func() {
		s.stamp(policy)
		s.policies = []*v1alpha1.PlacementPolicy{policy}
		s.send(watch.Modified, policy)
	})
}

// drop deletes the only policy.
func (s *server) drop() {
	s.change(func() {
		s.stamp(s.policies[0])
		s.send(watch.Deleted, s.policies[0])
		s.policies = nil
	})
}

// remove uninstalls the kind, as the API server does it: the policies go first.
func (s *server) remove() {
	s.change(func() {
		for _, policy := range s.policies {
			s.send(watch.Deleted, policy)
		}
		s.installed, s.policies = false, nil
		s.hangUp()
	})
}

// hangUp ends every watch.
func (s *server) hangUp() {
	for _, w := range s.watchers {
		_ = w.Close()
	}
	s.watchers = nil
}

func (s *server) stamp(policy *v1alpha1.PlacementPolicy) {
	s.version++
	policy.APIVersion, policy.Kind = v1alpha1.SchemeGroupVersion.String(), v1alpha1.Kind
	policy.ResourceVersion = fmt.Sprint(s.version)
}

func (s *server) send(kind watch.EventType, policy *v1alpha1.PlacementPolicy) {
	for _, w := range s.watchers {
		_ = json.NewEncoder(w).Encode(map[string]any{"type": kind, "object": policy})
	}
}

// RoundTrip answers a request.
func (s *server) RoundTrip(req *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, req.Method+" "+req.URL.Path)
	list := strings.HasSuffix(req.URL.Path, "/"+v1alpha1.Resource)
	switch {
	case s.refusal != 0:
		return failure(req, s.refusal), nil
	case !s.installed && (list || !s.others):
		return failure(req, http.StatusNotFound), nil
	case list && s.unlisted != 0:
		return failure(req, s.unlisted), nil
	case req.Method == http.MethodPut:
		return s.write(req)
	case list && req.URL.Query().Get("watch") == "true":
		return s.watch(req), nil
	case list:
		return s.list(req), nil
	default:
		return answer(req, http.StatusOK, s.discovery()), nil
	}
}

func (s *server) discovery() metav1.APIResourceList {
	kinds := metav1.APIResourceList{
		TypeMeta:     metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"},
		GroupVersion: v1alpha1.SchemeGroupVersion.String(),
		APIResources: []metav1.APIResource{{Name: "placementreports", Kind: "PlacementReport"}},
	}
	if s.installed {
		kinds.APIResources = append(kinds.APIResources, metav1.APIResource{Name: v1alpha1.Resource, Namespaced: true, Kind: v1alpha1.Kind})
	}
	return kinds
}

// list answers with one policy per page where pages are counted.
func (s *server) list(req *http.Request) *http.Response {
	list := v1alpha1.PlacementPolicyList{
		TypeMeta: metav1.TypeMeta{Kind: v1alpha1.Kind + "List", APIVersion: v1alpha1.SchemeGroupVersion.String()},
		ListMeta: metav1.ListMeta{ResourceVersion: fmt.Sprint(s.version)},
	}
	rest := slices.Clone(s.policies)
	if s.pages > 0 {
		var from int
		_, _ = fmt.Sscan(req.URL.Query().Get("continue"), &from)
		if rest = rest[from:]; len(rest) > 1 {
			rest, list.Continue = rest[:1], fmt.Sprint(from+1)
		}
	}
	for _, policy := range rest {
		list.Items = append(list.Items, *policy)
	}
	return answer(req, http.StatusOK, list)
}

// watch refuses to send what exists, as older API servers do, so that clients
// list first.
func (s *server) watch(req *http.Request) *http.Response {
	if req.URL.Query().Get("sendInitialEvents") == "true" {
		return failure(req, http.StatusUnprocessableEntity)
	}
	reader, writer := io.Pipe()
	s.watchers = append(s.watchers, writer)
	return response(req, http.StatusOK, reader)
}

func (s *server) write(req *http.Request) (*http.Response, error) {
	var policy v1alpha1.PlacementPolicy
	if err := json.NewDecoder(req.Body).Decode(&policy); err != nil {
		return nil, err
	}
	s.written = append(s.written, &policy)
	return answer(req, http.StatusOK, policy), nil
}

func failure(req *http.Request, code int) *http.Response {
	reason := map[int]metav1.StatusReason{
		http.StatusForbidden: metav1.StatusReasonForbidden,
		http.StatusNotFound:  metav1.StatusReasonNotFound,
		http.StatusConflict:  metav1.StatusReasonConflict,
	}[code]
	return answer(req, code, metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
		Status:   metav1.StatusFailure, Code: int32(code), Reason: reason, Message: http.StatusText(code),
	})
}

func answer(req *http.Request, code int, body any) *http.Response {
	data, err := json.Marshal(body)
	if err != nil {
		code, data = http.StatusInternalServerError, []byte(err.Error())
	}
	return response(req, code, io.NopCloser(bytes.NewReader(data)))
}

func response(req *http.Request, code int, body io.ReadCloser) *http.Response {
	return &http.Response{
		StatusCode: code, Status: http.StatusText(code), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: body, Request: req,
	}
}

// asked counts the requests that were made.
func (s *server) asked(t *testing.T, request string) int {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, r := range s.requests {
		if r == request {
			n++
		}
	}
	return n
}
