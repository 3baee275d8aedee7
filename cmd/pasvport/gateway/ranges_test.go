// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"net/netip"
	"testing"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/nfq"
	"github.com/pasvport/pasvport/rules"
)

// TestRanges: the first session of a pair opens, the last closes.
func TestRanges(t *testing.T) {
	var r ranges
	a := newSession(entryOf(1))
	e := entryOf(1)
	e.ID, e.Original.Src = 2, ap("198.51.100.1:40001")
	e.Reply.Dst = e.Original.Src
	b, other := newSession(e), newSession(entryOf(3))
	if r.remove(a) || !r.add(a) || r.add(a) || r.add(b) || !r.add(other) {
		t.Error("opening must be left to the first session of a pair")
	}
	if all := r.all(pairOf(a)); len(all) != 2 || all[0] != b {
		t.Errorf("of the pair: %v", all)
	}
	first, again := r.remove(a), r.remove(a)
	if first || again || !r.remove(b) || len(r.all(pairOf(a))) != 0 {
		t.Error("not the last one of a pair alone closes")
	}
}

// encryptedBench has an encrypted session, with a range of ports for two data
// connections at once.
func encryptedBench(t *testing.T) (*bench, *link) {
	b := newBench(t, func(c *config.Config) {
		c.TLS, c.TLSRange, c.TLSParallel = config.TLSRange, rules.PortRange{Low: 50000, High: 50100}, 2
	})
	l := b.connect(entryOf(1))
	l.accepts(server, "220 ready\r\n")
	l.accepts(client, "AUTH TLS\r\n")
	l.accepts(server, "234 go\r\n")
	return b, l
}

// TestEncryptedRange: the client of an encrypted session may open ports of the
// range, this many at once, and no other port; until its session ends.
func TestEncryptedRange(t *testing.T) {
	b, l := encryptedBench(t)
	pair := hostPair{netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("203.0.113.1")}
	if !b.k.peers[pair] {
		t.Fatalf("the kernel has %v", b.k.peers)
	}
	for _, tt := range []struct {
		from, to string
		opens    bool
	}{
		{"198.51.100.1:41000", "203.0.113.1:50000", true},
		{"198.51.100.1:41000", "203.0.113.1:50000", true}, // its SYN again
		{"198.51.100.1:41001", "203.0.113.1:49999", false},
		{"198.51.100.2:41002", "203.0.113.1:50001", false},
		{"198.51.100.1:41003", "203.0.113.1:50100", true},
		{"198.51.100.1:41004", "203.0.113.1:50002", false}, // one too many
	} {
		data := expect.Tuple{Src: ap(tt.from), Dst: ap(tt.to)}
		p := packetOf(t, data, 1, 0, "", nfq.FlagSYN)
		if v, _ := b.handle(p); v != "accept" {
			t.Errorf("%v: %s", data, v)
		}
		delete(b.q.verdicts, p.ID)
		e := b.k.entries[data]
		if (e != nil) != tt.opens {
			t.Errorf("%v opens: %v, want %v", data, e != nil, tt.opens)
		}
		if e != nil && e.Reply.Src != netip.AddrPortFrom(netip.MustParseAddr("10.0.0.2"), data.Dst.Port()) {
			t.Errorf("%v goes to %v", data, e.Reply.Src)
		}
	}
	b.logs(`msg="data connection of an encrypted session refused"`, "to=203.0.113.1:50002")
	b.ending(b.k, l.session(), expect.TCPStateTimeWait)
	if b.k.peers[pair] {
		t.Error("the range is open without a session")
	}
}

// TestRangeRefused: a data connection that nftables does not accept gets no entry
// of ours.
func TestRangeRefused(t *testing.T) {
	b, l := encryptedBench(t)
	b.k.refuses = errBroken
	data := expect.Tuple{Src: ap("198.51.100.1:41000"), Dst: ap("203.0.113.1:50000")}
	if v, _ := b.handle(packetOf(t, data, 1, 0, "", nfq.FlagSYN)); v != "accept" {
		t.Errorf("its SYN: %s", v)
	}
	if b.k.entries[data] != nil || len(b.pinholes.Data.Live(&l.session().Owner)) != 0 {
		t.Error("it has an entry")
	}
	b.logs(`msg="cannot open a pinhole"`, "from=198.51.100.1:41000", "err=broken")
}
