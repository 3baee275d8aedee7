// SPDX-License-Identifier: Apache-2.0

package account

import (
	"log/slog"
	"net/netip"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/ledger"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
)

// counted adds conntrack's figures for the data connection of a transfer, and
// reports it.
func (a *Accounts) counted(ct Conntrack, data expect.Tuple, r *record) {
	t := &r.transfer
	t.Data, t.Mode = [2]netip.AddrPort{data.Src, data.Dst}, ftpalg.Passive.String()
	if t.Code == 0 { // it went on after its session
		t.Ended = time.Now()
	}
	if e, err := ct.Get(data); err == nil {
		a.Count(&e)
		c := r.session.Owner.Carried(&e)
		if c.Active {
			t.Mode = ftpalg.Active.String()
		}
		if t.Verb == "" { // encrypted: the direction of most bytes
			t.Upload = c.Upload > c.Download
		}
		if t.Counts = e.HasCounters; t.Upload {
			t.Bytes = c.Upload
		} else {
			t.Bytes = c.Download
		}
	}
	a.transferred(r)
}

// transferred reports a transfer.
func (a *Accounts) transferred(r *record) {
	t := &r.transfer
	if a.file != nil && t.Verb != "" && !t.List && !t.Began.IsZero() {
		a.file.Add(ledger.AppendXferlog(nil, r.session.Ends().Client.Addr(), r.user, t))
	}
	if _, transfers := a.Wanted(); !transfers {
		return
	}
	level := slog.LevelInfo
	if !t.Complete() && t.Verb != "" {
		level = slog.LevelWarn
	}
	a.Report.Report(level, r.session.Subject(), "transfer", r.args()...)
}

// args are the fields of a transfer, in the log and in events.
func (r *record) args() []any {
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
