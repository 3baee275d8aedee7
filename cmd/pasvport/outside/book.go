// SPDX-License-Identifier: Apache-2.0

package outside

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
)

// Book has the sources of addresses that a configuration names. Its methods are
// safe for concurrent use.
type Book struct {
	log  *slog.Logger
	find Finder
	wake chan struct{} // there are other sources

	mu    sync.Mutex
	known map[key]*source
}

// key is what is looked up: a name or an interface, for one address family.
type key struct {
	config.Outside
	is4 bool
}

// Finder finds addresses; System returns the one of this machine.
type Finder struct {
	// Name looks a DNS name up, and returns for how long the answer holds; 0 if
	// unknown.
	Name func(ctx context.Context, name string, is4 bool) ([]netip.Addr, time.Duration, error)
	// Interface returns the addresses of an interface that others can use.
	Interface func(name string, is4 bool) ([]netip.Addr, error)
	// Changes sends when addresses of interfaces may have changed, until ctx ends.
	Changes func(ctx context.Context) <-chan struct{}
}

// New returns a book without a source.
func New(log *slog.Logger, f Finder) *Book {
	return &Book{log: log, find: f, wake: make(chan struct{}, 1), known: map[key]*source{}}
}

// source is one of them.
type source struct {
	key
	addr  atomic.Pointer[netip.Addr] // nil until one was found
	tried chan struct{}              // closed when it was looked up once
	poke  chan struct{}              // look it up now

	mu    sync.Mutex
	state State
}

// State is the state of a source.
type State struct {
	Of      string        // the source in the form of the configuration
	Address netip.Addr    // the current address; invalid if none was found yet
	Found   time.Time     // when that was found last
	Next    time.Time     // when it is looked up again
	Err     error         // of the last look-up; nil: it succeeded
	TTL     time.Duration // of the last answer
}

// Addresses are those of a configuration; it implements ftpalg.Addresses.
type Addresses map[netip.Addr]outside

// outside is a fixed address, or one that a source has.
type outside struct {
	addr netip.Addr
	from *source
}

// Outside implements ftpalg.Addresses.
func (a Addresses) Outside(inside netip.Addr) (netip.Addr, bool) {
	o, ok := a[inside]
	if ok && o.from != nil {
		if p := o.from.addr.Load(); p != nil {
			return *p, true
		}
		return netip.Addr{}, false
	}
	return o.addr, ok
}

// Of returns the addresses of a setting of advertise. Its sources are looked up
// from the next Use on.
func (b *Book) Of(list map[netip.Addr]config.Outside) Addresses {
	b.mu.Lock()
	defer b.mu.Unlock()
	a := Addresses{}
	for inside, out := range list {
		if out.Addr.IsValid() {
			a[inside] = outside{addr: out.Addr}
			continue
		}
		a[inside] = outside{from: b.source(key{out, inside.Is4()})}
	}
	return a
}

// source returns that of a key.
func (b *Book) source(k key) *source {
	s := b.known[k]
	if s == nil {
		s = &source{key: k, tried: make(chan struct{}), poke: make(chan struct{}, 1)}
		s.state.Of = k.String()
		b.known[k] = s
	}
	return s
}

// Use makes the sources of these configurations be looked up, and no others.
func (b *Book) Use(all ...map[netip.Addr]config.Outside) {
	used := map[key]bool{}
	for _, list := range all {
		for inside, out := range list {
			used[key{out, inside.Is4()}] = true
		}
	}
	b.mu.Lock()
	maps.DeleteFunc(b.known, func(k key, _ *source) bool { return !used[k] })
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// Wait waits until each source was looked up once, but no longer than d. It
// returns those that have no address yet.
func (b *Book) Wait(ctx context.Context, d time.Duration) (without []string) {
	late := time.NewTimer(d)
	defer late.Stop()
	for _, s := range b.sources() {
		select {
		case <-s.tried:
		case <-late.C:
			late.Reset(0)
		case <-ctx.Done():
		}
		if s.addr.Load() == nil {
			without = append(without, s.String())
		}
	}
	return without
}

// States are those of all sources.
func (b *Book) States() (list []State) {
	for _, s := range b.sources() {
		list = append(list, s.now())
	}
	return list
}

// sources are all of them, in the order of their text.
func (b *Book) sources() []*source {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.SortedFunc(maps.Values(b.known), func(x, y *source) int {
		return cmp.Or(cmp.Compare(x.String(), y.String()), cmp.Compare(x.bits(), y.bits()))
	})
}

// bits is the length of its addresses.
func (k key) bits() int {
	if k.is4 {
		return 32
	}
	return 128
}

func (s *source) now() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}
