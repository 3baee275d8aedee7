// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"log/slog"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/fastpath"
	"github.com/pasvport/pasvport/cmd/pasvport/kernel"
	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/rules"
)

// errBare says why the fast path is not used where it could be.
var errBare = errors.New("--keepalive and --session-idle have to see every packet")

// openFastPath gets the filter for lines that need not be read. Without the
// right or the kernel for it, every line is.
func (g *Gateway) openFastPath() {
	g.plan.rules.FastPath = 0
	if g.cfg.FastPath == config.FastPathOff {
		return
	}
	t, err := g.loadFastPath()
	g.plan.found = g.plan.found.With(kernel.FastPath, err)
	if err != nil {
		g.log.Info("no fast path: every line goes through the daemon", "err", err)
		return
	}
	g.fast, g.plan.rules.FastPath = t, t.Program()
	g.metrics.CountUnread(t.Lines)
}

func (g *Gateway) loadFastPath() (*fastpath.Table, error) {
	if g.plan.rules.Bare {
		return nil, errBare
	}
	t, err := fastpath.Load()
	if err != nil {
		return nil, err
	}
	if err := rules.ProbeProgram(t.Program()); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// catchUp tells the engine of the lines that passed unread, before it reads
// another one.
func (w *worker) catchUp(s *session) {
	var u ftpalg.Unread
	if w.g.fast != nil && s.fast.Stop(&u) {
		s.alg.Passed(&u)
	}
}

// arm lets the next lines of a session pass unread, if it rests between two
// lines. It is called before the verdict on the last packet of a segment, and
// so before anybody can answer that. If there are more packets of the session in
// the queue, they were sent before they could have seen an answer: the filter
// lets nothing pass in their direction but what comes directly behind this one,
// which can only be a copy of theirs, and the engine takes theirs for the copy.
func (w *worker) arm(s *session) {
	// The filter does not see in which zone a packet is.
	if w.g.fast == nil || w.g.zoned.Load() || s.holds(ftpalg.Original)+s.holds(ftpalg.Reply) > 0 {
		return
	}
	u, ok := s.alg.Rest()
	if !ok {
		return
	}
	if err := s.fast.Arm(w.g.fast, s.fastEnds(), &u, w.now); err != nil {
		w.g.report.Report(slog.LevelDebug, s.subject(), "fast path", "err", err)
	}
	if s.missed.Load() { // our rules were away meanwhile
		s.fast.Disarm()
	}
}

func (s *session) fastEnds() [2]fastpath.Ends {
	return [2]fastpath.Ends{{Src: s.ep.Client, Dst: s.ep.Dialled}, {Src: s.ep.Server, Dst: s.ep.SeenAs}}
}

// endFast gives back what the fast path holds of a session that has ended.
func (g *Gateway) endFast(s *session) {
	if g.fast == nil {
		return
	}
	if err := s.fast.End(s.fastEnds(), time.Now()); err != nil {
		g.report.Report(slog.LevelDebug, s.subject(), "fast path", "err", err)
	}
}
