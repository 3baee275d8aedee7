// SPDX-License-Identifier: Apache-2.0

package pinhole

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/rules"
)

// Key is what the SYN of a data connection shows before any translation. Two
// pinholes with the same key cannot be distinguished.
type Key struct {
	Source netip.Addr
	Public netip.AddrPort
}

// Spec describes a pinhole to open.
type Spec struct {
	Key
	Target  netip.AddrPort // where the data connection ends
	Mode    ftpalg.Mode
	NAT     bool             // it is translated like its control connection, or from another port
	Ports   ftpalg.PortRange // possible ports, with NAT; the zero value: any
	Claim   bool             // by claim, not by expectation
	Port    uint16           // required source port of the data connection; 0: any
	Timeout time.Duration    // how long it stays unused
	OneWay  bool             // its payload may go in one direction only, see way.go
}

// Pinhole is the permission for one data connection. Only its state changes once
// it is announced.
type Pinhole struct {
	Spec
	Owner   *Owner
	Expires time.Time

	state atomic.Uint32
	// In Unix nanoseconds: until when it is kept beyond Expires, see Table.Keep,
	// and the last retransmission on its control connection, see Table.Repeats.
	kept, repeated atomic.Int64

	element rules.Pinhole // in the sets of nftables
	holds   bool          // it needs that; under halves.mu
	way     atomic.Uint32 // with OneWay: the rules.Way of its payload
	data    atomic.Uint32 // with OneWay: the id of its data connection's entry, once there is one
}

func newPinhole(o *Owner, spec Spec, expires time.Time) *Pinhole {
	p := &Pinhole{Spec: spec, Owner: o, Expires: expires}
	p.undecided()
	p.element = p.elements()
	return p
}

// State is the state of a pinhole.
type State uint32

// The states of a pinhole; see the package comment.
const (
	Reserved State = iota
	Open
	Used
	Expired
	Replaced
	Closed
	Dropped // expired, and its data connection came but was not accepted
)

// String returns the name of the state.
func (s State) String() string {
	return [...]string{"reserved", "open", "used", "expired", "replaced", "closed", "dropped"}[s]
}

// State returns the current state.
func (p *Pinhole) State() State { return State(p.state.Load()) }

// Until returns when the pinhole closes if it is not used.
func (p *Pinhole) Until() time.Time {
	if kept := p.kept.Load(); kept > p.Expires.UnixNano() {
		return time.Unix(0, kept)
	}
	return p.Expires
}

// Strategy is how the kernel learns of the data connection.
func (p *Pinhole) Strategy() string {
	if p.Claim {
		return "claim"
	}
	return "expectation"
}

// elements are the entries of the pinhole in the sets of nftables.
func (p *Pinhole) elements() rules.Pinhole {
	e := rules.Pinhole{Timeout: p.Timeout}
	if p.Claim {
		e.Source, e.Dest, e.Note = p.Source, p.Public, p.Note()
	}
	// The filter sees the destination translated, the source not yet.
	e.Forward.Src, e.Forward.Dst = p.Source, p.Target
	if p.OneWay {
		e.First.Src, e.First.Dst, e.Way = p.Source, p.Public, p.Way()
	}
	return e
}

// expected is the tuple of the pinhole's expectation.
func (p *Pinhole) expected() expect.Tuple {
	return expect.Tuple{Src: netip.AddrPortFrom(p.Source, p.Port), Dst: p.Public, Zone: p.Owner.Zone}
}

func (p *Pinhole) expectation() expect.Expectation {
	e := expect.Expectation{
		Master: p.Owner.Original(), Source: p.Source, SourcePort: p.Port,
		Dest: p.Public, Timeout: p.Timeout + keepBefore, // it is we who close it
	}
	if p.NAT {
		e.NAT, e.ToAddr, e.ToPort = true, p.Target.Addr(), p.Target.Port()
		e.Direction = expect.Original
		if p.Mode == ftpalg.Active {
			e.Direction = expect.Reply
		}
	}
	return e
}

// Way returns the permitted direction of the payload of p.
func (p *Pinhole) Way() rules.Way { return rules.Way(p.way.Load()) }

// undecided blocks the payload of p for now, if it may go in one direction only.
func (p *Pinhole) undecided() {
	if p.OneWay {
		p.way.Store(uint32(rules.WayUndecided))
	}
}

// keepBefore is how long before its end Keep prolongs a pinhole, and how long
// after it the kernel would close it.
const keepBefore = time.Second
