// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"fmt"
	"github.com/pasvport/pasvport/cmd/pasvport/report"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/cmd/pasvport/lost"
	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/nfq"
	"github.com/pasvport/pasvport/rules"
)

// holdTime is how long a half line may wait for its rest before it is
// dropped, so that its sender repeats it in one piece. It is well under the
// shortest retransmission time (200 ms on Linux).
const holdTime = 40 * time.Millisecond

// maxPayload is the room for a changed payload: no packet is longer.
const maxPayload = 1 << 16

// maxHeld is how many segments of one direction may be held, and maxWaiting how
// many of all sessions of a queue: what is held takes the place of others in
// the kernel's queue. Beyond it a half line is dropped at once.
const (
	maxHeld    = 64
	maxWaiting = 1024
)

// worker serves one queue. It is the queue's nfq.Handler, and the only one to
// touch the engines of its sessions.
type worker struct {
	g     *Gateway
	queue *nfq.Queue
	ct    *expect.Conn
	table table
	heart heartbeat
	calls chan func() // to be made by its goroutine, see do

	using   *session   // whose packet is being handled
	holding []*session // sessions with held packets
	waiting int        // how many packets
	now     time.Time  // when the packet being handled came
	payload []byte     // reused; only its own memory, what Rewrite returns may be the packet's
	packet  []byte     // reused
	scratch nfq.Packet
	work    ftpalg.Workspace // of the engines of its sessions

	sightings lost.Sightings
}

// Packet implements nfq.Handler. Each path through it ends in one verdict, or
// in the list of held packets.
func (w *worker) Packet(p *nfq.Packet) {
	w.now = time.Now()
	switch {
	case p.Mark == rules.MarkInvalid:
		w.flush()
		w.invalid(p)
	case p.Flags&(nfq.FlagSYN|nfq.FlagACK) == nfq.FlagSYN:
		w.flush()
		w.claim(p)
	default:
		w.control(p)
	}
	w.g.metrics.Packet(time.Since(w.now))
}

// control handles a packet of a control connection.
func (w *worker) control(p *nfq.Packet) {
	s, tracked := w.find(p)
	if s == nil {
		w.stale(p, tracked)
		return
	}
	w.using = s
	w.handle(s, p)
	w.using.Release()
	w.using = nil
}

// handle handles a packet of a session whose engine is the worker's.
func (w *worker) handle(s *session, p *nfq.Packet) {
	s.meet(p, w.now)
	if w.g.sender != nil {
		s.noteSegment(s.direction(p), p, w.now)
	}
	w.g.stayAway(s, p, w.now)
	switch {
	case s.waits:
		w.verdict(w.queue.Drop(p.ID))
		return
	case s.aside:
		w.verdict(w.queue.Accept(p.ID))
		return
	}
	if s.owner.Transferring() {
		w.g.pinholes.Data.Spoke(&s.owner)
	}
	w.read(s, s.direction(p), p)
}

// flush lets packets go on that were accepted with those that came with them,
// before the kernel is asked for something that takes longer.
func (w *worker) flush() { w.verdict(w.queue.Flush()) }

// segmentOf is a packet as the engine sees it.
func (w *worker) segmentOf(d ftpalg.Direction, p *nfq.Packet) ftpalg.Segment {
	seg := ftpalg.Segment{Time: w.now, Dir: d, Seq: p.Seq, Ack: p.Ack, Payload: p.Payload}
	seg.Acks = p.Flags&(nfq.FlagSYN|nfq.FlagRST|nfq.FlagACK) == nfq.FlagACK
	if p.Flags&nfq.FlagURG != 0 {
		seg.Urgent = p.Urgent
	}
	return seg
}

// read has the engine read a packet, and does what it says.
func (w *worker) read(s *session, d ftpalg.Direction, p *nfq.Packet) {
	if s.missed.Load() {
		s.missed.Store(false)
		s.alg.Missed()
	}
	seg := w.segmentOf(d, p)
	dec := s.alg.Segment(&seg)
	if waits := s.alg.TransferWaits(); waits != s.waiting.Load() {
		s.waiting.Store(waits)
	}
	bare := len(p.Payload) == 0
	if !bare || dec.Reason != ftpalg.ReasonPlain {
		w.g.count(report.Reason(dec.Reason))
	}
	// Whoever sent one that is far away knows the addresses and the ports, and no
	// number.
	if dec.Reason != ftpalg.ReasonFarAway && s.outOfStep(d, p) {
		w.resetStale(p, nil, lost.CauseUnread)
		return
	}
	w.account(s, d, dec.Lines)
	for i := range dec.Events {
		if dec.Events[i].Kind == ftpalg.EventOffer {
			s = w.present(s)
		}
		w.event(s, &dec.Events[i])
	}
	if dec.Adjust {
		w.adjustHere(s)
	}
	switch {
	case dec.Action == ftpalg.Hold && s.holds(d) < maxHeld && w.waiting < maxWaiting:
		w.hold(s, d, p)
		return
	case dec.Action == ftpalg.Hold:
		w.verdict(w.queue.Drop(p.ID))
		w.abandon(s, d)
		return
	case dec.Ask:
		w.ask(s, p, dec.AskAt)
		return
	case dec.Action != ftpalg.Forward:
		w.verdict(w.queue.Drop(p.ID))
		return
	case bare && !s.here():
		w.verdict(w.queue.AcceptLater(p.ID))
		return
	}
	if dec.Release {
		w.release(s, d)
	}
	w.forward(s, &seg, p)
}

// ask sends an empty segment in place of one that cannot be read before it is
// known what its receiver has, and has the answer shown to us.
func (w *worker) ask(s *session, p *nfq.Packet, at uint32) {
	now := uint32(w.now.Sub(s.started) / time.Second)
	if !s.here() && !w.g.plan.rules.Bare && now >= s.acksShown {
		w.flush()
		if err := w.g.firewall.ShowAcks(s.id); err != nil {
			w.g.report.Report(slog.LevelWarn, s.subject(), "cannot queue acknowledgements", "err", err)
		}
		s.acksShown = now + uint32(rules.AskedTime/2/time.Second)
	}
	r := ftpalg.Rewritten{Changed: true, Trimmed: true, Seq: at, Urgent: p.Urgent}
	w.send(s, s.direction(p), p, &r)
}

// find returns the session of a packet. If there is none, tracked tells
// whether conntrack has an entry all the same: one that began in the middle
// of the connection and is not established yet, or that cannot continue.
//
// A session is the same connection as long as the end of its entry has not been
// read. That end is in the events before any packet of the next entry with the
// same tuple is in the queue, so reading them settles every doubt about which
// one a packet belongs to; see expect.Events.Sync.
func (w *worker) find(p *nfq.Packet) (s *session, tracked bool) {
	t := tupleOf(p)
	if s = w.known(t); s != nil {
		doubtful := s.doubtful(p)
		if !doubtful && !s.adjusted.Load() {
			return s, true
		}
		s.Release()
		// Without its entry the bytes of an adjusted one would come to the wrong
		// place.
		if w.g.sync(); !doubtful {
			if s = w.known(t); s != nil {
				return s, true
			}
		}
	}
	w.flush()
	e, err := w.ct.Get(t)
	inTime := w.g.sync()
	if s = w.known(t); s != nil && (err != nil || s.is(&e, p)) {
		return s, true
	}
	if s != nil { // its end was not reported
		s.Release()
		w.g.end(w.ct, w, s)
	}
	if err != nil {
		if !errors.Is(err, unix.ENOENT) {
			w.g.log.Warn("conntrack look-up failed", "tuple", t, "err", err)
		}
		w.g.count(report.ReasonNotTracked)
		return nil, false
	}
	if e.Status&expect.StatusSeenReply == 0 || e.Liberal && (!inTime || w.g.lostAdjusted(t, w.now)) {
		return nil, true
	}
	return w.adopt(&e, nil), true
}

// known returns the session that has a tuple, as far as events were read, with its
// engine acquired.
func (w *worker) known(t expect.Tuple) *session {
	s := w.table.find(t)
	if s == nil {
		s = w.takeOver(t)
	}
	if s == nil || s.Acquire(&w.work) == nil {
		return nil
	}
	w.catchUp(s)
	return s
}

// present returns the session that a packet of s is of, when it matters: another
// one if the entry of s is gone meanwhile, and conntrack has picked the connection
// up again.
func (w *worker) present(s *session) *session {
	w.g.sync()
	if w.table.find(s.original()) == s {
		return s
	}
	e, err := w.ct.Get(s.original())
	if err != nil || e.Original != s.original() || e.Reply != s.reply() || e.Status&expect.StatusSeenReply == 0 {
		return s
	}
	next := w.adopt(&e, s.alg)
	if next.alg != s.alg { // one too many now
		next.Release()
		return s
	}
	w.using = next
	return next
}

// adopt makes a session of a conntrack entry. One that another worker still has
// for the same addresses and ports is over.
// It has the engine of the connection that it continues, if that is given or
// conntrack has lost it, and else a new one; which is the worker's.
func (w *worker) adopt(e *expect.Entry, alg *ftpalg.Conn) *session {
	w.g.noteZone(e)
	if o, old := w.g.session(e.Original); old != nil {
		w.g.end(w.ct, o, old)
	}
	if r := w.g.room(e.Original.Src.Addr()); r != report.ReasonPlain {
		return w.turnAway(e, r)
	}
	s := newSession(e, w.g.settings().policyFor(e), w.now, w.started(e), &w.work)
	s.used.Store(true)
	before := w.recall(s, e, alg)
	switch {
	case e.Helper != "" && e.Helper != carrierName:
		w.standAside(s, report.ReasonHelper, "left to the in-kernel helper "+e.Helper)
	case e.Original.Zone != e.Reply.Zone:
		w.standAside(s, report.ReasonZone, "left alone: in a conntrack zone in one direction only")
	case w.g.settings().EncryptedPort(e.Original.Dst.Port()):
		s.aside = true
		w.g.encrypted(s)
	}
	w.table.add(s)
	w.g.present.Enter(&s.member, s.client(w.g))
	if !s.aside {
		w.g.leaveAgain(s, before)
	}
	w.g.metrics.Sessions.Add(1)
	w.g.metrics.SessionsTotal.Add(1)
	s.counted.Store(true)
	w.g.balancer.Began(s.ep.Dialled, s.ep.Server)
	w.g.sessionBegan(s, e.Helper)
	return s
}

// standAside leaves a session alone: an in-kernel helper has it, which edits
// too, or it cannot be served.
func (w *worker) standAside(s *session, reason report.Reason, note string) {
	s.aside = true
	s.note = note
	w.g.count(reason)
	w.g.report.Report(slog.LevelWarn, s.subject(), "standing aside", "note", note,
		"reason", reason, "hint", reason.Hint())
	w.g.leaveQueue(s, succession.LeftAlone)
}

// leftBecause is why the engine reads a session no further.
func leftBecause(r ftpalg.Reason) succession.Left {
	if r == ftpalg.ReasonNotFTP || r == ftpalg.ReasonStartUnseen {
		return succession.LeftForeign
	}
	return succession.LeftAlone
}

// event acts on what the engine saw.
func (w *worker) event(s *session, e *ftpalg.Event) {
	w.flush()
	switch e.Kind {
	case ftpalg.EventOffer:
		w.offer(s, e.Offer)
	case ftpalg.EventRefused:
		told := e.Offer.Announced
		if e.Announce {
			told = w.passOn(s, e.Offer)
		}
		w.refuse(s, e.Offer, told, report.Reason(e.Reason), nil)
	case ftpalg.EventCancelled:
		w.g.count(report.Reason(e.Reason))
		if w.g.pinholes.Of(&s.owner) != nil {
			w.settle()
		}
		w.g.pinholes.CloseOf(w.ct, &s.owner, e.Reason.String())
	case ftpalg.EventDenied:
		w.g.count(report.Reason(e.Reason))
		w.g.warn(s, "command denied", "reason", e.Reason, "rule", e.Rule, "hint", report.Reason(e.Reason).Hint())
	case ftpalg.EventOpaque:
		w.g.encrypted(s)
	case ftpalg.EventForwarded:
		s.setNote(fmt.Sprintf("PROXY header: from %v to %v", e.Forwarded.Source, e.Forwarded.Dest))
	case ftpalg.EventForeign:
		w.g.foreign(s, report.Reason(e.Reason))
	case ftpalg.EventReleased:
		w.g.leaveQueue(s, leftBecause(e.Reason))
	}
}

// hold keeps a packet until its line is complete.
func (w *worker) hold(s *session, d ftpalg.Direction, p *nfq.Packet) {
	if s.held == nil {
		s.held = new([2]held)
	}
	h := &s.held[d]
	if len(h.packets) == 0 {
		h.since = w.now
		w.holding = append(w.holding, s)
	}
	h.packets = append(h.packets, heldPacket{p.ID, slices.Clone(p.Data)})
	w.waiting++
}

// holds returns how many packets of a direction are held.
func (s *session) holds(d ftpalg.Direction) int {
	if s.held == nil {
		return 0
	}
	return len(s.held[d].packets)
}

// release forwards what was held of a direction, in order.
func (w *worker) release(s *session, d ftpalg.Direction) {
	if s.holds(d) == 0 {
		return
	}
	h := &s.held[d]
	for _, hp := range h.packets {
		if err := nfq.ParsePacket(&w.scratch, hp.data); err != nil { // it could be parsed before
			w.verdict(w.queue.Drop(hp.id))
			continue
		}
		w.scratch.ID = hp.id
		seg := w.segmentOf(d, &w.scratch)
		w.forward(s, &seg, &w.scratch)
	}
	w.unhold(s, d)
}

func (w *worker) unhold(s *session, d ftpalg.Direction) {
	w.waiting -= len(s.held[d].packets)
	s.held[d].packets = nil
	if s.holds(ftpalg.Original) == 0 && s.holds(ftpalg.Reply) == 0 {
		w.holding = slices.DeleteFunc(w.holding, func(o *session) bool { return o == s })
	}
}

// Deadline implements nfq.Handler.
func (w *worker) Deadline() time.Time {
	if len(w.calls) > 0 {
		return overdue
	}
	var first time.Time
	for _, s := range w.holding {
		for d := range s.held {
			if h := &s.held[d]; len(h.packets) > 0 && (first.IsZero() || h.since.Before(first)) {
				first = h.since
			}
		}
	}
	if !first.IsZero() {
		first = first.Add(holdTime)
	}
	return earlier(first, w.heart.deadline())
}

// Wake implements nfq.Handler: it drops what was held for too long.
func (w *worker) Wake(now time.Time) {
	w.heart.beat(now)
	w.answer()
	for _, s := range slices.Clone(w.holding) {
		for d := range s.held {
			if h := &s.held[d]; len(h.packets) > 0 && now.Sub(h.since) >= holdTime {
				w.abandon(s, ftpalg.Direction(d))
			}
		}
	}
}

func (w *worker) abandon(s *session, d ftpalg.Direction) {
	if w.using == s {
		s.alg.Abandon(d)
	} else if alg := s.Acquire(&w.work); alg != nil {
		alg.Abandon(d)
		s.Release()
	}
	if s.holds(d) == 0 {
		return
	}
	for _, hp := range s.held[d].packets {
		w.verdict(w.queue.Drop(hp.id))
	}
	w.unhold(s, d)
}

// verdict notes a verdict that could not be given. The kernel forgets a
// packet when its queue is gone; there is nothing else to do about it.
func (w *worker) verdict(err error) {
	if err != nil && !errors.Is(err, unix.ENOENT) {
		w.g.log.Warn("verdict failed", "err", err)
	}
}
