// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"testing"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/session"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/nfq"
	"github.com/pasvport/pasvport/rules"
)

// lose makes conntrack lose a connection in the middle of a session.
func (b *bench) lose(l *link) {
	b.k.remove(l.entry)
	b.end(b.k, b.registry.session(l.entry.Original))
}

const reset = "repeat"

// TestStale: what happens to the next packet of a connection that conntrack has
// lost.
func TestStale(t *testing.T) {
	for _, tt := range []struct {
		name  string
		entry expect.Entry
		edit  func(*bench)
		from  int
		want  string
	}{
		{"the client of a plain one sends", plainEntry(1), nil, client, "accept"},
		{"the server of a plain one sends", plainEntry(1), nil, server, "drop"},
		{"its entry cannot be made again", plainEntry(1), func(b *bench) { b.k.refuses = errors.New("no") }, server, "accept"},
		{"the client of a translated one sends", entryOf(1), nil, client, "accept"},
		{"the server of a translated one sends", entryOf(1), nil, server, reset},
		{"without resets", entryOf(1), func(b *bench) { b.cfg.ResetStale = false }, server, "accept"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, nil)
			l := b.connect(tt.entry)
			l.logIn()
			b.lose(l)
			if tt.edit != nil {
				tt.edit(b)
			}
			if v, _ := l.say(tt.from, "NOOP\r\n"); v != tt.want {
				t.Errorf("%s, want %s", v, tt.want)
			}
		})
	}
}

// TestPortsUsedAgain: a SYN that conntrack takes for one of an earlier connection begins a
// new one, if that has ended.
func TestPortsUsedAgain(t *testing.T) {
	control := entryOf(1)
	data := dataOf(&link{entry: &control}, 50000)
	foreign := data
	foreign.Master.Dst = ap("203.0.113.1:5060")
	for _, tt := range []struct {
		name  string
		entry expect.Entry
		state uint8
		reply bool
		want  string
	}{
		{"closed", control, expect.TCPStateTimeWait, false, "drop"},
		{"reset", control, expect.TCPStateClose, false, "drop"},
		{"data", data, expect.TCPStateTimeWait, false, "drop"},
		{"living", control, expect.TCPStateEstablished, false, "accept"},
		{"beginning", control, expect.TCPStateSynRecv, false, "accept"},
		{"from the other end", control, expect.TCPStateTimeWait, true, "accept"},
		{"data of another helper", foreign, expect.TCPStateTimeWait, false, "accept"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, nil)
			e := tt.entry
			e.TCPState, e.Liberal = tt.state, true
			b.k.enter(e)
			from := e.Original
			if tt.reply {
				from = e.Reply
			}
			if v, _ := b.handle(packetOf(t, from, 1, 0, "", nfq.FlagSYN)); v != tt.want {
				t.Errorf("%s, want %s", v, tt.want)
			}
			if _, err := b.k.Get(e.Original); (err == nil) != (tt.want == "accept") {
				t.Errorf("%s, and its entry: %v", tt.want, err)
			}
		})
	}
}

// TestDataPortsUsedAgain: a data connection that conntrackd has as established was closed
// if another one between the same ports is awaited. Its entry makes place for that one's.
func TestDataPortsUsedAgain(t *testing.T) {
	for _, tt := range []struct {
		strategy string
		entry    expect.Entry
		want     string
	}{{"expectation", entryOf(1), "drop"}, {"claim", plainEntry(1), "accept"}} {
		t.Run(tt.strategy, func(t *testing.T) {
			b := newBench(t, nil)
			l := b.connect(tt.entry)
			l.logIn()
			data := dataOf(l, 50000)
			data.TCPState = expect.TCPStateEstablished
			b.k.enter(data)
			syn := func(id uint32) string {
				p := packetOf(t, data.Original, 1, 0, "", nfq.FlagSYN)
				p.ID = id
				v, _ := b.handle(p)
				return v
			}
			stays := func() bool {
				e := b.k.entries[data.Original]
				return e != nil && e.TCPState == expect.TCPStateEstablished
			}
			if v := syn(10001); v != "accept" || !stays() {
				t.Errorf("nothing is announced: %s", v)
			}
			l.passive(50000)
			if v := syn(10002); v != tt.want || stays() {
				t.Errorf("its ports are announced again: %s", v)
			}
		})
	}
}

// TestStaleAdjusted: a connection whose sequence numbers were adjusted cannot
// continue, not even with an entry that conntrack recreated.
func TestStaleAdjusted(t *testing.T) {
	b := newBench(t, nil)
	l := b.announced(entryOf(1))
	b.lose(l)
	again := entryOf(1)
	again.Liberal = true
	b.connect(again)
	if v, _ := l.say(client, "NOOP\r\n"); v != reset {
		t.Errorf("%s, want a reset", v)
	}
	b.logs(`msg="stale control connection reset"`, "session=1", "adjusted")
}

// TestRestored: an entry is recreated as it was, with its mark and helper.
func TestRestored(t *testing.T) {
	b := newBench(t, nil)
	e := plainEntry(1)
	b.plan.rules.Carrier = rules.CarrierSane
	e.Mark, e.Helper = 0x40, session.CarrierName
	l := b.connect(e)
	l.logIn()
	b.lose(l)
	l.say(server, "150 go\r\n")
	want := expect.Forgotten{Original: e.Original, Mark: 0x40, Helper: session.CarrierName, Timeout: restoredTime}
	if len(b.k.restored) != 1 || b.k.restored[0] != want {
		t.Errorf("restored: %+v", b.k.restored)
	}
	b.logs(`msg="control connection restored"`, "session=1")
}

// TestPickedUp: a session continues with the entry that conntrack recreated, and
// knows what was said before.
func TestPickedUp(t *testing.T) {
	b := newBench(t, nil)
	l := b.connect(plainEntry(1))
	l.logIn()
	l.accepts(client, "PASV\r\n")
	b.lose(l)
	l.accepts(client, "NOOP\r\n") // the engine reads it, though there is no session
	again := plainEntry(1)
	again.ID, again.Liberal = 2, true
	m := b.connect(again)
	m.next = l.next
	m.say(server, "227 Entering Passive Mode (203,0,113,1,195,80).\r\n")
	if len(b.k.elements) != 1 {
		t.Error("the reply to an earlier command opens nothing")
	}
	if s := m.session(); s == nil || s.ID() != 2 {
		t.Error("there is no session of the new entry")
	}
}

// TestReuse: the next connection with the same ports is another session, though
// the end of the first was not reported.
func TestReuse(t *testing.T) {
	b := newBench(t, nil)
	l := b.connect(entryOf(1))
	l.logIn()
	first := l.session()
	b.ending(b.k, first, expect.TCPStateTimeWait)
	b.k.remove(l.entry)
	next := entryOf(1)
	next.ID = 7
	m := b.connect(next)
	m.accepts(server, "220 another\r\n")
	if s := m.session(); s == first || s.ID() != 7 {
		t.Error("the second connection has the session of the first")
	}
	if b.metrics.Sessions.Load() != 1 {
		t.Errorf("%d sessions", b.metrics.Sessions.Load())
	}
}

// TestNotTracked: a packet unknown to conntrack passes, and is counted.
func TestNotTracked(t *testing.T) {
	b := newBench(t, func(c *config.Config) { c.ResetStale = false })
	l := b.connect(entryOf(1))
	b.k.remove(l.entry)
	l.accepts(client, "NOOP\r\n")
	if n := b.metrics.Decisions()["not-tracked"]; n != 1 {
		t.Errorf("counted %d times", n)
	}
}

// TestHalfOpen: an entry without an answer is not a session yet.
func TestHalfOpen(t *testing.T) {
	b := newBench(t, nil)
	e := entryOf(1)
	e.Status = 0
	l := b.connect(e)
	l.say(client, "NOOP\r\n")
	if l.session() != nil {
		t.Error("there is a session")
	}
}

// TestTakenOver: a session of an earlier daemon goes to the worker whose queue
// its packets come to.
func TestTakenOver(t *testing.T) {
	b := newBench(t, nil)
	l := b.connect(entryOf(1))
	s := newSession(*l.entry)
	b.registry.orphans.Add(s)
	l.say(client, "NOOP\r\n")
	if table, got := b.registry.find(s.Original()); got != s || table != b.w.table {
		t.Error("it is not the worker's")
	}
}

// TestMissed: after our rules were missing, the first reply that announces a port
// is assumed to be asked for.
func TestMissed(t *testing.T) {
	b := newBench(t, nil)
	l := b.connect(plainEntry(1))
	l.logIn()
	l.next[client] += uint32(len("PASV\r\n")) // unseen
	l.session().Miss()
	l.say(server, "227 Entering Passive Mode (203,0,113,1,195,80).\r\n")
	if len(b.k.elements) != 1 {
		t.Error("nothing is opened")
	}
}

// TestKeepaliveNotes: segments are recorded if something needs them.
func TestKeepaliveNotes(t *testing.T) {
	b := newBench(t, nil)
	b.notes = true
	l := b.connect(entryOf(1))
	l.logIn()
	b.handle(l.packet(client, "", nfq.FlagACK))
	state := l.session().Keepalive()
	if state.Conn == nil || !state.Established || state.Tuples[1] != l.entry.Reply {
		t.Fatalf("%+v", state)
	}
	if ends, _, ok := state.Conn.Silent(false); !ok || ends[client].Next != l.next[client] || time.Since(ends[client].Heard) > time.Minute {
		t.Errorf("%+v, %v", ends, ok)
	}
}
