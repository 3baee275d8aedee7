// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"log/slog"
	"net/netip"

	"github.com/pasvport/pasvport/cmd/pasvport/control"
	"github.com/pasvport/pasvport/cmd/pasvport/report"
	"github.com/pasvport/pasvport/cmd/pasvport/session"
	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/nfq"
)

// monitor reads a packet of a session that is only monitored, reports what is in
// it, and forwards it unchanged.
func (w *worker) monitor(r *session.Reader, d ftpalg.Direction, p *nfq.Packet) {
	if r.TakeMissed() {
		r.Engine.Missed()
	}
	seg := segmentOf(d, p, w.now)
	dec := r.Engine.Segment(&seg)
	if len(p.Payload) > 0 || dec.Reason != ftpalg.ReasonPlain {
		w.count(report.Reason(dec.Reason))
	}
	w.accounts.Read(w.ct, w, r.Session, d, dec.Lines, w.now)
	for i := range dec.Events {
		w.monitored(r, &dec.Events[i])
	}
	w.acceptLater(p.ID)
}

// monitored reports what would have been done about an event, and does what
// changes nothing.
func (w *worker) monitored(r *session.Reader, e *ftpalg.Event) {
	switch reason := report.Reason(e.Reason); e.Kind {
	case ftpalg.EventOffer:
		reason = report.Reason(e.Offer.Reason)
		w.count(reason)
		r.Opened(w.unopened(e.Offer, reason), e.Offer.Mode, nil)
		// A translated one would get another port if this one is taken.
		w.report.Report(slog.LevelInfo, r.Subject(), "pinhole would be opened", "mode", e.Offer.Mode, "verb", verbWord(e.Offer.Verb),
			"announced", e.Offer.Announced, "translated", netip.AddrPortFrom(e.Offer.Text, e.Offer.Public.Port()),
			"from", e.Offer.Source, "to", e.Offer.Public, "target", e.Offer.Target, "reason", reason)
	case ftpalg.EventRefused:
		w.count(reason)
		r.Refused(w.unopened(e.Offer, reason))
		w.warn(r.Subject(), "offer would be refused", "mode", e.Offer.Mode, "verb", verbWord(e.Offer.Verb),
			"announced", e.Offer.Announced, "reason", reason, "hint", reason.Hint())
	case ftpalg.EventDenied:
		w.count(reason)
		w.warn(r.Subject(), "command would be denied", "reason", reason, "rule", e.Rule, "hint", reason.Hint())
	case ftpalg.EventCancelled:
		w.count(reason)
	default:
		w.event(r, e)
	}
}

// unopened is the displayed form of an offer for which nothing is opened.
func (w *worker) unopened(o *ftpalg.Offer, r report.Reason) control.Offer {
	return control.Offer{
		Verb: verbWord(o.Verb), Announced: o.Announced, Translated: o.Announced, Target: o.Target,
		Time: w.now, Reason: r.String(), Pinhole: control.PinholeMonitored,
	}
}
