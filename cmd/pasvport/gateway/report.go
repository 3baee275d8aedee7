// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"log/slog"
	"net/netip"
	"strings"

	"github.com/pasvport/pasvport/cmd/pasvport/control"
	"github.com/pasvport/pasvport/cmd/pasvport/pinhole"
	"github.com/pasvport/pasvport/cmd/pasvport/report"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
)

func (g *Gateway) logReady() {
	g.log.Info("ready", "table", g.cfg.Table, "strategy", string(g.plan.Strategy), "carrier", g.plan.Carrier.String(),
		"queue", g.plan.Queue.String(), "queue_num", g.cfg.QueueNum, "queues", g.cfg.Queues,
		"ports", strings.Join(g.settings().PortList(), ","), "allow", g.settings().AllowText())
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

// opened notes a pinhole that is open.
func (g *Gateway) opened(s *session, p *pinhole.Pinhole, o *ftpalg.Offer) {
	g.count(report.Reason(o.Reason))
	told := netip.AddrPortFrom(o.Text, p.Public.Port())
	s.mu.Lock()
	s.mode = modeOf(o.Mode)
	s.offer = &offer{control.Offer{
		Verb: verbWord(o.Verb), Announced: o.Announced, Translated: told, Target: o.Target,
		Time: p.Expires.Add(-p.Timeout), Reason: o.Reason.String(), Pinhole: control.PinholeOpen,
	}, p}
	s.mu.Unlock()
	g.pinholes.Announced(p)
	level := slog.LevelInfo
	args := []any{"mode", o.Mode, "verb", verbWord(o.Verb),
		"announced", o.Announced, "translated", told, "from", p.Source, "to", p.Public,
		"target", o.Target, "strategy", p.Strategy(), "timeout", p.Timeout, "reason", o.Reason}
	if hint := report.Reason(o.Reason).Hint(); hint != "" && !s.hinted {
		level, args, s.hinted = slog.LevelWarn, append(args, "hint", hint), true // once a session
	}
	g.report.Report(level, s.subject(), "pinhole opened", args...)
}

// toldPort returns the port to announce where nothing is opened: its own, or the
// one that was opened and announced for it before, by an earlier daemon. Then its
// line comes again, and must become what it was.
func (g *Gateway) toldPort(s *session, o *ftpalg.Offer) uint16 {
	if p := g.pinholes.Of(&s.owner); p != nil && p.Target == o.Target {
		return p.Public.Port()
	}
	return o.Announced.Port()
}

// refuse notes an offer for which nothing is open.
func (w *worker) refuse(s *session, o *ftpalg.Offer, told netip.AddrPort, r report.Reason, err error) {
	w.g.refused(s, &control.Offer{
		Verb: verbWord(o.Verb), Announced: o.Announced, Translated: told, Target: o.Target,
		Time: w.now, Reason: r.String(), Pinhole: control.PinholeRefused,
	}, o.Mode, r, err)
}

func (g *Gateway) refused(s *session, o *control.Offer, m ftpalg.Mode, r report.Reason, err error) {
	g.count(r)
	g.metrics.Pinholes.Refused.Add(1)
	s.mu.Lock()
	s.offer = &offer{Offer: *o}
	s.mu.Unlock()
	args := []any{"mode", m, "verb", o.Verb, "announced", o.Announced, "translated", o.Translated, "reason", r, "hint", r.Hint()}
	if err != nil {
		args = append(args, "err", err)
	}
	g.warn(s, "offer refused", args...)
}

// foreign notes that a session is not one of FTP.
func (g *Gateway) foreign(s *session, r report.Reason) {
	g.count(r)
	s.setNote("not FTP: nothing is opened for it (" + r.String() + ")")
	g.warn(s, "session is not FTP", "reason", r, "hint", r.Hint())
}

// withdraw closes the pinhole of an offer that could not be announced after
// all.
func (g *Gateway) withdraw(ct *expect.Conn, s *session, r report.Reason) {
	p := g.pinholes.CloseOf(ct, &s.owner, r.String())
	if p == nil {
		return
	}
	s.mu.Lock()
	var o control.Offer
	if s.offer != nil { // not if an earlier daemon opened it
		o = s.offer.Offer
	}
	s.mu.Unlock()
	o.Reason, o.Pinhole, o.Translated = r.String(), control.PinholeRefused, o.Announced
	g.refused(s, &o, p.Mode, r, nil)
}

func (g *Gateway) logPinhole(msg string, p *pinhole.Pinhole, why string, more ...any) {
	args := []any{"mode", p.Mode,
		"from", p.Source, "to", p.Public, "target", p.Target, "strategy", p.Strategy()}
	if why != "" {
		args = append(args, "reason", why)
	}
	g.report.Report(slog.LevelInfo, p.Owner.Subject(), msg, append(args, more...)...)
}

// modes are the modes of sessions as they are shown, none before the first offer.
var modes = [...]control.Mode{"", control.ModeActive, control.ModePassive}

// modeOf is the index in modes of an offer's mode.
func modeOf(m ftpalg.Mode) uint8 {
	if m == ftpalg.Active {
		return 1
	}
	return 2
}

// subject is what a session is named by in the log and in events.
func (s *session) subject() report.Subject { return s.owner.Subject() }

// Events returns what happened, for those who follow it.
func (g *Gateway) Events() *report.Stream { return &g.report.Stream }
