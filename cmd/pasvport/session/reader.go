// SPDX-License-Identifier: Apache-2.0

package session

import (
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/keepalive"
	"github.com/pasvport/pasvport/cmd/pasvport/lost"
	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/nfq"
)

// Reader is the part of a session that belongs to whoever handles a packet of it.
// Session.Acquire or New returns it, and it must not be used after Release.
type Reader struct {
	*Session
	Engine *ftpalg.Conn
	Aside  bool // another helper's, or above a limit: it is not read
	Waits  bool // its packets are dropped until there is room for it
	Hinted bool // the hint about an opened offer was logged

	leftAt    uint32   // when it was last left alone, in seconds after Started
	acksShown uint32   // until when its bare acknowledgements are queued, in seconds after Started
	numbers   *numbers // nil unless its sequence numbers are adjusted here
}

// Acquire returns the reader of a session, its engine with the caller's
// workspace, if no one else has it; otherwise nil. A session that continues a
// connection that conntrack lost acquires it for good.
func (s *Session) Acquire(work *ftpalg.Workspace) *Reader {
	if s.set(used, true) {
		return nil
	}
	s.reader.Engine.Share(work)
	return &s.reader
}

// Release lets others acquire it.
func (r *Reader) Release() { r.set(used, false) }

// Lost is what to remember of a session that conntrack has lost.
func (s *Session) Lost() lost.Connection {
	c := lost.Connection{
		ID:       s.ID(),
		Original: s.Original(), Reply: s.Reply(), Translated: s.Ends().NAT(),
		Adjusted: s.Adjusted(), Carrier: s.Owner.Carrier, Left: s.Left(), Mark: s.Mark(),
	}
	if !c.Adjusted {
		c.Engine = engine{s}
	}
	return c
}

// engine implements lost.Engine.
type engine struct{ s *Session }

func (e engine) Acquire(work *ftpalg.Workspace) *ftpalg.Conn {
	r := e.s.Acquire(work)
	if r == nil {
		return nil
	}
	var passed ftpalg.Unread
	if r.Fast.Stop(&passed) {
		r.Engine.Passed(&passed)
	}
	return r.Engine
}

func (e engine) Release() { e.s.reader.Release() }

// Continues gives a session the engine of the connection that it continues, and
// reports whether it is that one's.
func (r *Reader) Continues(alg *ftpalg.Conn) bool {
	if alg == nil || *alg.Endpoints() != *r.Ends() {
		return false
	}
	// Whoever held segments has dropped them.
	alg.Abandon(ftpalg.Original)
	alg.Abandon(ftpalg.Reply)
	r.Engine, r.Owner.Ends = alg, alg.Endpoints()
	return true
}

// GoOn gives a session of another firewall a new engine, which continues from a
// state; nil: unknown. Whoever held segments has dropped them.
func (r *Reader) GoOn(e *expect.Entry, policy *ftpalg.Policy, from *ftpalg.State, work *ftpalg.Workspace) {
	r.Engine = newEngine(e, policy, false, work) // Owner.Ends has the same addresses
	r.Engine.Continue(from, true)
	r.adjusts.Store(byNobody)
	if e.Status&expect.StatusSeqAdjust != 0 {
		r.adjusts.Store(byKernel)
	}
}

// Doubtful reports whether a packet may belong to another connection with a tuple
// of this one, whose end we have not learnt of yet: conntrack gives the tuple of
// a closed connection to the next, also under translation
// (nf_nat_used_tuple_harder in net/netfilter/nf_nat_core.c).
func (r *Reader) Doubtful(p *nfq.Packet) bool {
	return r.has(closing) || r.Engine.Position(r.Direction(p)).Foreign(p.Seq)
}

// Is reports whether a session belongs to conntrack's entry for its packet. Their
// ids may be the same even if it does not: then an open entry does not belong to
// a session being closed, and a packet that conntrack finds valid does not belong
// to one whose numbers are far behind it. They may be far ahead: since 6.1
// conntrack lets pass what it takes for bytes that were acknowledged long ago
// (NFCT_TCP_IGNORE in tcp_in_window), which anyone can send; and the numbers of a
// connection that follows another with the same ports are ahead (RFC 6528). A
// liberal entry accepts any number.
func (r *Reader) Is(e *expect.Entry, p *nfq.Packet) bool {
	if r.ID() != e.ID {
		return false
	}
	if r.has(closing) {
		return !isOpen(e)
	}
	at := r.Engine.Position(r.Direction(p))
	return e.Liberal || !at.Foreign(p.Seq) || at.Behind(p.Seq)
}

// isOpen reports whether neither end has begun to close a connection.
func isOpen(e *expect.Entry) bool {
	return e.TCPState >= expect.TCPStateSynSent && e.TCPState <= expect.TCPStateEstablished
}

// Leave records that the session is not read any more.
func (r *Reader) Leave(why succession.Left, now time.Time) {
	r.left.Store(uint32(why))
	r.leftAt = r.seconds(now)
}

// Returned reports whether a packet belongs to a session that was left alone, and
// whose packets should not come any more. Packets within a second were already
// queued.
func (r *Reader) Returned(p *nfq.Packet, now time.Time) bool {
	if r.Left() == succession.LeftNot || r.Here() || r.Waits || len(p.Payload) == 0 {
		return false
	}
	return r.seconds(now) > r.leftAt+1
}

// ShowAcks reports whether to request bare acknowledgements for a time; they are
// requested again when half of it is over.
func (r *Reader) ShowAcks(now time.Time, lasts time.Duration) bool {
	if r.seconds(now) < r.acksShown {
		return false
	}
	r.acksShown = r.seconds(now) + uint32(lasts/2/time.Second)
	return true
}

func (r *Reader) seconds(now time.Time) uint32 { return uint32(now.Sub(r.Started) / time.Second) }

// TakeMissed reports whether packets may have passed unread since the last call.
func (r *Reader) TakeMissed() bool { return r.has(missed) && r.set(missed, false) }

// NoteWaiting records whether a transfer command waits for its final reply.
func (r *Reader) NoteWaiting() {
	if waits := r.Engine.TransferWaits(); waits != r.has(waiting) {
		r.set(waiting, waits)
	}
}

// NoteHeld records how much memory its engine holds.
func (r *Reader) NoteHeld() {
	if n := uint32(r.Engine.Held()); n != r.held.Load() {
		r.held.Store(n)
	}
}

// AdjustedByKernel records that the kernel adjusts the sequence numbers.
func (r *Reader) AdjustedByKernel() { r.adjusts.Store(byKernel) }

// NoteSegment records what a packet shows of the two ends, for the keep-alive.
func (r *Reader) NoteSegment(p *nfq.Packet, now time.Time) {
	c := r.liveness.Load()
	if c == nil {
		c = new(keepalive.Conn)
		r.liveness.Store(c)
	}
	c.Note(r.Direction(p), p, now)
}
