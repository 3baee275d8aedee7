// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"bytes"
	"slices"
	"time"

	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/nfq"
)

const (
	// holdTime is how long the daemon holds a half line.
	holdTime = 40 * time.Millisecond

	// maxAgain is how often a dropped segment is passed to the engine again. TCP
	// gives up later, but by then the session is useless.
	maxAgain = 16
)

// session is one control connection.
//
// The engine drops segments and relies on their retransmission, which is not in a
// capture. So what it drops waits, and is passed again with what follows it, in
// one piece, as a sender's TCP would send it.
type session struct {
	run    *run
	number int
	sides  sides
	engine engine
	half   [2]half
	opaque bool
	over   bool
}

// half is one direction of a session.
type half struct {
	lines   lines
	last    nfq.Packet // without payload; see echo
	ttl     uint8
	length  int
	started bool

	held  []segment // by the engine
	since time.Time
	again segment // dropped, to be passed again
	tries int
}

// segment is a piece of a direction's bytes.
type segment struct {
	seq uint32
	p   []byte
}

func (s segment) end() uint32 { return s.seq + uint32(len(s.p)) }

// join appends an adjacent or overlapping segment, and reports whether it could.
func (s *segment) join(t segment) bool {
	from := int32(s.end() - t.seq)
	switch {
	case len(s.p) == 0:
		*s = segment{t.seq, slices.Clone(t.p)}
	case int32(t.seq-s.seq) < 0 || from < 0:
		return false
	case int(from) < len(t.p):
		s.p = append(s.p, t.p[from:]...)
	}
	return true
}

func (s *session) from(d ftpalg.Direction) string {
	if d == ftpalg.Original {
		return "client"
	}
	return "server"
}

// say writes a record about a frame.
func (s *session) say(f *frame, d ftpalg.Direction, r Record) {
	r.Session, r.From = s.number, s.from(d)
	s.run.say(f, r)
}

// echo reports whether a packet was already captured a hop earlier, as in a
// capture on several interfaces.
func (s *session) echo(d ftpalg.Direction, f *frame) bool {
	h, p := &s.half[d], &f.tcp
	ttl := hops(f.data[f.ip:])
	same := h.started && h.last.Seq == p.Seq && h.last.Ack == p.Ack && h.last.Flags == p.Flags &&
		h.last.Window == p.Window && h.length == len(p.Payload) && h.ttl != ttl
	h.started, h.last, h.ttl, h.length = true, nfq.Packet{Seq: p.Seq, Ack: p.Ack, Flags: p.Flags, Window: p.Window}, ttl, len(p.Payload)
	return same
}

// hops is the time to live of an IP packet.
func hops(b []byte) uint8 {
	if b[0]>>4 == 4 {
		return b[8]
	}
	return b[7]
}

// packet handles a packet of the connection.
func (s *session) packet(f *frame, d ftpalg.Direction) {
	p := &f.tcp
	o := ftpalg.Reply - d
	if p.Flags&nfq.FlagACK != 0 && !s.opaque {
		ack := p.Ack
		if a := &s.half[o].again; len(a.p) > 0 && int32(ack-a.seq) > 0 {
			ack = a.seq // what follows has not been forwarded yet
		}
		if !s.engine.received(o, p.Seq, ack) {
			return
		}
		s.repeat(f, o)
	}
	if len(p.Payload) > 0 {
		s.payload(f, d, segment{p.Seq, p.Payload})
	}
	if p.Flags&(nfq.FlagFIN|nfq.FlagRST) != 0 && !s.over {
		s.over = true
		how := "closed"
		if p.Flags&nfq.FlagRST != 0 {
			how = "reset"
		}
		s.say(f, d, Record{Kind: KindEnd, Text: how + " by the " + s.from(d)})
	}
}

// payload shows the lines of a segment and passes it to the engine, after what
// waits.
func (s *session) payload(f *frame, d ftpalg.Direction, seg segment) {
	h := &s.half[d]
	if !s.opaque {
		for _, line := range h.lines.add(seg.seq, seg.p) {
			s.say(f, d, Record{Kind: KindLine, Text: line})
		}
	}
	if len(h.held) > 0 && f.time.Sub(h.since) > holdTime {
		s.engine.alg.Abandon(d)
		s.drop(d, h.held...)
		h.held = nil
	}
	if len(h.again.p) > 0 && h.again.join(seg) {
		seg = h.again
		h.again = segment{}
	}
	s.read(f, d, seg, "")
}

// repeat passes what waits in a direction to the engine again.
func (s *session) repeat(f *frame, d ftpalg.Direction) {
	h := &s.half[d]
	if len(h.again.p) == 0 {
		return
	}
	seg := h.again
	h.again = segment{}
	s.read(f, d, seg, "sent again")
}

// drop makes segments wait.
func (s *session) drop(d ftpalg.Direction, segs ...segment) {
	h := &s.half[d]
	if h.tries++; h.tries > maxAgain {
		h.again, h.tries = segment{}, 0
		return
	}
	for _, seg := range segs {
		h.again.join(seg)
	}
}

// read passes a segment to the engine and acts on its decision.
func (s *session) read(f *frame, d ftpalg.Direction, seg segment, note string) {
	h := &s.half[d]
	dec := s.engine.segment(f.time, d, seg.seq, seg.p, func(e *ftpalg.Event, r ftpalg.Reason) { s.event(f, d, e, r) })
	r := Record{Kind: KindDecision, Reason: dec.Reason.String(), Text: note}
	switch dec.Action {
	case ftpalg.Hold:
		r.Action = "hold"
		if len(h.held) == 0 {
			h.since = f.time
		}
		h.held = append(h.held, segment{seg.seq, slices.Clone(seg.p)})
	case ftpalg.Drop:
		r.Action = "drop"
		s.refused(d, seg, dec.Reason)
	default:
		r.Action = "forward"
		h.tries = 0
		if dec.Release {
			for _, held := range h.held {
				s.forward(f, d, held)
			}
			h.held = nil
		}
		s.forward(f, d, seg)
	}
	if !s.opaque {
		s.say(f, d, r)
	}
	s.opaque = s.opaque || dec.Reason == ftpalg.ReasonOpaque
}

// refused makes a dropped segment wait, unless it will never be of use.
func (s *session) refused(d ftpalg.Direction, seg segment, r ftpalg.Reason) {
	if r != ftpalg.ReasonTooOld && r != ftpalg.ReasonChanged {
		s.drop(d, seg)
	}
}

// forward shows what is forwarded in place of a segment.
func (s *session) forward(f *frame, d ftpalg.Direction, seg segment) {
	out, changed, rest := s.engine.rewrite(d, seg.seq, seg.p)
	if rest > 0 {
		s.half[d].again.join(segment{seg.end() - uint32(rest), seg.p[len(seg.p)-rest:]})
	}
	if changed && !bytes.Equal(out, seg.p[:len(seg.p)-rest]) {
		s.say(f, d, Record{Kind: KindEdit, Text: shown(bytes.TrimRight(out, "\r\n"))})
	}
}

// event shows what the engine found in a segment.
func (s *session) event(f *frame, d ftpalg.Direction, e *ftpalg.Event, announced ftpalg.Reason) {
	r := Record{Reason: e.Reason.String()}
	switch e.Kind {
	case ftpalg.EventOffer:
		r.Kind, r.Offer = KindOffer, offerOf(e.Offer)
		if announced != ftpalg.ReasonPlain {
			r.Kind, r.Reason = KindRefused, announced.String()
		} else {
			s.run.expect(f, s, r.Offer)
		}
	case ftpalg.EventRefused:
		r.Kind, r.Offer = KindRefused, offerOf(e.Offer)
	case ftpalg.EventCancelled:
		r.Kind = KindCancelled
		s.run.forget(s)
	case ftpalg.EventDenied:
		r.Kind = KindDenied
	case ftpalg.EventOpaque:
		r.Kind, s.opaque = KindEncrypted, true
	case ftpalg.EventForeign:
		r.Kind = KindForeign
	case ftpalg.EventForwarded:
		r.Kind = KindForwarded
	case ftpalg.EventReleased:
		r.Kind = KindReleased
	case ftpalg.EventWay: // a capture's payload is not judged
		return
	}
	s.say(f, d, r)
}

func offerOf(o *ftpalg.Offer) *Offer {
	if o == nil {
		return nil
	}
	return &Offer{o.Verb.String(), o.Mode.String(), o.Announced, o.Source, o.Public, o.Target}
}

// unfinished shows incomplete lines at the end of the capture.
func (s *session) unfinished() {
	for d := range s.half {
		if text := s.half[d].lines.rest(); text != "" && !s.opaque {
			s.run.say(nil, Record{Session: s.number, Kind: KindLine, From: s.from(ftpalg.Direction(d)), Text: text + " [no end of line in the capture]"})
		}
	}
}
