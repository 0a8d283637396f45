// Copyright The Berth Authors.
// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// lock keeps other clusters of this machine, of other checkouts too, from being
// made until unlock: components listen a while after their ports were chosen.
func lock() (unlock func(), err error) {
	path := filepath.Join(os.TempDir(), fmt.Sprintf("berth-cluster-%d.lock", os.Getuid()))
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), file.Close())
	}
	// The kernel unlocks even where closing fails.
	return func() { _ = file.Close() }, nil
}

// Ports are chosen below those that the kernel hands out to clients.
const (
	firstPort = 12000
	lastPort  = 19999
)

// freePorts returns n ports that nobody listens on. It begins anywhere, so that
// clusters made at once do not meet, and a component that is down for a moment
// rarely finds its port gone. kwokctl would take the next one that is free, which is
// that of whatever is down.
func freePorts(n int) ([]int, error) {
	var ports []int
	const count = lastPort - firstPort + 1
	begin := rand.IntN(count)
	for i := range count {
		port := firstPort + (begin+i)%count
		listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		if err := listener.Close(); err != nil {
			return nil, err
		}
		if ports = append(ports, port); len(ports) == n {
			return ports, nil
		}
	}
	return nil, fmt.Errorf("no %d free ports between %d and %d", n, firstPort, lastPort)
}
