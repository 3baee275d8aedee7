// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/nfq"
	"github.com/pasvport/pasvport/rules"
)

// A packet in the middle of a control connection that the tracker does not
// know makes it begin an entry (nf_conntrack_tcp_loose), or is invalid. With
// a new entry the connection goes on if its packets arrive as before: always
// without translation, and with it if the end that was translated sends first
// and gets the same translation again. It cannot go on
//
//   - if its sequence numbers were adjusted: the adjustment went with the entry;
//   - if it was translated and the server sends first: nothing tells the
//     tracker where to, or how to show the server to the client;
//   - if its first packet does not come through, because the ruleset takes it
//     for a new connection or because the way behind it is another now.
//
// The sender then gets a reset from our rule, of which the mark of the verdict
// is the sign. Its peer gets one as soon as it sends.

// Reasons of a reset, for the log.
const (
	causeAdjusted   = "its sequence numbers were adjusted"
	causeTranslated = "it was translated and the tracker has forgotten how"
	causeRefused    = "the ruleset does not let it begin again"
	causeUnanswered = "nobody answers"
	causeUnknown    = "the tracker does not take it up"
	causeUnread     = "its sequence numbers were not adjusted while there was no daemon"
)

const (
	// repeatAfter is less than the shortest retransmission time (200 ms on
	// Linux) and more than the distance of segments that are sent together.
	repeatAfter = 150 * time.Millisecond
	// maxRepeats is how often a packet that the ruleset let pass may be
	// repeated without an answer: it may be lost on the way.
	maxRepeats = 3
	// sightingTime is how long a packet is remembered.
	sightingTime = time.Minute
	// maxSightings bounds the memory: anybody can send such packets.
	maxSightings = 4096
)

// sighting is a packet without an entry that was let go.
type sighting struct {
	seq     uint32
	at      time.Time
	repeats int
}

// stale decides on a packet of a connection that the tracker has forgotten,
// or of whose middle it has just made an entry.
func (w *worker) stale(p *nfq.Packet, confirmed bool) {
	t := tupleOf(p)
	f := w.g.forgotten.find(t)
	cause := ""
	switch {
	case !w.g.cfg.ResetStale:
	case f != nil && f.adjusted:
		cause = causeAdjusted
	case f != nil && f.translated && t == f.reply:
		cause = causeTranslated
	case f != nil && t == f.reply && w.restore(p, f):
		return
	default:
		cause = w.repeated(t, p.Seq, confirmed)
	}
	if cause == "" {
		w.verdict(w.queue.Accept(p.ID))
		return
	}
	w.resetStale(p, f, cause)
}

// restoredTime is how long an entry that was made again waits for the packet
// for which it was made.
const restoredTime = time.Minute

// restore makes the entry of an untranslated session again, whose server sends
// first: the ruleset would take the packet for a new connection from the
// server to the client. The packet is dropped, and finds the entry when it is
// repeated.
func (w *worker) restore(p *nfq.Packet, f *forgotten) bool {
	x := expect.Forgotten{Original: f.original, Mark: f.mark, Timeout: restoredTime}
	if f.carrier && w.g.plan.rules.Carrier == rules.CarrierSane {
		x.Helper = carrierName
	}
	if err := w.ct.Restore(x); err != nil && !errors.Is(err, unix.EEXIST) {
		w.g.log.Warn("cannot make a forgotten connection's entry again", "tuple", f.original, "err", err)
		return false
	}
	w.verdict(w.queue.Drop(p.ID))
	w.g.log.Info("control connection restored", "client", f.original.Src, "server", f.original.Dst)
	return true
}

// repeated notes a packet that is let go. If it comes again, it says why that
// cannot be expected to help.
func (w *worker) repeated(t expect.Tuple, seq uint32, confirmed bool) (cause string) {
	s := w.sightings[t]
	switch {
	case s == nil || s.seq != seq || w.now.Sub(s.at) > sightingTime:
		w.sight(t, seq)
		return ""
	case w.now.Sub(s.at) < repeatAfter:
		return ""
	}
	s.at = w.now
	s.repeats++
	switch {
	case !confirmed: // it had an entry if it had left this machine
		return causeRefused
	case s.repeats > maxRepeats:
		return causeUnanswered
	}
	return ""
}

func (w *worker) sight(t expect.Tuple, seq uint32) {
	if len(w.sightings) >= maxSightings {
		for t, s := range w.sightings {
			if w.now.Sub(s.at) > sightingTime {
				delete(w.sightings, t)
			}
		}
		if len(w.sightings) >= maxSightings {
			clear(w.sightings)
		}
	}
	w.sightings[t] = &sighting{seq: seq, at: w.now}
}

// invalid decides on a packet that the tracker calls invalid: either it does
// not fit into its connection, or there is none that it could belong to.
func (w *worker) invalid(p *nfq.Packet) {
	t := tupleOf(p)
	_, err := w.ct.Get(t)
	switch {
	case errors.Is(err, unix.ENOENT) && !w.g.zoned.Load(): // its zone is not known
		w.resetStale(p, w.g.forgotten.find(t), causeUnknown)
	case p.Hook == nfq.HookOutput:
		w.verdict(w.queue.AcceptMark(p.ID, 0))
	default:
		w.verdict(w.queue.Drop(p.ID))
	}
}

// resetStale has our rule answer a packet with a TCP reset. Without
// --reset-stale there is no such rule, and the connection hangs.
func (w *worker) resetStale(p *nfq.Packet, f *forgotten, cause string) {
	if !w.g.cfg.ResetStale {
		w.verdict(w.queue.Drop(p.ID))
		return
	}
	w.verdict(w.queue.AcceptMark(p.ID, rules.MarkReset))
	delete(w.sightings, tupleOf(p))
	if f == nil && w.now.Sub(w.staleLogged) < time.Second { // anybody can have it written
		return
	}
	w.staleLogged = w.now
	w.g.log.Info("stale control connection reset", "sender", p.Src, "peer", p.Dst, "cause", cause)
}
