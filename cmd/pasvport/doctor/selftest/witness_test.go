// SPDX-License-Identifier: Apache-2.0

package selftest

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The lines are recorded from conntrack 1.4.7 and nft 1.0.6.
func TestParseHappening(t *testing.T) {
	w := &witness{port: "21"}
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
		{"connection translated at its destination", w.parseConnection,
			"    [NEW] tcp      6 120 SYN_SENT src=203.0.113.2 dst=203.0.113.1 sport=20 dport=36977 [UNREPLIED] src=192.168.77.2 dst=203.0.113.2 sport=36977 dport=20",
			&happening{what: happenConnection, opened: true, where: "203.0.113.2:20 -> 203.0.113.1:36977, translated to 192.168.77.2:36977"}},
		{"connection translated at its source", w.parseConnection,
			"    [NEW] tcp      6 120 SYN_SENT src=192.168.77.2 dst=203.0.113.2 sport=46104 dport=44259 [UNREPLIED] src=203.0.113.2 dst=203.0.113.1 sport=44259 dport=46104",
			&happening{what: happenConnection, opened: true, where: "192.168.77.2:46104 -> 203.0.113.2:44259, seen as coming from 203.0.113.1:46104"}},
		{"control connection", w.parseConnection,
			"    [NEW] tcp      6 120 SYN_SENT src=192.168.77.2 dst=203.0.113.2 sport=46104 dport=21 [UNREPLIED] src=203.0.113.2 dst=203.0.113.1 sport=21 dport=46104", nil},
		{"element added", parseElement,
			"add element inet firewall pasvport4 { 203.0.113.2 . 192.168.77.2 . 36977 timeout 1m expires 1m }",
			&happening{what: happenElement, opened: true, where: "203.0.113.2 -> 192.168.77.2:36977 (set pasvport4 of table firewall)"}},
		{"element deleted", parseElement,
			"delete element inet firewall pasvport4 { 203.0.113.2 . 192.168.77.2 . 36977 timeout 1m expires 59s996ms }",
			&happening{what: happenElement, where: "203.0.113.2 -> 192.168.77.2:36977 (set pasvport4 of table firewall)"}},
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
		{at: at(2), what: happenElement, where: "a", opened: true},
		{at: at(3), what: happenConnection, where: "a", opened: true},
		{at: at(4), what: happenExpectation, where: "a"},
		{at: at(5), what: happenExpectation, where: "a", opened: true},
		{at: at(6), what: happenExpectation, where: "never opened"},
	})
	want := []hole{
		{what: happenExpectation, where: "a", opened: at(1), closed: at(4)},
		{what: happenElement, where: "a", opened: at(2)},
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
