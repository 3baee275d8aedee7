// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/control"
	"github.com/pasvport/pasvport/cmd/pasvport/fastpath"
	"github.com/pasvport/pasvport/cmd/pasvport/keepalive"
	"github.com/pasvport/pasvport/cmd/pasvport/ledger"
	"github.com/pasvport/pasvport/cmd/pasvport/limit"
	"github.com/pasvport/pasvport/cmd/pasvport/pinhole"
	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/nfq"
)

// session is one control connection. Its engine and the held packets belong
// to the goroutine of its queue; what is under mu is also read and changed by
// those that watch the tracker and answer the administrator. There may be very
// many, most of them idle, so what few need is behind a pointer.
type session struct {
	id      uint32            // of the conntrack entry
	zone    [2]uint16         // of the conntrack tuples, by direction
	ep      *ftpalg.Endpoints // the engine's
	started time.Time
	carrier bool // it takes expectations
	aside   bool // somebody else's, or one too many: not read
	waits   bool // its packets are dropped, see turnAway
	hinted  bool // the hint about an opened offer was logged

	leftAt    uint32 // seconds after started at which it was left alone last
	acksShown uint32 // seconds after started until which its bare acknowledgements are queued, at least

	alg  *ftpalg.Conn
	used atomic.Bool // somebody uses the engine, or it went on to another session
	held *[2]held    // nil until something is
	fast fastpath.Conn

	owner pinhole.Owner // of its pinholes and data connections

	closing  atomic.Bool                    // an end has begun to close it
	waiting  atomic.Bool                    // a transfer command waits for its final reply, as the engine knows
	over     atomic.Bool                    // its end was reported
	missed   atomic.Bool                    // packets may have passed unread, see heal.go
	adjusted atomic.Bool                    // its sequence numbers are, by the kernel or here
	own      atomic.Pointer[ownNumbers]     // nil unless they are adjusted here
	counted  atomic.Bool                    // by the balancer
	alive    atomic.Pointer[keepalive.Conn] // nil until something is known
	met      atomic.Uint32                  // seconds after started at which its last packet came, and 1; 0: none has

	mu     sync.Mutex
	state  uint8           // of the TCP connection, expect.TCPState...
	mode   uint8           // of the last offer that was accepted, see modes
	left   succession.Left // why it is not read; LeftNot if it is
	member limit.Member    // of those that are counted, which guard it
	seen   uint8           // by the tracker's list with this number, see reconcile
	mark   uint32          // the ct mark, as far as it was reported
	cause  keepalive.Cause // why we ended it, if we did
	ledger *ledger.Ledger  // nil before the first line
	offer  *offer          // the last one, nil if there was none
	note   string
}

// offer is an announcement as it is shown, with its pinhole, nil if it was
// refused.
type offer struct {
	control.Offer
	pinhole *pinhole.Pinhole
}

// held are packets of one direction that wait for the rest of a line.
type held struct {
	since   time.Time
	packets []heldPacket
}

// heldPacket is a copy of a queued packet whose verdict is due.
type heldPacket struct {
	id   uint32
	data []byte
}

// newSession returns the session of a conntrack entry. started tells that it is
// seen from its first byte on; work is its worker's.
func newSession(e *expect.Entry, policy *ftpalg.Policy, now time.Time, started bool, work *ftpalg.Workspace) *session {
	s := &session{
		id:      e.ID,
		zone:    [2]uint16{e.Original.Zone, e.Reply.Zone},
		started: now,
		state:   e.TCPState,
		mark:    e.Mark,
		carrier: e.Helper == carrierName,
	}
	s.adjusted.Store(e.Status&expect.StatusSeqAdjust != 0)
	ep := ftpalg.Endpoints{Client: e.Original.Src, Dialled: e.Original.Dst, Server: e.Reply.Src, SeenAs: e.Reply.Dst}
	by := ftpalg.Nobody
	if ep.Client != ep.SeenAs || ep.Dialled != ep.Server {
		by = ftpalg.Kernel // whether it can is known after it was told to, see worker.forward
	}
	s.alg = ftpalg.NewConn(ep, policy, ftpalg.Options{
		AdjustBy:  by,
		Started:   started,
		Adjusted:  [2]ftpalg.Adjustment{ftpalg.Adjustment(e.Adj[0]), ftpalg.Adjustment(e.Adj[1])},
		Workspace: work,
	})
	s.ep = s.alg.Endpoints()
	s.owner.ID, s.owner.Zone, s.owner.Carrier, s.owner.Ends = s.id, s.zone[expect.Original], s.carrier, s.ep
	return s
}

// Acquire implements lost.Engine. The engine is the worker's that handles a packet
// of the session; who continues a connection that conntrack lost acquires it for
// good.
func (s *session) Acquire(work *ftpalg.Workspace) *ftpalg.Conn {
	if !s.used.CompareAndSwap(false, true) {
		return nil
	}
	s.alg.Share(work)
	return s.alg
}

// Release implements lost.Engine.
func (s *session) Release() { s.used.Store(false) }

// continues gives a session the engine of the connection that it continues.
func (s *session) continues(alg *ftpalg.Conn) bool {
	if alg == nil || *alg.Endpoints() != *s.ep {
		return false
	}
	// What was held is dropped by who held it.
	alg.Abandon(ftpalg.Original)
	alg.Abandon(ftpalg.Reply)
	s.alg, s.ep = alg, alg.Endpoints()
	s.owner.Ends = s.ep
	return true
}

// original returns the tuple of the connection's first packet.
func (s *session) original() expect.Tuple {
	return expect.Tuple{Src: s.ep.Client, Dst: s.ep.Dialled, Zone: s.zone[expect.Original]}
}

// reply returns the tuple of the packets that answer.
func (s *session) reply() expect.Tuple {
	return expect.Tuple{Src: s.ep.Server, Dst: s.ep.SeenAs, Zone: s.zone[expect.Reply]}
}

// direction returns the direction of a packet of the session.
func (s *session) direction(p *nfq.Packet) ftpalg.Direction {
	if p.Src == s.ep.Client && p.Dst == s.ep.Dialled {
		return ftpalg.Original
	}
	return ftpalg.Reply
}

// doubtful reports whether a packet may be of another connection that has a
// tuple of this one, whose end we have not heard of yet: the tracker gives the
// tuple of one that is closed to the next, also under translation
// (nf_nat_used_tuple_harder in net/netfilter/nf_nat_core.c).
func (s *session) doubtful(p *nfq.Packet) bool {
	return s.closing.Load() || s.alg.Position(s.direction(p)).Foreign(p.Seq)
}

// is reports whether a session that is in doubt is that of the entry which the
// tracker has for its packet. Their ids may be the same even if it is not, see
// concerns: then an entry that is open is not that of a session being closed,
// and a packet that the tracker finds in order is not that of one whose numbers
// are far behind it. Far ahead of it they may be: since 6.1 the tracker lets pass
// what it takes for bytes that were acknowledged long ago (NFCT_TCP_IGNORE in
// tcp_in_window), which anybody can send; and the numbers of a connection that
// follows another with the same ports are ahead (RFC 6528). A liberal entry takes
// any number.
func (s *session) is(e *expect.Entry, p *nfq.Packet) bool {
	if s.id != e.ID {
		return false
	}
	if s.closing.Load() {
		return !isOpen(e)
	}
	return e.Liberal || s.alg.Position(s.direction(p)).Behind(p.Seq)
}

// why returns why the session is not read; LeftNot if it is.
func (s *session) why() succession.Left {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.left
}

// meet notes that a packet of the session came.
func (s *session) meet(p *nfq.Packet, now time.Time) {
	if s.met.Swap(uint32(now.Sub(s.started)/time.Second)+1) == 0 {
		s.owner.Stamped.Store(p.Timestamps() != nil)
	}
}

// lastPacket returns when its last packet came, to the second.
func (s *session) lastPacket() time.Time {
	return s.started.Add(time.Duration(max(s.met.Load(), 1)-1) * time.Second)
}

// setNote leaves a sentence for the administrator.
func (s *session) setNote(text string) {
	s.mu.Lock()
	s.note = text
	s.mu.Unlock()
}

// table are the sessions of one queue. The lock is for those that watch; the
// queue's goroutine meets nobody there as a rule. The zero value is empty.
type table struct {
	mu       sync.Mutex
	sessions map[tableKey]*session // by both directions
}

// tableKey is a tuple in half its memory, and without a pointer.
type tableKey [2*16 + 3*2]byte

func keyOf(t expect.Tuple) (k tableKey) {
	a, b := t.Src.Addr().As16(), t.Dst.Addr().As16()
	copy(k[:], a[:])
	copy(k[16:], b[:])
	binary.NativeEndian.PutUint16(k[32:], t.Src.Port())
	binary.NativeEndian.PutUint16(k[34:], t.Dst.Port())
	binary.NativeEndian.PutUint16(k[36:], t.Zone)
	return k
}

func (s *session) keys() (original, reply tableKey) {
	return keyOf(s.original()), keyOf(s.reply())
}

func (t *table) find(of expect.Tuple) *session {
	k := keyOf(of)
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sessions[k]
}

func (t *table) add(s *session) {
	original, reply := s.keys()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sessions == nil {
		t.sessions = map[tableKey]*session{}
	}
	t.sessions[original], t.sessions[reply] = s, s
}

// remove takes a session out and reports whether it was there.
func (t *table) remove(s *session) bool {
	original, reply := s.keys()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sessions[original] != s {
		return false
	}
	delete(t.sessions, original)
	// A translated session may have the reply tuple of one that is over.
	if t.sessions[reply] == s {
		delete(t.sessions, reply)
	}
	return true
}

// all returns the sessions of the table.
func (t *table) all() []*session {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]*session, 0, len(t.sessions)/2)
	for k, s := range t.sessions {
		if original, _ := s.keys(); k == original {
			list = append(list, s)
		}
	}
	return list
}
