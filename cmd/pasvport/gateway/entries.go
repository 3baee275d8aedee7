// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/pasvport/pasvport/expect"
)

// entries maintains the timeouts of entries that conntrackd has made or will
// make.
type entries struct {
	established time.Duration // of an established connection; zero: unknown
}

// timeouts is the part of conntrack that it needs.
type timeouts interface {
	UpdateTimeout(expect.Tuple, time.Duration) error
}

// refresh gives an entry the timeout of one that was always here and has just
// seen a packet. conntrackd makes it with that of the last event, less what has
// passed since.
func (n entries) refresh(ct timeouts, e *expect.Entry) {
	if e.TCPState == expect.TCPStateEstablished && e.Timeout < n.established {
		_ = ct.UpdateTimeout(e.Original, n.established) // it may be gone
	}
}

// establishedTimeout is conntrack's timeout of an established connection, or zero
// if unknown.
func establishedTimeout() time.Duration {
	b, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established")
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return time.Duration(n) * time.Second
}
