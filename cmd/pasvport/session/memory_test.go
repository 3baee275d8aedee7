// SPDX-License-Identifier: Apache-2.0

package session

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
)

// numbered is the i-th of many translated control connections.
func numbered(i int) *expect.Entry {
	addr := func(net byte) netip.Addr { return netip.AddrFrom4([4]byte{10, net, byte(i >> 8), byte(i)}) }
	client, server := netip.AddrPortFrom(addr(byte(i>>16)), 40000), netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, 2}), 21)
	seenAs := netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, 88}), uint16(i))
	return &expect.Entry{
		ID: uint32(i), Original: expect.Tuple{Src: client, Dst: server}, Reply: expect.Tuple{Src: server, Dst: seenAs},
		TCPState: expect.TCPStateEstablished, Helper: CarrierName,
	}
}

// logIn makes the engine of a session read what every session begins with.
func logIn(s *Reader) {
	var seq [2]uint32
	for _, line := range []string{"<220 ready", ">USER anonymous", "<331 password", ">PASS guest@", "<230 welcome"} {
		d, text := ftpalg.Original, []byte(line[1:]+"\r\n")
		if line[0] == '<' {
			d = ftpalg.Reply
		}
		seg := ftpalg.Segment{Time: time.Unix(1000, 0), Dir: d, Seq: seq[d], Ack: seq[ftpalg.Original+ftpalg.Reply-d], Acks: true, Payload: text}
		s.Engine.Segment(&seg)
		s.Engine.Rewrite(nil, &seg)
		seq[d] += uint32(len(text))
	}
}

// TestSessionMemory: an idle session takes less than a kilobyte, whatever the
// number of sessions does to the table.
func TestSessionMemory(t *testing.T) {
	var work ftpalg.Workspace
	policy := &ftpalg.Policy{}
	for _, n := range []int{10_000, 29_000, 60_000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			before := liveHeap()
			var sessions Table
			for i := range n {
				s := New(numbered(i), policy, time.Unix(1000, 0), true, &work)
				logIn(s)
				s.Release()
				sessions.Add(s.Session)
			}
			each := float64(liveHeap()-before) / float64(n)
			if got := len(sessions.All()); got != n {
				t.Fatalf("%d sessions in the table, want %d", got, n)
			}
			t.Logf("%.0f bytes for a session", each)
			if each > 1024 {
				t.Errorf("%.0f bytes for a session, want at most 1024", each)
			}
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

// The same addresses are different sessions in different zones; an expectation
// without a zone then belongs to none.
func TestTableOfZones(t *testing.T) {
	var sessions Table
	entries := [3]*expect.Entry{numbered(1), numbered(1), numbered(2)}
	entries[1].Original.Zone, entries[1].Reply.Zone = 7, 7
	entries[2].Original.Zone, entries[2].Reply.Zone = 7, 7
	for _, e := range entries {
		sessions.Add(New(e, &ftpalg.Policy{}, time.Now(), true, nil).Session)
	}
	for _, e := range entries {
		if s := sessions.Find(e.Reply); s == nil || s.Original() != e.Original {
			t.Errorf("%v is not found by its reply", e.Original)
		}
	}
	masters := sessions.AnyZone()
	if s := masters[numbered(1).Original]; s != nil {
		t.Errorf("the master of an expectation is %v, and may be the one in the other zone", s.Original())
	}
	if s := masters[numbered(2).Original]; s == nil || s.Original() != entries[2].Original {
		t.Error("the master of an expectation is not found, though there is one in one zone only")
	}
}

// A session is found by both of its tuples, in a table with others, until it is
// removed.
func TestTable(t *testing.T) {
	var sessions Table
	a, b := New(numbered(1), &ftpalg.Policy{}, time.Now(), true, nil).Session, New(numbered(2), &ftpalg.Policy{}, time.Now(), true, nil).Session
	if sessions.Remove(a) || sessions.Find(a.Original()) != nil {
		t.Error("an empty table has a session")
	}
	sessions.Add(a)
	sessions.Add(b)
	for _, s := range []*Session{a, b} {
		for _, tuple := range []expect.Tuple{s.Original(), s.Reply()} {
			if got := sessions.Find(tuple); got != s {
				t.Errorf("%v is session %p, want %p", tuple, got, s)
			}
			if got := sessions.Find(tuple.Reverse()); got != nil {
				t.Errorf("%v, turned around, is a session", tuple)
			}
			tuple.Zone = 7
			if got := sessions.Find(tuple); got != nil {
				t.Errorf("%v is a session of the default zone", tuple)
			}
		}
	}
	if !sessions.Remove(a) || sessions.Remove(a) || sessions.Find(a.Reply()) != nil {
		t.Error("a removed session is still there")
	}
	if all := sessions.All(); len(all) != 1 || all[0] != b {
		t.Errorf("all are %v, want %p alone", all, b)
	}
}

func tuple(src, dst string) expect.Tuple {
	return expect.Tuple{Src: netip.MustParseAddrPort(src), Dst: netip.MustParseAddrPort(dst)}
}
