// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/nfq"
)

// TestSession checks the whole output of a session: active and passive, one offer
// with a data connection and one without.
func TestSession(t *testing.T) {
	f := newFilm(t)
	w := f.connection("192.168.1.5:40000", "203.0.113.9:21")
	w.open()
	w.lines("S: 220 ready\nC: USER alice\nS: 230 in\nC: PASV\nS: 227 ok (203,0,113,9,19,137)\n")
	d := f.connection("192.168.1.5:40001", "203.0.113.9:5001")
	d.open()
	w.lines("C: LIST\nS: 226 done\nC: PORT 192,168,1,5,156,66\nS: 200 ok\nC: PORT 10,9,9,9,156,66\nS: 200 ok\nC: QUIT\nS: 221 bye\n")
	w.send(1, nfq.FlagFIN|nfq.FlagACK, "")
	w.send(0, nfq.FlagFIN|nfq.FlagACK, "")
	want := strings.TrimLeft(`
1  #1  session 192.168.1.5:40000 to 203.0.113.9:21 (seen from its start)
4  #1  S 220 ready
4  #1    forward: plain
5  #1  C USER alice
5  #1    forward: plain
6  #1  S 230 in
6  #1    forward: plain
7  #1  C PASV
7  #1    forward: plain
8  #1  S 227 ok (203,0,113,9,19,137)
8  #1    offer: offered, passive 227 announces 203.0.113.9:5001: 192.168.1.5 may connect to 203.0.113.9:5001
8  #1    forward: plain
9  #1  data 192.168.1.5:40001 to 203.0.113.9:5001, offered in packet 8
12  #1  C LIST
12  #1    forward: plain
13  #1  S 226 done
13  #1    forward: plain
14  #1  C PORT 192,168,1,5,156,66
14  #1    offer: offered, active PORT announces 192.168.1.5:40002: 203.0.113.9 may connect to 192.168.1.5:40002
14  #1    forward: plain
15  #1  S 200 ok
15  #1    forward: plain
16  #1  C PORT 10,9,9,9,156,66
16  #1    refused: foreign-address, active PORT announces 10.9.9.9:40002
16  #1    forward: plain
17  #1  S 200 ok
17  #1    forward: plain
18  #1  C QUIT
18  #1    forward: plain
19  #1  S 221 bye
19  #1    cancelled: quit
19  #1    forward: plain
20  #1  end closed by the server
`, "\n")
	got := replayed(t, Options{Files: []string{f.pcap()}})
	got = withoutLines(got, "unused")
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func withoutLines(text, with string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !strings.Contains(line, with) {
			b.WriteString(line)
		}
	}
	return b.String()
}

// TestTranslated: a translation that is given, and one that two captures show, or
// one capture of both sides.
func TestTranslated(t *testing.T) {
	const edit = "edit: PORT 203,0,113,7,156,66\n"
	const ends = "session 192.168.1.5:40000 to 198.51.100.2:21, seen as 203.0.113.7:40000"
	inside, outside, all := newFilm(t), newFilm(t), newFilm(t)
	// The clock of the outer capture is wrong.
	outside.now = outside.now.Add(time.Hour)
	a, b := inside.connection("192.168.1.5:40000", "198.51.100.2:21"), outside.connection("203.0.113.7:40000", "198.51.100.2:21")
	c, d := all.connection("192.168.1.5:40000", "198.51.100.2:21"), all.connection("203.0.113.7:40000", "198.51.100.2:21")
	// The outer capture shows a gateway's version of the line.
	step := func(end int, flags uint8, in, out string) {
		pairs := [][2]*wire{{a, b}, {c, d}}
		for _, p := range pairs {
			first, second := p[0], p[1]
			if end == 1 {
				first, second = p[1], p[0]
			}
			for _, w := range []*wire{first, second} {
				text := out
				if w == p[0] {
					text = in
				}
				w.send(end, flags, text)
			}
		}
	}
	step(0, nfq.FlagSYN, "", "")
	step(1, nfq.FlagSYN|nfq.FlagACK, "", "")
	step(0, nfq.FlagACK, "", "")
	same := func(end int, text string) { step(end, nfq.FlagACK|nfq.FlagPSH, text+"\r\n", text+"\r\n") }
	same(1, "220 ready")
	same(0, "USER alice")
	same(1, "230 in")
	step(0, nfq.FlagACK|nfq.FlagPSH, "PORT 192,168,1,5,156,66\r\n", "PORT 203,0,113,7,156,66\r\n")
	same(1, "200 ok")
	nat := []Translation{{netip.MustParseAddr("192.168.1.5"), netip.MustParseAddr("203.0.113.7")}}
	for _, tt := range []struct {
		name string
		o    Options
	}{
		{"told", Options{Files: []string{inside.pcap()}, NAT: nat}},
		{"two captures", Options{Files: []string{inside.pcap(), outside.pcapng()}}},
		{"two captures, the other way round", Options{Files: []string{outside.pcap(), inside.pcap()}}},
		{"one of both sides", Options{Files: []string{all.pcap()}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := withoutLines(replayed(t, tt.o), "unused")
			for _, want := range []string{edit, ends, "198.51.100.2 may connect to 203.0.113.7:40002, which is 192.168.1.5:40002"} {
				if strings.Count(got, want) != 1 {
					t.Errorf("%q is there %d times in\n%s", want, strings.Count(got, want), got)
				}
			}
			if strings.Contains(got, "drop:") || strings.Contains(got, "#2") {
				t.Errorf("got\n%s", got)
			}
		})
	}
	got := replayed(t, Options{Files: []string{outside.pcap()}, NAT: nat})
	if !strings.Contains(got, ends) {
		t.Errorf("captured outside, no %q in\n%s", ends, got)
	}
}

// TestServerTranslated: the server's address is translated, and the line grows.
func TestServerTranslated(t *testing.T) {
	f := newFilm(t)
	w := f.connection("198.51.100.3:40000", "10.0.0.2:21")
	w.open()
	w.lines("S: 220 ready\nC: USER alice\nS: 230 in\n")
	for range 3 {
		w.lines("C: PASV\nS: 227 ok (10,0,0,2,19,137)\nC: NOOP\nS: 200 ok\n")
	}
	got := replayed(t, Options{Files: []string{f.pcap()}, NAT: []Translation{{netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("203.0.113.100")}}})
	if n := strings.Count(got, "edit: 227 ok (203,0,113,100,19,137)\n"); n != 3 {
		t.Errorf("%d edits, want 3, in\n%s", n, got)
	}
	for _, bad := range []string{"drop:", "hold:", "refused"} {
		if strings.Contains(got, bad) {
			t.Errorf("%q in\n%s", bad, got)
		}
	}
}

// TestPieces: what the daemon would hold or drop arrives again with what follows
// it.
func TestPieces(t *testing.T) {
	f := newFilm(t)
	w := f.connection("192.168.1.5:40000", "203.0.113.9:21")
	w.open()
	w.lines("S: 220 ready\nC: USER alice\nS: 230 in\n")
	for _, part := range []string{"POR", "T 192,168", ",1,5,156", ",66\r\n"} {
		w.send(0, nfq.FlagACK|nfq.FlagPSH, part)
		f.now = f.now.Add(200 * time.Millisecond)
		w.send(1, nfq.FlagACK, "")
	}
	w.lines("S: 200 ok\nC: NOOP\nS: 200 ok\n")
	nat := []Translation{{netip.MustParseAddr("192.168.1.5"), netip.MustParseAddr("203.0.113.7")}}
	got := replayed(t, Options{Files: []string{f.pcap()}, NAT: nat})
	if !strings.Contains(got, "offer: offered, active PORT announces 192.168.1.5:40002") {
		t.Errorf("no offer in\n%s", got)
	}
	if !strings.HasSuffix(withoutLines(got, "unused"), "S 200 ok\n17  #1    forward: plain\n") {
		t.Errorf("the session does not continue in\n%s", got)
	}
}

// TestPolicies: a policy in the file applies, and so do flags.
func TestPolicies(t *testing.T) {
	f := newFilm(t)
	w := f.connection("192.168.1.5:40000", "203.0.113.9:2121")
	w.open()
	w.lines("S: 220 ready\nC: SITE CHMOD 1 x\nS: 500 no\nC: USER alice\nS: 230 in\nC: PASV\nS: 227 ok (203,0,113,9,0,80)\n")
	cfg := config.Default()
	if got := replayed(t, Options{Files: []string{f.pcap()}, Config: cfg}); got != "" {
		t.Errorf("another port:\n%s", got)
	}
	cfg.Ports[0].Low, cfg.Ports[0].High = 2000, 2200
	own := cfg
	own.DenyCommands = map[string]bool{"SITE": true}
	own.MinDataPort = 1
	own.Checks = ftpalg.Lenient
	cfg.Policies = []config.Policy{{Config: &own, Clients: []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24")}}}
	got := replayed(t, Options{Files: []string{f.pcap()}, Config: cfg})
	for _, want := range []string{"denied: command-denied", "offer: offered, passive 227 announces 203.0.113.9:80"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

// TestEcho: a packet that is captured on several interfaces is read once.
func TestEcho(t *testing.T) {
	f := newFilm(t)
	a, b := f.connection("192.168.1.5:40000", "203.0.113.9:21"), f.connection("192.168.1.5:40000", "203.0.113.9:21")
	b.ttl = 9
	for _, p := range []struct {
		end   int
		flags uint8
		text  string
	}{{0, nfq.FlagSYN, ""}, {1, nfq.FlagSYN | nfq.FlagACK, ""}, {0, nfq.FlagACK, ""}, {1, nfq.FlagACK, "220 ready\r\n"}, {0, nfq.FlagACK, "USER alice\r\n"}} {
		a.send(p.end, p.flags, p.text)
		b.send(p.end, p.flags, p.text)
	}
	got := replayed(t, Options{Files: []string{f.pcap()}})
	if !strings.Contains(got, "skipped 5 packets: the same packet one hop further, 2, 4, 6, 8, 10\n") || strings.Contains(got, "retransmission") {
		t.Errorf("got\n%s", got)
	}
}

// TestAgain: a second connection uses the same addresses and ports.
func TestAgain(t *testing.T) {
	f := newFilm(t)
	for i := range 2 {
		w := f.connection("192.168.1.5:40000", "203.0.113.9:21")
		w.seq = [2]uint32{uint32(i) * 70000, uint32(i) * 90000}
		w.open()
		w.lines("S: 220 ready\nC: QUIT\nS: 221 bye\n")
		w.send(1, nfq.FlagFIN|nfq.FlagACK, "")
	}
	got := replayed(t, Options{Files: []string{f.pcap()}})
	if strings.Count(got, "session") != 2 || !strings.Contains(got, "#2  S 221 bye") || strings.Contains(got, "gap") {
		t.Errorf("got\n%s", got)
	}
}

// TestSameNumbers: connections that have only their sequence numbers in common,
// like those of generated captures, are two.
func TestSameNumbers(t *testing.T) {
	f := newFilm(t)
	for _, client := range []string{"192.168.1.5:40000", "192.168.1.6:40000"} {
		w := f.connection(client, "203.0.113.9:21")
		w.open()
		w.lines("S: 220 ready\nC: QUIT\nS: 221 bye\n")
	}
	got := replayed(t, Options{Files: []string{f.pcap()}})
	if strings.Count(got, " session ") != 2 || strings.Contains(got, "skipped") || strings.Contains(got, "seen as") {
		t.Errorf("got\n%s", got)
	}
}

// TestMiddle: a session whose start is missing, and missing bytes.
func TestMiddle(t *testing.T) {
	f := newFilm(t)
	w := f.connection("192.168.1.5:40000", "203.0.113.9:21")
	w.lines("S: 220 ready\nC: USER alice\n")
	w.mute = true
	w.lines("S: 331 password\nC: PASS x\nS: 230 in\n")
	w.mute = false
	w.lines("C: PASV\nS: 227 ok (203,0,113,9,19,137)\nC: PASV\nS: 227 ok (203,0,113,9,19,138)\n")
	got := replayed(t, Options{Files: []string{f.pcap()}})
	for _, want := range []string{"(its start is not in the capture)", "bytes are not in the capture]", "offer: offered"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

func TestDiff(t *testing.T) {
	for _, tt := range []struct{ want, got, diff string }{
		{"a\nb\nc\n", "a\nb\nc\n", ""},
		{"a\nb\nc\n", "a\nx\nc\n", "line 2:\n-b\n+x\n"},
		{"a\nb\nc\nd\n", "a\nx\nc\ny\nd\n", "line 2:\n-b\n+x\n c\n+y\n"},
		{"a\n", "", "line 1:\n-a\n"},
		{"", "a\n", "line 1:\n+a\n"},
	} {
		if d := Diff(tt.want, tt.got); d != tt.diff {
			t.Errorf("%q and %q: %q, want %q", tt.want, tt.got, d, tt.diff)
		}
	}
}

// TestLines: passwords and terminal control characters are not shown.
func TestLines(t *testing.T) {
	var l lines
	got := l.add(100, []byte("pass secret\r\nUSER \x1b[31mx\r\n\xff\xf4QU"))
	got = append(got, l.add(100, []byte("pass secret\r\n"))...) // again
	got = append(got, l.add(130, []byte("IT\r\n"))...)
	if want := []string{"PASS ***", `USER \x1b[31mx`, `\xff\xf4QUIT`}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
