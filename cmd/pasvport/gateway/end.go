// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/pasvport/pasvport/cmd/pasvport/keepalive"
	"github.com/pasvport/pasvport/cmd/pasvport/session"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
)

// ender resets sessions by hand.
type ender struct{ *services }

// resetter sends resets. *keepalive.Sender is one.
type resetter interface {
	Reset(t expect.Tuple, from *keepalive.End) error
}

// end resets both ends of a session.
func (n *ender) end(r *session.Reader, sender resetter) error {
	tuples := [2]expect.Tuple{r.Original(), r.Reply()}
	var ends [2]keepalive.End
	for d := range ends {
		at := r.Engine.Position(ftpalg.Direction(d))
		if !at.Known {
			return fmt.Errorf("the %s has sent nothing since it was first seen, so its peer cannot be reset yet", [2]string{"client", "server"}[d])
		}
		ends[d].Next = at.Next
	}
	r.SetCause(keepalive.CauseByHand)
	var err error
	for d := range ends {
		err = errors.Join(err, sender.Reset(tuples[d], &ends[d]))
	}
	if err == nil {
		n.report.Report(slog.LevelInfo, r.Subject(), "control connection ended by hand")
	}
	return err
}

// End resets both ends of a session, by the id that Sessions shows. Its error is
// its caller's.
func (g *Gateway) End(id uint64) error {
	for table, s := range g.registry.all() {
		if uint64(s.ID()) != id {
			continue
		}
		if s.Owner.Monitored {
			return errors.New("it is only monitored")
		}
		if table == &g.registry.orphans {
			return errors.New("nothing was heard of it since the daemon started, so it cannot be reset yet")
		}
		if w := g.lanes.workerOf(s); w != nil {
			return w.calls.do(w.queue.Interrupt, func() error { return w.endByHand(s) })
		}
	}
	return errors.New("no such session")
}

// endByHand resets both ends of a session. It is the worker's goroutine that does.
func (w *worker) endByHand(s *session.Session) error {
	sender, err := keepalive.OpenSender()
	if err != nil {
		return err
	}
	defer sender.Close()
	r := s.Acquire(&w.work)
	if r == nil { // its connection was lost, and continues in another session
		return errors.New("no such session")
	}
	defer r.Release()
	return (&ender{w.services}).end(r, sender)
}
