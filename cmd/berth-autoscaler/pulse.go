// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"time"
)

// pulse is the health of the loop: it fails where the loop began and then
// went without a tick for longer than the limit.
type pulse struct {
	limit time.Duration
	last  atomic.Pointer[time.Time]
}

func (p *pulse) beat() {
	now := time.Now()
	p.last.Store(&now)
}

// Name is the name of the check.
func (p *pulse) Name() string { return "loop" }

// Check fails where the loop hangs.
func (p *pulse) Check(*http.Request) error {
	last := p.last.Load()
	if last == nil {
		return nil // not leading
	}
	if idle := time.Since(*last); idle > p.limit {
		return fmt.Errorf("the last tick ended %s ago, more than %s", idle.Round(time.Second), p.limit)
	}
	return nil
}
