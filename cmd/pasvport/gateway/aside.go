// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"log/slog"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/nfq"
)

// leaveQueue has the packets of a session pass us by. The next daemon finds the
// reason.
func (g *Gateway) leaveQueue(s *session, why succession.Left) {
	s.mu.Lock()
	s.left = why
	s.mu.Unlock()
	s.leftAt = uint32(time.Since(s.started) / time.Second)
	if err := g.firewall.LeaveAlone(s.id, why.String()); err != nil {
		g.report.Report(slog.LevelWarn, s.subject(), "cannot leave a session alone", "err", err)
	}
}

// stayAway repeats leaveQueue for a session whose packets come all the same: the
// element of our set has gone with its time, or with an earlier connection that
// had the same id. What comes within a second was on its way to us.
func (g *Gateway) stayAway(s *session, p *nfq.Packet, now time.Time) {
	if s.left == succession.LeftNot || s.here() || s.waits || len(p.Payload) == 0 {
		return
	}
	if uint32(now.Sub(s.started)/time.Second) > s.leftAt+1 {
		g.leaveQueue(s, s.left)
	}
}

// takeUp takes what was left alone out of our set: its connection has ended.
func (g *Gateway) takeUp(id uint32) {
	if err := g.firewall.TakeUp(id); err != nil {
		g.log.Warn("cannot delete a set element", "session", id, "err", err)
	}
}
