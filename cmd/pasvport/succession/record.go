// SPDX-License-Identifier: Apache-2.0

package succession

import (
	"net/netip"
	"time"

	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/rules"
)

// Record is the state of one control connection.
type Record struct {
	Original Tuple // of its first packet; the key
	Reply    Tuple

	// ID is that of its conntrack entry, on this machine. 0: it is not known.
	ID uint32 `json:",omitempty"`
	// Left is why it is not read; LeftNot if it is.
	Left Left `json:",omitzero"`
	// Engine is the state of the protocol engine; nil if it is not known.
	Engine *ftpalg.State `json:",omitempty"`
	// Adjusted are its sequence adjustments if the daemon makes them, by
	// direction.
	Adjusted *[2]ftpalg.Adjustment `json:",omitempty"`
	// Next is what each end would send next, by direction; nil if it is not
	// known.
	Next [2]*uint32 `json:",omitzero"`
	// Told is when the other firewall of a pair was told of it last; nil if it was not.
	Told *Stamp `json:",omitempty"`
	// Pinholes are open, or were used by a data connection that was not
	// answered yet.
	Pinholes []Pinhole `json:",omitempty"`
}

// Tuple is an expect.Tuple in fewer bytes.
type Tuple struct {
	Src, Dst netip.AddrPort
	Zone     uint16 `json:",omitempty"`
}

// Stamp says how new what the other firewall of a pair was told is.
type Stamp struct{ Gen, Seq uint64 }

// Is reports whether the record is that of the connection with these tuples and
// with this id of its entry. No other one has all three.
func (r *Record) Is(id uint32, original, reply expect.Tuple) bool {
	return r.ID == id && expect.Tuple(r.Original) == original && expect.Tuple(r.Reply) == reply
}

// Pinhole is the permission for one data connection.
type Pinhole struct {
	Active bool           `json:",omitempty"` // the server opens it
	Source netip.Addr     // who opens it
	Public netip.AddrPort // where that one connects to
	Target netip.AddrPort // where it ends
	NAT    bool           `json:",omitempty"` // it is translated as its control connection is
	Port   uint16         `json:",omitempty"` // the source port that it must have; 0 for any
	Left   time.Duration  // how long it stays, from when the record was written
	Way    rules.Way      `json:",omitempty"` // where payload may go
	// Data is the data connection that came through it and was not answered
	// yet: its SYN may be repeated.
	Data *Tuple `json:",omitempty"`
}

// Mode returns which end opens the data connection.
func (p *Pinhole) Mode() ftpalg.Mode {
	if p.Active {
		return ftpalg.Active
	}
	return ftpalg.Passive
}
