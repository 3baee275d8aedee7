// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"log/slog"

	"github.com/pasvport/pasvport/cmd/pasvport/session"
	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
)

// adjuster arranges who adjusts the sequence numbers of a session after an edit
// that has changed a length.
type adjuster struct{ *services }

// kernel sets the kernel's sequence adjustment. The error is errAnew if the entry is
// another one meanwhile: the packets of the session that wait for a verdict have the old
// one, and must be retransmitted. Another error means that the kernel does not adjust.
func (a *adjuster) kernel(ct conntrack, r *session.Reader, d ftpalg.Direction, by ftpalg.Adjustment) error {
	if by.Outgrows() {
		if err := ct.SetLiberal(r.Original()); err != nil {
			return err
		}
	}
	id, err := ct.SetSeqAdj(r.Original(), expect.Direction(d), expect.SeqAdj(by))
	switch {
	case err != nil:
		return err
	case id != r.ID():
		return errAnew
	}
	r.AdjustedByKernel()
	return nil
}

// errAnew says that conntrackd has made an entry anew.
var errAnew = errors.New("the entry was made anew")

// here takes over the adjustment of a session's sequence numbers from the kernel,
// which cannot do it: the session is not translated, or older than the daemon.
// From here on each of its packets is queued, also bare acknowledgements. It
// reports whether that could be arranged; nothing of the session has been changed
// yet, so the order of the steps does not matter.
func (a *adjuster) here(ct conntrack, r *session.Reader) bool {
	if r.Here() {
		return true
	}
	if err := ct.SetLiberal(r.Original()); err != nil {
		a.warn(r.Subject(), "cannot adjust sequence numbers", "err", err)
		return false
	}
	if err := a.firewall.Renumber(r.ID(), r.Adjustments().Note()); err != nil {
		a.warn(r.Subject(), "cannot queue all packets of a session", "err", err)
		return false
	}
	r.AdjustHere()
	a.report.Report(slog.LevelInfo, r.Subject(), "adjusting sequence numbers here", "hint", "without the daemon this control connection waits; a stop ends it")
	return true
}

// note records the adjustments of a session in the kernel, for the next daemon.
func (a *adjuster) note(r *session.Reader) {
	now, changed := r.ToNote()
	if !changed {
		return
	}
	if err := a.firewall.Renumber(r.ID(), now.Note()); err != nil {
		a.warn(r.Subject(), "cannot note a session's sequence numbers", "err", err,
			"hint", "if the daemon is restarted, this control connection hangs")
	}
}

// forget stops queueing all packets of a session that is gone.
func (a *adjuster) forget(s *session.Session) {
	if s.Here() {
		a.failed(s.Subject(), "cannot forget a session", a.firewall.Forget(s.ID()))
	}
}

// resume gives an entry the adjustments that an earlier daemon made, and reports
// whether that daemon made them itself, not the kernel. It left notes in the
// kernel, or handed them over.
func (a *adjuster) resume(e *expect.Entry, notes map[uint32]string, handed *succession.Record) bool {
	var adj session.Adjustments
	var err error
	switch note, ok := notes[e.ID]; {
	case ok:
		adj, err = session.ParseAdjustments(note)
	case handed != nil && handed.Adjusted != nil:
		adj = *handed.Adjusted
	default:
		return false
	}
	if err == nil {
		err = a.firewall.Renumber(e.ID, adj.Note()) // remember it
	}
	if err != nil {
		a.log.Warn("a control connection is lost", "tuple", e.Original, "err", err,
			"hint", "an earlier daemon adjusted its sequence numbers; it hangs until its ends give up")
		return false
	}
	e.Adj = [2]expect.SeqAdj{expect.SeqAdj(adj[0]), expect.SeqAdj(adj[1])}
	return true
}
