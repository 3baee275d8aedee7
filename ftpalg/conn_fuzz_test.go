// SPDX-License-Identifier: Apache-2.0

package ftpalg

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"testing"
)

// offerLines define once more what the line of an offer must look like, without
// the engine's parsers. Telnet commands may precede it.
var offerLines = map[Verb]*regexp.Regexp{
	VerbPORT:    regexp.MustCompile(`^(?i:PORT)[ \t]+\d+([ \t]*,[ \t]*\d+){5}[ \t.\r\x00]*\n$`),
	VerbLPRT:    regexp.MustCompile(`^(?i:LPRT)[ \t]+\d+([ \t]*,[ \t]*\d+){8,20}[ \t.\r\x00]*\n$`),
	VerbEPRT:    regexp.MustCompile(`^(?i:EPRT)[ \t]+[!-~]0*[12][!-~].+[!-~]0*\d{1,5}[!-~][ \t.\r\x00]*\n$`),
	Verb227:     regexp.MustCompile(`(?s)^.*\d+([ \t]*,[ \t]*\d+){5}.*\n$`),
	Verb228:     regexp.MustCompile(`(?s)^.*\d+([ \t]*,[ \t]*\d+){8,20}.*\n$`),
	Verb229:     regexp.MustCompile(`(?s)^.*\d{1,5}.*\n$`),
	VerbDefault: regexp.MustCompile(`(?is)^\W*(RETR|STOR|STOU|APPE|LIST|NLST|MLSD)\b`),
}

// explained reports whether a line may reach the other side as got: it holds an
// offer, or is a denied command.
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

var traceOps = os.Getenv("TRACE") != ""

// maxHeldBytes limits Conn.Held: edits of both directions and one more each, with
// what a segment can hold, and the bytes that strict mode compares.
const maxHeldBytes = 2*(maxEditText+2*maxLine+maxEdits*64+maxHistory) + 4096

// fuzzed drives an engine with two streams that are sent in ranges, by ends that
// follow TCP but may lie about what they have received. It knows what the engine
// must not guess: where the streams begin, what was forwarded to the receiver,
// what that has received.
type fuzzed struct {
	t       *testing.T
	g       *gateway
	stream  [2][]byte
	base    [2]uint32
	rcv     [2]*receiver
	passed  [2][]bool // bytes that were read, passed unseen, or that the receiver claims to have
	first   [2]int    // the first byte that an engine saw; -1: not yet
	begins  bool      // the engine knows that byte 0 of a stream is its first
	unseen  bool      // and so might be another one: what was before it passed unseen
	foreign bool      // the connection was judged not to be one of FTP
	drops   bool      // forwarded segments do not arrive
	missed  bool      // the engine was told that bytes may have passed
	lost    bool      // bytes were given up: the receivers' view says nothing
}

// fuzzConfig makes a gateway of some bits.
func fuzzConfig(cfg uint16) *gateway {
	p := Policy{Checks: []Checks{Normal, Strict, Lenient, CheckAsked}[cfg>>3&3], DenyTLS: cfg>>5&1 == 1}
	p.Repair = Repair(cfg >> 6 & 3)
	p.ThirdParty = cfg>>8&1 == 1
	if p.ThirdParty { // some positions are at a translator between IPv6 and IPv4
		p.NAT64 = []NAT64{{Prefix: netip.MustParsePrefix("2001:db8::/96")}}
		if p.DenyTLS {
			p.NAT64[0].Pool = netip.MustParsePrefix("192.168.1.0/24")
		}
	}
	if cfg>>9&1 == 1 {
		p.Deny = map[string]bool{"SITE": true, "CWD": true}
	}
	g := &gateway{shift: cfg >> 10 & 7, adjusts: cfg>>10&1 == 1}
	g.c = NewConn(positions[cfg&7], &p, Options{AdjustBy: []AdjustBy{Kernel, Nobody}[cfg>>13&1], Started: cfg>>14&1 == 1})
	if cfg>>15 == 1 {
		g.here = true
		g.c.SetAdjustBy(Caller)
	}
	return g
}

// op does one thing: send a range of a stream, let held segments time out, pass
// an acknowledgement, true or not, or replace the engine.
func (f *fuzzed) op(kind, n byte) {
	d := Direction(kind & 1)
	s := &f.g.c.stream[d]
	if traceOps {
		println("op", kind>>1&15, d, n)
	}
	next := 0
	if s.known {
		next = int(int32(s.next - f.base[d]))
	}
	if f.lost {
		next = max(0, next) // a liar said that it lacks what precedes the first byte
	}
	if next < 0 || next > len(f.stream[d]) {
		f.t.Fatalf("next byte of %v is %d of %d", d, next, len(f.stream[d]))
	}
	from, size := next, int(n)
	switch kind >> 1 & 15 {
	case 0:
		f.g.timeout(d)
		return
	case 1:
		f.acknowledge(d, f.rcv[d].next(), 0)
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
	case 8:
		f.drops = n > 100
		return
	case 9: // the queue is full
		f.pass(d, next, min(next+size, len(f.stream[d])))
		return
	case 10: // the receiver says that it has more, or less
		f.acknowledge(d, next+int(n)-128, 0)
		return
	case 11:
		f.acknowledge(d, next, uint32(n|1)<<23)
		return
	case 12: // from a third host; once the kernel has seen a connection begin, it drops these before both ends have sent
		if f.g.c.started && !(f.g.c.stream[0].known && f.g.c.stream[1].known) {
			return
		}
		text := []byte("x\r\n" + [...]string{"PORT 192,168,1,5,200,10\r\nPORT 192,168,1,5,200,10\r\n", "227 (203,0,113,9,200,10)\r\n227 (10,0,0,2,200,10)\r\n"}[d])
		f.forged(d, f.base[d]+uint32(n)<<22+1<<21, f.base[1-d]+uint32(n)<<23+1<<21, text)
		return
	case 13:
		f.g.c.Missed()
		f.lost, f.missed = true, true
		return
	case 14, 15:
		f.restart(n > 30)
		return
	}
	f.send(d, from, min(from+size, len(f.stream[d])))
}

// acknowledge makes the receiver of direction d claim in an empty segment that it
// has n bytes; the number is off by off.
func (f *fuzzed) acknowledge(d Direction, n int, off uint32) {
	n = max(-1, min(n, len(f.stream[d])))
	if f.g.c.received(d, f.g.c.stream[1-d].next, f.base[d]+uint32(n)+off) {
		f.says(d, n)
	}
}

// says records the claim of the receiver of direction d that it has n bytes.
func (f *fuzzed) says(d Direction, n int) {
	if has := f.rcv[d].next(); n != has {
		f.lost = true // and its sender may believe it
	}
	n = int(int32(f.g.c.Acknowledgement(d, f.base[d]+uint32(n)) - f.base[d]))
	for i := range max(0, min(n, len(f.passed[d]))) {
		f.passed[d][i] = true
	}
}

// pass lets a range of a stream pass unseen.
func (f *fuzzed) pass(d Direction, from, to int) {
	f.lost = true
	f.unseen = f.unseen || f.first[d] < 0
	for i := from; i < to; i++ {
		f.passed[d][i] = true
	}
}

// forged passes a segment from a third host, which must open nothing and change
// nothing.
func (f *fuzzed) forged(d Direction, seq, ack uint32, p []byte) {
	f.g.offers = f.g.offers[:0]
	met, before := f.g.c.met, [2]uint32{f.g.c.stream[0].next, f.g.c.stream[1].next}
	if f.g.c.received(1-d, seq, ack) {
		acks := f.g.acks
		f.g.acks = nil
		f.g.segment(d, seq, p)
		f.g.acks = acks
		f.lost = true
	}
	if len(f.g.offers) > 0 {
		f.t.Fatalf("a forged segment at %d opens %+v", seq, f.g.offers)
	}
	for d := range f.g.c.stream {
		s := &f.g.c.stream[d]
		n := int(int32(s.next - f.base[d]))
		switch {
		case met && s.known && s.next != before[d]:
			f.t.Fatalf("a forged segment moved %d to %d", before[d], s.next)
		case !met && s.known && (n < -1 || n > len(f.stream[d])): // meet starts anew with the real ends
			f.g.c.stream[0].forgetPlace()
			f.g.c.stream[1].forgetPlace()
			f.lost = true
		}
	}
}

// restart replaces the engine by another one, with or without its state.
func (f *fuzzed) restart(told bool) {
	old := f.g.c
	state := old.State()
	f.g.timeout(Original)
	f.g.timeout(Reply)
	f.g.c = NewConn(old.ep, old.policy, Options{AdjustBy: old.adjustBy, Adjusted: [2]Adjustment{old.Position(Original).Adjusted, old.Position(Reply).Adjusted}})
	f.missed = true
	if told {
		f.g.c.Continue(&state, true)
		for d := range f.first {
			if !state.Stream[d].Known {
				f.first[d] = -1
			}
		}
	} else {
		f.g.c.Continue(nil, true)
		f.begins, f.foreign, f.first = false, false, [2]int{-1, -1}
	}
	if f.g.here {
		f.g.c.SetAdjustBy(Caller)
	}
	f.lost = true
}

func (f *fuzzed) send(d Direction, from, to int) {
	s, seen := &f.g.c.stream[d], len(f.g.log)
	seq, p := f.base[d]+uint32(from), f.stream[d][from:to]
	f.g.offers = f.g.offers[:0]
	f.says(1-d, f.rcv[1-d].next())
	if !f.g.c.received(1-d, seq, f.base[1-d]+uint32(f.rcv[1-d].next())) {
		return
	}
	for e := range f.first {
		if !f.g.c.stream[e].known && f.first[e] >= 0 { // which of the two came from a third host?
			f.first[e], f.begins, f.lost = -1, false, true
		}
	}
	before := s.next
	if !s.known {
		before = seq
	}
	out := f.g.segment(d, seq, p)
	if traceOps {
		println(d, from, to, f.g.reason.String(), int32(s.next-f.base[d]), s.held, f.first[d], string(p))
	}
	if f.first[d] < 0 && len(p) > 0 {
		f.first[d] = from
	}
	if at := int(int32(before - f.base[d])); from <= at && s.next != before { // a gap at the start was filled
		f.first[d] = min(f.first[d], max(0, at))
	}
	f.lost = f.lost || f.g.reason == ReasonResync || f.g.reason == ReasonTooOld || f.g.c.adjustBy == Nobody
	if f.missed && s.next != before && int(int32(s.next-f.base[d])) >= from { // it was told that bytes may have passed
		for i := max(0, int(int32(before-f.base[d]))); i < from; i++ {
			f.passed[d][i] = true
		}
	}
	// What was read is forwarded now, or when it is retransmitted.
	for i := max(from, int(int32(before-f.base[d]))); i < min(to, int(int32(s.next-f.base[d]))); i++ {
		f.passed[d][i] = true
	}
	for _, o := range out {
		if !f.lost && !f.drops {
			f.rcv[d].take(o)
		}
	}
	for _, o := range f.g.offers {
		f.checkOffer(d, &o)
	}
	f.foreign = f.foreign || f.g.c.foreign != ReasonPlain
	if n := f.g.c.Held(); n > maxHeldBytes {
		f.t.Fatalf("%d bytes are held in addition to the line in progress", n)
	}
	if len(s.line) > maxLine || len(s.edits) > maxEdits || len(f.g.log)-seen > 2*len(p)+3 {
		f.t.Fatalf("a line of %d bytes, %d edits, %d events of %d bytes", len(s.line), len(s.edits), len(f.g.log)-seen, len(p))
	}
}

// checkOffer checks an offer against the bytes that were sent: it must be a
// complete line, and begin where one does, which must not be a guess; and
// everything before it must have been forwarded to its receiver.
func (f *fuzzed) checkOffer(d Direction, o *Offer) {
	all := f.stream[d]
	at := int(int32(o.start - f.base[d]))
	end := bytes.IndexByte(all[at:], '\n')
	front := bytes.LastIndexByte(all[:at], '\n') + 1
	next := int(int32(f.g.c.stream[d].next - f.base[d]))
	mode := map[Direction]Mode{Original: Active, Reply: Passive}[d]
	switch {
	case f.foreign:
		f.t.Fatalf("%v opens what is not FTP", o.Verb)
	case o.Mode != mode:
		f.t.Fatalf("%v offers %v", d, o.Verb)
	case end < 0 || at+end >= next:
		f.t.Fatalf("%v of an incomplete line %q", o.Verb, all[at:next])
	case len(appendText(nil, all[front:at])) > 0:
		f.t.Fatalf("%v after %q in a line", o.Verb, all[front:at])
	case front == 0 && !f.begins || front > 0 && front <= f.first[d] && !f.unseen:
		f.t.Fatalf("%v at %d: it is a guess that a line starts there", o.Verb, at)
	case o.other && o.Mode == Passive && offerLines[Verb227].Match(all[at:at+end+1]): // forwarded as 229
	case !offerLines[o.Verb].Match(all[at : at+end+1]):
		f.t.Fatalf("%v in %q", o.Verb, all[at:at+end+1])
	case o.Announced.Port() == 0 || !o.Source.IsValid() || !o.Public.IsValid() || !o.Target.IsValid():
		f.t.Fatalf("incomplete offer %+v", o)
	}
	for i := max(0, f.first[d]); i <= at+end; i++ {
		if !f.passed[d][i] {
			f.t.Fatalf("%v at %d, and byte %d was not read", o.Verb, at, i)
		}
	}
}

// checkReceived compares what has arrived with what was sent: line by line the
// same, except for offers and denied commands.
func (f *fuzzed) checkReceived(d Direction) {
	if f.g.c.nat64 != not64 { // TestAnyCutNAT64 does it
		return
	}
	got := bytes.SplitAfter(f.rcv[d].buf[:f.rcv[d].next()], []byte{'\n'})
	sent := bytes.SplitAfter(f.stream[d], []byte{'\n'})
	for i, line := range got[:len(got)-1] {
		if i >= len(sent) {
			f.t.Fatalf("%d of %d lines arrived", len(got), len(sent))
		}
		if !bytes.Equal(line, sent[i]) && !explained(sent[i], line) {
			f.t.Fatalf("%q became %q", sent[i], line)
		}
	}
}

// FuzzConn tests the engine as a whole. cfg is the position and the policy, ops
// are pairs of bytes for op.
func FuzzConn(f *testing.F) {
	client := []byte("USER x\r\nPASS y\r\nPORT 192,168,1,5,200,10\r\nSITE x\r\nEPRT |1|192.168.1.5|5000|\r\nPASV\r\nAUTH TLS\r\nLPRT 4,4,192,168,1,5,2,200,10\r\n")
	server := []byte("220 hi\r\n331 password\r\n230 in\r\n200 ok\r\n500 what\r\n200 ok\r\n227-x\r\n227 Entering (10,0,0,2,200,10).\r\n229 (|||5000|)\r\n228 (4,4,10,0,0,2,2,200,10)\r\n421 bye\r\n")
	client64 := []byte("EPSV 2\r\nEPSV\r\nEPSV ALL\r\nALGS STATUS64\r\nEPRT |2|fd77::2|5000|\r\nEPSV 1\r\n")
	server64 := []byte("220 hi\r\n227-x\r\n227 Entering (10,0,0,2,200,10).\r\n227 1,1,1,1,200,10\r\n200 ok\r\n500-what\r\n500 that\r\n200 ok\r\n200 ok\r\n")
	for cfg := range uint16(8) {
		f.Add(cfg|1<<4|1<<8, client64, server64, []byte{0xd, 8, 0xc, 255, 0xd, 255})
		f.Add(cfg|1<<5|1<<8, client64, server64, []byte{0xd, 8, 0xc, 10, 0xc, 20, 0xd, 20, 0x2, 9, 0xc, 255, 0xd, 255})
		f.Add(cfg, client, server, []byte{0xc, 255, 0xd, 255})
		f.Add(cfg|1<<5|1<<9|1<<14, client, server, []byte{0xd, 8, 0xc, 10, 0xd, 20, 0xc, 20, 0x0, 0, 0xc, 20, 0x4, 30, 0x3, 0, 0xc, 99, 0xd, 99, 0xc, 255, 0xd, 255})
	}
	f.Fuzz(runOps)
}

// runOps passes two streams through an engine as ops say.
func runOps(t *testing.T, cfg uint16, client, server, ops []byte) {
	if len(client)+len(server) > 1<<15 {
		return
	}
	w := &fuzzed{t: t, g: fuzzConfig(cfg), stream: [2][]byte{client, server}, base: [2]uint32{0xffffff80, 1000}}
	w.begins, w.first = w.g.c.started, [2]int{-1, -1}
	for d := range w.rcv {
		w.rcv[d] = &receiver{t: t, base: w.base[d]}
		w.passed[d] = make([]bool, len(w.stream[d]))
	}
	w.g.acks = func(d Direction) uint32 { return w.base[d] + uint32(w.rcv[d].next()) }
	for ; len(ops) > 1 && !w.g.c.opaque; ops = ops[2:] {
		w.op(ops[0], ops[1])
	}
	for d := range w.rcv {
		if !w.lost {
			w.checkReceived(Direction(d))
		}
	}
}

// TestRandomOps is the fuzz target with meaningful dialogues, some bytes of which
// are changed.
func TestRandomOps(t *testing.T) {
	n := 5000
	if raceEnabled {
		n = rounds(n)
	}
	for i := range n {
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
