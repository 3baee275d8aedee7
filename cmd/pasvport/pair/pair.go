// SPDX-License-Identifier: Apache-2.0

package pair

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/cmd/pasvport/succession"
	"github.com/pasvport/pasvport/expect"
)

// Host has the sessions. One goroutine calls its methods, one after the other.
type Host interface {
	// Entry returns the entry of a control connection, or nil.
	Entry(original expect.Tuple) *expect.Entry
	// Adopt passes what is known of a session that the other firewall had, and
	// its entry. The session may exist already. It reports whether the session is
	// one of the host's now.
	Adopt(k *Known, e *expect.Entry) bool
	// Data passes the entry of a data connection of the other firewall's session,
	// and what is known of that.
	Data(e *expect.Entry, k *Known)
	// Gone passes an entry that ended while sessions were being adopted: one that was
	// made of it since then ends, too.
	Gone(e *expect.Entry)
	// Over reports that a session of the other firewall has ended.
	Over(original expect.Tuple)
	// Alone reports that the other daemon is gone: what it had has to be
	// maintained here.
	Alone()
}

// Config is the configuration of a pair.
type Config struct {
	Peer, Listen string // HOST:PORT
	Key          []byte // see ReadKey
}

// Pair is the other daemon, and what is known of its sessions and of ours. The
// methods of a nil Pair do nothing.
type Pair struct {
	cfg   Config
	host  Host
	log   *slog.Logger
	id    *identity
	hello hello
	ln    net.Listener
	door  door

	book  book
	out   outbox
	tasks *tasks

	start   *start
	reached chan struct{} // of capacity 1: the other daemon has reached us

	links     *links
	takeOvers takeOvers
	waits     atomic.Uint64
	bereft    time.Duration // see aloneAfter

	mu     sync.Mutex
	served net.Conn // of the other daemon
}

// Open listens for the other daemon, and does nothing else before Run.
func Open(cfg Config, host Host, log *slog.Logger) (*Pair, error) {
	p := newPair(cfg, host, log)
	var err error
	if p.id, err = newIdentity(cfg.Key); err != nil {
		return nil, err
	}
	if p.ln, err = listen(cfg.Listen); err != nil {
		return nil, err
	}
	return p, nil
}

// listen listens on an address that this machine need not have yet: the daemon
// starts before the network does.
func listen(addr string) (net.Listener, error) {
	c := net.ListenConfig{Control: func(network, _ string, raw syscall.RawConn) error {
		level, option := unix.SOL_IP, unix.IP_FREEBIND
		if network == "tcp6" {
			level, option = unix.SOL_IPV6, unix.IPV6_FREEBIND
		}
		var set error
		err := raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), level, option, 1) })
		return errors.Join(err, set)
	}}
	return c.Listen(context.Background(), "tcp", addr)
}

func newPair(cfg Config, host Host, log *slog.Logger) *Pair {
	p := &Pair{cfg: cfg, host: host, log: log, book: newBook(), out: newOutbox(), tasks: newTasks(),
		start: newStart(), reached: make(chan struct{}, 1), links: newLinks(log, cfg.Peer), takeOvers: takeOvers{log: log}, bereft: aloneAfter}
	p.door.peer, _, _ = net.SplitHostPort(cfg.Peer)
	p.hello = hello{oldest: oldest, version: version}
	rand.Read(p.hello.instance[:])
	return p
}

// Run serves until ctx ends.
func (p *Pair) Run(ctx context.Context) error {
	if p == nil {
		return nil
	}
	var wg sync.WaitGroup
	wg.Go(func() { p.tasks.run(ctx) })
	wg.Go(func() { p.dial(ctx) })
	wg.Go(func() { p.listen(ctx) })
	wg.Wait()
	return nil
}

// Flush waits until the other daemon has received everything, or is known not to
// answer.
func (p *Pair) Flush() {
	if p == nil {
		return
	}
	if done := p.out.flush(); done != nil {
		<-done
	}
}

// Await waits, after a start, until the other daemon has reported everything, and
// that was handled. It does not wait for a daemon that cannot be reached.
func (p *Pair) Await() {
	if p != nil {
		p.start.await()
	}
}

// Later calls f when everything that was adopted so far is handled.
func (p *Pair) Later(f func()) { p.tasks.put(f) }

// Close closes what Open opened.
func (p *Pair) Close() {
	if p != nil {
		p.ln.Close()
	}
}

// Tell informs the other daemon of a session of ours. Awaited it leaves at once, promptly
// with Push.
func (p *Pair) Tell(s *Session, r *succession.Record, how Urgency) (due Receipt) {
	if p == nil {
		return due
	}
	at := p.next(s, r)
	var raw []byte
	s.page, raw = p.book.write(s.page, at, r, true, time.Now())
	due = p.out.add(kindRecord, how, at.append(make([]byte, 0, 20)), raw)
	if how == Awaited {
		p.out.push()
	}
	return due
}

// Wait returns when the other daemon has what was awaited, or is known not to answer; Has
// tells which.
func (p *Pair) Wait(due Receipt) {
	if due.done != nil {
		p.waits.Add(1)
		<-due.done
	}
}

// Push sends what Tell was called for promptly.
func (p *Pair) Push() {
	if p != nil {
		p.out.push()
	}
}

// Has reports whether the other daemon has what was awaited, or is gone.
func (p *Pair) Has(due Receipt) bool { return p == nil || p.out.has(due) }

// Keep records the state of a session of ours, without telling the other daemon:
// conntrackd may recreate its entry at any time, and that ends the session.
func (p *Pair) Keep(s *Session, r *succession.Record) {
	if p != nil {
		s.page, _ = p.book.write(s.page, p.next(s, r), r, false, time.Now())
	}
}

// Inherit records what an earlier daemon of this machine has left of a session,
// before the other daemon receives everything. What that one knows is newer,
// unless it is what was handed over.
func (p *Pair) Inherit(s *Session, r *succession.Record) {
	if p == nil || s == nil {
		return
	}
	s.page, _ = p.book.write(s.page, s.inherit(r.Told), r, false, time.Now())
}

// next is the stamp of the next report. It is newer than those of an earlier session
// with the same tuple, also if the clock was set back since.
func (p *Pair) next(s *Session, r *succession.Record) stamp {
	return s.next(func() uint64 { return p.book.gen(expect.Tuple(r.Original)) })
}

// Ended informs the other daemon that a session of ours has ended, also if none of its
// packets has come since conntrackd made its entry anew. open means that neither end has
// closed it: its entry is gone nevertheless, and may come back. The first report on a
// session counts.
func (p *Pair) Ended(s *Session, original, reply expect.Tuple, open bool) {
	if p == nil || s == nil || s.finished.Swap(true) || !p.book.has(original) || s.Standby() && !p.book.ours(original) {
		return
	}
	if open {
		p.book.gone(original, time.Now())
		return
	}
	p.book.end(original, s.last(), time.Now())
	r := succession.Record{Original: succession.Tuple(original), Reply: succession.Tuple(reply)}
	p.out.add(kindEnded, Lazily, s.last().append(nil), succession.AppendRecord(nil, &r))
}

// Entered handles a new entry of a control connection. If the connection has just
// begun, what is known belongs to another one, unless conntrackd has made the entry,
// which is liberal, of what it knew first.
func (p *Pair) Entered(e *expect.Entry) {
	p.entered(e, e.Status&expect.StatusSeenReply != 0) // otherwise its first packet has made it
}

// entered is Entered, and reports whether there is a record. brought says that conntrackd
// has made the entry.
func (p *Pair) entered(e *expect.Entry, brought bool) bool {
	switch {
	case p == nil || !p.book.has(e.Original):
		return false
	case e.TCPState < expect.TCPStateEstablished && !e.Liberal:
		p.book.drop(e.Original)
	case !p.book.entered(e.Original, brought, time.Now()):
		return false
	default:
		own := *e
		p.tasks.put(func() { p.adopt(own.Original, &own) })
	}
	return true
}

// Left handles the end of an entry, after the session that it had. Another session may be
// about to be made of it, as its event is handled later.
func (p *Pair) Left(e *expect.Entry) {
	if p == nil || p.tasks.isIdle() {
		return
	}
	own := *e
	p.tasks.put(func() { p.host.Gone(&own) })
}

// Brought is Entered for an entry that a packet has met before its event was read. It
// waits until that was acted on, and reports whether there is a record of the session.
func (p *Pair) Brought(e *expect.Entry, within time.Duration) bool {
	return p.entered(e, false) && p.Settle(within)
}

// EnteredData handles a new data connection of a session of the other firewall,
// which may be about to be adopted. It reports whether that session is known.
func (p *Pair) EnteredData(e *expect.Entry) bool {
	if p == nil || !p.book.has(e.Master) {
		return false
	}
	own := *e
	p.tasks.put(func() {
		if k := p.book.find(own.Master, time.Now()); k != nil {
			p.host.Data(&own, k)
		}
	})
	return true
}

// Used records that a data connection has begun, of a session of either firewall,
// or that it was answered.
func (p *Pair) Used(original expect.Tuple, data *expect.Entry) {
	if p != nil {
		p.book.used(original, data.Original, data.TCPState >= expect.TCPStateSynRecv, time.Now())
	}
}

// Retell tells the other daemon what was used of a session of ours none of whose packets has
// come since conntrackd made its entry anew: it is told of no other way until then.
func (p *Pair) Retell(s *Session, original expect.Tuple) {
	if p == nil || s == nil {
		return
	}
	if again := s.retold(&p.book, original); again != nil {
		p.out.addPage(again)
	}
}

// Expects reports whether a packet without a conntrack entry belongs to a session
// whose entry may still come.
func (p *Pair) Expects(t expect.Tuple) bool { return p != nil && p.book.expects(t, false, time.Now()) }

// ExpectsLate is Expects for a packet that cannot pass without the entry, and would end its
// connection: the session may be live at the other firewall while this one, as the backup,
// has forgotten it, and conntrackd may not have brought it back yet.
func (p *Pair) ExpectsLate(t expect.Tuple) bool {
	return p != nil && p.book.expects(t, true, time.Now())
}

// Settle waits until everything that has happened so far has been handled.
func (p *Pair) Settle(within time.Duration) bool { return p == nil || p.tasks.settle(within) }

// Alone reports whether the other daemon does not hear us.
func (p *Pair) Alone() bool { return p == nil || !p.out.isUp() }

// learn handles a report of the other daemon on a session.
func (p *Pair) learn(at stamp, ours bool, original, reply expect.Tuple, raw []byte) {
	if news, look := p.book.note(at, ours, original, reply, slices.Clone(raw), time.Now()); news && look {
		p.tasks.add(func() { p.adopt(original, nil) })
	}
}

// adopt makes the host adopt a session that has an entry: the new one, e, or what
// it finds.
func (p *Pair) adopt(original expect.Tuple, e *expect.Entry) {
	isNew := e != nil // with it conntrackd has made the session live
	if e == nil {
		if e = p.host.Entry(original); e == nil {
			p.book.without(original)
			return
		}
	}
	k := p.book.find(original, time.Now())
	if k == nil || expect.Tuple(k.Reply) != e.Reply || !p.host.Adopt(k, e) {
		return
	}
	if again := p.book.live(original); again != nil {
		p.out.addPage(again)
	}
	if isNew {
		p.Took(original)
	}
}

// Took records that a session of the other firewall is live here, by its entry or
// by a packet of it.
func (p *Pair) Took(original expect.Tuple) {
	if p.book.take(original) {
		p.takeOvers.count(time.Now())
	}
}

// learnEnd handles the report that a session of the other firewall has ended.
func (p *Pair) learnEnd(at stamp, original expect.Tuple) {
	p.tasks.add(func() {
		if p.book.end(original, at, time.Now()) {
			p.host.Over(original)
		}
	})
}

// takePlace makes a connection the one over which the other daemon reports, and
// returns what undoes that.
func (p *Pair) takePlace(conn net.Conn, skew time.Duration) (leave func()) {
	p.mu.Lock()
	old := p.served
	p.served = conn
	p.links.heard(skew)
	p.mu.Unlock()
	if old != nil {
		old.Close()
	}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.served == conn {
			p.served = nil
			p.links.unheard()
		}
	}
}

// Stats are the figures of the pair.
type Stats struct {
	Link
	Lag      time.Duration // of the other daemon's last answer
	Records  int           // sessions of this machine that the other one has records of
	Held     int           // sessions that are held for the other machine
	Adopted  uint64        // sessions that became live here, in all
	TakeOver TakeOver      // the last one
	Waits    uint64        // announcements that have waited
}

// Stats returns the figures.
func (p *Pair) Stats() (s Stats) {
	if p == nil {
		return s
	}
	s.Link = p.links.get()
	p.out.mu.Lock()
	s.Lag = p.out.lag
	if p.out.asked > p.out.acked {
		s.Lag = max(s.Lag, time.Since(p.out.asking))
	}
	p.out.mu.Unlock()
	s.Records, s.Held = p.book.count()
	s.TakeOver, s.Adopted = p.takeOvers.get()
	s.Waits = p.waits.Load()
	return s
}
