// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestClient(t *testing.T) {
	for _, tt := range []struct {
		addr string
		bits int
		want string
	}{
		{"192.0.2.7", 64, "192.0.2.7"},
		{"2001:db8:1:2:3:4:5:6", 64, "2001:db8:1:2::"},
		{"2001:db8:1:2:3:4:5:6", 48, "2001:db8:1::"},
		{"2001:db8:1:2:3:4:5:6", 128, "2001:db8:1:2:3:4:5:6"},
	} {
		if got := Client(netip.MustParseAddr(tt.addr), tt.bits); got.String() != tt.want {
			t.Errorf("%s/%d is %v, want %s", tt.addr, tt.bits, got, tt.want)
		}
	}
}

// TestSessions: who is counted for which client, and that nothing remains of
// ended sessions.
func TestSessions(t *testing.T) {
	var c Sessions[int]
	one, two := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	var a, b, d Member
	room := func(client netip.Addr, want error) {
		t.Helper()
		if got := c.Room(client, 3, 2); !errors.Is(got, want) {
			t.Errorf("%v for %v, want %v", got, client, want)
		}
	}
	c.Enter(&a, one)
	room(one, nil)
	c.Enter(&b, one)
	room(one, ErrClientSessions)
	room(two, nil)
	c.Enter(&d, two)
	room(two, ErrSessions)
	if n := c.Living(); n != 3 {
		t.Errorf("%d live", n)
	}
	for i, m := range []*Member{&a, &a, &b} { // a state may be reported twice
		if surplus, ok := c.Close(m, one, i, 2); ok {
			t.Errorf("%v is surplus", surplus)
		}
	}
	room(one, nil)
	if _, ok := c.Close(&d, two, 3, 2); !ok {
		t.Error("three closed sessions are kept")
	}
	for _, m := range []*Member{&a, &b, &d, &d} {
		c.Forget(m, one)
	}
	if c.living+len(c.closed)+len(c.of) != 0 {
		t.Errorf("kept: %d living, %d closed, %d clients", c.living, len(c.closed), len(c.of))
	}
}

// logged is a log whose lines are limited, on a clock of the test.
type logged struct {
	*slog.Logger
	lines *Lines
	now   time.Time
	out   bytes.Buffer
}

func newLogged() *logged {
	l := &logged{now: time.Unix(1000, 0)}
	l.lines = NewLines(func(a netip.Addr) netip.Addr { return Client(a, 64) }, func() time.Time { return l.now })
	l.Logger = slog.New(l.lines.Handler(slog.NewTextHandler(&l.out, nil)))
	return l
}

func (l *logged) take() (lines int, last string) {
	all := strings.Split(strings.TrimSpace(l.out.String()), "\n")
	l.out.Reset()
	if all[0] == "" {
		return 0, ""
	}
	return len(all), all[len(all)-1]
}

func client(text string) slog.Attr { return slog.Any("client", netip.MustParseAddrPort(text)) }

// TestLines: how many lines each source may write in a window, and that omissions
// are reported.
func TestLines(t *testing.T) {
	for _, tt := range []struct {
		name string
		each func(l *logged, i int)
		want int
	}{
		{"warnings of a session", func(l *logged, i int) { l.Warn("refused", "session", uint64(7), client("192.0.2.1:1")) }, MostWarnings},
		{"lines of a session", func(l *logged, i int) { l.Info("opened", "session", uint64(7), client("192.0.2.1:1")) }, MostSession},
		{"sessions of a client", func(l *logged, i int) { l.Info("opened", "session", uint64(1+i), client("192.0.2.1:1")) }, MostClient},
		{"sessions of a client's network", func(l *logged, i int) {
			l.Info("opened", "session", uint64(1+i), client(fmt.Sprintf("[2001:db8::%x]:1", i&0xffff)))
		}, MostClient},
		{"a sender without a session", func(l *logged, i int) { l.Info("reset", "sender", netip.MustParseAddrPort("192.0.2.1:1")) }, MostClient},
		{"all", func(l *logged, i int) {
			l.Info("opened", "session", uint64(1+i), client(fmt.Sprintf("10.%d.%d.%d:1", i>>16, i>>8&255, i&255)))
		}, MostLines},
		{"errors", func(l *logged, i int) { l.Error("failed") }, 30000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLogged()
			const tries = 30000
			for i := range tries {
				tt.each(l, i)
			}
			written, _ := l.take()
			if written != tt.want {
				t.Errorf("%d of %d lines were written, want %d", written, tries, tt.want)
			}
			if len(l.lines.sessions) > mostCounters || len(l.lines.clients) > mostCounters {
				t.Errorf("%d and %d counters", len(l.lines.sessions), len(l.lines.clients))
			}
			left := 0
			for range 4 {
				l.now = l.now.Add(Window)
				left += l.lines.Left()
			}
			if left != tries-written {
				t.Errorf("%d lines are reported as left out, want %d", left, tries-written)
			}
		})
	}
}

// TestLinesSay: the next line of a session reports what was left out before it.
func TestLinesSay(t *testing.T) {
	l := newLogged()
	for range 3 * MostWarnings {
		l.Warn("refused", "session", uint64(7))
	}
	l.take()
	l.now = l.now.Add(Window)
	l.Warn("refused", "session", uint64(7))
	if _, last := l.take(); !strings.HasSuffix(last, fmt.Sprintf("more=%d", 2*MostWarnings)) {
		t.Errorf("%q", last)
	}
	l.Warn("refused", "session", uint64(7))
	if _, last := l.take(); strings.Contains(last, "more=") {
		t.Errorf("%q", last)
	}
	if n := l.lines.Left(); n != 0 {
		t.Errorf("%d are reported again", n)
	}
}

func TestSeldom(t *testing.T) {
	var s Seldom
	now := time.Unix(1000, 0)
	for i, want := range []int{0, -1, -1, 2} {
		left, ok := s.May(now)
		if ok != (want >= 0) || ok && left != want {
			t.Errorf("line %d: %d, %v", i, left, ok)
		}
		if i == 2 {
			now = now.Add(Window)
		}
	}
}
