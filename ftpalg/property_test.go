// SPDX-License-Identifier: Apache-2.0

package ftpalg

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// unapply does what nf_ct_seq_adjust does to an acknowledgement.
func (a Adjustment) unapply(ack uint32) uint32 {
	if int32(ack-uint32(a.Before)-a.Pos) > 0 {
		return ack - uint32(a.After)
	}
	return ack - uint32(a.Before)
}

// window is how tcp_in_window sees an acknowledgement, which it compares with
// what was sent. Unlike nf_ct_seq_adjust it looks the offset up by the receiver's
// number (nf_ct_seq_offset).
func (a Adjustment) window(ack uint32) uint32 {
	if int32(ack-1-a.Pos) > 0 {
		return ack - uint32(a.After)
	}
	return ack - uint32(a.Before)
}

// Positions in which an edit makes a line shorter.
var (
	shrinkActive = Endpoints{Client: ap("192.168.100.200:40000"), Dialled: ap("203.0.113.9:21"),
		Server: ap("203.0.113.9:21"), SeenAs: ap("8.8.8.8:40000")}
	shrinkPassive = Endpoints{Client: ap("192.168.1.5:40000"), Dialled: ap("8.8.8.8:21"),
		Server: ap("192.168.100.200:21"), SeenAs: ap("192.168.1.5:40000")}
	shrink6 = Endpoints{Client: ap("[fd77:7777:7777:7777:7777:7777:7777:2]:40000"), Dialled: ap("[2001:db8::9]:21"),
		Server: ap("[2001:db8::9]:21"), SeenAs: ap("[2a::1]:40000")} // to less than half
)

// positions are those of random dialogues.
var positions = []Endpoints{routed, snat, dnat, both, routed6, nat66, shrinkActive, shrinkPassive, shrink6}

// exchange is a command and its reply.
type exchange struct{ cmd, reply string }

// script is a dialogue in batches: the client sends the commands of a batch
// without waiting for replies between them.
type script struct {
	ep      Endpoints
	policy  Policy
	shift   uint16
	batches [][]exchange
}

const greeting = "220-hello\r\n220 ready\r\n"

// randomScript makes a dialogue for a random position.
func randomScript(r *rand.Rand) script {
	s := script{ep: positions[r.IntN(len(positions))], shift: uint16(r.IntN(2) * 7)}
	if r.IntN(3) == 0 {
		s.policy = Policy{DenyTLS: true, Deny: map[string]bool{"SITE": true}}
	}
	if r.IntN(3) == 0 {
		s.policy.Checks = Normal | CheckRepeats
	}
	s.batches = [][]exchange{{{"USER me\r\n", "331 password\r\n"}}, {{"PASS x\r\n", "230 in\r\n"}}}
	for range 2 + r.IntN(5) {
		if r.IntN(5) == 0 {
			s.batches = append(s.batches, []exchange{s.alone(r)})
			continue
		}
		var b []exchange
		for range 1 + r.IntN(4) {
			b = append(b, s.exchange(r))
		}
		s.batches = append(s.batches, b)
	}
	return s
}

// alone makes an exchange whose reply decides what a later command means, so that
// a client has to wait for it.
func (s *script) alone(r *rand.Rand) exchange {
	switch r.IntN(5) {
	case 0:
		return exchange{s.active(r), "500 Illegal PORT command.\r\n"}
	case 1:
		return exchange{"RETR file\r\n", "425 Cannot open data connection.\r\n"}
	case 2:
		return exchange{"REIN\r\n", "220 again\r\n"}
	case 3:
		return exchange{"EPSV ALL\r\n", "200 ok\r\n"}
	}
	return exchange{"AUTH TLS\r\n", "500 what?\r\n"}
}

// oneByOne makes every command wait for the reply to the one before.
func (s *script) oneByOne() {
	all := slices.Concat(s.batches...)
	s.batches = s.batches[:0]
	for i := range all {
		s.batches = append(s.batches, all[i:i+1])
	}
}

func (s *script) exchange(r *rand.Rand) exchange {
	end := []string{"\r\n", "\r\n", "\r\n", "\n", "\r\r\n"}[r.IntN(5)]
	server := netip.AddrPortFrom(s.ep.Server.Addr(), port(r))
	switch n := r.IntN(9); {
	case n == 0:
		return exchange{"NOOP" + end, "200 ok" + end}
	case n == 1:
		return exchange{"STAT" + end, "211-here" + end + "227 is a number" + end + "211 end" + end}
	case n == 2:
		return [...]exchange{
			{"SITE IDLE" + end, "500 no" + end},
			{"cwd /" + end, "550 no" + end},
			{"PWD" + end, "257 /" + end},
			{"REST 1" + end, "350 so far" + end},
		}[r.IntN(4)]
	case n == 3:
		return exchange{"RETR file" + end, "150 coming" + end + "226 done" + end}
	case n == 4 || n == 5 && server.Addr().Is6():
		return exchange{"EPSV" + end, s.extended(r, server.Addr()) + end}
	case n == 5:
		words := []string{"227 Entering Passive Mode (%s)" + end, "227 %s" + end, "227-here" + end + "227 (%s)." + end}[r.IntN(3)]
		return exchange{"PASV" + end, fmt.Sprintf(words, spaced(r, list(hostPortNumbers(server))))}
	case n == 6:
		return exchange{"LPSV" + end, fmt.Sprintf("228 Entering Long Passive Mode (%s)%s", spaced(r, list(longNumbers(server))), end)}
	}
	return exchange{s.active(r), "200 ok" + end}
}

// extended makes a 229, sometimes one with an address.
func (s *script) extended(r *rand.Rand, own netip.Addr) string {
	if r.IntN(3) > 0 {
		return fmt.Sprintf("229 Entering Extended Passive Mode (|||%d|)", port(r))
	}
	return fmt.Sprintf("229 Entering Extended Passive Mode (!!%s!%d!)", own, port(r))
}

// spaced adds spaces to a list, sometimes so many that its replacement has less
// than half its length.
func spaced(r *rand.Rand, list string) string {
	return strings.ReplaceAll(list, ",", ","+strings.Repeat(" ", max(0, r.IntN(8)-4)))
}

// active makes an offer of the client.
func (s *script) active(r *rand.Rand) string {
	client := netip.AddrPortFrom(s.ep.Client.Addr(), port(r))
	front := []string{"", "", "\xff\xf1"}[r.IntN(3)]
	switch n := r.IntN(3); {
	case n == 0:
		return front + "LPRT " + spaced(r, list(longNumbers(client))) + "\r\n"
	case client.Addr().Is6():
		text := []string{client.Addr().String(), client.Addr().StringExpanded()}[r.IntN(2)]
		return fmt.Sprintf("%sEPRT |2|%s|%d|\r\n", front, text, client.Port())
	case n == 1:
		zeros := strings.Repeat("0", max(0, r.IntN(60)-40)) // or its replacement has less than half the length
		return fmt.Sprintf("%seprt !1!%s%s!%d!\r\n", front, zeros, client.Addr(), client.Port())
	}
	return front + "PORT " + spaced(r, list(hostPortNumbers(client))) + []string{"", "", ".", "\x00", "\r"}[r.IntN(5)] + "\r\n"
}

func port(r *rand.Rand) uint16 { return uint16(1024 + r.IntN(60000)) }

// whole runs the dialogue in whole lines and returns what each side received.
func (s *script) whole(t *testing.T, g *gateway) (client, server string) {
	var seq [2]uint32
	rcv := [2]*receiver{{t: t}, {t: t}}
	g.acks = func(d Direction) uint32 { return uint32(rcv[d].next()) }
	say := func(d Direction, text string) {
		for _, l := range strings.SplitAfter(text, "\n") {
			if l == "" {
				continue
			}
			acked(g.c, d, g.acks(d)) // with bare acknowledgements, too
			for _, out := range g.segment(d, seq[d], []byte(l)) {
				rcv[d].take(out)
			}
			seq[d] += uint32(len(l))
		}
	}
	say(Reply, greeting)
	for _, b := range s.batches {
		for _, x := range b {
			say(Original, x.cmd)
		}
		for _, x := range b {
			say(Reply, x.reply)
		}
	}
	return string(rcv[Reply].buf), string(rcv[Original].buf)
}

// wire runs a dialogue with random cuts, losses before and behind the gateway,
// retransmissions with other cuts, segments out of order, and timeouts of held
// segments. Both sides send at the same time.
type wire struct {
	t       *testing.T
	r       *rand.Rand
	g       *gateway
	rcv     [2]*receiver
	sent    [2][]byte // everything that a side wrote
	base    [2]uint32
	una     [2]int // bytes that the side knows to have arrived
	end     [2]int // end of everything that has passed the gateway
	backoff [2]int // steps until dropped bytes are retransmitted
	cuts    int
	lines   bool // mostly whole lines
	ahead   bool // segments out of order begin with a line
	small   bool // pieces of a few bytes, which are not held for long
	renewed int  // engines that took over, see renew
	renews  bool
	name    string
	trace   bool
}

func newWire(t *testing.T, r *rand.Rand, g *gateway) *wire {
	w := &wire{t: t, r: r, g: g}
	for d := range w.base {
		w.base[d] = r.Uint32()
		if r.IntN(2) == 0 { // wraps within the dialogue
			w.base[d] = -uint32(1 + r.IntN(200))
		}
		w.rcv[d] = &receiver{t: t, base: w.base[d]}
	}
	g.acks = func(d Direction) uint32 { return w.base[d] + uint32(w.rcv[d].next()) }
	return w
}

// run runs the dialogue until everything has arrived.
func (w *wire) run(s *script) {
	w.sent[Reply] = append(w.sent[Reply], greeting...)
	var cmds, replies []exchange
	for round, batch := 0, 0; ; round++ {
		if round > 20000 {
			w.t.Fatalf("%s stalled: %d of %d and %d of %d arrived", w.name, w.una[0], len(w.sent[0]), w.una[1], len(w.sent[1]))
		}
		idle := w.una[0] == len(w.sent[0]) && w.una[1] == len(w.sent[1])
		if got := w.rcv[Original].lines(); len(replies) < min(got, len(cmds)) {
			x := cmds[len(replies)]
			replies = append(replies, x)
			w.sent[Reply] = append(w.sent[Reply], x.reply...)
		} else if idle && len(replies) == len(cmds) {
			if batch == len(s.batches) {
				return
			}
			for _, x := range s.batches[batch] {
				cmds = append(cmds, x)
				w.sent[Original] = append(w.sent[Original], x.cmd...)
			}
			batch++
		}
		w.step(Direction(w.r.IntN(2)))
	}
}

// step sends one segment of direction d, or lets time pass.
func (w *wire) step(d Direction) {
	s := &w.g.c.stream[d]
	if len(w.g.held[d]) > 0 && (w.small || w.r.IntN(4) == 0) {
		w.g.timeout(d)
	}
	if w.renews && w.r.IntN(10) == 0 {
		w.renew()
	}
	if w.una[d] == len(w.sent[d]) {
		return
	}
	from := w.una[d]
	next := int(w.g.next(d) - w.base[d])
	switch n := w.r.IntN(10); {
	case n == 0: // an old byte range, or a keep-alive
		from = max(0, from-w.r.IntN(40))
	case n == 1 && s.known: // out of order
		from += w.r.IntN(len(w.sent[d]) - from)
		if i := bytes.IndexByte(w.sent[d][from:], '\n'); w.ahead && i >= 0 && from+i+1 < len(w.sent[d]) {
			from += i + 1
		}
	case n < 7 && s.known && next > from && next < len(w.sent[d]):
		from = next
	}
	to := min(len(w.sent[d]), from+1+w.r.IntN([]int{3, 60}[w.r.IntN(2)]))
	if i := bytes.IndexByte(w.sent[d][from:], '\n'); w.lines && w.r.IntN(8) > 0 && i >= 0 {
		to = from + i + 1
	}
	if w.small && w.r.IntN(8) > 0 {
		to = min(to, from+3)
	}
	if w.backoff[d] > 0 { // only bytes that were not dropped
		w.backoff[d]--
		from, to = min(from, next), min(to, next)
	}
	w.send(d, from, to)
	ack := w.base[d] + uint32(w.rcv[d].next())
	w.una[d] = max(w.una[d], int(int32(w.g.ack(d, ack)-w.base[d])))
	if seen := int(int32(w.g.kernel[d].adj.window(ack) - w.base[d])); !w.g.here && !w.g.kernel[d].liberal && seen > w.end[d] {
		w.t.Fatalf("%s: %v: an acknowledgement of %d bytes exceeds the %d that the kernel has seen: %v", w.name, d, seen, w.end[d], w.g.kernel[d].adj)
	}
	if at := int(int32(w.g.c.stream[d].position(w.base[d]+uint32(w.una[d])) - w.base[d])); at > w.rcv[d].next() {
		w.t.Fatalf("%s: %v receives an acknowledgement of %d bytes, but %d have arrived, not %d", w.name, d, w.una[d], w.rcv[d].next(), at)
	}
	if w.una[d] > len(w.sent[d]) {
		w.t.Fatalf("an acknowledgement of %d bytes, %d were sent", w.una[d], len(w.sent[d]))
	}
}

// renew replaces the engine by another one, which gets its state and the kernel's
// adjustments. Held segments are dropped.
func (w *wire) renew() {
	old := w.g.c
	w.g.timeout(Original)
	w.g.timeout(Reply)
	text, err := json.Marshal(old.State())
	var state State
	if err == nil {
		err = json.Unmarshal(text, &state)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.g.c = NewConn(old.ep, old.policy, Options{AdjustBy: old.adjustBy, Adjusted: [2]Adjustment{old.Position(Original).Adjusted, old.Position(Reply).Adjusted}})
	w.g.c.Continue(&state, false)
	w.renewed++
}

func (w *wire) send(d Direction, from, to int) {
	w.cuts++
	w.end[d] = max(w.end[d], to)
	if w.trace {
		fmt.Printf("%v %d-%d una %d next %d %q\n", d, from, to, w.una[d], int32(w.g.c.stream[d].next-w.base[d]), w.sent[d][from:to])
	}
	for _, out := range w.g.segment(d, w.base[d]+uint32(from), w.sent[d][from:to]) {
		if w.trace {
			fmt.Printf("    -> %d %q %v\n", int32(out.seq-w.base[d]), out.p, w.g.kernel[d].adj)
		}
		if w.r.IntN(5) > 0 {
			w.rcv[d].take(out)
		}
	}
	if w.g.reason == ReasonInFlight {
		w.backoff[d] = 20
	}
}

// lines returns how many whole lines have arrived.
func (r *receiver) lines() int { return strings.Count(string(r.buf[:r.next()]), "\n") }

// TestAnyCut tests the central property of the engine: however a dialogue is cut,
// retransmitted, reordered and lost on its way, the same offers are made and the
// same bytes arrive.
func TestAnyCut(t *testing.T) {
	anyCut(t, 0)
}

// TestAnyCutInPieces is the same where half lines are never completed in time and
// pieces are small, so that most lines are absorbed.
func TestAnyCutInPieces(t *testing.T) {
	anyCut(t, inPieces)
}

// TestAnyCutUnread is the same where lines pass unread, as Unread.Pass decides:
// the engine learns of them later and must end up in the same state.
func TestAnyCutUnread(t *testing.T) {
	passed := anyCut(t, 1) + anyCut(t, 2)
	t.Logf("%d lines passed unread", passed)
	if passed == 0 {
		t.Error("no line passed unread")
	}
}

// TestAnyCutRenewed is the same where engines replace one another all the time
// without missing a segment: a retransmission, cut in another way, acknowledged
// or not, is changed in the same way.
func TestAnyCutRenewed(t *testing.T) { anyCut(t, renewed) }

// TestAnyCutAhead is the same with lines that overtake others, some of which are
// forwarded early.
func TestAnyCutAhead(t *testing.T) { anyCut(t, overtaking) }

const (
	inPieces   = 3
	renewed    = 4
	overtaking = 5
)

// anyCut compares random dialogues in whole lines, all read, with the same ones
// cut. fast: 1 lets lines pass unread, 2 also makes most segments whole lines;
// inPieces makes them small, renewed replaces engines, overtaking lets whole
// lines overtake others, with either of the latter or with 1.
func anyCut(t *testing.T, fast int) (passed int) {
	n, cuts, pieces, aheads, renewals := rounds(4000), 0, 0, 0, 0
	for i := range n {
		r := rand.New(rand.NewPCG(uint64(i), 7))
		s := randomScript(r)
		if fast == 2 && i%2 == 0 || fast == overtaking {
			s.oneByOne()
		}
		whole := newGateway(s.ep, s.policy)
		whole.shift = s.shift
		client, server := s.whole(t, whole)

		g := newGateway(s.ep, s.policy)
		g.shift, g.fast = s.shift, fast == 1 || fast == 2 || fast == overtaking && i%2 == 1
		if i%3 == 0 {
			g.here = true
			g.c.SetAdjustBy(Caller)
		}
		w := newWire(t, r, g)
		w.name, w.lines, w.small = fmt.Sprint("seed ", i), fast == 2 || fast == overtaking, fast == inPieces || fast == renewed && i%2 == 0
		w.renews, w.ahead = fast == renewed || fast == overtaking && i%2 == 0, fast == overtaking
		w.run(&s)
		renewals += w.renewed
		cuts += w.cuts
		passed += g.passed
		pieces += g.pieces
		aheads += g.aheads
		if len(g.fails) > 0 {
			t.Fatalf("seed %d: not announced: %v", i, g.fails)
		}
		if diff := cmp.Diff(whole.logs, g.logs); diff != "" {
			t.Fatalf("seed %d: events (-whole lines +cut):\n%s", i, diff)
		}
		if diff := cmp.Diff([]string{client, server}, []string{string(w.rcv[Reply].buf), string(w.rcv[Original].buf)}); diff != "" {
			t.Fatalf("seed %d: received (-whole lines +cut):\n%s", i, diff)
		}
		if len(g.fails) > 0 {
			t.Fatalf("seed %d: not announced: %v", i, g.fails)
		}
	}
	t.Logf("%d dialogues, %d segments, %d of them absorbed, %d forwarded early, %d engines replaced", n, cuts, pieces, aheads, renewals)
	if pieces == 0 && fast != 2 && fast != overtaking {
		t.Error("no line was absorbed")
	}
	if aheads == 0 && fast == overtaking {
		t.Error("none was forwarded early")
	}
	return passed
}
