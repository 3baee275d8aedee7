// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/nfq"
)

// adjustHere takes over the adjustment of a session's sequence numbers from
// the kernel, which cannot do it: the session is not translated, or older
// than the daemon. From here on each of its packets comes to the queue, also
// bare acknowledgements. It reports whether that could be arranged; nothing
// of the session has been changed yet, so the order of the steps is free.
func (w *worker) adjustHere(s *session) bool {
	if s.here {
		return true
	}
	if err := w.ct.SetLiberal(s.original); err != nil {
		w.g.log.Warn("cannot adjust sequence numbers", "client", s.ep.Client, "server", s.ep.Server, "err", err)
		return false
	}
	if err := w.g.firewall.Renumber(s.id); err != nil {
		w.g.log.Warn("cannot queue all packets of a session", "client", s.ep.Client, "server", s.ep.Server, "err", err)
		return false
	}
	s.here = true
	s.adjusted.Store(true)
	s.mu.Lock()
	s.renumbered = true
	s.mu.Unlock()
	s.alg.AdjustHere()
	w.g.log.Info("adjusting sequence numbers here", "client", s.ep.Client, "server", s.ep.Server,
		"hint", "this control connection does not outlive the daemon")
	return true
}

// forwardHere sends on a packet of a session that is adjusted here.
func (w *worker) forwardHere(s *session, d ftpalg.Direction, p *nfq.Packet) {
	r := s.alg.Rewrite(w.payload[:0], d, p.Seq, p.Payload)
	if r.Changed {
		w.payload = r.Data // grown, perhaps
	}
	back := ftpalg.Original + ftpalg.Reply - d
	nfq.Renumber(p, s.alg.Sequence(d, p.Seq), func(ack uint32) uint32 { return s.alg.Acknowledgement(back, ack) })
	w.splice(p, r.Data)
}

// forgetHere ends the queueing of all packets of a session that is gone.
func (g *Gateway) forgetHere(s *session) {
	s.mu.Lock()
	renumbered := s.renumbered
	s.mu.Unlock()
	if !renumbered {
		return
	}
	if err := g.firewall.Forget(s.id); err != nil {
		g.log.Warn("cannot forget a session", "client", s.ep.Client, "server", s.ep.Server, "err", err)
	}
}

// warnRenumbered tells of connections that an earlier daemon adjusted and
// that nobody can adjust any more.
func (g *Gateway) warnRenumbered() {
	ids, err := g.firewall.Renumbered()
	if err != nil || len(ids) == 0 {
		return
	}
	g.log.Warn("control connections are lost", "connections", len(ids),
		"hint", "an earlier daemon adjusted their sequence numbers and died; they hang until their ends give up, and have to be opened again")
}
