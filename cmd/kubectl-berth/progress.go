// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// progress tells a person who waits what is being done.
type progress struct {
	out   io.Writer
	timer *time.Timer

	mu   sync.Mutex
	now  string
	loud bool
}

// patience is how long nothing is said.
const patience = 2 * time.Second

func newProgress(out io.Writer) *progress {
	p := &progress{out: out}
	p.timer = time.AfterFunc(patience, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.loud = true
		p.say()
	})
	return p
}

func (p *progress) stage(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.now = what; p.loud {
		p.say()
	}
}

func (p *progress) say() {
	if p.now != "" {
		fmt.Fprintln(p.out, p.now+" …")
	}
}

// end says no more.
func (p *progress) end() {
	p.timer.Stop()
	p.stage("")
}
