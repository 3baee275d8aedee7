// SPDX-License-Identifier: Apache-2.0

package pinhole

import (
	"errors"
	"log/slog"
	"net/netip"
	"sync"

	"github.com/pasvport/pasvport/cmd/pasvport/report"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/rules"
)

// Conntrack is the part of connection tracking that pinholes need. Each belongs
// to one goroutine; *expect.Conn implements it.
type Conntrack interface {
	Get(expect.Tuple) (expect.Entry, error)
	Delete(original expect.Tuple) error
	Claim(expect.Claim) error
	CreateExpectation(expect.Expectation) error
	ProlongExpectation(expect.Expectation) error
	DeleteExpectation(master, expected expect.Tuple) error
	DumpExpectations(func(*expect.ExpectationInfo)) error
}

// Firewall is the part of nftables that pinholes need. *rules.Firewall implements
// it.
type Firewall interface {
	OpenPinhole(rules.Pinhole) error
	ClosePinhole(rules.Pinhole) error
}

// Limits limit the pinholes that are reserved or open.
type Limits struct {
	All    int
	Client int // of one client
}

// Events receives what happens to pinholes. Its methods are called without a
// lock, by the goroutine that caused it.
type Events interface {
	// PinholeOpened: p was announced, or is about to be used without.
	PinholeOpened(p *Pinhole)
	// PinholeUsed: the data connection of p began. The kernel has closed p after
	// it.
	PinholeUsed(p *Pinhole)
	// PinholeEnded: p was closed unused, and is in one of the states after Used.
	// why is empty or says what closed it.
	PinholeEnded(p *Pinhole, why string)
}

// Table has the pinholes that are reserved or open, by key, and the data
// connections that came through some.
type Table struct {
	Data     Data
	Ways     Ways
	Firewall Firewall // set before the first pinhole
	Claims   bool     // pinholes may be claimed; set with it

	// Client returns what identifies the client with an address, for the limit
	// per client. It does not change; nil: the address itself.
	Client func(netip.Addr) netip.Addr

	events Events
	report *report.Reporter

	halves halves

	mu  sync.Mutex
	by  map[Key]*Pinhole
	per map[netip.Addr]int // number per client
}

// NewTable returns an empty table.
func NewTable(events Events, r *report.Reporter) *Table {
	t := &Table{events: events, report: r, by: map[Key]*Pinhole{}, per: map[netip.Addr]int{}, Data: newData()}
	t.halves.init()
	t.Ways = newWays(t)
	return t
}

// warn reports that something could not be done for a control connection.
func (t *Table) warn(o *Owner, msg string, args ...any) {
	t.report.Report(slog.LevelWarn, o.Subject(), msg, args...)
}

// Errors of Open when it opens nothing. The kernel's own errors are returned
// unchanged.
var (
	ErrTooMany       = errors.New("too many pinholes")
	ErrTooManyClient = errors.New("too many pinholes of one client")
	// ErrNoCarrier means that the control connection takes no expectations and
	// claims are not in use.
	ErrNoCarrier = errors.New("no carrier")
	// ErrTaken means that another pinhole has the key.
	ErrTaken = errors.New("another pinhole has the port")
	// ErrNoPort means that no port is left to announce.
	ErrNoPort = errors.New("no free port")
)

// reserve enters p, unless its key is taken: then it returns the pinhole that has
// it. Above a limit it enters nothing.
func (t *Table) reserve(p *Pinhole, most Limits) (other *Pinhole, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	client := t.client(p.Owner)
	switch other := t.by[p.Key]; {
	case other != nil:
		return other, nil
	case len(t.by) >= most.All:
		return nil, ErrTooMany
	case t.per[client] >= most.Client:
		return nil, ErrTooManyClient
	}
	t.by[p.Key] = p
	t.per[client]++
	return nil, nil
}

// take removes p, which then is in the given state, and reports whether it was
// there; nil is not. The caller does what is left to do in the kernel.
func (t *Table) take(p *Pinhole, to State) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p == nil || t.by[p.Key] != p {
		return false
	}
	delete(t.by, p.Key)
	client := t.client(p.Owner)
	if t.per[client]--; t.per[client] == 0 {
		delete(t.per, client)
	}
	if p.Owner.open == p {
		p.Owner.open = nil
	}
	p.state.Store(uint32(to))
	return true
}

// client is the client to whose limit an owner's pinholes count.
func (t *Table) client(o *Owner) netip.Addr {
	a := o.Ends.Client.Addr()
	if t.Client == nil {
		return a
	}
	return t.Client(a)
}

// find returns the pinhole with a key, or nil.
func (t *Table) find(k Key) *Pinhole {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.by[k]
}

// Awaits reports whether a pinhole is open for a data connection.
func (t *Table) Awaits(data expect.Tuple) bool {
	p := t.find(Key{data.Src.Addr(), data.Dst})
	return p != nil && (p.Port == 0 || p.Port == data.Src.Port())
}

// Of returns the open pinhole of an owner, or nil.
func (t *Table) Of(o *Owner) *Pinhole {
	t.mu.Lock()
	defer t.mu.Unlock()
	return o.open
}

// Fullest returns the largest number of pinholes that are reserved or open for
// one client.
func (t *Table) Fullest() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	most := 0
	for _, n := range t.per {
		most = max(most, n)
	}
	return most
}

// All returns the pinholes that are reserved or open.
func (t *Table) All() []*Pinhole {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]*Pinhole, 0, len(t.by))
	for _, p := range t.by {
		list = append(list, p)
	}
	return list
}
