// SPDX-License-Identifier: Apache-2.0

package pinhole

import (
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/cmd/pasvport/report"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/rules"
)

// kernel is a fake of conntrack and nftables that stores what it is given, and
// refuses what the real ones refuse.
type kernel struct {
	mu       sync.Mutex
	expected map[expect.Tuple]expect.Expectation
	room     int                           // for expectations; 0: unlimited
	entries  map[expect.Tuple]expect.Entry // by both tuples
	elements map[rules.Pinhole]int         // number of times opened
	ways     map[uint32]rules.Way          // of data connections
	first    map[first]rules.Way           // of those to come
	calls    []string
}

func newKernel() *kernel {
	return &kernel{expected: map[expect.Tuple]expect.Expectation{}, entries: map[expect.Tuple]expect.Entry{}, elements: map[rules.Pinhole]int{}, ways: map[uint32]rules.Way{}, first: map[first]rules.Way{}}
}

func (k *kernel) call(format string, args ...any) {
	k.calls = append(k.calls, fmt.Sprintf(format, args...))
}

// wild is a tuple without its source port, which pinholes do not name.
func wild(t expect.Tuple) expect.Tuple {
	t.Src = netip.AddrPortFrom(t.Src.Addr(), 0)
	return t
}

func (k *kernel) CreateExpectation(x expect.Expectation) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.call("expect %v", x.Dest)
	switch _, exists := k.expected[wild(x.Tuple())]; {
	case exists:
		return unix.EEXIST
	case k.room > 0 && len(k.expected) >= k.room:
		return unix.EMFILE
	}
	k.expected[wild(x.Tuple())] = x
	return nil
}

func (k *kernel) ProlongExpectation(x expect.Expectation) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.expected[wild(x.Tuple())]; !ok {
		return unix.ENOENT
	}
	k.expected[wild(x.Tuple())] = x
	return nil
}

func (k *kernel) DeleteExpectation(master, expected expect.Tuple) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	x, ok := k.expected[wild(expected)]
	if !ok || x.Master != master {
		return unix.ENOENT
	}
	delete(k.expected, wild(expected))
	return nil
}

func (k *kernel) DumpExpectations(f func(*expect.ExpectationInfo)) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for t, x := range k.expected {
		f(&expect.ExpectationInfo{Master: x.Master, Expected: t})
	}
	return nil
}

func (k *kernel) Get(t expect.Tuple) (expect.Entry, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	e, ok := k.entries[t]
	if !ok {
		return e, unix.ENOENT
	}
	return e, nil
}

func (k *kernel) Delete(original expect.Tuple) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	e, ok := k.entries[original]
	if !ok {
		return unix.ENOENT
	}
	k.call("delete %v", original)
	delete(k.entries, e.Original)
	delete(k.entries, e.Reply)
	return nil
}

func (k *kernel) Claim(c expect.Claim) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.call("claim %v snat %v dnat %v", c.Original, c.SNAT, c.DNAT)
	e := expect.Entry{Original: c.Original, Reply: c.Original.Reverse(), Master: c.Master, Mark: c.Mark}
	if c.DNAT.IsValid() {
		e.Reply.Src = c.DNAT
	}
	if c.SNAT.IsValid() {
		port := c.SNAT.Port()
		if port == 0 {
			port = 50000 + uint16(len(k.entries))
		}
		e.Reply.Dst = netip.AddrPortFrom(c.SNAT.Addr(), port)
	}
	for _, t := range []expect.Tuple{e.Original, e.Reply} {
		if _, exists := k.entries[t]; exists {
			return unix.EEXIST
		}
	}
	k.enter(e)
	return nil
}

func (k *kernel) enter(e expect.Entry) { k.entries[e.Original], k.entries[e.Reply] = e, e }

// first is what the first packet of a data connection shows.
type first = struct {
	Src netip.Addr
	Dst netip.AddrPort
}

func element(p rules.Pinhole) rules.Pinhole {
	p.Timeout, p.Note, p.Way, p.First = 0, "", rules.WayAny, first{}
	return p
}

func (k *kernel) OpenPinhole(p rules.Pinhole) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if p.Way != rules.WayAny {
		k.first[p.First] = p.Way
	}
	if e := element(p); e != (rules.Pinhole{}) {
		k.elements[e]++
	}
	return nil
}

func (k *kernel) ClosePinhole(p rules.Pinhole) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if p.Way != rules.WayAny {
		delete(k.first, p.First)
	}
	delete(k.elements, element(p))
	return nil
}

func (k *kernel) Direct(id uint32, w rules.Way) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ways[id] = w; w == rules.WayAny {
		delete(k.ways, id)
	}
	return nil
}

// empty fails a test if the kernel still holds something of a pinhole.
func (k *kernel) empty(t *testing.T) {
	t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.expected)+len(k.elements)+len(k.first) > 0 {
		t.Errorf("the kernel still has the expectations %v, the elements %v and the ways %v", k.expected, k.elements, k.first)
	}
}

// diary records the events.
type diary struct {
	mu                   sync.Mutex
	lines                []string
	opened, used, unused int
}

func (d *diary) note(p *Pinhole, word, why string) {
	line := fmt.Sprintf("%s %s %v", word, p.State(), p.Public)
	if why != "" {
		line += " " + why
	}
	d.lines = append(d.lines, line)
}

func (d *diary) PinholeOpened(p *Pinhole) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.opened++
	d.note(p, "opened:", "")
}

func (d *diary) PinholeUsed(p *Pinhole) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.used++
	d.note(p, "used:", "")
}

func (d *diary) PinholeEnded(p *Pinhole, why string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.unused++
	d.note(p, "ended:", why)
}

// bench is a table with a kernel of its own.
type bench struct {
	*Table
	k    *kernel
	d    *diary
	now  time.Time
	most Limits
}

func newBench() *bench {
	b := &bench{k: newKernel(), d: &diary{}, now: time.Unix(1000, 0), most: Limits{1000, 1000}}
	b.Table = NewTable(b.d, &report.Reporter{Log: slog.New(slog.DiscardHandler)})
	b.Firewall, b.Ways.Kernel, b.Claims = b.k, b.k, true
	return b
}

var (
	client = netip.MustParseAddr("192.0.2.1")
	server = netip.MustParseAddr("203.0.113.2")
	public = netip.MustParseAddr("198.51.100.9") // of the client, translated
)

// owner is a control connection that can have expectations.
func owner(id int, seenAs netip.Addr) *Owner {
	port := uint16(40000 + id)
	return &Owner{ID: uint32(id), Carrier: true, Ends: &ftpalg.Endpoints{
		Client: netip.AddrPortFrom(client, port), SeenAs: netip.AddrPortFrom(seenAs, port),
		Dialled: netip.AddrPortFrom(server, 21), Server: netip.AddrPortFrom(server, 21),
	}}
}

// passive is what a server announces to an untranslated client, active what a
// client behind a translation announces.
func passive(port uint16) Spec {
	to := netip.AddrPortFrom(server, port)
	return Spec{Key: Key{client, to}, Target: to, Mode: ftpalg.Passive, Timeout: time.Minute}
}

func active(port uint16) Spec {
	return Spec{Key: Key{server, netip.AddrPortFrom(public, port)}, Target: netip.AddrPortFrom(client, port), Mode: ftpalg.Active, NAT: true, Timeout: time.Minute}
}

func (b *bench) open(o *Owner, want Spec) (*Pinhole, error) {
	p, err := b.Open(b.k, o, want, b.most, b.now, func() {})
	if err == nil {
		b.Announced(p)
	}
	return p, err
}

// begins makes the data connection of a pinhole begin.
func (b *bench) begins(p *Pinhole, port uint16) expect.Tuple {
	t := expect.Tuple{Src: netip.AddrPortFrom(p.Source, port), Dst: p.Public}
	b.k.mu.Lock()
	delete(b.k.expected, wild(t))
	b.k.mu.Unlock()
	b.Begins(&expect.Entry{Original: t, Master: p.Owner.Original()}, p.Owner)
	return t
}
