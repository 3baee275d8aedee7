// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"errors"
	"net/netip"
	"strings"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/control"
)

// ErrNoServer means that no server has the name.
var ErrNoServer = errors.New("no such server")

// Drain drains a server, or puts it back: NAME in every virtual server that has
// it, or VIRTUAL/NAME.
func (b *Balancer) Drain(name string, drain bool) error {
	found, changed := b.drain(name, drain)
	if !found {
		return ErrNoServer
	}
	words := map[bool]string{true: "server drained", false: "server takes sessions again"}
	for _, virtual := range changed {
		_, server, ok := strings.Cut(name, "/")
		if !ok {
			server = name
		}
		b.log.Info(words[drain], "virtual", virtual, "server", server)
	}
	b.touch()
	return nil
}

// drain returns the virtual servers in which that changed something.
func (b *Balancer) drain(name string, drain bool) (found bool, changed []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.pools {
		for _, s := range p.servers {
			if name != s.Name && name != p.Name+"/"+s.Name {
				continue
			}
			found = true
			if *s.drained != drain {
				*s.drained = drain
				changed = append(changed, p.Name)
				for _, e := range s.ends {
					e.back = time.Now()
				}
			}
		}
	}
	return found, changed
}

// Drained returns the drained servers, in the form of Drain.
func (b *Balancer) Drained() (names []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.pools {
		for _, s := range p.servers {
			if *s.drained {
				names = append(names, p.Name+"/"+s.Name)
			}
		}
	}
	return names
}

// Sessions returns how many sessions virtual servers have.
func (b *Balancer) Sessions() (n int) {
	for _, s := range b.Servers() {
		n += s.Sessions
	}
	return n
}

// Servers returns each address of each server, for `pasvport servers`.
func (b *Balancer) Servers() []control.Server {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := []control.Server{}
	for _, p := range b.pools {
		p.count(b.sessions)
		for i := range p.servers {
			for _, e := range p.servers[i].ends {
				c := p.snapshot(&p.servers[i], e)
				c.Share = share(b.given[family{p.Name, e.addr.Addr().Is4()}].Slots, e.addr)
				list = append(list, c)
			}
		}
	}
	return list
}

// share is a server's share of the slots.
func share(slots []netip.AddrPort, server netip.AddrPort) float64 {
	n := 0
	for _, a := range slots {
		if a == server {
			n++
		}
	}
	return float64(n) / float64(max(len(slots), 1))
}

func (p *pool) snapshot(s *server, e *end) control.Server {
	c := control.Server{
		Virtual: p.Name, Listen: p.listens(e.addr.Addr().Is4()), Method: string(p.Method), Name: s.Name, Address: e.addr,
		Weight: s.Weight, State: control.ServerUp, Up: e.up, Since: e.since, Sessions: e.sessions, Checked: e.checked,
	}
	switch {
	case *s.drained && e.sessions > 0:
		c.State = control.ServerDraining
	case *s.drained:
		c.State = control.ServerDrained
	case !e.up:
		c.State = control.ServerDown
	case p.warming(e, time.Now()):
		c.State = control.ServerSlowStart
	}
	switch {
	case e.checked.IsZero():
	case e.err != nil:
		c.Check = e.err.Error()
	default:
		c.Check = "ok"
	}
	return c
}
