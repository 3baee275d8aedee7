// SPDX-License-Identifier: Apache-2.0

package ftpalg

import (
	"testing"
	"time"
)

var clock = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

var noop, noopDone = []byte("NOOP\r\n"), []byte("200 NOOP ok.\r\n")

// passed sends a command and its reply, which are forwarded unchanged as
// nearly all are.
func passed(c *Conn, seq *[2]uint32) {
	for d, p := range [][]byte{noop, noopDone} {
		c.now = clock
		c.received(Direction(1-d), seq[d], seq[1-d])
		take(c, Direction(d), seq[d], p)
		rewrite(c, nil, Direction(d), seq[d], p)
		seq[d] += uint32(len(p))
	}
}

func TestPassedSegmentAllocatesNothing(t *testing.T) {
	for name, p := range map[string]Policy{
		"normal": {}, "strict": {Checks: Strict},
		"denies": {DenyTLS: true, Deny: map[string]bool{"SITE": true}},
	} {
		c := NewConn(both, &p, Options{AdjustBy: Kernel, Started: true})
		var seq [2]uint32
		if n := testing.AllocsPerRun(100, func() { passed(c, &seq) }); n != 0 {
			t.Errorf("%s: %v allocations for a segment that is forwarded unchanged, want 0", name, n)
		}
	}
}

func BenchmarkSegmentPlain(b *testing.B) {
	c := NewConn(both, &Policy{}, Options{AdjustBy: Kernel})
	var seq [2]uint32
	b.ReportAllocs()
	for b.Loop() {
		passed(c, &seq)
	}
}

func BenchmarkSegmentOffer(b *testing.B) {
	c := NewConn(snat, &Policy{}, Options{AdjustBy: Kernel})
	p, ok := []byte("PORT 192,168,1,5,200,10\r\n"), []byte("200 ok\r\n")
	var out []byte
	var seq, ack uint32
	b.ReportAllocs()
	for b.Loop() {
		d := take(c, Original, seq, p)
		c.Announce(d.Events[0].Offer, 51210)
		out = rewrite(c, out[:0], Original, seq, p).Data
		seq += uint32(len(p))
		take(c, Reply, ack, ok)
		ack += uint32(len(ok))
	}
}
