// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"time"

	"github.com/pasvport/pasvport/ftpalg"
)

// engine is the part of package ftpalg that a session needs.
type engine struct {
	alg   *ftpalg.Conn
	moved [2][]shift // by the edits of a direction
}

// shift is a change of length: what is sent from there on comes later.
type shift struct {
	end   uint32 // of the segment, as sent
	delta int
}

func newEngine(s sides, policy *ftpalg.Policy, started bool) engine {
	ends := ftpalg.Endpoints{Client: s.client.client, Dialled: s.client.server, Server: s.server.server, SeenAs: s.server.client}
	return engine{alg: ftpalg.NewConn(ends, policy, ftpalg.Options{Started: started, AdjustBy: ftpalg.Kernel})}
}

// received records how far the receiver of a direction has got, in the capture's
// numbers, in a segment at seq. It returns false if the segment cannot belong to
// the connection.
func (e *engine) received(d ftpalg.Direction, seq, ack uint32) bool {
	moved := ack
	for _, s := range e.moved[d] {
		if int32(ack-s.end) >= 0 {
			moved += uint32(s.delta)
		}
	}
	dec := e.alg.Segment(&ftpalg.Segment{Dir: ftpalg.Original + ftpalg.Reply - d, Seq: seq, Ack: moved, Acks: true})
	return dec.Reason != ftpalg.ReasonFarAway
}

// segment passes a segment to the engine. Every offer is opened, at the port that
// was announced.
func (e *engine) segment(now time.Time, d ftpalg.Direction, seq uint32, p []byte, each func(*ftpalg.Event, ftpalg.Reason)) ftpalg.Decision {
	dec := e.alg.Segment(&ftpalg.Segment{Time: now, Dir: d, Seq: seq, Payload: p})
	for i := range dec.Events {
		ev, r := &dec.Events[i], ftpalg.ReasonPlain
		if ev.Kind == ftpalg.EventOffer || ev.Announce {
			if r = e.alg.Announce(ev.Offer, ev.Offer.Public.Port()); r == ftpalg.ReasonNoAdjust {
				e.alg.SetAdjustBy(ftpalg.Caller)
				r = e.alg.Announce(ev.Offer, ev.Offer.Public.Port())
			}
		}
		each(ev, r)
	}
	if dec.Adjust {
		e.alg.SetAdjustBy(ftpalg.Caller)
	}
	return dec
}

// rewrite returns what is forwarded in place of a segment; rest is what is not
// forwarded yet.
func (e *engine) rewrite(d ftpalg.Direction, seq uint32, p []byte) (out []byte, changed bool, rest int) {
	r := e.alg.Rewrite(nil, &ftpalg.Segment{Dir: d, Seq: seq, Payload: p})
	if !r.Changed {
		return p, false, 0
	}
	end := seq + uint32(len(p))
	if at := e.alg.Position(d); at.Known && r.Trimmed && int32(end-at.Next) > 0 {
		rest = int(min(int32(end-at.Next), int32(len(p))))
		end = at.Next
	}
	if delta := len(r.Data) - (len(p) - rest); delta != 0 && !e.has(d, end) {
		e.moved[d] = append(e.moved[d], shift{end, delta})
	}
	return r.Data, true, rest
}

// has reports whether a segment that ends there was already moved.
func (e *engine) has(d ftpalg.Direction, end uint32) bool {
	for _, s := range e.moved[d] {
		if s.end == end {
			return true
		}
	}
	return false
}
