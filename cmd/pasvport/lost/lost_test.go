// SPDX-License-Identifier: Apache-2.0

package lost

import (
	"net/netip"
	"testing"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/expect"
)

func tuple(src, dst string) expect.Tuple {
	return expect.Tuple{Src: netip.MustParseAddrPort(src), Dst: netip.MustParseAddrPort(dst)}
}

var begin = time.Unix(1000, 0)

// TestRepeated: what happens to a packet that creates an entry midstream, and is
// retransmitted.
func TestRepeated(t *testing.T) {
	type again struct {
		after     time.Duration
		seq       uint32
		confirmed bool
		want      Cause
	}
	const rto = 200 * time.Millisecond
	for _, tt := range []struct {
		name    string
		packets []again
	}{
		{"once", []again{{0, 1, false, ""}}},
		{"dropped by the ruleset", []again{{0, 1, false, ""}, {rto, 1, false, CauseRefused}}},
		{"sent together", []again{{0, 1, false, ""}, {time.Millisecond, 7, false, ""}, {time.Millisecond, 7, false, ""}}},
		{"lost on the way", []again{{0, 1, false, ""}, {rto, 1, true, ""}, {2 * rto, 1, true, ""}}},
		{"no one there", []again{{0, 1, false, ""}, {rto, 1, true, ""}, {2 * rto, 1, true, ""}, {4 * rto, 1, true, ""}, {8 * rto, 1, true, CauseUnanswered}}},
		{"continues", []again{{0, 1, false, ""}, {rto, 7, false, ""}, {rto, 13, false, ""}}},
		{"long ago", []again{{0, 1, false, ""}, {2 * sightingTime, 1, false, ""}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var s Sightings
			now := begin
			for i, p := range tt.packets {
				now = now.Add(p.after)
				if got := s.Repeated(&Connection{}, &Packet{Tuple: tuple("192.0.2.1:21", "192.0.2.2:4000"), Seq: p.seq, Bytes: 4, Confirmed: p.confirmed}, now); got != p.want {
					t.Errorf("packet %d: %q, want %q", i, got, p.want)
				}
			}
		})
	}
}

// A connection of which nothing is remembered may be one of which conntrack sees
// one direction, or that a translator beside it takes: it is reset only if
// nothing shows that it continues.
func TestRepeatedByStranger(t *testing.T) {
	const rto = 200 * time.Millisecond
	data := Packet{Tuple: tuple("192.0.2.1:21", "192.0.2.2:4000"), Seq: 1, Ack: 1, Bytes: 4}
	confirmed, bare, answered := data, data, data
	confirmed.Confirmed, bare.Bytes, answered.Ack = true, 0, 2
	later := answered
	later.Seq = 5
	for _, tt := range []struct {
		name    string
		packets []Packet
		want    Cause
	}{
		{"repeated", []Packet{data, data, data}, ""},
		{"repeated and not let through", []Packet{data, data, data, data}, CauseRefused},
		{"no one answers here", []Packet{confirmed, confirmed, confirmed, confirmed, confirmed, confirmed, confirmed}, ""},
		{"acknowledgements", []Packet{bare, bare, bare, bare, bare, bare}, ""},
		{"answered in between", []Packet{data, data, answered, answered, answered, answered, answered, answered}, ""},
		{"answered before", []Packet{data, later, later, later, later, later, later}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var s Sightings
			var got Cause
			for i, p := range tt.packets {
				got = s.Repeated(nil, &p, begin.Add(time.Duration(i)*rto))
			}
			if got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

// The memory of packets that anyone can send is limited.
func TestSightingsAreBounded(t *testing.T) {
	var s Sightings
	p := tuple("192.0.2.1:21", "192.0.2.2:4000")
	for i := range 3 * maxSightings {
		p.Dst = netip.AddrPortFrom(p.Dst.Addr(), uint16(i))
		s.Repeated(nil, &Packet{Tuple: p, Seq: 1, Bytes: 4}, begin)
		if len(s.of) > maxSightings {
			t.Fatalf("%d packets are remembered", len(s.of))
		}
	}
}

// A reset is logged for each connection that is remembered, and once in a while
// for others.
func TestReset(t *testing.T) {
	var s Sightings
	p := tuple("192.0.2.1:21", "192.0.2.2:4000")
	for i, tt := range []struct {
		after time.Duration
		c     *Connection
		want  bool
	}{
		{0, nil, true}, {0, nil, false}, {0, &Connection{}, true}, {logEvery / 2, nil, false}, {logEvery, nil, true},
	} {
		begin := begin.Add(tt.after)
		if got := s.Reset(tt.c, p, begin); got != tt.want {
			t.Errorf("reset %d is logged: %v, want %v", i, got, tt.want)
		}
	}
}

// TestJudge: the verdicts on packets of both ends of a lost connection.
func TestJudge(t *testing.T) {
	original, reply := tuple("10.0.0.2:4000", "192.0.2.1:21"), tuple("192.0.2.1:21", "203.0.113.1:4000")
	for _, tt := range []struct {
		name string
		c    *Connection
		t    expect.Tuple
		want Judgement
	}{
		{"nothing is known", nil, original, Judgement{}},
		{"routed, the client sends", &Connection{}, original, Judgement{}},
		{"routed, the server sends", &Connection{}, reply, Judgement{Restore: true}},
		{"translated, the client sends", &Connection{Translated: true}, original, Judgement{}},
		{"translated, the server sends", &Connection{Translated: true}, reply, Judgement{Cause: CauseTranslated}},
		{"adjusted, the client sends", &Connection{Translated: true, Adjusted: true}, original, Judgement{Cause: CauseAdjusted}},
		{"adjusted, the server sends", &Connection{Adjusted: true}, reply, Judgement{Cause: CauseAdjusted}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.c != nil {
				tt.c.Original, tt.c.Reply = original, reply
			}
			var s Sightings
			if got := s.Judge(tt.c, &Packet{Tuple: tt.t, Seq: 1, Bytes: 4}, begin); got != tt.want {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
		})
	}
}

// TestMemory: a connection is found by both tuples, but not once it is taken, nor
// after its time.
func TestMemory(t *testing.T) {
	var m Memory
	original, reply := tuple("10.0.0.2:4000", "192.0.2.1:21"), tuple("192.0.2.1:21", "203.0.113.1:4000")
	if m.Find(original, begin) != nil || m.Take(original, reply, begin) != nil {
		t.Error("an empty memory has a connection")
	}
	add := func() { m.Add(Connection{Original: original, Reply: reply, Left: succession.LeftEncrypted}, begin) }
	add()
	for _, x := range []expect.Tuple{original, reply} {
		if c := m.Find(x, begin.Add(memoryTime)); c == nil || c.Left != succession.LeftEncrypted {
			t.Errorf("%v: %+v", x, c)
		}
		if c := m.Find(x, begin.Add(memoryTime+1)); c != nil {
			t.Errorf("%v is remembered for too long", x)
		}
	}
	if c := m.Take(original, reply, begin); c == nil || m.Find(reply, begin) != nil {
		t.Errorf("taken %+v, and then there is %+v", c, m.Find(reply, begin))
	}
	add()
	if c := m.Take(original, reply, begin.Add(2*memoryTime)); c != nil {
		t.Errorf("taken %+v after its time", c)
	}
}

// Every connection may be lost at once, and again.
func TestMemoryIsBounded(t *testing.T) {
	var m Memory
	for i := range 2*maxConnections + 10 {
		addr := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		o := expect.Tuple{Src: netip.AddrPortFrom(addr, 4000), Dst: netip.MustParseAddrPort("192.0.2.1:21")}
		m.Add(Connection{Original: o, Reply: expect.Tuple{Src: o.Dst, Dst: o.Src}}, begin)
	}
	if n := len(m.by); n == 0 || n > 2*maxConnections {
		t.Errorf("%d tuples are remembered", n)
	}
}
