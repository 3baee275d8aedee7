// SPDX-License-Identifier: Apache-2.0

package ftpalg

import (
	"bytes"
	"math/rand/v2"
	"regexp"
	"slices"
	"testing"
)

// What the line of an offer must look like, written down once more and without
// the engine's parsers. Telnet commands may stand in front of it.
var offerLines = map[Verb]*regexp.Regexp{
	VerbPORT: regexp.MustCompile(`^(?i:PORT)[ \t]+\d+([ \t]*,[ \t]*\d+){5}[ \t.\r\x00]*\n$`),
	VerbLPRT: regexp.MustCompile(`^(?i:LPRT)[ \t]+\d+([ \t]*,[ \t]*\d+){8,20}[ \t.\r\x00]*\n$`),
	VerbEPRT: regexp.MustCompile(`^(?i:EPRT)[ \t]+[!-~]0*[12][!-~].+[!-~]0*\d{1,5}[!-~][ \t.\r\x00]*\n$`),
	Verb227:  regexp.MustCompile(`(?s)^.*\d+([ \t]*,[ \t]*\d+){5}.*\n$`),
	Verb228:  regexp.MustCompile(`(?s)^.*\d+([ \t]*,[ \t]*\d+){8,20}.*\n$`),
	Verb229:  regexp.MustCompile(`(?s)^.*\d{1,5}.*\n$`),
}

// explained reports whether a line may reach the other side as got: it holds an
// offer, or is a command that was denied.
func explained(sent, got []byte) bool {
	text := appendText(nil, sent)
	for _, r := range offerLines {
		if r.Match(text) {
			return true
		}
	}
	if len(sent) != len(got) {
		return false
	}
	for i := range sent {
		if sent[i] != got[i] && got[i] != 'X' {
			return false
		}
	}
	return true
}

// fuzzed drives an engine with two streams that are sent in ranges.
type fuzzed struct {
	t      *testing.T
	g      *gateway
	stream [2][]byte
	base   [2]uint32
	first  [2]int // where reading began: whether a line starts there is guessed
	rcv    [2]*receiver
	lost   bool // bytes were given up: the receivers' view says nothing
}

// fuzzConfig makes a gateway of some bits.
func fuzzConfig(cfg uint16) *gateway {
	p := Policy{Checks: []Checks{Normal, Strict, Lenient, CheckAsked}[cfg>>3&3], DenyTLS: cfg>>5&1 == 1}
	p.Repair = Repair(cfg >> 6 & 3)
	p.ThirdParty = cfg>>8&1 == 1
	if cfg>>9&1 == 1 {
		p.Deny = map[string]bool{"SITE": true, "CWD": true}
	}
	g := &gateway{shift: cfg >> 10 & 7, adjusts: cfg>>10&1 == 1}
	g.c = NewConn(positions[cfg&7], &p, Options{Adjustable: cfg>>13&1 == 0, Started: cfg>>14&1 == 1})
	if cfg>>15 == 1 {
		g.here = true
		g.c.AdjustHere()
	}
	return g
}

// op does one thing: send a range of a stream, let held segments time out, or
// pass on an acknowledgement.
func (f *fuzzed) op(kind, n byte) {
	d := Direction(kind & 1)
	s := &f.g.c.stream[d]
	next := 0
	if s.known {
		next = int(int32(s.next - f.base[d]))
	}
	if next < 0 || next > len(f.stream[d]) {
		f.t.Fatalf("next byte of %v is %d of %d", d, next, len(f.stream[d]))
	}
	from, size := next, int(n)
	switch kind >> 1 & 7 {
	case 0:
		f.g.timeout(d)
		return
	case 1:
		ack := f.rcv[d].next()
		if n > 127 && s.known { // the receiver has bytes that were not seen, or says so
			ack, f.lost = min(next+int(n)-127, len(f.stream[d])), true
		}
		acked(f.g.c, d, f.base[d]+uint32(ack))
		return
	case 2:
		from = max(0, next-int(n))
		size = int(kind)
	case 3:
		from = min(len(f.stream[d]), next+int(n)%8)
	case 4:
		size = 1
	case 5:
		size *= 64
	}
	f.send(d, from, min(from+size, len(f.stream[d])))
}

func (f *fuzzed) send(d Direction, from, to int) {
	s, seen := &f.g.c.stream[d], len(f.g.log)
	seq, p := f.base[d]+uint32(from), f.stream[d][from:to]
	if !s.known {
		f.first[d] = from
	}
	f.g.offers = f.g.offers[:0]
	out := f.g.segment(d, seq, p)
	f.lost = f.lost || f.g.reason == ReasonResync || f.g.reason == ReasonTooOld || !f.g.c.adjustable
	for _, o := range out {
		if !f.lost {
			f.rcv[d].take(o)
		}
	}
	for _, o := range f.g.offers {
		f.checkOffer(d, &o)
	}
	edits := 0
	for i := range s.edits {
		edits += len(s.edits[i].text)
	}
	if len(s.line) > maxLine || len(s.edits) > maxEdits || edits > maxEdits*(len(p)+65536+2*maxLine) || len(f.g.log)-seen > 2*len(p)+3 {
		f.t.Fatalf("a line of %d bytes, %d edits of %d bytes, %d events of %d bytes", len(s.line), len(s.edits), edits, len(f.g.log)-seen, len(p))
	}
}

// checkOffer holds an offer against the bytes that were sent: it must be a
// complete line.
func (f *fuzzed) checkOffer(d Direction, o *Offer) {
	all := f.stream[d]
	at := int(int32(o.start - f.base[d]))
	end := bytes.IndexByte(all[at:], '\n')
	front := max(bytes.LastIndexByte(all[:at], '\n')+1, f.first[d])
	next := int(int32(f.g.c.stream[d].next - f.base[d]))
	switch {
	case d != [...]Direction{Active: Original, Passive: Reply}[o.Mode]:
		f.t.Fatalf("%v offers %v", d, o.Verb)
	case end < 0 || at+end >= next:
		f.t.Fatalf("%v of an incomplete line %q", o.Verb, all[at:next])
	case len(appendText(nil, all[front:at])) > 0:
		f.t.Fatalf("%v behind %q in a line", o.Verb, all[front:at])
	case !offerLines[o.Verb].Match(all[at : at+end+1]):
		f.t.Fatalf("%v in %q", o.Verb, all[at:at+end+1])
	case o.Announced.Port() == 0 || !o.Source.IsValid() || !o.Public.IsValid() || !o.Target.IsValid():
		f.t.Fatalf("incomplete offer %+v", o)
	}
}

// checkReceived holds what has come against what was sent: line by line the
// same, but for offers and commands that were denied.
func (f *fuzzed) checkReceived(d Direction) {
	got := bytes.SplitAfter(f.rcv[d].buf[:f.rcv[d].next()], []byte{'\n'})
	sent := bytes.SplitAfter(f.stream[d], []byte{'\n'})
	for i, line := range got[:len(got)-1] {
		if i >= len(sent) {
			f.t.Fatalf("%d lines came of %d", len(got), len(sent))
		}
		if !bytes.Equal(line, sent[i]) && !explained(sent[i], line) {
			f.t.Fatalf("%q became %q", sent[i], line)
		}
	}
}

// FuzzConn is the engine as a whole. cfg is the position and the policy, ops
// are pairs of bytes for op.
func FuzzConn(f *testing.F) {
	client := []byte("USER x\r\nPASS y\r\nPORT 192,168,1,5,200,10\r\nSITE x\r\nEPRT |1|192.168.1.5|5000|\r\nPASV\r\nAUTH TLS\r\nLPRT 4,4,192,168,1,5,2,200,10\r\n")
	server := []byte("220 hi\r\n331 password\r\n230 in\r\n200 ok\r\n500 what\r\n200 ok\r\n227-x\r\n227 Entering (10,0,0,2,200,10).\r\n229 (|||5000|)\r\n228 (4,4,10,0,0,2,2,200,10)\r\n421 bye\r\n")
	for cfg := range uint16(8) {
		f.Add(cfg, client, server, []byte{0xc, 255, 0xd, 255})
		f.Add(cfg|1<<5|1<<9|1<<14, client, server, []byte{0xd, 8, 0xc, 10, 0xd, 20, 0xc, 20, 0x0, 0, 0xc, 20, 0x4, 30, 0x3, 0, 0xc, 99, 0xd, 99, 0xc, 255, 0xd, 255})
	}
	f.Fuzz(runOps)
}

// runOps lets two streams pass an engine in the way that ops say.
func runOps(t *testing.T, cfg uint16, client, server, ops []byte) {
	if len(client)+len(server) > 1<<15 {
		return
	}
	w := &fuzzed{t: t, g: fuzzConfig(cfg), stream: [2][]byte{client, server}, base: [2]uint32{0xffffff80, 1000}}
	for d := range w.rcv {
		w.rcv[d] = &receiver{t: t, base: w.base[d]}
	}
	for ; len(ops) > 1 && !w.g.c.opaque; ops = ops[2:] {
		w.op(ops[0], ops[1])
	}
	for d := range w.rcv {
		if !w.lost {
			w.checkReceived(Direction(d))
		}
	}
}

// TestRandomOps is the fuzz target with dialogues that make sense, some bytes
// of which are changed.
func TestRandomOps(t *testing.T) {
	for i := range 5000 {
		r := rand.New(rand.NewPCG(uint64(i), 9))
		s := randomScript(r)
		streams := [2][]byte{nil, []byte(greeting)}
		for _, b := range s.batches {
			for _, x := range b {
				streams[0] = append(streams[0], x.cmd...)
				streams[1] = append(streams[1], x.reply...)
			}
		}
		for d := range streams {
			for range r.IntN(4) {
				streams[d][r.IntN(len(streams[d]))] = "\xff\xf1\n\r ,1(|P2\t.\x000@"[r.IntN(16)]
			}
		}
		ops := make([]byte, 200)
		for i := range ops {
			ops[i] = byte(r.Uint32())
			if i%2 == 1 && r.IntN(2) == 0 {
				ops[i] %= 12
			}
		}
		cfg := uint16(r.Uint32()) &^ 7
		runOps(t, cfg|uint16(slices.Index(positions, s.ep)&7), streams[0], streams[1], ops)
		if t.Failed() {
			t.Fatalf("seed %d", i)
		}
	}
}
