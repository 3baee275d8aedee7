// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"net/netip"
	"slices"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/config"
	"github.com/pasvport/pasvport/rules"
)

// pool is one virtual server. Its pointers are shared with the pool that replaces
// it at a reload.
type pool struct {
	config.VirtualServer
	servers []server
	began   *int // sessions since the slots were last assigned
}

type server struct {
	config.Server
	drained *bool
	ends    []*end
}

// end is one address of a server.
type end struct {
	addr     netip.AddrPort
	up       bool
	since    time.Time // since it is up or down; zero until it is checked
	streak   int       // of contradicting checks
	checked  time.Time // last
	err      error     // of the last check
	back     time.Time // when it came back, for the slow start; zero if it was never down
	sessions int       // at the last count
}

// pair identifies the balancing of a control connection.
type pair struct{ dialled, server netip.AddrPort }

// newPool makes the pool of a virtual server. What old knows of the same servers
// is kept; old may be nil.
func newPool(v config.VirtualServer, old *pool) *pool {
	p := &pool{VirtualServer: v, began: new(int)}
	if old != nil {
		p.began = old.began
	}
	for _, c := range v.Servers {
		s := server{Server: c, drained: new(bool)}
		if o := old.server(c.Name); o != nil {
			s.drained = o.drained
		}
		for _, a := range c.Addrs {
			at := netip.AddrPortFrom(a, c.Port)
			e := old.end(at)
			switch {
			case e == nil && old != nil:
				e = &end{addr: at, up: true, back: time.Now()}
			case e == nil:
				e = &end{addr: at, up: true}
			case v.Check.Interval == 0:
				e = &end{addr: at, up: true, back: e.back}
			}
			s.ends = append(s.ends, e)
		}
		p.servers = append(p.servers, s)
	}
	return p
}

func (p *pool) server(name string) *server {
	if p == nil {
		return nil
	}
	for i := range p.servers {
		if p.servers[i].Name == name {
			return &p.servers[i]
		}
	}
	return nil
}

func (p *pool) end(at netip.AddrPort) *end {
	if p == nil {
		return nil
	}
	for _, s := range p.servers {
		for _, e := range s.ends {
			if e.addr == at {
				return e
			}
		}
	}
	return nil
}

// of returns the end of a family, or nil.
func (s *server) of(is4 bool) *end {
	for _, e := range s.ends {
		if e.addr.Addr().Is4() == is4 {
			return e
		}
	}
	return nil
}

// listens returns the addresses of a family that clients dial.
func (p *pool) listens(is4 bool) (list []netip.AddrPort) {
	for _, a := range p.Listen {
		if a.Is4() == is4 {
			list = append(list, netip.AddrPortFrom(a, p.Port))
		}
	}
	return list
}

// count looks up the sessions of each end.
func (p *pool) count(sessions map[pair]int) {
	for _, s := range p.servers {
		for _, e := range s.ends {
			e.sessions = 0
			for _, l := range p.listens(e.addr.Addr().Is4()) {
				e.sessions += sessions[pair{l, e.addr}]
			}
		}
	}
}

// rules returns the current description of the virtual server for the kernel, for
// each family.
func (p *pool) rules(now time.Time) (list []rules.VirtualServer) {
	for _, is4 := range []bool{true, false} {
		if listen := p.listens(is4); len(listen) > 0 {
			v := rules.VirtualServer{Name: p.Name, Listen: listen, BySource: p.Method == config.SourceHash}
			p.assign(&v, is4, now)
			list = append(list, v)
		}
	}
	return list
}

// assign assigns the slots of a family.
func (p *pool) assign(v *rules.VirtualServer, is4 bool, now time.Time) {
	var ends []*end
	var weights, sessions []int
	var out []bool
	for i := range p.servers {
		s := &p.servers[i]
		e := s.of(is4)
		if e == nil {
			continue
		}
		total := 0
		for _, o := range s.ends {
			total += o.sessions
		}
		ends, weights, sessions = append(ends, e), append(weights, s.Weight), append(sessions, total)
		out = append(out, *s.drained || !e.up)
		if why := s.parked(e); why != "" {
			v.Parked = append(v.Parked, rules.Parked{Server: e.addr, Why: why})
		}
	}
	p.keepBack(out, weights, is4)
	v.Slots = make([]netip.AddrPort, count(weights))
	for i, who := range choose(p.Method, weights, sessions, out, p.warmth(ends, weights, out, now), *p.began) {
		v.Slots[i] = ends[who].addr
	}
}

// keepBack takes the backup servers of a family out while another server of it
// accepts sessions.
func (p *pool) keepBack(out []bool, weights []int, is4 bool) {
	var backup []bool
	others := false
	for i := range p.servers {
		if s := &p.servers[i]; s.of(is4) != nil {
			n := len(backup)
			backup = append(backup, s.Backup)
			others = others || !s.Backup && !out[n] && weights[n] > 0
		}
	}
	for i := range backup {
		out[i] = out[i] || others && backup[i]
	}
}

// The notes in the kernel for a server without a slot.
const (
	whyDrained = "drained"
	whyDown    = "down"
	whyBoth    = "drained, down"
)

func (s *server) parked(e *end) string {
	switch {
	case *s.drained && !e.up:
		return whyBoth
	case *s.drained:
		return whyDrained
	case !e.up:
		return whyDown
	}
	return ""
}

// restore takes over what an earlier run has recorded.
func (p *pool) restore(list []rules.Parked) {
	for _, k := range list {
		e := p.end(k.Server)
		if e == nil {
			continue
		}
		if (k.Why == whyDown || k.Why == whyBoth) && p.Check.Interval > 0 {
			e.up, e.since = false, time.Now()
		}
		for _, s := range p.servers {
			if slices.Contains(s.ends, e) && (k.Why == whyDrained || k.Why == whyBoth) {
				*s.drained = true
			}
		}
	}
}

// result handles the result of a check, and reports whether it changed the state.
// The first one decides alone.
func (e *end) result(k config.Check, err error, now time.Time) (changed bool) {
	first := e.since.IsZero()
	e.checked, e.err = now, err
	if first {
		e.since = now
	}
	if e.up == (err == nil) {
		e.streak = 0
		return false
	}
	e.streak++
	need := k.Rise
	if e.up {
		need = k.Fall
	}
	if !first && e.streak < need {
		return false
	}
	e.up, e.streak, e.since = !e.up, 0, now
	if e.up && !first {
		e.back = now
	}
	return true
}
