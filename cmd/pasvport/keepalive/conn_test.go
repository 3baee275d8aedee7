// SPDX-License-Identifier: Apache-2.0

package keepalive

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/nfq"
)

func tuple(src, dst string) expect.Tuple {
	return expect.Tuple{Src: netip.MustParseAddrPort(src), Dst: netip.MustParseAddrPort(dst)}
}

func packet(seq, ack uint32, payload string) *nfq.Packet {
	b := appendSegment(nil, tuple("192.0.2.1:1", "192.0.2.2:2"), &End{Ack: ack}, seq, nfq.FlagACK)
	b = append(b, payload...)
	b[3] += uint8(len(payload))
	var p nfq.Packet
	if err := nfq.ParsePacket(&p, b); err != nil {
		panic(err) // made here
	}
	return &p
}

// What the ends have sent gives the numbers of both, in any order and across the
// wrap of sequence numbers.
func TestSilentNumbers(t *testing.T) {
	start := time.Unix(1000, 0)
	const original, reply = ftpalg.Original, ftpalg.Reply
	type said struct {
		d        ftpalg.Direction
		seq, ack uint32
		payload  string
	}
	for _, tt := range []struct {
		name     string
		adjusted bool
		said     []said
		ok       bool
		want     [2][2]uint32 // next and ack of each end
	}{
		{name: "nothing"},
		{name: "dialogue", ok: true, want: [2][2]uint32{{106, 214}, {214, 106}}, said: []said{
			{original, 100, 200, "NOOP\r\n"}, {reply, 200, 106, "200 noop here\n"}, {original, 106, 214, ""}}},
		{name: "late copy", ok: true, want: [2][2]uint32{{106, 214}, {214, 106}}, said: []said{
			{original, 106, 214, ""}, {reply, 200, 106, "200 noop here\n"}, {original, 100, 200, "NOOP\r\n"}}},
		{name: "one end heard", ok: true, want: [2][2]uint32{{106, 214}, {214, 106}}, said: []said{{original, 106, 214, ""}}},
		{name: "one end heard, adjusted", adjusted: true, said: []said{{original, 106, 214, ""}}},
		{name: "unread data", ok: true, want: [2][2]uint32{{150, 260}, {260, 150}}, said: []said{
			{reply, 200, 150, ""}, {original, 100, 260, ""}}},
		{name: "adjusted", adjusted: true, ok: true, want: [2][2]uint32{{106, 214}, {204, 116}}, said: []said{
			{original, 106, 214, ""}, {reply, 204, 116, ""}}},
		{name: "wrap", ok: true, want: [2][2]uint32{{2, 9}, {9, 2}}, said: []said{
			{original, 0xfffffffc, 9, "NOOP\r\n"}, {reply, 9, 2, ""}}},
		{name: "probe", ok: true, want: [2][2]uint32{{106, 9}, {9, 106}}, said: []said{
			{original, 106, 9, ""}, {original, 105, 9, ""}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var c Conn
			for _, s := range tt.said {
				c.Note(s.d, packet(s.seq, s.ack, s.payload), start)
			}
			ends, _, ok := c.Silent(tt.adjusted)
			got := [2][2]uint32{{ends[0].Next, ends[0].Ack}, {ends[1].Next, ends[1].Ack}}
			if ok != tt.ok || ok && got != tt.want {
				t.Errorf("numbers %v, %t; want %v, %t", got, ok, tt.want, tt.ok)
			}
		})
	}
}

// A probe is not a sign of life, and an answer without anything new is not a use
// of the session.
func TestNoteTimes(t *testing.T) {
	var c Conn
	now := time.Unix(1000, 0)
	note := func(seq uint32, payload string, at time.Time) (End, time.Time) {
		c.Note(ftpalg.Original, packet(seq, 200, payload), at)
		return c.ends[ftpalg.Original], c.used
	}
	note(100, "NOOP\r\n", now)
	if e, _ := note(105, "", now.Add(time.Second)); e.Heard != now { // one below the next
		t.Errorf("a probe counts: heard at %v", e.Heard)
	}
	if e, used := note(106, "", now.Add(2*time.Second)); e.Heard != now.Add(2*time.Second) || used != now { // an answer
		t.Errorf("an answer: heard at %v, used at %v", e.Heard, used)
	}
	c.Use(now.Add(time.Hour))
	if _, used, _ := c.Silent(false); used != now.Add(time.Hour) {
		t.Errorf("a transfer: used at %v", used)
	}
}

// A segment of ours carries the timestamp that its end sent last.
func TestSegmentTimestamp(t *testing.T) {
	want := [10]byte{8, 10, 1, 2, 3, 4, 5, 6, 7, 8}
	b := appendSegment(nil, tuple("192.0.2.1:1", "192.0.2.2:2"), &End{stamped: true, stamp: want}, 7, nfq.FlagACK)
	var p nfq.Packet
	if err := nfq.ParsePacket(&p, b); err != nil {
		t.Fatal(err)
	}
	if got := p.Timestamps(); !bytes.Equal(got, want[:]) {
		t.Errorf("timestamp %v, want %v", got, want)
	}
}
