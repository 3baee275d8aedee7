// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/control"
	"github.com/pasvport/pasvport/cmd/pasvport/limit"
	"github.com/pasvport/pasvport/cmd/pasvport/session"
	"github.com/pasvport/pasvport/rules"
)

// blocker blocks clients whose logins fail.
type blocker struct {
	*services
	failures limit.Failures
}

// loginFailed counts a failed login, and blocks the client if that is one too
// many.
func (b *blocker) loginFailed(s *session.Session, now time.Time) {
	most := b.settings().LoginFailures
	client := rules.BlockedPrefix(s.Ends().Client.Addr())
	if most.Most == 0 || !b.failures.Failed(client, now, most.Most, most.Within) {
		return
	}
	if s.Owner.Monitored {
		b.warn(s.Subject(), "client would be blocked", "blocked", client, "for", most.Block, "failures", most.Most)
		return
	}
	if err := b.firewall.Block(client.Addr(), most.Block); err != nil {
		b.warn(s.Subject(), "cannot block a client", "err", err)
		return
	}
	b.report.Report(slog.LevelWarn, s.Subject(), "client blocked", "blocked", client, "for", most.Block, "failures", most.Most,
		"hint", "its logins failed that often; pasvport unblock lifts it")
}

// unblock lets a client's packets pass again.
func (b *blocker) unblock(client netip.Addr) error {
	p := rules.BlockedPrefix(client)
	b.failures.Forget(p)
	was, err := b.firewall.Unblock(client)
	if err == nil && !was {
		err = errors.New("is not blocked")
	}
	if err == nil {
		b.log.Info("client unblocked", "client", p)
	}
	return err
}

// blocked are the currently blocked clients.
func (b *blocker) blocked() []control.Blocked {
	if set := b.settings(); set.LoginFailures.Most == 0 || set.Monitor {
		return nil
	}
	list, err := b.firewall.Blocked()
	if err != nil {
		b.log.Warn("cannot list the blocked clients", "err", err)
	}
	var out []control.Blocked
	for _, c := range list {
		out = append(out, control.Blocked{Client: c.Client.String(), Until: time.Now().Add(c.Expires)})
	}
	return out
}
