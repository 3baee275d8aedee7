// SPDX-License-Identifier: Apache-2.0

package ftpalg

import (
	"iter"
	"net/netip"
)

// Direction is a direction of the control connection.
type Direction uint8

const (
	// Original is the direction of the connection's first packet: client to
	// server.
	Original Direction = iota
	// Reply is server to client.
	Reply
)

// String returns "original" or "reply".
func (d Direction) String() string {
	if d == Reply {
		return "reply"
	}
	return "original"
}

func opposite(d Direction) Direction { return Original + Reply - d }

// Action is what is to be done with a segment.
type Action uint8

const (
	// Forward: the segment is forwarded, with the bytes that [Conn.Rewrite]
	// returns once all events are handled.
	Forward Action = iota
	// Hold keeps the segment until a later one of the same direction is
	// forwarded with Release set, or until it has waited long enough and
	// [Conn.Abandon] is called.
	Hold
	// Drop discards the segment; its sender retransmits it.
	Drop
)

// EventKind is the kind of an Event.
type EventKind uint8

const (
	// EventOffer: a data connection was announced and may be opened.
	EventOffer EventKind = iota
	// EventRefused: a data connection was announced and must not be opened;
	// see Reason.
	EventRefused
	// EventCancelled: the last offer is void; see Reason. What was opened for it
	// and not used yet must be closed.
	EventCancelled
	// EventOpaque: the connection is encrypted from here on.
	EventOpaque
	// EventDenied: the client gave a command that the policy denies; see
	// Reason and Rule.
	EventDenied
	// EventForwarded: the connection began with a PROXY header, which is in
	// Forwarded.
	EventForwarded
	// EventForeign: the connection is not FTP, or its start was not seen; see
	// Reason. Nothing is opened on it any more, and nothing should be on another
	// one that continues it.
	EventForeign
	// EventWay: the transfer of the last offer has the direction Way; see
	// Policy.OneWay.
	EventWay
	// EventReleased: nothing on this connection can matter any more. It need not
	// be read; if it is, it is judged as before.
	EventReleased
)

// Event is something that happened in a segment. Offer is set for EventOffer, and
// for EventRefused, where it holds what could be read of the offer.
type Event struct {
	Kind   EventKind
	Reason Reason
	Offer  *Offer
	// Rule is, with EventDenied, the part of the policy that denies: a command, a
	// pattern, a subcommand, a limit. It may be empty where Reason is enough.
	Rule string
	// Announce says, with EventRefused, that the announcement must be forwarded
	// nevertheless, with its own port: call [Conn.Announce]. It is not known
	// whether it is an announcement.
	Announce bool
	// Way is set for EventWay.
	Way Way
	// Forwarded is set for EventForwarded.
	Forwarded *Forwarded
}

// Decision is the answer to a segment.
type Decision struct {
	Action Action
	// Release says, with Forward, that the segments held in this direction go
	// first, each through Rewrite, in the order of their arrival.
	Release bool
	// Adjust says, with Drop, that the line arrives in pieces and cannot be
	// absorbed while no one adjusts sequence numbers: [Conn.SetAdjustBy] may
	// change that.
	Adjust bool
	// Ask says, with Drop, that the segment has to wait until it is known what
	// its receiver has: the bytes before it, or an earlier edit. An empty segment
	// with the sequence number AskAt, in the numbers of Rewritten, may be sent in
	// its place; the answer is an acknowledgement.
	Ask   bool
	AskAt uint32
	// Reason is the reason for the segment as a whole.
	Reason Reason
	// Events, like Lines, are valid until the next call of Segment on a
	// connection with the same Workspace.
	Events []Event
	// Lines are the whole lines that the segment completed.
	Lines Lines
}

// Lines are lines without their ends and the Telnet commands in them. A
// retransmission adds no lines, nor does a connection that is encrypted or not
// FTP.
type Lines struct {
	text []byte // one after another
	ends []int  // where each of them ends

	failed []bool // which of them were made to fail
}

// All returns the lines in the order of their arrival, and whether each is a
// command that was made to fail.
func (l Lines) All() iter.Seq2[[]byte, bool] {
	return func(yield func([]byte, bool) bool) {
		start := 0
		for i, end := range l.ends {
			if !yield(l.text[start:end], l.failed[i]) {
				return
			}
			start = end
		}
	}
}

// Forwarded are the addresses of a PROXY header, as its sender claims.
type Forwarded struct {
	Source, Dest netip.AddrPort // invalid if the header names none
}
