// SPDX-License-Identifier: Apache-2.0

package outside

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// lookupTimeout limits one look-up.
	lookupTimeout = 5 * time.Second
	// Names are looked up again when their answer expires, within these limits;
	// leastTTL after a failure, then twice that and so on.
	leastTTL, mostTTL = 5 * time.Second, time.Hour
	// unknownTTL is for answers without a lifetime, for instance from the hosts
	// file.
	unknownTTL = time.Minute
	// interfaceEvery is how often interfaces are read without an event.
	interfaceEvery = 30 * time.Second
)

var errNone = errors.New("it has no address of that family")

// Run looks sources up until ctx ends.
func (b *Book) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	running := map[*source]context.CancelFunc{}
	defer func() {
		for _, stop := range running {
			stop()
		}
	}()
	var changes <-chan struct{}
	for {
		sources := b.sources()
		for s, stop := range running {
			if !slices.Contains(sources, s) {
				stop()
				delete(running, s)
			}
		}
		for _, s := range sources {
			if running[s] != nil {
				continue
			}
			if changes == nil && s.Interface != "" {
				changes = b.find.Changes(ctx)
			}
			own, stop := context.WithCancel(ctx)
			running[s] = stop
			wg.Go(func() { b.keep(own, s) })
		}
		select {
		case <-ctx.Done():
			return nil
		case <-b.wake:
		case <-changes:
			for s := range running {
				if s.Interface == "" {
					continue
				}
				select {
				case s.poke <- struct{}{}:
				default:
				}
			}
		}
	}
}

// keep looks a source up repeatedly.
func (b *Book) keep(ctx context.Context, s *source) {
	failures := 0
	for {
		addrs, ttl, err := b.look(ctx, s)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			failures++
		} else {
			failures = 0
		}
		wait := pause(s, ttl, failures)
		b.note(s, addrs, ttl, err, time.Now().Add(wait), failures == 1)
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-s.poke:
			t.Stop()
		case <-t.C:
		}
	}
}

// pause is the time until a source is looked up again.
func pause(s *source, ttl time.Duration, failures int) time.Duration {
	switch {
	case s.Interface != "":
		return interfaceEvery
	case failures > 0:
		return min(leastTTL<<min(failures-1, 10), unknownTTL)
	case ttl == 0:
		return unknownTTL
	}
	return min(max(ttl, leastTTL), mostTTL)
}

// look looks a source up once.
func (b *Book) look(ctx context.Context, s *source) (addrs []netip.Addr, ttl time.Duration, err error) {
	if s.Interface != "" {
		addrs, err = b.find.Interface(s.Interface, s.is4)
	} else {
		ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
		defer cancel()
		addrs, ttl, err = b.find.Name(ctx, s.Name, s.is4)
	}
	addrs = slices.DeleteFunc(addrs, func(a netip.Addr) bool { return a.Is4() != s.is4 || !a.IsGlobalUnicast() })
	if err == nil && len(addrs) == 0 {
		err = errNone
	}
	return addrs, ttl, err
}

// note handles what was found. The current address stays as long as it is one of
// those; otherwise it takes a name's lowest address, as answers change their
// order, and an interface's first.
func (b *Book) note(s *source, addrs []netip.Addr, ttl time.Duration, err error, next time.Time, first bool) {
	s.mu.Lock()
	before := s.state
	s.state.Next, s.state.Err, s.state.TTL = next, err, ttl
	if err == nil {
		s.state.Found = time.Now()
		if !slices.Contains(addrs, before.Address) {
			a := addrs[0]
			if s.Name != "" {
				a = slices.MinFunc(addrs, netip.Addr.Compare)
			}
			s.state.Address = a
			s.addr.Store(&a)
		}
	}
	now := s.state
	s.mu.Unlock()
	switch {
	case err != nil && first:
		b.log.Warn("cannot find the address to announce", "advertise", now.Of, "announced", now.Address, "err", err,
			"hint", "the last one that was found holds; without one an announcement shows what it would without advertise")
	case err == nil && now.Address != before.Address:
		b.log.Info("address to announce", "advertise", now.Of, "announced", now.Address, "before", before.Address)
	case err == nil && before.Err != nil:
		b.log.Info("address to announce found again", "advertise", now.Of, "announced", now.Address)
	}
	select {
	case <-s.tried:
	default:
		close(s.tried)
	}
}
