// SPDX-License-Identifier: Apache-2.0

package outside

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
)

// world is what a finder finds.
type world struct {
	mu      sync.Mutex
	names   map[string][]netip.Addr // by name and family
	ttl     time.Duration
	err     error
	slow    time.Duration
	asked   int
	changes chan struct{}
}

func (w *world) find(ctx context.Context, name string, is4 bool) ([]netip.Addr, time.Duration, error) {
	w.mu.Lock()
	slow := w.slow
	w.mu.Unlock()
	select {
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	case <-time.After(slow):
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked++
	if !is4 {
		name += "6"
	}
	return slices.Clone(w.names[name]), w.ttl, w.err
}

func (w *world) set(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func (w *world) finder() Finder {
	return Finder{
		Name: w.find,
		Interface: func(name string, is4 bool) ([]netip.Addr, error) {
			addrs, _, err := w.find(context.Background(), name, is4)
			return addrs, err
		},
		Changes: func(context.Context) <-chan struct{} { return w.changes },
	}
}

func addrs(list ...string) (all []netip.Addr) {
	for _, a := range list {
		all = append(all, netip.MustParseAddr(a))
	}
	return all
}

var (
	in4, in6 = netip.MustParseAddr("10.0.0.5"), netip.MustParseAddr("fd00::5")
	byName   = map[netip.Addr]config.Outside{in4: {Name: "ftp.example.org"}, in6: {Name: "ftp.example.org"},
		netip.MustParseAddr("10.0.0.6"): {Addr: netip.MustParseAddr("203.0.113.6")}}
)

func (a Addresses) want(t *testing.T, inside netip.Addr, want string) {
	t.Helper()
	got, ok := a.Outside(inside)
	if text := got.String(); ok != (want != "") || ok && text != want {
		t.Errorf("%s: %v, %t, want %q", inside, got, ok, want)
	}
}

// run runs a book in a bubble of synctest.
func run(t *testing.T, b *Book) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestName: a name is looked up again when its answer expires; the last good
// address holds meanwhile, and so does one that is still among the answers.
func TestName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{ttl: time.Minute, names: map[string][]netip.Addr{
			"ftp.example.org": addrs("203.0.113.9", "203.0.113.7"), "ftp.example.org6": addrs("2001:db8::7")}}
		b := New(slog.New(slog.DiscardHandler), w.finder())
		a := b.Of(byName)
		a.want(t, in4, "")
		a.want(t, netip.MustParseAddr("10.0.0.6"), "203.0.113.6")
		a.want(t, netip.MustParseAddr("10.0.0.7"), "")
		run(t, b)
		if without := b.Wait(t.Context(), time.Second); without != nil {
			t.Errorf("without an address: %q", without)
		}
		a.want(t, in4, "203.0.113.7")
		a.want(t, in6, "2001:db8::7")
		if s := b.States(); len(s) != 2 || s[0].Address.String() != "203.0.113.7" || s[0].Of != "ftp.example.org" || s[0].Err != nil || time.Until(s[0].Next) != time.Minute {
			t.Errorf("states %+v", s)
		}
		w.set(func() { w.names["ftp.example.org"] = addrs("203.0.113.5", "203.0.113.7") })
		time.Sleep(61 * time.Second)
		a.want(t, in4, "203.0.113.7")
		w.set(func() { w.names["ftp.example.org"] = addrs("203.0.113.5") })
		time.Sleep(58 * time.Second)
		a.want(t, in4, "203.0.113.7")
		time.Sleep(2 * time.Second)
		a.want(t, in4, "203.0.113.5")

		w.set(func() { w.err = errors.New("no server") })
		time.Sleep(61 * time.Second)
		if s := b.States()[0]; s.Err == nil || s.Address.String() != "203.0.113.5" || time.Until(s.Next) > leastTTL {
			t.Errorf("after a failure %+v", s)
		}
		a.want(t, in4, "203.0.113.5")
		time.Sleep(time.Hour)
		w.set(func() { w.asked = 0 })
		time.Sleep(time.Hour)
		w.set(func() {
			if w.asked > 2*61 {
				t.Errorf("a name that fails is asked for %d times an hour", w.asked)
			}
			w.err, w.names["ftp.example.org"] = nil, addrs("203.0.113.4")
		})
		time.Sleep(61 * time.Second)
		a.want(t, in4, "203.0.113.4")
	})
}

// TestUse: what no configuration names is no longer looked up; a source without
// an address gives none.
func TestUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{ttl: time.Second, names: map[string][]netip.Addr{"ftp.example.org": addrs("127.0.0.1", "169.254.1.1", "0.0.0.0"), "new": addrs("203.0.113.1")}}
		b := New(slog.New(slog.DiscardHandler), w.finder())
		old := b.Of(byName)
		run(t, b)
		if without := b.Wait(t.Context(), time.Second); len(without) != 2 {
			t.Errorf("without an address: %q", without)
		}
		old.want(t, in4, "")
		next := map[netip.Addr]config.Outside{in4: {Name: "new"}}
		a := b.Of(next)
		b.Use(nil, next)
		synctest.Wait()
		a.want(t, in4, "203.0.113.1")
		w.set(func() { w.asked = 0 })
		time.Sleep(time.Minute)
		w.set(func() {
			if w.asked > 12 || w.asked < 11 { // every leastTTL
				t.Errorf("asked %d times a minute", w.asked)
			}
		})
		if s := b.States(); len(s) != 1 {
			t.Errorf("states %+v", s)
		}
	})
}

// TestSlowName: the start waits for a name for a limited time.
func TestSlowName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{slow: time.Hour}
		b := New(slog.New(slog.DiscardHandler), w.finder())
		b.Of(byName)
		run(t, b)
		start := time.Now()
		if without := b.Wait(t.Context(), 3*time.Second); len(without) != 2 || time.Since(start) != 3*time.Second {
			t.Errorf("%q after %v", without, time.Since(start))
		}
		time.Sleep(3 * time.Second)
		if s := b.States()[0]; !errors.Is(s.Err, context.DeadlineExceeded) {
			t.Errorf("%+v", s)
		}
	})
}

// TestInterface: an interface is read when the kernel reports a change. Its first
// address counts, and the current one as long as it exists.
func TestInterface(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{changes: make(chan struct{}), names: map[string][]netip.Addr{"eth0": addrs("203.0.113.9", "203.0.113.7")}}
		b := New(slog.New(slog.DiscardHandler), w.finder())
		a := b.Of(map[netip.Addr]config.Outside{in4: {Interface: "eth0"}})
		run(t, b)
		b.Wait(t.Context(), time.Second)
		a.want(t, in4, "203.0.113.9")
		for _, step := range []struct{ there, want string }{{"203.0.113.1", "203.0.113.1"}, {"", "203.0.113.1"}, {"203.0.113.2", "203.0.113.2"}} {
			w.set(func() {
				w.names["eth0"] = nil
				if step.there != "" {
					w.names["eth0"] = addrs(step.there)
				}
			})
			w.changes <- struct{}{}
			synctest.Wait()
			a.want(t, in4, step.want)
		}
		if s := b.States()[0]; s.Of != "interface:eth0" || s.Err != nil {
			t.Errorf("%+v", s)
		}
	})
}
