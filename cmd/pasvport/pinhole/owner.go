// SPDX-License-Identifier: Apache-2.0

package pinhole

import (
	"sync/atomic"

	"github.com/pasvport/pasvport/cmd/pasvport/report"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
)

// Owner is a control connection as its pinholes see it. It is a part of the
// session, and does not move while the table has a pinhole or a data connection
// of it. The exported fields do not change.
type Owner struct {
	ID        uint32            // of the conntrack entry
	Zone      uint16            // of its original tuple
	Carrier   bool              // the entry accepts expectations
	Mark      uint32            // ct mark bits that its data connections get
	Monitored bool              // nothing is changed or opened for it
	OneWay    bool              // payload of its data connections may go in one direction only
	Ends      *ftpalg.Endpoints // its addresses

	// Stamped reports whether the segments of the connection carry timestamps
	// (RFC 7323), and so those of its data connections, which are between the
	// same hosts.
	Stamped atomic.Bool

	transferring atomic.Bool // it has live data connections

	open    *Pinhole // the one that is open, if any; under Table.mu
	traffic *Traffic // nil without a data connection; under Data.mu
}

// Traffic sums up the data connections of an owner.
type Traffic struct {
	Connections uint32
	Accounting  bool      // conntrack counts bytes
	Bytes       [2]uint64 // by direction of the data connections, headers included
	Payload     Payload

	last expect.Tuple // of the last data connection, until it is taken
	// lost is the pinhole of the last data connection if its entry was deleted before
	// it was answered.
	lost *Pinhole
}

// Payload is what data connections have carried without headers, in bytes. As
// conntrack counts whole packets, headers are subtracted with the usual size of a
// host's headers: without retransmissions it is exact.
type Payload struct {
	Upload, Download uint64 // from the client, to the client
}

func (p *Payload) add(more Payload) {
	p.Upload += more.Upload
	p.Download += more.Download
}

// Sizes of headers in bytes.
const (
	ipv4Header     = 20
	ipv6Header     = 40
	tcpHeader      = 20
	timestamps     = 12 // with padding
	optionsOfSYN   = 12 // maximum segment size, SACK permitted, window scale, with padding
	optionsOfSYNTS = 8  // the same with timestamps
)

// payload returns what an entry's packets carried in one direction.
func payload(e *expect.Entry, d int, stamped bool) uint64 {
	each, syn := uint64(ipv4Header+tcpHeader), uint64(optionsOfSYN)
	if e.Original.Src.Addr().Is6() {
		each = ipv6Header + tcpHeader
	}
	if stamped {
		each, syn = each+timestamps, optionsOfSYNTS
	}
	headers := e.Packets[d]*each + syn
	return e.Bytes[d] - min(e.Bytes[d], headers)
}

// Carried is what a data connection has carried.
type Carried struct {
	Active bool // the server opened it
	Payload
}

// Carried returns what the data connection of an entry has carried, or nothing if
// conntrack does not count.
func (o *Owner) Carried(e *expect.Entry) (c Carried) {
	c.Active = e.Reply.Src.Addr() == o.Ends.Client.Addr() && e.Original.Src.Addr() != o.Ends.Client.Addr()
	if !e.HasCounters {
		return c
	}
	first, second := payload(e, 0, o.Stamped.Load()), payload(e, 1, o.Stamped.Load())
	if c.Upload, c.Download = first, second; c.Active {
		c.Upload, c.Download = second, first
	}
	return c
}

// Original returns the tuple of the control connection's first packet.
func (o *Owner) Original() expect.Tuple {
	return expect.Tuple{Src: o.Ends.Client, Dst: o.Ends.Dialled, Zone: o.Zone}
}

// Subject identifies the control connection in the log and in events.
func (o *Owner) Subject() report.Subject {
	return report.Subject{Session: uint64(o.ID), Client: o.Ends.Client, Server: o.Ends.Server, Monitored: o.Monitored}
}

// Entry implements keepalive.Control.
func (o *Owner) Entry() (original expect.Tuple, id uint32) { return o.Original(), o.ID }

// Transferring reports whether a data connection may still carry bytes.
func (o *Owner) Transferring() bool { return o.transferring.Load() }
