// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/pinhole"
	"github.com/pasvport/pasvport/cmd/pasvport/report"
	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/nfq"
)

// legacy is what an earlier daemon handed over, by the original tuple.
type legacy map[expect.Tuple]*succession.Record

// of returns what was handed over of an entry's session, nil if that is nothing.
func (l legacy) of(e *expect.Entry) *succession.Record {
	if r := l[e.Original]; r != nil && r.Is(e.ID, e.Original, e.Reply) {
		return r
	}
	return nil
}

// inherit reads what an earlier daemon handed over.
func (g *Gateway) inherit() legacy {
	path, err := g.handoverPath()
	var records []succession.Record
	if err == nil {
		records, err = succession.Read(path, time.Now())
	}
	if err != nil {
		g.log.Warn("not taken over from the daemon before", "err", err)
	}
	l := make(legacy, len(records))
	for i := range records {
		l[expect.Tuple(records[i].Original)] = &records[i]
	}
	return l
}

// records returns what the next daemon has to know and does not find in the
// kernel. The workers have ended.
func (g *Gateway) records() []succession.Record {
	now := time.Now()
	pinholes := map[*pinhole.Owner][]succession.Pinhole{}
	add := func(p *pinhole.Pinhole, data *expect.Tuple) {
		pinholes[p.Owner] = append(pinholes[p.Owner], handed(p, data, now))
	}
	for _, p := range g.pinholes.All() {
		add(p, nil)
	}
	g.pinholes.Data.EachRule(func(t expect.Tuple, p *pinhole.Pinhole) { add(p, &t) })
	var records []succession.Record
	for _, w := range g.holders() {
		for _, s := range w.table.all() {
			if r := s.record(pinholes[&s.owner]); r.Left != succession.LeftNot || r.Adjusted != nil || r.Pinholes != nil || r.Engine != nil {
				records = append(records, r)
			}
		}
	}
	return records
}

func (s *session) record(pinholes []succession.Pinhole) succession.Record {
	r := succession.Record{
		Original: succession.Tuple(s.original()), Reply: succession.Tuple(s.reply()),
		ID: s.id, Left: s.why(), Pinholes: pinholes,
	}
	if t := s.alg.State(); t.Foreign || t.Stream[0].Start || t.Stream[1].Start {
		r.Engine = &t
	}
	if s.here() {
		a := s.adjustments()
		r.Adjusted = (*[2]ftpalg.Adjustment)(&a)
		for d := range r.Next {
			if at := s.alg.Position(ftpalg.Direction(d)); at.Known {
				r.Next[d] = &at.Next
			}
		}
	}
	return r
}

func handed(p *pinhole.Pinhole, data *expect.Tuple, now time.Time) succession.Pinhole {
	return succession.Pinhole{
		Active: p.Mode == ftpalg.Active, Source: p.Source, Public: p.Public, Target: p.Target,
		NAT: p.NAT, Port: p.Port, Left: p.Expires.Sub(now), Data: (*succession.Tuple)(data),
	}
}

// takeHandedOver opens the pinholes that an earlier daemon closed when it was
// stopped. Its sessions were taken back before; what belongs to none of them, or
// what none could ask for now, is not opened.
func (g *Gateway) takeHandedOver(l legacy) {
	for _, r := range l {
		_, s := g.session(expect.Tuple(r.Original))
		if s == nil || !r.Is(s.id, s.original(), s.reply()) || s.why() != succession.LeftNot {
			continue
		}
		for _, p := range r.Pinholes {
			if err := g.reopen(s, p); err != nil {
				g.warn(s, "cannot take back all of an earlier daemon's sessions", "from", p.Source, "to", p.Public, "err", err)
			}
		}
	}
}

// reopen opens a pinhole again or, if its data connection has come, only the
// way for that one's SYN.
func (g *Gateway) reopen(s *session, p succession.Pinhole) error {
	set := g.settings()
	terms := succession.Terms{
		Ends: s.ep, Zone: s.zone[expect.Original], Policy: set.policyFor(&expect.Entry{Original: s.original(), Reply: s.reply()}),
		StrictActivePort: set.StrictActivePort, Timeout: set.PinholeTimeout,
	}
	p, err := terms.Judge(p)
	if err != nil {
		return err
	}
	spec := pinhole.Spec{
		Key: pinhole.Key{Source: p.Source, Public: p.Public}, Target: p.Target, Mode: p.Mode(), NAT: p.NAT,
		Claim: !s.carrier, Port: p.Port, Timeout: p.Left,
	}
	h := &pinhole.Pinhole{Spec: spec, Owner: &s.owner, Expires: time.Now().Add(p.Left)}
	switch {
	case p.Data != nil:
		return g.pinholes.ReopenRule(h, expect.Tuple(*p.Data))
	case g.pinholes.Of(&s.owner) != nil:
		return nil // a crash was in between, and the kernel had it
	case spec.Claim && !g.claims:
		return errNoClaims
	}
	opened, err := g.pinholes.Reopen(g.ct, h)
	if opened {
		g.reopened(h)
	}
	return err
}

// errNoClaims says that a pinhole needs what this daemon does not do.
var errNoClaims = errors.New("by claim, which this daemon does not make")

// handoverPath is where a daemon leaves its hand-over: beside its control socket.
func (g *Gateway) handoverPath() (string, error) {
	return succession.Path(filepath.Dir(cmp.Or(g.cfg.ControlSocket, config.DefaultControlSocket)), g.cfg.Table)
}

// Inherit gives the gateway the queues that the daemon before it handed on. It must
// be called before Run.
func (g *Gateway) Inherit(q succession.Queues) { g.inherited = q }

// Restart makes the stop that follows one for a restart: our rules stay, and pass
// gives the queues, which the kernel fills meanwhile, to the next daemon. It
// returns an error if none has them, and then the stop is a stop.
func (g *Gateway) Restart(pass func(succession.Queues) error) {
	g.handOver = pass
	g.restarting.Store(true)
}

// openQueue binds a queue, or takes over the one that was handed on. What that
// holds is read when the worker begins.
func (g *Gateway) openQueue(c nfq.Config) (*nfq.Queue, error) {
	fd, ok := g.inherited[c.Num]
	if !ok {
		return nfq.Open(c)
	}
	delete(g.inherited, c.Num)
	q, err := nfq.Inherit(fd, c)
	if err == nil {
		return q, nil
	}
	g.log.Warn("cannot take over a queue of the daemon before", "queue", c.Num, "err", err)
	return nfq.Open(c)
}

// bequeath leaves what the next daemon has to know, and returns how many pinholes are
// handed over by that.
func (g *Gateway) bequeath() int {
	path, err := g.handoverPath()
	if err == nil {
		err = succession.Write(path, g.records(), time.Now())
	}
	if err != nil {
		g.log.Warn("the next daemon cannot be told what is open", "err", err,
			"hint", "what was announced and not used yet does not work after a restart")
		return 0
	}
	return len(g.pinholes.All())
}

func (g *Gateway) logStopped(n int) {
	g.report.Report(slog.LevelInfo, report.Subject{}, fmt.Sprintf("stopped: %d pinholes handed over", n), "pinholes", n)
}

// handOn gives the queues to the next daemon, and reports whether one has them or
// will. Our rules and pinholes stay in the kernel.
func (g *Gateway) handOn() bool {
	queues := succession.Queues{}
	defer queues.Close()
	for _, w := range g.workers {
		fd, err := w.queue.Detach()
		if err != nil {
			g.log.Warn("cannot hand on a queue", "err", err)
			return false
		}
		queues[w.queue.Num()] = fd
	}
	n := g.bequeath()
	g.log.Info("waiting for the next daemon", "queues", len(queues), "pinholes", n)
	if err := g.handOver(queues); err != nil {
		g.log.Warn("not handed over to another daemon", "err", err, "hint", "this is a stop")
		return false
	}
	g.log.Info("handed over to the next daemon")
	g.logStopped(n)
	return true
}
