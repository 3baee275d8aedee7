// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"context"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/rules"
)

const (
	// pause is between two changes of slots: many sessions may begin at once.
	pause = 20 * time.Millisecond
	// retryAfter is when a failed change is retried.
	retryAfter = time.Second
)

// Balancer has the virtual servers of a daemon. Its methods are safe for
// concurrent use.
type Balancer struct {
	log       *slog.Logger
	encrypted func(port uint16) bool // whether a control port is one of implicit TLS
	wake      chan struct{}          // the slots may have to change

	telling  sync.Mutex      // held while the kernel is told; before mu
	refusing map[family]bool // reported as having no server; with telling held

	mu       sync.Mutex
	pools    []*pool
	sessions map[pair]int
	reloads  int
	given    map[family]rules.VirtualServer // what the kernel has been told
}

// family is one address family of a virtual server.
type family struct {
	virtual string
	is4     bool
}

func familyOf(v rules.VirtualServer) family { return family{v.Name, v.Listen[0].Addr().Is4()} }

// New returns a balancer for virtual servers.
func New(list []config.VirtualServer, encrypted func(uint16) bool, log *slog.Logger) *Balancer {
	b := &Balancer{
		log: log, encrypted: encrypted, wake: make(chan struct{}, 1), sessions: map[pair]int{},
		given: map[family]rules.VirtualServer{}, refusing: map[family]bool{},
	}
	b.pools = b.next(list)
	return b
}

// Rules returns the initial description of virtual servers for the kernel.
func Rules(list []config.VirtualServer) []rules.VirtualServer {
	return New(list, nil, nil).Rules()
}

// Rules returns the current description of the virtual servers for the kernel.
func (b *Balancer) Rules() []rules.VirtualServer {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rules(b.pools)
}

func (b *Balancer) rules(pools []*pool) (list []rules.VirtualServer) {
	now := time.Now()
	for _, p := range pools {
		p.count(b.sessions)
		list = append(list, p.rules(now)...)
	}
	return list
}

// Restore takes over what an earlier run has left in the kernel; see
// rules.Firewall.Parked.
func (b *Balancer) Restore(v rules.VirtualServer, parked []rules.Parked) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.pools {
		if p.Name == v.Name {
			p.restore(parked)
		}
	}
}

// Change switches to other virtual servers. What is known of servers that stay is
// kept. install informs the kernel: no slots are assigned meanwhile, so that the
// old ones cannot come after the new ones. Its error is returned, and then
// everything is as before.
func (b *Balancer) Change(list []config.VirtualServer, install func([]rules.VirtualServer) error) error {
	b.telling.Lock()
	defer b.telling.Unlock()
	b.mu.Lock()
	same := slices.EqualFunc(b.pools, list, func(p *pool, v config.VirtualServer) bool { return reflect.DeepEqual(p.VirtualServer, v) })
	pools := b.next(list)
	now := b.rules(pools)
	b.mu.Unlock()
	if err := install(now); err != nil || same {
		return err
	}
	b.mu.Lock()
	b.pools = pools
	b.reloads++
	clear(b.given)
	b.mu.Unlock()
	for _, v := range now {
		b.told(v)
	}
	b.touch()
	return nil
}

// next makes the pools of other virtual servers.
func (b *Balancer) next(list []config.VirtualServer) (pools []*pool) {
	for _, v := range list {
		i := slices.IndexFunc(b.pools, func(p *pool) bool { return p.Name == v.Name })
		var old *pool
		if i >= 0 {
			old = b.pools[i]
		}
		pools = append(pools, newPool(v, old))
	}
	return pools
}

func (b *Balancer) touch() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// Began counts a control connection.
func (b *Balancer) Began(dialled, server netip.AddrPort) { b.counted(pair{dialled, server}, 1) }

// Ended counts the end of one that Began has counted.
func (b *Balancer) Ended(dialled, server netip.AddrPort) { b.counted(pair{dialled, server}, -1) }

func (b *Balancer) counted(c pair, n int) {
	if c.dialled == c.server {
		return
	}
	b.mu.Lock()
	if b.sessions[c] += n; b.sessions[c] <= 0 {
		delete(b.sessions, c)
	}
	least := false
	for _, p := range b.pools {
		if p.Method == config.LeastSessions && p.Port == c.dialled.Port() && slices.Contains(p.Listen, c.dialled.Addr()) {
			least = true
			*p.began += max(n, 0)
		}
	}
	b.mu.Unlock()
	if least {
		b.touch()
	}
}

// Run checks servers and calls apply to change their slots until ctx ends.
func (b *Balancer) Run(ctx context.Context, apply func(rules.VirtualServer) error) error {
	running := checks{reloads: -1, stop: func() {}}
	defer func() { running.stop() }()
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-b.wake:
		case <-retry.C:
		}
		b.mu.Lock()
		pools, reloads := b.pools, b.reloads
		b.mu.Unlock()
		if running.reloads != reloads {
			running.stop()
			running = b.startChecks(ctx, pools, reloads)
		}
		done := b.update(apply)
		if step, slow := b.slow(time.Now()); slow {
			retry.Reset(step)
		} else if !done {
			retry.Reset(retryAfter)
		}
		sleep(ctx, pause)
	}
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// update changes the slots that differ from what they should be, and reports
// whether that succeeded.
func (b *Balancer) update(apply func(rules.VirtualServer) error) bool {
	b.telling.Lock()
	defer b.telling.Unlock()
	ok := true
	for _, v := range b.due() {
		if err := apply(v); err != nil {
			b.log.Error("cannot change the slots of a virtual server", "virtual", v.Name, "err", err, "hint", "it is tried again every second")
			ok = false
			continue
		}
		b.told(v)
	}
	return ok
}

// told records what the kernel has been told.
func (b *Balancer) told(v rules.VirtualServer) {
	b.mu.Lock()
	b.given[familyOf(v)] = v
	b.mu.Unlock()
	b.sayRefusing(v)
}

// due returns the virtual servers whose slots have to change.
func (b *Balancer) due() []rules.VirtualServer {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := slices.DeleteFunc(b.rules(b.pools), func(v rules.VirtualServer) bool {
		given, known := b.given[familyOf(v)]
		return known && reflect.DeepEqual(given, v)
	})
	for _, p := range b.pools {
		if *p.began /= 2; *p.began > 0 { // a burst is soon over
			b.touch()
		}
	}
	return list
}

// sayRefusing logs when the last server goes down and when the first one comes
// up.
func (b *Balancer) sayRefusing(v rules.VirtualServer) {
	key := familyOf(v)
	none := !slices.ContainsFunc(v.Slots, netip.AddrPort.IsValid)
	if none == b.refusing[key] {
		return
	}
	b.refusing[key] = none
	if none {
		b.log.Error("virtual server without a server", "virtual", v.Name, "listen", v.Listen,
			"hint", "connections to it get a TCP reset until a server comes back; see pasvport servers")
		return
	}
	b.log.Info("virtual server has a server again", "virtual", v.Name, "listen", v.Listen)
}

// checks are the goroutines that check the servers of one configuration.
type checks struct {
	reloads int
	stop    func()
}

func (b *Balancer) startChecks(ctx context.Context, pools []*pool, reloads int) checks {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for _, p := range pools {
		if p.Check.Interval == 0 {
			continue
		}
		for i := range p.servers {
			for _, e := range p.servers[i].ends {
				wg.Go(func() { b.watch(ctx, p, &p.servers[i], e) })
			}
		}
	}
	return checks{reloads, func() { cancel(); wg.Wait() }}
}

// watch checks one address of a server. Checks follow one another a little faster
// than the interval, so that the last of those that take a server out is over, at
// its timeout, after interval times fall.
func (b *Balancer) watch(ctx context.Context, p *pool, s *server, e *end) {
	k := p.Check
	tick := time.NewTicker(k.Interval - k.Timeout/time.Duration(k.Fall))
	defer tick.Stop()
	for ctx.Err() == nil {
		err := check(ctx, e.addr, k, b.encrypted(p.Port))
		if ctx.Err() != nil {
			return
		}
		b.result(p, s, e, err)
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// result handles the result of a check.
func (b *Balancer) result(p *pool, s *server, e *end, err error) {
	b.mu.Lock()
	changed := e.result(p.Check, err, time.Now())
	p.count(b.sessions)
	sessions := e.sessions
	b.mu.Unlock()
	switch {
	case !changed:
		return
	case err != nil:
		b.log.Warn("server down", "virtual", p.Name, "server", s.Name, "address", e.addr, "sessions", sessions, "err", err,
			"hint", "new sessions go to the others, those that it has stay")
	default:
		b.log.Info("server up", "virtual", p.Name, "server", s.Name, "address", e.addr)
	}
	b.touch()
}
