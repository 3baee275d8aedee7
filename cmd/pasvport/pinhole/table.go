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

// Conntrack is what pinholes need of connection tracking. One belongs to one
// goroutine; *expect.Conn is one.
type Conntrack interface {
	Get(expect.Tuple) (expect.Entry, error)
	Delete(original expect.Tuple) error
	Claim(expect.Claim) error
	CreateExpectation(expect.Expectation) error
	ProlongExpectation(expect.Expectation) error
	DeleteExpectation(master, expected expect.Tuple) error
	DumpExpectations(func(*expect.ExpectationInfo)) error
}

// Firewall is what pinholes need of nftables. *rules.Firewall is one.
type Firewall interface {
	OpenPinhole(rules.Pinhole) error
	ClosePinhole(rules.Pinhole) error
}

// Limits bound the pinholes that are reserved or open.
type Limits struct {
	All    int
	Client int // of one client
}

// Events learns what happens to pinholes. Its methods are called without a
// lock, by the goroutine that caused it.
type Events interface {
	// PinholeOpened: p was announced, or is about to be used without.
	PinholeOpened(p *Pinhole)
	// PinholeUsed: the data connection of p came. The kernel has closed p
	// behind it.
	PinholeUsed(p *Pinhole)
	// PinholeEnded: p was closed unused, and is in one of the states behind
	// Used. why is empty or says what closed it.
	PinholeEnded(p *Pinhole, why string)
}

// Table are the pinholes that are reserved or open, by key, and the data
// connections that came through some.
type Table struct {
	Data     Data
	Ways     Ways
	Firewall Firewall // set before the first pinhole
	Claims   bool     // pinholes may be by claim; set with it

	// Client returns what stands for the client that has an address, in the limit
	// of each. It does not change; nil stands for the address itself.
	Client func(netip.Addr) netip.Addr

	events Events
	report *report.Reporter

	halves halves

	mu  sync.Mutex
	by  map[Key]*Pinhole
	per map[netip.Addr]int // how many, by client
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

// What Open returns where it opens nothing. The kernel's own errors come as
// they are.
var (
	ErrTooMany       = errors.New("too many pinholes")
	ErrTooManyClient = errors.New("too many pinholes of one client")
	// ErrNoCarrier says that the control connection takes no expectations and
	// claims are not in use.
	ErrNoCarrier = errors.New("no carrier")
	// ErrTaken says that another pinhole has the key.
	ErrTaken = errors.New("another pinhole has the port")
	// ErrNoPort says that no port is left to announce.
	ErrNoPort = errors.New("no free port")
)

// reserve enters p, unless its key is taken: then it returns who has it. Beyond
// a limit it enters nothing.
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

// take takes p out, which then is in the given state, and reports whether it
// was there; nil is not. The caller does what is to be done in the kernel.
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

// client is for whom the pinholes of an owner count.
func (t *Table) client(o *Owner) netip.Addr {
	a := o.Ends.Client.Addr()
	if t.Client == nil {
		return a
	}
	return t.Client(a)
}

// find returns the pinhole with a key, nil if none.
func (t *Table) find(k Key) *Pinhole {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.by[k]
}

// Of returns the open pinhole of an owner, nil if none.
func (t *Table) Of(o *Owner) *Pinhole {
	t.mu.Lock()
	defer t.mu.Unlock()
	return o.open
}

// Fullest returns how many pinholes are reserved or open for one client, the client
// that has most.
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
