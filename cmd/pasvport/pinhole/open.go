// SPDX-License-Identifier: Apache-2.0

package pinhole

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pasvport/pasvport/expect"
	"github.com/pasvport/pasvport/ftpalg"
)

// maxPortTries is how many ports are tried when the announced one is taken.
const maxPortTries = 64

// Open makes a pinhole in place of the owner's current one, at the announced port
// or, if the connection is translated and that port is taken, at another. It is
// reserved, and the kernel knows it: once it is announced the caller calls
// Announced, otherwise Cancel. settle handles pending conntrack events: what
// seems to be open may have been used.
func (t *Table) Open(ct Conntrack, o *Owner, want Spec, most Limits, now time.Time, settle func()) (*Pinhole, error) {
	if t.Of(o) != nil {
		settle()
	}
	again := want.Ports.High == 0 // at the port that want names
	if before := t.Of(o); t.take(before, Replaced) {
		t.end(ct, before, "")
		if before.NAT && before.Target == want.Target && before.Source == want.Source {
			// A segment that an earlier daemon has edited is retransmitted: it
			// must look as before, whatever port was free then.
			want.Public, again = before.Public, want.Ports.Has(before.Public.Port())
		}
	}
	if want.Claim && !t.Claims {
		return nil, ErrNoCarrier
	}
	t.freeSource(ct, o, &want)
	expires, next := now.Add(want.Timeout), t.ports(&want, settle)
	for range maxPortTries {
		if !again {
			port, ok := next()
			if !ok {
				return nil, ErrNoPort
			}
			want.Public = netip.AddrPortFrom(want.Public.Addr(), port)
		}
		p := newPinhole(o, want, expires)
		err := t.try(ct, p, most, settle)
		switch {
		case err == nil:
			return p, nil
		case errors.Is(err, unix.EMFILE) && t.Claims: // there is no room for expectations
			want.Claim, again = true, true
			continue
		case !taken(err):
			return nil, err
		case !want.NAT:
			return nil, fmt.Errorf("%w: %w", ErrNoPort, err)
		}
		again = false
	}
	return nil, ErrNoPort
}

// freeSource deletes the entry of an active data connection that has ended and
// lingers, from the same translated port to the same port of the client: it may
// belong to another of several servers with one address. Otherwise the new one
// would use a port other than control port - 1.
func (t *Table) freeSource(ct Conntrack, o *Owner, want *Spec) {
	e := o.Ends
	if want.Mode != ftpalg.Active || e.Dialled.Addr() == e.Server.Addr() {
		return
	}
	from := netip.AddrPortFrom(e.Dialled.Addr(), e.Server.Port()-1)
	old, err := ct.Get(expect.Tuple{Src: want.Target, Dst: from, Zone: o.Zone})
	if err == nil && old.Master != (expect.Tuple{}) && old.TCPState >= expect.TCPStateTimeWait {
		err = ct.Delete(old.Original)
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		t.warn(o, "cannot forget an old data connection", "from", from, "to", want.Target, "err", err)
	}
}

// ports returns a function that gives one possible port after the other: any, or
// the free ones of the range, each once.
func (t *Table) ports(want *Spec, settle func()) func() (uint16, bool) {
	r := want.Ports
	if r.High == 0 {
		return func() (uint16, bool) { return randomPort(), true }
	}
	n := int(r.High) - int(r.Low) + 1
	start, tried, found := rand.IntN(n), 0, false
	next := func() (uint16, bool) {
		for tried < n {
			port := r.Low + uint16((start+tried)%n)
			tried++
			if t.find(Key{want.Source, netip.AddrPortFrom(want.Public.Addr(), port)}) == nil {
				found = true
				return port, true
			}
		}
		return 0, false
	}
	return func() (uint16, bool) {
		port, ok := next()
		if !ok && !found { // some that are in the way may have been used
			settle()
			tried, found = 0, true
			port, ok = next()
		}
		return port, ok
	}
}

// randomPort returns a random unprivileged port.
func randomPort() uint16 { return uint16(1024 + rand.IntN(65536-1024)) }

// taken reports whether a pinhole failed because its port is in use.
func taken(err error) bool {
	return errors.Is(err, ErrTaken) || errors.Is(err, unix.EEXIST) || errors.Is(err, unix.EBUSY)
}

// try makes the pinhole at the port of its key.
func (t *Table) try(ct Conntrack, p *Pinhole, most Limits, settle func()) error {
	for settled := false; ; {
		other, err := t.reserve(p, most)
		if err == nil && other == nil {
			break
		}
		if !settled { // those in the way may have been used
			settle()
			settled = true
			continue
		}
		if err != nil {
			return err
		}
		if other.Owner != p.Owner && !isOver(ct, other.Owner) {
			return ErrTaken // the older keeps its pinhole
		}
		t.Close(ct, other, Replaced, "")
	}
	err := t.program(ct, p)
	if err != nil {
		t.take(p, Closed)
	}
	return err
}

// isOver reports whether a control connection has ended, even if no event has
// reported that yet.
func isOver(ct Conntrack, o *Owner) bool {
	e, err := ct.Get(o.Original())
	if err != nil {
		return errors.Is(err, unix.ENOENT)
	}
	return e.ID != o.ID || e.TCPState >= expect.TCPStateFinWait
}

// program puts the pinhole into the kernel.
func (t *Table) program(ct Conntrack, p *Pinhole) error {
	if !p.Claim {
		err := ct.CreateExpectation(p.expectation())
		if taken(err) && !p.NAT && deleteStale(ct, p.expected()) {
			err = ct.CreateExpectation(p.expectation())
		}
		if err != nil {
			return err
		}
	}
	if err := t.openRule(p); err != nil {
		t.undo(ct, p)
		return err
	}
	return nil
}

// deleteStale deletes an expectation that is not ours, although its two ends are
// those of one that is to be made: an earlier daemon left it.
func deleteStale(ct Conntrack, expected expect.Tuple) bool {
	var masters []expect.Tuple
	err := ct.DumpExpectations(func(x *expect.ExpectationInfo) {
		if x.Expected.Dst == expected.Dst && x.Expected.Src.Addr() == expected.Src.Addr() {
			master := x.Master
			master.Zone = expected.Zone
			masters = append(masters, master)
		}
	})
	for _, m := range masters {
		err = errors.Join(err, ct.DeleteExpectation(m, expected))
	}
	return err == nil && len(masters) > 0
}

// Announced reports that a reserved pinhole was announced: it becomes its owner's
// open one, unless it was taken already.
func (t *Table) Announced(p *Pinhole) {
	t.opened(p)
	t.events.PinholeOpened(p)
}

func (t *Table) opened(p *Pinhole) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.by[p.Key] == p {
		p.state.Store(uint32(Open))
		p.Owner.open = p
		t.Ways.announced(p)
	}
}

// Cancel closes a pinhole that could not be announced. It raises no event.
func (t *Table) Cancel(ct Conntrack, p *Pinhole) {
	t.take(p, Closed)
	t.undo(ct, p)
}

// Restore enters a pinhole that the kernel holds, and reports whether its key was
// free.
func (t *Table) Restore(p *Pinhole) bool {
	p.element = p.elements()
	if other, _ := t.reserve(p, Limits{math.MaxInt, math.MaxInt}); other != nil {
		return false
	}
	t.halves.hold(p)
	t.opened(p)
	return true
}

// Reopen puts a former pinhole into the kernel again and enters it. It returns
// false, without an error, if the kernel had it all the time. The rule comes
// first here: the data connection may already be starting, and a packet that the
// kernel expects and the rules drop would use up the expectation.
func (t *Table) Reopen(ct Conntrack, p *Pinhole) (bool, error) {
	if t.find(p.Key) != nil {
		return false, nil
	}
	p.element = p.elements()
	if err := t.Firewall.OpenPinhole(p.element); err != nil {
		return false, err
	}
	if err := t.program(ct, p); err != nil {
		t.CloseRule(p)
		return false, err
	}
	return t.Restore(p), nil
}

// ReopenRule opens the way for the SYN of a data connection that came through p
// and was not answered yet, or that of its next entry if it has none.
func (t *Table) ReopenRule(p *Pinhole, data expect.Tuple) error {
	p.element = p.elements()
	p.element.Source = netip.Addr{}
	if !t.Data.IsLive(data) {
		t.Data.loses(data, p)
		return nil
	}
	err := t.openRule(p) // before anyone can close it
	t.CloseRule(t.Data.Add(data, p.Owner, p))
	return err
}
