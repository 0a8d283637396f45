// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	kwokconfig "sigs.k8s.io/kwok/pkg/apis/config/v1alpha1"
)

// maxStartOver is how often a start begins anew with other ports.
const maxStartOver = 3

// startOver starts until no port was taken meanwhile, and gives up on everything
// else. The lock holds back only those who see it: not who has another TMPDIR or
// user, nor programs of other kinds.
func startOver(say Say, start, down func() error) error {
	for again := 1; ; again++ {
		err := start()
		var taken *portTakenError
		if again > maxStartOver || !errors.As(err, &taken) {
			return err
		}
		say("the port of %s was taken meanwhile: starting over with fresh ports (%d of at most %d times)",
			taken.component, again, maxStartOver)
		if err := down(); err != nil {
			return errors.Join(taken, err)
		}
	}
}

// portTakenError is the end of a component that another program kept from its port.
type portTakenError struct {
	component string
	ended     error
}

func (e *portTakenError) Error() string { return e.ended.Error() }
func (e *portTakenError) Unwrap() error { return e.ended }

// portTaken is how every component puts it, in Go's words.
const portTaken = "bind: address already in use"

// ended is an error when a component of the cluster has ended. One whose port was
// taken comes first: the others may have ended for want of it.
func (u *up) ended() error {
	components, err := Components(u.place)
	if err != nil {
		return nil // not made yet, or half of it: kwokctl writes in place
	}
	var first error
	for _, c := range components {
		err := ended(c)
		if taken := (*portTakenError)(nil); errors.As(err, &taken) {
			return err
		}
		if first == nil {
			first = err
		}
	}
	return first
}

// ended is an error, with the end of its log, for a component that was started
// and runs no more.
func ended(c kwokconfig.Component) error {
	// An empty file is one that is being written.
	if id, err := os.ReadFile(pidFile(c)); err != nil || len(id) == 0 || PID(c) != 0 {
		return nil
	}
	log, err := os.ReadFile(LogFile(c))
	if err != nil {
		return fmt.Errorf("%s has ended: %w", c.Name, err)
	}
	err = fmt.Errorf("%s has ended; the end of %s:\n%s", c.Name, LogFile(c), tail(log))
	if bytes.Contains(log, []byte(portTaken)) {
		return &portTakenError{component: c.Name, ended: err}
	}
	return err
}

// tail returns the end of a log.
func tail(log []byte) []byte {
	const lines = 15
	all := bytes.Split(bytes.TrimSpace(log), []byte("\n"))
	return bytes.Join(all[max(0, len(all)-lines):], []byte("\n"))
}
