// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"log/slog"
	"time"
)

// A session can have lines written to the log at will, ten thousand with one
// packet. Of those about refused offers and denied commands maxSaid are written
// in a time of saidIn; the next one then says how many were not.
const (
	maxSaid = 100
	saidIn  = 10 * time.Second
)

// chatter counts such lines of a session. It is guarded by the session's lock.
type chatter struct {
	since        time.Time
	said, unsaid int
}

// may reports whether a line may be written, and how many were not before it.
func (c *chatter) may(now time.Time) (unsaid int, ok bool) {
	if now.Sub(c.since) >= saidIn {
		c.since, c.said = now, 0
	}
	if c.said >= maxSaid {
		c.unsaid++
		return 0, false
	}
	c.said++
	unsaid, c.unsaid = c.unsaid, 0
	return unsaid, true
}

// warn writes a line about a session, unless it has caused too many.
func (g *Gateway) warn(s *session, msg string, args ...any) {
	s.mu.Lock()
	if s.chatter == nil {
		s.chatter = new(chatter)
	}
	unsaid, ok := s.chatter.may(time.Now())
	s.mu.Unlock()
	if !ok {
		return
	}
	if unsaid > 0 {
		args = append(args, slog.Int("more", unsaid))
	}
	g.report.Report(slog.LevelWarn, s.subject(), msg, args...)
}
