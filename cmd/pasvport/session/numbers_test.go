// SPDX-License-Identifier: Apache-2.0

package session

import (
	"math"
	"net/netip"
	"testing"
	"time"

	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/nfq"
)

// A session that was handed over is out of step once an end has sent something
// while no one adjusted its numbers, and for no other reason. The client has sent
// everything up to 1000 and the server up to 5000; in the server's view the
// client's numbers are 4 lower, or 4 higher.
func TestOutOfStep(t *testing.T) {
	type packet struct {
		d        ftpalg.Direction
		seq, ack uint32
		payload  int
		flags    uint8
		broken   bool
	}
	const client, server = ftpalg.Original, ftpalg.Reply
	for _, c := range []struct {
		name    string
		shift   int32
		packets []packet
	}{
		{"nobody spoke", -4, []packet{
			{d: client, seq: 1000, ack: 5000, payload: 60},
			{d: server, seq: 5000, ack: 1056, payload: 10},
			{d: client, seq: 1060, ack: 5010},
		}},
		{"repetitions of what was read", -4, []packet{
			{d: client, seq: 900, ack: 5000, payload: 50},
			{d: server, seq: 5000, ack: 996}, // of the second, which was read before
			{d: client, seq: 950, ack: 5000, payload: 50},
			{d: server, seq: 4990, ack: 996, payload: 10},
		}},
		{"the end of both", 4, []packet{
			{d: client, seq: 1000, ack: 5000, flags: nfq.FlagFIN},
			{d: server, seq: 5000, ack: 1005, flags: nfq.FlagFIN},
			{d: client, seq: 1001, ack: 5001},
		}},
		{"the client spoke, and goes on", 4, []packet{
			{d: client, seq: 1060, ack: 5000, payload: 6, broken: true},
			{d: server, seq: 5000, ack: 1000, broken: true},
		}},
		{"the client spoke, and repeats it", -4, []packet{
			{d: client, seq: 1000, ack: 5000, payload: 60},  // may as well be the first time
			{d: server, seq: 5000, ack: 1060, broken: true}, // has the last 4 bytes twice
		}},
		{"the client spoke, and the server says what it has of it", 4, []packet{
			{d: server, seq: 5000, ack: 1060, broken: true},
		}},
		{"the server spoke", 4, []packet{
			{d: server, seq: 5010, ack: 1004, payload: 10, broken: true},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := netip.MustParseAddrPort
			e := &expect.Entry{
				Original: expect.Tuple{Src: a("10.7.0.2:1025"), Dst: a("203.0.113.2:21")},
				Reply:    expect.Tuple{Src: a("203.0.113.2:21"), Dst: a("203.0.113.171:1025")},
			}
			e.Adj[expect.Original] = expect.SeqAdj{Pos: 500, Before: c.shift, After: c.shift}
			s := New(e, &ftpalg.Policy{}, time.Unix(1000, 0), false, new(ftpalg.Workspace))
			s.Resume([2]*uint32{new(uint32(1000)), new(uint32(5000))})
			for i, p := range c.packets {
				q := &nfq.Packet{Seq: p.seq, Ack: p.ack, Payload: make([]byte, p.payload), Flags: p.flags | nfq.FlagACK}
				if got := s.OutOfStep(p.d, q); got != p.broken {
					t.Errorf("packet %d, %+v: out of step is %t", i, p, got)
				}
			}
		})
	}
}

func TestAdjustmentsNote(t *testing.T) {
	for _, a := range []Adjustments{
		{},
		{{Pos: 1, Before: -2, After: 3}, {Pos: math.MaxUint32, Before: math.MaxInt32, After: math.MinInt32}},
		{{Pos: math.MaxUint32, Before: math.MinInt32, After: math.MinInt32}, {Pos: math.MaxUint32, Before: math.MinInt32, After: math.MinInt32}},
	} {
		got, err := ParseAdjustments(a.Note())
		if err != nil || got != a || len(a.Note()) > 120 {
			t.Errorf("%q of %d bytes read as %v, %v", a.Note(), len(a.Note()), got, err)
		}
	}
	if _, err := ParseAdjustments("original 1 2"); err == nil {
		t.Error("half a note was read")
	}
}
