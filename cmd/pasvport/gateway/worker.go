// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/lost"
	"github.com/pasvport/pasvport/cmd/pasvport/report"
	"github.com/pasvport/pasvport/cmd/pasvport/session"
	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/nfq"
	"github.com/pasvport/pasvport/rules"
)

// worker serves one queue. It is the queue's nfq.Handler, and the only goroutine
// that uses the engines of its sessions.
type worker struct {
	adopter
	*verdicts
	out    forwarder
	stale  stale
	claims claims
	heart  heartbeat
	calls  calls
	shelf  shelf
	teller teller
	ender  ender

	using   *session.Reader // of the session whose packet is being handled
	now     time.Time       // when that packet came
	scratch nfq.Packet
}

// newWorker returns a worker for a queue and a table of its own.
func newWorker(l *life, o *offers, older *olderConnections, ct conntrack, q queue, table *session.Table) *worker {
	w := &worker{
		adopter: adopter{life: l, ct: ct, table: table, older: older},
		claims:  claims{l.services, &l.bypass.ranges},
		calls:   make(calls, maxCalls),
		ender:   ender{l.services, openSender},
	}
	w.verdicts = newVerdicts(q, l.log)
	w.out = forwarder{verdicts: w.verdicts, ct: ct, adjust: l.adjust, offers: o, unread: l.unread, teller: &w.teller, payload: make([]byte, 0, maxPayload)}
	w.teller = teller{life: l, verdicts: w.verdicts, ct: ct, table: table, work: &w.work}
	w.stale = stale{services: l.services, verdicts: w.verdicts, ct: ct, memory: &l.lost, work: &w.work}
	return w
}

// Packet implements nfq.Handler. Each path through it ends in one verdict, or in
// the list of held packets.
func (w *worker) Packet(p *nfq.Packet) {
	w.now = time.Now()
	switch {
	case p.Hook == nfq.HookInput || p.Hook == nfq.HookForward || p.Hook == nfq.HookOutput && p.Expired(): // only invalid packets
		w.flush()
		w.stale.invalid(p, w.now)
	case p.Flags&(nfq.FlagSYN|nfq.FlagACK) == nfq.FlagSYN:
		w.flush()
		w.opens(p)
	case len(p.Payload) > 0 && w.changed.has(p.Data): // it was read before
		w.accept(p.ID)
	default:
		w.control(p)
	}
	w.metrics.Packet(time.Since(w.now))
}

// opens handles the first packet of a connection: of a data connection, before
// conntrack has seen it, or of one in whose way there is an older entry.
func (w *worker) opens(p *nfq.Packet) {
	if !w.claims.claim(w.ct, p) && w.stale.over(p) {
		w.drop(p.ID)
		return
	}
	w.teller.anew(tupleOf(p))
	w.accept(p.ID)
}

// control handles a packet of a control connection.
func (w *worker) control(p *nfq.Packet) {
	r, is := w.find(p)
	switch {
	case is == elsewhere:
		w.drop(p.ID) // its sender retransmits it, if need be
		return
	case r == nil:
		w.stale.packet(p, is == tracked, w.now)
		return
	}
	w.using = r
	w.handle(r, p)
	w.using.Release()
	w.using = nil
}

// handle handles a packet of a session whose reader the worker is.
func (w *worker) handle(r *session.Reader, p *nfq.Packet) {
	r.Meet(p, w.now)
	if w.notes {
		r.NoteSegment(p, w.now)
	}
	w.bypass.stay(r, p, w.now)
	switch {
	case r.Waits:
		w.drop(p.ID)
		return
	case r.Aside:
		w.teller.tell(r, w.now)
		w.accept(p.ID)
		return
	}
	if r.Owner.Monitored && !r.Here() {
		w.monitor(r, r.Direction(p), p)
		return
	}
	if r.Owner.Transferring() {
		w.pinholes.Data.Spoke(&r.Owner)
	}
	w.read(r, r.Direction(p), p)
}

// read passes a packet to the engine, and acts on the decision.
func (w *worker) read(r *session.Reader, d ftpalg.Direction, p *nfq.Packet) {
	goesOn, ok := w.teller.take(r)
	if goesOn {
		for d := range ftpalg.Direction(2) {
			w.abandon(halfLine{r.Session, d}) // its sender retransmits it
		}
	}
	if !ok || w.teller.early(r, w.now) {
		w.drop(p.ID)
		return
	}
	if r.TakeMissed() {
		r.Engine.Missed()
	}
	seg := segmentOf(d, p, w.now)
	seg.Ending = r.Closing()
	dec := r.Engine.Segment(&seg)
	r.NoteWaiting()
	bare := len(p.Payload) == 0
	if !bare {
		r.NoteHeld()
	}
	if !bare || dec.Reason != ftpalg.ReasonPlain {
		w.count(report.Reason(dec.Reason))
	}
	if dec.Reason == ftpalg.ReasonRetransmission {
		w.pinholes.Repeats(&r.Owner, w.now)
	}
	// The sender of a segment that is far away knows the addresses and the ports,
	// but no sequence number.
	if dec.Reason != ftpalg.ReasonFarAway && r.OutOfStep(d, p) {
		w.stale.reset(p, nil, lost.CauseUnread, w.now)
		return
	}
	w.accounts.Read(w.ct, w, r.Session, d, dec.Lines, w.now)
	for i := range dec.Events {
		if dec.Events[i].Kind == ftpalg.EventOffer {
			if r = w.present(r); r == nil {
				w.drop(p.ID)
				return
			}
		}
		w.event(r, &dec.Events[i])
	}
	if dec.Adjust {
		w.adjust.here(w.ct, r)
	}
	switch {
	case dec.Action == ftpalg.Hold:
		if !w.shelf.put(halfLine{r.Session, d}, p, w.now) {
			w.drop(p.ID)
			w.abandon(halfLine{r.Session, d})
		}
		return
	case dec.Ask:
		w.showAcks(r)
		w.out.ask(r, p, dec.AskAt)
		return
	case dec.Action != ftpalg.Forward:
		w.drop(p.ID)
		return
	case bare && !r.Here():
		w.acceptLater(p.ID)
		return
	}
	w.teller.tell(r, w.now)
	if !w.teller.mayPass(r) {
		w.drop(p.ID)
		return
	}
	if dec.Release {
		w.release(r, d)
	}
	w.out.forward(r, &seg, p, !w.shelf.has(r.Session))
}

// showAcks queues the acknowledgements that answer a question of ours.
func (w *worker) showAcks(r *session.Reader) {
	if !r.Here() && !w.plan.rules.Bare && r.ShowAcks(w.now, rules.AskedTime) {
		w.flush()
		w.failed(r.Subject(), "cannot queue acknowledgements", w.firewall.ShowAcks(r.ID()))
	}
}

// event acts on an event of the engine.
func (w *worker) event(r *session.Reader, e *ftpalg.Event) {
	w.flush()
	switch reason := report.Reason(e.Reason); e.Kind {
	case ftpalg.EventOffer:
		w.out.offers.offer(w.ct, r, e.Offer, w.now)
	case ftpalg.EventRefused:
		w.out.offers.refusedBy(w.ct, r, e, w.now)
	case ftpalg.EventWay:
		w.pinholes.Ways.Decide(&r.Owner, e.Way, w.out.offers.settle)
	case ftpalg.EventCancelled:
		w.out.offers.cancel(w.ct, r.Session, reason)
	case ftpalg.EventDenied:
		w.count(reason)
		w.warn(r.Subject(), "command denied", "reason", reason, "rule", e.Rule, "hint", reason.Hint())
	case ftpalg.EventOpaque:
		w.bypass.encrypted(r)
	case ftpalg.EventForwarded:
		r.SetNote("PROXY header: from " + e.Forwarded.Source.String() + " to " + e.Forwarded.Dest.String())
	case ftpalg.EventForeign:
		w.count(reason)
		r.SetNote("not FTP: nothing is opened for it (" + reason.String() + ")")
		w.warn(r.Subject(), "session is not FTP", "reason", reason, "hint", reason.Hint())
	case ftpalg.EventReleased:
		w.bypass.leave(r, leftBecause(e.Reason))
	}
}

// leftBecause is why the engine stops reading a session.
func leftBecause(r ftpalg.Reason) succession.Left {
	if r == ftpalg.ReasonNotFTP || r == ftpalg.ReasonStartUnseen {
		return succession.LeftForeign
	}
	return succession.LeftAlone
}

// release forwards what was held of a direction, in order.
func (w *worker) release(r *session.Reader, d ftpalg.Direction) {
	for _, h := range w.shelf.take(halfLine{r.Session, d}) {
		if err := nfq.ParsePacket(&w.scratch, h.data); err != nil { // it could be parsed before
			w.drop(h.id)
			continue
		}
		w.scratch.ID = h.id
		seg := segmentOf(d, &w.scratch, w.now)
		w.out.forward(r, &seg, &w.scratch, false)
	}
}

// abandon drops what was held of a line, which its sender retransmits in one
// piece.
func (w *worker) abandon(l halfLine) {
	if w.using != nil && w.using.Session == l.session {
		w.using.Engine.Abandon(l.d)
	} else if r := l.session.Acquire(&w.work); r != nil {
		r.Engine.Abandon(l.d)
		r.Release()
	}
	for _, h := range w.shelf.take(l) {
		w.drop(h.id)
	}
}

// Deadline implements nfq.Handler.
func (w *worker) Deadline() time.Time {
	if len(w.calls) > 0 {
		return overdue
	}
	return earlier(earlier(w.shelf.deadline(), w.teller.deadline()), w.heart.deadline())
}

// Wake implements nfq.Handler: it drops what was held for too long.
func (w *worker) Wake(now time.Time) {
	w.heart.beat(now)
	w.calls.answer()
	w.teller.wake(now)
	for _, l := range w.shelf.overdue(now) {
		w.abandon(l)
	}
}

// finish finishes what is pending when the queue is no longer served: what is
// held is dropped, and retransmitted in one piece; and nothing passes in the
// kernel.
func (w *worker) finish() {
	for _, l := range w.shelf.all() {
		w.abandon(l)
	}
	w.flush()
	for _, s := range w.table.All() {
		if r := s.Acquire(&w.work); r != nil {
			w.unread.catchUp(r)
			r.Release()
		}
	}
}
