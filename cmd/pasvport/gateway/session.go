// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/control"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/nfq"
)

// session is one control connection. Its engine and the held packets belong
// to the goroutine of its queue; what is under mu is also read and changed by
// those that watch the tracker and answer the administrator.
type session struct {
	id       uint32 // of the conntrack entry
	original expect.Tuple
	reply    expect.Tuple
	ep       ftpalg.Endpoints
	started  time.Time
	carrier  bool // it takes expectations
	aside    bool // somebody else's: not read

	alg  *ftpalg.Conn
	held [2]held
	here bool // its sequence numbers are adjusted here, see renumber.go

	noted adjustments // of here, what the next daemon would find

	transferring atomic.Bool // it has live data connections
	missed       atomic.Bool // packets may have passed unread, see heal.go
	adjusted     atomic.Bool // its sequence numbers are, by the kernel or here

	mu          sync.Mutex
	state       uint8 // of the TCP connection, expect.TCPState...
	lastVerb    string
	offer       *control.Offer
	pinhole     *pinhole // the open one, if any
	connections int
	bytes       [2]uint64
	accounting  bool
	opaque      bool
	note        string
	renumbered  bool // as here
	wire        wire
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
// seen from its first byte on.
func newSession(e *expect.Entry, policy *ftpalg.Policy, now time.Time, started bool) *session {
	s := &session{
		id:       e.ID,
		original: e.Original,
		reply:    e.Reply,
		started:  now,
		state:    e.TCPState,
		carrier:  e.Helper == carrierName,
		ep: ftpalg.Endpoints{Client: e.Original.Src, Dialled: e.Original.Dst,
			Server: e.Reply.Src, SeenAs: e.Reply.Dst},
	}
	s.adjusted.Store(e.Status&expect.StatusSeqAdjust != 0)
	s.alg = ftpalg.NewConn(s.ep, policy, ftpalg.Options{
		// Whether the kernel can adjust is known for certain only after it
		// was told to; see worker.forward.
		Adjustable: s.ep.Client != s.ep.SeenAs || s.ep.Dialled != s.ep.Server,
		Started:    started,
		Adjusted:   [2]ftpalg.Adjustment{ftpalg.Adjustment(e.Adj[0]), ftpalg.Adjustment(e.Adj[1])},
	})
	return s
}

// direction returns the direction of a packet of the session.
func (s *session) direction(p *nfq.Packet) ftpalg.Direction {
	if p.Src == s.original.Src && p.Dst == s.original.Dst {
		return ftpalg.Original
	}
	return ftpalg.Reply
}

// setNote leaves a sentence for the administrator.
func (s *session) setNote(text string) {
	s.mu.Lock()
	s.note = text
	s.mu.Unlock()
}

// table are the sessions of one queue. The lock is for those that watch; the
// queue's goroutine meets nobody there as a rule.
type table struct {
	mu       sync.Mutex
	sessions map[expect.Tuple]*session // by both directions
}

func (t *table) find(src, dst netip.AddrPort) *session {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sessions[expect.Tuple{Src: src, Dst: dst}]
}

func (t *table) add(s *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sessions[s.original] = s
	t.sessions[s.reply] = s
}

// remove takes a session out and reports whether it was there.
func (t *table) remove(s *session) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sessions[s.original] != s {
		return false
	}
	delete(t.sessions, s.original)
	delete(t.sessions, s.reply)
	return true
}

// all returns the sessions of the table.
func (t *table) all() []*session {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]*session, 0, len(t.sessions)/2)
	for k, s := range t.sessions {
		if k == s.original {
			list = append(list, s)
		}
	}
	return list
}
