// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package policies

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/ktesting"
)

// watched runs a watch of a server in virtual time. The test moves the time by
// after, and looks at the book between.
func watched(t *testing.T, s *server, test func(t *testing.T, book *Book, after func(time.Duration), logged func() string)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		logger := ktesting.NewLogger(t, ktesting.NewConfig(ktesting.BufferLogs(true), ktesting.Verbosity(0)))
		ctx, cancel := context.WithCancel(klog.NewContext(t.Context(), logger))
		book := NewBook()
		done := make(chan error)
		go func() { done <- Watch(ctx, s.config(), book) }()
		after := func(d time.Duration) {
			time.Sleep(d)
			synctest.Wait()
		}
		logged := func() string {
			if l, ok := logger.GetSink().(ktesting.Underlier); ok {
				return l.GetBuffer().String()
			}
			return ""
		}
		after(time.Second)
		test(t, book, after, logged)
		cancel()
		s.change(s.hangUp)
		if err := <-done; err != nil {
			t.Errorf("the watch ended with %v", err)
		}
	})
}

func wantPolicy(t *testing.T, book *Book, set, want string) {
	t.Helper()
	got := ""
	if policy := book.OfSet(statefulSet("prod", set, nil)); policy != nil {
		got = policy.Name
	}
	if got != want {
		t.Errorf("set %s is placed by %q, want %q", set, got, want)
	}
}

func wantKnown(t *testing.T, book *Book, want bool, why string) {
	t.Helper()
	if known, reason := book.Known(); known != want || !strings.Contains(reason, why) {
		t.Errorf("known is %v because %q, want %v because of %q", known, reason, want, why)
	}
}

func TestWatch(t *testing.T) {
	s := &server{installed: true}
	watched(t, s, func(t *testing.T, book *Book, after func(time.Duration), _ func() string) {
		wantKnown(t, book, true, "")
		wantPolicy(t, book, "db", "")
		added := forSet("db", "db", 1)
		added.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}
		s.add(added)
		after(0)
		wantPolicy(t, book, "db", "db")
		if fields := book.Verdicts(nil)[0].object.ManagedFields; len(fields) > 0 {
			t.Errorf("keeps %v", fields)
		}
		s.put(forSet("db", "queue", 1))
		after(0)
		wantPolicy(t, book, "db", "")
		wantPolicy(t, book, "queue", "db")
		s.drop()
		after(0)
		wantPolicy(t, book, "queue", "")
	})
}

func TestWatchBeforeTheKindIsInstalled(t *testing.T) {
	s := &server{others: true}
	watched(t, s, func(t *testing.T, book *Book, after func(time.Duration), logged func() string) {
		wantKnown(t, book, true, "")
		after(time.Minute)
		if n := strings.Count(logged(), "not served"); n != 1 {
			t.Errorf("said %d times that the kind is not served, want once:\n%s", n, logged())
		}
		if n := s.asked(t, "GET /apis/berth.dev/v1alpha1/placementpolicies"); n > 0 {
			t.Errorf("asked %d times for a kind that the group does not have", n)
		}
		s.add(forSet("db", "db", 1))
		s.change(func() { s.installed = true })
		after(lookPeriod + time.Second)
		wantPolicy(t, book, "db", "db")
	})
}

func TestWatchWithoutRights(t *testing.T) {
	s := &server{installed: true, refusal: http.StatusForbidden}
	s.add(forSet("db", "db", 1))
	watched(t, s, func(t *testing.T, book *Book, after func(time.Duration), logged func() string) {
		wantKnown(t, book, false, "PlacementPolicies can not be read: Forbidden")
		after(time.Minute)
		if n := strings.Count(logged(), "trying again"); n != 1 {
			t.Errorf("said %d times that reading fails, want once:\n%s", n, logged())
		}
		s.change(func() { s.refusal = 0 })
		after(lookPeriod + time.Second)
		wantKnown(t, book, true, "")
		wantPolicy(t, book, "db", "db")

		// What was known stays known while the server can not be asked.
		s.change(func() {
			s.refusal = http.StatusServiceUnavailable
			s.hangUp()
		})
		after(time.Minute)
		wantKnown(t, book, true, "")
		wantPolicy(t, book, "db", "db")
		if !strings.Contains(logged(), "Failed to watch") {
			t.Errorf("does not complain:\n%s", logged())
		}
	})
}

func TestWatchMayNotList(t *testing.T) {
	s := &server{installed: true, unlisted: http.StatusForbidden}
	watched(t, s, func(t *testing.T, book *Book, _ func(time.Duration), _ func() string) {
		wantKnown(t, book, false, "Forbidden")
	})
}

// While a kind is removed or installed, the server may show it and yet not
// know it.
func TestWatchOfAKindServedByHalves(t *testing.T) {
	s := &server{installed: true, unlisted: http.StatusNotFound}
	watched(t, s, func(t *testing.T, book *Book, after func(time.Duration), _ func() string) {
		wantKnown(t, book, true, "")
		after(time.Minute)
		if n := s.asked(t, "GET /apis/berth.dev/v1alpha1/placementpolicies"); n > 50 {
			t.Errorf("asked %d times in a minute", n)
		}
		s.change(func() { s.unlisted = 0 })
		s.add(forSet("db", "db", 1))
		after(lookPeriod + time.Second)
		wantPolicy(t, book, "db", "db")
	})
}

func TestWatchWhileTheKindIsRemoved(t *testing.T) {
	s := &server{installed: true}
	s.add(forSet("db", "db", 1))
	watched(t, s, func(t *testing.T, book *Book, after func(time.Duration), logged func() string) {
		wantPolicy(t, book, "db", "db")
		s.remove()
		after(time.Hour)
		wantKnown(t, book, true, "")
		wantPolicy(t, book, "db", "")
		if n := strings.Count(logged(), "not served"); n != 1 {
			t.Errorf("said %d times that the kind is not served, want once:\n%s", n, logged())
		}
		if strings.Contains(logged(), "ailed") {
			t.Errorf("complained:\n%s", logged())
		}
		lists := s.asked(t, "GET /apis/berth.dev/v1alpha1/placementpolicies")
		if lists > 5 {
			t.Errorf("asked %d times for policies that are not served", lists)
		}

		s.change(func() { s.installed = true })
		s.add(forSet("db-2", "db", 1))
		after(2 * lookPeriod)
		wantPolicy(t, book, "db", "db-2")
	})
}

// A kind whose policies are gone without a word was removed while the watch
// was interrupted.
func TestWatchMissesTheRemoval(t *testing.T) {
	s := &server{installed: true}
	s.add(forSet("db", "db", 1))
	watched(t, s, func(t *testing.T, book *Book, after func(time.Duration), _ func() string) {
		s.change(func() {
			s.installed, s.policies = false, nil
			s.hangUp()
		})
		after(time.Minute)
		wantPolicy(t, book, "db", "")
	})
}

func TestList(t *testing.T) {
	s := &server{pages: 1}
	client, err := NewClient(s.config())
	if err != nil {
		t.Fatal(err)
	}
	if all, err := client.List(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("a cluster without the kind has %v, %v", all, err)
	}
	s.installed = true
	for _, name := range []string{"a", "b", "c"} {
		s.add(forSet(name, name, 1))
	}
	all, err := client.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, policy := range all {
		names = append(names, policy.Name)
	}
	if diff := cmp.Diff([]string{"a", "b", "c"}, names); diff != "" {
		t.Errorf("policies (-want +got):\n%s", diff)
	}
	s.refusal = http.StatusForbidden
	if _, err := client.List(t.Context()); !apierrors.IsForbidden(err) {
		t.Errorf("error %v, want the refusal", err)
	}
}

func TestUpdateStatus(t *testing.T) {
	s := &server{installed: true}
	config := s.config()
	config.ContentType = runtime.ContentTypeProtobuf // as the client of built-in kinds has it
	client, err := NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	book := NewBook()
	book.Set(forSet("db", "db", 1))
	judged, changed := book.Verdicts(nil)[0].Judged(time.Unix(0, 0))
	if !changed {
		t.Error("a first verdict changes nothing")
	}
	if err := client.UpdateStatus(t.Context(), judged); err != nil {
		t.Fatal(err)
	}
	if s.asked(t, "PUT /apis/berth.dev/v1alpha1/namespaces/prod/placementpolicies/db/status") != 1 {
		t.Errorf("asked for %v", s.requests)
	}
	if diff := cmp.Diff(judged.Status, s.written[0].Status); diff != "" {
		t.Errorf("status (-sent +received):\n%s", diff)
	}
	s.refusal = http.StatusConflict
	if err := client.UpdateStatus(t.Context(), judged); !apierrors.IsConflict(err) {
		t.Errorf("error %v, want a conflict", err)
	}
}
