// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// check checks what no single value shows.
func (s *Server) check() error {
	switch {
	case len(s.Addrs) == 0:
		return errors.New("a server without an address")
	case twice(s.Addrs, netip.Addr.Is4) || twice(s.Advertise, netip.Addr.Is4):
		return fmt.Errorf("server %s: two addresses of one family", s.Addrs[0])
	}
	for _, a := range s.Advertise {
		if s.Addr(a.Is4()) == (netip.Addr{}) {
			return fmt.Errorf("server %s: advertise %s: it has no address of that family", s.Addrs[0], a)
		}
	}
	return nil
}

// Addr returns the address of a family, or the zero value.
func (s *Server) Addr(is4 bool) netip.Addr { return ofFamily(s.Addrs, is4) }

func ofFamily(list []netip.Addr, is4 bool) netip.Addr {
	for _, a := range list {
		if a.Is4() == is4 {
			return a
		}
	}
	return netip.Addr{}
}

func (v *VirtualServer) check() error {
	switch {
	case v.Name == "" || len(v.Listen) == 0 || len(v.Servers) == 0:
		return errors.New("want name, listen and servers")
	case len(v.Servers) > maxServers:
		return fmt.Errorf("%d servers, want at most %d", len(v.Servers), maxServers)
	case twice(v.Servers, func(s Server) string { return s.Name }):
		return errors.New("two servers of one name")
	case v.Check.Interval > 0 && v.Check.Timeout >= v.Check.Interval:
		return fmt.Errorf("check with timeout %s and interval %s: want a timeout that is less", v.Check.Timeout, v.Check.Interval)
	case v.Check.User == "" && v.Check.Password != "":
		return errors.New("check with a password: want a user too")
	}
	served := map[netip.AddrPort]bool{}
	for _, is4 := range []bool{true, false} {
		listens, serves := ofFamily(v.Listen, is4).IsValid(), false
		for _, s := range v.Servers {
			a := netip.AddrPortFrom(s.Addr(is4), s.Port)
			switch {
			case !a.Addr().IsValid():
				continue
			case !listens:
				return fmt.Errorf("server %s has the address %s: want a listen address of that family too", s.Name, a.Addr())
			case served[a]:
				return fmt.Errorf("two servers at %s", a)
			}
			serves, served[a] = true, true
		}
		if listens && !serves {
			return fmt.Errorf("listen %s: want a server with an address of that family", ofFamily(v.Listen, is4))
		}
	}
	return nil
}

// checkVirtualServers checks what they share with each other and the rest.
func (c *Config) checkVirtualServers() *misfit {
	if len(c.VirtualServers) > maxVirtualServers {
		return unfit(virtualServersKey, "%s: %d of them, want at most %d", virtualServersKey, len(c.VirtualServers), maxVirtualServers)
	}
	if twice(c.VirtualServers, func(v VirtualServer) string { return v.Name }) {
		return unfit(virtualServersKey, "%s: two of one name", virtualServersKey)
	}
	listens := map[netip.AddrPort]string{}
	for i, v := range c.VirtualServers {
		if !slices.ContainsFunc(slices.Concat(c.Ports, c.TLSPorts), contains(v.Port)) {
			return unfit("port", "virtual server %q with port %d: want one of the control ports, see port and tls-port", v.Name, v.Port).in(virtualServersKey, i)
		}
		for _, a := range v.Listen {
			at := netip.AddrPortFrom(a, v.Port)
			if other, taken := listens[at]; taken {
				return unfit("listen", "virtual server %q: listen %s again, virtual server %q has it", v.Name, at, other).in(virtualServersKey, i)
			}
			listens[at] = v.Name
		}
	}
	for i, v := range c.VirtualServers {
		for _, s := range v.Servers {
			for _, a := range s.Addrs {
				if other, taken := listens[netip.AddrPortFrom(a, s.Port)]; taken {
					return unfit("servers", "virtual server %q: server %s is what virtual server %q listens on", v.Name, s.Name, other).in(virtualServersKey, i)
				}
			}
		}
	}
	return nil
}

// twice reports whether two elements have the same key.
func twice[T any, K comparable](list []T, key func(T) K) bool {
	seen := map[K]bool{}
	for _, v := range list {
		if seen[key(v)] {
			return true
		}
		seen[key(v)] = true
	}
	return false
}
