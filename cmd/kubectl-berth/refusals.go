// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/http"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// refusals see what the API server refuses to list or to watch: an informer tries it again for ever.
type refusals struct {
	mu   sync.Mutex
	told func(error)
}

// tell has refusals told from now on, until the returned function is called.
func (r *refusals) tell(to func(error)) (stop func()) {
	set := func(to func(error)) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.told = to
	}
	set(to)
	return func() { set(nil) }
}

// watch returns a transport that sees what the next one brings.
func (r *refusals) watch(next http.RoundTripper) http.RoundTripper {
	return transport(func(request *http.Request) (*http.Response, error) {
		response, err := next.RoundTrip(request)
		// By these an informer is known.
		if query := request.URL.Query(); err != nil || !query.Has("resourceVersion") && !query.Has("watch") {
			return response, err
		}
		if refused := refusalOf4xx(response.StatusCode, request.URL.Path); refused != nil {
			r.mu.Lock()
			defer r.mu.Unlock()
			if r.told != nil {
				r.told(refused)
			}
		}
		return response, err
	})
}

// refusalOf4xx is why an informer of the path will never know anything; nil where it may yet.
func refusalOf4xx(code int, path string) error {
	resource, group := path[strings.LastIndexByte(path, '/')+1:], ""
	if rest, ok := strings.CutPrefix(path, "/apis/"); ok {
		group, _, _ = strings.Cut(rest, "/")
	}
	of := schema.GroupResource{Group: group, Resource: resource}
	switch code {
	case http.StatusForbidden:
		return apierrors.NewForbidden(of, "", fmt.Errorf("to list and to watch them in the whole cluster needs a right"))
	case http.StatusUnauthorized:
		return apierrors.NewUnauthorized("the API server does not know who asks for " + of.String())
	case http.StatusNotFound:
		return fmt.Errorf("the API server does not serve %s, which plugins of the scheduler read", of)
	}
	return nil
}

type transport func(*http.Request) (*http.Response, error)

// RoundTrip makes it a http.RoundTripper.
func (t transport) RoundTrip(request *http.Request) (*http.Response, error) { return t(request) }
