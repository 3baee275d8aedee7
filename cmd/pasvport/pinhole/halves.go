// SPDX-License-Identifier: Apache-2.0

package pinhole

import (
	"net/netip"
	"slices"
	"sync"

	"github.com/pasvport/pasvport/rules"
)

// half is one of the elements that a pinhole may have in the sets of nftables. A
// used pinhole keeps its elements until its data connection is answered, and the
// next one, between the same two ends on the same port, may need the same. An
// element stays until the last pinhole that holds it releases it.
type half struct {
	at     place
	source netip.Addr
	dest   netip.AddrPort
}

// place is which of its elements a half is.
type place uint8

const (
	ofClaim place = iota
	ofForward
	ofWay
	places
)

// halves counts who holds which element.
type halves struct {
	mu      sync.Mutex
	closed  sync.Cond // one is not being closed any more
	held    map[half]int
	closing map[half]bool
}

func (h *halves) init() {
	h.held, h.closing, h.closed.L = map[half]int{}, map[half]bool{}, &h.mu
}

// halvesOf returns the elements of a pinhole; missing ones are zero.
func halvesOf(e *rules.Pinhole) (list [places]half) {
	if e.Source.IsValid() {
		list[ofClaim] = half{ofClaim, e.Source, e.Dest}
	}
	if e.Forward.Src.IsValid() {
		list[ofForward] = half{ofForward, e.Forward.Src, e.Forward.Dst}
	}
	if e.Way != rules.WayAny {
		list[ofWay] = half{ofWay, e.First.Src, e.First.Dst}
	}
	return list
}

// without removes one of the elements from e.
func without(e *rules.Pinhole, at place) {
	switch at {
	case ofClaim:
		e.Source, e.Dest = netip.Addr{}, netip.AddrPort{}
	case ofForward:
		e.Forward.Src, e.Forward.Dst = netip.Addr{}, netip.AddrPort{}
	default:
		e.Way = rules.WayAny
	}
}

// hold records that p needs its elements. It waits while one of them is being
// closed, so that the previous pinhole's closing does not close what p opens.
func (h *halves) hold(p *Pinhole) {
	list := halvesOf(&p.element)
	h.mu.Lock()
	defer h.mu.Unlock()
	for slices.ContainsFunc(list[:], func(e half) bool { return h.closing[e] }) {
		h.closed.Wait()
	}
	if p.holds {
		return
	}
	p.holds = true
	for _, e := range list {
		if e != (half{}) {
			h.held[e]++
		}
	}
}

// needs reports whether p needs its elements.
func (h *halves) needs(p *Pinhole) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return p.holds
}

// release records that p needs its elements no more, and returns those that no
// other pinhole needs. They must be closed, and then passed to done.
func (h *halves) release(p *Pinhole) rules.Pinhole {
	e := p.element
	h.mu.Lock()
	defer h.mu.Unlock()
	if !p.holds {
		return rules.Pinhole{}
	}
	p.holds = false
	for i, x := range halvesOf(&p.element) {
		if x == (half{}) {
			continue
		}
		if h.held[x]--; h.held[x] == 0 {
			delete(h.held, x)
			h.closing[x] = true
			continue
		}
		without(&e, place(i))
	}
	return e
}

// done records that the elements that release returned are closed.
func (h *halves) done(e *rules.Pinhole) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, x := range halvesOf(e) {
		delete(h.closing, x)
	}
	h.closed.Broadcast()
}
