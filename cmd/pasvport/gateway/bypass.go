// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"log/slog"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/report"
	"github.com/pasvport/pasvport/cmd/pasvport/session"
	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/nfq"
)

// bypass makes the packets of sessions that are not read bypass the daemon, and
// opens the range of ports to clients of encrypted ones.
type bypass struct {
	*services
	ranges ranges
}

// leave makes the packets of a session bypass us. The next daemon finds the
// reason.
func (b *bypass) leave(r *session.Reader, why succession.Left) {
	r.Leave(why, time.Now())
	b.failed(r.Subject(), "cannot leave a session alone", b.firewall.LeaveAlone(r.ID(), why.String()))
}

// leaveAgain leaves a session alone for its previous reason: it must not be
// judged again from its middle, nor count as an encrypted one. LeftNot is no
// reason.
func (b *bypass) leaveAgain(r *session.Reader, why succession.Left) {
	switch why {
	case succession.LeftNot:
	case succession.LeftEncrypted:
		b.encrypted(r)
	default:
		r.SetNote("left alone, as before: " + why.String())
		b.leave(r, why)
	}
}

// stay repeats leave for a session whose packets come nevertheless: the element
// of our set has expired, or was deleted with an earlier connection that had the
// same id.
func (b *bypass) stay(r *session.Reader, p *nfq.Packet, now time.Time) {
	if r.Returned(p, now) {
		b.leave(r, r.Left())
	}
}

// takeUp deletes a session from our set: its connection has ended.
func (b *bypass) takeUp(id uint32) {
	if err := b.firewall.TakeUp(id); err != nil {
		b.log.Warn("cannot delete a set element", "session", id, "err", err)
	}
}

// standAside leaves a session alone: an in-kernel helper has it, which edits too,
// or it cannot be served.
func (b *bypass) standAside(r *session.Reader, reason report.Reason, note string) {
	r.Aside = true
	r.SetNote(note)
	b.count(reason)
	b.warn(r.Subject(), "standing aside", "note", note, "reason", reason, "hint", reason.Hint())
	b.leave(r, succession.LeftAlone)
}

// encrypted records that a session's announcements cannot be read any more, or
// never could.
func (b *bypass) encrypted(r *session.Reader) {
	b.metrics.Encrypted.Add(1)
	r.SetNote("encrypted: its data ports cannot be seen")
	b.leave(r, succession.LeftEncrypted)
	args := []any{"reason", ftpalg.ReasonOpaque}
	if !b.opensRange() || r.Owner.Monitored {
		b.report.Report(slog.LevelInfo, r.Subject(), "session is encrypted", append(args, "hint", report.Reason(ftpalg.ReasonOpaque).Hint())...)
		return
	}
	b.report.Report(slog.LevelInfo, r.Subject(), "session is encrypted", append(args, "client_may_open", b.settings().TLSRange, "at_once", b.settings().TLSParallel)...)
	if pair := pairOf(r.Session); b.ranges.add(r.Session) {
		b.failed(r.Subject(), "cannot open the range of an encrypted session", b.firewall.AllowPeer(pair.client, pair.dialled))
	}
}

// closeRange closes the range of a session that has ended.
func (b *bypass) closeRange(s *session.Session) {
	if pair := pairOf(s); b.ranges.remove(s) {
		b.failed(s.Subject(), "cannot close the range of an encrypted session", b.firewall.ForgetPeer(pair.client, pair.dialled))
	}
}
