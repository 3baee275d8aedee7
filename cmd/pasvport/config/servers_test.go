// SPDX-License-Identifier: Apache-2.0

package config

import (
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// sameAddrs compares addresses by ==.
var sameAddrs = cmpopts.EquateComparable(netip.Addr{})

func TestVirtualServers(t *testing.T) {
	c, msg := load(t, `
port: [21, 2121]
virtual-servers:
  - name: ftp
    listen: [203.0.113.171, "2001:db8::171"]
    servers:
      - {address: [10.0.0.1, "fd00::1"]}
      - {name: two, address: 10.0.0.2, port: 2121, weight: 0, advertise: 203.0.113.172}
  - name: other
    listen: 203.0.113.171
    port: 2121
    method: least-sessions
    check: {interval: 1s, rise: 1, fall: 4, user: u, password: p}
    servers: [{name: x, address: 10.0.0.3}]
  - name: unchecked
    listen: 203.0.113.173
    method: source-hash
    check: {interval: off}
    servers: [{name: x, address: 10.0.0.3, weight: 100, backup: on}]
`)
	if msg != "" {
		t.Fatal(msg)
	}
	a := netip.MustParseAddr
	want := []VirtualServer{
		{Name: "ftp", Listen: []netip.Addr{a("203.0.113.171"), a("2001:db8::171")}, Port: 21, Method: RoundRobin,
			Check: Check{Interval: 5 * time.Second, Timeout: 2 * time.Second, Rise: 2, Fall: 3},
			Servers: []Server{
				{Name: "10.0.0.1", Addrs: []netip.Addr{a("10.0.0.1"), a("fd00::1")}, Port: 21, Weight: 1},
				{Name: "two", Addrs: []netip.Addr{a("10.0.0.2")}, Port: 2121, Advertise: []netip.Addr{a("203.0.113.172")}},
			}},
		{Name: "other", Listen: []netip.Addr{a("203.0.113.171")}, Port: 2121, Method: LeastSessions,
			Check:   Check{Interval: time.Second, Timeout: 500 * time.Millisecond, Rise: 1, Fall: 4, User: "u", Password: "p"},
			Servers: []Server{{Name: "x", Addrs: []netip.Addr{a("10.0.0.3")}, Port: 2121, Weight: 1}}},
		{Name: "unchecked", Listen: []netip.Addr{a("203.0.113.173")}, Port: 21, Method: SourceHash, Check: Check{Rise: 2, Fall: 3},
			Servers: []Server{{Name: "x", Addrs: []netip.Addr{a("10.0.0.3")}, Port: 21, Weight: 100, Backup: true}}},
	}
	if d := cmp.Diff(want, c.VirtualServers, sameAddrs); d != "" {
		t.Errorf("virtual servers (-want +got):\n%s", d)
	}
	if got := Changed(c, Default()); strings.Join(got, " ") != "port virtual-servers" {
		t.Errorf("changed %v, want port and virtual-servers", got)
	}
}

// TestVirtualServerErrors: each error has its line.
func TestVirtualServerErrors(t *testing.T) {
	const one = "virtual-servers:\n  - {name: a, listen: 203.0.113.1, servers: [{address: 10.0.0.1}]"
	for _, tt := range []struct{ name, file, want string }{
		{"mapping", "virtual-servers: {}\n", `FILE:1:18: virtual-servers is a mapping, want a list`},
		{"word", "virtual-servers: [x]\n", `FILE:1:19: virtual-servers: want lines of the form "key: value"`},
		{"unknown key", one + ", weight: 1}\n", `FILE:2:68: unknown key "weight", want name, listen, port, method, slow-start, check or servers`},
		{"unknown key of a server", "virtual-servers:\n  - servers:\n      - addres: 10.0.0.1\n",
			`FILE:3:9: unknown key "addres", want name, address, port, weight, backup or advertise; did you mean "address"?`},
		{"unknown key of a check", one + ", check: {user: x, pass: x}}\n",
			`FILE:2:85: unknown key "pass", want interval, timeout, rise, fall, user or password; did you mean "password"?`},
		{"twice", one + ", name: b}\n", `FILE:2:68: key "name" again, it is in line 2 already`},
		{"no name", "virtual-servers:\n  - listen: 203.0.113.1\n", `FILE:2:5: virtual server "": want name, listen and servers`},
		{"no servers", "virtual-servers:\n  - {name: a, listen: 203.0.113.1, servers: []}\n", `FILE:2:5: virtual server "a": want name, listen and servers`},
		{"bad name", "virtual-servers:\n  - name: a b\n",
			`FILE:2:11: name "a b": want a letter, then letters, digits, '_' or '-', at most 32 in all`},
		{"bad address", "virtual-servers:\n  - listen: [203.0.113.1, 0.0.0.0]\n", `FILE:2:27: listen "0.0.0.0": want an address of this machine, or a list of them`},
		{"address twice", "virtual-servers:\n  - listen: [203.0.113.1, 203.0.113.1]\n", `FILE:2:27: listen "203.0.113.1": want an address of this machine, or a list of them`},
		{"bad port", one + ", port: 0}\n", `FILE:2:74: port "0": want a port from 1 to 65535`},
		{"bad method", one + ", method: random}\n", `FILE:2:76: method "random": want round-robin, source-hash or least-sessions`},
		{"bad backup", "virtual-servers:\n  - servers:\n      - {address: 10.0.0.1, backup: 2}\n", `FILE:3:37: backup "2": want on or off`},
		{"bad weight", "virtual-servers:\n  - servers:\n      - {address: 10.0.0.1, weight: 101}\n", `FILE:3:37: weight "101": want a number from 0 to 100`},
		{"no address", "virtual-servers:\n  - servers:\n      - {weight: 1}\n", `FILE:3:9: a server without an address`},
		{"two of a family", "virtual-servers:\n  - servers:\n      - {address: [10.0.0.1, 10.0.0.2]}\n", `FILE:3:9: server 10.0.0.1: two addresses of one family`},
		{"advertise of another family", "virtual-servers:\n  - servers:\n      - {address: 10.0.0.1, advertise: \"2001:db8::1\"}\n",
			`FILE:3:9: server 10.0.0.1: advertise 2001:db8::1: it has no address of that family`},
		{"server of a family without listen", "virtual-servers:\n  - {name: a, listen: 203.0.113.1, servers: [{name: s, address: [10.0.0.1, \"fd00::1\"]}]}\n",
			`FILE:2:5: virtual server "a": server s has the address fd00::1: want a listen address of that family too`},
		{"listen of a family without server", "virtual-servers:\n  - {name: a, listen: [203.0.113.1, \"2001:db8::1\"], servers: [{address: 10.0.0.1}]}\n",
			`FILE:2:5: virtual server "a": listen 2001:db8::1: want a server with an address of that family`},
		{"two servers of one name", "virtual-servers:\n  - {name: a, listen: 203.0.113.1, servers: [{name: s, address: 10.0.0.1}, {name: s, address: 10.0.0.2}]}\n",
			`FILE:2:5: virtual server "a": two servers of one name`},
		{"one server twice", "virtual-servers:\n  - {name: a, listen: 203.0.113.1, servers: [{name: s, address: 10.0.0.1}, {address: 10.0.0.1}]}\n",
			`FILE:2:5: virtual server "a": two servers at 10.0.0.1:21`},
		{"bad interval", one + ", check: {interval: 10ms}}\n", `FILE:2:86: interval "10ms": want a duration from 100ms to 1h such as 5s, or off`},
		{"bad timeout", one + ", check: {timeout: 0s}}\n", `FILE:2:85: timeout "0s": want a duration such as 2s, above 0 and less than the interval`},
		{"long timeout", one + ", check: {timeout: 5s}}\n", `FILE:2:5: virtual server "a": check with timeout 5s and interval 5s: want a timeout that is less`},
		{"password alone", one + ", check: {password: x}}\n", `FILE:2:5: virtual server "a": check with a password: want a user too`},
		{"line end in a password", one + ", check: {user: x, password: \"a\\r\\nDELE x\"}}\n",
			`FILE:2:95: password: want a password of at most 64 printable characters`},
		{"no control port", one + ", port: 2121}\n", `FILE:2:68: virtual server "a" with port 2121: want one of the control ports, see port and tls-port`},
		{"one name", one + "}\n  - {name: a, listen: 203.0.113.2, servers: [{address: 10.0.0.1}]}\n", `FILE:1:1: virtual-servers: two of one name`},
		{"one address", one + "}\n  - {name: b, listen: 203.0.113.1, servers: [{address: 10.0.0.1}]}\n",
			`FILE:3:15: virtual server "b": listen 203.0.113.1:21 again, virtual server "a" has it`},
		{"itself", one + "}\n  - {name: b, listen: 203.0.113.2, servers: [{address: 203.0.113.1}]}\n",
			`FILE:3:36: virtual server "b": server 203.0.113.1 is what virtual server "a" listens on`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, msg := load(t, tt.file); msg != tt.want {
				t.Errorf("got  %s\nwant %s", msg, tt.want)
			}
		})
	}
}

// TestBalancingDoc: the configuration in the guide is valid.
func TestBalancingDoc(t *testing.T) {
	text, err := os.ReadFile("../../../docs/balancing.md")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for block := range strings.SplitSeq(string(text), "```yaml\n") {
		body, _, ok := strings.Cut(block, "```")
		if n++; n == 1 || !ok {
			continue // before the first one
		}
		if c, msg := load(t, body); msg != "" || len(c.VirtualServers) == 0 {
			t.Errorf("%s\n%s", msg, body)
		}
	}
	if n < 2 {
		t.Error("no configuration in the guide")
	}
}
