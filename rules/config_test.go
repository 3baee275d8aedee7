// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseChainRef(t *testing.T) {
	tests := []struct {
		in   string
		want ChainRef
		err  string // part of it; empty: none
	}{
		{"inet/filter/forward", ChainRef{FamilyINet, "filter", "forward"}, ""},
		{"ip/a_b-c.d/INPUT", ChainRef{FamilyIPv4, "a_b-c.d", "INPUT"}, ""},
		{"ip6/x/y9", ChainRef{FamilyIPv6, "x", "y9"}, ""},
		{"bridge/filter/forward", ChainRef{}, "bridge cannot hold pinholes"},
		{"arp/filter/input", ChainRef{}, `family "arp"`},
		{"/filter/input", ChainRef{}, `family ""`},
		{"filter/forward", ChainRef{}, "want family/table/chain"},
		{"inet/filter/a/b", ChainRef{}, "want family/table/chain"},
		{"", ChainRef{}, "want family/table/chain"},
		{"inet//forward", ChainRef{}, "empty"},
		{"inet/filter/", ChainRef{}, "empty"},
		{"inet/filter/for ward", ChainRef{}, "does not allow"},
		{"inet/filter/9", ChainRef{}, "does not allow"},
		{"inet/filter/a;flush", ChainRef{}, "does not allow"},
		{"inet/filter/" + strings.Repeat("x", 101), ChainRef{}, "longer than"},
	}
	for _, tt := range tests {
		got, err := ParseChainRef(tt.in)
		if tt.err == "" && (err != nil || got != tt.want || got.String() != tt.in) {
			t.Errorf("ParseChainRef(%q) = %v, %v; want %v", tt.in, got, err, tt.want)
		}
		if tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
			t.Errorf("ParseChainRef(%q) = %v, %v; want an error with %q", tt.in, got, err, tt.err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	tests := []struct {
		name string
		c    Config
	}{
		{"table name", Config{Table: "a b"}},
		{"port 0", Config{Ports: []PortRange{{0, 0}}}},
		{"backward range", Config{Ports: []PortRange{{30, 20}}}},
		{"no queues", Config{Queues: -1}},
		{"last queue", Config{QueueNum: 65535, Queues: 2}},
		{"two bits", Config{Mark: 3}},
		{"negative timeout", Config{PinholeTimeout: -1}},
		{"own chain", Config{Chains: []ChainRef{{FamilyINet, "pasvport", "prerouting"}}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if f, err := Open(tt.c); err == nil {
				f.Close()
				t.Errorf("Open(%+v): no error", tt.c)
			}
		})
	}
}

func TestMergePorts(t *testing.T) {
	tests := []struct{ in, want []PortRange }{
		{[]PortRange{{21, 21}}, []PortRange{{21, 21}}},
		{[]PortRange{{30, 40}, {21, 21}, {22, 25}, {35, 50}}, []PortRange{{21, 25}, {30, 50}}},
		{[]PortRange{{1, 65535}, {21, 21}}, []PortRange{{1, 65535}}},
		{[]PortRange{{65535, 65535}, {65535, 65535}}, []PortRange{{65535, 65535}}},
		{[]PortRange{{20, 20}, {22, 22}}, []PortRange{{20, 20}, {22, 22}}},
	}
	for _, tt := range tests {
		if d := cmp.Diff(tt.want, MergePorts(tt.in)); d != "" {
			t.Errorf("MergePorts(%v) (-want +got):\n%s", tt.in, d)
		}
	}
}

// TestDefaultsLeaveCallerAlone: the caller's slices are not sorted.
func TestDefaultsLeaveCallerAlone(t *testing.T) {
	c := Config{
		Ports:  []PortRange{{2121, 2121}, {21, 21}},
		Chains: []ChainRef{{FamilyIPv4, "z", "z"}, {FamilyINet, "a", "a"}},
	}
	ports, chains := c.Ports[0], c.Chains[0]
	got := c.WithDefaults()
	if c.Ports[0] != ports || c.Chains[0] != chains {
		t.Errorf("changed: %+v", c)
	}
	want := Config{
		Table: "pasvport", Ports: []PortRange{{21, 21}, {2121, 2121}}, QueueNum: 2121, Queues: 1,
		Carrier: CarrierSane, Queue: QueueNative, PinholeTimeout: time.Minute,
		Chains: []ChainRef{{FamilyINet, "a", "a"}, {FamilyIPv4, "z", "z"}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("defaults (-want +got):\n%s", d)
	}
}

func TestVirtualServerValidate(t *testing.T) {
	one, none := ends("203.0.113.171:21"), make([]netip.AddrPort, 3)
	tests := []struct {
		name string
		v    VirtualServer
		err  string // part of it; empty: none
	}{
		{"one server", VirtualServer{Name: "ftp", Listen: one, Slots: ends("10.0.0.1:21")}, ""},
		{"no server at the moment", VirtualServer{Name: "ftp", Listen: one, Slots: none}, ""},
		{"IPv6", VirtualServer{Name: "ftp", Listen: ends("[2001:db8::1]:21"), Slots: ends("[fd00::1]:21")}, ""},
		{"no address", VirtualServer{Name: "ftp", Slots: none}, "no address or no slot"},
		{"no slot", VirtualServer{Name: "ftp", Listen: one}, "no address or no slot"},
		{"server of another family", VirtualServer{Name: "ftp", Listen: one, Slots: ends("[fd00::1]:21")}, "another family"},
		{"addresses of two families", VirtualServer{Name: "ftp", Listen: ends("203.0.113.171:21", "[2001:db8::1]:21"), Slots: none}, "another family"},
		{"name", VirtualServer{Name: "f t p", Listen: one, Slots: none}, "does not allow"},
		{"long name", VirtualServer{Name: strings.Repeat("x", 100), Listen: one, Slots: none}, "longer than"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := Config{VirtualServers: []VirtualServer{tt.v}}.WithDefaults().validate()
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("validate: %v, want %q", err, tt.err)
			}
		})
	}
}

func TestBlockedPrefix(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.1": "192.0.2.1/32", "::ffff:192.0.2.1": "192.0.2.1/32", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64", "fe80::1%eth0": "fe80::/64",
	} {
		if got := BlockedPrefix(netip.MustParseAddr(in)); got.String() != want {
			t.Errorf("BlockedPrefix(%s) = %s, want %s", in, got, want)
		}
	}
}

// TestWatchOnlyLooks: Watch turns off everything but queueing.
func TestWatchOnlyLooks(t *testing.T) {
	text := Text(Config{Watch: true, Claim: true, Stale: true, Bare: true, FailClosed: true, Block: true, Mark: 4, FastPath: FastPathAny,
		PeerPorts: PortRange{1, 2}, Chains: []ChainRef{forward}})
	for _, word := range []string{"drop", "reject", "accept comment", "helper", "expectation", "mark", "maxseg", "pinholes", "peers", "blocked", "eBPF", "filter forward"} {
		if strings.Contains(text, word) {
			t.Errorf("%q in:\n%s", word, text)
		}
	}
}

func TestCarrierNames(t *testing.T) {
	for _, c := range []Carrier{CarrierAuto, CarrierSane, CarrierBare, CarrierNone} {
		if got := ParseCarrier(c.String()); got != c {
			t.Errorf("ParseCarrier(%q) = %v", c, got)
		}
	}
	if got := ParseCarrier("something"); got != CarrierAuto {
		t.Errorf("ParseCarrier of something else = %v", got)
	}
}
