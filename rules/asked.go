// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"time"

	"golang.org/x/sys/unix"
)

// setAsked holds the conntrack ids of control connections of which bare
// acknowledgements are queued, too.
const setAsked = "asked"

// AskedTime is how long ShowAcks lasts. An acknowledgement that was asked for
// comes at once, or not at all, and is asked for again.
const AskedTime = 10 * time.Second

// askedSet is: set asked { typeof ct id; flags timeout; timeout 10s; }
func askedSet(table string) set { return idSet(table, setAsked, AskedTime) }

// ShowAcks has bare acknowledgements of an established control connection
// queued for AskedTime. id is that of its conntrack entry.
func (f *Firewall) ShowAcks(id uint32) error {
	return f.change(func() {
		s := askedSet(f.cfg.Table)
		f.key = idKey(f.key[:0], id)
		f.element(unix.NFT_MSG_NEWSETELEM, &s, 0, "")
	})
}
