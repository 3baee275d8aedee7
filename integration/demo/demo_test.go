// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseAnnouncement(t *testing.T) {
	server := netip.MustParseAddr("203.0.113.2")
	tests := []struct {
		name, in, want string // want "" is no announcement
	}{
		{"port", "PORT 192,168,77,2,180,11", "192.168.77.2:46091"},
		{"pasv", "227 Entering Passive Mode (203,0,113,2,141,157)", "203.0.113.2:36253"},
		{"pasv without parentheses", "227 Entering Passive Mode 203,0,113,2,4,1", "203.0.113.2:1025"},
		{"pasv with a full stop", "227 Entering Passive Mode (203,0,113,2,4,1).", "203.0.113.2:1025"},
		{"eprt", "EPRT |1|192.168.77.2|40001|", "192.168.77.2:40001"},
		{"eprt v6", "EPRT |2|fd77::2|40001|", "[fd77::2]:40001"},
		{"epsv", "229 Entering Extended Passive Mode (|||36121|)", "203.0.113.2:36121"},
		{"number too large", "PORT 192,168,77,256,4,1", ""},
		{"port too large", "EPRT |1|192.168.77.2|65536|", ""},
		{"another reply", "226 Closing data connection (203,0,113,2,4,1)", ""},
		{"command without announcement", "PASV", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := parseAnnouncement(tt.in, server)
			if ok != (tt.want != "") || ok && got.String() != tt.want {
				t.Errorf("parseAnnouncement(%q) = %v, %v; want %q", tt.in, got, ok, tt.want)
			}
		})
	}
}

func TestAnnouncementRoundTrip(t *testing.T) {
	for _, verb := range []string{"PORT", "EPRT"} {
		for _, addr := range []string{"192.0.2.1:1", "10.255.0.1:65535", "192.168.77.2:256"} {
			want := netip.MustParseAddrPort(addr)
			if got, ok := parseAnnouncement(announcement(verb, want), netip.Addr{}); !ok || got != want {
				t.Errorf("%s %v came back as %v, %v", verb, want, got, ok)
			}
		}
	}
}

// The lines are recorded from conntrack 1.4.7 and nft 1.0.6.
func TestParseHappening(t *testing.T) {
	tests := []struct {
		name  string
		parse func(string) (happening, bool)
		in    string
		want  *happening // nil: not a happening
	}{
		{"expectation opened", parseExpectation,
			"    [NEW] 300 proto=6 src=203.0.113.2 dst=203.0.113.1 sport=0 dport=36977 mask-src=255.255.255.255 mask-dst=255.255.255.255 sport=0 dport=65535 master-src=192.168.77.2 master-dst=203.0.113.2 sport=57500 dport=21 class=0 helper=ftp",
			&happening{what: happenExpectation, opened: true, where: "203.0.113.2 -> 203.0.113.1:36977"}},
		{"expectation closed", parseExpectation,
			"[DESTROY] 300 proto=6 src=203.0.113.2 dst=203.0.113.1 sport=0 dport=36977 mask-src=255.255.255.255",
			&happening{what: happenExpectation, where: "203.0.113.2 -> 203.0.113.1:36977"}},
		{"connection translated at its destination", parseConnection,
			"    [NEW] tcp      6 120 SYN_SENT src=203.0.113.2 dst=203.0.113.1 sport=20 dport=36977 [UNREPLIED] src=192.168.77.2 dst=203.0.113.2 sport=36977 dport=20",
			&happening{what: happenConnection, opened: true, where: "203.0.113.2:20 -> 203.0.113.1:36977, translated to 192.168.77.2:36977"}},
		{"connection translated at its source", parseConnection,
			"    [NEW] tcp      6 120 SYN_SENT src=192.168.77.2 dst=203.0.113.2 sport=46104 dport=44259 [UNREPLIED] src=203.0.113.2 dst=203.0.113.1 sport=44259 dport=46104",
			&happening{what: happenConnection, opened: true, where: "192.168.77.2:46104 -> 203.0.113.2:44259, seen as coming from 203.0.113.1:46104"}},
		{"control connection", parseConnection,
			"    [NEW] tcp      6 120 SYN_SENT src=192.168.77.2 dst=203.0.113.2 sport=46104 dport=21 [UNREPLIED] src=203.0.113.2 dst=203.0.113.1 sport=21 dport=46104", nil},
		{"element added", parseElement,
			"add element inet firewall pasvport4 { 203.0.113.2 . 192.168.77.2 . 36977 timeout 1m expires 1m }",
			&happening{what: happenRule, opened: true, where: "203.0.113.2 -> 192.168.77.2:36977 (set pasvport4 of table firewall)"}},
		{"element deleted", parseElement,
			"delete element inet firewall pasvport4 { 203.0.113.2 . 192.168.77.2 . 36977 timeout 1m expires 59s996ms }",
			&happening{what: happenRule, where: "203.0.113.2 -> 192.168.77.2:36977 (set pasvport4 of table firewall)"}},
		{"element of another set", parseElement, "add element inet t s { 80 . 90 . 100 }", nil},
		{"closing remark", parseElement, "# new generation 5 by process 17 (nft)", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := tt.parse(tt.in)
			if ok != (tt.want != nil) {
				t.Fatalf("ok = %v, want %v", ok, tt.want != nil)
			}
			if tt.want == nil {
				return
			}
			if diff := cmp.Diff(*tt.want, got, cmp.AllowUnexported(happening{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestTransaction(t *testing.T) {
	const element = " element inet firewall pasvport4 { 203.0.113.2 . 192.168.77.2 . 36977 timeout 1m expires 1m }"
	var tr transaction
	for _, line := range []string{"add" + element, "delete" + element, "add" + element} {
		if got := tr.read(line); got != nil {
			t.Fatalf("%q within a transaction told %v", line, got)
		}
	}
	const end = "# new generation 4 by process 28530 (pasvport)"
	if got := tr.read(end); len(got) != 1 || !got[0].opened {
		t.Errorf("the transaction told %v, want one opened", got)
	}
	if got := tr.read(end); got != nil {
		t.Errorf("an empty transaction told %v", got)
	}
}

func TestHoles(t *testing.T) {
	at := func(ms int) time.Time { return time.UnixMilli(int64(ms)) }
	got := holes([]happening{
		{at: at(1), what: happenExpectation, where: "a", opened: true},
		{at: at(2), what: happenRule, where: "a", opened: true},
		{at: at(3), what: happenConnection, where: "a", opened: true},
		{at: at(4), what: happenExpectation, where: "a"},
		{at: at(5), what: happenExpectation, where: "a", opened: true},
		{at: at(6), what: happenExpectation, where: "never opened"},
	})
	want := []hole{
		{what: happenExpectation, where: "a", opened: at(1), closed: at(4)},
		{what: happenRule, where: "a", opened: at(2)},
		{what: happenExpectation, where: "a", opened: at(5)},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(hole{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if n := stillOpen(got); n != 2 {
		t.Errorf("stillOpen = %d, want 2", n)
	}
}

func TestCountListeners(t *testing.T) {
	table := `sk               Eth Pid        Groups   Drops    Inode
00000000d7fd5a3d 12  1549       00000007 0        23011
00000000d7fd5a3e 12  1550       00000000 0        23012
00000000d7fd5a3f 0   1551       00000001 0        23013
`
	if got := countListeners(table); got != 1 {
		t.Errorf("countListeners = %d, want 1", got)
	}
}

// TestSession runs every verb in both directions between the demo's client and
// its server, over loopback.
func TestSession(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := newPage()
	served := make(chan error, 1)
	go func() { served <- serve(ln, 100_000, newNotebook(server)) }()
	t.Cleanup(func() {
		ln.Close()
		<-served
	})

	for _, verb := range []string{"PORT", "EPRT", "PASV", "EPSV"} {
		for _, upload := range []int64{0, 77_777} {
			o := order{addr: ln.Addr().String(), verb: verb, upload: upload}
			t.Run(title(o), func(t *testing.T) { testSession(t, server, o) })
		}
	}
}

func testSession(t *testing.T, server *page, o order) {
	client := newPage()
	tr := &transfer{order: o, client: client.notes, server: server.notes, mark: server.notes.mark()}
	s := &session{order: o, book: newNotebook(client), answers: bufio.NewReader(strings.NewReader(""))}
	run := s.passive
	if tr.activeMode() {
		run = s.active
	}
	if err := run(); err != nil {
		t.Fatal(err)
	}
	tr.awaitServer(t.Context())
	if c, s, ok := tr.file(); !ok {
		t.Errorf("client has %+v, server %+v", c, s)
	}
	sent, heard := tr.announcements()
	if sent != heard || sent.line == "" {
		t.Errorf("announced %v, heard %v", sent, heard)
	}
	if !tr.loggedIn() {
		t.Error("no login noted")
	}
}

// A page takes the JSON lines of a notebook into a journal.
type page struct {
	mu    sync.Mutex
	lines lines
	notes *journal[note]
}

func newPage() *page { return &page{notes: newJournal[note]()} }

func (p *page) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lines.add(b, func(line string) {
		var n note
		if json.Unmarshal([]byte(line), &n) == nil {
			p.notes.add(n)
		}
	})
	return len(b), nil
}

func TestKnockResult(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	for _, want := range []string{knockOpen, knockRefused} {
		c, dialErr := net.DialTimeout("tcp", addr, time.Second)
		if got, err := knockResult(dialErr); err != nil || got != want {
			t.Errorf("knock = %q, %v; want %q", got, err, want)
		}
		if c != nil {
			c.Close()
		}
		ln.Close()
	}
	_, dialErr := net.DialTimeout("tcp", addr, -1) // in the past: times out at once
	if got, err := knockResult(dialErr); err != nil || got != knockSilent {
		t.Errorf("knock = %q, %v; want %q", got, err, knockSilent)
	}
}
