// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/cmd/pasvport/control"
	"github.com/pasvport/pasvport/cmd/pasvport/pinhole"
	"github.com/pasvport/pasvport/cmd/pasvport/report"
	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
	"github.com/pasvport/pasvport/rules"
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

// TestOfferRefused: an offer that cannot be opened goes on as it came, is counted and
// said, and shown as refused.
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

// TestStrictActivePort: the data connection of an active offer has to come from the
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

// TestReplaced: a second offer takes the place of the first.
func TestReplaced(t *testing.T) {
	b := newBench(t, nil)
	l := b.connect(plainEntry(1))
	l.logIn()
	l.passive(50000)
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

// TestPinholeEvents: what becomes of a pinhole is counted, and its cause said.
func TestPinholeEvents(t *testing.T) {
	b := newBench(t, nil)
	e := &b.holes
	s := newSession(entryOf(1))
	p := &pinhole.Pinhole{Spec: pinhole.Spec{Key: pinhole.Key{Source: s.Ends().Client.Addr(), Public: ap("203.0.113.1:50000")}}, Owner: &s.Owner}
	e.PinholeOpened(p)
	e.PinholeUsed(p)
	e.takenBack(p)
	e.PinholeEnded(p, "because")
	b.logs(`msg="pinhole used"`, "session=1")
	b.logs(`msg="pinhole taken back"`)
	b.logs(`msg="pinhole closed"`, "reason=because")
	e.failed("pinhole expired", p, "dropped")
	b.logs(`msg="pinhole expired"`, "cause=dropped", "pasvport doctor --client 198.51.100.1 --server 10.0.0.2")
	if m := &b.metrics.Pinholes; m.Opened.Load() != 1 || m.Used.Load() != 1 || m.Closed.Load() != 1 || m.Open.Load() != 0 {
		t.Error("it is not counted")
	}
}

var _ firewall = (*rules.Firewall)(nil)
