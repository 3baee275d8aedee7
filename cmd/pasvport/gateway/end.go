// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/pasvport/pasvport/cmd/pasvport/keepalive"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
)

// maxCalls is how many calls may wait for a worker.
const maxCalls = 16

var errBusy = errors.New("the daemon is busy; try again")

// do has a worker's goroutine call f, and returns what f did.
func (w *worker) do(f func() error) error {
	done := make(chan error, 1)
	select {
	case w.calls <- func() { done <- f() }:
	default:
		return errBusy
	}
	w.queue.Interrupt()
	return <-done
}

// answer makes the calls that wait.
func (w *worker) answer() {
	for {
		select {
		case f := <-w.calls:
			f()
		default:
			return
		}
	}
}

// End resets both ends of a session, by the id that Sessions shows. Its error is
// its caller's.
func (g *Gateway) End(id uint64) error {
	for _, w := range g.holders() {
		for _, s := range w.table.all() {
			if uint64(s.id) != id {
				continue
			}
			if w == g.orphans {
				return errors.New("nothing was heard of it since the daemon started, so it cannot be reset yet")
			}
			return w.do(func() error { return w.endByHand(s) })
		}
	}
	return errors.New("no such session")
}

// endByHand resets both ends of a session.
func (w *worker) endByHand(s *session) error {
	sender, err := keepalive.OpenSender()
	if err != nil {
		return err
	}
	defer sender.Close()
	tuples := [2]expect.Tuple{s.original(), s.reply()}
	var ends [2]keepalive.End
	for d := range ends {
		at := s.alg.Position(ftpalg.Direction(d))
		if !at.Known {
			return fmt.Errorf("the %s has sent nothing since it was first seen, so its peer cannot be reset yet", [2]string{"client", "server"}[d])
		}
		ends[d].Next = at.Next
	}
	s.mu.Lock()
	s.cause = keepalive.CauseByHand
	s.mu.Unlock()
	for d := range ends {
		err = errors.Join(err, sender.Reset(tuples[d], &ends[d]))
	}
	if err == nil {
		w.g.report.Report(slog.LevelInfo, s.subject(), "control connection ended by hand")
	}
	return err
}
