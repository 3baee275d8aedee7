// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/cmd/pasvport/control"
	"github.com/pasvport/pasvport/cmd/pasvport/pinhole"
	"github.com/pasvport/pasvport/cmd/pasvport/report"
	"github.com/pasvport/pasvport/cmd/pasvport/session"
	"github.com/pasvport/pasvport/ftpalg"
)

// offers opens pinholes for what sessions announce, and reports it.
type offers struct {
	*services
	adjust *adjuster
}

// offer opens a pinhole for an offer and makes the engine announce it.
func (f *offers) offer(ct conntrack, r *session.Reader, o *ftpalg.Offer, now time.Time) {
	p, err := f.open(ct, r, o, now)
	reason := refusalOf(err)
	if err == nil {
		if reason = report.Reason(f.announce(ct, r, o, p.Public.Port())); reason != report.ReasonPlain {
			f.pinholes.Cancel(ct, p)
		}
	}
	if reason != report.ReasonPlain {
		r.Engine.Decline(o)
		f.refuse(r, o, o.Announced, reason, err, now)
		return
	}
	f.opened(r, p, o)
}

// open makes the pinhole of an offer.
func (f *offers) open(ct conntrack, r *session.Reader, o *ftpalg.Offer, now time.Time) (*pinhole.Pinhole, error) {
	set := f.settings()
	want := pinhole.Spec{
		Key: pinhole.Key{Source: o.Source, Public: o.Public}, Target: o.Target, Mode: o.Mode, NAT: o.NAT, Ports: o.Ports, Port: o.SourcePort,
		Claim:   f.byClaim(&r.Owner),
		Timeout: set.PinholeTimeout, OneWay: r.Owner.OneWay,
	}
	if o.Mode == ftpalg.Active && set.StrictActivePort {
		want.Port = r.Ends().Server.Port() - 1
	}
	most := pinhole.Limits{All: set.MaxPinholes, Client: f.clientPinholes()}
	return f.pinholes.Open(ct, &r.Owner, want, most, now, f.settle)
}

// settle handles pending conntrack events before a pinhole that seems open is
// closed: its data connection may have begun.
func (f *offers) settle() { f.sync() }

// refusalOf returns the reason for which no pinhole was opened, or ReasonPlain.
func refusalOf(err error) report.Reason {
	switch {
	case err == nil:
		return report.ReasonPlain
	case errors.Is(err, pinhole.ErrNoCarrier):
		return report.ReasonNoCarrier
	case errors.Is(err, pinhole.ErrTooMany):
		return report.ReasonPinholes
	case errors.Is(err, pinhole.ErrTooManyClient):
		return report.ReasonClientPinholes
	case errors.Is(err, pinhole.ErrNoPort):
		return report.ReasonPortsExhausted
	case errors.Is(err, unix.ENOENT):
		return report.ReasonNotTracked
	}
	return report.ReasonKernel
}

// announce makes the engine change the text, if need be with the session's
// sequence numbers adjusted here.
func (f *offers) announce(ct conntrack, r *session.Reader, o *ftpalg.Offer, port uint16) ftpalg.Reason {
	reason := r.Engine.Announce(o, port)
	if reason == ftpalg.ReasonNoAdjust && f.adjust.here(ct, r) {
		reason = r.Engine.Announce(o, port)
	}
	return reason
}

// refusedBy handles an announcement that the engine refuses.
func (f *offers) refusedBy(ct conntrack, r *session.Reader, e *ftpalg.Event, now time.Time) {
	told := e.Offer.Announced
	if e.Announce {
		repeats := f.repeated(r, e.Offer) != nil
		if told = f.passOn(ct, r, e.Offer); repeats {
			return // it is open
		}
	}
	f.refuse(r, e.Offer, told, report.Reason(e.Reason), nil, now)
}

// passOn makes the engine translate an announcement for which nothing is opened,
// and returns what the other end receives.
func (f *offers) passOn(ct conntrack, r *session.Reader, o *ftpalg.Offer) netip.AddrPort {
	port := f.toldPort(r, o)
	if f.announce(ct, r, o, port) != ftpalg.ReasonPlain {
		return o.Announced
	}
	return netip.AddrPortFrom(o.Text, port)
}

// toldPort returns the port to announce if nothing is opened: its own, or the one
// that was announced for it.
func (f *offers) toldPort(r *session.Reader, o *ftpalg.Offer) uint16 {
	if p := f.repeated(r, o); p != nil {
		return p.Public.Port()
	}
	return o.Announced.Port()
}

// repeated returns the pinhole that an earlier daemon opened and announced for an
// offer, or nil. The offer's line is a retransmission then, and must become what it
// was.
func (f *offers) repeated(r *session.Reader, o *ftpalg.Offer) *pinhole.Pinhole {
	if p := f.pinholes.Of(&r.Owner); p != nil && p.Target == o.Target {
		return p
	}
	return nil
}

// opened records a pinhole that is open.
func (f *offers) opened(r *session.Reader, p *pinhole.Pinhole, o *ftpalg.Offer) {
	f.count(report.Reason(o.Reason))
	told := netip.AddrPortFrom(o.Text, p.Public.Port())
	r.Opened(control.Offer{
		Verb: verbWord(o.Verb), Announced: o.Announced, Translated: told, Target: o.Target,
		Time: p.Expires.Add(-p.Timeout), Reason: o.Reason.String(), Pinhole: control.PinholeOpen,
	}, o.Mode, p)
	f.pinholes.Announced(p)
	level := slog.LevelInfo
	args := []any{"mode", o.Mode, "verb", verbWord(o.Verb),
		"announced", o.Announced, "translated", told, "from", p.Source, "to", p.Public,
		"target", o.Target, "strategy", p.Strategy(), "timeout", p.Timeout, "reason", o.Reason}
	if hint := report.Reason(o.Reason).Hint(); hint != "" && !r.Hinted {
		level, args, r.Hinted = slog.LevelWarn, append(args, "hint", hint), true // once per session
	}
	f.report.Report(level, r.Subject(), "pinhole opened", args...)
}

// refuse records an offer for which nothing is open.
func (f *offers) refuse(r *session.Reader, o *ftpalg.Offer, told netip.AddrPort, reason report.Reason, err error, now time.Time) {
	f.refused(r.Session, control.Offer{
		Verb: verbWord(o.Verb), Announced: o.Announced, Translated: told, Target: o.Target,
		Time: now, Reason: reason.String(), Pinhole: control.PinholeRefused,
	}, o.Mode, reason, err)
}

func (f *offers) refused(s *session.Session, o control.Offer, m ftpalg.Mode, reason report.Reason, err error) {
	f.count(reason)
	f.metrics.Pinholes.Refused.Add(1)
	s.Refused(o)
	args := []any{"mode", m, "verb", o.Verb, "announced", o.Announced, "translated", o.Translated, "reason", reason, "hint", reason.Hint()}
	if err != nil {
		args = append(args, "err", err)
	}
	f.warn(s.Subject(), "offer refused", args...)
}

// withdraw closes the pinhole of an offer that could not be announced after all.
func (f *offers) withdraw(ct conntrack, s *session.Session, reason report.Reason) {
	p := f.pinholes.CloseOf(ct, &s.Owner, reason.String())
	if p == nil {
		return
	}
	o := s.LastOffer() // empty if an earlier daemon opened it
	o.Reason, o.Pinhole, o.Translated = reason.String(), control.PinholeRefused, o.Announced
	f.refused(s, o, p.Mode, reason, nil)
}

// cancel closes the pinhole of a void offer.
func (f *offers) cancel(ct conntrack, s *session.Session, reason report.Reason) {
	f.count(reason)
	if f.pinholes.Of(&s.Owner) != nil {
		f.settle()
	}
	f.pinholes.CloseOf(ct, &s.Owner, reason.String())
}

// verbWord names an offer by the command that it is or answers.
func verbWord(v ftpalg.Verb) string {
	switch v {
	case ftpalg.Verb227:
		return "PASV"
	case ftpalg.Verb229:
		return "EPSV"
	case ftpalg.Verb228:
		return "LPSV"
	}
	return v.String()
}
