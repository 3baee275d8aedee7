// SPDX-License-Identifier: Apache-2.0

package ftpalg

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

func addr(s string) netip.Addr   { return netip.MustParseAddr(s) }
func ap(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// list formats numbers as in PORT and LPRT.
func list(numbers []byte) string {
	text := fmt.Sprint(numbers) // [1 2 3]
	return strings.ReplaceAll(text[1:len(text)-1], " ", ",")
}

// The positions in which the dialogues run.
var (
	routed = Endpoints{Client: ap("192.168.1.5:40000"), Dialled: ap("203.0.113.9:21"),
		Server: ap("203.0.113.9:21"), SeenAs: ap("192.168.1.5:40000")}
	snat = Endpoints{Client: ap("192.168.1.5:40000"), Dialled: ap("203.0.113.9:21"),
		Server: ap("203.0.113.9:21"), SeenAs: ap("198.51.100.77:40000")}
	dnat = Endpoints{Client: ap("198.51.100.3:40000"), Dialled: ap("203.0.113.1:21"),
		Server: ap("10.0.0.2:2121"), SeenAs: ap("198.51.100.3:40000")}
	both = Endpoints{Client: ap("192.168.1.5:40000"), Dialled: ap("203.0.113.1:21"),
		Server: ap("10.0.0.2:21"), SeenAs: ap("10.0.0.1:40000")}
	routed6 = Endpoints{Client: ap("[fd77::2]:40000"), Dialled: ap("[2001:db8::9]:21"),
		Server: ap("[2001:db8::9]:21"), SeenAs: ap("[fd77::2]:40000")}
	nat66 = Endpoints{Client: ap("[fd77::2]:40000"), Dialled: ap("[2001:db8::9]:21"),
		Server: ap("[2001:db8::9]:21"), SeenAs: ap("[2001:db8:1::1]:40000")}
)

// kernel is one direction of the sequence adjustment of nf_conntrack_seqadj.c.
type kernel struct {
	adj     Adjustment
	liberal bool // it does not check sequence numbers
}

// gateway drives an engine as the daemon does: it opens every offer, at another
// port if shift is set, and holds segments.
type gateway struct {
	c      *Conn
	kernel [2]kernel
	here   bool // the gateway itself adjusts sequence numbers

	adjusts bool              // it does so where the kernel cannot
	opens   func(*Offer) bool // whether it can open a pinhole; nil: always
	held    [2][]segment
	shift   uint16
	reason  Reason // of the last segment
	pieces  int    // absorbed segments
	patient bool   // one has waited for an earlier edit as long as possible
	aheads  int    // segments forwarded before earlier ones
	offers  []Offer
	log     []string
	logs    [2][]string              // the same, by direction of the segment
	fails   []Reason                 // what Announce returned
	acks    func(d Direction) uint32 // how far the receiver of d has got

	handed bool // see midway

	forwarded Forwarded // content of a PROXY header

	fast   bool    // lines that may pass unread do so
	unread *Unread // nil: the next segment is read
	passed int     // lines that passed unread
}

type segment struct {
	seq uint32
	p   []byte
}

func newGateway(ep Endpoints, pol Policy) *gateway {
	return &gateway{c: NewConn(ep, &pol, Options{AdjustBy: Kernel, Started: true})}
}

func describe(e Event) string {
	switch e.Kind {
	case EventOffer:
		o := e.Offer
		return fmt.Sprintf("%v %v %v %v>%v=%v", e.Reason, o.Verb, o.Announced, o.Source, o.Public, o.Target)
	case EventRefused:
		return fmt.Sprintf("refused %v %v", e.Reason, e.Offer.Verb)
	case EventCancelled:
		return "cancelled " + e.Reason.String()
	case EventDenied:
		return "denied " + e.Reason.String()
	case EventForwarded:
		return "forwarded"
	case EventForeign:
		return "foreign " + e.Reason.String()
	case EventWay:
		return "way " + e.Way.String()
	case EventReleased:
		return "released " + e.Reason.String()
	}
	return "opaque"
}

// take passes the engine a segment that acknowledges nothing, at the time of the
// one before.
func take(c *Conn, d Direction, seq uint32, p []byte) Decision {
	return c.Segment(&Segment{Time: c.now, Dir: d, Seq: seq, Payload: p})
}

func rewrite(c *Conn, dst []byte, d Direction, seq uint32, p []byte) Rewritten {
	return c.Rewrite(dst, &Segment{Dir: d, Seq: seq, Payload: p})
}

// segment passes one segment through and returns the output, as the receiver sees
// it.
func (g *gateway) segment(d Direction, seq uint32, p []byte) (out []segment) {
	if out, ok := g.passUnread(d, seq, p); ok {
		return out
	}
	defer g.rest()
	g.known(d, seq)
	seg := Segment{Time: g.c.now, Dir: d, Seq: seq, Payload: p}
	if g.acks != nil {
		seg.Acks, seg.Ack = true, g.acks(opposite(d))
	}
	dec := g.c.Segment(&seg)
	g.reason, g.patient = dec.Reason, g.patient || g.c.stream[d].waits >= maxWaits
	if dec.Reason == ReasonPieces {
		g.pieces++
	}
	if dec.Reason == ReasonAhead {
		g.aheads++
	}
	for _, e := range dec.Events {
		g.log = append(g.log, describe(e))
		g.logs[d] = append(g.logs[d], describe(e))
		if e.Kind == EventOffer {
			g.offers = append(g.offers, *e.Offer)
			if g.opens != nil && !g.opens(e.Offer) {
				g.c.Decline(e.Offer)
				continue
			}
			r := g.c.Announce(e.Offer, g.port(e.Offer))
			if r == ReasonNoAdjust && g.adjusts {
				g.adjustHere()
				r = g.c.Announce(e.Offer, g.port(e.Offer))
			}
			if r != ReasonPlain {
				g.fails = append(g.fails, r)
			}
		}
		if e.Forwarded != nil {
			g.forwarded = *e.Forwarded
		}
		if e.Announce {
			g.c.Announce(e.Offer, e.Offer.Announced.Port())
		}
	}
	switch dec.Action {
	case Drop:
		switch {
		case dec.Adjust && g.adjusts:
			g.adjustHere()
		case dec.Ask && g.acks != nil:
			acked(g.c, d, g.acks(d))
		}
		return nil
	case Hold:
		g.held[d] = append(g.held[d], segment{seq, append([]byte(nil), p...)})
		return nil
	}
	if dec.Release {
		for _, s := range g.held[d] {
			out = append(out, g.send(d, s.seq, s.p))
		}
		g.held[d] = nil
	}
	return append(out, g.send(d, seq, p))
}

// midway makes the connection one whose start was not seen, but in which a line
// is known to start with the first segment of each direction.
func (g *gateway) midway() *gateway {
	g.c.started, g.c.met, g.handed = false, true, true
	return g
}

// known tells the engine that a line starts at seq, if it was told so.
func (g *gateway) known(d Direction, seq uint32) {
	if s := &g.c.stream[d]; g.handed && !s.known {
		s.known, s.aligned, s.proven, s.next, s.sent = true, true, true, seq, seq
	}
}

// acked passes the engine a bare acknowledgement in direction d.
func acked(c *Conn, d Direction, ack uint32) bool { return c.received(d, c.stream[1-d].next, ack) }

func (g *gateway) adjustHere() {
	g.here = true
	g.c.SetAdjustBy(Caller)
}

// passUnread lets a segment pass if it may, and otherwise tells the engine which
// segments did before it.
func (g *gateway) passUnread(d Direction, seq uint32, p []byte) ([]segment, bool) {
	if g.unread == nil {
		return nil, false
	}
	ack := uint32(0)
	if g.acks != nil {
		ack = g.acks(1 - d)
	}
	if g.unread.Pass(d, seq, ack, p) {
		g.passed++
		g.reason = ReasonPlain
		return []segment{{g.kernel[d].adj.apply(seq), append([]byte(nil), p...)}}, true
	}
	g.c.Passed(g.unread)
	g.unread = nil
	return nil, false
}

func (g *gateway) rest() {
	if u, ok := g.c.Rest(); ok && g.fast {
		g.unread = &u
	}
}

// next is the sequence number of the first unseen byte.
func (g *gateway) next(d Direction) uint32 {
	if g.unread != nil {
		return g.unread.Next[d]
	}
	return g.c.stream[d].next
}

func (g *gateway) send(d Direction, seq uint32, p []byte) segment {
	r := rewrite(g.c, nil, d, seq, p)
	k := &g.kernel[d]
	if r.Set {
		k.adj, k.liberal = r.Adjust, k.liberal || r.Adjust.Outgrows()
	}
	out := segment{k.adj.apply(r.Seq), append([]byte(nil), r.Data...)}
	if g.here {
		out.seq = r.Seq
	}
	return out
}

// ack returns an acknowledgement by the receiver of direction d in the sender's
// numbers.
func (g *gateway) ack(d Direction, ack uint32) uint32 {
	if g.here {
		return g.c.Acknowledgement(d, ack)
	}
	return g.kernel[d].adj.unapply(ack)
}

// timeout drops what is held.
func (g *gateway) timeout(d Direction) {
	if len(g.held[d]) > 0 {
		g.held[d] = nil
		g.c.Abandon(d)
	}
}

// receiver reassembles segments as TCP does. Bytes received twice must be the
// same.
type receiver struct {
	t    *testing.T
	base uint32
	buf  []byte
	have []bool
}

func (r *receiver) take(s segment) {
	for i, b := range s.p {
		at := int(int32(s.seq - r.base + uint32(i)))
		if at < 0 {
			continue // an old keep-alive
		}
		for len(r.buf) <= at {
			r.buf, r.have = append(r.buf, 0), append(r.have, false)
		}
		if r.have[at] && r.buf[at] != b {
			r.t.Fatalf("byte %d was %q and is %q now", at, r.buf[at], b)
		}
		r.buf[at], r.have[at] = b, true
	}
}

// next returns how many bytes have arrived without a gap.
func (r *receiver) next() int {
	for i, h := range r.have {
		if !h {
			return i
		}
	}
	return len(r.have)
}

// talk runs a dialogue of lines, one segment each. A line starts with "C: " or
// "S: ". It returns what each side received.
func talk(t *testing.T, g *gateway, lines string) (client, server string) {
	t.Helper()
	seqBase := [2]uint32{1000, 4294967000} // the second wraps
	seq := seqBase
	rcv := [2]*receiver{{t: t, base: seq[0]}, {t: t, base: seq[1]}}
	g.acks = func(d Direction) uint32 { return seqBase[d] + uint32(rcv[d].next()) }
	for _, l := range strings.Split(strings.TrimSpace(lines), "\n") {
		d, p := parseLine(t, l)
		for _, s := range g.segment(d, seq[d], p) {
			rcv[d].take(s)
		}
		seq[d] += uint32(len(p))
	}
	return string(rcv[Reply].buf), string(rcv[Original].buf)
}

func parseLine(t *testing.T, l string) (Direction, []byte) {
	t.Helper()
	l = strings.TrimLeft(l, " \t")
	who, text, ok := strings.Cut(l, ": ")
	if !ok || who != "C" && who != "S" {
		t.Fatalf("bad dialogue line %q", l)
	}
	d := Original
	if who == "S" {
		d = Reply
	}
	if strings.HasSuffix(text, `\`) { // no line end
		return d, []byte(unescape(strings.TrimSuffix(text, `\`)))
	}
	return d, []byte(unescape(text) + "\r\n")
}

var unescaper = strings.NewReplacer(`\r`, "\r", `\n`, "\n", `\0`, "\x00", `\xff`, "\xff", `\xf4`, "\xf4", `\xf2`, "\xf2", `\xf1`, "\xf1", `\xfb`, "\xfb", `\xfc`, "\xfc", `\xfd`, "\xfd", `\xfe`, "\xfe", `\xfa`, "\xfa", `\xf0`, "\xf0", `\x16`, "\x16", `\x03`, "\x03", `\x01`, "\x01")

func unescape(s string) string { return unescaper.Replace(s) }

// port chooses another port where one may be chosen.
func (g *gateway) port(o *Offer) uint16 {
	if !o.NAT {
		return o.Public.Port()
	}
	return o.Public.Port() + g.shift
}

// rounds returns how many of n random rounds a test plays. The race detector is ten
// times as slow, and the engine has no goroutines for it.
func rounds(n int) int {
	if raceEnabled || testing.Short() {
		return n / 10
	}
	return n
}
