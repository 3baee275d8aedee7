// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"log/slog"
	"net/netip"
	"slices"
	"sync"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/pinhole"
	"github.com/pasvport/pasvport/cmd/pasvport/report"
	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/nfq"
)

// hostPair are a client and the server address that it dialled.
type hostPair struct{ client, dialled netip.Addr }

// encryptedSessions are the sessions whose announcements cannot be read and
// whose clients may open ports of the range, by what the SYN of a data
// connection shows.
type encryptedSessions struct {
	mu sync.Mutex
	of map[hostPair][]*session
}

func pairOf(s *session) hostPair { return hostPair{s.ep.Client.Addr(), s.ep.Dialled.Addr()} }

// add enters a session and reports whether it is the first of its pair.
func (e *encryptedSessions) add(s *session) (first bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := e.of[pairOf(s)]
	if slices.Contains(list, s) {
		return false
	}
	e.of[pairOf(s)] = append(list, s)
	return len(list) == 0
}

// remove takes a session out and reports whether it was the last of its pair.
func (e *encryptedSessions) remove(s *session) (last bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := e.of[pairOf(s)]
	i := slices.Index(list, s)
	if i < 0 {
		return false
	}
	if list = slices.Delete(list, i, i+1); len(list) > 0 {
		e.of[pairOf(s)] = list
		return false
	}
	delete(e.of, pairOf(s))
	return true
}

// all returns the sessions of a pair, the newest first.
func (e *encryptedSessions) all(p hostPair) []*session {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := slices.Clone(e.of[p])
	slices.Reverse(list)
	return list
}

// opensRange reports whether encrypted sessions get a range of ports.
func (g *Gateway) opensRange() bool { return g.settings().TLS == config.TLSRange && g.claims }

// encrypted notes that a session's announcements cannot be read any more, or
// never could.
func (g *Gateway) encrypted(s *session) {
	g.metrics.Encrypted.Add(1)
	s.setNote("encrypted: its data ports cannot be seen")
	g.leaveQueue(s, succession.LeftEncrypted)
	args := []any{"reason", ftpalg.ReasonOpaque}
	if !g.opensRange() {
		g.report.Report(slog.LevelInfo, s.subject(), "session is encrypted", append(args, "hint", report.Reason(ftpalg.ReasonOpaque).Hint())...)
		return
	}
	g.report.Report(slog.LevelInfo, s.subject(), "session is encrypted", append(args, "client_may_open", g.settings().TLSRange, "at_once", g.settings().TLSParallel)...)
	if pair := pairOf(s); g.sealed.add(s) {
		if err := g.firewall.AllowPeer(pair.client, pair.dialled); err != nil {
			g.report.Report(slog.LevelWarn, s.subject(), "cannot open the range of an encrypted session", "err", err)
		}
	}
}

// forgetEncrypted closes the range of a session that has ended.
func (g *Gateway) forgetEncrypted(s *session) {
	if !g.sealed.remove(s) {
		return
	}
	pair := pairOf(s)
	if err := g.firewall.ForgetPeer(pair.client, pair.dialled); err != nil {
		g.report.Report(slog.LevelWarn, s.subject(), "cannot close the range of an encrypted session", "err", err)
	}
}

// claimInRange makes the conntrack entry for a data connection that an
// encrypted session's client opens to its server.
func (w *worker) claimInRange(p *nfq.Packet) {
	port := p.Dst.Port()
	if !w.g.opensRange() || port < w.g.settings().TLSRange.Low || port > w.g.settings().TLSRange.High {
		return
	}
	sessions := w.g.sealed.all(hostPair{p.Src.Addr(), p.Dst.Addr()})
	for _, s := range sessions {
		if w.g.pinholes.Data.IsLive(expect.Tuple{Src: p.Src, Dst: p.Dst, Zone: s.zone[expect.Original]}) { // its SYN again
			return
		}
	}
	for _, s := range sessions {
		if len(w.g.pinholes.Data.Live(&s.owner)) < w.g.settings().TLSParallel {
			w.openInRange(s, p)
			return
		}
	}
	if len(sessions) > 0 {
		s := sessions[0]
		w.g.metrics.Pinholes.Refused.Add(1)
		w.g.report.Report(slog.LevelWarn, s.subject(), "data connection of an encrypted session refused", "from", p.Src, "to", p.Dst, "hint", "it has as many as --tls-parallel allows")
	}
}

// openInRange opens and uses a pinhole for the SYN p of a session.
func (w *worker) openInRange(s *session, p *nfq.Packet) {
	target := netip.AddrPortFrom(s.ep.Server.Addr(), p.Dst.Port())
	spec := pinhole.Spec{
		Key: pinhole.Key{Source: p.Src.Addr(), Public: p.Dst}, Target: target, Mode: ftpalg.Passive,
		NAT: s.ep.NAT(), Claim: true, Timeout: w.g.settings().PinholeTimeout,
	}
	if err := w.g.pinholes.ClaimRange(w.ct, &s.owner, spec, p.Src, w.g.settings().Control()); err != nil {
		w.g.warn(s, "cannot open a pinhole", "from", p.Src, "to", p.Dst, "err", err)
	}
}
