// SPDX-License-Identifier: Apache-2.0

package account

import (
	"cmp"
	"log/slog"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/session"
	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/expect"
)

// Began reports the begin of a session, at the level of details if sessions are
// not logged.
func (a *Accounts) Began(s *session.Session, helper string) {
	name, level := "session", slog.LevelDebug
	if sessions, _ := a.Wanted(); sessions {
		name, level = "session began", slog.LevelInfo
	}
	a.Report.Report(level, s.Subject(), name, "dialled", s.Ends().Dialled, "seen_as", s.Ends().SeenAs, "helper", helper)
}

// Ended reports the end of a session, once. state is how its connection ended.
func (a *Accounts) Ended(ct Conntrack, s *session.Session, state uint8, now time.Time) {
	if !s.End() {
		return
	}
	if sessions, _ := a.Wanted(); sessions {
		for _, t := range a.Data.LiveOf(&s.Owner) {
			a.ask(ct, t)
		}
	}
	a.unfinished(ct, s, now)
	user, login, cause := s.Ended()
	t := a.Data.Traffic(&s.Owner)
	args := []any{"cause", cmp.Or(cause, causeOf(state)), "user", user, "login", login,
		"encrypted", s.Left() == succession.LeftEncrypted,
		"seconds", round(now.Sub(s.Started).Seconds(), 1000), "data_connections", t.Connections}
	if t.Accounting {
		args = append(args, "bytes_down", t.Payload.Download, "bytes_up", t.Payload.Upload)
	}
	a.tell(s, slog.LevelInfo, "session ended", args...)
}

// causeOf is how a control connection ended whose client did not send QUIT.
func causeOf(state uint8) string {
	switch state {
	case expect.TCPStateTimeWait:
		return "closed"
	case expect.TCPStateClose:
		return "reset"
	}
	return "lost by conntrack" // it timed out there, or was deleted
}

// unfinished reports a transfer whose session ended before its final reply. Its
// data connection may outlive the session.
func (a *Accounts) unfinished(ct Conntrack, s *session.Session, now time.Time) {
	if !a.wantsTransfers() {
		return
	}
	if user, t, ok := s.Unfinished(); ok {
		t.Ended = now
		a.await(ct, &record{s, user, t}, now)
	}
}
