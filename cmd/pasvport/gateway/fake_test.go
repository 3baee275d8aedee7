// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/metrics"
	"github.com/pasvport/pasvport/cmd/pasvport/report"
	"github.com/pasvport/pasvport/cmd/pasvport/session"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/nfq"
	"github.com/pasvport/pasvport/rules"
)

// fakeKernel replaces conntrack and nftables, as far as the gateway uses them,
// and stores what it is given.
type fakeKernel struct {
	mu           sync.Mutex
	steps        []string                       // operations on our table as a whole, and on what was opened
	fails        map[string]error               // the steps that fail
	rules        rules.Config                   // of the last Reconfigure
	entries      map[expect.Tuple]*expect.Entry // by both tuples
	expected     []expect.Expectation
	adjusted     map[expect.Tuple][2]expect.SeqAdj
	liberal      map[expect.Tuple]bool
	restored     []expect.Forgotten
	timeouts     map[expect.Tuple]time.Duration // timeouts that were set
	elements     []rules.Element
	left         map[uint32]string
	numbered     map[uint32]string
	acks         map[uint32]int
	peers        map[hostPair]bool
	blocked      map[netip.Addr]time.Duration
	ways         map[uint32]rules.Way // of data connections
	wrong        []uint32             // data connections that were ended for their direction
	noAdjust     bool                 // sequence numbers are not adjusted
	noTable      bool                 // no daemon was here before
	refuses      error                // what nftables answers to all that is to be added
	slow         bool                 // events are not handled in time
	beforeGet    func(expect.Tuple)
	beforeAdjust func()
	beforeDelete func()
	beforeOpen   func() // without the lock
	getErr       error  // of every look-up
	inSync       func()
}

func newKernel() *fakeKernel {
	return &fakeKernel{
		entries: map[expect.Tuple]*expect.Entry{}, adjusted: map[expect.Tuple][2]expect.SeqAdj{}, liberal: map[expect.Tuple]bool{},
		left: map[uint32]string{}, numbered: map[uint32]string{}, acks: map[uint32]int{}, peers: map[hostPair]bool{},
		blocked: map[netip.Addr]time.Duration{}, ways: map[uint32]rules.Way{}, fails: map[string]error{}, timeouts: map[expect.Tuple]time.Duration{},
	}
}

// step records a step, and returns its error.
func (k *fakeKernel) step(name string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.steps = append(k.steps, name)
	return k.fails[name]
}

func (k *fakeKernel) Install() error { return k.step("install") }
func (k *fakeKernel) Remove() error  { return k.step("remove") }
func (k *fakeKernel) Leave() error   { return k.step("leave") }
func (k *fakeKernel) Close()         {}

func (k *fakeKernel) RemoveLeftovers() ([]string, error) {
	return []string{"old"}, k.step("remove leftovers")
}

func (k *fakeKernel) Reconfigure(c rules.Config) error {
	k.rules = c
	return k.step("reconfigure")
}

func (k *fakeKernel) Watch(ctx context.Context, _ func(rules.Healing, error)) error {
	<-ctx.Done()
	return k.step("watched")
}

func (k *fakeKernel) Spread(v rules.VirtualServer) error { return k.step("spread " + v.Name) }

func (k *fakeKernel) Parked(rules.VirtualServer) ([]rules.Parked, error) { return nil, nil }

func (k *fakeKernel) CountExpectations() (int, error) { return len(k.expected), nil }

func (k *fakeKernel) enter(e expect.Entry) *expect.Entry {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.entries[e.Original], k.entries[e.Reply] = &e, &e
	return &e
}

func (k *fakeKernel) remove(e *expect.Entry) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.entries, e.Original)
	delete(k.entries, e.Reply)
}

func (k *fakeKernel) Get(t expect.Tuple) (expect.Entry, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.beforeGet != nil {
		k.beforeGet(t)
	}
	if k.getErr != nil {
		return expect.Entry{}, k.getErr
	}
	if e := k.entries[t]; e != nil {
		return *e, nil
	}
	return expect.Entry{}, unix.ENOENT
}

func (k *fakeKernel) Delete(t expect.Tuple) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	e := k.entries[t]
	if e == nil {
		return unix.ENOENT
	}
	delete(k.entries, e.Original)
	delete(k.entries, e.Reply)
	return nil
}

func (k *fakeKernel) Claim(c expect.Claim) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.entries[c.Original] != nil {
		return unix.EEXIST
	}
	e := expect.Entry{Original: c.Original, Reply: c.Original.Reverse(), Master: c.Master, Status: expect.StatusExpected}
	if c.DNAT.IsValid() {
		e.Reply.Src = c.DNAT
	}
	k.entries[e.Original], k.entries[e.Reply] = &e, &e
	return nil
}

func (k *fakeKernel) CreateExpectation(x expect.Expectation) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.expected = append(k.expected, x)
	k.steps = append(k.steps, "expect")
	return nil
}

func (k *fakeKernel) ProlongExpectation(expect.Expectation) error { return nil }

func (k *fakeKernel) DeleteExpectation(master, expected expect.Tuple) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.beforeDelete != nil {
		k.beforeDelete()
	}
	i := slices.IndexFunc(k.expected, func(x expect.Expectation) bool { return x.Dest == expected.Dst })
	if i < 0 {
		return unix.ENOENT
	}
	k.expected = slices.Delete(k.expected, i, i+1)
	return nil
}

func (k *fakeKernel) DumpExpectations(f func(*expect.ExpectationInfo)) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, x := range k.expected {
		f(&expect.ExpectationInfo{Master: x.Master, Expected: x.Tuple(), NAT: x.NAT, Direction: x.Direction,
			To: netip.AddrPortFrom(x.ToAddr, x.ToPort), Timeout: x.Timeout})
	}
	return nil
}

func (k *fakeKernel) SetSeqAdj(t expect.Tuple, d expect.Direction, adj expect.SeqAdj) (id uint32, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.beforeAdjust != nil {
		k.beforeAdjust()
	}
	e := k.entries[t]
	switch {
	case k.noAdjust:
		return 0, expect.ErrNotAdjusted
	case e == nil:
		return 0, unix.ENOENT
	}
	all := k.adjusted[t]
	all[d] = adj
	k.adjusted[t] = all
	return e.ID, nil
}

func (k *fakeKernel) UpdateTimeout(t expect.Tuple, d time.Duration) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.entries[t] == nil {
		return unix.ENOENT
	}
	k.timeouts[t] = d
	return nil
}

// timeout is the timeout that was set for an entry, or zero.
func (k *fakeKernel) timeout(t expect.Tuple) time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.timeouts[t]
}

func (k *fakeKernel) SetLiberal(t expect.Tuple) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.entries[t] == nil {
		return unix.ENOENT
	}
	k.liberal[t] = true
	return nil
}

func (k *fakeKernel) Restore(x expect.Forgotten) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.restored = append(k.restored, x)
	return k.refuses
}

func (k *fakeKernel) dump(expected bool, f func(*expect.Entry)) error {
	k.mu.Lock()
	entries := maps.Clone(k.entries)
	k.mu.Unlock()
	for t, e := range entries {
		if t == e.Original && (e.Status&expect.StatusExpected != 0) == expected {
			f(e)
		}
	}
	return nil
}

func (k *fakeKernel) DumpTo(_ []expect.PortRange, f func(*expect.Entry)) error {
	return k.dump(false, f)
}
func (k *fakeKernel) DumpExpected(f func(*expect.Entry)) error { return k.dump(true, f) }

func (k *fakeKernel) OpenPinhole(p rules.Pinhole) error {
	k.mu.Lock()
	before := k.beforeOpen
	k.mu.Unlock()
	if before != nil {
		before()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.refuses == nil {
		k.close(p) // an existing one is renewed
		k.elements = append(k.elements, rules.Element{Source: p.Source, Dest: p.Dest, Note: p.Note, Expires: p.Timeout})
		k.steps = append(k.steps, "open")
	}
	return k.refuses
}

func (k *fakeKernel) ClosePinhole(p rules.Pinhole) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.close(p)
	return nil
}

func (k *fakeKernel) close(p rules.Pinhole) {
	k.elements = slices.DeleteFunc(k.elements, func(e rules.Element) bool { return e.Source == p.Source && e.Dest == p.Dest })
}

func (k *fakeKernel) Elements() ([]rules.Element, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.elements), nil
}

func (k *fakeKernel) Exists() (bool, error) { return !k.noTable, nil }

func (k *fakeKernel) LeaveAlone(id uint32, note string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.left[id] = note
	return k.refuses
}

func (k *fakeKernel) TakeUp(id uint32) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.left, id)
	return nil
}

func (k *fakeKernel) LeftAlone() (map[uint32]string, error) { return k.left, nil }

// fakeDirections are the directions of a fakeKernel.
type fakeDirections struct{ k *fakeKernel }

func (d fakeDirections) Direct(id uint32, w rules.Way) error {
	d.k.mu.Lock()
	defer d.k.mu.Unlock()
	if d.k.ways[id] = w; w == rules.WayAny {
		delete(d.k.ways, id)
	}
	return nil
}

func (d fakeDirections) All() (map[uint32]rules.Way, error) { return maps.Clone(d.k.ways), nil }

func (d fakeDirections) Ended() ([]uint32, error) { return d.k.wrong, nil }

func (k *fakeKernel) Renumber(id uint32, note string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.refuses == nil {
		k.numbered[id] = note
	}
	return k.refuses
}

func (k *fakeKernel) Forget(id uint32) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.numbered, id)
	return nil
}

func (k *fakeKernel) Renumbered() (map[uint32]string, error) { return k.numbered, nil }

func (k *fakeKernel) ShowAcks(id uint32) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.acks[id]++
	return nil
}

func (k *fakeKernel) AllowPeer(client, dialled netip.Addr) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.peers[hostPair{client, dialled}] = true
	return nil
}

func (k *fakeKernel) ForgetPeer(client, dialled netip.Addr) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.peers, hostPair{client, dialled})
	return nil
}

func (k *fakeKernel) Block(client netip.Addr, d time.Duration) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.blocked[client] = d
	return k.refuses
}

func (k *fakeKernel) Unblock(client netip.Addr) (bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, was := k.blocked[client]
	delete(k.blocked, client)
	return was, nil
}

func (k *fakeKernel) Blocked() (list []rules.Blocked, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for c, d := range k.blocked {
		list = append(list, rules.Blocked{Client: rules.BlockedPrefix(c), Expires: d})
	}
	return list, nil
}

// fakeEvents are what the kernel reports.
type fakeEvents struct {
	k     *fakeKernel
	come  chan expect.Event
	late  []expect.Event // events that arrive when they are no longer read
	ports []expect.PortRange
}

// Sync does not wait: inSync does what events would do.
func (e *fakeEvents) Sync(time.Duration) bool {
	if e.k.inSync != nil {
		e.k.inSync()
	}
	return !e.k.slow
}

func (e *fakeEvents) Run(ctx context.Context, f func(*expect.Event)) error {
	for {
		select {
		case <-ctx.Done():
			return e.k.step("not watched")
		case happened := <-e.come:
			if happened.Type == 0 {
				return errBroken
			}
			f(&happened)
		}
	}
}

func (e *fakeEvents) Drain(f func(*expect.Event)) error {
	for i := range e.late {
		f(&e.late[i])
	}
	return nil
}

func (e *fakeEvents) SetPorts(ports []expect.PortRange) error {
	e.ports = ports
	return e.k.step("follow ports")
}

func (e *fakeEvents) Close() error { return nil }

var errBroken = errors.New("broken")

// fakeQueue holds the verdicts by packet.
type fakeQueue struct {
	k        *fakeKernel
	come     chan *nfq.Packet
	wakes    chan struct{} // of capacity 1
	verdicts map[uint32][]string
	data     map[uint32][]byte
	err      error
	flushes  int
	marks    atomic.Uint32
	late     bool // marks do not come
}

func newQueue(k *fakeKernel) *fakeQueue {
	return &fakeQueue{
		k: k, come: make(chan *nfq.Packet), wakes: make(chan struct{}, 1), verdicts: map[uint32][]string{}, data: map[uint32][]byte{},
	}
}

func (q *fakeQueue) Run(ctx context.Context, h nfq.Handler) error {
	_ = q.k.step("serve")
	for {
		select {
		case <-ctx.Done():
			return q.k.step("not served")
		case p := <-q.come:
			h.Packet(p)
		case <-q.wakes:
			h.Wake(time.Now())
		}
	}
}

func (q *fakeQueue) Num() uint16 { return 40000 } // no other has it
func (q *fakeQueue) Stats() nfq.Stats {
	return nfq.Stats{Packets: uint64(len(q.verdicts)), Malformed: 1}
}
func (q *fakeQueue) Detach() (fd int, err error) { return unix.Dup(0) }
func (q *fakeQueue) Close() error                { return nil }

func (q *fakeQueue) give(id uint32, v string) error {
	q.verdicts[id] = append(q.verdicts[id], v)
	return q.err
}

func (q *fakeQueue) Accept(id uint32) error      { return q.give(id, "accept") }
func (q *fakeQueue) AcceptLater(id uint32) error { return q.give(id, "accept") }
func (q *fakeQueue) Drop(id uint32) error        { return q.give(id, "drop") }
func (q *fakeQueue) RepeatData(id uint32, data []byte) error {
	q.data[id] = slices.Clone(data)
	return q.give(id, "repeat")
}

func (q *fakeQueue) AcceptData(id uint32, data []byte) error {
	q.data[id] = slices.Clone(data)
	return q.give(id, "changed")
}

func (q *fakeQueue) Flush() error {
	q.flushes++
	return q.err
}

func (q *fakeQueue) Interrupt()   { signal(q.wakes) }
func (q *fakeQueue) Mark() uint32 { return q.marks.Add(1) }

// Marked counts all marks as come, unless they are late.
func (q *fakeQueue) Marked() uint32 {
	if q.late {
		return 0
	}
	return q.marks.Load()
}

// logbook is a log whose lines a test can search.
type logbook struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logbook) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

// has reports whether a line contains all these words.
func (l *logbook) has(words ...string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.b.String()) {
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
			return true
		}
	}
	return false
}

// bench is a gateway without a kernel, with one queue.
type bench struct {
	*life
	g   *Gateway
	t   *testing.T
	k   *fakeKernel
	ev  *fakeEvents
	q   *fakeQueue
	log *logbook
	w   *worker
	ids uint32 // of packets
}

// newBench returns a bench whose configuration edit changes.
func newBench(t *testing.T, edit func(*config.Config)) *bench {
	cfg := config.Default()
	cfg.LogSessions, cfg.LogTransfers = true, true
	if edit != nil {
		edit(&cfg)
	}
	return newBenchOn(t, newKernel(), cfg)
}

// newBenchOn returns a bench on a kernel.
func newBenchOn(t *testing.T, k *fakeKernel, cfg config.Config) *bench {
	b := &bench{t: t, k: k, ev: &fakeEvents{k: k, come: make(chan expect.Event)}, q: newQueue(k), log: &logbook{}}
	log := slog.New(slog.NewTextHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	g := New(cfg, log, metrics.New(report.Reasons()))
	b.g, b.life = g, g.life
	g.dial = func() (conntrack, error) { return k, nil }
	g.plan.rules = cfg.Rules()
	g.plan.rules.Claim = true
	g.firewall, g.events, g.nft, g.ct, g.directions = k, b.ev, k, k, fakeDirections{k}
	g.pinholes.Firewall, g.pinholes.Ways.Kernel, g.pinholes.Claims = k, g.directions, true
	g.ports.add(cfg)
	g.older.ids = map[uint32]struct{}{} // they were listed, and there were none
	table := new(session.Table)
	g.registry.queues = append(g.registry.queues, table)
	b.w = newWorker(g.life, g.offers, g.older, k, b.q, table)
	g.lanes = lanes{{worker: b.w, queue: b.q, ct: k}}
	return b
}

// logs fails the test unless a line of the log contains all these words.
func (b *bench) logs(words ...string) {
	b.t.Helper()
	if !b.log.has(words...) {
		b.t.Errorf("no line of the log has %q:\n%s", words, b.log.b.String())
	}
}

// link is a control connection of a bench.
type link struct {
	b     *bench
	entry *expect.Entry
	next  [2]uint32 // sequence numbers
	seen  [2]uint32 // what the other end acknowledges
}

func ap(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// entryOf is the entry of a control connection to a translated server.
func entryOf(id uint32) expect.Entry {
	client := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(id)}), 40000)
	return expect.Entry{
		ID: id, Original: expect.Tuple{Src: client, Dst: ap("203.0.113.1:21")},
		Reply:  expect.Tuple{Src: ap("10.0.0.2:21"), Dst: client},
		Status: expect.StatusSeenReply, TCPState: expect.TCPStateEstablished, Helper: session.CarrierName,
	}
}

// plainEntry is the entry of a control connection that is not translated and has
// no carrier.
func plainEntry(id uint32) expect.Entry {
	e := entryOf(id)
	e.Reply.Src, e.Helper = e.Original.Dst, ""
	return e
}

// dataOf is the entry of a data connection to a port that a server has announced.
func dataOf(l *link, port uint16) expect.Entry {
	client, at := l.entry.Original.Src.Addr(), netip.AddrPortFrom(l.entry.Original.Dst.Addr(), port)
	to := expect.Tuple{Src: netip.AddrPortFrom(client, 41000), Dst: at}
	return expect.Entry{
		ID: 9, Original: to, Reply: expect.Tuple{Src: netip.AddrPortFrom(l.entry.Reply.Src.Addr(), port), Dst: to.Src},
		Master: l.entry.Original, Status: expect.StatusExpected, HasCounters: true,
	}
}

// connect makes a control connection.
func (b *bench) connect(e expect.Entry) *link {
	return &link{b: b, entry: b.k.enter(e), next: [2]uint32{1000, 5000}, seen: [2]uint32{1000, 5000}}
}

const (
	client = 0 // what it sends is in the original direction
	server = 1
)

// packet is a packet from one end.
func (l *link) packet(from int, text string, flags uint8) *nfq.Packet {
	t := [2]expect.Tuple{l.entry.Original, l.entry.Reply}[from]
	p := packetOf(l.b.t, t, l.next[from], l.next[1-from], text, flags)
	l.b.ids++
	p.ID = l.b.ids
	return p
}

func packetOf(t *testing.T, tuple expect.Tuple, seq, ack uint32, text string, flags uint8) *nfq.Packet {
	var p nfq.Packet
	err := nfq.ParsePacket(&p, nfq.AppendSegment(nil, &nfq.Segment{Src: tuple.Src, Dst: tuple.Dst, Seq: seq, Ack: ack, Flags: flags, Window: 500}))
	if err != nil {
		t.Fatal(err)
	}
	data, err := nfq.AppendSpliced(nil, &p, []byte(text))
	if err == nil {
		err = nfq.ParsePacket(&p, data)
	}
	if err != nil {
		t.Fatal(err)
	}
	p.Zone = tuple.Zone
	return &p
}

// say sends a text from one end, and returns the verdict and what was forwarded.
func (l *link) say(from int, text string) (verdict, sent string) {
	l.b.t.Helper()
	p := l.packet(from, text, nfq.FlagACK|nfq.FlagPSH)
	l.next[from] += uint32(len(text))
	return l.b.handle(p)
}

// handle makes the worker handle a packet.
func (b *bench) handle(p *nfq.Packet) (verdict, sent string) {
	b.t.Helper()
	text := string(p.Payload)
	b.w.Packet(p)
	return b.verdict(p.ID, text)
}

func (b *bench) verdict(id uint32, text string) (verdict, sent string) {
	b.t.Helper()
	switch v := b.q.verdicts[id]; len(v) {
	case 0:
		return "held", ""
	case 1:
		verdict = v[0]
	default:
		b.t.Errorf("packet %d has the verdicts %q", id, v)
	}
	if data, changed := b.q.data[id]; changed {
		var p nfq.Packet
		if err := nfq.ParsePacket(&p, data); err != nil {
			b.t.Fatal(err)
		}
		text = string(p.Payload)
	}
	return verdict, text
}

// accepts sends a text that passes unchanged.
func (l *link) accepts(from int, text string) {
	l.b.t.Helper()
	if v, sent := l.say(from, text); v != "accept" || sent != text {
		l.b.t.Errorf("%q: %s, forwarded as %q", text, v, sent)
	}
}

// logIn is the beginning of every dialogue.
func (l *link) logIn() {
	l.b.t.Helper()
	l.accepts(server, "220 ready\r\n")
	l.accepts(client, "USER ada\r\n")
	l.accepts(server, "331 password\r\n")
	l.accepts(client, "PASS secret\r\n")
	l.accepts(server, "230 welcome\r\n")
}

// passive announces a port of the server, and returns what the client receives.
func (l *link) passive(port int) string {
	l.b.t.Helper()
	l.accepts(client, "PASV\r\n")
	_, sent := l.say(server, fmt.Sprintf("227 Entering Passive Mode (%s,%d,%d).\r\n",
		strings.ReplaceAll(l.entry.Reply.Src.Addr().String(), ".", ","), port>>8, port&255))
	return sent
}

// announced is a connection whose client has logged in, and to whom port 50000 was
// announced.
func (b *bench) announced(e expect.Entry) *link {
	b.t.Helper()
	l := b.connect(e)
	l.logIn()
	l.passive(50000)
	return l
}

// session returns the session of a connection.
func (l *link) session() *session.Session { return l.b.registry.session(l.entry.Original) }

func portRange(port uint16) rules.PortRange { return rules.PortRange{Low: port, High: port} }
