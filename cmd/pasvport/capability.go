// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// errNoRights says what is missing and how to get it.
var errNoRights = errors.New("missing CAP_NET_ADMIN: run as root, or with AmbientCapabilities=CAP_NET_ADMIN in a systemd unit")

// requireNetAdmin looks at our own rights only, so that a daemon without them
// has not touched anything.
func requireNetAdmin() error {
	ok, err := hasCapability(unix.CAP_NET_ADMIN)
	if err == nil && !ok {
		err = errNoRights
	}
	return err
}

// hasCapability reports whether a capability is in effect.
func hasCapability(c uint) (bool, error) {
	var data [2]unix.CapUserData // version 3 has 64 bits in two halves
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return false, fmt.Errorf("capget: %w", err)
	}
	return data[c/32].Effective&(1<<(c%32)) != 0, nil
}
