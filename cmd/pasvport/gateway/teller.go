// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"sync"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/pair"
	"github.com/pasvport/pasvport/cmd/pasvport/pinhole"
	"github.com/pasvport/pasvport/cmd/pasvport/session"
	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/rules"
)

// tellAfter is how long it may take until the other firewall receives the
// positions in the streams of a session.
const tellAfter = 20 * time.Millisecond

// pushAfter is how long a command may wait for its answer, with which it is told: a server
// nearby answers sooner. The answer may come by way of the other firewall, but not much
// sooner than that.
const pushAfter = 200 * time.Microsecond

// lookEvery is how often lines that have passed unread are looked for. What the other
// firewall does not know of is a gap there: the first announcement behind it is refused.
const lookEvery = 250 * time.Millisecond

// refreshAfter is how long conntrackd may have the short timeout of an entry
// whose sequence numbers the kernel was told to adjust. It is minutes, so that a
// failover meanwhile loses nothing.
const refreshAfter = 200 * time.Millisecond

// teller informs the other firewall of a pair about the sessions of a queue, and
// makes those ours whose packets come here. It belongs to the queue's goroutine.
// Without a pair sessions have no state for it, and it does nothing.
type teller struct {
	*life
	*verdicts
	ct    conntrack
	table *session.Table // of the queue
	work  *ftpalg.Workspace
	late  []*session.Session // to be told of at at
	at    time.Time          // zero: none

	adjusted  []*session.Session // whose entries get their timeout again at refreshAt
	refreshAt time.Time          // zero: none

	resting []*session.Session // lines of them may pass unread; they are looked at at lookAt
	lookAt  time.Time          // zero: none

	draft  draft
	due    pair.Receipt // for what was told of the packet that is being handled
	pushAt time.Time    // when what was told is sent at the latest; zero: it was

	mu    sync.Mutex
	shown []*session.Session // by others, see soon
	looks bool               // at is not zero: the queue's goroutine looks at them then
}

// take makes a session ours, as a packet of it came, and lets its engine continue
// from the last report of the other firewall. It reports whether its engine does, and
// whether the packet may be read: it must be retransmitted if the entry of the session is
// not there at this moment, as conntrackd is recreating it, or was recreated.
func (t *teller) take(r *session.Reader) (goesOn, ok bool) {
	if !r.Pair.GoesOn() {
		return false, true
	}
	e, err := t.ct.Get(r.Original())
	if err != nil || e.ID != r.ID() {
		return false, false
	}
	standby := r.Pair.Standby()
	if standby {
		t.peer.Took(r.Original())
	}
	here, own := r.Here(), r.Adjustments()
	rec := r.Pair.Own()
	t.entries.refresh(t.ct, &e)
	if rec == nil {
		return true, true
	}
	if rec.Adjusted != nil && (standby || !here) { // otherwise an earlier daemon has left newer ones
		here, own = true, session.Adjustments(*rec.Adjusted)
	}
	if here {
		for d := range e.Adj {
			e.Adj[d] = expect.SeqAdj(own[d])
		}
	} else if !t.readjust(r, &e, rec.Engine) {
		return false, false
	}
	r.GoOn(&e, t.settings().policyFor(&e), rec.Engine, t.work)
	if !here {
		return true, true
	}
	if !e.Liberal {
		t.failed(r.Subject(), "cannot adjust sequence numbers", t.ct.SetLiberal(r.Original()))
	}
	t.failed(r.Subject(), "cannot adjust sequence numbers", t.firewall.Renumber(r.ID(), r.Adjustments().Note()))
	r.AdjustHere()
	return true, true
}

// anewFor is how long packets may wait in a queue that were queued before conntrackd made
// an entry anew, if the mark behind them was lost.
const anewFor = time.Second

// early reports whether a packet of a session may have been queued before conntrackd made
// its entry anew. It has the old entry then, whose adjustments are others: it must be
// retransmitted.
func (t *teller) early(r *session.Reader, now time.Time) bool {
	if r.Pair == nil || r.Pair.Mark == 0 {
		return false
	}
	if int32(t.queue.Marked()-r.Pair.Mark) >= 0 || now.Sub(r.Started) > anewFor {
		r.Pair.Mark = 0
		return false
	}
	return r.Adjusted() && !r.Here()
}

// readjust gives an entry the last adjustments of its session. conntrackd may
// have made it from an older state, or from what an earlier connection with the same
// ports had; and where it commits nothing the kernel has its own, from before the other
// firewall changed something. It reports whether that is the entry of the packet that is
// being handled.
func (t *teller) readjust(r *session.Reader, e *expect.Entry, from *ftpalg.State) bool {
	for d := range ftpalg.Direction(2) {
		by, differs := adjustsOtherwise(e, d, from)
		if !differs {
			continue
		}
		switch err := t.adjust.kernel(t.ct, r, d, by); {
		case errors.Is(err, errAnew):
			return false
		case err != nil:
			t.warn(r.Subject(), "a control connection may be lost", "cause", "conntrack does not take its sequence adjustment", "err", err)
			continue
		}
		e.Adj[d] = expect.SeqAdj(by)
		e.Status |= expect.StatusSeqAdjust
		t.refreshLater(r, time.Now())
	}
	return true
}

// anew takes the adjustments from the entry of a session of the other firewall, as a SYN
// has come to it: conntrack learns that another connection begins there by the SYN and ACK
// that answers it, unless it adjusts numbers. The next packet of the session, if it
// lives, gives them back: see readjust.
func (t *teller) anew(original expect.Tuple) {
	s := t.registry.session(original)
	if s == nil || s.Left() != succession.LeftNot {
		return
	}
	rec := s.Pair.Continues() // once: whoever reads the session takes it
	if rec == nil {
		return
	}
	e, err := t.ct.Get(original)
	if err != nil {
		return
	}
	for d := range ftpalg.Direction(2) {
		if _, differs := adjustsOtherwise(&expect.Entry{}, d, rec.Engine); differs && e.Adj[d] != (expect.SeqAdj{}) {
			_, err := t.ct.SetSeqAdj(original, expect.Direction(d), expect.SeqAdj{})
			t.failed(s.Subject(), "cannot adjust sequence numbers", err)
		}
	}
}

// adjustsOtherwise reports whether an entry has another adjustment than its session's
// last one, as far as its engine's state shows, and what that is. An adjustment that
// follows that one is newer than what was told: conntrackd was faster.
func adjustsOtherwise(e *expect.Entry, d ftpalg.Direction, from *ftpalg.State) (by ftpalg.Adjustment, differs bool) {
	if from == nil {
		return by, false
	}
	by, known := from.Adjustment(d)
	return by, known && by.After != e.Adj[d].After && !from.Precedes(d, ftpalg.Adjustment(e.Adj[d]))
}

// refreshLater gives the entry of a session its long timeout again after
// refreshAfter, as the kernel was told to adjust its sequence numbers. The event of
// that had the short one, as bytes were not acknowledged yet, and it is the last one
// that conntrackd has.
func (t *teller) refreshLater(r *session.Reader, now time.Time) {
	if r.Pair == nil || r.Pair.Refresh {
		return
	}
	r.Pair.Refresh = true
	if len(t.adjusted) == 0 {
		t.refreshAt = now.Add(refreshAfter)
	}
	t.adjusted = append(t.adjusted, r.Session)
}

// refresh does so.
func (t *teller) refresh() {
	for _, s := range t.adjusted {
		s.Pair.Refresh = false
		if s.Pair.Standby() || s.Closing() {
			continue
		}
		if e, err := t.ct.Get(s.Original()); err == nil {
			t.entries.refresh(t.ct, &e)
		}
	}
	clear(t.adjusted)
	t.adjusted, t.refreshAt = t.adjusted[:0], time.Time{}
}

// tell reports a session that a packet has changed, before that packet is
// forwarded. An announcement is due there, see await; changes that open nothing are
// reported a little later.
func (t *teller) tell(r *session.Reader, now time.Time) {
	t.due = pair.Receipt{}
	if r.Pair == nil || r.Owner.Monitored || r.Closing() {
		return
	}
	is, before := pair.Told{Mark: r.Engine.Mark(), Hole: t.pinholes.Of(&r.Owner), Left: r.Left()}, r.Pair.Told
	if r.Here() {
		is.Own = r.Adjustments()
	}
	r.Pair.Told = is
	if !is.Urgent(before) && !r.Pair.Again() {
		rec := t.draft.of(r, t.pinholes, now)
		t.peer.Keep(r.Pair, &rec)
		t.later(r.Session, now)
		return
	}
	wait := is.Hole != nil && is.Hole != before.Hole || is.Own != before.Own || is.Mark.Promises(before.Mark)
	r.Pair.Late = false
	r.Pair.Shown.Store(false)
	t.flush()
	rec := t.draft.of(r, t.pinholes, now)
	how := pair.Promptly // its answer may come by way of the other firewall
	if wait && t.waitsFor(r.Session) {
		how = pair.Awaited
	}
	t.due = t.peer.Tell(r.Pair, &rec, how)
	if is.Mark.Promises(before.Mark) {
		r.Pair.Promise = t.due
	}
	switch {
	case how == pair.Awaited:
		t.pushAt = time.Time{}
	case wait:
		t.pushAt = now
	case t.pushAt.IsZero():
		t.pushAt = now.Add(pushAfter)
	}
}

// mayPass reports whether a packet of a session may be forwarded. What has come of a line
// and was absorbed is about to be acknowledged: no one repeats it, and a busy daemon that
// got it too late would not have it. Then the packet must be retransmitted.
func (t *teller) mayPass(r *session.Reader) bool {
	if r.Pair == nil || r.Pair.Promise == (pair.Receipt{}) {
		return true
	}
	t.await()
	if !t.peer.Has(r.Pair.Promise) {
		return false
	}
	r.Pair.Promise = pair.Receipt{}
	return true
}

// await waits until the other firewall has what was told of a packet. Meanwhile the kernel
// can be told what that needs.
func (t *teller) await() {
	t.peer.Wait(t.due)
	t.due = pair.Receipt{}
}

// isOver reports whether conntrackd has made the entry of a session anew while a packet of
// it was handled. The packet must be retransmitted, and read by the session of the new
// entry: that may not know what came of it.
func (t *teller) isOver(r *session.Reader) bool {
	return r.Pair != nil && t.table.Find(r.Original()) != r.Session
}

// waitsFor reports whether an announcement of a session waits for the other
// firewall.
func (t *teller) waitsFor(s *session.Session) bool {
	switch t.cfg.PeerWait {
	case config.PeerNever:
		return false
	case config.PeerNAT:
		return s.Ends().NAT()
	}
	return true
}

// draft is the memory of a record that is made for the other firewall.
type draft struct {
	state ftpalg.State
	open  [1]succession.Pinhole
}

// of is what the other firewall has to know about a session. It is valid until the next
// call.
func (d *draft) of(r *session.Reader, pinholes *pinhole.Table, now time.Time) succession.Record {
	var open []succession.Pinhole
	if hole := pinholes.Of(&r.Owner); hole != nil {
		open = append(d.open[:0], handed(hole, nil, now))
	} else if data, used := pinholes.Data.Waiting(&r.Owner); used != nil { // its SYN may be retransmitted
		open = append(d.open[:0], handed(used, &data, now))
	}
	for i := range open {
		open[i].Way = rules.WayAny // it may be decided a moment later, and is not reported again for that
	}
	rec, _ := r.Record(open, &d.state)
	rec.ID, rec.Next = 0, [2]*uint32{} // they mean nothing there, or no longer do
	rec.Engine = &d.state
	return rec
}

// later schedules a report of a session, together with all others that change
// meanwhile.
func (t *teller) later(s *session.Session, now time.Time) {
	if s.Pair.Late {
		return
	}
	s.Pair.Late = true
	if t.at.IsZero() {
		t.mu.Lock()
		t.at, t.looks = now.Add(tellAfter), true
		t.mu.Unlock()
	}
	t.late = append(t.late, s)
}

// soon schedules the report of a session that changed without a packet: its
// pinhole was used, or stays for longer. Any goroutine may call it. wake makes the
// queue's goroutine ask for the deadline.
func (t *teller) soon(s *session.Session, wake func()) {
	if s.Pair.Shown.Swap(true) {
		return
	}
	t.mu.Lock()
	t.shown = append(t.shown, s)
	looks := t.looks
	t.mu.Unlock()
	if !looks {
		wake()
	}
}

// push sends what was told.
func (t *teller) push() {
	if !t.pushAt.IsZero() {
		t.pushAt = time.Time{}
		t.peer.Push()
	}
}

// deadline is when wake has something to do; zero: never.
func (t *teller) deadline() time.Time {
	if t.at.IsZero() {
		t.mu.Lock()
		if len(t.shown) > 0 {
			t.at, t.looks = time.Now().Add(tellAfter), true
		}
		t.mu.Unlock()
	}
	return earlier(earlier(t.at, t.refreshAt), earlier(t.lookAt, t.pushAt))
}

// wake reports the sessions that later and soon scheduled, if it is time to.
func (t *teller) wake(now time.Time) {
	if !now.Before(t.pushAt) {
		t.push()
	}
	if !t.at.IsZero() && !now.Before(t.at) {
		t.tellLate(now)
	}
	if len(t.adjusted) > 0 && !now.Before(t.refreshAt) {
		t.refresh()
	}
	if len(t.resting) > 0 && !now.Before(t.lookAt) {
		t.look(now)
	}
}

// rests notes that lines of a session may pass unread.
func (t *teller) rests(r *session.Reader, now time.Time) {
	if r.Pair == nil || r.Pair.Rests || t.fast == nil {
		return
	}
	r.Pair.Rests = true
	if len(t.resting) == 0 {
		t.lookAt = now.Add(lookEvery)
	}
	t.resting = append(t.resting, r.Session)
}

// look schedules a report of each session of which lines have passed unread.
func (t *teller) look(now time.Time) {
	all := t.resting
	t.resting, t.lookAt = all[:0], now.Add(lookEvery)
	for _, s := range all {
		if s.Pair.Standby() || s.Closing() {
			s.Pair.Rests = false
			continue
		}
		t.resting = append(t.resting, s)
		if r := s.Acquire(t.work); r != nil {
			if t.unread.look(r) {
				rec := t.draft.of(r, t.pinholes, now)
				t.peer.Keep(r.Pair, &rec)
				t.later(s, now)
			}
			r.Release()
		}
	}
	clear(all[len(t.resting):])
	if len(t.resting) == 0 {
		t.lookAt = time.Time{}
	}
}

// tellLate reports the sessions that later and soon scheduled.
func (t *teller) tellLate(now time.Time) {
	t.mu.Lock()
	shown := t.shown
	t.shown, t.looks = nil, false
	t.mu.Unlock()
	for _, s := range shown {
		if s.Pair.Shown.Load() && !s.Pair.Late {
			s.Pair.Late = true
			t.late = append(t.late, s)
		}
	}
	for _, s := range t.late {
		if !s.Pair.Late { // it was reported meanwhile
			continue
		}
		s.Pair.Late = false
		if s.Pair.Shown.Store(false); s.Pair.Standby() || s.Closing() {
			continue
		}
		if r := s.Acquire(t.work); r != nil {
			rec := t.draft.of(r, t.pinholes, now)
			t.peer.Tell(s.Pair, &rec, pair.Promptly)
			t.pushAt = now
			r.Release()
		}
	}
	t.push()
	clear(t.late)
	t.late, t.at = t.late[:0], time.Time{}
}
