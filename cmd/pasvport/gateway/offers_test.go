// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/control"
	"github.com/pasvport/pasvport/cmd/pasvport/pinhole"
	"github.com/pasvport/pasvport/cmd/pasvport/report"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
)

// TestRefusals: each way in which nothing is opened has its reason.
func TestRefusals(t *testing.T) {
	for err, want := range map[error]report.Reason{
		nil: report.ReasonPlain, pinhole.ErrNoCarrier: report.ReasonNoCarrier, pinhole.ErrTooMany: report.ReasonPinholes,
		pinhole.ErrTooManyClient: report.ReasonClientPinholes, pinhole.ErrNoPort: report.ReasonPortsExhausted,
		unix.ENOENT: report.ReasonNotTracked, errors.New("odd"): report.ReasonKernel,
	} {
		if got := refusalOf(err); got != want {
			t.Errorf("%v: %v, want %v", err, got, want)
		}
	}
}

// TestOfferRefused: an offer that cannot be opened passes unchanged, is counted
// and reported, and shown as refused.
func TestOfferRefused(t *testing.T) {
	for _, tt := range []struct {
		name   string
		entry  expect.Entry
		edit   func(*bench)
		reason report.Reason
	}{
		{"no carrier", plainEntry(1), func(b *bench) { b.pinholes.Claims = false }, report.ReasonNoCarrier},
		{"too many", entryOf(1), func(b *bench) { b.settings().MaxPinholes = 0 }, report.ReasonPinholes},
		{"nftables refuses", plainEntry(1), func(b *bench) { b.k.refuses = errors.New("no room") }, report.ReasonKernel},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, nil)
			l := b.connect(tt.entry)
			l.logIn()
			tt.edit(b)
			text := fmt.Sprintf("PORT %s,200,10\r\n", strings.ReplaceAll(l.entry.Original.Src.Addr().String(), ".", ","))
			l.accepts(client, text)
			b.logs(`msg="offer refused"`, "reason="+tt.reason.String())
			if o := l.session().LastOffer(); o.Pinhole != control.PinholeRefused || o.Reason != tt.reason.String() {
				t.Errorf("shown as %+v", o)
			}
			if b.metrics.Pinholes.Refused.Load() != 1 || b.metrics.Decisions()[tt.reason.String()] != 1 {
				t.Error("it is not counted once")
			}
		})
	}
}

// TestStrictActivePort: the data connection of an active offer must come from the
// control port - 1.
func TestStrictActivePort(t *testing.T) {
	for strict, want := range map[bool]uint16{false: 0, true: 20} {
		b := newBench(t, func(c *config.Config) { c.StrictActivePort = strict })
		l := b.connect(entryOf(1))
		l.logIn()
		l.say(client, "PORT 198,51,100,1,200,10\r\n")
		if len(b.k.expected) != 1 || b.k.expected[0].SourcePort != want {
			t.Errorf("strict %v: %+v", strict, b.k.expected)
		}
	}
}

// TestReplaced: a second offer replaces the first.
func TestReplaced(t *testing.T) {
	b := newBench(t, nil)
	l := b.announced(plainEntry(1))
	l.passive(50001)
	if len(b.k.elements) != 1 || b.k.elements[0].Dest.Port() != 50001 {
		t.Errorf("open: %v", b.k.elements)
	}
	b.logs(`msg="pinhole closed"`, "to=203.0.113.1:50000", "another announcement took its place")
}

// TestVerbWord: replies are named by the command that they answer.
func TestVerbWord(t *testing.T) {
	for v, want := range map[ftpalg.Verb]string{ftpalg.Verb227: "PASV", ftpalg.Verb229: "EPSV", ftpalg.Verb228: "LPSV"} {
		if got := verbWord(v); got != want {
			t.Errorf("%v: %s, want %s", v, got, want)
		}
	}
}

// TestAdvertised: replacing a server's own address changes the length of a line
// that the kernel does not adjust, so the daemon does. Where it cannot, nothing
// is opened and the line passes unchanged.
func TestAdvertised(t *testing.T) {
	for name, refuses := range map[string]error{"adjusted here": nil, "nobody adjusts": errBroken} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, func(c *config.Config) {
				c.Advertise = map[netip.Addr]config.Outside{netip.MustParseAddr("203.0.113.1"): {Addr: netip.MustParseAddr("192.0.2.7")}}
			})
			l := b.connect(plainEntry(1))
			l.logIn()
			if refuses != nil {
				b.w.firewallRefuses(refuses)
			}
			sent := l.passive(50000)
			if refuses == nil {
				if sent != "227 Entering Passive Mode (192,0,2,7,195,80).\r\n" || !l.session().Here() || len(b.k.elements) != 1 {
					t.Errorf("the client received %q, adjusted here: %v, open: %v", sent, l.session().Here(), b.k.elements)
				}
				return
			}
			if sent != "227 Entering Passive Mode (203,0,113,1,195,80).\r\n" || l.session().Here() || len(b.k.elements) != 0 || len(b.pinholes.All()) != 0 {
				t.Errorf("the client received %q, adjusted here: %v, open: %v", sent, l.session().Here(), b.k.elements)
			}
			b.logs(`msg="offer refused"`, "reason="+ftpalg.ReasonNoAdjust.String())
			if o := l.session().LastOffer(); o.Pinhole != control.PinholeRefused || o.Translated != o.Announced {
				t.Errorf("shown as %+v", o)
			}
		})
	}
}

// TestLineStartUnknown: the first line of a connection that conntrack has picked
// up may be the rest of one. An apparent announcement is translated, but nothing
// is opened for it; the next one is like any other.
func TestLineStartUnknown(t *testing.T) {
	b := newBench(t, nil)
	e := entryOf(1)
	e.Liberal = true
	l := b.connect(e)
	if _, sent := l.say(server, announced); sent != told || len(b.k.expected) != 0 {
		t.Errorf("the client received %q, open: %v", sent, b.k.expected)
	}
	b.logs(`msg="offer refused"`, "reason="+ftpalg.ReasonLineStart.String())
	l.say(client, "NOOP\r\n")
	l.say(server, "200 fine\r\n")
	l.say(client, "PASV\r\n")
	if _, sent := l.say(server, announced); sent != told || len(b.k.expected) != 1 {
		t.Errorf("the client received %q, open: %v", sent, b.k.expected)
	}
}

// TestHint: an oddity of an offer that is opened is reported once per session.
func TestHint(t *testing.T) {
	b := newBench(t, nil)
	l := b.connect(plainEntry(1))
	l.logIn()
	for i := range 2 {
		l.accepts(client, "PASV\r\n")
		l.say(server, fmt.Sprintf("227 Entering Passive Mode (10,9,9,9,195,%d).\r\n", 80+i))
	}
	text := b.log.b.String()
	if n := strings.Count(text, `level=WARN msg="pinhole opened"`); n != 1 || strings.Count(text, `msg="pinhole opened"`) != 2 {
		t.Errorf("%d warnings:\n%s", n, text)
	}
}

// TestProxyHeader: the client that a proxy claims to connect for is shown, and
// opens nothing.
func TestProxyHeader(t *testing.T) {
	b := newBench(t, nil)
	l := b.connect(plainEntry(1))
	l.accepts(client, "PROXY TCP4 192.0.2.1 192.0.2.2 1000 21\r\n")
	if c := l.session().Snapshot(pinhole.Traffic{}, time.Now()); !strings.Contains(c.Note, "192.0.2.1:1000") {
		t.Errorf("noted: %q", c.Note)
	}
}
