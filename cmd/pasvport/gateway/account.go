// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/ledger"
	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
)

// transferRecord is a transfer that is to be reported when its data connection is
// closed.
type transferRecord struct {
	session  *session
	user     string
	transfer ledger.Transfer
}

// accounts are the transfers that wait, and the file for them.
type accounts struct {
	book ledger.Book[expect.Tuple, transferRecord]
	file *ledger.File // nil: none
}

// openXferlog opens the file of --xferlog.
func (g *Gateway) openXferlog() (err error) {
	if g.cfg.Xferlog == "" {
		return nil
	}
	g.accounts.file, err = ledger.OpenFile(g.cfg.Xferlog, func(err error, lost int) {
		g.log.Warn("cannot write all of the xferlog", "file", g.cfg.Xferlog, "lost", lost, "err", err)
	})
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("--xferlog: %w (with the systemd unit, files under /var/log/pasvport can be written)", err)
	}
	if err != nil {
		return fmt.Errorf("--xferlog: %w", err)
	}
	return nil
}

// writeXferlog writes the file until ctx ends.
func (g *Gateway) writeXferlog(ctx context.Context) error {
	if g.accounts.file == nil {
		return nil
	}
	return g.accounts.file.Run(ctx)
}

// account enters the lines that the engine has read last into the ledger.
func (w *worker) account(s *session, d ftpalg.Direction, lines ftpalg.Lines) {
	for line := range lines.All() {
		s.mu.Lock()
		if s.ledger == nil {
			s.ledger = new(ledger.Ledger)
		}
		l, event := s.ledger, ledger.EventNone
		if d == ftpalg.Original {
			l.Command(line, w.now)
		} else {
			event = l.Reply(line, w.now)
		}
		r := transferRecord{session: s, user: l.User()}
		if event == ledger.EventTransferEnded {
			r.transfer = *l.Transfer()
		}
		s.mu.Unlock()
		if event != ledger.EventNone {
			w.settled(event, &r)
		}
	}
}

// settled acts on what a reply has settled.
func (w *worker) settled(e ledger.Event, r *transferRecord) {
	g := w.g
	switch e {
	case ledger.EventLogin:
		g.tell(r.session, slog.LevelInfo, "login", "user", r.user)
	case ledger.EventLoginFailed:
		g.metrics.LoginFailures.Add(1)
		w.loginFailed(r.session)
		g.tell(r.session, slog.LevelWarn, "login failed", "user", r.user)
	case ledger.EventTransferEnded:
		g.metrics.Transfer(r.transfer.Upload, r.transfer.Complete())
		if g.tellsTransfers() {
			w.ended(r)
		}
	}
}

// tell reports on a session, if sessions are logged.
func (g *Gateway) tell(s *session, level slog.Level, name string, args ...any) {
	if g.settings().LogSessions {
		g.report.Report(level, s.subject(), name, args...)
	}
}

func (g *Gateway) tellsTransfers() bool { return g.settings().LogTransfers || g.accounts.file != nil }

// ended takes a transfer that has had its final reply. It waits for the end of its
// data connection, which may come later.
func (w *worker) ended(r *transferRecord) {
	w.flush()
	w.g.sync() // or its data connection may not be known yet
	data, ok := w.g.pinholes.Data.TakeLast(&r.session.owner)
	if !ok {
		w.g.transferred(r)
		return
	}
	w.g.accounts.book.Add(data, *r, w.now)
	if e, err := w.ct.Get(data); err != nil || e.TCPState >= expect.TCPStateTimeWait {
		w.g.dataClosed(w.ct, data)
	}
}

// dataClosed reports the transfer of a data connection that is closed, if one waits
// for that. In an encrypted session that is all that is known of a transfer.
func (g *Gateway) dataClosed(ct *expect.Conn, data expect.Tuple) {
	owner, since := g.pinholes.Data.Closed(data)
	if !g.tellsTransfers() {
		return
	}
	r, waits := g.accounts.book.Closed(data)
	if !waits && owner != nil {
		_, s := g.session(owner.Original())
		if s == nil || s.why() != succession.LeftEncrypted {
			return
		}
		r, waits = transferRecord{session: s}, true
		r.transfer = ledger.Transfer{Asked: since, Began: since, Ended: time.Now()}
	}
	if waits {
		g.counted(ct, data, &r)
	}
}

// overdue reports transfers whose data connection is open long after their final
// reply.
func (g *Gateway) overdue(ct *expect.Conn, now time.Time) {
	for data, r := range g.accounts.book.Due(now) {
		g.counted(ct, data, &r)
	}
}

// counted adds what conntrack knows of the data connection of a transfer, and
// reports it.
func (g *Gateway) counted(ct *expect.Conn, data expect.Tuple, r *transferRecord) {
	t := &r.transfer
	t.Data, t.Mode = [2]netip.AddrPort{data.Src, data.Dst}, ftpalg.Passive.String()
	if e, err := ct.Get(data); err == nil {
		g.countData(&e)
		c := r.session.owner.Carried(&e)
		if c.Active {
			t.Mode = ftpalg.Active.String()
		}
		if t.Verb == "" { // encrypted: the direction is that of most bytes
			t.Upload = c.Upload > c.Download
		}
		if t.Counts = e.HasCounters; t.Upload {
			t.Bytes = c.Upload
		} else {
			t.Bytes = c.Download
		}
	}
	g.transferred(r)
}

// countData counts what a data connection has carried since it was asked last.
func (g *Gateway) countData(e *expect.Entry) {
	c := g.pinholes.Data.Count(e)
	g.metrics.Carried(c.Active, c.Upload, c.Download)
}

// sessionBegan and sessionEnded report the two ends of a session's life. Both are
// reported at the level of details if sessions are not logged.
func (g *Gateway) sessionBegan(s *session, helper string) {
	name, level := "session", slog.LevelDebug
	if g.settings().LogSessions {
		name, level = "session began", slog.LevelInfo
	}
	g.report.Report(level, s.subject(), name, "dialled", s.ep.Dialled, "seen_as", s.ep.SeenAs, "helper", helper)
}

func (g *Gateway) sessionEnded(s *session, state uint8) {
	if s.over.Swap(true) {
		return
	}
	g.unfinished(s, time.Now())
	if !g.settings().LogSessions {
		return
	}
	s.mu.Lock()
	user, login, cause := "", ledger.LoginNone, s.cause.String()
	if l := s.ledger; l != nil {
		user, login = l.User(), l.Login()
		if cause == "" && l.Last().String() == "QUIT" {
			cause = "quit"
		}
	}
	encrypted := s.left == succession.LeftEncrypted
	s.mu.Unlock()
	t := g.pinholes.Data.Traffic(&s.owner)
	args := []any{"cause", cmp.Or(cause, causeOf(state)), "user", user, "login", login, "encrypted", encrypted,
		"seconds", round(time.Since(s.started).Seconds(), 1000), "data_connections", t.Connections}
	if t.Accounting {
		args = append(args, "bytes_down", t.Payload.Download, "bytes_up", t.Payload.Upload)
	}
	g.report.Report(slog.LevelInfo, s.subject(), "session ended", args...)
}

// causeOf is how a control connection ended whose client did not say goodbye.
func causeOf(state uint8) string {
	switch state {
	case expect.TCPStateTimeWait:
		return "closed"
	case expect.TCPStateClose:
		return "reset"
	}
	return "lost by conntrack" // it timed out there, or was deleted
}

// unfinished reports a transfer whose session ended before its final reply.
func (g *Gateway) unfinished(s *session, now time.Time) {
	if !g.tellsTransfers() {
		return
	}
	s.mu.Lock()
	r := transferRecord{session: s}
	if s.ledger != nil {
		r.user = s.ledger.User()
		if t := s.ledger.Transfer(); t != nil && t.Ended.IsZero() {
			r.transfer = *t
		}
	}
	s.mu.Unlock()
	if r.transfer.Verb != "" {
		r.transfer.Ended = now
		g.transferred(&r)
	}
}

// transferred reports a transfer.
func (g *Gateway) transferred(r *transferRecord) {
	t := &r.transfer
	if g.accounts.file != nil && t.Verb != "" && !t.List && !t.Began.IsZero() {
		g.accounts.file.Add(ledger.AppendXferlog(nil, r.session.ep.Client.Addr(), r.user, t))
	}
	if !g.settings().LogTransfers {
		return
	}
	level := slog.LevelInfo
	if !t.Complete() && t.Verb != "" {
		level = slog.LevelWarn
	}
	g.report.Report(level, r.session.subject(), "transfer", transferArgs(r)...)
}

// transferArgs are the fields of a transfer, in the log and in events.
func transferArgs(r *transferRecord) []any {
	t := &r.transfer
	direction, kind := "download", "binary"
	if t.Upload {
		direction = "upload"
	}
	if t.ASCII {
		kind = "ascii"
	}
	var args []any
	if t.Verb == "" {
		args = append(args, "encrypted", true)
	} else {
		args = append(args, "user", r.user, "verb", t.Verb, "path", t.Path)
	}
	if t.Absolute != "" && t.Absolute != t.Path {
		args = append(args, "absolute", t.Absolute)
	}
	if args = append(args, "direction", direction); t.Verb != "" {
		args = append(args, "type", kind)
	}
	if t.Offset > 0 {
		args = append(args, "offset", t.Offset)
	}
	if t.Counts {
		args = append(args, "bytes", t.Bytes)
	}
	if !t.Began.IsZero() {
		args = append(args, "seconds", round(t.Duration().Seconds(), 1000))
	}
	if rate := t.Rate(); rate > 0 {
		args = append(args, "rate", int64(rate))
	}
	if t.Data[0].IsValid() {
		args = append(args, "mode", t.Mode, "from", t.Data[0], "to", t.Data[1])
	}
	if t.Verb == "" {
		return args
	}
	return append(args, "code", t.Code, "reply", t.Reply, "complete", t.Complete())
}

// round rounds to a fraction, 1/parts.
func round(f, parts float64) float64 { return float64(int64(f*parts+0.5)) / parts }
