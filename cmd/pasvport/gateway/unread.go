// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"log/slog"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/session"
	"github.com/pasvport/pasvport/ftpalg"
)

// unread lets lines that need not be read pass in the kernel, if there is a
// filter for that.
type unread struct{ *services }

// catchUp informs the engine of the lines that passed unread, before it reads
// another one, and reports whether any did.
func (u *unread) catchUp(r *session.Reader) bool {
	var passed ftpalg.Unread
	if u.fast == nil || !r.Fast.Stop(&passed) {
		return false
	}
	r.Engine.Passed(&passed)
	return true
}

// look informs the engine of the lines that have passed unread, and lets more pass. It
// reports whether any have.
func (u *unread) look(r *session.Reader) bool {
	var passed ftpalg.Unread
	if !r.Fast.Look(&passed) {
		return false
	}
	r.Engine.Passed(&passed)
	return true
}

// arm lets the next lines of a session pass unread, if it rests between two
// lines. It is called before the verdict on the last packet of a segment, and so
// before anyone can answer that. Further packets of the session in the queue were
// sent before they could have seen an answer: in their direction the filter
// passes only what directly follows this one, which can only be a copy of theirs,
// and the engine treats theirs as the copy.
func (u *unread) arm(r *session.Reader, now time.Time) {
	// The filter does not see the zone of a packet.
	if u.fast == nil || u.zones.seen.Load() {
		return
	}
	state, ok := r.Engine.Rest()
	if !ok {
		return
	}
	u.noted(r.Session, r.Fast.Arm(u.fast, r.FastEnds(), &state, now))
	if r.HasMissed() || r.Pair.GoesOn() { // our rules were missing meanwhile, or the other firewall has it
		r.Fast.Disarm()
	}
}

// end frees what the fast path holds of a session that has ended. What has passed unread
// whoever acquires its engine next learns of.
func (u *unread) end(s *session.Session) {
	if u.fast != nil {
		u.noted(s, s.Fast.End(s.FastEnds(), time.Now()))
	}
}

func (u *unread) noted(s *session.Session, err error) {
	if err != nil {
		u.report.Report(slog.LevelDebug, s.Subject(), "fast path", "err", err)
	}
}
