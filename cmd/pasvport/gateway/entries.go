// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/pasvport/pasvport/expect"
)

// entries keeps the timeouts of entries that conntrackd has made or is to make.
type entries struct {
	established time.Duration // that of an established connection; zero: not known
}

// timeouts is what it needs of conntrack.
type timeouts interface {
	UpdateTimeout(expect.Tuple, time.Duration) error
}

// refresh gives an entry the timeout of one that was always here and has just seen
// a packet. conntrackd makes it with that of the last event, less what has passed
// since.
func (n entries) refresh(ct timeouts, e *expect.Entry) {
	if e.TCPState == expect.TCPStateEstablished && e.Timeout < n.established {
		_ = ct.UpdateTimeout(e.Original, n.established) // it may be gone
	}
}

// establishedTimeout is what conntrack gives an established connection; zero if that
// is not known.
func establishedTimeout() time.Duration {
	b, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established")
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return time.Duration(n) * time.Second
}
