// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/cmd/pasvport/balance"
	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/fastpath"
	"github.com/pasvport/pasvport/cmd/pasvport/keepalive"
	"github.com/pasvport/pasvport/cmd/pasvport/limit"
	"github.com/pasvport/pasvport/cmd/pasvport/lost"
	"github.com/pasvport/pasvport/cmd/pasvport/metrics"
	"github.com/pasvport/pasvport/cmd/pasvport/pinhole"
	"github.com/pasvport/pasvport/cmd/pasvport/report"
	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/cmd/pasvport/tablelock"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/nfq"
	"github.com/pasvport/pasvport/rules"
)

// carrierName is the in-kernel helper that carries expectations: it does not
// speak FTP, and its parser acts on nothing that FTP can say.
const carrierName = "sane"

// Gateway is the running daemon.
type Gateway struct {
	cfg     config.Config
	log     *slog.Logger
	report  report.Reporter
	metrics *metrics.Metrics
	started time.Time
	current atomic.Pointer[settings] // of those in cfg that may change

	plan       plan
	claims     bool // sessions without a carrier are served by claims
	firewall   *rules.Firewall
	workers    []*worker
	beatEvery  time.Duration // see alive.go
	orphans    *worker       // has no queue, and the sessions of an earlier daemon, see takeback.go
	healer     healer
	pinholes   *pinhole.Table
	accounts   accounts
	present    limit.Sessions[*session]
	turned     limit.Seldom // sessions that were turned away
	lines      *limit.Lines // of the log
	failures   limit.Failures
	expectMax  int // expectations that the kernel has room for; 0: not known, or none are made
	sealed     encryptedSessions
	older      olderConnections
	forgotten  lost.Memory
	zoned      atomic.Bool // see zone.go
	balancer   *balance.Balancer
	sender     *keepalive.Sender             // nil: nothing is sent to silent sessions
	noSender   error                         // why, if something was to be sent
	ct         *expect.Conn                  // of the watcher
	inherited  succession.Queues             // of the daemon before
	handOver   func(succession.Queues) error // gives the queues to the next one; see Restart
	restarting atomic.Bool
	fast       *fastpath.Table // nil: every line is read
	events     *expect.Events
	listening  atomic.Pointer[[]expect.PortRange] // that events come of, see aside.go
	lost       chan struct{}                      // events were lost
	lists      uint8                              // how often the sweeper has listed the tracker's connections
}

// New returns a gateway for a configuration. It does not touch the kernel.
func New(cfg config.Config, log *slog.Logger, m *metrics.Metrics) *Gateway {
	g := &Gateway{
		cfg: cfg, metrics: m, started: time.Now(),
		sealed: encryptedSessions{of: map[hostPair][]*session{}},
		lost:   make(chan struct{}, 1),
	}
	g.lines = limit.NewLines(g.clientOf, time.Now)
	log = slog.New(g.lines.Handler(log.Handler()))
	g.log, g.report = log, report.Reporter{Log: log}
	g.pinholes = pinhole.NewTable(g, &g.report)
	g.pinholes.Client = g.clientOf
	g.current.Store(newSettings(cfg))
	g.balancer = balance.New(cfg.VirtualServers, func(port uint16) bool { return g.settings().EncryptedPort(port) }, log)
	m.AddServers(g.balancer.Servers)
	m.AddExpectations(expectations)
	return g
}

// Run serves until ctx ends, and then takes everything of ours out of the
// kernel. ready is called when queues are bound and rules installed.
func (g *Gateway) Run(ctx context.Context, ready func()) error {
	lock, err := tablelock.Take(g.cfg.Table, g.cfg.QueueNum, g.cfg.Queues)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := g.open(); err != nil {
		g.close()
		return err
	}
	defer g.close()
	return g.serve(ctx, ready)
}

// open gets hold of all that is needed, without a rule in place yet.
func (g *Gateway) open() error {
	var err error
	if g.plan, err = choose(g.cfg); err != nil {
		return err
	}
	g.claims = g.plan.rules.Claim
	if err := g.openXferlog(); err != nil {
		return err
	}
	g.openKeepalive()
	g.openFastPath()
	for i := range g.cfg.Queues {
		if err := g.addWorker(g.cfg.QueueNum + uint16(i)); err != nil {
			return err
		}
	}
	if g.ct, err = expect.Dial(); err != nil {
		return fmt.Errorf("conntrack netlink: %w", err)
	}
	// conntrack reports on a connection only if somebody listened when it began:
	// listen before the first rule is there.
	g.track(g.cfg)
	if g.events, err = expect.Listen(g.tracked()); err != nil {
		return fmt.Errorf("conntrack events: %w", err)
	}
	if g.firewall, err = rules.Open(g.plan.rules); err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	if g.plan.Strategy == config.StrategyExpectation {
		g.expectMax = expect.MostExpectations()
	}
	g.pinholes.Firewall, g.pinholes.Claims = g.firewall, g.claims
	if err := g.restoreServers(); err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	g.orphans = &worker{g: g, ct: g.ct}
	return nil
}

func (g *Gateway) addWorker(num uint16) error {
	w := &worker{g: g, payload: make([]byte, 0, maxPayload), heart: heartbeat{every: g.beatEvery}, calls: make(chan func(), maxCalls)}
	g.workers = append(g.workers, w)
	var err error
	if w.ct, err = expect.Dial(); err != nil {
		return fmt.Errorf("conntrack netlink: %w", err)
	}
	w.queue, err = g.openQueue(nfq.Config{Num: num, FailOpen: !g.cfg.FailClosed, Zones: !g.plan.rules.OneZone})
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("another process has queue %d: give this daemon another --queue-num", num)
	}
	if err != nil {
		return fmt.Errorf("queue %d: %w", num, err)
	}
	g.metrics.AddQueue(num, func() metrics.Queue {
		q := g.queueNumbers(w, kernelQueues())
		return metrics.Queue{Packets: q.Packets, Waiting: q.Waiting, Dropped: q.Dropped, ENOBUFS: q.ENOBUFS}
	})
	return nil
}

// close closes what open opened.
func (g *Gateway) close() {
	for _, w := range g.workers {
		if w.queue != nil {
			w.queue.Close()
		}
		if w.ct != nil {
			w.ct.Close()
		}
	}
	if g.events != nil {
		g.events.Close()
	}
	if g.ct != nil {
		g.ct.Close()
	}
	if g.firewall != nil {
		g.firewall.Close()
	}
	if g.sender != nil {
		g.sender.Close()
	}
	if g.fast != nil {
		g.fast.Close()
	}
}

// serve runs the workers and the watcher, puts the rules in place, and takes
// them away again. The workers go on until nothing can be queued any more, so
// that no packet is lost by a stop.
func (g *Gateway) serve(ctx context.Context, ready func()) error {
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	failed := make(chan error, len(g.workers)+8)
	start := func(ctx context.Context, wg *sync.WaitGroup, f func(context.Context) error) {
		wg.Go(func() {
			if err := f(ctx); err != nil {
				failed <- err
			}
		})
	}
	var others sync.WaitGroup
	// The workers end first: they wait for what the watcher does.
	work, stopWork := context.WithCancel(run)
	var workers sync.WaitGroup
	end := func() {
		stopWork()
		workers.Wait()
		stop()
		others.Wait()
	}
	// In this order: what was open must be let pass by our rules before the kernel
	// expects it, or its first packet is dropped and does away with the
	// expectation; and a packet that waits in a queue must meet its session.
	handed := g.inherit()
	takenBack := g.takeBack(handed)
	start(run, &others, g.watch)
	start(run, &others, func(ctx context.Context) error { return g.older.run(ctx, g.listControl) })
	start(run, &others, g.refresh)
	start(run, &others, g.watchIdle)
	start(run, &others, g.writeXferlog)
	err := g.firewall.Install()
	if err == nil {
		g.removeLeftovers()
		if takenBack != nil {
			g.log.Warn("cannot take back all of an earlier daemon's sessions", "err", takenBack)
		}
		g.takeHandedOver(handed)
		g.logTakenBack()
		g.older.note()
		for _, w := range g.workers {
			start(work, &workers, func(ctx context.Context) error { return w.queue.Run(ctx, w) })
		}
		start(run, &others, g.heal)
		start(run, &others, func(ctx context.Context) error { return g.balancer.Run(ctx, g.firewall.Spread) })
		g.logReady()
		ready()
		select {
		case <-ctx.Done():
			g.report.Report(slog.LevelInfo, report.Subject{}, "stopping", "sessions", g.present.Living(), "pinholes", len(g.pinholes.All()))
		case err = <-failed:
		}
	}
	if err == nil && g.restarting.Load() {
		end()
		if g.settle(); g.handOn() {
			return nil
		}
		err = g.remove()
	} else {
		err = errors.Join(err, g.remove())
		g.drain()
		end()
		g.settle()
	}
	n := g.bequeath()
	for _, p := range g.pinholes.All() {
		g.pinholes.Close(g.ct, p, pinhole.Closed, stopReason)
	}
	g.logStopped(n)
	return err
}

// stopReason closes the pinholes of a daemon that stops.
const stopReason = "the daemon stops"

// remove is removeRules, and says what went wrong.
func (g *Gateway) remove() error {
	if err := g.removeRules(); err != nil {
		return fmt.Errorf("removing our rules: %w", err)
	}
	return nil
}

// removeLeftovers removes what a daemon left that had another name for its
// table: its rules would queue to us, and drop with --fail closed, for ever.
func (g *Gateway) removeLeftovers() {
	names, err := g.firewall.RemoveLeftovers()
	if len(names) > 0 {
		g.log.Info("tables of an earlier daemon removed", "tables", names)
	}
	if err != nil {
		g.log.Warn("cannot remove what an earlier daemon left", "err", err)
	}
}

// removeRules takes our rules away. The kernel goes on translating the
// sessions of virtual servers as long as there is a nat chain, so one stays.
func (g *Gateway) removeRules() error {
	n := g.balancer.Sessions()
	if n == 0 {
		return g.firewall.Remove()
	}
	g.log.Info("an empty nat chain stays", "table", g.cfg.Table, "sessions", n,
		"hint", "sessions of virtual servers need it to go on; the next start takes its place")
	return g.firewall.Leave()
}

// drain waits until the queues are empty, or nobody empties them.
func (g *Gateway) drain() {
	const most, step = 300 * time.Millisecond, 5 * time.Millisecond
	for range most / step {
		time.Sleep(step)
		waiting := uint64(0)
		for _, q := range g.queues() {
			waiting += q.Waiting
		}
		if waiting == 0 {
			return
		}
	}
}

// settle comes to terms with what is under way when the workers have ended.
func (g *Gateway) settle() {
	for _, w := range g.workers {
		for _, s := range slices.Clone(w.holding) {
			for d := range s.held {
				w.release(s, ftpalg.Direction(d))
			}
		}
		w.flush()
		for _, s := range w.table.all() {
			w.catchUp(s) // from here on nothing passes in the kernel
		}
	}
	// What was used is not handed over. Run has met an error, too.
	_ = g.events.Drain(func(e *expect.Event) { g.event(g.ct, e) })
}

// count counts a decision.
func (g *Gateway) count(r report.Reason) { g.metrics.Decision(int(r)) }
