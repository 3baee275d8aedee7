// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/cmd/pasvport/balance"
	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/fastpath"
	"github.com/pasvport/pasvport/cmd/pasvport/keepalive"
	"github.com/pasvport/pasvport/cmd/pasvport/kernel"
	"github.com/pasvport/pasvport/cmd/pasvport/metrics"
	"github.com/pasvport/pasvport/cmd/pasvport/pair"
	"github.com/pasvport/pasvport/cmd/pasvport/session"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/nfq"
	"github.com/pasvport/pasvport/rules"
)

// open acquires everything that is needed, before any rule is installed.
func (g *Gateway) open() error {
	var err error
	if g.plan, err = choose(g.cfg); err != nil {
		return err
	}
	g.zones.leftAlone = g.plan.rules.OneZone
	if g.cfg.Xferlog != "" {
		if err := g.accounts.Open(g.cfg.Xferlog); err != nil {
			return err
		}
	}
	g.openKeepalive()
	g.openFastPath()
	for i := range g.cfg.Queues {
		if err := g.addWorker(g.cfg.QueueNum + uint16(i)); err != nil {
			return err
		}
	}
	if g.ct, err = g.dial(); err != nil {
		return err
	}
	// conntrack reports on a connection only if someone listened when it began:
	// listen before the first rule is installed.
	g.ports.add(g.cfg)
	reports, err := expect.Listen(g.ports.get())
	if err != nil {
		return fmt.Errorf("conntrack events: %w", err)
	}
	g.events = reports
	if err := g.openFirewall(); err != nil {
		return err
	}
	return g.openPair()
}

// openFirewall connects to nftables.
func (g *Gateway) openFirewall() error {
	nft, err := rules.Open(g.plan.rules)
	if err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	g.nft, g.firewall, g.directions = nft, nft, nft.Directions()
	if g.plan.Strategy == config.StrategyExpectation {
		g.expectMax = expect.MostExpectations()
	}
	g.pinholes.Firewall, g.pinholes.Ways.Kernel, g.pinholes.Claims = nft, g.directions, g.claims()
	g.pinholes.Data.Unreported.Store(g.plan.rules.QuietData())
	if err := g.restoreServers(); err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	return nil
}

// addWorker binds a queue. Its worker has a conntrack socket of its own.
func (g *Gateway) addWorker(num uint16) error {
	l := &lane{}
	g.lanes = append(g.lanes, l)
	var err error
	if l.ct, err = g.dial(); err != nil {
		return err
	}
	q, err := g.openQueue(nfq.Config{Num: num, FailOpen: !g.cfg.FailClosed || g.cfg.Monitor, Zones: !g.plan.rules.OneZone})
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("another process has queue %d: give this daemon another --queue-num", num)
	}
	if err != nil {
		return fmt.Errorf("queue %d: %w", num, err)
	}
	l.queue = q
	table := new(session.Table)
	g.registry.queues = append(g.registry.queues, table)
	l.worker = newWorker(g.life, g.offers, g.older, l.ct, l.queue, table)
	l.worker.heart.every = g.beatEvery
	g.metrics.AddQueue(num, func() metrics.Queue {
		n := numbersOf(q, kernelQueues())
		return metrics.Queue{Packets: n.Packets, Waiting: n.Waiting, Dropped: n.Dropped, ENOBUFS: n.ENOBUFS}
	})
	return nil
}

// openQueue binds a queue, or takes over the one that was handed on. The packets
// in that are read when the worker begins.
func (g *Gateway) openQueue(c nfq.Config) (*nfq.Queue, error) {
	fd, ok := g.inherited[c.Num]
	if !ok {
		g.unseen = true
		return nfq.Open(c)
	}
	delete(g.inherited, c.Num)
	q, err := nfq.Inherit(fd, c)
	if err == nil {
		return q, nil
	}
	g.unseen = true
	g.log.Warn("cannot take over a queue of the daemon before", "queue", c.Num, "err", err)
	return nfq.Open(c)
}

// openKeepalive opens what --keepalive and --session-idle need. Without the
// capability the daemon works without them.
func (g *Gateway) openKeepalive() {
	if g.cfg.Keepalive == 0 && g.cfg.SessionIdle == 0 {
		return
	}
	s, err := keepalive.OpenSender()
	if err != nil {
		g.log.Warn("no keep-alive and no end of idle sessions", "keepalive", g.cfg.Keepalive,
			"session_idle", g.cfg.SessionIdle, "err", err)
		g.plan.rules.Bare, g.noSender = false, err
		return
	}
	g.sender, g.notes = s, true
}

// errBare says why the fast path is not used though it could be.
var errBare = errors.New("--keepalive and --session-idle have to see every packet")

// openFastPath loads the filter for lines that need not be read. Without the
// capability or kernel support, every line is read.
func (g *Gateway) openFastPath() {
	g.plan.rules.FastPath = 0
	if g.cfg.FastPath == config.FastPathOff {
		return
	}
	t, err := loadFastPath(g.plan.rules.Bare, g.cfg.Peer == "") // the other firewall has to know the commands that ask for ports
	g.plan.found = g.plan.found.With(kernel.FastPath, err)
	if err != nil {
		g.log.Info("no fast path: every line goes through the daemon", "err", err)
		return
	}
	g.fast, g.plan.rules.FastPath = t, t.Program()
	g.metrics.CountUnread(t.Lines)
}

func loadFastPath(bare, passive bool) (*fastpath.Table, error) {
	if bare {
		return nil, errBare
	}
	t, err := fastpath.Load(passive)
	if err != nil {
		return nil, err
	}
	if err := rules.ProbeProgram(t.Program()); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// openPair listens for the other daemon, if this is one firewall of a pair.
func (g *Gateway) openPair() error {
	is, err := g.cfg.Paired()
	if !is || err != nil {
		return err
	}
	key, err := pair.ReadKey(g.cfg.PeerKey)
	if err != nil {
		return fmt.Errorf("--peer-key %q: %w", g.cfg.PeerKey, err)
	}
	if g.partnerCT, err = g.dial(); err != nil {
		return err
	}
	g.entries.established = establishedTimeout()
	p := &partner{
		heir: heir{adopter: adopter{life: g.life, ct: g.partnerCT, table: &g.registry.orphans}},
		mark: func(id uint32) uint32 { return g.lanes.mark(id) },
	}
	g.peer, err = pair.Open(pair.Config{Peer: g.cfg.Peer, Listen: g.cfg.PeerListen, Key: key}, p, g.log)
	if err != nil {
		return fmt.Errorf("--peer-listen %q: %w", g.cfg.PeerListen, err)
	}
	g.metrics.AddPeer(g.peerStatus)
	return nil
}

// restoreServers takes over which servers an earlier daemon has drained, and
// makes the kernel start with that.
func (g *Gateway) restoreServers() error {
	for _, v := range g.balancer.Rules() {
		parked, err := g.nft.Parked(v)
		if err != nil {
			return err
		}
		g.balancer.Restore(v, parked)
	}
	return spread(g.balancer, g.nft)
}

// spread makes the kernel start with the slots that servers should have now.
func spread(b *balance.Balancer, nft ruleset) error {
	for _, v := range b.Rules() {
		if err := nft.Spread(v); err != nil {
			return err
		}
	}
	return nil
}

// close closes what open opened.
func (g *Gateway) close() {
	g.lanes.close()
	g.peer.Close()
	if g.partnerCT != nil {
		g.partnerCT.Close()
	}
	if g.events != nil {
		g.events.Close()
	}
	if g.ct != nil {
		g.ct.Close()
	}
	if g.nft != nil {
		g.nft.Close()
	}
	if g.sender != nil {
		g.sender.Close()
	}
	if g.fast != nil {
		g.fast.Close()
	}
}
