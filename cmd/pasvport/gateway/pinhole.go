// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/cmd/pasvport/control"
	"github.com/pasvport/pasvport/cmd/pasvport/pinhole"
	"github.com/pasvport/pasvport/cmd/pasvport/report"
	"github.com/pasvport/pasvport/ftpalg"
)

// offer opens the way for an offer and has the engine announce it.
func (w *worker) offer(s *session, o *ftpalg.Offer) {
	p, err := w.open(s, o)
	reason := refusalOf(err)
	if err == nil {
		if reason = report.Reason(w.announce(s, o, p.Public.Port())); reason != report.ReasonPlain {
			w.g.pinholes.Cancel(w.ct, p)
		}
	}
	if reason != report.ReasonPlain {
		s.alg.Decline(o)
		w.refuse(s, o, o.Announced, reason, err)
		return
	}
	w.g.opened(s, p, o)
}

// open makes the pinhole of an offer.
func (w *worker) open(s *session, o *ftpalg.Offer) (*pinhole.Pinhole, error) {
	set := w.g.settings()
	want := pinhole.Spec{
		Key: pinhole.Key{Source: o.Source, Public: o.Public}, Target: o.Target, Mode: o.Mode, NAT: o.NAT,
		Claim: !s.carrier, Timeout: set.PinholeTimeout,
	}
	if o.Mode == ftpalg.Active && set.StrictActivePort {
		want.Port = s.ep.Server.Port() - 1
	}
	most := pinhole.Limits{All: set.MaxPinholes, Client: w.g.clientPinholes()}
	return w.g.pinholes.Open(w.ct, &s.owner, want, most, w.now, w.settle)
}

// settle has what conntrack has reported handled before a pinhole that seems open
// is closed: its data connection may have come.
func (w *worker) settle() { w.g.sync() }

// refusalOf returns the reason for which no pinhole was opened, ReasonPlain if
// one was.
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

// announce has the engine change the text, if need be with the session's
// sequence numbers adjusted here.
func (w *worker) announce(s *session, o *ftpalg.Offer, port uint16) ftpalg.Reason {
	r := s.alg.Announce(o, port)
	if r == ftpalg.ReasonNoAdjust && w.adjustHere(s) {
		r = s.alg.Announce(o, port)
	}
	return r
}

// passOn has the engine translate an announcement for which nothing is opened, and
// returns what the other end is told.
func (w *worker) passOn(s *session, o *ftpalg.Offer) netip.AddrPort {
	port := w.g.toldPort(s, o)
	if w.announce(s, o, port) != ftpalg.ReasonPlain {
		return o.Announced
	}
	return netip.AddrPortFrom(o.Text, port)
}

// pinholeWords are the states of a pinhole as `pasvport sessions` names them.
var pinholeWords = map[pinhole.State]control.Pinhole{
	pinhole.Reserved: control.PinholeOpen, pinhole.Open: control.PinholeOpen, pinhole.Used: control.PinholeUsed,
	pinhole.Expired: control.PinholeExpired, pinhole.Replaced: control.PinholeClosed, pinhole.Closed: control.PinholeClosed,
	pinhole.Dropped: control.PinholeDropped,
}

// PinholeOpened implements pinhole.Events.
func (g *Gateway) PinholeOpened(*pinhole.Pinhole) {
	g.metrics.Pinholes.Open.Add(1)
	g.metrics.Pinholes.Opened.Add(1)
}

// PinholeUsed implements pinhole.Events.
func (g *Gateway) PinholeUsed(p *pinhole.Pinhole) {
	g.metrics.Pinholes.Open.Add(-1)
	g.metrics.Pinholes.Used.Add(1)
	g.logPinhole("pinhole used", p, "")
}

// PinholeEnded implements pinhole.Events.
func (g *Gateway) PinholeEnded(p *pinhole.Pinhole, why string) {
	g.metrics.Pinholes.Open.Add(-1)
	switch p.State() {
	case pinhole.Expired:
		g.metrics.Pinholes.Expired.Add(1)
		g.logPinhole("pinhole expired", p, why, "cause", "no connection came")
		return
	case pinhole.Dropped:
		g.metrics.Pinholes.Expired.Add(1)
		g.metrics.Pinholes.Dropped.Add(1)
		g.warnPinhole("pinhole expired", p, "the connection came, and the ruleset of this machine dropped it")
		return
	}
	g.metrics.Pinholes.Closed.Add(1)
	cause := "another announcement took its place"
	if p.State() == pinhole.Closed {
		cause = cmp.Or(why, "the session is over")
	}
	g.logPinhole("pinhole closed", p, why, "cause", cause)
}

// transferWaits reports whether a transfer command waits for its final reply.
func (s *session) transferWaits() bool {
	if phase, armed := s.fast.Phase(); armed {
		return phase == ftpalg.PhaseTransfer || phase == ftpalg.PhaseBegun
	}
	return s.waiting.Load()
}

// answerTime is how long the SYN of a claimed data connection may be unanswered
// before that is reported.
const answerTime = 3 * time.Second

// reportUnanswered reports claimed data connections that come to nothing.
func (g *Gateway) reportUnanswered(now time.Time) {
	for _, p := range g.pinholes.Data.Unanswered(now.Add(-answerTime)) {
		g.metrics.Pinholes.Dropped.Add(1)
		g.warnPinhole("data connection not answered", p, "the ruleset of this machine drops it, or whoever it is for")
	}
}

// warnPinhole reports a data connection that was announced and could not be made.
func (g *Gateway) warnPinhole(msg string, p *pinhole.Pinhole, cause string) {
	ends := p.Owner.Ends
	g.report.Report(slog.LevelWarn, p.Owner.Subject(), msg, "mode", p.Mode, "from", p.Source, "to", p.Public, "target", p.Target,
		"strategy", p.Strategy(), "cause", cause, "hint", fmt.Sprintf("pasvport doctor --client %s --server %s names the rule", ends.Client.Addr(), ends.Server.Addr()))
}
