// SPDX-License-Identifier: Apache-2.0

package account

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/ledger"
	"github.com/pasvport/pasvport/cmd/pasvport/metrics"
	"github.com/pasvport/pasvport/cmd/pasvport/pinhole"
	"github.com/pasvport/pasvport/cmd/pasvport/report"
	"github.com/pasvport/pasvport/cmd/pasvport/session"
	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
)

// Accounts has the transfers that wait for the end of their data connection. Its
// methods are safe for concurrent use.
type Accounts struct {
	Report  *report.Reporter
	Metrics *metrics.Metrics
	Data    *pinhole.Data
	// Wanted reports what to log.
	Wanted func() (sessions, transfers bool)
	// LoginFailed is called when a server has refused a login; may be nil.
	LoginFailed func(*session.Session, time.Time)

	book ledger.Book[expect.Tuple, record]
	file *ledger.File // nil: none
}

// record is a transfer to report when its data connection is closed.
type record struct {
	session  *session.Session
	user     string
	transfer ledger.Transfer
}

// Conntrack looks entries up. Each belongs to one goroutine; *expect.Conn
// implements it.
type Conntrack interface {
	Get(expect.Tuple) (expect.Entry, error)
}

// Open opens the xferlog.
func (a *Accounts) Open(path string) (err error) {
	a.file, err = ledger.OpenFile(path, func(err error, lost int) {
		a.Report.Log.Warn("cannot write all of the xferlog", "file", path, "lost", lost, "err", err)
	})
	if err != nil {
		return fmt.Errorf("--xferlog: %w", err)
	}
	return nil
}

// Reopen makes the xferlog continue in the file that now has its name, as
// logrotate requires.
func (a *Accounts) Reopen() {
	if a.file != nil {
		a.file.Reopen()
	}
}

// Run writes the xferlog until ctx ends.
func (a *Accounts) Run(ctx context.Context) error {
	if a.file == nil {
		return nil
	}
	return a.file.Run(ctx)
}

// Watcher is the goroutine that handles conntrack's events, for callers that must
// not be behind it.
type Watcher interface {
	// Sync waits until all events are handled.
	Sync() bool
}

// Read enters the lines that the engine has just read. now is when they came.
func (a *Accounts) Read(ct Conntrack, w Watcher, s *session.Session, d ftpalg.Direction, lines ftpalg.Lines, now time.Time) {
	for line, failed := range lines.All() {
		if e := s.Enter(d, line, failed, now); e.Event != ledger.EventNone {
			a.settled(ct, w, s, &e, now)
		}
	}
}

// settled acts on what a reply has completed.
func (a *Accounts) settled(ct Conntrack, w Watcher, s *session.Session, e *session.Entry, now time.Time) {
	switch e.Event {
	case ledger.EventLogin:
		a.tell(s, slog.LevelInfo, "login", "user", e.User)
	case ledger.EventLoginFailed:
		a.Metrics.LoginFailures.Add(1)
		if a.LoginFailed != nil {
			a.LoginFailed(s, now)
		}
		a.tell(s, slog.LevelWarn, "login failed", "user", e.User)
	case ledger.EventTransferEnded:
		a.Metrics.Transfer(e.Transfer.Upload, e.Transfer.Complete())
		if a.wantsTransfers() {
			a.ended(ct, w, &record{s, e.User, e.Transfer}, now)
		}
	}
}

// tell reports on a session, if sessions are logged.
func (a *Accounts) tell(s *session.Session, level slog.Level, name string, args ...any) {
	if sessions, _ := a.Wanted(); sessions {
		a.Report.Report(level, s.Subject(), name, args...)
	}
}

func (a *Accounts) wantsTransfers() bool {
	_, transfers := a.Wanted()
	return transfers || a.file != nil
}

// ended handles a transfer that has had its final reply. It waits for the end of
// its data connection, which may come later.
func (a *Accounts) ended(ct Conntrack, w Watcher, r *record, now time.Time) {
	w.Sync() // otherwise its data connection may not be known yet
	a.await(ct, r, now)
}

// await reports a transfer when its data connection is closed.
func (a *Accounts) await(ct Conntrack, r *record, now time.Time) {
	data, ok := a.Data.TakeLast(&r.session.Owner)
	if !ok {
		a.transferred(r)
		return
	}
	a.book.Add(data, *r, now)
	if e, err := ct.Get(data); err != nil || e.TCPState >= expect.TCPStateTimeWait {
		a.DataClosed(ct, data, nil)
	}
}

// DataClosed reports the transfer of a closed data connection, if one waits for
// that. In an encrypted session that is all that is known of a transfer: find
// returns the session with an original tuple.
func (a *Accounts) DataClosed(ct Conntrack, data expect.Tuple, find func(expect.Tuple) *session.Session) {
	owner, since := a.Data.Closed(data)
	if !a.wantsTransfers() {
		if sessions, _ := a.Wanted(); sessions && owner != nil {
			a.ask(ct, data)
		}
		return
	}
	r, waits := a.book.Closed(data)
	if !waits && owner != nil && find != nil {
		s := find(owner.Original())
		if s == nil || s.Left() != succession.LeftEncrypted {
			return
		}
		r, waits = record{session: s}, true
		r.transfer = ledger.Transfer{Asked: since, Began: since, Ended: time.Now()}
	}
	if waits {
		a.counted(ct, data, &r)
	}
}

// Overdue reports transfers whose data connection is still open long after their
// final reply.
func (a *Accounts) Overdue(ct Conntrack, now time.Time) {
	for data, r := range a.book.Due(now) {
		a.counted(ct, data, &r)
	}
}

// Count counts what a data connection has carried since the last call.
func (a *Accounts) Count(e *expect.Entry) {
	c := a.Data.Count(e)
	a.Metrics.Carried(c.Active, c.Upload, c.Download)
}

// CountAll asks conntrack what the data connections have carried. Their last
// figures come with the event of their end, minutes after the last byte.
func (a *Accounts) CountAll(ct Conntrack) {
	for _, t := range a.Data.Tuples() {
		a.ask(ct, t)
	}
}

// ask asks conntrack what a data connection has carried.
func (a *Accounts) ask(ct Conntrack, data expect.Tuple) {
	if e, err := ct.Get(data); err == nil {
		a.Count(&e)
	}
}
