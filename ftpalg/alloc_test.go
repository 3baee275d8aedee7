// SPDX-License-Identifier: Apache-2.0

package ftpalg

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

var clock = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

var noop, noopDone = []byte("NOOP\r\n"), []byte("200 NOOP ok.\r\n")

// passed sends a command and its reply, which are forwarded unchanged like nearly
// all.
func passed(c *Conn, seq *[2]uint32) {
	for d, p := range [][]byte{noop, noopDone} {
		c.now = clock
		c.received(Direction(1-d), seq[d], seq[1-d])
		take(c, Direction(d), seq[d], p)
		rewrite(c, nil, Direction(d), seq[d], p)
		seq[d] += uint32(len(p))
	}
}

// costly are settings that have to examine lines.
var costly = map[string]Policy{
	"normal": {}, "strict": {Checks: Strict},
	"deny-command": {DenyTLS: true, Deny: map[string]bool{"SITE": true}},
	"subcommands":  {Deny: map[string]bool{"SITE CHMOD": true, "SITE EXEC": true}},
	"allow":        {Allow: map[string]bool{"USER": true, "PASS": true, "NOOP": true, "RETR": true, "STOR": true, "PASV": true}},
	"modes":        {NoActive: true}, "families": {NoIPv6: true}, "anonymous": {Anonymous: AnonymousNever}, "tls-require": {RequireTLS: true},
	"lengths":        {MaxLine: 512, MaxArgument: 256, MaxPath: 255},
	"map-data-ports": {MapPorts: PortRange{50000, 50100}}, "data-direction": {OneWay: true},
	"files": {Files: []FileRule{{Patterns: []string{"*.exe", "*.scr", "*.dll", "*.com", "*.bat"}, FoldCase: true},
		{Patterns: []string{"a*b*c*d*e", "*secret*", "?????.doc", ".*", "*~"}, Actions: FileUpload}}},
}

func TestPassedSegmentAllocatesNothing(t *testing.T) {
	for name, p := range costly {
		c := NewConn(both, &p, Options{AdjustBy: Kernel, Started: true})
		var seq [2]uint32
		if n := testing.AllocsPerRun(100, func() { passed(c, &seq) }); n != 0 {
			t.Errorf("%s: %v allocations for a segment that is forwarded unchanged, want 0", name, n)
		}
	}
}

// TestSaveState: a state is the same in memory that was used before, also of a connection
// that had more, and takes no more memory then.
func TestSaveState(t *testing.T) {
	c := NewConn(both, &Policy{}, Options{AdjustBy: Kernel, Started: true})
	var used State
	var seq [2]uint32
	say := func(d Direction, text string) {
		c.now = clock
		c.received(1-d, seq[d], seq[1-d])
		take(c, d, seq[d], []byte(text))
		seq[d] += uint32(len(text))
	}
	for _, line := range []struct {
		d    Direction
		text string
	}{
		{Reply, "220 ready\r\n"}, {Original, "NOOP\r\nPASV\r\n"}, {Reply, "200 ok\r\n"},
		{Reply, "227 Entering Passive Mode (10,0,0,2,195,80).\r\n"}, {Original, "RETR a long na"}, {Original, "me\r\n"},
		{Reply, "150 here it comes\r\n226 done\r\n"}, {Original, "NOOP\r\n"}, {Reply, "200 ok\r\n"},
	} {
		say(line.d, line.text)
		c.SaveState(&used)
		got, err := json.Marshal(used)
		want, wantErr := json.Marshal(c.State())
		if err != nil || wantErr != nil || string(got) != string(want) {
			t.Errorf("after %q: %s, want %s (%v, %v)", line.text, got, want, err, wantErr)
		}
		whole := strings.HasSuffix(line.text, "\n") // otherwise it is searched for a password
		if n := testing.AllocsPerRun(100, func() { c.SaveState(&used) }); whole && n != 0 {
			t.Errorf("after %q: %v allocations", line.text, n)
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

// BenchmarkSettings measures what each setting adds to an upload's command and
// its reply.
func BenchmarkSettings(b *testing.B) {
	stor, done := []byte("STOR /pub/incoming/2026/11/report of the month.pdf\r\n"), []byte("226 Transfer complete.\r\n")
	for name, p := range costly {
		b.Run(name, func(b *testing.B) {
			c := NewConn(both, &p, Options{AdjustBy: Kernel})
			var seq [2]uint32
			b.ReportAllocs()
			for b.Loop() {
				for d, line := range [][]byte{stor, done} {
					take(c, Direction(d), seq[d], line)
					rewrite(c, nil, Direction(d), seq[d], line)
					seq[d] += uint32(len(line))
				}
			}
		})
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
