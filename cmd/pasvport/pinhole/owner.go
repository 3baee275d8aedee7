// SPDX-License-Identifier: Apache-2.0

package pinhole

import (
	"net/netip"
	"sync/atomic"

	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
)

// Owner is a control connection as its pinholes see it. It is a part of the
// session, and does not move while the table knows a pinhole or a data
// connection of it. The exported fields do not change.
type Owner struct {
	ID      uint32            // of the conntrack entry
	Zone    uint16            // of its original tuple
	Carrier bool              // the entry takes expectations
	Ends    *ftpalg.Endpoints // its addresses

	transferring atomic.Bool // it has live data connections

	open    *Pinhole // the one that is open, if any; under Table.mu
	traffic *Traffic // nil without a data connection; under Data.mu
}

// Traffic sums up the data connections of an owner.
type Traffic struct {
	Connections uint32
	Accounting  bool      // conntrack counts bytes
	Bytes       [2]uint64 // by direction of the data connections
}

// Original returns the tuple of the control connection's first packet.
func (o *Owner) Original() expect.Tuple {
	return expect.Tuple{Src: o.Ends.Client, Dst: o.Ends.Dialled, Zone: o.Zone}
}

// Entry implements keepalive.Control.
func (o *Owner) Entry() (original expect.Tuple, id uint32) { return o.Original(), o.ID }

// client is for whom its pinholes count.
func (o *Owner) client() netip.Addr { return o.Ends.Client.Addr() }

// Transferring reports whether bytes may still go over a data connection.
func (o *Owner) Transferring() bool { return o.transferring.Load() }
