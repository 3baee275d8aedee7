// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/control"
	"github.com/pasvport/pasvport/rules"
)

// loginFailed counts a failed login, and has the client blocked if it is one too
// many.
func (w *worker) loginFailed(s *session) {
	g, limit := w.g, w.g.settings().LoginFailures
	client := rules.BlockedPrefix(s.ep.Client.Addr())
	if limit.Most == 0 || !g.failures.Failed(client, w.now, limit.Most, limit.Within) {
		return
	}
	if err := g.firewall.Block(client.Addr(), limit.Block); err != nil {
		g.warn(s, "cannot block a client", "err", err)
		return
	}
	g.report.Report(slog.LevelWarn, s.subject(), "client blocked", "blocked", client, "time", limit.Block, "failures", limit.Most,
		"hint", "its logins failed that often; pasvport unblock lifts it")
}

// Unblock has a client's packets pass again.
func (g *Gateway) Unblock(client netip.Addr) error {
	p := rules.BlockedPrefix(client)
	g.failures.Forget(p)
	was, err := g.firewall.Unblock(client)
	if err == nil && !was {
		err = errors.New("is not blocked")
	}
	if err == nil {
		g.log.Info("client unblocked", "client", p)
	}
	return err
}

// blocked are the clients that are blocked now.
func (g *Gateway) blocked() []control.Blocked {
	if g.settings().LoginFailures.Most == 0 {
		return nil
	}
	list, err := g.firewall.Blocked()
	if err != nil {
		g.log.Warn("cannot list the blocked clients", "err", err)
	}
	var out []control.Blocked
	for _, b := range list {
		out = append(out, control.Blocked{Client: b.Client.String(), Until: time.Now().Add(b.Expires)})
	}
	return out
}
