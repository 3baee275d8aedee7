// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/kernel"
	"github.com/pasvport/pasvport/cmd/pasvport/pair"
	"github.com/pasvport/pasvport/cmd/pasvport/pinhole"
	"github.com/pasvport/pasvport/cmd/pasvport/report"
	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/expect"
)

// serve runs the workers and the watcher, installs the rules, and removes them
// again. The workers continue until nothing can be queued any more, so that a
// stop loses no packet.
func (g *Gateway) serve(ctx context.Context, ready func()) error {
	t := newTasks(ctx, len(g.lanes)+11)
	defer t.stopAll()
	lost := make(chan struct{}, 1)
	watcher := &watcher{life: g.life, older: g.older, lost: lost, used: g.lanes.tellSoon}
	t.start(g.outside.Run)
	g.findOutside(ctx)
	before := g.inherit()
	g.startOthers(t, watcher)
	err := g.install(t, before)
	before.close()
	if err == nil {
		healer := &healer{services: g.services, registry: g.registry, older: g.older}
		t.start(func(ctx context.Context) error { return g.nft.Watch(ctx, healer.healed) })
		t.start(func(ctx context.Context) error { return g.balancer.Run(ctx, g.nft.Spread) })
		g.logReady()
		ready()
		select {
		case <-ctx.Done():
			g.report.Report(slog.LevelInfo, report.Subject{}, "stopping", "sessions", g.present.Living(), "pinholes", len(g.pinholes.All()))
		case err = <-t.failed:
		}
	}
	if err == nil && g.restarting.Load() {
		t.endWorkers()
		g.tellAll()
		t.end()
		if g.settle(watcher); g.handOn() {
			return nil
		}
		err = g.removeRules()
	} else {
		err = errors.Join(err, g.removeRules())
		g.lanes.drain()
		t.endWorkers()
		g.tellAll()
		t.end()
		g.settle(watcher)
	}
	n := g.testament.write()
	for _, p := range g.pinholes.All() {
		g.pinholes.Close(g.ct, p, pinhole.Closed, stopReason)
	}
	if err == nil { // otherwise the error says more
		g.logStopped(n)
	}
	return err
}

// tellAll tells the other firewall of a pair what the workers, which have ended,
// have not told yet.
func (g *Gateway) tellAll() {
	g.lanes.tellLate()
	g.peer.Flush()
}

// outsideWait is how long the start waits for the addresses to announce.
const outsideWait = 3 * time.Second

// findOutside waits for the addresses to announce: what is announced before they
// are known is of no use to clients.
func (s *services) findOutside(ctx context.Context) {
	if without := s.outside.Wait(ctx, outsideWait); len(without) > 0 {
		s.log.Warn("no address to announce yet", "advertise", without,
			"hint", "it is looked up again and again, see pasvport status; an announcement shows what it would without advertise")
	}
}

// stopReason closes the pinholes of a daemon that stops.
const stopReason = "the daemon stops"

// logReady reports how the kernel is used, whatever log-level is: scripts wait for
// the line.
func (g *Gateway) logReady() {
	if module, _ := kernel.Bypass(); module != "" {
		g.log.Warn("FTP through a translator of this network namespace passes unread", "module", module,
			"hint", "conntrack never confirms what it translates; put it into a namespace of its own")
	}
	always(g.log, "ready", "table", g.cfg.Table, "strategy", string(g.plan.Strategy), "carrier", g.carrier(),
		"queue", g.plan.Queue.String(), "queue_num", g.cfg.QueueNum, "queues", g.cfg.Queues,
		"ports", strings.Join(g.settings().PortList(), ","), "allow", g.settings().AllowText())
}

// always logs a line of level info, also if that is below the level of the log.
func always(log *slog.Logger, msg string, args ...any) {
	r := slog.NewRecord(time.Now(), slog.LevelInfo, msg, 0)
	r.Add(args...)
	_ = log.Handler().Handle(context.Background(), r)
}

func (g *Gateway) logStopped(n int) {
	g.report.Report(slog.LevelInfo, report.Subject{}, fmt.Sprintf("stopped: %d pinholes handed over", n), "pinholes", n)
}

// startOthers starts every goroutine except the workers and those that need our
// rules.
func (g *Gateway) startOthers(t *tasks, w *watcher) {
	idle := &idle{services: g.services, registry: g.registry, sender: g.sender}
	sweeper := &sweeper{life: g.life, ct: g.ct, lost: w.lost, kept: g.lanes.tellSoon, ended: map[uint32]expect.Tuple{}}
	t.start(func(ctx context.Context) error { return w.run(ctx) })
	t.start(sweeper.run)
	t.start(func(ctx context.Context) error { return g.older.run(ctx, g.listControl) })
	t.start(idle.refresh)
	t.start(idle.watch)
	t.start(g.accounts.Run)
}

// listControl calls f for the id of each existing control connection.
func (g *Gateway) listControl(f func(id uint32)) {
	ct, err := g.dial()
	if err != nil {
		g.log.Warn("cannot list conntrack entries", "err", err)
		return
	}
	defer ct.Close()
	if err := ct.DumpTo(g.ports.get(), func(e *expect.Entry) { f(e.ID) }); err != nil {
		g.log.Warn("cannot list conntrack entries", "err", err)
	}
}

// estate is what a previous daemon left, as far as it is taken back.
type estate struct {
	ct     conntrack // for the heir
	heir   *heir     // nil if nothing can be taken back
	handed legacy
	err    error
}

// inherit takes back what the kernel holds of a previous daemon.
func (g *Gateway) inherit() *estate {
	before := &estate{handed: g.testament.read()}
	if before.err = spread(g.balancer, g.nft); before.err != nil {
		return before
	}
	list, err := g.dial()
	if err != nil {
		before.err = err
		return before
	}
	defer list.Close()
	if before.ct, before.err = g.dial(); before.err != nil {
		return before
	}
	before.heir = &heir{
		adopter: adopter{life: g.life, ct: before.ct, table: &g.registry.orphans},
		unseen:  g.unseen,
	}
	before.err = before.heir.takeBack(list, before.handed)
	return before
}

// takeOver opens what the previous daemon had open and closed for this one.
func (b *estate) takeOver() error {
	if b.heir != nil {
		b.heir.open(b.handed)
		b.heir.logTakenBack()
	}
	return b.err
}

// tell tells the other firewall of a pair what was taken back.
func (b *estate) tell(peer *pair.Pair) {
	if b.heir != nil {
		b.heir.tell(peer, b.handed)
	}
}

// close closes the socket to conntrack.
func (b *estate) close() {
	if b.ct != nil {
		b.ct.Close()
	}
}

// install installs our rules, and starts the workers.
//
// The order matters: our rules must accept what was open before the kernel
// expects it, or its first packet is dropped and uses up the expectation; a
// packet that waits in a queue must find its session, and what the other firewall
// of a pair knows of it.
func (g *Gateway) install(t *tasks, before *estate) error {
	if err := g.nft.Install(); err != nil {
		return err
	}
	g.removeLeftovers()
	if err := before.takeOver(); err != nil {
		g.log.Warn("cannot take back all of an earlier daemon's sessions", "err", err)
	}
	if g.peer != nil {
		before.tell(g.peer)
		t.start(g.peer.Run)
		g.peer.Await()
	}
	g.older.note()
	for _, l := range g.lanes {
		t.startWorker(func(ctx context.Context) error { return l.queue.Run(ctx, l.worker) })
	}
	return nil
}

// removeLeftovers removes what a daemon with another name for its table left: its
// rules would queue to us, and drop with --fail closed, forever.
func (g *Gateway) removeLeftovers() {
	names, err := g.nft.RemoveLeftovers()
	if len(names) > 0 {
		g.log.Info("tables of an earlier daemon removed", "tables", names)
	}
	if err != nil {
		g.log.Warn("cannot remove what an earlier daemon left", "err", err)
	}
}

// removeRules removes our rules. The kernel continues to translate the sessions
// of virtual servers, and data connections from mapped ports, as long as there is
// a nat chain, so one stays.
func (g *Gateway) removeRules() (err error) {
	n, mapped := g.balancer.Sessions(), 0
	if g.settings().Rules().Translate {
		mapped = len(g.pinholes.Data.Tuples())
	}
	if n+mapped == 0 {
		err = g.nft.Remove()
	} else {
		g.log.Info("an empty nat chain stays", "table", g.cfg.Table, "sessions", n, "data_connections", mapped,
			"hint", "sessions of virtual servers and data connections from mapped ports need it to go on; the next start takes its place")
		err = g.nft.Leave()
	}
	if err != nil {
		return fmt.Errorf("removing our rules: %w", err)
	}
	return nil
}

// settle finishes what is pending when the workers have ended.
func (g *Gateway) settle(w *watcher) {
	g.lanes.finish()
	// What was used is not handed over. Run has met an error, too.
	_ = g.events.Drain(func(e *expect.Event) { w.event(g.ct, e) })
}

// handOn passes the queues to the next daemon, and reports whether one has them
// or will. Our rules and pinholes stay in the kernel.
func (g *Gateway) handOn() bool {
	queues := succession.Queues{}
	defer queues.Close()
	for _, l := range g.lanes {
		fd, err := l.queue.Detach()
		if err != nil {
			g.log.Warn("cannot hand on a queue", "err", err)
			return false
		}
		queues[l.queue.Num()] = fd
	}
	n := g.testament.write()
	waits := func() { g.log.Info("waiting for the next daemon", "queues", len(queues), "pinholes", n) }
	if err := g.handOver(queues, waits); err != nil {
		g.log.Warn("not handed over to another daemon", "err", err, "hint", "this is a stop")
		return false
	}
	g.log.Info("handed over to the next daemon")
	g.logStopped(n)
	return true
}
