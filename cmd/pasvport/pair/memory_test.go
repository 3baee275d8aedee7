// SPDX-License-Identifier: Apache-2.0

package pair

import (
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
)

// numbered is the record of the i-th of many sessions, translated and logged in;
// every tenth has announced a port.
func numbered(i int) succession.Record {
	client := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 40000)
	server, seenAs := netip.MustParseAddrPort("203.0.113.2:21"), netip.AddrPortFrom(netip.MustParseAddr("203.0.113.88"), uint16(i))
	acked := uint32(i)
	r := succession.Record{
		Original: succession.Tuple{Src: client, Dst: server}, Reply: succession.Tuple{Src: server, Dst: seenAs},
		Engine: &ftpalg.State{Started: true, Begun: true, Answered: true, Greeted: true, Spoken: true, Login: true,
			Stream: [2]ftpalg.Place{{Known: true, Start: true, Next: 1 << 30, Acked: &acked}, {Known: true, Start: true, Next: 1 << 31, Acked: &acked}}},
	}
	if i%10 == 0 {
		r.Pinholes = []succession.Pinhole{{Source: client.Addr(), Public: netip.AddrPortFrom(server.Addr(), 50000), Target: netip.AddrPortFrom(server.Addr(), 50000),
			NAT: true, Left: time.Minute}}
	}
	return r
}

// TestMemory: a pair keeps less than half a kilobyte per session, on the machine
// that has it, on the other one, and there when it has taken over.
func TestMemory(t *testing.T) {
	const n, most = 20_000, 512
	for name, keep := range map[string]func(p *end, sessions []*Session){
		"the machine that has it": func(p *end, sessions []*Session) {
			for i := range sessions {
				sessions[i] = new(Session)
				r := numbered(i)
				p.Tell(sessions[i], &r, Lazily)
			}
		},
		"the other machine": func(p *end, sessions []*Session) {
			for i := range sessions {
				r := numbered(i)
				p.learn(stamp{1, 1}, false, expect.Tuple(r.Original), expect.Tuple(r.Reply), succession.AppendRecord(nil, &r))
			}
			p.Settle(10 * time.Second)
		},
		"the machine that takes over": func(p *end, sessions []*Session) {
			for i := range sessions {
				r := numbered(i)
				p.learn(stamp{1, 1}, false, expect.Tuple(r.Original), expect.Tuple(r.Reply), succession.AppendRecord(nil, &r))
				sessions[i] = new(Session)
				sessions[i].Begin(p.book.find(expect.Tuple(r.Original), time.Now()))
			}
			p.Settle(10 * time.Second)
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newEnd(t, key)
			sessions := make([]*Session, n)
			before := liveHeap()
			keep(p, sessions)
			each := float64(liveHeap()-before) / n
			if p.book.len() != n {
				t.Fatalf("%d records", p.book.len())
			}
			t.Logf("%.0f bytes for a session", each)
			if each > most {
				t.Errorf("%.0f bytes for a session, want at most %d", each, most)
			}
			runtime.KeepAlive(sessions)
		})
	}
}

func liveHeap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // the second run frees what the first one found
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
