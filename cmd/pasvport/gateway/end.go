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
type ender struct {
	*services
	open func() (resetter, error) // opens the sender of the resets
}

// resetter sends resets. *keepalive.Sender implements it.
type resetter interface {
	Reset(t expect.Tuple, from *keepalive.End) error
	Close()
}

// openSender opens the sender of resets.
func openSender() (resetter, error) {
	s, err := keepalive.OpenSender()
	if err != nil {
		return nil, err
	}
	return s, nil
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

// endByHand resets both ends of a session that work's goroutine reads.
func (n *ender) endByHand(s *session.Session, work *ftpalg.Workspace) error {
	sender, err := n.open()
	if err != nil {
		return err
	}
	defer sender.Close()
	r := s.Acquire(work)
	if r == nil { // its connection was lost, and continues in another session
		return errNoSession
	}
	defer r.Release()
	return n.end(r, sender)
}

var errNoSession = errors.New("no such session")
